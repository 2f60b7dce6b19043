"""The documentation's own tools: which examples run, what the reference holds, whether every page is in the site."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

import lungsight

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs" / "tools"))

import cli_reference  # noqa: E402
import examples  # noqa: E402

PAGE = """# A page

```sh
lungsight check
```

<!-- not run: an hour -->
```python
train()
```

Words between: the remark above is of that block alone.

```python
x = 1
```

````text
```python
inside another
```
````

```
nothing said
```
"""


def test_blocks_are_found_with_their_lines_and_reasons() -> None:
    found = [(one.line, one.language, one.reason) for one in examples.blocks_of(PAGE, "page.md")]
    assert found == [
        (3, "sh", ""),
        (8, "python", "an hour"),
        (14, "python", ""),
        (18, "text", ""),
        (24, "", ""),
    ]


def test_of_a_block_with_prompts_the_commands_run() -> None:
    assert examples.shell_text("$ ls x\na  b\n$ cat y") == "ls x\ncat y"
    assert examples.shell_text("ls x\ncat y") == "ls x\ncat y"


def test_a_page_runs_from_top_to_bottom_with_one_set_of_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".bin").mkdir()
    page = examples.Page(tmp_path, "")

    def run(language: str, text: str) -> str:
        return page.run(examples.Block("p.md", 1, language, text))

    assert run("python", "x = 20 + 3") == ""
    assert run("python", "assert x == 23") == ""
    assert "AssertionError" in run("python", "assert x == 24")
    assert run("sh", "echo 23 > made") == "" and (tmp_path / "made").read_text() == "23\n"
    assert "exit code 3" in run("sh", "exit 3\ntrue")
    assert run("json", '{"a": 1}') == "" and run("json", "{a: 1}") != ""
    assert run("toml", "a = 1") == "" and run("toml", "a = ") != ""


def test_an_extra_that_an_example_names_must_exist() -> None:
    assert examples.check_pip(["install", ".[train,serve]"]) == 0
    assert examples.check_pip(["install", "lungsight[trian]"]) == 1


def test_the_reference_holds_every_public_name() -> None:
    text = (ROOT / "docs" / "reference" / "python.md").read_text("utf-8")
    told = set(re.findall(r"^::: lungsight\.(\w+)$", text, re.M))
    assert told == set(lungsight.__all__) - {"__version__"}


def test_the_command_line_page_holds_every_command_and_option() -> None:
    page = cli_reference.page()
    for heading in ("lungsight predict", "lungsight data describe", "lungsight audit", "lungsight reproduce"):
        assert f"\n## {heading}\n" in page
    assert "| `--uncertain` `negative`, `positive`, `drop` |" in page
    assert "--quiet" not in page.partition("## lungsight")[2]


def test_every_page_is_in_the_site() -> None:
    nav = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:")[2]
    named = set(re.findall(r"[\w/-]+\.md", nav))
    there = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    books = {f"notebooks/{path.stem}.md" for path in (ROOT / "docs" / "notebooks").glob("*.ipynb")}
    assert named == there | books | {"reference/cli.md"}


def test_notebooks_are_kept_without_their_output() -> None:
    for path in (ROOT / "docs" / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text("utf-8"))["cells"]
        assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in cells), path
