"""Lung masks for rows that have none: the shipped lung network makes them, and the report says so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lungsight.audit.records import Caveat
from lungsight.dataset.cache import Arrays
from lungsight.dataset.table import Dataset, Row
from lungsight.errors import DataError
from lungsight.inference import Failure, load_model
from lungsight.wording import AuditCaveat


@dataclass(frozen=True)
class Known:
    """Rows whose image and lungs are known.

    Attributes:
        images, masks: (N, h, w), uint8 and bool.
    """

    dataset: Dataset
    images: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    failures: tuple[tuple[str, str], ...]
    notes: tuple[Caveat, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """The N rows."""
        return self.dataset.rows


def with_masks(dataset: Dataset, arrays: Arrays) -> Known:
    """Fill in the masks that a table lacks; an image in which no lungs are found is left out.

    Raises:
        DataError: no lungs are known, or found, in any image.
        ModelError: the shipped lung network cannot be used.
    """
    bare = np.flatnonzero(~arrays.has_mask)
    if not bare.size:
        rows = dataset.with_rows(arrays.rows)
        return Known(rows, arrays.images, arrays.masks, arrays.failures, ())
    masks = np.array(arrays.masks)
    engine = load_model(None)
    for index, result in zip(bare, engine.predict_many(iter(arrays.images[bare])), strict=True):
        if not isinstance(result, Failure):
            masks[index] = result.labels > 0
    good = masks.any(axis=(1, 2)) | arrays.has_mask
    if not good.any():
        raise DataError(
            "the table has no lung mask, and no lungs were found in any image",
            where=dataset.root,
            hint="The audit needs frontal chest X-rays",
        )
    lost = [(row.id, "no lungs were found") for row, ok in zip(arrays.rows, good, strict=True) if not ok]
    kept = dataset.with_rows(row for row, ok in zip(arrays.rows, good, strict=True) if ok)
    made = int(good[bare].sum())
    return Known(
        kept,
        arrays.images[good],
        masks[good],
        (*arrays.failures, *lost),
        (Caveat(AuditCaveat.MASKS_PREDICTED, {"images": made}),),
    )
