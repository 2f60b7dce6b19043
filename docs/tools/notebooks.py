"""Notebooks run from beginning to end, and become pages with their pictures."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

SECONDS = 300


def run(path: Path) -> object:
    """The notebook with its output; it runs in an empty folder. Raises where a cell fails."""
    import nbformat
    from nbclient import NotebookClient

    book = nbformat.read(path, as_version=4)
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    with tempfile.TemporaryDirectory(prefix="lungsight-notebook-") as folder:
        client = NotebookClient(
            book, timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": folder}}
        )
        client.execute()
    return book


def pages(path: Path) -> dict[str, str | bytes]:
    """File of the site -> content: the page, its pictures, and the notebook with its output to download."""
    import nbconvert
    import nbformat
    from nbconvert import MarkdownExporter

    book = run(path)
    folder = f"notebooks/{path.stem}"
    resources = {"output_files_dir": path.stem, "unique_key": path.stem}
    # Beside the package, also where a virtual environment borrows it from another.
    templates = Path(nbconvert.__file__).parents[4] / "share" / "jupyter" / "nbconvert" / "templates"
    exporter = MarkdownExporter(extra_template_basedirs=[str(templates)])
    text, made = exporter.from_notebook_node(book, resources=resources)
    note = f"\n[This notebook, with its output]({path.stem}/{path.name}){{download}}\n"
    head, _, rest = text.partition("\n")
    found: dict[str, str | bytes] = {
        f"{folder}.md": head + "\n" + note + rest,
        f"{folder}/{path.name}": nbformat.writes(book),
    }
    for name, content in made["outputs"].items():
        found[f"notebooks/{name}"] = content
    return found
