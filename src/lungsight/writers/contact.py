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

from lungsight.files import atomic_write
from lungsight.inference.result import ResultRecord
from lungsight.wording import GateAnswer, Status, words
from lungsight.writers.contact_page import HEAD, SCRIPT
from lungsight.writers.images import thumbnail
from lungsight.writers.results import printable, read_results

Entry = tuple[ResultRecord, bytes | None]
"""A row, and its thumbnail as JPEG where there is one."""


def write_contact_sheet(path: str | Path, entries: Iterable[Entry], *, title: str = "Lungsight") -> None:
    """Write a page that needs no other file and no network: thumbnails inside, flagged ones first.

    Entries are written as they come, so that memory stays flat; the page itself draws 120 at a time.
    Links to the masks and overlays work as long as the page lies beside them.

    Args:
        path: the HTML file.
        entries: rows and thumbnails; see `entries_of`.
        title: heading.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(HEAD.replace("{title}", html.escape(title)))
        file.write(f"<script type=application/json id=words>{_json(words())}</script>\n")
        for row, picture in entries:
            file.write(f"<script type=application/json class=entry>{_json(_entry(row, picture))}</script>\n")
        file.write(SCRIPT)


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
        picture = row.overlay or row.mask
        yield row, _thumbnail(folder / picture, side) if picture else None


def _thumbnail(path: Path, side: int) -> bytes | None:
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            # A JPEG decodes at half, quarter or eighth size for a fraction of the time.
            image.draft("RGB", (side, side))
            # A mask may be a label map of 0, 1 and 2.
            picture = (
                image.point(lambda value: 255 if value else 0) if image.format == "PNG" else image.copy()
            )
    except (OSError, ValueError, SyntaxError):
        return None
    return thumbnail(np.asarray(picture.convert("RGB")), side)


def _entry(row: ResultRecord, picture: bytes | None) -> dict[str, Any]:
    return {
        "name": printable(row.input),
        "status": row.status,
        "error": row.message,
        "p": row.probability,
        "low": row.low,
        "high": row.high,
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
