"""What a data set holds: the paper's table 1 for it, counts, and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, cast

from lungsight.dataset.cache import check_aspect, image_shape
from lungsight.dataset.table import Dataset, Excluded, Note, Row, Target
from lungsight.errors import LungsightError
from lungsight.records import Record, plain
from lungsight.wording import Label

Size = tuple[int, int]
"""(height, width)."""
Counts = dict[str, int]


class Problem(Record, frozen=True):
    """A row that cannot be used, and why."""

    id: str
    reason: str


class Classes(Record, frozen=True):
    """Images by the answer to the target's question."""

    total: int
    positive: int
    negative: int
    unlabelled: int

    @classmethod
    def count(cls, entries: Iterable[Row | Excluded]) -> Classes:
        """Count rows, or what was left out."""
        labels = Counter(entry.covid for entry in entries)
        return cls(
            total=labels.total(), positive=labels[True], negative=labels[False], unlabelled=labels[None]
        )

    @property
    def covid(self) -> int:
        """`positive`, where the target is COVID-19."""
        return self.positive

    @property
    def not_covid(self) -> int:
        """`negative`, where the target is COVID-19."""
        return self.negative


class Patients(Record, frozen=True):
    """How many patients, and how many images each has. All 0 where nobody is named."""

    count: int
    positive: int
    images_min: int
    images_mean: float
    images_max: int
    images_without_patient: int


class Labelled(Record, frozen=True):
    """How often a table of labels affirms, denies and doubts one finding."""

    positive: int = 0
    negative: int = 0
    uncertain: int = 0


class Description(Record, frozen=True):
    """A data set in numbers. Faulty rows are in `problems` and in none of the counts."""

    root: str
    layout: str
    fingerprint: str
    target: Target
    all: Classes
    """Every readable image, those that the rules leave out too."""
    smallest: Size | None
    largest: Size | None
    with_mask: Classes
    without_mask: Classes
    """Usable all the same where the task needs no mask."""
    excluded: Counts
    """Left out by rule, by reason."""
    source: Counts
    subsource: Counts
    finding: Counts
    view: Counts
    sex: Counts
    labels: dict[str, Labelled]
    by_source: dict[str, Classes]
    """Where one source holds one class only, a score for the class can be a score for the source."""
    patients: Patients
    notes: tuple[Note, ...]
    problems: tuple[Problem, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return cast(dict[str, Any], plain(self))


def check(dataset: Dataset, progress: Callable[[int, int], None] | None = None) -> tuple[Problem, ...]:
    """Everything that makes a row unusable, as far as tables and file headers tell; no pixel is decoded.

    Missing files and bad annotations, images and masks that are none, and masks whose aspect ratio differs
    from their image's by more than 2 %.
    """
    return _inspect(dataset, progress)[1]


def describe(dataset: Dataset, progress: Callable[[int, int], None] | None = None) -> Description:
    """Count what is there. Opens the header of each image and mask; `progress` gets (images done, in all)."""
    sizes, problems = _inspect(dataset, progress)
    faulty = {problem.id for problem in problems}
    rows = [row for row in dataset.rows if row.id not in faulty]
    left_out = [item for item in dataset.excluded if not item.broken]
    by_source = _names(row.source for row in rows)
    return Description(
        root=str(dataset.root),
        layout=dataset.layout,
        fingerprint=dataset.fingerprint(),
        target=dataset.target,
        all=Classes.count([*rows, *left_out]),
        smallest=min(sizes, key=_area, default=None),
        largest=max(sizes, key=_area, default=None),
        with_mask=Classes.count(row for row in rows if row.mask is not None),
        without_mask=Classes.count(row for row in rows if row.mask is None),
        excluded=_names(item.reason for item in left_out),
        source=by_source,
        subsource=_names(row.subsource for row in rows) if any(row.subsource for row in rows) else {},
        finding=_names(row.finding for row in rows),
        view=_names(row.view for row in rows),
        sex=_names(row.sex for row in rows),
        labels=_labels(rows),
        by_source={
            name: Classes.count(row for row in rows if (row.source or "not given") == name)
            for name in by_source
        },
        patients=_patients(rows),
        notes=dataset.notes,
        problems=problems,
    )


def _inspect(
    dataset: Dataset, progress: Callable[[int, int], None] | None
) -> tuple[list[Size], tuple[Problem, ...]]:
    """Sizes of the images that can be opened, and all problems."""
    problems = [Problem(id=item.id, reason=item.reason) for item in dataset.excluded if item.broken]
    sizes: list[Size] = []
    for done, row in enumerate(dataset.rows, 1):
        try:
            size = image_shape(row.image)
            if row.mask is not None:
                check_aspect(size, row.mask.shape(), row.id)
            sizes.append(size)
        except LungsightError as error:
            where = f"{error.where}: " if error.where and error.where != row.id else ""
            problems.append(Problem(id=row.id, reason=where + error.message))
        if progress is not None:
            progress(done, len(dataset))
    for item in dataset.excluded:
        if item.image is not None and not item.broken:
            try:
                sizes.append(image_shape(item.image))
            except LungsightError as error:
                problems.append(Problem(id=item.id, reason=error.message))
    return sizes, tuple(problems)


def _patients(rows: list[Row]) -> Patients:
    images = Counter(row.patient for row in rows if row.patient)
    positive = {row.patient for row in rows if row.patient and row.positive}
    return Patients(
        count=len(images),
        positive=len(positive),
        images_min=min(images.values(), default=0),
        images_mean=images.total() / len(images) if images else 0.0,
        images_max=max(images.values(), default=0),
        images_without_patient=sum(not row.patient for row in rows),
    )


def _labels(rows: list[Row]) -> dict[str, Labelled]:
    counts = Counter((name, label) for row in rows for name, label in row.labels.items())
    names = dict.fromkeys(name for row in rows for name in row.labels)
    return {name: Labelled(**{str(label): counts[name, label] for label in Label}) for name in names}


def _names(values: Iterable[str]) -> Counts:
    """How often each occurs, most frequent first."""
    return dict(Counter(value or "not given" for value in values).most_common())


def _area(size: Size) -> int:
    return size[0] * size[1]
