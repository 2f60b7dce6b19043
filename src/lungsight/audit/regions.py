"""Regions of an X-ray: what is left when the lungs, or all but the lungs, are taken away."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lungsight.preprocess import apply_mask, bounding_box, dilate, resize_image
from lungsight.wording import Region

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]

BORDER = 0.12
"""The border is what lies within this fraction of each side."""
DILATION = 0.02
"""Dilation of the lungs before they are taken away or kept, as a fraction of the longer side."""


def border(shape: tuple[int, int]) -> Mask:
    """(H, W), True within `BORDER` of an edge."""
    ring = np.ones(shape, bool)
    rows, columns = round(BORDER * shape[0]), round(BORDER * shape[1])
    ring[rows : shape[0] - rows, columns : shape[1] - columns] = False
    return ring


def whole(image: Image, mask: Mask) -> Image:
    """The image as it is."""
    return image


def border_only(image: Image, mask: Mask) -> Image:
    """The outer 12 % of each side; where a lung reaches into it, that is black too."""
    return _bytes(apply_mask(image, border((image.shape[0], image.shape[1])) & ~dilate(mask, DILATION)))


def background_only(image: Image, mask: Mask) -> Image:
    """Without the box around the lungs, so that not even their outline is left."""
    kept = np.ones(mask.shape, bool)
    if box := bounding_box(dilate(mask, DILATION)):
        top, left, bottom, right = box
        kept[top:bottom, left:right] = False
    return _bytes(apply_mask(image, kept))


def lungs_only(image: Image, mask: Mask) -> Image:
    """The lungs where they are, black around them."""
    return _bytes(apply_mask(image, dilate(mask, DILATION)))


def lungs_black(image: Image, mask: Mask) -> Image:
    """The image with black lungs; their outline can still be seen."""
    return _bytes(apply_mask(image, ~dilate(mask, DILATION)))


REGIONS: dict[str, Callable[[Image, Mask], Image]] = {
    Region.WHOLE: whole,
    Region.BORDER: border_only,
    Region.BACKGROUND: background_only,
    Region.LUNGS_BLACK: lungs_black,
    Region.LUNGS: lungs_only,
}
"""(H, W) uint8 and (H, W) bool -> (H, W) uint8."""
WITHOUT_LUNGS = (Region.BORDER, Region.BACKGROUND)
"""What shows no lung, not even its outline."""


def render(key: str, images: NDArray[np.uint8], masks: NDArray[np.bool_], px: int) -> NDArray[np.uint8]:
    """One region of images (N, H, W) at (N, px, px); cut at full size, so that no lung bleeds over an edge."""
    cut = REGIONS[key]
    out = np.empty((len(images), px, px), np.uint8)
    for index, (image, mask) in enumerate(zip(images, masks, strict=True)):
        out[index] = resize_image(cut(image, mask), (px, px))
    return out


def _bytes(pixels: NDArray[np.generic]) -> Image:
    return pixels.astype(np.uint8)
