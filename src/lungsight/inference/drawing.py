"""Results as pictures: masks, overlays, thumbnails."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lungsight.inference.lung_masks import LEFT, RIGHT
from lungsight.preprocess import Gray, resample, to_uint8

COLOURS = {LEFT: (230, 159, 0), RIGHT: (86, 180, 233)}
"""RGB orange and sky blue, told apart under every common colour blindness (Okabe and Ito, 2008)."""

Labels = NDArray[np.bool_] | NDArray[np.uint8]
"""(H, W): a mask, or a label map of 0, `RIGHT` (1) and `LEFT` (2)."""


def mask_values(mask: Labels) -> NDArray[np.uint8]:
    """A mask as 0 and 255, a label map as it is."""
    if mask.dtype == np.bool_:
        return np.asarray(mask, bool).view(np.uint8) * np.uint8(255)
    return np.asarray(mask, np.uint8)


def encode_mask(mask: Labels) -> bytes:
    """A mask as a 1-channel 8-bit PNG of 0 and 255, or a label map as one of 0, 1 (right) and 2 (left)."""
    # Without row filters a mask takes a fifth of the time and half the bytes; older OpenCV has no such option.
    options = (
        [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE] if hasattr(cv2, "IMWRITE_PNG_FILTER") else []
    )
    return bytes(cv2.imencode(".png", np.ascontiguousarray(mask_values(mask)), options)[1].tobytes())


def transparent(mask: Labels, *, alpha: float = 0.5) -> NDArray[np.uint8]:
    """A mask in the colours of the sides on nothing, to be laid over the X-ray in another program.

    Args:
        mask: (H, W); a mask gets one colour, a label map one for each side.
        alpha: opacity of the lungs, 0 to 1.

    Returns:
        (H, W, 4) `uint8` RGBA.
    """
    out = np.zeros((*mask.shape, 4), np.uint8)
    for side, region in _regions(mask).items():
        out[region] = (*COLOURS[side], round(255 * alpha))
    return out


def _regions(mask: Labels) -> dict[int, NDArray[np.bool_]]:
    if mask.dtype == np.bool_:
        return {RIGHT: np.asarray(mask, bool)}
    return {side: mask == side for side in (RIGHT, LEFT)}


def overlay(
    pixels: Gray, mask: Labels, *, alpha: float = 0.15, thickness: int | None = None
) -> NDArray[np.uint8]:
    """X-ray in grey with the lungs tinted and outlined.

    Args:
        pixels: (H, W) `uint8`, or `float32` in [0, 1].
        mask: (H, W); a mask gets one colour, a label map one for each side.
        alpha: strength of the tint inside the outline, 0 (the outline alone) to 1.
        thickness: of the outline in pixels; a 300th of the longer side where None.

    Returns:
        (H, W, 3) `uint8` RGB.
    """
    if mask.shape != pixels.shape:
        raise ValueError(f"mask {mask.shape} and pixels {pixels.shape} differ in size")
    canvas = cv2.cvtColor(to_uint8(pixels), cv2.COLOR_GRAY2RGB)
    width = max(1, round(max(pixels.shape) / 300)) if thickness is None else thickness
    for side, region in _regions(mask).items():
        if not region.any():
            continue
        colour = COLOURS[side]
        inside = region.view(np.uint8)
        if alpha > 0:
            # The tint of each of the 256 grey values, looked up.
            tints = np.arange(256)[:, None] * (1 - alpha) + np.asarray(colour) * alpha
            canvas = cv2.copyTo(cv2.LUT(canvas, tints.astype(np.uint8)[:, None]), inside, canvas)
        outlines, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(canvas, outlines, -1, colour, width)
    return np.asarray(canvas, np.uint8)


def thumbnail(picture: NDArray[np.uint8], side: int = 160, *, quality: int = 75) -> bytes:
    """JPEG of grey (H, W) or RGB (H, W, 3), its longer side at most `side` pixels."""
    scale = side / max(picture.shape[:2])
    if scale < 1:
        height, width = (max(1, round(length * scale)) for length in picture.shape[:2])
        picture = resample(picture, (height, width))
    return encode_picture(picture, ".jpg", quality)


def encode_picture(picture: NDArray[np.uint8], extension: str, quality: int = 88) -> bytes:
    """Grey (H, W), RGB (H, W, 3) or RGBA (H, W, 4) as the bytes of a PNG or a JPEG, told by the extension."""
    options: list[Any] = (
        [cv2.IMWRITE_PNG_COMPRESSION, 3] if extension == ".png" else [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    whole = np.ascontiguousarray(picture)
    colour = cv2.COLOR_RGBA2BGRA if whole.ndim == 3 and whole.shape[2] == 4 else cv2.COLOR_RGB2BGR
    bgr = cv2.cvtColor(whole, colour) if whole.ndim == 3 else whole
    _, encoded = cv2.imencode(extension, bgr, options)
    return bytes(encoded.tobytes())
