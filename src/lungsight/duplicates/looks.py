"""What is kept of an image to look for its copies: some cuts of it as small squares, each with a descriptor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lungsight.preprocess import resize_image

SIDE = 128
"""Images are compared as squares of this many pixels."""
HALF = SIDE // 2
CELLS, BINS = 8, 8
MAX_TRIM = 0.4
FLAT = 10
"""Grey levels: a row of pixels that varies less is part of a border."""
TRIMS = 3
"""Borders within borders that are taken off."""
CENTRE = 0.75
"""Of each side: the middle of an image, which bars, writing and the cut of its sides leave as it is."""


@dataclass(frozen=True, slots=True)
class Look:
    """One cut of an image."""

    pixels: NDArray[np.uint8]
    """(SIDE, SIDE), or smaller where it is a part of another look's square."""
    half: NDArray[np.uint8]
    """(HALF, HALF), locally normalised, 128 for 0."""
    descriptor: NDArray[np.float16]
    """Unit vector."""

    def square(self) -> NDArray[np.uint8]:
        """(SIDE, SIDE)."""
        return _square(self.pixels)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is kept of an image: the whole, the same without flat borders where it has them, and the middle."""

    looks: tuple[Look, ...]
    small: bool
    """Whether the image has fewer than `SIDE` pixels on a side."""


def prepare(image: NDArray[np.uint8]) -> Prepared:
    """Describe an image (H, W) of any size; `find_duplicates` takes the result in its place."""
    return Prepared(tuple(_look(cut) for cut in _cuts(image)), min(image.shape) < SIDE)


def describe(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(SIDE, SIDE) -> unit vector: how often each direction of an edge occurs in each cell.

    Directions have no sign and edges are measured after local normalisation, so that neither inversion nor CLAHE,
    equalisation or exposure change much (after Dalal and Triggs 2005).
    """
    fine = resize_image(cv2.GaussianBlur(local(pixels, SIDE / 16), (0, 0), SIDE / 85), (HALF, HALF))
    across, down = cv2.Sobel(fine, cv2.CV_32F, 1, 0), cv2.Sobel(fine, cv2.CV_32F, 0, 1)
    strength, angle = cv2.cartToPolar(across, down)
    angle = np.mod(angle, np.float32(np.pi)) * np.float32(BINS / np.pi)
    low = np.floor(angle)
    upper = angle - low
    lower_bin = low.astype(np.intp) % BINS
    planes = np.zeros((BINS, HALF, HALF), np.float32)
    rows, columns = np.indices((HALF, HALF), sparse=True)
    planes[lower_bin, rows, columns] = strength * (1 - upper)
    planes[(lower_bin + 1) % BINS, rows, columns] += strength * upper
    cells = np.stack([_cells(plane) for plane in planes], axis=2)
    size = np.sqrt((cells**2).sum(axis=2, keepdims=True))
    cells /= size + 0.3 * size.mean() + 1e-6
    cells -= cells.mean(axis=2, keepdims=True)
    flat = cells.ravel()
    return np.asarray(flat / (np.linalg.norm(flat) + 1e-6), np.float32)


def mirror(descriptors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Descriptors (N, D) of the mirrored images."""
    cells = descriptors.reshape(-1, CELLS, CELLS, BINS)[:, :, ::-1]
    turned = [(BINS - place) % BINS for place in range(BINS)]
    return np.ascontiguousarray(cells[..., turned]).reshape(len(descriptors), -1)


def local(pixels: NDArray[np.uint8], sigma: float, smooth: float = 0) -> NDArray[np.float32]:
    """Less the local mean, over the local deviation."""
    values = pixels.astype(np.float32)
    if smooth:
        values = cv2.GaussianBlur(values, (0, 0), smooth)
    detail = values - cv2.GaussianBlur(values, (0, 0), sigma)
    spread = np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), sigma))
    return np.asarray(detail / (spread + 2), np.float32)


def _look(cut: NDArray[np.uint8]) -> Look:
    square = _square(cut)
    half = local(np.asarray(resize_image(square, (HALF, HALF)), np.uint8), HALF / 32, 0.7)
    bytes_of = np.clip(np.rint(half * 42 + 128), 0, 255).astype(np.uint8)
    return Look(cut, bytes_of, describe(square).astype(np.float16))


def _cells(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """(HALF, HALF) -> (CELLS, CELLS), each cell with a share of its neighbours, so that a shift changes little."""
    small = np.asarray(resize_image(plane, (4 * CELLS, 4 * CELLS)), np.float32)
    return np.asarray(resize_image(cv2.GaussianBlur(small, (0, 0), 2), (CELLS, CELLS)), np.float32)


def _square(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(resize_image(image, (SIDE, SIDE)), np.uint8)


def _cuts(image: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    whole = _square(image)
    yield whole
    within = _without_borders(image, whole)
    if within is not None:
        yield within
    edge = round((1 - CENTRE) / 2 * SIDE)
    yield whole[edge : SIDE - edge, edge : SIDE - edge]


def _without_borders(image: NDArray[np.uint8], whole: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """What is within flat borders, as a square; None where the image has none."""
    square, found = whole, False
    for _ in range(TRIMS):
        top, bottom = _flat(square)
        left, right = _flat(square.T)
        if top + bottom + left + right == 0:
            break
        height, width = image.shape
        image = image[
            round(top / SIDE * height) : round((1 - bottom / SIDE) * height),
            round(left / SIDE * width) : round((1 - right / SIDE) * width),
        ]
        square, found = _square(image), True
    return square if found else None


def _flat(square: NDArray[np.uint8]) -> tuple[int, int]:
    """How many rows at the top and at the bottom are of one grey."""
    low, high = np.percentile(square, (3, 97), axis=1)
    varied = np.flatnonzero(high - low >= FLAT)
    most = int(MAX_TRIM * SIDE)
    if not varied.size:
        return 0, 0
    return min(int(varied[0]), most), min(int(SIDE - 1 - varied[-1]), most)
