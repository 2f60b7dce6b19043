"""Rows with the masks of a lung network in place of the table's own, predicted once for all folds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lungsight.config import Recipe
from lungsight.dataset.cache import load_arrays
from lungsight.dataset.table import Dataset
from lungsight.files import atomic_write
from lungsight.training import predict_masks


@dataclass(frozen=True)
class ArrayMask:
    """A mask (H, W) in memory; `path` stays that of the row's own mask, or of its image."""

    pixels: NDArray[np.bool_]
    path: Path

    def load(self) -> NDArray[np.bool_]:
        """The mask."""
        return self.pixels

    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return int(self.pixels.shape[0]), int(self.pixels.shape[1])


def with_predicted_masks(dataset: Dataset, recipe: Recipe, run: Path, kept: Path) -> Dataset:
    """The readable rows, each with its predicted lung mask; one in which no lungs are found keeps none.

    Args:
        run: a lung run, or 'shipped'.
        kept: file in which the masks are kept, so that a stopped run need not predict them again.

    Raises:
        ModelError: there is no such run.
        DataError: no image can be read.
    """
    bare = dataset.with_rows(replace(row, mask=None) for row in dataset)
    arrays = load_arrays(bare, recipe.data.resized)
    ids = np.array([row.id for row in arrays.rows])
    masks = _read(kept, ids)
    if masks is None:
        masks = predict_masks(run, arrays.images)
        with atomic_write(kept) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, ids=ids, masks=masks)
    paths = {row.id: (row.image if row.mask is None else row.mask.path) for row in dataset}
    return dataset.with_rows(
        replace(row, mask=ArrayMask(mask, paths[row.id]) if mask.any() else None)
        for row, mask in zip(arrays.rows, masks, strict=True)
    )


def _read(kept: Path, ids: NDArray[np.str_]) -> NDArray[np.bool_] | None:
    try:
        with np.load(kept) as found:
            return np.asarray(found["masks"], bool) if np.array_equal(found["ids"], ids) else None
    except (OSError, ValueError, KeyError):
        return None
