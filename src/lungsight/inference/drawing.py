"""Results as pictures: masks, overlays, thumbnails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lungsight.inference.heart import Width
from lungsight.inference.lung_masks import LEFT, RIGHT
from lungsight.inference.zones import ZONES, zone_lines, zone_parts
from lungsight.preprocess import Gray, resample, to_uint8

COLOURS = {LEFT: (230, 159, 0), RIGHT: (86, 180, 233)}
"""RGB orange and sky blue, told apart under every common colour blindness (Okabe and Ito, 2008)."""

Labels = NDArray[np.bool_] | NDArray[np.uint8]
"""(H, W): a mask, or a label map of 0, `RIGHT` (1) and `LEFT` (2)."""


SEVERITY_COLOUR = (213, 54, 96)
"""RGB of a zone's shade, the stronger the higher its score, which stands in the zone as a number too."""
SEVERITY_ALPHA = 0.45
"""Strength of the shade of a zone with the highest score."""
LINES = (255, 255, 255)
WIDTHS = {"heart": (255, 216, 77), "chest": (120, 220, 200)}
"""RGB of the two widths of the cardiothoracic ratio."""
_HIGHEST = 3.0


@dataclass(frozen=True, slots=True)
class Measures:
    """What is drawn over the lungs beside their outline.

    Attributes:
        has_zones: whether the lines between the zones are drawn.
        severity: score of each of the six zones, 0 to 3; empty where it cannot tell.
        ratio: the cardiothoracic ratio, the heart's and the chest's width, and the (h, w) that they were measured at.
    """

    has_zones: bool = True
    severity: tuple[float, ...] = ()
    ratio: tuple[float, Width, Width, tuple[int, int]] | None = None


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
    pixels: Gray,
    mask: Labels,
    *,
    alpha: float = 0.15,
    thickness: int | None = None,
    measures: Measures | None = None,
) -> NDArray[np.uint8]:
    """X-ray in grey with the lungs tinted and outlined.

    Args:
        pixels: (H, W) `uint8`, or `float32` in [0, 1].
        mask: (H, W); a mask gets one colour, a label map one for each side.
        alpha: strength of the tint inside the outline, 0 (the outline alone) to 1.
        thickness: of the outline in pixels; about a 200th of the longer side where None.
        measures: of a label map: its zones are drawn, shaded by their severity where that is known, and the widths of
            heart and chest.

    Returns:
        (H, W, 3) `uint8` RGB.
    """
    if mask.shape != pixels.shape:
        raise ValueError(f"mask {mask.shape} and pixels {pixels.shape} differ in size")
    width = 2 * (max(pixels.shape) // 400) + 1 if thickness is None else thickness
    line = max(1, round(max(pixels.shape) / 300)) if thickness is None else thickness
    shaded = measures is not None and bool(measures.severity) and mask.dtype != np.bool_
    parts = list(zone_parts(np.asarray(mask, np.uint8))) if shaded else []
    # A plane for each of red, green and blue: OpenCV paints one channel several times as fast as three together.
    planes = [to_uint8(pixels).copy() for _ in range(3)]
    if measures is not None and alpha > 0:
        for number, place, inside in parts:
            strength = SEVERITY_ALPHA * min(max(measures.severity[number - 1] / _HIGHEST, 0.0), 1.0)
            _paint(planes, place, inside, SEVERITY_COLOUR, strength)
    for side, region in _regions(mask).items():
        # Only the part with the lung: most of the time would go into the rest.
        left, top, across, down = cv2.boundingRect(region.view(np.uint8))
        place = (
            slice(max(0, top - width), top + down + width),
            slice(max(0, left - width), left + across + width),
        )
        inside = np.ascontiguousarray(region[place]).view(np.uint8)
        if not shaded and alpha > 0:
            _paint(planes, place, inside, COLOURS[side], alpha)
        _paint(planes, place, _outline(inside, width), COLOURS[side], 1.0)
    canvas = np.asarray(cv2.merge(planes), np.uint8)
    if measures is not None and mask.dtype != np.bool_:
        if measures.has_zones:
            _draw_zones(canvas, np.asarray(mask, np.uint8), parts, measures.severity, max(1, line // 2))
        _draw_widths(canvas, measures, line)
    return canvas


def _paint(
    planes: Sequence[NDArray[np.uint8]],
    place: tuple[slice, slice],
    inside: NDArray[np.uint8],
    colour: tuple[int, int, int],
    strength: float,
) -> None:
    """Mix a colour into the part `place` of each plane where `inside` is not 0, in place."""
    for plane, value in zip(planes, colour, strict=True):
        part = plane[place]
        mixed = cv2.convertScaleAbs(part, alpha=1 - strength, beta=strength * value)
        cv2.copyTo(mixed, inside, part)


def _outline(inside: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """The pixels of (H, W) at the edge of a region of ones, the edge of the image included, as a line so wide."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    core = cv2.erode(inside, cross, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    return np.asarray(cv2.dilate(cv2.subtract(inside, core), brush), np.uint8)


def _draw_zones(
    canvas: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    parts: Sequence[tuple[int, tuple[slice, slice], NDArray[np.uint8]]],
    severity: tuple[float, ...],
    width: int,
) -> None:
    """The lines between the zones and, where it is known, the score of each."""
    for side in (RIGHT, LEFT):
        lines = zone_lines(labels == side)
        for row in lines[1:3] if lines else ():
            columns = np.flatnonzero(labels[round(row)] == side)
            if len(columns):
                ends = (int(columns[0]), round(row)), (int(columns[-1]), round(row))
                cv2.line(canvas, *ends, LINES, width, cv2.LINE_AA)
    for number, (down, across), inside in parts:
        # The zone's centre, from its rows' and columns' counts: six times as fast as cv2.moments.
        columns = cv2.reduce(inside, 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[0]
        rows = cv2.reduce(inside, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[:, 0]
        if pixels := columns.sum():
            at = (
                across.start + columns @ np.arange(len(columns)) / pixels,
                down.start + rows @ np.arange(len(rows)) / pixels,
            )
            _write(canvas, f"{ZONES[number - 1]} {severity[number - 1]:.1f}", at, LINES)


def _draw_widths(canvas: NDArray[np.uint8], measures: Measures, width: int) -> None:
    """The widest heart and the widest chest, with the ratio of both."""
    if measures.ratio is None:
        return
    ratio, heart, chest, (height, across) = measures.ratio
    down, right = canvas.shape[0] / height, canvas.shape[1] / across
    for colour, line in ((WIDTHS["chest"], chest), (WIDTHS["heart"], heart)):
        row = round((line.row + 0.5) * down)
        start, stop = round(line.start * right), round(line.stop * right)
        cv2.line(canvas, (start, row), (stop, row), colour, width, cv2.LINE_AA)
        for end in (start, stop):
            cv2.line(canvas, (end, row - 4 * width), (end, row + 4 * width), colour, width, cv2.LINE_AA)
    middle = (heart.start + heart.stop) / 2 * right
    above = (heart.row + 0.5) * down - 0.035 * canvas.shape[0]
    _write(canvas, f"CTR {ratio:.2f}", (middle, above), WIDTHS["heart"])


def _write(
    canvas: NDArray[np.uint8], words: str, middle: tuple[float, float], colour: tuple[int, int, int]
) -> None:
    scale = max(0.35, max(canvas.shape[:2]) / 1100)
    thick = max(1, round(scale * 1.6))
    (width, height), _ = cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
    at = round(middle[0] - width / 2), round(middle[1] + height / 2)
    # The rim is thin where letters are small, which it would fill.
    for shade, line in (((0, 0, 0), thick + (2 if scale > 0.5 else 1)), (colour, thick)):
        cv2.putText(canvas, words, at, cv2.FONT_HERSHEY_SIMPLEX, scale, shade, line, cv2.LINE_AA)


def thumbnail(picture: NDArray[np.uint8], side: int = 160, *, quality: int = 75) -> bytes:
    """JPEG of grey (H, W) or RGB (H, W, 3), its longer side at most `side` pixels."""
    scale = side / max(picture.shape[:2])
    if scale < 1:
        height, width = (max(1, round(length * scale)) for length in picture.shape[:2])
        while max(picture.shape[:2]) // 2 >= side and min(picture.shape[:2]) > 1:
            # By halves, which is several times as fast as at once.
            rows, columns = (length // 2 for length in picture.shape[:2])
            picture = resample(picture[: rows * 2, : columns * 2], (rows, columns))
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
