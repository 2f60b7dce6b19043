"""How far two looks agree once one is laid over the other."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from lungsight.duplicates.looks import HALF, SIDE, Look, local

LEAST_MATCHED = 0.84
"""Median over patches of the best correlation nearby, at half the size, below which a pair is given up."""
WORTH_A_LOOK = 0.4
"""Agreement by the patches' own transformation below which a pair is given up too."""
SETTLED = 0.97
"""Agreement from which no further registration is tried."""
STEPS = 25
"""Of the registration."""
MAX_CHANGE = 0.35
"""Of the side: a transformation that moves, turns or stretches more has found something else."""
_PATCHES, _PATCH, _REACH = 5, 8, 5
_LEAST_VARIED = 8
_SPAN = 2 * _REACH + 1
_BLOCKS = 8
_LINEAR = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP

Array = NDArray[np.float32]
_STARTS = np.linspace(2, HALF - _PATCH - 2, _PATCHES).round().astype(int)
_CORNERS = np.array([(row, column) for row in _STARTS for column in _STARTS])


def _square_of(side: int, width: int) -> NDArray[np.intp]:
    """Where the pixels of a square stand in a flat image of so many columns."""
    return np.asarray((np.arange(side)[:, None] * width + np.arange(side)).ravel(), np.intp)


_WIDE = HALF + 2 * _REACH
_OF_PATCH = (_CORNERS @ [HALF, 1])[:, None] + _square_of(_PATCH, HALF)
_PLACES = (_CORNERS @ [_WIDE, 1])[:, None] + _square_of(_SPAN, _WIDE)
_OF_PLACES = _PLACES[:, :, None] + _square_of(_PATCH, _WIDE)
"""(patch, place within reach, pixel) in the flat image with a margin."""


def agree(first: Look, second: Look, *, mirrored: bool = False) -> tuple[float, bool]:
    """How far the fine structure of two looks agrees once the second is registered to the first.

    Patches of the one are looked for nearby in the other; nearly all pairs of different films are seen to differ here.
    An affine transformation is fitted to where they were found and refined on the strength of edges, which
    inversion does not change (Evangelidis and Psarakis 2008). What then counts is the direction of the grey levels'
    gradient, which CLAHE and equalisation keep as any rising curve does. The median over blocks leaves out what was
    written over the film; pixels that are flat, as in bars, do not count.

    Returns:
        (agreement, whether the grey levels are inverted); 0 where the patches are not found again or only by an
        implausible transformation.
    """
    half = np.ascontiguousarray(second.half[:, ::-1]) if mirrored else second.half
    matched, inverted, moved = _match(first.half, half)
    if matched < LEAST_MATCHED:
        return 0.0, False
    one, other = first.square(), second.square()
    if mirrored:
        other = np.ascontiguousarray(other[:, ::-1])
    gradient, varied, best = _gradient(one), _varied(one), 0.0
    for warp in _warps(one, other, _fit(moved), inverted):
        if (
            np.abs(warp[:, :2] - np.eye(2)).max() <= MAX_CHANGE
            and np.abs(warp[:, 2]).max() <= MAX_CHANGE * SIDE
        ):
            best = max(best, _agreement(gradient, varied, other, warp, inverted))
        if not WORTH_A_LOOK <= best < SETTLED:
            break
    return best, inverted


def _match(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> tuple[float, bool, Array]:
    """(median correlation of patches, whether inverted, (patch, 3): its correlation, how far right and down it went).

    A patch of a bar says nothing: it has correlation 0 and does not count in the median.
    """
    patches = (one.astype(np.float32) - 128).ravel()[_OF_PATCH]
    patches -= patches.mean(axis=1, keepdims=True)
    size = np.sqrt(np.square(patches).sum(axis=1, keepdims=True))
    varied = size[:, 0] > _LEAST_VARIED * _PATCH
    if np.count_nonzero(varied) < len(_CORNERS) // 3:
        return 0.0, False, np.zeros((len(_CORNERS), 3), np.float32)
    patches /= size + 1e-6
    around = np.pad(other.astype(np.float32) - 128, _REACH)
    sums, squares = _box(around), _box(around * around)
    sizes = np.sqrt(np.maximum(squares - sums**2 / _PATCH**2, 1))
    products = np.matmul(around.ravel().take(_OF_PLACES), patches[:, :, None])[..., 0]
    alike = products / sizes.ravel().take(_PLACES)
    highest, lowest = alike.max(axis=1), alike.min(axis=1)
    inverted = bool(np.median(-lowest[varied]) > np.median(highest[varied]))
    found, at = (-lowest, alike.argmin(axis=1)) if inverted else (highest, alike.argmax(axis=1))
    moved = np.stack([found * varied, at % _SPAN - _REACH, at // _SPAN - _REACH], axis=1, dtype=np.float32)
    return float(np.median(found[varied])), inverted, moved


def _box(values: Array) -> Array:
    """Sums over squares of a patch's size, each at its upper left corner."""
    size = (_PATCH, _PATCH)
    return np.asarray(
        cv2.boxFilter(values, cv2.CV_32F, size, None, (0, 0), False, cv2.BORDER_CONSTANT), np.float32
    )


def _fit(moved: Array) -> Array:
    """Affine transformation of SIDE pixels by reweighted least squares (Cauchy), drawn a little to none."""
    counted = moved[:, 0] > 0
    where = 2 * (_CORNERS[counted, ::-1] + (_PATCH - HALF) / 2)
    known, to = np.c_[where, np.ones(len(where))], where + 2 * moved[counted, 1:]
    prior, none = np.diag([800.0, 800.0, 0.05]), np.eye(3, 2)
    trusted = np.clip(moved[counted, 0], 0.05, 1).astype(np.float64) ** 2
    weights = trusted
    for _ in range(8):
        weighted = known.T * weights
        found = np.linalg.solve(weighted @ known + prior, weighted @ to + prior @ none)
        weights = trusted / (1 + np.square(known @ found - to).sum(axis=1) / 4)
    middle = (SIDE - 1) / 2
    warp = found.T.copy()
    warp[:, 2] += middle - warp[:, :2] @ [middle, middle]
    return np.asarray(warp, np.float32)


def _warps(one: NDArray[np.uint8], other: NDArray[np.uint8], start: Array, inverted: bool) -> Iterator[Array]:
    """Transformations to try, the cheapest first."""
    yield start
    first, second = local(one, SIDE / 24), local(other, SIDE / 24)
    on_edges = _refined(_edges(first), _edges(second), start)
    if on_edges is not None:
        yield on_edges
    on_greys = _refined(first, -second if inverted else second, start)
    if on_greys is not None:
        yield on_greys


def _refined(one: Array, other: Array, start: Array) -> Array | None:
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, STEPS, 1e-4)
    try:
        _, found = cv2.findTransformECC(one, other, start.copy(), cv2.MOTION_AFFINE, criteria, None, 5)
    except cv2.error:
        return None
    return np.asarray(found, np.float32)


def _agreement(
    gradient: tuple[Array, Array],
    varied: NDArray[np.bool_],
    other: NDArray[np.uint8],
    warp: Array,
    inverted: bool,
) -> float:
    """Median over blocks of the cosine between gradients, each pixel counted by their size.

    Args:
        gradient, varied: of the first square, the same for every transformation of the other.
    """
    size = (SIDE, SIDE)
    moved = np.asarray(
        cv2.warpAffine(other, warp, size, flags=_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )
    within = cv2.warpAffine(np.ones(size, np.float32), warp, size, flags=_LINEAR) > 0.99
    valid = np.asarray(within & varied & _varied(moved), np.float32)
    (across_one, down_one), (across_other, down_other) = gradient, _gradient(moved)
    along = (across_one * across_other + down_one * down_other) * valid
    most = cv2.magnitude(across_one, down_one) * cv2.magnitude(across_other, down_other) * valid
    side = SIDE // _BLOCKS
    sums = np.stack([along, most, valid]).reshape(3, _BLOCKS, side, _BLOCKS, side).sum(axis=(2, 4))
    usable = sums[2] >= 0.5 * side * side
    if usable.sum() < _BLOCKS * _BLOCKS // 4:
        return 0.0
    middle = float(np.median(sums[0][usable] / (sums[1][usable] + 1e-6)))
    return max(0.0, -middle if inverted else middle)


def _varied(square: NDArray[np.uint8]) -> NDArray[np.bool_]:
    near = np.ones((5, 5), np.uint8)
    return np.asarray(cv2.subtract(cv2.dilate(square, near), cv2.erode(square, near)) > 2, np.bool_)


def _gradient(square: NDArray[np.uint8]) -> tuple[Array, Array]:
    fine = local(square, SIDE / 42, 0.7)
    return (
        np.asarray(cv2.Sobel(fine, cv2.CV_32F, 1, 0), np.float32),
        np.asarray(cv2.Sobel(fine, cv2.CV_32F, 0, 1), np.float32),
    )


def _edges(detail: Array) -> Array:
    smooth = cv2.GaussianBlur(detail, (0, 0), 1)
    across, down = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    return np.asarray(cv2.magnitude(across, down), np.float32)
