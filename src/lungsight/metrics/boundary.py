"""Distance between the outlines of predicted and true masks.

Outlines are the pixels of a mask that touch its outside (4-neighbours, as MONAI takes them); distances run
from pixel centre to pixel centre. MONAI gives the same values (tests compare them); a k-d tree over the few
outline pixels is many times quicker than its distance maps over the whole image.

Empty masks: with both empty NSD is 1, as Dice, and there is no distance (NaN). With one empty NSD is 0 and
the distance is infinite: means are over the finite ones, and count the others beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lungsight.errors import require
from lungsight.metrics import _checks

Spacing = tuple[float, float]
"""Height and width of a pixel: (1, 1) counts in pixels, a detector's spacing in mm."""


@dataclass(frozen=True, slots=True)
class BoundaryMetrics:
    """Outline agreement of one image."""

    nsd: float
    """Normalised surface distance: fraction of both outlines within the tolerance of the other, [0, 1]."""
    hd95: float
    """95th percentile of the distances to the other outline, the worse of the two directions, [0, inf]."""
    assd: float
    """Average symmetric surface distance over the pixels of both outlines, [0, inf]."""


class Boundary:
    """Outline agreement for each image, gathered one image at a time.

    Args:
        tolerance: what counts as agreement for NSD, in the units of `spacing`. Metrics Reloaded (Maier-Hein
            et al., 2024) asks that it be about what two annotators differ by; 2 pixels of a 256 pixel X-ray
            are some 3 mm.
    """

    def __init__(self, tolerance: float = 2.0) -> None:
        self.tolerance = tolerance
        self._images: list[BoundaryMetrics] = []

    def add(self, predicted: ArrayLike, truth: ArrayLike, spacing: Spacing = (1.0, 1.0)) -> None:
        """Measure one mask (H, W), or a batch (N, H, W), against its truth; both bool.

        Raises:
            DataError: sizes differ, or a mask is not bool.
            MissingExtraError: SciPy is not installed.
        """
        for first, second in zip(*_checks.masks(predicted, truth), strict=True):
            self._images.append(boundary_metrics(first, second, tolerance=self.tolerance, spacing=spacing))

    def __len__(self) -> int:
        return len(self._images)

    def per_image(self) -> dict[str, NDArray[np.float64]]:
        """'nsd', 'hd95', 'assd' -> (N,), with inf and NaN where a mask is empty."""
        rows = [(one.nsd, one.hd95, one.assd) for one in self._images]
        columns = np.array(rows, dtype=np.float64).reshape(-1, 3).T
        return dict(zip(("nsd", "hd95", "assd"), columns, strict=True))


def boundary_metrics(
    predicted: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    *,
    tolerance: float = 2.0,
    spacing: Spacing = (1.0, 1.0),
) -> BoundaryMetrics:
    """NSD, HD95 and ASSD of one image.

    With A and B the outlines, d(a, B) the distance of a pixel to the nearest of B:
    NSD = (#{a: d(a, B) <= t} + #{b: d(b, A) <= t}) / (#A + #B)  (Nikolov et al., JMIR 2021),
    HD95 = max(P95 of d(a, B), P95 of d(b, A)), ASSD = (sum d(a, B) + sum d(b, A)) / (#A + #B).

    Args:
        predicted: (H, W) bool.
        truth: (H, W) bool.
        tolerance: t, in the units of `spacing`.
        spacing: height and width of a pixel.
    """
    _checks.masks(predicted, truth)
    spatial = require("scipy.spatial", feature="boundary metrics", extra="train")
    first, second = (outline(mask) * np.asarray(spacing, dtype=np.float64) for mask in (predicted, truth))
    if not len(first) and not len(second):
        return BoundaryMetrics(nsd=1.0, hd95=float("nan"), assd=float("nan"))
    if not len(first) or not len(second):
        return BoundaryMetrics(nsd=0.0, hd95=float("inf"), assd=float("inf"))
    there = spatial.KDTree(second).query(first)[0]
    back = spatial.KDTree(first).query(second)[0]
    both = np.concatenate((there, back))
    return BoundaryMetrics(
        nsd=float(np.mean(both <= tolerance)),
        hd95=float(max(np.percentile(there, 95), np.percentile(back, 95))),
        assd=float(both.mean()),
    )


def outline(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(K, 2) row and column of the pixels of `mask` (H, W) that have a 4-neighbour outside it.

    What lies off the image counts as outside.
    """
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.argwhere(mask & ~inner)


def finite_mean(values: ArrayLike) -> float:
    """Mean of the finite values; NaN where there is none. For resampling distances that can be infinite."""
    array = np.asarray(values, dtype=np.float64)
    finite = array[np.isfinite(array)]
    return float(finite.mean()) if finite.size else float("nan")
