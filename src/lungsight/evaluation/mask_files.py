"""Anybody's lung masks: files named by the images, in any form that `MaskFile` reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lungsight.dataset.cache import check_aspect
from lungsight.dataset.masks import MaskFile
from lungsight.dataset.table import Dataset, Row
from lungsight.errors import DataError, LungsightError
from lungsight.evaluation.pairing import pair
from lungsight.evaluation.predictions import SIZE, Predictions
from lungsight.metrics import Note, Overlap
from lungsight.preprocess import resize_mask
from lungsight.progress import ProgressCallback, silent
from lungsight.wording import Caution

SUFFIXES = frozenset({".png", ".tif", ".tiff", ".bmp", ".gif", ".jpg", ".jpeg"})
SUSPICIOUS_DICE = 0.1
"""A mean below this looks like a file format, not like a network."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class _Read:
    row: Row
    truth: Mask
    mask: Mask


def read_masks(folder: Path, dataset: Dataset, *, progress: ProgressCallback = silent) -> Predictions:
    """Anybody's lung masks: a folder of images named by id or by file name, also in folders below it.

    A mask may be of another size than the annotated one as long as its aspect ratio is the same; both are compared
    at `SIZE`.

    Raises:
        DataError: no masks, or none that matches a row and can be used.
    """
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )
    known = dataset.where(lambda row: row.mask is not None)
    if not len(known):
        raise DataError("has no lung masks to compare with", where=dataset.root)
    if not files:
        raise DataError("holds no PNG mask, nor one in TIFF, BMP, GIF or JPEG", where=folder)
    names = [path.relative_to(folder).as_posix() for path in files]
    chosen, failures = pair(names, names, known, dataset, folder, mask=True)
    read: list[_Read] = []
    for done, (place, index) in enumerate(chosen.items(), 1):
        row = known.rows[index]
        try:
            read.append(_Read(row, *_mask_pair(row, files[place])))
        except LungsightError as error:
            failures.append(
                (row.id, error.message if error.hint is None else f"{error.message}. {error.hint}")
            )
        progress(done, len(chosen))
    if not read:
        raise DataError(f"none of the masks can be used ({failures[0][0]}: {failures[0][1]})", where=folder)
    truth, masks = np.stack([one.truth for one in read]), np.stack([one.mask for one in read])
    return Predictions(
        name=f"the masks in {folder.name}",
        part="all",
        rows=tuple(one.row for one in read),
        masks=masks,
        truth=truth,
        failures=tuple(failures),
        notes=format_notes(masks, truth),
    )


def format_notes(masks: Mask, truth: Mask) -> tuple[Note, ...]:
    """A warning where masks (N, H, W) hardly meet the truth: that looks like a format, or other images' masks."""
    dice = float(Overlap.of(masks, truth).per_image()["dice"].mean())
    return (Note(Caution.MASK_FORMAT, names=(f"{dice:.2f}",)),) if dice < SUSPICIOUS_DICE else ()


def _mask_pair(row: Row, file: Path) -> tuple[Mask, Mask]:
    if row.mask is None:
        raise DataError("the row has no lung mask", where=row.id)
    truth, mask = row.mask.load(), MaskFile(file).load()
    if mask.shape != truth.shape:
        try:
            check_aspect((truth.shape[0], truth.shape[1]), (mask.shape[0], mask.shape[1]), str(file))
        except DataError:
            sizes = f"{mask.shape[1]} x {mask.shape[0]}, the true one {truth.shape[1]} x {truth.shape[0]}"
            raise DataError(f"the mask is {sizes}: not the same shape", where=file) from None
    return resize_mask(truth, SIZE), resize_mask(mask, SIZE)
