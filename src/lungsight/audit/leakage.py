"""What lies on both sides of a split: patients, and images that look the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lungsight.audit.audited import OUT_OF_FOLD, Audited
from lungsight.audit.records import Leakage, Pair
from lungsight.dataset.table import Row
from lungsight.duplicates import find_duplicates

SPLIT_COLUMNS = ("split", "part", "fold", "subset")
"""Columns of a table that may say which part of a split a row is in."""


def split_of(rows: Sequence[Row]) -> dict[str, str]:
    """Row id -> part of the table's own split, where a column of `SPLIT_COLUMNS` says it; else empty."""
    for column in SPLIT_COLUMNS:
        found = {row.id: row.extra[column] for row in rows if row.extra.get(column)}
        if len(set(found.values())) > 1:
            return found
    return {}


def near_duplicates(images: NDArray[np.uint8], groups: NDArray[np.int64]) -> list[tuple[int, int, float]]:
    """Pairs of images of different groups that show one film; see `lungsight.duplicates`.

    Args:
        images: (N, H, W) uint8.
        groups: (N,); pairs within one group are passed over.

    Returns:
        (first, second, agreement), the most alike first.
    """
    if not len(images):
        return []
    matches = find_duplicates(images, clusters=groups.tolist())
    return sorted(((one.first, one.second, one.agreement) for one in matches), key=lambda pair: -pair[2])


def find_leakage(audited: Audited) -> Leakage:
    """Patients and near-duplicates across the model's split; across patients where the split is not known."""
    rows, parts = audited.rows, audited.parts
    folds = audited.part == OUT_OF_FOLD
    if audited.score is None:
        return leakage_between(rows, audited.images, split_of(rows))
    if not parts:
        unknown = leakage_between(rows, audited.images, {})
        return Leakage(False, (), 0, len(audited.held_out), unknown.pairs)
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


def leakage_between(rows: Sequence[Row], images: NDArray[np.uint8], parts: dict[str, str]) -> Leakage:
    """Patients and near-duplicates across the parts of a table's own split; across patients where it has none.

    Args:
        images: (N, h, w) of the N rows, or none.
        parts: row id -> part; empty where the table has no split.
    """
    if not parts:
        patients = np.unique([row.patient or row.id for row in rows], return_inverse=True)[1]
        return Leakage(False, (), 0, len(rows), _pairs(rows, parts, near_duplicates(images, patients)))
    by_patient: dict[str, set[str]] = {}
    for row in rows:
        if row.patient and row.id in parts:
            by_patient.setdefault(row.patient, set()).add(parts[row.id])
    shared = {name for name, found in by_patient.items() if len(found) > 1}
    groups = np.unique([parts.get(row.id, "") for row in rows], return_inverse=True)[1]
    found = [pair for pair in near_duplicates(images, groups) if all(rows[i].id in parts for i in pair[:2])]
    affected = sum(row.patient in shared for row in rows)
    return Leakage(True, tuple(sorted(shared)), affected, len(rows), _pairs(rows, parts, found))


def _pairs(
    rows: Sequence[Row], parts: dict[str, str], found: list[tuple[int, int, float]]
) -> tuple[Pair, ...]:
    return tuple(
        Pair(
            rows[i].id,
            rows[j].id,
            (parts.get(rows[i].id, ""), parts.get(rows[j].id, "")),
            bool(rows[i].patient) and rows[i].patient == rows[j].patient,
            agreement,
        )
        for i, j, agreement in found
    )
