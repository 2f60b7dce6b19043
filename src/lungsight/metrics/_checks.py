"""What every metric asks of its arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lungsight.errors import DataError


def labels(truth: ArrayLike) -> NDArray[np.bool_]:
    """(N,) of bool, or of 0 and 1, as bool.

    Raises:
        DataError: it is empty, not one-dimensional, or holds another value.
    """
    array = np.asarray(truth)
    if array.ndim != 1 or not array.size:
        raise DataError(f"the truth must be a list of labels, at least one; got shape {array.shape}")
    if array.dtype != np.bool_ and not np.isin(array, (0, 1)).all():
        raise DataError("the truth must be 0 or 1 for every image", hint="Are truth and prediction swapped?")
    return array.astype(np.bool_)


def scores(predicted: ArrayLike, truth: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scores (N,) of any range, and their labels (N,).

    Raises:
        DataError: lengths differ, or a score is NaN or infinite.
    """
    known = labels(truth)
    values = np.asarray(predicted, dtype=np.float64)
    if values.shape != known.shape:
        raise DataError(f"predictions and truth differ in length: {values.shape} and {known.shape}")
    if not np.isfinite(values).all():
        bad = int(np.count_nonzero(~np.isfinite(values)))
        raise DataError(f"{bad} of {values.size} predictions are NaN or infinite")
    return values, known


def probabilities(predicted: ArrayLike, truth: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Probabilities (N,) in [0, 1], and their labels (N,).

    Raises:
        DataError: as `scores`, or a probability outside [0, 1].
    """
    values, known = scores(predicted, truth)
    if values.min() < 0 or values.max() > 1:
        raise DataError(
            f"probabilities must lie in [0, 1]; they run from {values.min():.6g} to {values.max():.6g}",
            hint="Turn logits into probabilities first.",
        )
    return values, known


def masks(predicted: ArrayLike, truth: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Two stacks of masks (N, H, W); a single mask (H, W) becomes a stack of one.

    Raises:
        DataError: shapes differ, or a mask is not bool.
    """
    first, second = np.asarray(predicted), np.asarray(truth)
    if first.shape != second.shape:
        raise DataError(f"predicted and true mask differ in size: {first.shape} and {second.shape}")
    if first.dtype != np.bool_ or second.dtype != np.bool_:
        raise DataError(
            f"masks must be bool, not {first.dtype} and {second.dtype}", hint="Apply a threshold first."
        )
    if first.ndim == 2:
        return first[np.newaxis], second[np.newaxis]
    if first.ndim != 3:
        raise DataError(f"masks must be (H, W) or (N, H, W), not {first.shape}")
    return first, second
