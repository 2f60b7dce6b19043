"""Augmentation: what files from elsewhere do to a chest X-ray.

Every function takes and returns `uint8` grey pixels (H, W); geometry takes the mask along.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from lungsight.preprocess import resample

Pixels = NDArray[np.uint8]


def for_lungs(pixels: Pixels, mask: Pixels, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    """Rotation, scale, stretched aspect, shift, mirror; exposure, inverted grey, blur, noise, JPEG, borders, letters.

    Args:
        pixels: (H, W) uint8.
        mask: (H, W) uint8 of 0 and 1.
        rng: where the chances come from.
    """
    height, width = pixels.shape
    if rng.random() < 0.5:
        pixels, mask = pixels[:, ::-1], mask[:, ::-1]
    if rng.random() < 0.85:
        matrix = _affine(rng, (height, width), angle=12, scale=(0.72, 1.2), stretch=0.15, shift=0.08)
        fill = (0, 0, int(rng.integers(0, 256)))[int(rng.integers(0, 3))]
        edge = cv2.BORDER_REPLICATE if rng.random() < 0.3 else cv2.BORDER_CONSTANT
        pixels = cv2.warpAffine(
            pixels, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=edge, borderValue=fill
        )
        mask = cv2.warpAffine(mask * 255, matrix, (width, height), flags=cv2.INTER_LINEAR)
        mask = (mask > 127).astype(np.uint8)
    pixels = _grey_levels(pixels, rng, gamma=0.6)
    if rng.random() < 0.3:
        pixels = _patches(pixels, rng)
    if rng.random() < 0.4:
        pixels = _degrade(pixels, rng)
    if rng.random() < 0.15:
        pixels = _letters(pixels, rng)
    if rng.random() < 0.12:
        pixels = 255 - pixels
    return np.ascontiguousarray(pixels), np.ascontiguousarray(mask)


def for_lungs_and_heart(
    pixels: Pixels, values: Pixels, known: Pixels, rng: np.random.Generator
) -> tuple[Pixels, Pixels, Pixels]:
    """As `for_lungs` for the planes of `training.targets`, with uneven light and a little more zoom.

    Args:
        pixels: (H, W) uint8.
        values: (K, H, W) uint8 of 0 to 255.
        known: (K, H, W) uint8 of 0 and 1.
        rng: where the chances come from.
    """
    height, width = pixels.shape
    if rng.random() < 0.5:
        pixels, values, known = pixels[:, ::-1], values[:, :, ::-1], known[:, :, ::-1]
    if rng.random() < 0.85:
        matrix = _affine(rng, (height, width), angle=12, scale=(0.72, 1.25), stretch=0.15, shift=0.08)
        fill = (0, 0, int(rng.integers(0, 256)))[int(rng.integers(0, 3))]
        edge = cv2.BORDER_REPLICATE if rng.random() < 0.3 else cv2.BORDER_CONSTANT

        def warp(plane: Pixels, how: int, edge: int, fill: int) -> Pixels:
            plane = np.ascontiguousarray(plane)
            moved = cv2.warpAffine(
                plane, matrix, (width, height), flags=how, borderMode=edge, borderValue=fill
            )
            return np.asarray(moved, np.uint8)

        pixels = warp(pixels, cv2.INTER_LINEAR, edge, fill)
        values = np.stack([warp(plane, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT, 0) for plane in values])
        # Beyond the image there is neither lung nor heart, and that is known.
        known = np.stack([warp(plane, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT, 1) for plane in known])
    pixels = _grey_levels(pixels, rng, gamma=0.6)
    if rng.random() < 0.2:
        pixels = _uneven_light(pixels, rng)
    if rng.random() < 0.3:
        pixels = _patches(pixels, rng)
    if rng.random() < 0.4:
        pixels = _degrade(pixels, rng)
    if rng.random() < 0.15:
        pixels = _letters(pixels, rng)
    if rng.random() < 0.1:
        pixels = 255 - pixels
    return np.ascontiguousarray(pixels), np.ascontiguousarray(values), np.ascontiguousarray(known)


def for_gate(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """As `for_lungs`, and now and then the whole image small within a wide border; for any kind of image."""
    pixels, _ = for_lungs(pixels, np.zeros(pixels.shape, np.uint8), rng)
    return _border(pixels, rng) if rng.random() < 0.2 else pixels


def for_diagnosis(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Lungs alone (0 outside): mirror, small turns, exposure, blur and JPEG, so that the file's origin says little."""
    height, width = pixels.shape
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    matrix = _affine(rng, (height, width), angle=10, scale=(0.85, 1.15), stretch=0.1, shift=0.06)
    pixels = cv2.warpAffine(np.ascontiguousarray(pixels), matrix, (width, height), flags=cv2.INTER_LINEAR)
    outside = pixels == 0
    pixels = _grey_levels(pixels, rng, gamma=0.5)
    if rng.random() < 0.6:
        pixels = _degrade(pixels, rng)
    return np.where(outside, 0, pixels).astype(np.uint8)


def mild(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """What the cited systems do: mirror, turns of some degrees, shifts and zoom of 10 %, brightness of 10 %."""
    height, width = pixels.shape
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    matrix = _affine(rng, (height, width), angle=5, scale=(0.9, 1.1), stretch=0.0, shift=0.1)
    moved = cv2.warpAffine(np.ascontiguousarray(pixels), matrix, (width, height), flags=cv2.INTER_LINEAR)
    return np.asarray(np.clip(moved * rng.uniform(0.9, 1.1), 0, 255), np.uint8)


def _border(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    height, width = pixels.shape
    high, wide = (int(side * rng.uniform(0.55, 1)) for side in (height, width))
    top, left = int((height - high) * rng.uniform(0.2, 0.8)), int((width - wide) * rng.uniform(0.2, 0.8))
    out = np.full((height, width), (0, 255, int(rng.integers(0, 256)))[int(rng.integers(0, 3))], np.uint8)
    out[top : top + high, left : left + wide] = resample(pixels, (high, wide), "area")
    return out


def _affine(
    rng: np.random.Generator,
    shape: tuple[int, int],
    *,
    angle: float,
    scale: tuple[float, float],
    stretch: float,
    shift: float,
) -> NDArray[np.float64]:
    height, width = shape
    turn = np.deg2rad(rng.normal(0, angle) if angle else 0)
    size, aspect = rng.uniform(*scale), np.exp(rng.uniform(-stretch, stretch))
    across, down = size * aspect, size / aspect
    linear = np.array(
        [[across * np.cos(turn), -down * np.sin(turn)], [across * np.sin(turn), down * np.cos(turn)]]
    )
    centre = np.array([width / 2, height / 2])
    moved = centre + rng.uniform(-shift, shift, 2) * (width, height) - linear @ centre
    return np.concatenate([linear, moved[:, None]], axis=1)


def _grey_levels(pixels: Pixels, rng: np.random.Generator, *, gamma: float) -> Pixels:
    levels = np.linspace(0, 1, 256)
    levels = levels ** np.exp(rng.uniform(-gamma, gamma))
    gain, offset = rng.uniform(0.55, 1.3), rng.uniform(-0.15, 0.15)
    levels = (levels - 0.5) * gain + 0.5 + offset
    if rng.random() < 0.25:  # a film's S-shaped curve
        steep = rng.uniform(3, 8)
        levels = 1 / (1 + np.exp(-steep * (levels - 0.5)))
    table = np.clip(levels * 255, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(np.ascontiguousarray(pixels), table))


def _degrade(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    height, width = pixels.shape
    chance = rng.random()
    if chance < 0.3:
        pixels = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.4, 1.8))
    elif chance < 0.55:
        factor = rng.uniform(0.3, 0.8)
        small = resample(pixels, (int(height * factor), int(width * factor)), "area")
        pixels = resample(small, (height, width), "linear")
    elif chance < 0.8:
        noise = rng.normal(0, rng.uniform(2, 14), pixels.shape)
        pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
    else:
        tiles = cv2.createCLAHE(clipLimit=rng.uniform(1.5, 4), tileGridSize=(8, 8))
        pixels = tiles.apply(pixels)
    if rng.random() < 0.4:
        _, code = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))])
        pixels = np.asarray(cv2.imdecode(code, cv2.IMREAD_GRAYSCALE), np.uint8)
    return pixels


def _uneven_light(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Brighter towards one side, as on a photograph of a screen or a film against a window."""
    height, width = pixels.shape
    angle, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.5)
    across = np.linspace(-1, 1, width, dtype=np.float32) * np.cos(angle)
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None] * np.sin(angle)
    return np.asarray(np.clip(pixels * (1 + slope * (across + down)), 0, 255), np.uint8)


def _patches(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Soft bright patches: lungs that are white with disease still belong to the mask."""
    height, width = pixels.shape
    out = pixels.astype(np.float32)
    for _ in range(int(rng.integers(1, 5))):
        across, down = rng.uniform(0.05, 0.2, 2)
        x, y = rng.uniform(0.15, 0.85, 2)
        columns = (np.arange(width, dtype=np.float32) / width - x) / across
        rows = (np.arange(height, dtype=np.float32) / height - y) / down
        blob = np.exp(-0.5 * (rows[:, None] ** 2 + columns[None, :] ** 2)).astype(np.float32)
        out += blob * rng.uniform(0.2, 0.8) * (rng.uniform(150, 230) - out)
    return np.clip(out, 0, 255).astype(np.uint8)


def _letters(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    height, width = pixels.shape
    pixels = np.ascontiguousarray(pixels).copy()
    for _ in range(int(rng.integers(1, 4))):
        text = ("L", "R", "AP", "PA", "PORTABLE", "12:41", "SUPINE")[int(rng.integers(0, 7))]
        place = (int(rng.uniform(0, 0.85) * width), int(rng.uniform(0.05, 1) * height))
        grey = int(rng.choice((0, 255, int(rng.integers(100, 255)))))
        cv2.putText(
            pixels,
            text,
            place,
            cv2.FONT_HERSHEY_SIMPLEX,
            rng.uniform(0.3, 1.0),
            grey,
            int(rng.integers(1, 3)),
            cv2.LINE_AA,
        )
    return pixels
