"""The only place that resizes, binarises, crops, masks or scales pixels.

A `Frame` remembers what was done to the geometry, so that a network's answer goes back to the pixels
of the file by the inverse of the same steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of red, green and blue in [0, 1] over ImageNet, as torchvision's networks expect."""

Gray = NDArray[np.uint8] | NDArray[np.float32]
_HOW = {
    "area": cv2.INTER_AREA,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "nearest": cv2.INTER_NEAREST,
}
Box = tuple[int, int, int, int]
"""(top, left, bottom, right), half open."""


@dataclass(frozen=True, slots=True)
class Edges:
    """Pixels to cut off each side, as the paper does before diagnosis."""

    top: int = 0
    left: int = 0
    bottom: int = 0
    right: int = 0

    def box(self, shape: tuple[int, int]) -> Box:
        """The box that is left of an image of `shape` (H, W).

        Raises:
            ValueError: nothing is left.
        """
        height, width = shape
        box = (self.top, self.left, height - self.bottom, width - self.right)
        if min(self.top, self.left, self.bottom, self.right) < 0 or box[0] >= box[2] or box[1] >= box[3]:
            raise ValueError(f"cutting {self} leaves nothing of {height} x {width}")
        return box


@dataclass(frozen=True, slots=True)
class Frame:
    """Geometry of one image on its way into a network: cut `box` out of `original`, resize to `size`."""

    original: tuple[int, int]
    box: Box
    size: tuple[int, int]

    @classmethod
    def whole(cls, shape: tuple[int, int], size: tuple[int, int]) -> Frame:
        """The whole image of `shape` (H, W), resized to `size` (h, w)."""
        return cls(shape, (0, 0, *shape), size)

    @property
    def pixel_aspect(self) -> float:
        """Height over width of a pixel of `size`, measured in pixels of the original."""
        top, left, bottom, right = self.box
        return (bottom - top) / self.size[0] / ((right - left) / self.size[1])

    def image(self, pixels: Gray) -> Gray:
        """(H, W) grey pixels -> (h, w) of the same type."""
        top, left, bottom, right = self.box
        return resize_image(pixels[top:bottom, left:right], self.size)

    def mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(H, W) mask -> (h, w) mask."""
        top, left, bottom, right = self.box
        return resize_mask(mask[top:bottom, left:right], self.size)

    def restore(self, probability: NDArray[np.float32], fill: float = 0.0) -> NDArray[np.float32]:
        """(h, w) probability map -> (H, W) of the original, `fill` outside the box."""
        top, left, bottom, right = self.box
        inside = resample(np.asarray(probability, np.float32), (bottom - top, right - left), "linear")
        if self.box == (0, 0, *self.original):
            return np.asarray(inside, np.float32)
        out = np.full(self.original, fill, np.float32)
        out[top:bottom, left:right] = inside
        return out


def resize_image(pixels: Gray, size: tuple[int, int]) -> Gray:
    """Grey pixels (H, W) to `size` (h, w), aspect ratio not kept, as the paper does.

    Area averaging where both sides shrink (no aliasing), linear otherwise. Averaging over a fraction of pixels is slow:
    a side that is at least four times as long is halved first where that loses nothing, which changes whole grey
    levels by at most one or two.
    """
    height, width = size
    if pixels.shape[:2] == (height, width):
        return pixels
    shrinks = pixels.shape[0] >= height and pixels.shape[1] >= width
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    while _is_halved(pixels.shape[:2], size):
        pixels = cv2.resize(pixels, (pixels.shape[1] // 2, pixels.shape[0] // 2), interpolation=how)
    out: Gray = cv2.resize(pixels, (width, height), interpolation=how)
    return out


def _is_halved(shape: tuple[int, ...], size: tuple[int, int]) -> bool:
    """Whether both sides are even and at least four times as long, and one is no multiple of its new length."""
    sides = tuple(zip(shape, size, strict=True))
    return all(have % 2 == 0 and have >= 4 * want for have, want in sides) and any(
        have % want for have, want in sides
    )


def resize_placed(
    part: NDArray[np.uint8], place: tuple[slice, slice], shape: tuple[int, int], size: tuple[int, int]
) -> NDArray[np.float32]:
    """What `resize_image` makes of an image that is 0 but for one part, in the time that the part takes.

    To rounding; less closely for an image that is at least four times as large, and so halved first.

    Args:
        part: (h', w') that part.
        place: its rows and columns in the image.
        shape: (H, W) of the image.
        size: (h, w) of the result.
    """
    (rows, columns), (height, width) = place, size
    if shape[0] < height or shape[1] < width:  # linear, which looks at the neighbours
        rows, columns = slice(0, shape[0]), slice(0, shape[1])
    # So many rows become so many, whatever the others hold.
    row, column = shape[0] // math.gcd(shape[0], height), shape[1] // math.gcd(shape[1], width)
    top, bottom = rows.start // row, -(-rows.stop // row)
    left, right = columns.start // column, -(-columns.stop // column)
    inside = np.zeros(((bottom - top) * row, (right - left) * column), np.float32)
    inside[
        place[0].start - top * row : place[0].stop - top * row,
        place[1].start - left * column : place[1].stop - left * column,
    ] = part
    down, across = height * row // shape[0], width * column // shape[1]
    out = np.zeros(size, np.float32)
    if inside.size:
        out[top * down : bottom * down, left * across : right * across] = resize_image(
            inside, ((bottom - top) * down, (right - left) * across)
        )
    return out


def resample(
    values: NDArray[Any], size: tuple[int, int], how: Literal["area", "linear", "cubic", "nearest"] = "area"
) -> NDArray[Any]:
    """Any array (H, W) or (H, W, C) that OpenCV takes, to `size` (h, w), by the kind of interpolation that is named.

    For drawings, overlays and maps; what a network is shown goes through `resize_image`.
    """
    return np.asarray(cv2.resize(np.ascontiguousarray(values), (size[1], size[0]), interpolation=_HOW[how]))


def resize_mask(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Mask (H, W) to `size` (h, w): resized as a grey image, then made binary by the paper's rule."""
    if mask.shape == tuple(size):
        return mask
    return binarise(np.asarray(resize_image(mask.astype(np.float32), size), np.float32))


def binarise(values: NDArray[np.floating], threshold: float = 0.5) -> NDArray[np.bool_]:
    """True above `threshold`; a value equal to it is False (the paper: value <= 0.5 is 0, the rest 1)."""
    return np.asarray(values > threshold)


def to_unit(pixels: Gray) -> NDArray[np.float32]:
    """`uint8` [0, 255] or `float32` [0, 1] -> `float32` [0, 1]."""
    if pixels.dtype == np.uint8:
        return pixels.astype(np.float32) / np.float32(255)
    return np.asarray(pixels, np.float32)


def to_uint8(pixels: Gray) -> NDArray[np.uint8]:
    """`float32` [0, 1] or `uint8` -> `uint8` [0, 255]."""
    if pixels.dtype == np.uint8:
        return np.asarray(pixels, np.uint8)
    return np.clip(np.rint(np.asarray(pixels, np.float32) * 255), 0, 255).astype(np.uint8)


def equalise(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey pixels (H, W) with their histogram made as flat as whole levels allow."""
    return np.asarray(cv2.equalizeHist(np.ascontiguousarray(pixels)), np.uint8)


def dilate(mask: NDArray[np.bool_], fraction: float) -> NDArray[np.bool_]:
    """Grow a mask (H, W) by `fraction` of the image's longer side with a round brush."""
    radius = round(fraction * max(mask.shape))
    if radius < 1:
        return mask
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), brush), bool)


def bounding_box(mask: NDArray[np.bool_]) -> Box | None:
    """Smallest box that holds every True pixel of (H, W), or None where there is none."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def apply_mask(pixels: Gray, mask: NDArray[np.bool_], fill: float = 0.0) -> Gray:
    """Pixels (H, W) where `mask`, `fill` (in the units of `pixels`) elsewhere."""
    return np.where(mask, pixels, np.asarray(fill, pixels.dtype))


def crop_to_lungs(
    pixels: Gray, mask: NDArray[np.bool_], size: tuple[int, int], *, dilation: float = 0.02
) -> NDArray[np.float32] | None:
    """What the diagnosis network sees: the lungs alone, cut to their box, with grey levels of their own.

    The mask is grown a little, everything outside is set to 0 (letters, borders and tubes outside the
    lungs are gone), the grey levels inside are rescaled from their 1st to their 99th percentile to
    [0, 1], so that exposure says nothing, and the lungs' box is resized to `size`.

    Args:
        pixels: (H, W) grey.
        mask: (H, W) lungs.
        size: (h, w) of the result.
        dilation: growth of the mask as a fraction of the longer side.

    Returns:
        (h, w) `float32` in [0, 1], or None where the mask is empty.
    """
    grown = dilate(mask, dilation)
    box = bounding_box(grown)
    if box is None:
        return None
    top, left, bottom, right = box
    inside = grown[top:bottom, left:right]
    part = to_unit(pixels[top:bottom, left:right])
    low, high = np.percentile(part[inside], (1, 99))
    part = np.clip((part - low) / max(float(high - low), 1e-3), 0, 1)
    return to_unit(resize_image(apply_mask(part.astype(np.float32), inside), size))
