"""The paper's splits count as the paper counts; patients never fall on both sides."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lungsight.dataset import Dataset, Row
from lungsight.dataset.split import (
    Split,
    _deal,
    _stratum,
    by_patient,
    clusters,
    paper_diagnosis,
    paper_segmentation,
    patient_folds,
)
from lungsight.errors import DataError
from lungsight.wording import Part


class NoPixels:
    """A mask that nothing may load: splitting reads the table alone."""

    def load(self) -> NDArray[np.bool_]:
        raise AssertionError("a split must not decode pixels")

    def shape(self) -> tuple[int, int]:
        raise AssertionError("a split must not open files")

    @property
    def path(self) -> Path:
        raise AssertionError("a split must not open files")


def table(*groups: tuple[int, bool | None, str, int]) -> Dataset:
    """Groups of (images, covid, source, images per patient)."""
    rows = []
    for group, (count, covid, source, each) in enumerate(groups):
        for number in range(count):
            patient = f"{group}-{number // each}"
            identity = f"{group}-{number}"
            rows.append(
                Row(identity, Path(identity), NoPixels(), source=source, patient=patient, covid=covid)
            )
    return Dataset(Path("drawn"), "manifest", tuple(rows))


@pytest.fixture(scope="module")
def paper() -> Dataset:
    """The counts of the paper: 5,957 images without COVID-19 and 439 with."""
    return table((5957, False, "kermany", 2), (439, True, "ieee8023", 2))


def counts(dataset: Dataset, part: tuple[int, ...]) -> tuple[int, int]:
    """(not COVID, COVID)."""
    covid = sum(dataset.rows[index].covid is True for index in part)
    return len(part) - covid, covid


def patients(dataset: Dataset, part: tuple[int, ...]) -> set[str]:
    return {dataset.rows[index].patient for index in part}


def assert_disjoint(split: Split) -> None:
    every = split.train + split.validation + split.test
    assert len(set(every)) == len(every)


def test_segmentation_counts_are_the_papers(paper: Dataset) -> None:
    split = paper_segmentation(paper, seed=0)
    assert counts(paper, split.train) == (4170, 307)
    assert counts(paper, split.validation) == (0, 132)
    assert split.test == ()
    assert_disjoint(split)


def test_the_earlier_run_has_500_without_covid(paper: Dataset) -> None:
    split = paper_segmentation(paper, seed=0, non_covid_limit=500)
    assert counts(paper, split.train) == (500, 307)
    assert counts(paper, split.validation) == (0, 132)
    assert set(split.train) <= set(paper_segmentation(paper, seed=0).train)


def test_diagnosis_counts_are_the_papers(paper: Dataset) -> None:
    split = paper_diagnosis(paper, seed=0)
    assert counts(paper, split.train) == (4170, 307)
    assert counts(paper, split.validation) == (1787, 132)
    assert len(split.validation) == 1919
    assert_disjoint(split)
    assert len(split.train) + len(split.validation) == len(paper)


def test_a_split_says_how_it_was_drawn(paper: Dataset) -> None:
    for split, name in (
        (paper_segmentation(paper, seed=4), "paper-segmentation"),
        (paper_diagnosis(paper, seed=4), "paper-diagnosis"),
        (by_patient(paper, seed=4), "patient"),
    ):
        assert (split.name, split.seed) == (name, 4)


def test_the_class_that_is_missing_is_named() -> None:
    covid, other = table((9, True, "a", 1)), table((9, False, "a", 1))
    bare = replace(other, rows=(*other.rows, Row("bare", Path("bare"), covid=True)))
    for draw, dataset, words in (
        (paper_diagnosis, covid, "there is no image without COVID-19 in the data set"),
        (paper_diagnosis, other, "there is no COVID-19 image in the data set"),
        (paper_segmentation, bare, "there is no COVID-19 image with a lung mask in the data set"),
        (paper_segmentation, covid, "there is no image without COVID-19 with a lung mask in the data set"),
    ):
        with pytest.raises(DataError) as error:
            draw(dataset, 0)
        assert error.value.message == words
        assert error.value.where == str(dataset.root) and error.value.hint


def test_a_patient_counts_to_the_source_of_most_images_and_to_the_rarer_class() -> None:
    one = [Row(name, Path(name), source=name[0], covid=known) for name, known in (("a1", None), ("a2", None))]
    assert _stratum([*one, Row("z", Path("z"), source="z")]) == ("None", "a")
    assert _stratum([*one, Row("z", Path("z"), source="z", covid=False)]) == ("False", "a")
    assert _stratum([*one, Row("z", Path("z"), source="z", covid=True)]) == ("True", "a")


@pytest.mark.parametrize("seed", range(6))
def test_every_part_gets_a_patient_where_there_are_as_many_as_parts(seed: int) -> None:
    """Going by what is lacking alone, nine tenths would take all three."""
    patients = [(0, 1), (2,), (3,)]
    dealt = _deal(patients, (0.9, 0.05, 0.05), np.random.default_rng(seed))
    assert all(dealt) and sorted(index for part in dealt for index in part) == [0, 1, 2, 3]
    two = _deal(patients[:2], (0.9, 0.05, 0.05), np.random.default_rng(seed))
    assert sorted(two[0]) == [0, 1, 2] and two[1:] == [[], []], "too few for each"


def test_both_networks_train_on_the_same_images(paper: Dataset) -> None:
    assert paper_diagnosis(paper, seed=3).train == paper_segmentation(paper, seed=3).train


def test_the_seed_decides(paper: Dataset) -> None:
    assert paper_diagnosis(paper, seed=1) == paper_diagnosis(paper, seed=1)
    assert paper_diagnosis(paper, seed=1).train != paper_diagnosis(paper, seed=2).train
    assert by_patient(paper, seed=1) == by_patient(paper, seed=1)
    assert by_patient(paper, seed=1).test != by_patient(paper, seed=2).test


def test_images_without_a_label_or_a_mask_take_no_part() -> None:
    dataset = table((10, False, "a", 1), (10, True, "a", 1), (5, None, "a", 1))
    bare = Dataset(dataset.root, "manifest", (*dataset.rows, Row("bare", Path("bare"), covid=True)))
    diagnosis = paper_diagnosis(bare, seed=0)
    assert set(diagnosis.train + diagnosis.validation) == {*range(20), 25}
    segmentation = paper_segmentation(bare, seed=0)
    assert set(segmentation.train + segmentation.validation) <= set(range(20))


def test_by_patient_gives_each_part_its_share_of_every_class_and_source() -> None:
    dataset = table((700, False, "kermany", 2), (90, True, "ieee8023", 2), (40, False, "ieee8023", 1))
    split = by_patient(dataset, seed=0)
    assert_disjoint(split)
    assert len(split.train) + len(split.validation) + len(split.test) == len(dataset)
    groups = Counter((row.covid, row.source) for row in dataset.rows)
    for part, fraction in ((split.train, 0.7), (split.validation, 0.15), (split.test, 0.15)):
        found = Counter((dataset.rows[index].covid, dataset.rows[index].source) for index in part)
        for group, count in groups.items():
            assert abs(found[group] - fraction * count) <= 2
    parts = [patients(dataset, part) for part in (split.train, split.validation, split.test)]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(
        st.tuples(st.integers(1, 9), st.booleans(), st.sampled_from("ab")), min_size=4, max_size=60
    ),
    seed=st.integers(0, 2**31),
    folds=st.integers(2, 4),
)
def test_no_patient_is_in_two_folds(sizes: list[tuple[int, bool, str]], seed: int, folds: int) -> None:
    sizes += [(1, True, "a"), (1, False, "b")] * folds
    dataset = table(*((count, covid, source, count) for count, covid, source in sizes))
    parts = patient_folds(dataset, folds, seed)
    assert sorted(index for part in parts for index in part) == list(range(len(dataset)))
    names = [patients(dataset, part) for part in parts]
    assert sum(map(len, names)) == len(set().union(*names))
    assert all(names)


def test_a_patient_with_and_without_covid_stays_whole() -> None:
    rows = [
        Row(
            f"{patient}-{image}",
            Path("x"),
            patient=str(patient),
            source="s",
            covid=image == 0 and patient < 6,
        )
        for patient in range(20)
        for image in range(2)
    ]
    dataset = Dataset(Path("drawn"), "manifest", tuple(rows))
    split = by_patient(dataset, seed=0, fractions=(0.5, 0.25, 0.25))
    for part in (split.train, split.validation, split.test):
        assert counts(dataset, part)[1] > 0
        assert len(part) == 2 * len(patients(dataset, part))


def test_a_part_may_be_left_out() -> None:
    dataset = table((40, False, "a", 2), (20, True, "a", 2))
    split = by_patient(dataset, seed=0, fractions=(0.8, 0.2, 0.0))
    assert split.test == ()
    assert (len(split.train), len(split.validation)) == (48, 12)


def test_a_few_rows_without_a_patient_are_patients_of_their_own_and_counted() -> None:
    dataset = table((100, False, "a", 2), (100, True, "a", 2))
    rows = (*dataset.rows, Row("nameless", Path("x"), covid=True, source="a"))
    split = by_patient(Dataset(dataset.root, "manifest", rows), seed=0)
    assert split.without_patient == 1
    assert len(split.train) + len(split.validation) + len(split.test) == 201
    assert by_patient(dataset, seed=0).without_patient == 0


@pytest.mark.parametrize(("missing", "refused"), [(2, False), (3, True), (20, True)])
def test_more_than_a_tenth_without_a_patient_is_no_split_by_patient(missing: int, refused: bool) -> None:
    dataset = table((10, False, "a", 1), (10, True, "a", 1))
    rows = (*(replace(row, patient="") for row in dataset.rows[:missing]), *dataset.rows[missing:])
    nameless = Dataset(dataset.root, "manifest", rows)
    if not refused:
        assert by_patient(nameless, seed=0).without_patient == missing
        return
    with pytest.raises(DataError, match=rf"{missing} of 20 images have no patient id.*0-0"):
        by_patient(nameless, seed=0)


def test_clusters_hang_together_by_patient_group_and_a_finders_sets() -> None:
    rows = [
        Row("a", Path("x"), patient="1"),
        Row("b", Path("x"), patient="2"),
        Row("c", Path("x"), patient="1"),
        Row("d", Path("x")),
        Row("e", Path("x")),
        Row("f", Path("x"), patient="3", group="film"),
        Row("g", Path("x"), patient="4", group="film"),
        Row("h", Path("x"), patient="5"),
    ]
    assert clusters(rows).tolist() == [0, 1, 0, 2, 3, 4, 4, 5]
    assert clusters(rows, [{"b", "c"}, {"d", "unknown"}, {"g", "e"}]).tolist() == [0, 0, 0, 1, 2, 2, 2, 3]


def test_duplicates_across_patients_fall_on_one_side() -> None:
    dataset = table((60, False, "a", 1), (60, True, "a", 1))
    pairs = [{f"0-{number}", f"0-{number + 1}"} for number in range(0, 60, 2)]
    split = by_patient(dataset, seed=0, groups=pairs)
    for part in Part:
        names = {dataset.rows[index].id for index in split.part(part)}
        assert all(len(pair & names) in (0, 2) for pair in pairs)
    assert split.part(Part.VALIDATION) == split.validation != split.test == split.part(Part.TEST)
    for fold in patient_folds(dataset, 3, seed=0, groups=pairs):
        names = {dataset.rows[index].id for index in fold}
        assert all(len(pair & names) in (0, 2) for pair in pairs)


@pytest.mark.parametrize("make", [paper_segmentation, paper_diagnosis, by_patient])
def test_no_covid_image_is_an_error(make: object) -> None:
    with pytest.raises(DataError, match="no COVID-19 image"):
        make(table((30, False, "a", 1)), seed=0)  # type: ignore[operator]


def test_lungs_alone_need_no_covid_image() -> None:
    split = by_patient(table((40, False, "a", 1)), seed=0, need_covid=False)
    assert (len(split.train), len(split.validation), len(split.test)) == (28, 6, 6)


@pytest.mark.parametrize(
    "groups", [((30, False, "a", 1), (6, True, "a", 3)), ((2, False, "a", 1), (30, True, "a", 1))]
)
def test_too_few_patients_is_an_error(groups: tuple[tuple[int, bool, str, int], ...]) -> None:
    with pytest.raises(DataError, match="too few patients: 2 with"):
        by_patient(table(*groups), seed=0)


def test_fractions_and_folds_are_checked() -> None:
    dataset = table((10, False, "a", 1), (10, True, "a", 1))
    with pytest.raises(ValueError, match="add up to 1"):
        by_patient(dataset, seed=0, fractions=(0.7, 0.2, 0.2))
    with pytest.raises(ValueError, match="folds"):
        patient_folds(dataset, 1, seed=0)


@pytest.mark.real_data
def test_v7_patients_apart(v7_manifest: Path) -> None:
    from lungsight.dataset import read_dataset

    dataset = read_dataset(v7_manifest)
    split = by_patient(dataset, seed=0)
    named = [patients(dataset, part) for part in (split.train, split.validation, split.test)]
    assert not named[0] & named[1] and not named[0] & named[2] and not named[1] & named[2]
    same_source = [
        sum(dataset.rows[i].source == "ieee8023" and not dataset.rows[i].covid for i in part)
        for part in (split.train, split.validation, split.test)
    ]
    assert min(same_source) >= 5
