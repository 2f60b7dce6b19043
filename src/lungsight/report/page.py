"""One self-contained HTML page: no outside hosts, fonts or scripts, readable in light, dark, print and on a phone.

The markup stands in `templates/` (Jinja2, autoescape on); here is only what goes into it. Nothing but
`Block.drawing` takes markup, and that is an SVG made by `lungsight.report.charts`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lungsight.errors import DataError, require
from lungsight.files import write_text
from lungsight.report.content import Measure
from lungsight.report.tables import Cell, Table, show

BANNER = "Research use only, not for diagnosis"

# The browser itself refuses whatever is not in the file.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


@dataclass(frozen=True)
class Tile:
    """An image in a grid.

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
        self.parts: list[dict[str, Any]] = []

    def _add(self, kind: str, **values: Any) -> None:
        self.parts.append({"kind": kind, **values})

    def render(self) -> str:
        """The HTML of this block alone."""
        return str(_environment().get_template("blocks.html").module.parts(self.parts))

    def text(self, *paragraphs: str) -> None:
        """Plain paragraphs; `backticks` make code."""
        self._add("text", paragraphs=paragraphs)

    def heading(self, text: str) -> None:
        """A heading within the section."""
        self._add("heading", text=text)

    def points(self, items: Sequence[str]) -> None:
        """A list with bullets."""
        self._add("points", items_=list(items))

    def code(self, text: str) -> None:
        """A command or listing, as it is."""
        self._add("code", text=text)

    def warning(self, text: str) -> None:
        """A sentence that must not be passed over."""
        self._add("warning", text=text)

    def key_figures(self, figures: Sequence[tuple[str, Cell, str]], digits: int = 4) -> None:
        """The few values that matter, large: (label, value, note). The interval of a measure joins the note."""
        cards = []
        for label, value, note in figures:
            if isinstance(value, Measure):
                parts = (
                    ["95 % interval " + " to ".join(show(end, digits) for end in value.bounds)]
                    if value.bounds
                    else []
                )
                note = ". ".join([*parts, *filter(None, (value.note, note))])
            number = value.value if isinstance(value, Measure) else value
            cards.append({"label": label, "value": show(number, digits), "note": note})
        self._add("keys", cards=cards)

    def table(self, table: Table) -> None:
        """A table; columns that hold only numbers stand to the right."""
        full = [row for row in table.rows if len(row) == len(table.header)]
        numeric = [
            index > 0 and bool(full) and all(not isinstance(row[index], str) for row in full)
            for index in range(len(table.header))
        ]
        rows = []
        for row in table.rows:
            cells = [
                _cell(value, table.digits, signed=index > 0 and name in table.signed)
                for index, (value, name) in enumerate(zip(row, table.header, strict=False))
            ]
            rows.append({"group": len(row) == 1 and len(table.header) > 1, "cells": cells})
        self._add(
            "table",
            caption=table.caption,
            header=list(table.header),
            numeric=numeric,
            rows=rows,
            notes=table.notes,
        )

    def drawing(self, svg: str, caption: str, alt: str, *, wide: bool = False) -> None:
        """An SVG from `lungsight.report.charts`; a `wide` one scrolls sideways on a phone."""
        self._add("drawing", svg=svg, caption=caption, alt=alt, wide=wide)

    @contextmanager
    def side_by_side(self) -> Iterator[None]:
        """What is added inside stands in columns where there is room."""
        outer, self.parts = self.parts, []
        yield
        inner, self.parts = self.parts, outer
        self._add("columns", parts=inner)

    def tiles(self, tiles: Sequence[Tile], caption: str, *, columns: int = 4) -> None:
        """A grid of images, with one caption under all; two columns on a phone."""
        found = [
            {
                "source": _data_url(tile.image),
                "alt": tile.alt,
                "caption": tile.caption,
                "width": tile.image.shape[1],
                "height": tile.image.shape[0],
            }
            for tile in tiles
        ]
        self._add("tiles", tiles=found, caption=caption, columns=columns)

    @contextmanager
    def details(self, summary: str, *, open: bool = False) -> Iterator[Block]:
        """What a reader may skip; closed on screen, shown in print."""
        inner = Block()
        yield inner
        self._add("details", summary=summary, open=open, parts=inner.parts)


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
        """What the footer says about where the values came from."""
        self._footer = [(str(key).replace("_", " "), _flat(value)) for key, value in facts.items()]

    def render(self) -> str:
        """The page as one string."""
        from markupsafe import Markup

        style = resources.files("lungsight.report").joinpath("style.css").read_text("utf-8")
        html: str = (
            _environment()
            .get_template("page.html")
            .render(
                title=self.title,
                lead=self.lead,
                banner=BANNER,
                policy=_POLICY,
                style=Markup(style),  # our own file; a style element is not escaped
                sections=[
                    {"id": name, "title": title, "parts": block.parts}
                    for name, title, block in self._sections
                ],
                footer=[(key, value) for key, value in self._footer if value],
            )
        )
        return html

    def write(self, path: str | Path) -> Path:
        """Write the page whole or not at all.

        Raises:
            OutputError: it cannot be written.
        """
        write_text(path, self.render())
        return Path(path)


@cache
def _environment() -> Any:
    jinja2 = require("jinja2", feature="Writing a report", extra="train")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lungsight.report"),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters |= {"inline": _inline, "caption": _caption, "drawn": _drawn}
    return environment


def _inline(text: str) -> Any:
    """Escaped text in which `backticks` are code."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _caption(text: str) -> Any:
    """As `_inline`; 'Figure 5. Words' gets its label in bold."""
    from markupsafe import Markup

    return Markup(re.sub(r"^((?:Figure|Table) [^.]{1,12}\.)", r"<b>\1</b>", str(_inline(text))))


def _drawn(svg: str, alt: str) -> Any:
    """An SVG of our own with its description."""
    from markupsafe import Markup, escape

    return Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{escape(alt)}" ', 1))


def _cell(value: Cell, digits: int, *, signed: bool = False) -> dict[str, str]:
    if isinstance(value, Measure) and value.bounds:
        ends = " to ".join(show(end, digits) for end in value.bounds)
        beside = f"{ends}; {value.note}" if value.note else ends
        return {"text": show(value.value, digits), "interval": beside}
    return {"text": show(value, digits, signed=signed), "interval": ""}


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_flat(item)}" for key, item in value.items())
    return "" if value is None else str(value)


def _data_url(image: NDArray[np.uint8]) -> str:
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
        raise DataError(f"an image of shape {image.shape} cannot be encoded")
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
