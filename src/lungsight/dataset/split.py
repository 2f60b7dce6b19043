"""Who is trained on and who is tested on: the paper's splits, and the honest ones by patient."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lungsight.dataset.table import Dataset, Row
from lungsight.errors import DataError
from lungsight.wording import Part

Indices = tuple[int, ...]
Groups = Iterable[Collection[str]]
"""Sets of row ids that must stay together."""

PAPER_TRAINING_FRACTION = 0.7
MAX_WITHOUT_PATIENT = 0.1
"""Of the rows. With more, 'by patient' would be a word only."""


@dataclass(frozen=True, slots=True)
class Split:
    """Parts of a data set, as indices into its rows, each in rising order; no index is in two parts."""

    name: str
    seed: int
    train: Indices
    validation: Indices
    test: Indices = ()
    without_patient: int = 0
    """Rows without a patient id; each was dealt as a patient of its own."""

    def part(self, part: Part) -> Indices:
        """The rows of one part."""
        return {Part.TRAIN: self.train, Part.VALIDATION: self.validation, Part.TEST: self.test}[part]


def clusters(rows: Sequence[Row], groups: Groups = ()) -> NDArray[np.intp]:
    """What has to stay together when rows are split or resampled.

    Rows of one patient belong together, rows with the same `group` (one film under several names), and rows
    whose ids `groups` names together; and so does whatever hangs together by a chain of these. A row
    without a patient id is a patient of its own.

    Args:
        rows: (N,) of a table.
        groups: sets of ids, as a duplicate finder gives them; ids that are not among the rows are passed over.

    Returns:
        (N,) numbers from 0, in the order in which the clusters first occur.
    """
    if not groups and not any(row.group for row in rows):
        # Patients alone make no chains: one pass, which a table of 400,000 rows is given dozens of times.
        of: dict[str | int, int] = {}
        keys = (row.patient or index for index, row in enumerate(rows))
        return np.array([of.setdefault(key, len(of)) for key in keys], np.intp)
    parent = list(range(len(rows)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first: dict[tuple[str, str], int] = {}
    for index, row in enumerate(rows):
        for key in (("patient", row.patient), ("group", row.group)):
            if key[1]:
                parent[root(index)] = root(first.setdefault(key, index))
    places = {row.id: index for index, row in enumerate(rows)} if groups else {}
    for group in groups:
        known = [places[name] for name in group if name in places]
        for index in known[1:]:
            parent[root(index)] = root(known[0])
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(root(index), len(numbers)) for index in range(len(rows))], np.intp)


def paper_segmentation(dataset: Dataset, seed: int, non_covid_limit: int | None = None) -> Split:
    """The paper's split for lung segmentation (its tables 2 and 3), drawn by image.

    Training: 70 % of the non-COVID and 70 % of the COVID images. Validation: the other COVID images only.
    Images of one patient can fall on both sides; see `by_patient`. Rows without a mask take no part.

    Args:
        dataset: the table.
        seed: of the draw. The same seed gives the same training images in `paper_diagnosis` where every row
            has a mask.
        non_covid_limit: keep only so many of the non-COVID training images (the paper's earlier run: 500).

    Raises:
        DataError: no COVID image, or no other image, has a mask.
    """
    covid, other = _paper_draw(dataset, seed, need_mask=True)
    chosen = other[0] if non_covid_limit is None else other[0][:non_covid_limit]
    return Split("paper-segmentation", seed, _sorted(chosen, covid[0]), _sorted(covid[1]))


def paper_diagnosis(dataset: Dataset, seed: int) -> Split:
    """The paper's split for diagnosis (its tables 4 and 5), drawn by image: 70 % of each class, and the rest.

    Rows of which it is not known whether they are COVID take no part.

    Raises:
        DataError: no COVID image, or no other image.
    """
    covid, other = _paper_draw(dataset, seed, need_mask=False)
    return Split("paper-diagnosis", seed, _sorted(other[0], covid[0]), _sorted(other[1], covid[1]))


def by_patient(
    dataset: Dataset,
    seed: int,
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15),
    *,
    need_covid: bool = True,
    groups: Groups = (),
) -> Split:
    """Patients wholly in one part; each part has its fraction of the images of each class and source.

    Args:
        dataset: the table. A few rows may lack a patient id: each is dealt as a patient of its own.
        seed: of the draw.
        fractions: of the images in training, validation and test; one may be 0.
        need_covid: raise where no image shows the target; False for a data set of lungs alone.
        groups: sets of ids that stay together, see `clusters`.

    Raises:
        DataError: more than a tenth of the patient ids are missing, no image shows the target, or a class has
            fewer patients than parts.
        ValueError: fractions that are negative or do not add up to 1.
    """
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"fractions must be positive and add up to 1, not {fractions}")
    train, validation, test = _draw_patients(dataset, seed, fractions, need_covid, groups)
    return Split("patient", seed, train, validation, test, sum(not row.patient for row in dataset.rows))


def given_parts(name: str) -> dict[str, str]:
    """id -> part, from a CSV with the columns `id` and `part`.

    Args:
        name: of a table that comes with the recipes, or a path.

    Raises:
        DataError: it is missing or has no such columns.
    """
    shipped = resources.files("lungsight") / "recipes" / name
    place = shipped if Path(name).name == name and shipped.is_file() else Path(name)
    try:
        with place.open(encoding="utf-8") as file:
            return {row["id"]: row["part"] for row in csv.DictReader(file)}
    except (OSError, KeyError, UnicodeDecodeError, csv.Error) as error:
        raise DataError("is no table of id and part", where=name) from error


def by_patient_in_turn(
    dataset: Dataset, seed: int, given: Mapping[str, str] | None = None, *, need_covid: bool = True
) -> Split:
    """`by_patient` for one data set after the other of a joined table.

    A patient who was in an earlier one stays in its part, so that a further data set changes no part of those before
    it. One that leaves too few patients to split trains.

    Args:
        dataset: the table, perhaps from `dataset.join`.
        seed: of each draw.
        given: id -> part of rows whose part is not drawn; any other word than 'train', 'validation' and 'test' leaves
            a row out.

    Raises:
        DataError: as `by_patient`, for the first data set.
    """
    given = given or {}
    where: dict[str, str] = {}
    for part in ("train", "validation", "test"):  # who is in the test part is in no other
        where |= {row.patient: part for row in dataset if row.patient and given.get(row.id) == part}
    parts: dict[int, str] = {
        index: given.get(row.id, where.get(row.patient, "")) for index, row in enumerate(dataset.rows)
    }
    # Of a patient with a row in the test part, what was given to another is left out.
    parts = {
        index: part if where.get(dataset.rows[index].patient, part) == part else "left out"
        for index, part in parts.items()
    }
    for number, name in enumerate(dict.fromkeys(row.collection for row in dataset)):
        for index, row in enumerate(dataset.rows):
            if row.collection == name and row.patient in where and not parts[index]:
                parts[index] = where[row.patient]
        rest = [
            index for index, row in enumerate(dataset.rows) if row.collection == name and not parts[index]
        ]
        if not rest:
            continue
        open_rows = replace(dataset, rows=tuple(dataset.rows[index] for index in rest))
        try:
            drawn = by_patient(open_rows, seed, need_covid=need_covid and not number)
        except DataError:
            if not number and not given:
                raise
            drawn = Split("", seed, tuple(range(len(rest))), ())
        for part, indices in (("train", drawn.train), ("validation", drawn.validation), ("test", drawn.test)):
            for index in indices:
                parts[rest[index]] = where[dataset.rows[rest[index]].patient] = part
    train, validation, test = (
        tuple(index for index in range(len(dataset)) if parts[index] == part)
        for part in ("train", "validation", "test")
    )
    return Split("patient", seed, train, validation, test)


def patient_folds(
    dataset: Dataset, folds: int, seed: int, *, need_covid: bool = True, groups: Groups = ()
) -> list[Indices]:
    """`folds` parts of about equal size, patients wholly in one, stratified by class and source.

    Raises:
        DataError: as `by_patient`.
        ValueError: fewer than 2 folds.
    """
    if folds < 2:
        raise ValueError(f"folds must be 2 or more, not {folds}")
    return _draw_patients(dataset, seed, (1 / folds,) * folds, need_covid, groups)


def _paper_draw(
    dataset: Dataset, seed: int, need_mask: bool
) -> tuple[tuple[NDArray[np.intp], NDArray[np.intp]], tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """(training, rest) of the COVID images and of the others, in the order drawn."""
    rng = np.random.default_rng(seed)
    drawn = []
    for covid in (True, False):
        rows = [
            index
            for index, row in enumerate(dataset.rows)
            if row.positive is covid and (row.mask is not None or not need_mask)
        ]
        if not rows:
            name = dataset.target.name
            what = f"{name} image" if covid else f"image without {name}"
            raise DataError(
                f"there is no {what}{' with a lung mask' if need_mask else ''} in the data set",
                where=dataset.root,
                hint="The paper's splits need both classes; 'lungsight data describe' shows what there is",
            )
        order = rng.permutation(np.asarray(rows, np.intp))
        count = round(PAPER_TRAINING_FRACTION * len(order))
        drawn.append((order[:count], order[count:]))
    return drawn[0], drawn[1]


def _draw_patients(
    dataset: Dataset, seed: int, fractions: Sequence[float], need_covid: bool, groups: Groups
) -> list[Indices]:
    patients = _patients(dataset, groups)
    _check_classes(dataset, patients, sum(fraction > 0 for fraction in fractions), need_covid)
    strata: dict[tuple[str, str], list[Indices]] = defaultdict(list)
    for rows in patients:
        strata[_stratum([dataset.rows[index] for index in rows])].append(rows)
    rng = np.random.default_rng(seed)
    parts: list[list[int]] = [[] for _ in fractions]
    for key in sorted(strata):
        for part, dealt in zip(parts, _deal(strata[key], fractions, rng), strict=True):
            part.extend(dealt)
    return [tuple(sorted(part)) for part in parts]


def _patients(dataset: Dataset, groups: Groups) -> list[Indices]:
    """The rows of each patient, or of patients and groups that hang together."""
    missing = [row.id for row in dataset.rows if not row.patient]
    if len(missing) > MAX_WITHOUT_PATIENT * len(dataset):
        raise DataError(
            f"{len(missing)} of {len(dataset)} images have no patient id (the first: {missing[0]})",
            where=dataset.root,
            hint="A split by patient needs one for each image; add a 'patient' column or split by image",
        )
    members: dict[int, list[int]] = defaultdict(list)
    for index, cluster in enumerate(clusters(dataset.rows, groups)):
        members[int(cluster)].append(index)
    return [tuple(rows) for rows in members.values()]


def _check_classes(dataset: Dataset, patients: list[Indices], parts: int, need_covid: bool) -> None:
    name = dataset.target.name
    positive = sum(any(dataset.rows[index].positive for index in rows) for rows in patients)
    if need_covid and not positive:
        raise DataError(
            f"there is no {name} image in the data set",
            where=dataset.root,
            hint="'lungsight data describe' shows what there is",
        )
    for words, count in ((f"with {name}", positive), (f"without {name}", len(patients) - positive)):
        if count < parts and (count or need_covid or len(patients) < parts):
            raise DataError(
                f"too few patients: {count} {words} for {parts} parts",
                where=dataset.root,
                hint="Use more data or fewer parts",
            )


def _stratum(rows: Sequence[Row]) -> tuple[str, str]:
    """A patient with both classes counts as positive, and to the source of most of the images."""
    known = [row.positive for row in rows if row.positive is not None]
    sources = [row.source for row in rows]
    return str(any(known) if known else None), max(sorted(set(sources)), key=sources.count)


def _deal(
    patients: Sequence[Indices], fractions: Sequence[float], rng: np.random.Generator
) -> list[list[int]]:
    """Deal the patients of one stratum, in random order, each to the part that lacks the most images."""
    used = [part for part, fraction in enumerate(fractions) if fraction > 0]
    total = sum(map(len, patients))
    lacking = {part: fractions[part] * total for part in used}
    dealt: list[list[int]] = [[] for _ in fractions]
    order = [patients[index] for index in rng.permutation(len(patients))]
    for turn, rows in enumerate(order):
        # Each part gets someone first, if there are enough: a small part could miss a rare stratum.
        part = used[turn] if turn < len(used) <= len(order) else max(used, key=lambda part: lacking[part])
        dealt[part].extend(rows)
        lacking[part] -= len(rows)
    return dealt


def _sorted(*parts: NDArray[np.intp]) -> Indices:
    return tuple(int(index) for index in np.sort(np.concatenate(parts)))
