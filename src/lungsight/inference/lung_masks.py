"""From a probability map to two lungs: drop specks, fill holes, tell right from left.

All of it happens at network size, where it costs about a millisecond; `labels` then goes back to the
pixels of the file. The limits below were read off 1,500 masks drawn by people (V7 set): each has exactly
two large connected components, no hole, and the smaller lung has at least half the area of the larger.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lungsight.preprocess import Frame, bounding_box

RIGHT, LEFT = 1, 2
"""The patient's right and left lung in a label map (as lungmask); the right lung is on the left side of the image."""

MIN_COMPONENT_FRACTION = 0.05
"""A component smaller than this share of the largest is dropped."""
MAX_HOLE_FRACTION = 0.05
"""A hole up to this share of the lungs' area is filled (more would be what lies between two joined lungs)."""
COUNTED_COMPONENT_FRACTION = 0.002
"""A component of at least this share of the image counts in `components`."""
BRIDGE = 0.35
"""Two lungs are joined where a cut this short, as a share of their height, parts them."""
LEAST_LUNG = 0.15
"""A part smaller than this share of the other is no lung."""
APART = 0.15
"""Centres nearer than this share of the width belong to one lung."""


@dataclass(frozen=True, slots=True)
class Lungs:
    """Two lungs at network size."""

    probability: NDArray[np.float32]
    """(h, w): the network's, but 0 on dropped components and 1 in filled holes."""
    side: NDArray[np.float32]
    """(h, w): above 0 where the nearer lung is the right one, below where it is the left one."""
    threshold: float
    components: int
    """Pieces that the network found before anything was dropped."""
    small: NDArray[np.uint8]
    """(h, w) labels at network size."""

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(h, w) both lungs."""
        return self.probability >= self.threshold

    def labels(self, frame: Frame, *, mirrored: bool = False) -> NDArray[np.uint8]:
        """(H, W) at the size of the file: 0, `RIGHT` or `LEFT`; `mirrored`: the patient's right is on the right."""
        side = frame.restore(self.side)
        return _label(frame.restore(self.probability), -side if mirrored else side, self.threshold)


def _label(
    probability: NDArray[np.float32], side: NDArray[np.float32], threshold: float
) -> NDArray[np.uint8]:
    lung = probability >= threshold
    # True and False are 1 and 0: RIGHT, and one more where the left lung is nearer.
    return lung.view(np.uint8) + (lung & (side < 0)).view(np.uint8)


def find(probability: NDArray[np.float32], threshold: float) -> Lungs:
    """Clean a probability map and tell the lungs apart.

    Args:
        probability: (h, w) in [0, 1].
        threshold: a pixel of at least this is lung.
    """
    found = (probability >= threshold).astype(np.uint8)
    count, components, statistics, centres = cv2.connectedComponentsWithStats(found, connectivity=8)
    areas = statistics[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    noticed = int((areas >= COUNTED_COMPONENT_FRACTION * found.size).sum())
    if count == 1:
        return Lungs(probability, np.ones_like(probability), threshold, 0, found)
    kept = areas >= MIN_COMPONENT_FRACTION * areas.max()
    lungs = kept[components]
    # A pixel below the threshold keeps its probability; one of a dropped component has none.
    cleaned = np.where(lungs | (found == 0), probability, np.float32(0))
    holes = _holes(lungs)
    if holes is not None:
        cleaned[holes] = 1
    side = _by_cut(cleaned >= threshold) if _may_be_joined(areas[kept]) else None
    if side is None:
        side = _by_components(components, np.flatnonzero(kept), areas, centres[:, 0])
    return Lungs(cleaned, side, threshold, noticed, _label(cleaned, side, threshold))


def _holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """Where the holes are that are to be filled; None where there is none."""
    around = np.pad((~mask).astype(np.uint8), 1, constant_values=1)
    _, parts, statistics, _ = cv2.connectedComponentsWithStats(around, connectivity=4)
    small = statistics[:, cv2.CC_STAT_AREA] <= MAX_HOLE_FRACTION * mask.sum()
    small[[0, parts[0, 0]]] = False
    if not small.any():
        return None
    return np.asarray(small[parts[1:-1, 1:-1]])


def _may_be_joined(areas: NDArray[np.int32]) -> bool:
    second = np.sort(areas)[-2] if len(areas) > 1 else 0
    return bool(second < LEAST_LUNG * areas.max())


def _by_cut(mask: NDArray[np.bool_]) -> NDArray[np.float32] | None:
    """Part joined lungs where the cut is shortest; None where they are one lung.

    The cut runs from top to bottom, a column to the side a row at most, through as few lung pixels as it
    can: dynamic programming, as for the seams of Avidan and Shamir, ACM TOG 26 (3), 2007.
    """
    box = bounding_box(mask)
    if box is None:
        return None
    top, left, bottom, right = box
    part = mask[top:bottom, left:right]
    height, width = part.shape
    # Of equal cuts the one nearest the middle; outside the lungs a step costs almost nothing.
    lean = np.abs(np.linspace(-1, 1, width, dtype=np.float32)) * np.float32(0.01)
    steps = part.astype(np.float32) + lean
    total = steps.copy()
    for row in range(1, height):
        before = np.pad(total[row - 1], 1, constant_values=np.inf)
        total[row] += np.minimum(np.minimum(before[:-2], before[1:-1]), before[2:])
    column = int(total[-1].argmin())
    cut = np.empty(height, np.int64)
    for row in range(height - 1, -1, -1):
        if row < height - 1:
            low = max(column - 1, 0)
            column = low + int(total[row, low : column + 2].argmin())
        cut[row] = column
    rows = np.arange(height)
    crossed = int(part[rows, cut].sum())
    first = int((part & (np.arange(width) < cut[:, None])).sum())
    second = int(part.sum()) - crossed - first
    if crossed > BRIDGE * height or min(first, second) < LEAST_LUNG * max(first, second):
        return None
    whole = left + np.interp(np.arange(mask.shape[0]), top + rows, cut)
    return np.clip(whole[:, None] - np.arange(mask.shape[1]), -1, 1).astype(np.float32)


def _by_components(
    components: NDArray[np.int32],
    kept: NDArray[np.int64],
    areas: NDArray[np.int32],
    columns: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Part the components at the widest gap between their centres; what is nearer to one lung belongs to it."""
    order = kept[np.argsort(columns[kept])]
    gaps = np.diff(columns[order])
    first = order[: int(gaps.argmax()) + 1] if len(gaps) else order
    second = order[len(first) :]
    smaller, larger = sorted((areas[first].sum(), areas[second].sum()))
    if not len(second) or gaps.max() < APART * components.shape[1] or smaller < LEAST_LUNG * larger:
        middle = np.average(columns[kept], weights=areas[kept])
        return np.full(components.shape, 1 if middle < (components.shape[1] - 1) / 2 else -1, np.float32)
    to_right, to_left = (_distance_to(lung, components, len(areas)) for lung in (first, second))
    return np.asarray(np.clip(to_left - to_right, -1, 1), np.float32)


def _distance_to(lung: NDArray[np.int64], components: NDArray[np.int32], count: int) -> NDArray[np.float32]:
    """(h, w) distance in pixels to the nearest of those of the `count` components that are the lung."""
    elsewhere = np.ones(count, np.uint8)
    elsewhere[lung] = 0
    return np.asarray(cv2.distanceTransform(elsewhere[components], cv2.DIST_L2, 5), np.float32)
