"""Pictures that are no X-ray: pages, photographs, charts, screens, patterns."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from lungsight.errors import require
from lungsight.preprocess import resample

Pixels = NDArray[np.uint8]


def page(rng: np.random.Generator, size: int) -> Pixels:
    """Lines of text, or a table, dark on light or light on dark."""
    paper, ink = (int(rng.integers(200, 256)), int(rng.integers(0, 90)))
    if rng.random() < 0.3:
        paper, ink = ink, paper
    pixels = np.full((2 * size, 2 * size), paper, np.uint8)
    scale = rng.uniform(0.4, 1.2)
    step, left = int(rng.uniform(14, 22) * scale) + 6, int(rng.uniform(0, 0.15) * size)
    for y in range(step, 2 * size, step):
        if rng.random() < 0.12:
            continue
        letters = rng.choice(
            list("abcdefghijklmnopqrstuvwxyzABCDEFG0123456789      .,-"), int(rng.integers(5, 60))
        )
        cv2.putText(
            pixels,
            "".join(letters),
            (left, y),
            cv2.FONT_HERSHEY_SIMPLEX,
            scale,
            ink,
            1 + int(rng.random() < 0.3),
            cv2.LINE_AA,
        )
    if rng.random() < 0.4:
        for place in np.sort(rng.integers(0, 2 * size, int(rng.integers(3, 12)))):
            cv2.line(pixels, (0, int(place)), (2 * size, int(place)), ink, 1)
            if rng.random() < 0.6:
                cv2.line(pixels, (int(place), 0), (int(place), 2 * size), ink, 1)
    if rng.random() < 0.3:
        _figure(rng, pixels)
    return resample(pixels, (size, size), "area")


def _figure(rng: np.random.Generator, pixels: Pixels) -> None:
    side = pixels.shape[0]
    box = rng.integers(side // 6, side // 2, 2)
    y, x = rng.integers(0, side - box)
    pixels[y : y + box[0], x : x + box[1]] = resample(scene(rng, 64), (int(box[0]), int(box[1])), "linear")


def scene(rng: np.random.Generator, size: int) -> Pixels:
    """Something like a photograph: noise with the spectrum of natural images, shapes with edges, gradients."""
    rough = rng.uniform(0.8, 2.2)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) / frequency**rough
    ground = np.fft.irfft2(spectrum, (size, size))
    ground = (ground - ground.min()) / (np.ptp(ground) + 1e-9) * 255
    pixels = np.ascontiguousarray(ground.astype(np.uint8))
    for _ in range(int(rng.integers(0, 14))):
        grey = int(rng.integers(0, 256))
        middle = tuple(int(v) for v in rng.integers(0, size, 2))
        kind = rng.integers(0, 3)
        before = pixels.copy()
        if kind == 0:
            axes = tuple(int(v) for v in rng.integers(2, max(3, size // 3), 2))
            cv2.ellipse(pixels, middle, axes, float(rng.uniform(0, 180)), 0, 360, grey, -1, cv2.LINE_AA)
        elif kind == 1:
            corners = np.array(middle) + rng.integers(-size // 3, size // 3, (int(rng.integers(3, 6)), 2))
            cv2.fillPoly(pixels, [corners.astype(np.int32)], grey, cv2.LINE_AA)
        else:
            end = tuple(int(v) for v in rng.integers(0, size, 2))
            cv2.line(pixels, middle, end, grey, int(rng.integers(1, max(2, size // 16))), cv2.LINE_AA)
        if rng.random() < 0.7:  # shading keeps some of what lies below
            share = rng.uniform(0.3, 0.9)
            pixels = cv2.addWeighted(pixels, share, before, 1 - share, 0)
    if rng.random() < 0.2:
        _face(rng, pixels)
    return pixels


def _face(rng: np.random.Generator, pixels: Pixels) -> None:
    """A head and shoulders: bright oval, dark eyes, mouth. Symmetric and upright, as a chest is."""
    side = pixels.shape[0]
    x, y, wide = (
        int(v * side) for v in (rng.uniform(0.35, 0.65), rng.uniform(0.3, 0.5), rng.uniform(0.12, 0.3))
    )
    skin, hair = int(rng.integers(90, 240)), int(rng.integers(0, 140))
    cv2.ellipse(
        pixels, (x, side), (2 * wide, side - y), 0, 0, 360, int(rng.integers(0, 256)), -1, cv2.LINE_AA
    )
    cv2.ellipse(
        pixels, (x, y - wide // 3), (int(wide * 1.15), int(wide * 1.3)), 0, 0, 360, hair, -1, cv2.LINE_AA
    )
    cv2.ellipse(pixels, (x, y), (wide, int(1.3 * wide)), 0, 0, 360, skin, -1, cv2.LINE_AA)
    for way in (-1, 1):
        cv2.ellipse(
            pixels,
            (x + way * wide * 2 // 5, y - wide // 5),
            (max(wide // 5, 1), max(wide // 9, 1)),
            0,
            0,
            360,
            skin // 3,
            -1,
        )
    cv2.ellipse(
        pixels, (x, y + wide * 3 // 5), (max(wide // 3, 1), max(wide // 9, 1)), 0, 0, 360, skin // 2, -1
    )
    pixels[:] = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.3, 2))


@lru_cache(maxsize=1)
def _photographs() -> tuple[Pixels, ...]:
    datasets = require("sklearn.datasets", feature="Training the gate", extra="train")
    names = ("china.jpg", "flower.jpg")
    return tuple(cv2.cvtColor(datasets.load_sample_image(name), cv2.COLOR_RGB2GRAY) for name in names)


def photograph(rng: np.random.Generator, size: int) -> Pixels:
    """A part of one of scikit-learn's two sample photographs, any way up, or a drawn scene."""
    if rng.random() < 0.5:
        return scene(rng, size)
    picture = _photographs()[int(rng.integers(0, 2))]
    high, wide = (int(rng.uniform(0.15, 1) * side) for side in picture.shape)
    y, x = (
        int(rng.integers(0, picture.shape[0] - high + 1)),
        int(rng.integers(0, picture.shape[1] - wide + 1)),
    )
    part = np.rot90(picture[y : y + high, x : x + wide], int(rng.integers(0, 4)))
    part = resample(part, (size, size), "area")
    return np.asarray(part, np.uint8)


def chart(rng: np.random.Generator, size: int) -> Pixels:
    """Axes with lines, bars or points."""
    paper, ink = (255, 0) if rng.random() < 0.75 else (20, 230)
    pixels = np.full((2 * size, 2 * size), paper, np.uint8)
    edge, side = int(0.15 * size), 2 * size
    cv2.line(pixels, (edge, edge), (edge, side - edge), ink, 2)
    cv2.line(pixels, (edge, side - edge), (side - edge, side - edge), ink, 2)
    kind, count = rng.integers(0, 3), int(rng.integers(4, 24))
    xs = np.linspace(edge, side - edge, count)
    for _ in range(int(rng.integers(1, 4))):
        ys = np.clip(side / 2 + np.cumsum(rng.normal(0, side / 12, count)), edge, side - edge)
        grey = int(rng.integers(0, 220))
        if kind == 0:
            cv2.polylines(
                pixels,
                [np.stack([xs, ys], -1).astype(np.int32)],
                False,
                grey,
                int(rng.integers(1, 5)),
                cv2.LINE_AA,
            )
        for x, y in zip(xs.astype(int), ys.astype(int), strict=True):
            if kind == 1:
                cv2.rectangle(pixels, (int(x), int(y)), (int(x + side // (2 * count)), side - edge), grey, -1)
            elif kind == 2:
                cv2.circle(pixels, (int(x), int(y)), int(rng.integers(2, 9)), grey, -1, cv2.LINE_AA)
    cv2.putText(
        pixels,
        "Figure 1",
        (edge, edge - 4),
        cv2.FONT_HERSHEY_SIMPLEX,
        rng.uniform(0.4, 1),
        ink,
        1,
        cv2.LINE_AA,
    )
    return resample(pixels, (size, size), "area")


def pattern(rng: np.random.Generator, size: int) -> Pixels:
    """Blank, a gradient, noise, a checkerboard, stripes, or a soft oval."""
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32) / size
    kind = rng.integers(0, 7)
    low, high = np.sort(rng.uniform(0, 255, 2))
    cells = rng.uniform(1, 16)
    if kind == 0:
        values = np.full((size, size), low) + rng.normal(0, rng.uniform(0, 3), (size, size))
    elif kind == 1:
        values = low + (high - low) * (rows * rng.uniform(-1, 1) + columns * rng.uniform(-1, 1) + 0.5)
    elif kind == 2:
        values = rng.normal((low + high) / 2, rng.uniform(5, 90), (size, size))
    elif kind == 3:
        values = np.where((np.floor(rows * cells) + np.floor(columns * cells)) % 2, low, high)
    elif kind == 4:
        way = rng.uniform(0, np.pi)
        values = low + (high - low) * (
            0.5 + 0.5 * np.sin(2 * np.pi * cells * (rows * np.sin(way) + columns * np.cos(way)))
        )
    elif kind == 5:
        reach = ((rows - rng.uniform(0.3, 0.7)) / rng.uniform(0.1, 0.5)) ** 2 + (
            (columns - rng.uniform(0.3, 0.7)) / rng.uniform(0.1, 0.5)
        ) ** 2
        values = low + (high - low) * np.exp(-reach)
    else:  # two dark ovals side by side: a cartoon of lungs is not a chest X-ray
        values = np.full((size, size), high, np.float32)
        for x in (0.3, 0.7):
            oval = ((columns - x) / rng.uniform(0.1, 0.2)) ** 2 + ((rows - 0.5) / rng.uniform(0.2, 0.4)) ** 2
            values = np.where(oval < 1, low, values)
        values = cv2.GaussianBlur(values.astype(np.float32), (0, 0), rng.uniform(0.5, 4))
    return np.asarray(np.clip(values, 0, 255), np.uint8)


def screen(rng: np.random.Generator, xray: Pixels) -> Pixels:
    """A page or a window with a small X-ray, or several, in it."""
    size = xray.shape[0]
    pixels = (page, chart, pattern)[int(rng.integers(0, 3))](rng, size).copy()
    for _ in range(int(rng.integers(1, 4))):
        high, wide = (int(v) for v in rng.uniform(0.15, 0.36, 2) * size)
        y, x = int(rng.integers(0, size - high)), int(rng.integers(0, size - wide))
        pixels[y : y + high, x : x + wide] = resample(xray, (high, wide), "area")
    return pixels
