"""Imports go down only, each kind of work has one home, and the base install reaches no heavy library."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src" / "lungsight"
# Floors from below; within a floor a module may import what stands before it.
FLOORS = (
    ("errors", "wording", "records", "progress", "config", "files", "provenance", "preprocess"),
    ("xray", "metrics", "networks"),
    ("dataset", "phantom", "card", "model"),
    ("inference",),
    ("writers", "batch", "duplicates", "training", "explain"),
    ("evaluation", "ship", "ship_severity", "ship_outliers"),
    ("audit", "benchmark"),
    ("report", "server", "pacs", "cluster"),
    ("paper",),
    ("cli", "__main__"),
)
PLACE = {name: (floor, index) for floor, names in enumerate(FLOORS) for index, name in enumerate(names)}
# They may read the version; the root itself imports everything else lazily.
ROOT = "lungsight"
FREE_OF_TORCH = (
    "xray",
    "inference",
    "model",
    "writers",
    "batch",
    "cli",
    "dataset",
    "phantom",
    "preprocess",
    "records",
    "wording",
)
HEAVY = ("torch", "sklearn", "scipy", "matplotlib", "lightning", "pandas", "monai", "torchmetrics", "onnx")
FILES = sorted(SOURCE.rglob("*.py"))
MODULES = [".".join((ROOT, *path.relative_to(SOURCE).with_suffix("").parts)) for path in FILES]


@cache
def nodes(path: Path) -> list[ast.AST]:
    """All nodes of a file, read once for all rules."""
    return list(ast.walk(ast.parse(path.read_text("utf-8"))))


def dotted(node: ast.AST) -> str:
    """'a.b.c' of a name or an attribute; what is called or indexed before a dot is left out."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def for_typing_only(path: Path) -> set[int]:
    """`id` of the nodes that only a type checker reads."""
    return {
        id(inner)
        for node in nodes(path)
        if isinstance(node, ast.If) and dotted(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }


def imports(path: Path) -> list[tuple[int, str, bool]]:
    """(line, part of lungsight, whether for type checking only) of every import in a file, inner ones too."""
    typing_only = for_typing_only(path)
    found = []
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == ROOT and len(parts) > 1 and parts[1] != "__version__":
                found.append((node.lineno, parts[1], id(node) in typing_only))
    return found


def part(path: Path) -> str:
    """The module or package directly under lungsight that a file belongs to."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def test_every_module_has_a_layer() -> None:
    parts = {part(path) for path in FILES} - {"__init__"}
    assert parts <= set(PLACE), "give the new module a layer in this file and in the design"


def test_imports_go_to_lower_layers_only() -> None:
    wrong = [
        f"{path.relative_to(SOURCE)}:{line}: {here} imports {there}"
        for path in FILES
        if (here := part(path)) != "__init__"
        for line, there, _ in imports(path)
        if there != here and PLACE[there] >= PLACE[here]
    ]
    assert not wrong


def file_edges() -> dict[str, set[str]]:
    """Module -> the modules of lungsight that it imports when it runs, inner imports too."""
    names = {module.removesuffix(".__init__") for module in MODULES}
    edges: dict[str, set[str]] = {}
    for module, path in zip(MODULES, FILES, strict=True):
        typing_only = for_typing_only(path)
        found = edges.setdefault(module.removesuffix(".__init__"), set())
        for node in nodes(path):
            if id(node) in typing_only:
                continue
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    full = f"{node.module}.{alias.name}"
                    found.add(full if full in names else str(node.module))
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
    return {module: (found & names) - {module, ROOT} for module, found in edges.items()}


def circle(edges: dict[str, set[str]]) -> list[str]:
    """The modules of one import circle, or none."""
    done: set[str] = set()

    def visit(module: str, way: list[str]) -> list[str]:
        if module in way:
            return [*way[way.index(module) :], module]
        if module in done:
            return []
        for there in sorted(edges.get(module, ())):
            if found := visit(there, [*way, module]):
                return found
        done.add(module)
        return []

    return next((found for module in sorted(edges) if (found := visit(module, []))), [])


def test_no_two_files_import_each_other_in_a_circle() -> None:
    edges = file_edges()
    assert sum(map(len, edges.values())) > 300
    assert circle(edges) == []


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"d", "b"}, "d": set()}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def calls(path: Path) -> list[tuple[int, str]]:
    """(line, name) of every call in a file."""
    return [(node.lineno, dotted(node.func)) for node in nodes(path) if isinstance(node, ast.Call)]


def test_pixels_are_resized_in_one_place() -> None:
    wrong = [
        f"{path.relative_to(SOURCE)}:{line}: use preprocess.resize_image, resize_mask or resample"
        for path in FILES
        if path.name != "preprocess.py"
        for line, name in calls(path)
        if name.endswith((".resize", ".thumbnail")) or name == "resize"
    ]
    assert not wrong


SILENCED = {
    (
        "xray/worker.py",
        "warnings.simplefilter",
    ): "a decoder's warning quotes the file, which may name a patient",
    ("server/serve.py", "warnings.filterwarnings"): "the same, in the server's log",
    ("cli/train.py", "warnings.filterwarnings"): "Lightning's own use of PyTorch, which nobody here can mend",
    (
        "audit/probe.py",
        "warnings.catch_warnings",
    ): "scikit-learn's ConvergenceWarning: 300 steps rank as well as more",
    ("audit/probe.py", "warnings.simplefilter"): "the same",
    (
        "report/charts.py",
        "warnings.catch_warnings",
    ): "a layout that leaves no room is turned off, not passed over",
    ("report/charts.py", "warnings.simplefilter"): "the same",
}
"""The only places that keep a warning back, and why."""


def test_no_warning_is_silenced() -> None:
    wrong = [
        f"{path.relative_to(SOURCE)}:{line}: mend what it warns of"
        for path in FILES
        for line, name in calls(path)
        if name.split(".")[-1] in ("filterwarnings", "simplefilter", "catch_warnings", "captureWarnings")
        and (str(path.relative_to(SOURCE)), name) not in SILENCED
    ]
    assert not wrong


COMMAND_STATEMENTS = 40
LONGER = {"evaluate": 60}
"""Commands that are still to be cut down to it."""


def test_the_command_line_holds_no_logic() -> None:
    """A command parses, calls, prints: it is short, and needs no library that computes."""
    for path in FILES:
        if part(path) != "cli":
            continue
        for node in nodes(path):
            if isinstance(node, ast.FunctionDef):
                count = sum(isinstance(inner, ast.stmt) for inner in ast.walk(node)) - 1
                assert count <= LONGER.get(node.name, COMMAND_STATEMENTS), (
                    f"{path.name}: {node.name} has {count} statements"
                )
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            heavy = {"numpy", "cv2", "PIL", "torch", "lightning", "scipy", "sklearn", "matplotlib", "csv"}
            assert not heavy & {name.split(".")[0] for name in names}, f"{path.name} computes"


def test_the_root_imports_nothing_at_once() -> None:
    assert all(typing_only for _, _, typing_only in imports(SOURCE / "__init__.py"))


def test_a_forbidden_edge_is_found(tmp_path: Path) -> None:
    """The reader of imports sees them wherever they stand."""
    file = tmp_path / "m.py"
    file.write_text("def f():\n    from lungsight.cli import main\n    import lungsight.report.page\n")
    assert imports(file) == [(2, "cli", False), (3, "report", False)]


def loaded(code: str, heavy: tuple[str, ...] = HEAVY) -> list[str]:
    code += f"\nimport sys\nprint(*(name for name in {heavy!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()


def test_the_base_install_never_reaches_pytorch() -> None:
    modules = [
        module
        for module, path in zip(MODULES, FILES, strict=True)
        if part(path) in FREE_OF_TORCH and not module.endswith("__init__")
    ]
    assert len(modules) > 30
    assert loaded("\n".join(f"import {module}" for module in modules)) == []


def test_import_and_help_load_little() -> None:
    """A guard of their speed that does not depend on the machine: what they load, and how much of it."""
    code = """
import sys
before = set(sys.modules)
import lungsight
assert len(set(sys.modules) - before) < 60, sorted(set(sys.modules) - before)
import lungsight.cli
sys.argv = ["lungsight", "--help"]
try:
    lungsight.cli.main()
except SystemExit:
    pass
"""
    assert loaded(code, (*HEAVY, "numpy", "cv2", "PIL", "pydicom", "onnxruntime", "fastapi", "ray")) == []


def test_a_command_that_reads_its_arguments_loads_no_pydantic(tmp_path: Path) -> None:
    """It costs a quarter of a second; Typer imports it from 0.29 on, where an argument is read."""
    code = f"""
import sys
import lungsight.cli
sys.argv = ["lungsight", "predict", {str(tmp_path / "absent.png")!r}, "--out", {str(tmp_path / "out")!r}]
try:
    lungsight.cli.main()
except SystemExit as stop:
    assert stop.code == 2
"""
    assert loaded(code, (*HEAVY, "pydantic", "pydantic_core", "fastapi", "ray")) == []


def test_nothing_below_the_command_line_prints_or_exits() -> None:
    wrong = [
        f"{path.relative_to(SOURCE)}:{line}: {name}"
        for path in FILES
        if part(path) not in ("cli", "__main__")
        for line, name in calls(path)
        if name in ("print", "sys.exit", "exit")
    ]
    assert not wrong


def test_nothing_unpickles_a_file() -> None:
    for path in FILES:
        for node in nodes(path):
            if isinstance(node, ast.Call) and dotted(node.func) == "torch.load":
                assert any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords)
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {getattr(node, "module", None), *(alias.name for alias in node.names)}
                assert not names & {"pickle", "joblib", "dill"}, path
