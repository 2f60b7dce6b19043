"""Could these be lungs? Flags that a reader of the table should see.

The limits lie outside all but about 1 % of 1,500 masks drawn by people (V7 set), where the lungs are 16 to
67 % of the image and the smaller is at least half of the larger.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from lungsight.inference.heart import largest_component
from lungsight.inference.lung_masks import LEFT, RIGHT, Lungs
from lungsight.inference.polarity import polarity
from lungsight.inference.sides import centre_column, on_wrong_side
from lungsight.preprocess import bounding_box
from lungsight.wording import Flag

NO_LUNG_FRACTION = 0.01
"""Below this share of the image there are no lungs."""
SMALL_FRACTION, LARGE_FRACTION = 0.14, 0.67
"""Lungs below or above these shares of the image are implausible."""
ONE_LUNG_RATIO, ASYMMETRIC_RATIO = 0.15, 0.5
"""Area of the smaller lung over that of the larger, below which there is one lung, or one is much smaller."""
EDGE_FRACTION = 0.25
"""Lungs that take more than this share of one edge of the image are cut off."""
MAX_COMPONENTS = 3
MIN_BASE_SPREAD = 1.0
"""`base_spread` below this: upside down."""
MAX_CONTRAST = 0.2
"""`contrast` above this: grey levels inverted."""


def unlikeness(distances: NDArray[np.float32] | None, limit: float | None, count: int) -> list[float | None]:
    """Distances (N,) of the lung network's features over their limit, infinite where one is no number.

    None for each of `count` images where the network gives no distance or its card no limit.
    """
    if distances is None or limit is None:
        return [None] * count
    values = np.nan_to_num(distances.reshape(count).astype(np.float64) / limit, nan=np.inf)
    return [float(value) for value in values]


def check_all(
    found: Sequence[Lungs],
    images: Sequence[NDArray[np.float32]],
    unlike: Sequence[float | None],
    hearts: Sequence[NDArray[np.bool_] | None],
    mirrored: Sequence[bool],
) -> list[tuple[Flag, ...]]:
    """`check` of several."""
    return [check(*each) for each in zip(found, images, unlike, hearts, mirrored, strict=True)]


def check(
    lungs: Lungs,
    image: NDArray[np.float32] | None = None,
    unlike: float | None = None,
    heart: NDArray[np.bool_] | None = None,
    mirrored: bool = False,
) -> tuple[Flag, ...]:
    """Which flags hold.

    Args:
        lungs: as found.
        image: (h, w) in [0, 1], where the lungs were found; None leaves `Flag.INVERTED` and `Flag.HEART_SIDE` unasked.
        unlike: as `unlikeness` gives it; None leaves `Flag.UNFAMILIAR` unasked.
        heart: (h, w), as found; None leaves `Flag.HEART_SIDE` unasked.
        mirrored: by the header the patient's right is on the right of the image.
    """
    unfamiliar = (Flag.UNFAMILIAR,) if unlike is not None and unlike > 1 else ()
    exchanged = (
        heart is not None
        and image is not None
        and on_wrong_side(heart, lungs.small, image, mirrored=mirrored)
    )
    return (*_of_lungs(lungs, image), *unfamiliar, *((Flag.HEART_SIDE,) if exchanged else ()))


def _of_lungs(lungs: Lungs, image: NDArray[np.float32] | None) -> tuple[Flag, ...]:
    labels = lungs.small
    size = labels.size
    areas = [int((labels == side).sum()) for side in (RIGHT, LEFT)]
    fraction = sum(areas) / size
    if fraction < NO_LUNG_FRACTION:
        return (Flag.NO_LUNGS,)
    smaller, larger = sorted(areas)
    flags: list[Flag] = []
    if smaller / larger < ONE_LUNG_RATIO:
        flags.append(Flag.ONE_LUNG)
    elif smaller / larger < ASYMMETRIC_RATIO:
        flags.append(Flag.ASYMMETRIC)
    if fraction < SMALL_FRACTION:
        flags.append(Flag.SMALL)
    if fraction > LARGE_FRACTION:
        flags.append(Flag.LARGE)
    lung = labels > 0
    if max(edge.mean() for edge in (lung[0], lung[-1], lung[:, 0], lung[:, -1])) > EDGE_FRACTION:
        flags.append(Flag.AT_EDGE)
    if lungs.components > MAX_COMPONENTS:
        flags.append(Flag.MANY_COMPONENTS)
    spread = base_spread(labels)
    if spread is not None and spread < MIN_BASE_SPREAD:
        flags.append(Flag.UPSIDE_DOWN)
    if image is not None and (polarity(image) < 0 or contrast(labels, image) > MAX_CONTRAST):
        flags.append(Flag.INVERTED)
    return tuple(flags)


def contrast(labels: NDArray[np.uint8], image: NDArray[np.float32]) -> float:
    """How much brighter the lungs are than what lies around them, in standard deviations of the image.

    The median inside less that of a rim outside. It is -1.8 to 0.18, in the middle -0.6, on 1,500 masks drawn by
    people (V7 set): air is darker than flesh, unless the grey levels are inverted.
    """
    inside = (labels > 0).astype(np.uint8)
    reach = max(labels.shape) // 20
    rim = cv2.dilate(inside, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > inside
    spread = float(image.std())
    if not rim.any() or not inside.any() or spread < 1e-3:
        return 0.0
    return float(np.median(image[inside > 0]) - np.median(image[rim])) / spread


def base_spread(labels: NDArray[np.uint8]) -> float | None:
    """How much further apart the lungs are at their bases than at their apices; None without two lungs.

    The distance between the centres of the lowest quarters over that of the highest. It is 1.09 to 2.25 on
    1,500 masks drawn by people (V7 set), and so below 1 where the image is upside down.
    """
    apices: list[float] = []
    bases: list[float] = []
    for side in (RIGHT, LEFT):
        # Only the largest component: a speck far below would count as the base.
        lung = largest_component(labels == side)
        box = bounding_box(lung)
        if box is None:
            return None
        first, _, end, _ = box
        quarter = max((end - first) // 4, 1)
        apices.append(centre_column(lung[first : first + quarter]))
        bases.append(centre_column(lung[end - quarter : end]))
    apart = apices[1] - apices[0]
    return (bases[1] - bases[0]) / apart if apart > 0 else None
