"""The same film under another name: cut, turned, mirrored, inverted, with other grey levels or with writing on it.

Three steps. Descriptors of each image, which its contrast and polarity do not change; the nearest descriptors of
each, mirrored too; and for these a comparison, at first of patches at half the size, then, of the few that are left,
after registration: the fine structure has to agree block by block. Two films of one patient have the same anatomy
and other fine structure; a copy has both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from lungsight.duplicates.looks import Look, Prepared, mirror, prepare
from lungsight.duplicates.registration import agree
from lungsight.records import Record

Progress = Callable[[int, int], None]

NEIGHBOURS, MIRRORED_NEIGHBOURS = 3, 1
LEAST_SIMILAR = 0.6
"""Cosine of descriptors below which no pair is looked at."""
LEAST_AGREEMENT = 0.94
"""Agreement after registration from which two images are copies. Films of one patient on different days reach 0.930
(NIH) and 0.926 (V7)."""
LEAST_OF_SMALL = 0.95
"""The same where an image has fewer than `SIDE` pixels on a side, and so less fine structure to differ in."""
EXACT_BELOW = 20_000
"""Images that are compared all with all; more go through an index of approximate neighbours."""
COMPONENTS = 64
"""Of the descriptors, that the index holds; the neighbours that it gives are ordered by the descriptors themselves."""
_SAMPLE = 10_000
_SPARE = 2
_OWN = 3
"""Looks of one image at most: these are among its neighbours."""
_BATCH = 1024


class Match(Record, frozen=True):
    """Two images that show one film."""

    first: int
    second: int
    agreement: float
    """0 to 1: how far the fine structure agrees after registration."""
    mirrored: bool = False
    inverted: bool = False


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
    looks: list[Look] = []
    small: list[bool] = []
    for index, image in enumerate(images):
        prepared = image if isinstance(image, Prepared) else prepare(image)
        small.append(prepared.small)
        looks += prepared.looks
        of += [index] * len(prepared.looks)
        if progress is not None:
            progress(index + 1, total)
    if len(small) < 2:
        return []
    best: dict[tuple[int, int], Match] = {}
    for one, other, mirrored in candidates(np.stack([look.descriptor for look in looks]), of):
        first, second = sorted((one, other), key=of.__getitem__)
        pair = of[first], of[second]
        if clusters is not None and clusters[pair[0]] == clusters[pair[1]]:
            continue
        known = best.get(pair)
        if known is not None and known.agreement >= LEAST_OF_SMALL:
            continue
        agreement, inverted = agree(looks[first], looks[second], mirrored=mirrored)
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


def candidates(descriptors: NDArray[np.float16], of: Sequence[int]) -> list[tuple[int, int, bool]]:
    """(entry, entry, whether mirrored) of close descriptors of different images, the closest first.

    Args:
        descriptors: (N, D), unit vectors.
        of: the image of each.
    """
    image = np.asarray(of)
    found: dict[tuple[int, int, bool], float] = {}
    search = _exact if image[-1] < EXACT_BELOW else _approximate
    for mirrored, start, places, similar in search(descriptors):
        own = image[places] == image[start : start + len(places), None]
        similar = np.where(own | (similar < LEAST_SIMILAR), -np.inf, similar)
        nearest = np.argsort(-similar, axis=1)[:, : MIRRORED_NEIGHBOURS if mirrored else NEIGHBOURS]
        for row, column in zip(*np.nonzero(np.take_along_axis(similar, nearest, 1) > -np.inf), strict=True):
            place = nearest[row, column]
            one, other = start + int(row), int(places[row, place])
            found[min(one, other), max(one, other), mirrored] = float(similar[row, place])
    return sorted(found, key=lambda key: -found[key])


_Found = Iterable[tuple[bool, int, NDArray[np.intp], NDArray[np.float32]]]


def _exact(descriptors: NDArray[np.float16]) -> _Found:
    every = descriptors.astype(np.float32)
    for start in range(0, len(every), _BATCH):
        for mirrored in (False, True):
            count = min((MIRRORED_NEIGHBOURS if mirrored else NEIGHBOURS) + _OWN, len(every))
            part = every[start : start + _BATCH]
            similar = (mirror(part) if mirrored else part) @ every.T
            places = np.argpartition(-similar, count - 1, axis=1)[:, :count]
            yield mirrored, start, places, np.take_along_axis(similar, places, axis=1)


def _approximate(descriptors: NDArray[np.float16]) -> _Found:
    """Through a graph of neighbours (HNSW, Malkov and Yashunin 2018) of the first principal components."""
    from lungsight.errors import require

    index_of = require("usearch.index", feature="finding duplicates among so many images", extra="duplicates")
    middle, components = _principal(descriptors)
    index = index_of.Index(
        ndim=components.shape[1],
        metric="ip",
        dtype="f32",
        connectivity=16,
        expansion_add=64,
        expansion_search=32,
    )

    def reduced(part: NDArray[np.float32]) -> NDArray[np.float32]:
        values = (part - middle) @ components
        return np.asarray(values / (np.linalg.norm(values, axis=1, keepdims=True) + 1e-6), np.float32)

    starts = range(0, len(descriptors), _BATCH)
    for start in starts:
        part = descriptors[start : start + _BATCH].astype(np.float32)
        index.add(np.arange(start, start + len(part)), reduced(part))
    for start in starts:
        for mirrored in (False, True):
            part = descriptors[start : start + _BATCH].astype(np.float32)
            part = mirror(part) if mirrored else part
            count = min((MIRRORED_NEIGHBOURS if mirrored else NEIGHBOURS) + _OWN + _SPARE, len(descriptors))
            places = index.search(reduced(part), count).keys.astype(np.intp)
            places = places.reshape(len(part), -1)
            yield (
                mirrored,
                start,
                places,
                np.einsum("nd,nkd->nk", part, descriptors[places].astype(np.float32)),
            )


def _principal(descriptors: NDArray[np.float16]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(mean (D,), components (D, COMPONENTS)) of some of the descriptors, evenly spread."""
    some = descriptors[:: max(1, len(descriptors) // _SAMPLE)].astype(np.float32)
    _, axes = np.linalg.eigh(np.cov(some.T))
    return some.mean(axis=0), np.asarray(axes[:, -COMPONENTS:], np.float32)
