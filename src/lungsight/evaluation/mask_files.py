"""Anybody's lung masks: files named by the images, in any form that `MaskFile` reads."""

from __future__ import annotations

from collections.abc import Callable
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

Mask = NDArray[np.bool_]

SUFFIXES = frozenset({".png", ".tif", ".tiff", ".bmp", ".gif", ".jpg", ".jpeg"})
SUSPICIOUS_DICE = 0.1
"""A mean below this looks like a file format, not like a network."""
TURNED_BETTER, TURNED_OFTEN, TURNED_IMAGES = 0.05, 0.75, 200
"""Masks look turned where that lifts the mean Dice by more than the first, and that of this part of the images looked
at: mirrored masks of lungs still have a Dice of 0.78, which nobody would question."""
_TURNED: dict[Caution, Callable[[Mask], Mask]] = {
    Caution.MASKS_MIRRORED: lambda masks: masks[:, :, ::-1],
    Caution.MASKS_FLIPPED: lambda masks: masks[:, ::-1],
    Caution.MASKS_UPSIDE_DOWN: lambda masks: masks[:, ::-1, ::-1],
    Caution.MASKS_TRANSPOSED: lambda masks: masks.transpose(0, 2, 1),
    Caution.MASKS_CLOCKWISE: lambda masks: np.rot90(masks, 1, (1, 2)),
    Caution.MASKS_ANTICLOCKWISE: lambda masks: np.rot90(masks, -1, (1, 2)),
    Caution.MASKS_TRANSPOSED_OTHER: lambda masks: masks[:, ::-1, ::-1].transpose(0, 2, 1),
}
"""What the masks are, and what undoes it."""


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
    """Warnings where masks (N, H, H) look turned, or hardly meet the truth, as those of a misread format do."""
    turned = _turned(masks, truth)
    if turned is not None:
        return (turned,)
    dice = float(_dice(masks, truth).mean())
    return (Note(Caution.MASK_FORMAT, names=(f"{dice:.2f}",)),) if dice < SUSPICIOUS_DICE else ()


def _turned(masks: Mask, truth: Mask) -> Note | None:
    step = -(-len(masks) // TURNED_IMAGES)
    masks, truth = masks[::step], truth[::step]
    given = _dice(masks, truth)
    tried = {code: np.nan_to_num(_dice(undo(masks), truth) - given) for code, undo in _TURNED.items()}
    code = max(tried, key=lambda code: float(tried[code].mean()))
    gained = tried[code]
    found = gained.mean() > TURNED_BETTER and (gained > 0).mean() >= TURNED_OFTEN
    return Note(code) if found else None


def _dice(masks: Mask, truth: Mask) -> NDArray[np.float64]:
    return Overlap.of(masks, truth).per_image()["dice"]


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
