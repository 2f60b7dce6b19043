"""Are the grey levels of an X-ray inverted? Told from 16 x 16 pixels, before any network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lungsight.preprocess import resize_image
from lungsight.wording import XRayNote
from lungsight.xray import XRay

SIDE = 16
UNDO = -0.5
"""`polarity` below this: the image is replaced by its negative. None of 4,743 X-rays came lower than -0.46, as it
was, cropped, with bars, brighter, darker, tilted, on its side or upside down (`benchmarks/inversion.py limits`)."""


def thumbnail(image: NDArray[np.float32]) -> tuple[NDArray[np.float64], float] | None:
    """(h, w) in [0, 1] -> (`SIDE`, `SIDE`) and its standard deviation; None where it is of one grey or not finite."""
    small = resize_image(image, (SIDE, SIDE)).astype(np.float64)
    spread = float(small.std())
    return (small, spread) if spread > 1e-3 else None


def polarity(image: NDArray[np.float32]) -> float:
    """How much an image looks like a chest X-ray with bright bones (about 1), and not like its negative (about -1).

    The image, at 16 x 16 pixels and standardised, times a template: Fisher's linear discriminant between 4,743 X-rays
    and their negatives, also cropped, framed, tilted and turned (`benchmarks/inversion.py fit`). The negative of an
    image has the same value with the other sign.

    Args:
        image: (h, w) in [0, 1].

    Returns:
        0 for an image of one grey.
    """
    found = thumbnail(image)
    if found is None:
        return 0.0
    small, spread = found
    return float(((small - small.mean()) * TEMPLATE).sum() / spread / SCALE)


def negative(xray: XRay) -> XRay:
    """The X-ray with black and white exchanged, and a note that says so."""
    white = 255 if xray.pixels.dtype == np.uint8 else 1
    pixels = np.subtract(white, xray.pixels, dtype=xray.pixels.dtype)
    return replace(xray, pixels=pixels, notes=(*xray.notes, XRayNote.INVERSION_UNDONE))


_LEFT = np.array(
    [
        [-21, -4, -40, -4, -15, 5, 3, 1],
        [1, 23, -11, 17, -12, -4, 0, 17],
        [-26, -23, -28, -7, -25, -3, 10, 33],
        [-7, -1, -5, 9, -5, 4, 15, -7],
        [-8, 5, 3, 11, -2, -1, -7, -66],
        [0, 3, -14, -16, -28, -26, 0, -26],
        [-3, 0, -14, -12, -21, -12, 29, 35],
        [3, 5, 2, 14, 5, 3, 52, 95],
        [4, 2, 0, 11, -2, -16, 39, 99],
        [8, -9, -17, 0, -17, -31, 0, 46],
        [1, -4, -6, 3, -12, -30, -23, -10],
        [1, 4, 20, 13, -1, -25, -12, -25],
        [-9, 5, 12, 16, -4, -12, 26, 37],
        [-43, -16, -14, 20, 18, 1, 30, 62],
        [-2, 2, -31, -8, -6, -17, 11, 17],
        [-9, 15, -17, -5, -21, 7, 28, 0],
    ]
)
TEMPLATE = np.concatenate([_LEFT, _LEFT[:, ::-1]], axis=1)
"""(16, 16), the same on both sides."""
SCALE = 1267
"""The median of the product over upright images."""
