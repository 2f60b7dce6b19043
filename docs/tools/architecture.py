"""The picture of the layers, drawn from the imports that the files have, and from the floors that the tests hold."""

from __future__ import annotations

import html
import re
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from test_architecture import FILES, FLOORS, imports, part  # noqa: E402

PURPOSE = {
    "errors": "one tree of errors",
    "wording": "codes and their English",
    "records": "the base of every record",
    "progress": "one protocol of progress",
    "config": "recipes",
    "files": "files whole or not at all",
    "provenance": "what made a result",
    "preprocess": "resize, crop, mask",
    "xray": "bytes to grey pixels",
    "metrics": "arrays to metrics",
    "networks": "networks in PyTorch",
    "dataset": "one row an X-ray",
    "phantom": "drawn X-rays",
    "card": "a network's card",
    "model": "networks load and save",
    "inference": "masks, measures, scores",
    "writers": "masks, tables, DICOM",
    "batch": "many files",
    "duplicates": "one film twice",
    "training": "train, export",
    "explain": "what moved the score",
    "evaluation": "metrics with intervals",
    "ship": "what ships",
    "ship_severity": "the severity network",
    "audit": "is it about lungs?",
    "benchmark": "the cited systems",
    "report": "pages and charts",
    "server": "page and API",
    "pacs": "the DICOM node",
    "cluster": "many machines",
    "paper": "the paper, again",
    "cli": "the command line",
    "__main__": "python -m lungsight",
}
WIDTH, BOX, GAP, ROW = 1180, 128, 10, 92
STYLE = """
text { font-family: system-ui, sans-serif; fill: #16323a; }
.name { font-size: 14px; font-weight: 600; text-anchor: middle; }
.what { font-size: 10px; text-anchor: middle; fill: #3c5860; }
.floor { font-size: 12px; fill: #3c5860; }
.box { fill: #e2f1f0; stroke: #00796b; stroke-width: 1.2; }
.edge { fill: none; stroke: #00796b; stroke-opacity: .28; }
.paper { fill: #fbfdfd; }
"""


def edges() -> Counter[tuple[str, str]]:
    """(part, part that it imports) -> imports, those for types alone left out."""
    found: Counter[tuple[str, str]] = Counter()
    for path in FILES:
        here = part(path)
        for _, there, typing_only in imports(path):
            if there != here and not typing_only and here != "__init__":
                found[here, there] += 1
    return found


def _floors() -> list[list[str]]:
    there = {part(path) for path in FILES}
    return [[name for name in floor if name in there and name != "__main__"] for floor in FLOORS]


def picture() -> str:
    """SVG: a row a floor, the lowest below; a line for each pair of parts of which one imports the other."""
    floors = [floor for floor in _floors() if floor]
    height = ROW * len(floors) + 20
    place: dict[str, tuple[float, float]] = {}
    for index, floor in enumerate(floors):
        y = height - ROW * (index + 1) + 10
        room = (WIDTH - 40) / len(floor)
        for column, name in enumerate(floor):
            place[name] = (40 + room * (column + 0.5), y)
    lines, boxes = [], []
    for (upper, lower), count in sorted(edges().items()):
        if upper not in place or lower not in place:
            continue
        (x0, y0), (x1, y1) = place[upper], place[lower]
        if y0 == y1:
            path = f"M{x0:.0f} {y0:.0f} Q{(x0 + x1) / 2:.0f} {y0 - 22:.0f} {x1:.0f} {y1:.0f}"
        else:
            path = f"M{x0:.0f} {y0 + 44:.0f} C{x0:.0f} {y0 + 74:.0f} {x1:.0f} {y1 - 30:.0f} {x1:.0f} {y1:.0f}"
        lines.append(f'<path class="edge" stroke-width="{min(0.6 + count / 8, 3):.1f}" d="{path}"/>')
    for name, (x, y) in place.items():
        floor = next(floor for floor in floors if name in floor)
        side = min(BOX, (WIDTH - 40) / len(floor) - GAP)
        boxes.append(
            f'<rect class="box" x="{x - side / 2:.0f}" y="{y:.0f}" width="{side:.0f}" height="44" rx="6"/>'
            f'<text class="name" x="{x:.0f}" y="{y + 19:.0f}">{html.escape(name)}</text>'
            + _small(PURPOSE.get(name, ""), x, y + 34, side)
        )
    for index in range(len(floors)):
        boxes.append(f'<text class="floor" x="10" y="{height - ROW * (index + 1) + 36}">{index}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
        f' aria-label="The layers of lungsight"><style>{STYLE}</style>'
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>'
        + "".join(lines)
        + "".join(boxes)
        + "</svg>"
    )


def _small(text: str, x: float, y: float, side: float) -> str:
    if len(text) * 4.9 > side:
        text = text[: max(int(side / 4.9) - 1, 1)].rsplit(" ", 1)[0]
        text = re.sub(r"[ ,]+(the|that|a|to|and|is|or|not)?$", "", text)
    return f'<text class="what" x="{x:.0f}" y="{y:.0f}">{html.escape(text)}</text>'


def table() -> str:
    """Markdown: a row for each part, the highest floor first, with what it imports."""
    uses = edges()
    rows = []
    for index, floor in reversed(list(enumerate(_floors()))):
        for name in floor:
            below = ", ".join(f"`{lower}`" for upper, lower in sorted(uses) if upper == name)
            rows.append(f"| {index} | `{name}` | {PURPOSE.get(name, '')} | {below} |")
    return "| floor | part | what | imports |\n| --- | --- | --- | --- |\n" + "\n".join(rows) + "\n"
