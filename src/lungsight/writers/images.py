"""Masks and overlays as picture files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lungsight.errors import OutputError
from lungsight.files import write_bytes
from lungsight.inference.lung_masks import LEFT, RIGHT
from lungsight.preprocess import Gray, resample, to_uint8

COLOURS = {LEFT: (230, 159, 0), RIGHT: (86, 180, 233)}
"""RGB orange and sky blue, told apart under every common colour blindness (Okabe and Ito, 2008)."""

Labels = NDArray[np.bool_] | NDArray[np.uint8]
"""(H, W): a mask, or a label map of 0, `RIGHT` (1) and `LEFT` (2)."""


def write_mask(path: str | Path, mask: Labels) -> None:
    """Write a mask as a 1-channel 8-bit PNG of 0 and 255, or a label map as one of 0, 1 (right) and 2 (left).

    Raises:
        OutputError: it cannot be written.
    """
    values = mask.view(np.uint8) * np.uint8(255) if mask.dtype == np.bool_ else np.asarray(mask, np.uint8)
    # Without row filters a mask takes a fifth of the time and half the bytes; older OpenCV has no such option.
    options = (
        [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE] if hasattr(cv2, "IMWRITE_PNG_FILTER") else []
    )
    write_bytes(path, cv2.imencode(".png", np.ascontiguousarray(values), options)[1].tobytes())


def overlay(
    pixels: Gray, mask: Labels, *, alpha: float = 0.15, thickness: int | None = None
) -> NDArray[np.uint8]:
    """X-ray in grey with the lungs tinted and outlined.

    Args:
        pixels: (H, W) `uint8`, or `float32` in [0, 1].
        mask: (H, W); a mask gets one colour, a label map one for each side.
        alpha: strength of the tint inside the outline, 0 to 1.
        thickness: of the outline in pixels; a 300th of the longer side where None.

    Returns:
        (H, W, 3) `uint8` RGB.
    """
    if mask.shape != pixels.shape:
        raise ValueError(f"mask {mask.shape} and pixels {pixels.shape} differ in size")
    canvas = cv2.cvtColor(to_uint8(pixels), cv2.COLOR_GRAY2RGB)
    width = max(1, round(max(pixels.shape) / 300)) if thickness is None else thickness
    regions = {RIGHT: mask} if mask.dtype == np.bool_ else {side: mask == side for side in (RIGHT, LEFT)}
    for side, region in regions.items():
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


def write_picture(path: str | Path, picture: NDArray[np.uint8], *, quality: int = 88) -> None:
    """Write grey (H, W) or RGB (H, W, 3) as PNG or JPEG, told by the name's extension.

    Raises:
        OutputError: it cannot be written, or the extension is another.
    """
    extension = Path(path).suffix.lower()
    if extension not in (".png", ".jpg", ".jpeg"):
        raise OutputError(f"pictures are written as PNG or JPEG, not as {extension or 'this'}", where=path)
    write_bytes(path, encode_picture(picture, extension, quality))


def thumbnail(picture: NDArray[np.uint8], side: int = 160, *, quality: int = 75) -> bytes:
    """JPEG of grey (H, W) or RGB (H, W, 3), its longer side at most `side` pixels."""
    scale = side / max(picture.shape[:2])
    if scale < 1:
        height, width = (max(1, round(length * scale)) for length in picture.shape[:2])
        picture = resample(picture, (height, width))
    return encode_picture(picture, ".jpg", quality)


def encode_picture(picture: NDArray[np.uint8], extension: str, quality: int = 88) -> bytes:
    """Grey (H, W) or RGB (H, W, 3) as the bytes of a PNG or, at `quality`, of a JPEG, told by the extension."""
    options: list[Any] = (
        [cv2.IMWRITE_PNG_COMPRESSION, 3] if extension == ".png" else [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    whole = np.ascontiguousarray(picture)
    bgr = cv2.cvtColor(whole, cv2.COLOR_RGB2BGR) if whole.ndim == 3 else whole
    _, encoded = cv2.imencode(extension, bgr, options)
    return bytes(encoded.tobytes())
