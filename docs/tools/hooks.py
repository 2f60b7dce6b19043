"""Pages made when the site is built: the command line, the picture of the layers, notebooks with their output."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import architecture  # noqa: E402
import cli_reference  # noqa: E402
import notebooks  # noqa: E402


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages, beside those that lie in docs/."""
    made: dict[str, str | bytes] = {
        "reference/cli.md": cli_reference.page(),
        "explanation/layers.svg": architecture.picture(),
    }
    for path in sorted((HERE.parent / "notebooks").glob("*.ipynb")):
        made |= notebooks.pages(path)
    for name, content in made.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Put the generated table of layers where the page of the architecture asks for it."""
    if page.file.src_uri == "explanation/architecture.md":
        return markdown.replace("<!-- layers -->", architecture.table())
    return markdown
