"""One self-contained HTML page: no outside hosts, fonts or scripts, readable in light, dark, print and on a phone.

Everything that is text is escaped; nothing but `Block.drawing` takes markup, and that is an SVG made here.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lungsight.errors import DataError
from lungsight.files import write_text
from lungsight.report.content import Measure
from lungsight.report.tables import Cell, Table, show

BANNER = "Research use only, not for diagnosis"

# The browser itself refuses whatever is not in the file.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


@dataclass(frozen=True)
class Tile:
    """A picture in a grid.

    Attributes:
        image: (H, W) or (H, W, 3) RGB uint8.
        alt: what a reader who does not see it is told.
    """

    image: NDArray[np.uint8]
    alt: str
    caption: str = ""


class Block:
    """A run of paragraphs, tables and figures; a section of a page, or what is inside a `details`."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    def render(self) -> str:
        return "\n".join(self._parts)

    def text(self, *paragraphs: str) -> None:
        """Plain paragraphs; `backticks` make code."""
        self._parts += [f"<p>{_inline(paragraph)}</p>" for paragraph in paragraphs]

    def heading(self, text: str) -> None:
        self._parts.append(f"<h3>{_inline(text)}</h3>")

    def points(self, items: Sequence[str]) -> None:
        """A list with bullets."""
        self._parts.append("<ul>" + "".join(f"<li>{_inline(item)}</li>" for item in items) + "</ul>")

    def code(self, text: str) -> None:
        """A command or listing, as it is."""
        self._parts.append(f'<pre tabindex="0"><code>{html.escape(text)}</code></pre>')

    def warning(self, text: str) -> None:
        """A sentence that must not be passed over."""
        self._parts.append(f'<div class="warning" role="note"><strong>Note.</strong> {_inline(text)}</div>')

    def key_figures(self, figures: Sequence[tuple[str, Cell, str]], digits: int = 4) -> None:
        """The few figures that matter, large: (label, value, note). The interval of a measure joins the note."""
        cards = []
        for label, value, note in figures:
            if isinstance(value, Measure) and value.bounds:
                interval = "95 % interval " + " to ".join(show(end, digits) for end in value.bounds)
                note = f"{interval}. {note}" if note else interval
            number = value.value if isinstance(value, Measure) else value
            cards.append(
                f'<div><dt>{_inline(label)}</dt><dd class="value">{html.escape(show(number, digits))}</dd>'
                + (f'<dd class="note">{_inline(note)}</dd>' if note else "")
                + "</div>"
            )
        self._parts.append(f'<dl class="keys">{"".join(cards)}</dl>')

    def table(self, table: Table) -> None:
        """A table; columns that hold only figures stand to the right."""
        full = [row for row in table.rows if len(row) == len(table.header)]
        numeric = [
            index > 0 and bool(full) and all(not isinstance(row[index], str) for row in full)
            for index in range(len(table.header))
        ]
        head = "".join(
            f'<th scope="col"{_class(number)}>{_inline(name)}</th>'
            for name, number in zip(table.header, numeric, strict=True)
        )
        body = []
        for row in table.rows:
            if len(row) == 1 and len(table.header) > 1:
                body.append(
                    f'<tr><th scope="rowgroup" colspan="{len(table.header)}">{_inline(show(row[0]))}</th></tr>'
                )
                continue
            cells = [f'<th scope="row">{_cell(row[0], table.digits)}</th>']
            cells += [
                f"<td{_class(number)}>{_cell(cell, table.digits, signed=name in table.signed)}</td>"
                for cell, number, name in zip(row[1:], numeric[1:], table.header[1:], strict=True)
            ]
            body.append(f"<tr>{''.join(cells)}</tr>")
        label = html.escape(table.caption, quote=True)
        notes = f'<p class="notes">{_inline(table.notes)}</p>' if table.notes else ""
        self._parts.append(
            f'<div><div class="scroll" tabindex="0" role="region" aria-label="{label}"><table>'
            f"<caption><span>{_inline(table.caption)}</span></caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{''.join(body)}</tbody></table></div>{notes}</div>"
        )

    def drawing(self, svg: str, caption: str, alt: str, *, wide: bool = False) -> None:
        """An SVG from `lungsight.report.charts`; a `wide` one scrolls sideways on a phone."""
        label = html.escape(alt, quote=True)
        svg = svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
        if wide:
            svg = f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">{svg}</div>'
        kind = ' class="wide"' if wide else ""
        self._parts.append(f"<figure{kind}>{svg}<figcaption>{_caption(caption)}</figcaption></figure>")

    @contextmanager
    def side_by_side(self) -> Iterator[None]:
        """What is added inside stands in columns where there is room."""
        self._parts.append('<div class="columns">')
        yield
        self._parts.append("</div>")

    def tiles(self, tiles: Sequence[Tile], caption: str, *, columns: int = 4) -> None:
        """A grid of pictures, with one caption under all; two columns on a phone."""
        pictures = "".join(
            f'<figure><img src="{_picture(tile.image)}" alt="{html.escape(tile.alt, quote=True)}" loading="lazy" '
            f'width="{tile.image.shape[1]}" height="{tile.image.shape[0]}">'
            + (f"<figcaption>{_inline(tile.caption)}</figcaption>" if tile.caption else "")
            + "</figure>"
            for tile in tiles
        )
        self._parts.append(
            f'<figure><div class="tiles" style="--columns:{columns}">{pictures}</div>'
            f"<figcaption>{_caption(caption)}</figcaption></figure>"
        )

    @contextmanager
    def details(self, summary: str, *, open: bool = False) -> Iterator[Block]:
        """What a reader may skip; closed on screen, shown in print."""
        inner = Block()
        yield inner
        state = " open" if open else ""
        self._parts.append(f"<details{state}><summary>{_inline(summary)}</summary>{inner.render()}</details>")


class Page:
    """A report in the making.

    Args:
        title: of the page.
        lead: what it is, one or two sentences under the title.
    """

    def __init__(self, title: str, lead: str = "") -> None:
        self.title = title
        self.lead = lead
        self._sections: list[tuple[str, str, Block]] = []
        self._footer: list[tuple[str, str]] = []

    def section(self, title: str) -> Block:
        """Start a section; it stands in the table of contents under an id made from its title."""
        taken = {name for name, _, _ in self._sections}
        name = base = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"
        number = 2
        while name in taken:
            name, number = f"{base}-{number}", number + 1
        block = Block()
        self._sections.append((name, title, block))
        return block

    def provenance(self, facts: Mapping[str, Any]) -> None:
        """What the footer says about where the figures came from."""
        self._footer = [(str(key).replace("_", " "), _flat(value)) for key, value in facts.items()]

    def render(self) -> str:
        """The page as one string."""
        style = resources.files("lungsight.report").joinpath("style.css").read_text("utf-8")
        contents = "".join(
            f'<li><a href="#{name}">{_inline(title)}</a></li>' for name, title, _ in self._sections
        )
        body = "\n".join(
            f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{_inline(title)}</h2>\n'
            f"{block.render()}\n</section>"
            for name, title, block in self._sections
        )
        facts = " · ".join(
            f"{html.escape(key)}: {html.escape(value)}" for key, value in self._footer if value
        )
        lead = f'<p class="lead">{_inline(self.lead)}</p>' if self.lead else ""
        return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<link rel="icon" href="data:,">
<title>{html.escape(self.title)}</title>
<style>
{style}</style>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<div class="banner">{BANNER}</div>
<div class="sheet">
<header><h1>{_inline(self.title)}</h1>{lead}</header>
<div class="layout">
<nav aria-label="Contents"><strong>Contents</strong><ol>{contents}</ol></nav>
<main id="content">
{body}
</main>
</div>
<footer><p><strong>{BANNER}.</strong></p><p>{facts}</p></footer>
</div>
</body>
</html>
"""

    def write(self, path: str | Path) -> Path:
        """Write the page whole or not at all.

        Raises:
            OutputError: it cannot be written.
        """
        write_text(path, self.render())
        return Path(path)


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def _caption(text: str) -> str:
    # 'Figure 5. Words' gets its label in bold.
    return re.sub(r"^((?:Figure|Table) [^.]{1,12}\.)", r"<b>\1</b>", _inline(text))


def _class(numeric: bool) -> str:
    return ' class="num"' if numeric else ""


def _cell(value: Cell, digits: int, *, signed: bool = False) -> str:
    number, bracket, interval = show(value, digits, signed=signed).partition(" (")
    if isinstance(value, Measure) and bracket:
        return f'{number} <span class="interval">({interval}</span>'
    return _inline(number + bracket + interval)


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_flat(item)}" for key, item in value.items())
    return "" if value is None else str(value)


def _picture(image: NDArray[np.uint8]) -> str:
    pixels = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    # 4:4:4: coloured outlines one pixel wide would smear under chroma subsampling.
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        84,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    done, data = cv2.imencode(".jpg", pixels, options)
    if not done:
        raise DataError(f"a picture of shape {image.shape} cannot be encoded")
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
