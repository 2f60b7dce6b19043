"""The cardiothoracic ratio: the heart's widest horizontal extent over the chest's, inside the ribs.

Danzer, American Journal of the Medical Sciences 157, 1919. On a film taken from behind (PA) a ratio above 0.5 is
usually called enlarged; on one taken from the front (AP) the heart is magnified and the ratio is too large.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lungsight.inference.lung_masks import LEFT, RIGHT
from lungsight.preprocess import bounding_box
from lungsight.wording import Flag, RatioDoubt

MIN_HEART = 0.01
"""A heart smaller than this fraction of the image is none."""
MIN_FILL = 0.55
"""A heart that fills less of its bounding box was found in part, or is something else: the hearts that people drew on
124 films (JSRT, fold 1) fill 0.67 to 0.83. On children's films, which it never learned from, the network marks strips
along the diaphragm that fill 0.28 to 0.5."""
MIN_SIDE = 0.5
"""A lung of less than this fraction of the other's area may be cut off or hidden, and the chest's width with it."""

PLAUSIBLE = (0.3, 0.8)
"""Ratios outside are not given: the heart was found in part, or something else was. On 124 films whose masks people
drew (JSRT, fold 1) the ratio is 0.36 to 0.63."""


DOUBTS = frozenset(
    {
        Flag.NO_LUNGS,
        Flag.ONE_LUNG,
        Flag.AT_EDGE,
        Flag.MANY_COMPONENTS,
        Flag.UPSIDE_DOWN,
        Flag.INVERTED,
    }
)
"""Flags with which the chest's width is not what the mask shows: then there is no ratio."""
SHORT_LUNGS = 0.74
"""Taller lung over chest's width, below which the breath was shallow, the film taken lying, or the base is hidden:
2.5 % of the 124 standing adults of JSRT (fold 1, masks drawn by people) lie below."""
UNEVEN = 1.4
"""Wider lung over narrower, halfway up, above which the patient may have been turned, or a lung is shrunken: none of
300 masks drawn by people (V7, ieee8023) has more than 1.38."""


@dataclass(frozen=True, slots=True)
class Width:
    """A horizontal line at the size of the mask that it was measured on: row, first column, column behind the last."""

    row: int
    start: int
    stop: int

    @property
    def pixels(self) -> int:
        """Its length in pixels of that mask."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Cardiothoracic:
    """The ratio and the two widths that it comes from."""

    ratio: float
    heart: Width
    chest: Width
    doubts: tuple[RatioDoubt, ...] = ()
    """What the lungs' shape says against it."""


def ratio_of(
    heart: NDArray[np.float32] | None,
    labels: NDArray[np.uint8],
    frontal: bool,
    flags: Sequence[Flag] = (),
    aspect: float = 1.0,
    threshold: float = 0.5,
) -> Cardiothoracic | None:
    """`cardiothoracic` of a map of heart probability, which is heart from `threshold` on; None without one, where the
    image is not frontal, and with a flag of `DOUBTS`."""
    if heart is None or not frontal or not DOUBTS.isdisjoint(flags):
        return None
    return cardiothoracic(heart >= threshold, labels, aspect)


def cardiothoracic(
    heart: NDArray[np.bool_], labels: NDArray[np.uint8], aspect: float = 1.0
) -> Cardiothoracic | None:
    """Measure the ratio on masks of one image.

    The heart's width is that between its outermost columns, which may lie on two rows (the sum of the two half widths
    of the textbooks); the chest's is the largest distance, on one row, between the outer edges of both lungs.

    Args:
        heart: (H, W).
        labels: (H, W) 0, 1 right lung, 2 left lung (the patient's), upright.
        aspect: height over width of a pixel of the masks.

    Returns:
        None where a lung or the heart is absent or implausibly small, the heart fills less than `MIN_FILL` of its
        bounding box, or the ratio is outside `PLAUSIBLE`.
    """
    heart = largest_component(heart)
    right, left = labels == RIGHT, labels == LEFT
    if not measurable(heart, right, left):
        return None
    chest = _chest(right | left)
    if chest is None:
        return None
    columns = np.flatnonzero(heart.any(axis=0))
    start, stop = int(columns[0]), int(columns[-1]) + 1
    rows = np.flatnonzero(heart.any(axis=1))
    if heart.sum() / ((stop - start) * (rows[-1] + 1 - rows[0])) < MIN_FILL:
        return None
    # Drawn where the heart is widest on one row, which is near both of its borders.
    row = int(np.argmax(heart.sum(axis=1)))
    ratio = (stop - start) / chest.pixels
    if not PLAUSIBLE[0] <= ratio <= PLAUSIBLE[1] or start < chest.start or stop > chest.stop:
        return None
    return Cardiothoracic(ratio, Width(row, start, stop), chest, _doubts(labels, chest, aspect))


def measurable(heart: NDArray[np.bool_], right: NDArray[np.bool_], left: NDArray[np.bool_]) -> bool:
    """Whether (H, W) masks of the heart and both lungs are large enough, and the lungs alike enough, to measure by."""
    smaller, larger = sorted((int(right.sum()), int(left.sum())))
    return bool(heart.mean() >= MIN_HEART) and larger > 0 and smaller >= MIN_SIDE * larger


def largest_component(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected component of (H, W); all False where there is none."""
    out = np.zeros(mask.shape, bool)
    box = bounding_box(mask)
    if box is None:
        return out
    top, left, bottom, right = box
    part = mask[top:bottom, left:right].astype(np.uint8)
    _, components, statistics, _ = cv2.connectedComponentsWithStats(part, connectivity=8)
    out[top:bottom, left:right] = components == 1 + int(statistics[1:, cv2.CC_STAT_AREA].argmax())
    return out


def _chest(lungs: NDArray[np.bool_]) -> Width | None:
    rows = np.flatnonzero(lungs.any(axis=1))
    if not len(rows):
        return None
    part = lungs[rows]
    start = part.argmax(axis=1)
    stop = part.shape[1] - part[:, ::-1].argmax(axis=1)
    widest = int(np.argmax(stop - start))
    return Width(int(rows[widest]), int(start[widest]), int(stop[widest]))


def _doubts(labels: NDArray[np.uint8], chest: Width, aspect: float) -> tuple[RatioDoubt, ...]:
    """What the lungs' shape says against a ratio, which is less than a person sees.

    Inspiration is judged by ribs and rotation by clavicles and spine, which no mask shows. Here stand the height of the
    lungs over the chest's width, and the widths of both lungs halfway up. That they find what a radiologist would call
    rotated or poorly inspired is not shown.
    """
    heights, widths = [], []
    for side in (RIGHT, LEFT):
        rows = np.flatnonzero((labels == side).any(axis=1))
        heights.append(int(rows[-1] - rows[0] + 1))
        widths.append(max(1, int((labels[(rows[0] + rows[-1]) // 2] == side).sum())))
    found = []
    if max(heights) * aspect / chest.pixels < SHORT_LUNGS:
        found.append(RatioDoubt.SHALLOW_BREATH)
    if max(widths) / min(widths) > UNEVEN:
        found.append(RatioDoubt.TURNED)
    return tuple(found)
