"""Duplicates of data sets: which rows show one film, and whether they agree on what it shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lungsight.dataset.split import Groups
from lungsight.dataset.table import Dataset, Row
from lungsight.duplicates.finder import Progress, find_duplicates, groups
from lungsight.errors import LungsightError
from lungsight.preprocess import to_uint8
from lungsight.records import Record
from lungsight.xray import read_xray


class Copy(Record, frozen=True):
    """One row that shows a film which another row shows too."""

    dataset: int
    """Which of the data sets, from 0."""
    id: str
    source: str
    patient: str
    positive: bool | None


class Copies(Record, frozen=True):
    """Rows that show one film."""

    rows: tuple[Copy, ...]
    across_datasets: bool
    across_patients: bool
    """Rows without a patient id count as nobody."""
    conflicting: bool
    """Whether one row affirms the target and another denies it."""


class Duplicates(Record, frozen=True):
    """What was found among all images."""

    images: int
    unreadable: int
    groups: tuple[Copies, ...]

    def ids(self, dataset: int = 0) -> list[frozenset[str]]:
        """Ids of one data set that must stay together, for `dataset.split`."""
        sets = [frozenset(row.id for row in found.rows if row.dataset == dataset) for found in self.groups]
        return [found for found in sets if len(found) > 1]


def in_datasets(datasets: Sequence[Dataset], progress: Progress | None = None) -> Duplicates:
    """Find films that occur more than once, in one data set or across several.

    Images that cannot be read are counted and passed over. Needs some 26 KB of memory an image, 47 with borders.
    """
    rows = [(number, row) for number, dataset in enumerate(datasets) for row in dataset.rows]
    read: list[int] = []
    matches = find_duplicates(_pixels([row for _, row in rows], read), progress=progress, total=len(rows))
    names = [str(index) for index in read]
    found = [
        _copies([rows[index] for index in sorted(int(name) for name in group)])
        for group in groups(matches, names)
    ]
    return Duplicates(images=len(read), unreadable=len(rows) - len(read), groups=tuple(found))


def keep_together(dataset: Dataset, sets: Groups) -> Dataset:
    """The data set with `Row.group` set, so that every split keeps these rows on one side."""
    name_of = {name: f"film-{number}" for number, found in enumerate(sets, 1) for name in found}
    return dataset.with_rows(
        replace(row, group=name_of[row.id]) if row.id in name_of and not row.group else row
        for row in dataset.rows
    )


def _pixels(rows: Iterable[Row], read: list[int]) -> Iterator[NDArray[np.uint8]]:
    """Pixels of each row that can be read; `read` gets their places."""
    for place, row in enumerate(rows):
        try:
            pixels = to_uint8(read_xray(row.image).pixels)
        except LungsightError:
            continue
        read.append(place)
        yield pixels


def _copies(rows: Sequence[tuple[int, Row]]) -> Copies:
    patients = {row.patient for _, row in rows if row.patient}
    truths = {row.positive for _, row in rows}
    return Copies(
        rows=tuple(
            Copy(dataset=number, id=row.id, source=row.source, patient=row.patient, positive=row.positive)
            for number, row in rows
        ),
        across_datasets=len({number for number, _ in rows}) > 1,
        across_patients=len(patients) > 1,
        conflicting={True, False} <= truths,
    )
