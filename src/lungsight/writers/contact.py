"""The contact sheet: every result of a run on one page, to look through."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from PIL import Image

from lungsight.files import AtomicStream
from lungsight.inference.result import ResultRecord
from lungsight.inference.worth import ratio_words, score_words, severity_words
from lungsight.wording import GateAnswer, Status, words
from lungsight.writers.contact_page import HEAD, SCRIPT
from lungsight.writers.images import mask_values, thumbnail
from lungsight.writers.results import printable, read_results

Entry = tuple[ResultRecord, bytes | None]
"""A row, and its thumbnail as JPEG where there is one."""


MAX_ENTRIES = 5000
"""A page with more would not open in a browser; the others are in the table."""


class ContactSheet:
    """A page that needs no other file and no network: thumbnails inside, flagged ones first.

    Entries are written as they come, so that memory stays flat; the page itself draws 120 at a time. Links to the
    masks and overlays work as long as the page lies beside them. The page is there once it is closed.

    Args:
        path: the HTML file.
        title: heading.

    Raises:
        OutputError: it cannot be written.
    """

    def __init__(self, path: str | Path, *, title: str = "Lungsight") -> None:
        self._count = 0
        self._stream = AtomicStream(path)
        self._stream.write(HEAD.replace("{title}", html.escape(title)))
        self._stream.write(f"<script type=application/json id=words>{_json(words())}</script>\n")

    def add(self, row: ResultRecord, picture: bytes | None) -> None:
        """One entry: a row, and its thumbnail as JPEG where there is one."""
        self._count += 1
        if self._count <= MAX_ENTRIES:
            entry = _json(_entry(row, picture))
            self._stream.write(f"<script type=application/json class=entry>{entry}</script>\n")

    @property
    def full(self) -> bool:
        """No more entries are taken, and no more thumbnails needed."""
        return self._count >= MAX_ENTRIES

    def close(self) -> None:
        """End the page and move it to its place."""
        more = self._count - MAX_ENTRIES
        if more > 0:
            self._stream.write(f"<p class=note>{more:,} more X-rays are in results.csv alone.</p>\n")
        self._stream.write(SCRIPT)
        self._stream.close()


def write_contact_sheet(path: str | Path, entries: Iterable[Entry], *, title: str = "Lungsight") -> None:
    """Write a `ContactSheet` of rows and thumbnails; see `entries_of`.

    Raises:
        OutputError: it cannot be written.
    """
    sheet = ContactSheet(path, title=title)
    for row, picture in entries:
        sheet.add(row, picture)
    sheet.close()


def entries_of(table: str | Path, *, side: int = 160) -> Iterator[Entry]:
    """The rows of a `results.csv` with thumbnails of the overlays that lie beside it (masks where there are none).

    Args:
        table: the CSV file; the paths in its columns are taken from its folder.
        side: longer side of a thumbnail in pixels.

    Raises:
        OutputError: it is no such table.
    """
    folder = Path(table).parent
    for row in read_results(table):
        yield row, thumbnail_of(row, folder, side)


def thumbnail_of(row: ResultRecord, folder: Path, side: int = 160) -> bytes | None:
    """JPEG of the overlay (the mask where there is none) of a row below `folder`; None where there is none."""
    name = row.overlay or row.mask
    if not name:
        return None
    path = folder / name
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            # A JPEG decodes at half, quarter or eighth size for a fraction of the time.
            image.draft("RGB", (side, side))
            # A mask may be a label map of 0, 1 and 2.
            picture = (
                mask_values(np.asarray(image) > 0)
                if image.format == "PNG"
                else np.asarray(image.convert("RGB"))
            )
    except (OSError, ValueError, SyntaxError):
        return None
    return thumbnail(picture, side)


def _entry(row: ResultRecord, picture: bytes | None) -> dict[str, Any]:
    return {
        "name": printable(row.input),
        "status": row.status,
        "error": row.message,
        "severity": row.severity,
        "severity_words": severity_words(row),
        "ratio_words": ratio_words(row),
        "doubts": list(map(str, row.ratio_doubts)),
        "p": row.probability,
        "score_words": score_words(row),
        "decision": row.decision,
        "reasons": list(row.reasons),
        "flags": sorted(set(map(str, row.flags)) - set(map(str, row.reasons))),
        "concern": _concern(row),
        "link": PurePath(row.overlay or row.mask).as_posix() if row.overlay or row.mask else "",
        "picture": base64.b64encode(picture).decode() if picture else "",
    }


def _concern(row: ResultRecord) -> int:
    """How much a person should look at it first."""
    failed, refused = row.status is Status.FAILED, row.gate is GateAnswer.NOT_FRONTAL
    return 4 * failed + 2 * (refused or row.status is Status.REFUSED) + bool(row.flags)


def _json(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
