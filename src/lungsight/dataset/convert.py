"""Any layout to a manifest with its images and masks."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lungsight.dataset.cache import check_aspect, image_shape
from lungsight.dataset.finding import is_covid
from lungsight.dataset.masks import MaskFile
from lungsight.dataset.readers.manifest import NAME, labels_text, write_table
from lungsight.dataset.table import COVID, Dataset, Excluded, MaskSource, Row, Target
from lungsight.errors import DataError, InputError, OutputError
from lungsight.files import atomic_write
from lungsight.preprocess import resize_image, resize_mask, to_uint8
from lungsight.wording import Exclusion
from lungsight.xray import read_xray


def write_manifest(
    dataset: Dataset,
    out: str | Path,
    *,
    size: tuple[int, int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Write `images/`, `masks/` (PNG, 1 bit, lung = 1) and `manifest.csv` into a folder.

    Args:
        dataset: from any layout.
        out: a new or empty folder.
        size: (h, w) to resize images (then PNG, 8-bit grey) and masks to; None copies the image files as they
            are and keeps the masks' size.
        progress: called with (rows done, rows in all).

    Returns:
        The new data set. A row that could not be read is in its `excluded`, marked broken, after those of
        `dataset`; the rest is written.

    Raises:
        DataError: not one row could be written, or the folder holds something.
        OutputError: the folder cannot be written.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or next(out.iterdir(), None) is not None):
        raise OutputError("the folder exists and is not empty", where=out, hint="Choose a new one")
    rows: list[Row] = []
    failures: list[Excluded] = []
    names: set[str] = set()
    for done, row in enumerate(dataset.rows, 1):
        try:
            rows.append(_write_row(row, _file_name(row.id, names), out, size))
        except (InputError, DataError) as error:
            failures.append(
                Excluded(
                    row.id, Exclusion.UNREADABLE, error.where or "", error.message, row.covid, broken=True
                )
            )
        if progress is not None:
            progress(done, len(dataset))
    if not rows:
        reason = failures[0].reason if failures else "the data set has no usable image"
        raise DataError(f"nothing to write: {reason}", where=dataset.root)
    write_table(out / NAME, (_record(row, out, dataset.target) for row in rows))
    return replace(
        dataset, root=out, layout="manifest", rows=tuple(rows), excluded=(*dataset.excluded, *failures)
    )


def _write_row(row: Row, name: str, out: Path, size: tuple[int, int] | None) -> Row:
    # Everything is read before anything is written: a broken mask leaves no orphan image.
    mask, heart = (source.load() if source is not None else None for source in (row.mask, row.heart))
    if size is None:
        shape = image_shape(row.image)
        image = out / "images" / f"{name}{row.image.suffix.lower()}"
    else:
        pixels = read_xray(row.image).pixels
        shape = (int(pixels.shape[0]), int(pixels.shape[1]))
        image = out / "images" / f"{name}.png"
    for one in (mask, heart):
        if one is not None:
            check_aspect(shape, (one.shape[0], one.shape[1]), row.id)
    with atomic_write(image) as temporary:
        if size is None:
            shutil.copyfile(row.image, temporary)
        else:
            _save_png(to_uint8(resize_image(pixels, size)), temporary)
    written = _write_mask(mask, out / "masks" / f"{name}.png", size)
    hearts = _write_mask(heart, out / "hearts" / f"{name}.png", size)
    original = row.original_filename or row.image.name
    return replace(row, image=image, mask=written, heart=hearts, original_filename=original)


def _write_mask(mask: NDArray[np.bool_] | None, path: Path, size: tuple[int, int] | None) -> MaskFile | None:
    if mask is None:
        return None
    with atomic_write(path) as temporary:
        _save_png(mask if size is None else resize_mask(mask, size), temporary)
    return MaskFile(path)


def _save_png(pixels: NDArray[np.uint8] | NDArray[np.bool_], path: Path) -> None:
    from PIL import Image

    Image.fromarray(pixels).save(path, format="PNG", optimize=False)


def _file_name(identity: str, taken: set[str]) -> str:
    """A name that every file system takes; ids that differ only in odd characters or in case get a number."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", identity).strip("._")[:100] or "image"
    name, number = plain, 2
    while name.lower() in taken:
        name, number = f"{plain}-{number}", number + 1
    taken.add(name.lower())
    return name


def _record(row: Row, out: Path, target: Target) -> dict[str, object]:
    record: dict[str, object] = {
        "id": row.id,
        "image": row.image.relative_to(out).as_posix(),
        "mask": _path(row.mask, out),
        "heart": _path(row.heart, out),
        "source": row.source,
        "subsource": row.subsource,
        "original_filename": row.original_filename,
        "patient": row.patient,
        "group": row.group,
        "finding": row.finding,
        "covid": row.covid if target.name == COVID else is_covid(row.finding),
        "view": row.view,
        "sex": row.sex,
        "age": f"{row.age:g}" if row.age is not None else "",
        "original_width": row.original_width,
        "original_height": row.original_height,
        "original_mode": row.original_mode,
        "original_bytes": row.original_bytes,
        "labels": labels_text(row.labels),
        "convention": row.convention,
    }
    if target.name != COVID:
        record["target"] = row.positive
    return {**{name: text for name, text in row.extra.items() if name not in record}, **record}


def _path(mask: MaskSource | None, out: Path) -> str:
    return mask.path.relative_to(out).as_posix() if isinstance(mask, MaskFile) else ""
