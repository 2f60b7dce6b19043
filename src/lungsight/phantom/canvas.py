"""Smooth curves and anti-aliased layers: what the anatomy is drawn with."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lungsight.preprocess import resample

Floats = NDArray[np.float32]
Points = NDArray[np.float64]

SIDES = (-1, 1)  # the patient's right, which is on the left of the picture; the patient's left

_SHIFT = 4  # fillPoly takes fixed-point coordinates: 1/16 pixel


def spline(points: ArrayLike, *, closed: bool = False, steps: int = 10) -> Points:
    """A Catmull-Rom curve through (N, 2) points, (M, 2)."""
    knots = np.asarray(points, np.float64)
    if closed:
        padded = np.concatenate([knots[-1:], knots, knots[:2]])
    else:
        padded = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    t, squared, cubed = _powers(steps)
    before, start, end, after = padded[:-3], padded[1:-2], padded[2:-1], padded[3:]
    curve = 0.5 * (
        2 * start[:, None]
        + (end - before)[:, None] * t
        + (2 * before - 5 * start + 4 * end - after)[:, None] * squared
        + (3 * start - before - 3 * end + after)[:, None] * cubed
    ).reshape(-1, 2)
    return curve if closed else np.concatenate([curve, knots[-1:]])


@cache
def _powers(steps: int) -> tuple[Points, Points, Points]:
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    return t, t**2, t**3


def ribbons(lines: Points, widths: ArrayLike) -> Points:
    """Outlines of bands along curves.

    Args:
        lines: (N, K, 2), N curves of K points.
        widths: full widths that broadcast to (N, K).

    Returns:
        (N, 2 K, 2), closed polygons.
    """
    # Central differences, at the ends one-sided. By hand: a chest has a hundred short bands, and the checks of
    # np.gradient and np.linalg.norm take longer than their sums.
    along = np.empty(lines.shape)
    along[:, 1:-1] = (lines[:, 2:] - lines[:, :-2]) / 2
    along[:, 0], along[:, -1] = lines[:, 1] - lines[:, 0], lines[:, -1] - lines[:, -2]
    across = np.empty(lines.shape)
    across[..., 0], across[..., 1] = -along[..., 1], along[..., 0]
    across /= np.sqrt((across * across).sum(axis=-1, keepdims=True)) + 1e-9
    half = across * (np.asarray(widths, np.float64) / 2)[..., None]
    return np.concatenate([lines + half, (lines - half)[:, ::-1]], axis=1)


def ribbon(line: Points, widths: ArrayLike) -> Points:
    """The outline of a band along one (K, 2) curve, (2 K, 2)."""
    return np.asarray(ribbons(line[None], np.atleast_1d(np.asarray(widths)))[0])


_CIRCLE = np.stack([trig(np.linspace(0, 2 * np.pi, 24, endpoint=False)) for trig in (np.cos, np.sin)], -1)


def oval(centre: ArrayLike, radii: ArrayLike, angle: float = 0.0) -> Points:
    """A closed ellipse, (24, 2); `angle` in radians."""
    flat = _CIRCLE * np.asarray(radii, np.float64)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.asarray(flat @ np.array([[cos, sin], [-sin, cos]]) + np.asarray(centre, np.float64))


def mirrored(points: Points, side: int) -> Points:
    """Points of the patient's left, or for side -1 their mirror images."""
    return np.asarray(points * np.array([side, 1.0]))


def moved(points: Points, right: float, down: float = 0.0) -> Points:
    """Points shifted in the picture, in body units."""
    return np.asarray(points + np.array([right, down]))


class Canvas:
    """A square picture onto which body coordinates are projected.

    In body coordinates u runs to the patient's left (the right of the picture) with 0 at the midline, v runs
    down with 0 at mid-thorax, and the lungs lie within about -0.85 ... 0.85 in both.

    Args:
        size: side in pixels.
        matrix: (2, 3), takes (u, v, 1) to fractions of the picture's side.
    """

    def __init__(self, size: int, matrix: Points) -> None:
        self.size = size
        self.matrix = matrix
        self.unit = float(size * np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
        """Pixels in one body unit."""
        inverse = np.linalg.inv(matrix[:, :2])
        middles = (np.arange(size) + 0.5) / size
        shift = -inverse @ matrix[:, 2]
        x, y = middles[None, :], middles[:, None]
        self.u = (inverse[0, 0] * x + inverse[0, 1] * y + shift[0]).astype(np.float32)
        """(H, W) body coordinate u of each pixel's middle."""
        self.v = (inverse[1, 0] * x + inverse[1, 1] * y + shift[1]).astype(np.float32)
        """(H, W) body coordinate v of each pixel's middle."""

    def project(self, points: Points) -> Points:
        """Body coordinates (..., 2) to fractions of the picture's side."""
        return points @ self.matrix[:, :2].T + self.matrix[:, 2]

    def exact(self, outline: Points, *, factor: int = 4) -> Floats:
        """The share of each pixel that lies inside a closed outline, (H, W) in [0, 1], by `factor`² samples."""
        side = self.size * factor
        fine = np.zeros((side, side), np.uint8)
        corners = self.project(outline) * side - 0.5
        cv2.fillPoly(fine, [np.round(corners * 2**_SHIFT).astype(np.int32)], 255, cv2.LINE_8, _SHIFT)
        small = resample(fine, (self.size, self.size), "area")
        return np.asarray(small / np.float32(255), np.float32)

    def layer(
        self, outlines: Iterable[Points], *, soft: float = 0.0, levels: Iterable[int] | None = None
    ) -> Floats:
        """Filled outlines, (H, W) in [0, 1]; a later one covers an earlier one.

        Args:
            outlines: closed polygons in body coordinates.
            soft: blur in body units.
            levels: brightness of each outline, 0 to 255; all 255 when absent.
        """
        # An anti-aliased edge is a pixel wide, which would thicken the bones of a small picture.
        side = self.size * max(1, round(256 / self.size))
        filled = np.zeros((side, side), np.uint8)
        polygons = list(outlines)
        corners = np.round((self.project(np.concatenate(polygons)) * side - 0.5) * 2**_SHIFT)
        fixed, start = corners.astype(np.int32), 0
        for outline, level in zip(polygons, levels or [255] * len(polygons), strict=True):
            piece = fixed[start : (start := start + len(outline))]
            cv2.fillPoly(filled, [piece], level, cv2.LINE_AA, _SHIFT)
        if side != self.size:
            filled = np.asarray(resample(filled, (self.size, self.size), "area"), np.uint8)
        return blur(np.asarray(filled / np.float32(255), np.float32), soft * self.unit)

    def inward(self, coverage: Floats, depth: float) -> Floats:
        """How thick a rounded body of this outline is, (H, W) in [0, 1]: full from `depth` body units inward."""
        inside = cv2.distanceTransform((coverage > 0.5).astype(np.uint8), cv2.DIST_L2, 3)
        short = 1 - np.minimum(np.asarray(inside, np.float32) / (depth * self.unit), 1)
        return np.asarray(np.sqrt(np.maximum(1 - short * short, 0)) * np.minimum(coverage * 2, 1))


def blur(image: Floats, sigma: float) -> Floats:
    """Gaussian blur; `sigma` in pixels. A wide one is done on a smaller picture, which looks the same."""
    if sigma < 0.3:
        return image
    height, width = image.shape
    factor = int(sigma / 2)
    if factor < 2:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE), np.float32)
    small = resample(image, (-(-height // factor), -(-width // factor)), "area")
    small = cv2.GaussianBlur(small, (0, 0), sigma / factor, borderType=cv2.BORDER_REPLICATE)
    return resample(small, (height, width), "cubic")


def clouds(rng: np.random.Generator, size: int, *, cells: int, octaves: int = 3) -> Floats:
    """Smooth noise, (size, size), mean about 0 and deviation about 1, the same picture at every size.

    Args:
        rng: the source of chance.
        size: side in pixels.
        cells: lumps along a side in the coarsest octave.
        octaves: each further one is twice as fine and 0.6 times as strong.
    """
    total = np.zeros((size, size), np.float32)
    for octave in range(octaves):
        side = cells * 2**octave + 3
        grid = rng.standard_normal((side, side), np.float32) * np.float32(0.6**octave)
        total += resample(grid, (size, size), "cubic")
    return total
