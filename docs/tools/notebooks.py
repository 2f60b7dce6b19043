"""Notebooks run from beginning to end, and become pages with their pictures."""

from __future__ import annotations

import base64
import os
import re
import tempfile
from pathlib import Path
from typing import Any

SECONDS = 300
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def run(path: Path) -> Any:
    """The notebook with its output; it runs in an empty folder. Raises where a cell fails."""
    import nbformat
    from nbclient import NotebookClient

    book = nbformat.read(path, as_version=4)
    if os.environ.get("NOTEBOOKS") == "0":  # while writing other pages
        return book
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    with tempfile.TemporaryDirectory(prefix="lungsight-notebook-") as folder:
        client = NotebookClient(
            book, timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": folder}}
        )
        client.execute()
    return book


def pages(path: Path) -> dict[str, str | bytes]:
    """File of the site -> content: the page, its pictures, and the notebook with its output to download."""
    import nbformat

    book = run(path)
    pictures: dict[str, str | bytes] = {}
    parts = [part for cell in book.cells for part in _cell(cell, path.stem, pictures)]
    note = f"[This notebook, with its output]({path.stem}/{path.name}){{download}}"
    parts.insert(1, note)
    return {
        f"notebooks/{path.stem}.md": "\n\n".join(parts) + "\n",
        f"notebooks/{path.stem}/{path.name}": nbformat.writes(book),
        **pictures,
    }


def _cell(cell: Any, name: str, pictures: dict[str, str | bytes]) -> list[str]:
    """Markdown of one cell; its pictures are added."""
    if cell.cell_type == "markdown":
        head, _, rest = str(cell.source).partition("\n")
        return [head, rest.strip()] if head.startswith("# ") else [str(cell.source)]
    found = [f"```python\n{cell.source}\n```"]
    for output in cell.outputs:
        data = output.get("data", {})
        if output.output_type == "stream":
            found.append(_text(output.text))
        elif "image/png" in data:
            place = f"{name}/picture-{len(pictures) + 1}.png"
            pictures[f"notebooks/{place}"] = base64.b64decode(data["image/png"])
            found.append(f"![What the cell above draws]({place})")
        elif "text/plain" in data and not str(data["text/plain"]).startswith("<"):
            found.append(_text(data["text/plain"]))
    return found


def _text(text: str) -> str:
    return f"```text\n{COLOURS.sub('', str(text)).rstrip()}\n```"
