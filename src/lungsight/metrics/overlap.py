"""Overlap of predicted and true masks: counts of pixels, and the metrics made of them.

Dice is what most papers report; Metrics Reloaded (Maier-Hein et al., Nature Methods 2024,
doi:10.1038/s41592-023-02151-z) asks for it, or IoU, together with a boundary metric (`boundary`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lungsight.metrics import _checks

OVERLAP_METRICS = ("dice", "iou", "sensitivity", "precision", "accuracy")


def overlap_metrics(counts: ArrayLike) -> dict[str, NDArray[np.float64]]:
    """Dice, IoU, sensitivity, precision and accuracy from counts of pixels.

    With TP, FP, FN, TN: Dice = 2 TP / (2 TP + FP + FN), IoU = TP / (TP + FP + FN),
    sensitivity = TP / (TP + FN), precision = TP / (TP + FP), accuracy = (TP + TN) / all.

    Both masks empty: the first four are 1 by convention, since nothing was missed or made up.
    One of the two empty: they are 0, also where the formula alone would be 0 / 0.

    Args:
        counts: (..., 4) of TP, FP, FN, TN.

    Returns:
        name -> (...) in [0, 1], named as `OVERLAP_METRICS`.
    """
    tp, fp, fn, tn = np.moveaxis(np.asarray(counts, dtype=np.float64), -1, 0)
    both_empty = (tp + fp + fn) == 0

    def ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(both_empty, 1.0, part / np.where(whole == 0, 1.0, whole))

    pixels = tp + fp + fn + tn
    return {
        "dice": ratio(2 * tp, 2 * tp + fp + fn),
        "iou": ratio(tp, tp + fp + fn),
        "sensitivity": ratio(tp, tp + fn),
        "precision": ratio(tp, tp + fp),
        "accuracy": (tp + tn) / np.where(pixels == 0, 1.0, pixels),
    }


class Overlap:
    """Counts of pixels for each image, gathered one image or one batch at a time.

    Example:
        >>> overlap = Overlap()
        >>> overlap.add(np.array([[True, True]]), np.array([[True, False]]))
        >>> float(overlap.pooled()["dice"].round(3))
        0.667
    """

    def __init__(self) -> None:
        self._counts: list[NDArray[np.int64]] = []

    @classmethod
    def of(cls, predicted: ArrayLike, truth: ArrayLike) -> Overlap:
        """The overlap of two stacks (N, H, W) of bool masks."""
        overlap = cls()
        overlap.add(predicted, truth)
        return overlap

    def add(self, predicted: ArrayLike, truth: ArrayLike) -> None:
        """Count one mask (H, W), or a batch (N, H, W), against its truth; both bool.

        Raises:
            DataError: sizes differ, or a mask is not bool.
        """
        first, second = _checks.masks(predicted, truth)
        both = np.count_nonzero(first & second, axis=(1, 2))
        only_first = np.count_nonzero(first, axis=(1, 2)) - both
        only_second = np.count_nonzero(second, axis=(1, 2)) - both
        neither = first[0].size - both - only_first - only_second if len(first) else both
        self._counts.append(np.stack((both, only_first, only_second, neither), axis=-1).astype(np.int64))

    @property
    def counts(self) -> NDArray[np.int64]:
        """(N, 4) of TP, FP, FN, TN, in the order in which images were added."""
        return np.concatenate(self._counts) if self._counts else np.zeros((0, 4), np.int64)

    def __len__(self) -> int:
        return sum(map(len, self._counts))

    def per_image(self) -> dict[str, NDArray[np.float64]]:
        """name -> (N,): every metric of every image. Their mean weighs each image alike."""
        return overlap_metrics(self.counts)

    def pooled(self) -> dict[str, NDArray[np.float64]]:
        """name -> (): every metric over the pixels of all images. Large lungs and images weigh more."""
        return overlap_metrics(self.counts.sum(axis=0))
