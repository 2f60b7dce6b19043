"""Does the picture contradict the header's sides? Told from the heart's place and from 16 x 16 pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lungsight.inference.heart import largest_component, measurable
from lungsight.inference.lung_masks import LEFT, RIGHT
from lungsight.inference.polarity import SIDE, thumbnail

SURE_HEART = 0.5
"""On the heart's probability: from it on a pixel counts here, whatever threshold the card has for the heart's edge."""
HEART = (0.04, 0.25)
"""`heart_offset` to the wrong side between which the sides are doubted: below, a heart may lie in the middle; above,
the heart was found in a lung."""
PICTURE = -0.4
"""`sidedness` below this: the picture looks mirrored. Both must hold: they do for 12 of 2,049 X-rays that trained the
template or the lung network, and for 0.51 of their mirror images (`benchmarks/flags.py limits`)."""


def heart_offset(heart: NDArray[np.bool_], labels: NDArray[np.uint8]) -> float | None:
    """How far the heart's centre lies from the middle between both lungs' centres, in distances between those.

    Args:
        heart: (H, W).
        labels: (H, W) 0, `RIGHT` the lung on the left of the image, `LEFT` the one on its right, upright.

    Returns:
        Above 0 where the heart lies to the right of the image, as it should unless that is mirrored; None where a lung
        or the heart is absent or implausibly small.
    """
    heart = largest_component(heart)
    right, left = labels == RIGHT, labels == LEFT
    if not measurable(heart, right, left):
        return None
    at, first, second = map(centre_column, (heart, right, left))
    return (at - (first + second) / 2) / (second - first) if second > first else None


def centre_column(rows: NDArray[np.bool_]) -> float:
    """Mean column of the True pixels of (h, w)."""
    each = rows.view(np.uint8).sum(axis=0, dtype=np.int64)
    return float(each @ np.arange(len(each)) / each.sum())


def sidedness(image: NDArray[np.float32]) -> float:
    """How much an image looks like a chest X-ray with the heart on its right (about 1), and not mirrored (about -1).

    The image, at 16 x 16 pixels and standardised, times a template: Fisher's linear discriminant between 4,743 X-rays
    and their mirror images (`benchmarks/flags.py fit`). The mirror image has the same value with the other sign.

    Args:
        image: (h, w) in [0, 1], bone bright.

    Returns:
        0 for an image of one grey.
    """
    found = thumbnail(image)
    if found is None:
        return 0.0
    small, spread = found
    half = SIDE // 2
    difference = small[:, :half] - small[:, ::-1][:, :half]
    return float((difference * TEMPLATE).sum() / spread / SCALE)


def on_wrong_side(
    heart: NDArray[np.bool_], labels: NDArray[np.uint8], image: NDArray[np.float32], *, mirrored: bool
) -> bool:
    """Whether the picture, or what its header says of it, seems mirrored: the heart lies on the patient's right.

    Args:
        heart: (h, w).
        labels: (h, w) as `heart_offset` takes them.
        image: (h, w) in [0, 1].
        mirrored: by the header the patient's right is on the right of the image.
    """
    turn = -1 if mirrored else 1
    if turn * sidedness(image) >= PICTURE:  # of nearly all images, and much faster than the other
        return False
    offset = heart_offset(heart, labels)
    return offset is not None and HEART[0] < -turn * offset < HEART[1]


TEMPLATE = np.array(
    [
        [-5, 22, -27, 9, -8, 5, 6, 18],
        [-23, -17, -15, -5, 15, 4, -4, -1],
        [2, 14, 5, -2, -15, 15, 27, -36],
        [-30, -20, 15, -3, -1, 28, 71, -21],
        [17, 23, 23, 19, 6, 36, 54, -30],
        [26, 15, 7, 18, 7, 25, 7, -17],
        [14, -4, -4, -11, -12, 9, 19, -22],
        [0, 4, -24, -25, -28, -35, -39, -6],
        [-4, -8, -10, -44, -32, -46, -74, -10],
        [-18, -6, 16, -11, -8, -89, -67, -7],
        [4, 0, -4, -4, 24, -99, -14, 4],
        [20, -8, 11, 19, 21, -79, 16, 10],
        [-3, 4, 13, 28, 8, -39, 30, 9],
        [13, 11, 12, 12, 35, -14, 19, 0],
        [-8, 12, 24, 17, 25, 58, 23, 4],
        [18, 14, -1, -16, 0, -15, 20, 2],
    ]
)
"""(16, 8), for the left half less the mirrored right half."""
SCALE = 351
"""The median of the product over X-rays that are not mirrored."""
