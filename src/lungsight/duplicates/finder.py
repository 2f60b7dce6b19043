"""The same film under another name: cut, turned, mirrored, inverted, with other grey levels or with writing on it.

Three steps. A descriptor of each image, which its contrast and polarity do not change; the nearest descriptors of
each, mirrored too; and for these few a registration, after which the fine structure has to agree block by block. Two
films of one patient have the same anatomy and other fine structure; a copy has both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lungsight.preprocess import resize_image
from lungsight.records import Record

Progress = Callable[[int, int], None]

SIDE = 128
"""Images are compared as squares of this many pixels."""
CELLS, BINS = 8, 8
NEIGHBOURS, MIRRORED_NEIGHBOURS = 3, 1
LEAST_SIMILAR = 0.6
"""Cosine of descriptors below which no pair is looked at."""
LEAST_AGREEMENT = 0.91
"""Median over blocks of the correlation of fine structure after registration. In `ieee8023` films of one patient on
different days reach 0.90, and copies that authors have cropped, brightened or marked begin at 0.947."""
LEAST_OF_SMALL = 0.93
"""The same where an image has fewer than `SIDE` pixels on a side, and so less fine structure to differ in."""
WORTH_A_LOOK = 0.5
"""The same at half the size, below which a pair is given up."""
STEPS = 25
"""Of the registration, at each of two sizes."""
MAX_CHANGE = 0.35
"""Of the side: a transformation that moves, turns or stretches more has found something else."""
MAX_TRIM = 0.4
FLAT = 10
"""Grey levels: a row of pixels that varies less is part of a border."""
EXACT_BELOW = 20_000
"""Descriptors that are compared all with all; more go through an index of approximate neighbours."""
_BLOCKS = 6
_BATCH = 1024


class Match(Record, frozen=True):
    """Two images that show one film."""

    first: int
    second: int
    agreement: float
    """0 to 1: how far the fine structure agrees after registration."""
    mirrored: bool = False
    inverted: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is kept of an image: it as a square, also without flat borders where it has them, each with a descriptor."""

    looks: tuple[tuple[NDArray[np.uint8], NDArray[np.float16]], ...]
    small: bool
    """Whether the image has fewer than `SIDE` pixels on a side."""


def prepare(image: NDArray[np.uint8]) -> Prepared:
    """Describe an image (H, W) of any size; `find_duplicates` takes the result in its place."""
    looks = tuple((pixels, describe(pixels).astype(np.float16)) for pixels in _looks(image))
    return Prepared(looks, min(image.shape) < SIDE)


def find_duplicates(
    images: Iterable[NDArray[np.uint8] | Prepared],
    *,
    clusters: Sequence[int] | None = None,
    progress: Progress | None = None,
    total: int = 0,
) -> list[Match]:
    """Pairs of images that show the same film.

    Args:
        images: (H, W) each, of any sizes, or prepared ones; read once.
        clusters: a number for each image; pairs within one cluster are not looked for.
        progress: called with (images described, `total`).
        total: how many images there are, for `progress`.

    Returns:
        The pairs, `first` < `second`, in rising order.
    """
    of: list[int] = []
    squares: list[NDArray[np.uint8]] = []
    descriptors: list[NDArray[np.float16]] = []
    small: list[bool] = []
    for index, image in enumerate(images):
        prepared = image if isinstance(image, Prepared) else prepare(image)
        small.append(prepared.small)
        for pixels, descriptor in prepared.looks:
            of.append(index)
            squares.append(pixels)
            descriptors.append(descriptor)
        if progress is not None:
            progress(index + 1, total)
    if len(of) < 2:
        return []
    best: dict[tuple[int, int], Match] = {}
    for one, other, mirrored in _candidates(np.stack(descriptors)):
        first, second = sorted((one, other), key=of.__getitem__)
        pair = of[first], of[second]
        if pair[0] == pair[1] or (clusters is not None and clusters[pair[0]] == clusters[pair[1]]):
            continue
        known = best.get(pair)
        if known is not None and known.agreement >= LEAST_OF_SMALL:
            continue
        agreement, inverted = agree(squares[first], squares[second], mirrored=mirrored)
        if known is None or agreement > known.agreement:
            best[pair] = Match(
                first=pair[0], second=pair[1], agreement=agreement, mirrored=mirrored, inverted=inverted
            )
    return [
        best[pair]
        for pair in sorted(best)
        if best[pair].agreement >= (LEAST_OF_SMALL if small[pair[0]] or small[pair[1]] else LEAST_AGREEMENT)
    ]


def groups(matches: Iterable[Match], ids: Sequence[str]) -> list[frozenset[str]]:
    """Ids of the images that hang together by matches, for `dataset.split`."""
    member: dict[int, set[int]] = {}
    for match in matches:
        joined = member.get(match.first, {match.first}) | member.get(match.second, {match.second})
        for index in joined:
            member[index] = joined
    distinct = {id(found): found for found in member.values()}
    return [frozenset(ids[index] for index in found) for found in distinct.values()]


def describe(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(SIDE, SIDE) -> unit vector: how often each direction of an edge occurs in each cell.

    Directions have no sign and edges are measured after local normalisation, so that neither inversion nor CLAHE,
    equalisation or exposure change much (after Dalal and Triggs 2005).
    """
    fine = cv2.GaussianBlur(_local(pixels, SIDE / 16), (0, 0), SIDE / 85)
    across, down = cv2.Sobel(fine, cv2.CV_32F, 1, 0), cv2.Sobel(fine, cv2.CV_32F, 0, 1)
    strength, angle = cv2.cartToPolar(across, down)
    angle = np.mod(angle, np.float32(np.pi)) * np.float32(BINS / np.pi)
    low = np.floor(angle)
    upper = angle - low
    lower_bin = low.astype(np.intp) % BINS
    planes = np.zeros((BINS, SIDE, SIDE), np.float32)
    rows, columns = np.indices((SIDE, SIDE))
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


def agree(
    first: NDArray[np.uint8], second: NDArray[np.uint8], *, mirrored: bool = False
) -> tuple[float, bool]:
    """How far the fine structure of two squares agrees once the second is registered to the first.

    An affine transformation is found on the strength of edges, which inversion does not change (Evangelidis and
    Psarakis 2008). The median over blocks leaves out what was written over the film.

    Returns:
        (agreement, whether the grey levels are inverted); 0 where no transformation is found, or an
        implausible one.
    """
    if mirrored:
        second = np.ascontiguousarray(second[:, ::-1])
    small = [np.asarray(resize_image(square, (SIDE // 2, SIDE // 2)), np.uint8) for square in (first, second)]
    agreement, inverted, warp = _register(small[0], small[1], np.eye(2, 3, dtype=np.float32))
    # Nearly all pairs are seen to differ at half the size, in a quarter of the time.
    if agreement < WORTH_A_LOOK:
        return agreement, inverted
    warp[:, 2] *= 2
    agreement, inverted, _ = _register(first, second, warp)
    return agreement, inverted


def _register(
    first: NDArray[np.uint8], second: NDArray[np.uint8], warp: NDArray[np.float32]
) -> tuple[float, bool, NDArray[np.float32]]:
    """(agreement, whether inverted, the transformation found from `warp` on)."""
    side = len(first)
    one, other = _local(first, side / 24), _local(second, side / 24)
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, STEPS, 1e-3)
    try:
        _, moved_by = cv2.findTransformECC(
            _edges(one), _edges(other), warp, cv2.MOTION_AFFINE, criteria, None, 5
        )
    except cv2.error:
        return 0.0, False, warp
    found = np.asarray(moved_by, np.float32)
    if np.abs(found[:, :2] - np.eye(2)).max() > MAX_CHANGE or np.abs(found[:, 2]).max() > MAX_CHANGE * side:
        return 0.0, False, warp
    size, flags = (side, side), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = np.asarray(cv2.warpAffine(other, found, size, flags=flags), np.float32)
    valid = cv2.warpAffine(np.ones((side, side), np.float32), found, size, flags=flags) > 0.99
    return *_block_agreement(one, moved, np.asarray(valid, bool)), found


def _block_agreement(
    one: NDArray[np.float32], other: NDArray[np.float32], valid: NDArray[np.bool_]
) -> tuple[float, bool]:
    edges = np.linspace(0, len(one), _BLOCKS + 1).round().astype(int)
    sides = np.diff(edges)
    counted = valid.astype(np.float64)
    a, b = one * counted, other * counted
    # Sums over each block of all six at once, (6, _BLOCKS, _BLOCKS).
    sums = np.stack([counted, a, b, a * a, b * b, a * b])
    for axis in (1, 2):
        sums = np.add.reduceat(sums, edges[:-1], axis=axis)
    count, sum_a, sum_b, *products = sums
    pixels = np.maximum(count, 1)
    aa, bb, ab = (
        total - left * right / pixels
        for total, left, right in zip(products, (sum_a, sum_b, sum_a), (sum_a, sum_b, sum_b), strict=True)
    )
    # A block that is flat in both, as air is, says nothing.
    usable = (count >= 0.5 * np.outer(sides, sides)) & (np.minimum(aa, bb) >= 0.15**2 * pixels)
    found = ab[usable] / (np.sqrt(aa[usable] * bb[usable]) + 1e-6)
    if len(found) < _BLOCKS * _BLOCKS // 4:
        return 0.0, False
    middle = float(np.median(found))
    return abs(middle), middle < 0


def _local(pixels: NDArray[np.uint8], sigma: float) -> NDArray[np.float32]:
    """Less the local mean, over the local deviation."""
    values = pixels.astype(np.float32)
    detail = values - cv2.GaussianBlur(values, (0, 0), sigma)
    spread = np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), sigma))
    return np.asarray(detail / (spread + 2), np.float32)


def _edges(local: NDArray[np.float32]) -> NDArray[np.float32]:
    smooth = cv2.GaussianBlur(local, (0, 0), 1)
    across, down = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    return np.asarray(cv2.magnitude(across, down), np.float32)


def _cells(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """(SIDE, SIDE) -> (CELLS, CELLS), each cell with a share of its neighbours, so that a shift changes little."""
    small = np.asarray(resize_image(plane, (4 * CELLS, 4 * CELLS)), np.float32)
    return np.asarray(resize_image(cv2.GaussianBlur(small, (0, 0), 2), (CELLS, CELLS)), np.float32)


def _looks(image: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """The image as a square; and, where it has flat borders, what is within them."""
    whole = np.asarray(resize_image(image, (SIDE, SIDE)), np.uint8)
    top, bottom = _flat(whole)
    left, right = _flat(whole.T)
    if top + bottom + left + right == 0:
        return [whole]
    height, width = image.shape
    part = image[
        round(top / SIDE * height) : round((1 - bottom / SIDE) * height),
        round(left / SIDE * width) : round((1 - right / SIDE) * width),
    ]
    return [whole, np.asarray(resize_image(part, (SIDE, SIDE)), np.uint8)]


def _flat(square: NDArray[np.uint8]) -> tuple[int, int]:
    """How many rows at the top and at the bottom are of one grey."""
    low, high = np.percentile(square, (3, 97), axis=1)
    varied = np.flatnonzero(high - low >= FLAT)
    most = int(MAX_TRIM * SIDE)
    if not varied.size:
        return 0, 0
    return min(int(varied[0]), most), min(int(SIDE - 1 - varied[-1]), most)


def _candidates(descriptors: NDArray[np.float16]) -> list[tuple[int, int, bool]]:
    """(entry, entry, whether mirrored) of close descriptors, the closest first."""
    found: dict[tuple[int, int, bool], float] = {}
    search = _exact if len(descriptors) <= EXACT_BELOW else _approximate
    for mirrored, start, neighbours, similar in search(descriptors):
        for row, (places, values) in enumerate(zip(neighbours, similar, strict=True)):
            for place, value in zip(places, values, strict=True):
                one, other = start + row, int(place)
                if value >= LEAST_SIMILAR and one != other:
                    found[min(one, other), max(one, other), mirrored] = float(value)
    return sorted(found, key=lambda key: -found[key])


_Found = Iterable[tuple[bool, int, NDArray[np.intp], NDArray[np.float32]]]


def _exact(descriptors: NDArray[np.float16]) -> _Found:
    every = descriptors.astype(np.float32)
    for start in range(0, len(every), _BATCH):
        for mirrored in (False, True):
            # The nearest of all is the image itself.
            count = min((MIRRORED_NEIGHBOURS if mirrored else NEIGHBOURS) + 1, len(every))
            part = every[start : start + _BATCH]
            similar = (mirror(part) if mirrored else part) @ every.T
            places = np.argpartition(-similar, count - 1, axis=1)[:, :count]
            yield mirrored, start, places, np.take_along_axis(similar, places, axis=1)


def _approximate(descriptors: NDArray[np.float16]) -> _Found:
    """Through a graph of neighbours (HNSW, Malkov and Yashunin 2018)."""
    from lungsight.errors import require

    index_of = require("usearch.index", feature="finding duplicates among so many images", extra="duplicates")
    size = descriptors.shape[1]
    index = index_of.Index(ndim=size, metric="ip", dtype="f16", connectivity=16, expansion_add=96)
    index.add(np.arange(len(descriptors)), descriptors)
    for start in range(0, len(descriptors), _BATCH):
        for mirrored in (False, True):
            part = descriptors[start : start + _BATCH].astype(np.float32)
            count = (MIRRORED_NEIGHBOURS if mirrored else NEIGHBOURS) + 1
            matches = index.search((mirror(part) if mirrored else part).astype(np.float16), count)
            yield mirrored, start, matches.keys.astype(np.intp), 1 - matches.distances.astype(np.float32)
