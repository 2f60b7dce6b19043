"""What lies on both sides of a split: patients, and images that look the same."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from lungsight.audit.audited import OUT_OF_FOLD, Audited
from lungsight.audit.records import Leakage, Pair
from lungsight.dataset.table import Row
from lungsight.preprocess import resize_image

MOST_BITS = 10
"""Of 64: hashes further apart are not looked at."""
LEAST_CORRELATION = 0.97
"""Of 64 x 64 thumbnails without their slow gradients. Two X-rays of different people reach about 0.8."""
LISTED = 60
BLOCK = 512
_SIDE = 64


def difference_hash(image: NDArray[np.uint8]) -> int:
    """64 bits: whether each of 8 x 9 cells is brighter than its right neighbour (dHash)."""
    small = resize_image(image, (8, 9)).astype(np.int16)
    bits = (small[:, 1:] > small[:, :-1]).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def frequency_hash(image: NDArray[np.uint8]) -> int:
    """64 bits: criteria against the median of the 8 x 8 lowest frequencies but the mean (pHash, Zauner 2010)."""
    small = resize_image(image, (32, 32)).astype(np.float32)
    low = cv2.dct(small)[:8, :8].ravel()
    bits = low > np.median(low[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def near_duplicates(
    images: NDArray[np.uint8], groups: NDArray[np.int64]
) -> list[tuple[int, int, int, float]]:
    """Pairs of images of different groups that look the same.

    Either hash may propose a pair; it counts where the thumbnails, freed of slow gradients, correlate.

    Args:
        images: (N, H, W) uint8.
        groups: (N,); pairs within one group are passed over.

    Returns:
        (first, second, differing bits, correlation), the most alike first.
    """
    hashes = [
        np.array([hash_of(image) for image in images], np.uint64)
        for hash_of in (difference_hash, frequency_hash)
    ]
    details = _details(images)
    found = []
    for start in range(0, len(images), BLOCK):
        stop = min(start + BLOCK, len(images))
        bits = np.minimum(*(_differing(values[start:stop], values[start:]) for values in hashes))
        close = (bits <= MOST_BITS) & (groups[start:stop, None] != groups[None, start:])
        # Each pair once: the second behind the first.
        rows, columns = np.nonzero(
            close & (np.arange(len(images) - start) > np.arange(stop - start)[:, None])
        )
        for row, column in zip(rows, columns, strict=True):
            correlation = float(details[start + row] @ details[start + column])
            if correlation >= LEAST_CORRELATION:
                found.append((int(start + row), int(start + column), int(bits[row, column]), correlation))
    return sorted(found, key=lambda pair: -pair[3])


def _differing(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """(K, M) number of bits in which (K,) and (M,) hashes differ."""
    octets = (first[:, None] ^ second[None]).view(np.uint8).reshape(len(first), len(second), 8)
    return np.asarray(_BITS[octets].sum(axis=2, dtype=np.uint8))


_BITS = np.array([bin(value).count("1") for value in range(256)], np.uint8)


def _details(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, 4096) unit vectors: thumbnails less their blurred selves."""
    out = np.empty((len(images), _SIDE * _SIDE), np.float32)
    for index, image in enumerate(images):
        small = resize_image(image, (_SIDE, _SIDE)).astype(np.float32)
        fine = (small - cv2.GaussianBlur(small, (0, 0), _SIDE / 8)).ravel()
        fine -= fine.mean()
        out[index] = fine / max(float(np.linalg.norm(fine)), 1e-6)
    return out


def find_leakage(audited: Audited) -> Leakage:
    """Patients and near-duplicates across the model's split; across patients where the split is not known."""
    rows, parts = audited.rows, audited.parts
    folds = audited.part == OUT_OF_FOLD
    if not parts:
        patients = np.unique([row.patient or row.id for row in rows], return_inverse=True)[1]
        pairs = _pairs(rows, parts, near_duplicates(audited.images, patients))
        return Leakage(False, (), 0, len(audited.held_out), pairs)
    of = [parts.get(row.id, "") for row in rows]
    # Validation images chose the weights or the threshold: for a test part they are on the training side.
    held = set(audited.held_out.tolist())
    if audited.part in ("all", "train"):
        held = {i for i, name in enumerate(of) if name != "train"}
    sides = (
        of if folds else ["held out" if i in held else "other" if name else "" for i, name in enumerate(of)]
    )
    by_patient: dict[str, set[str]] = {}
    for row, side in zip(rows, sides, strict=True):
        if row.patient and side:
            by_patient.setdefault(row.patient, set()).add(side)
    shared = {name for name, found in by_patient.items() if len(found) > 1}
    groups = np.unique(sides, return_inverse=True)[1]
    known = np.array([bool(side) for side in sides])
    found = [pair for pair in near_duplicates(audited.images, groups) if known[pair[0]] and known[pair[1]]]
    tested = audited.held_out.tolist() if folds else sorted(held)
    affected = sum(rows[i].patient in shared for i in tested)
    return Leakage(True, tuple(sorted(shared)), affected, len(tested), _pairs(rows, parts, found))


def _pairs(
    rows: Sequence[Row], parts: dict[str, str], found: list[tuple[int, int, int, float]]
) -> tuple[Pair, ...]:
    return tuple(
        Pair(
            rows[i].id,
            rows[j].id,
            (parts.get(rows[i].id, ""), parts.get(rows[j].id, "")),
            bool(rows[i].patient) and rows[i].patient == rows[j].patient,
            bits,
            correlation,
        )
        for i, j, bits, correlation in found
    )
