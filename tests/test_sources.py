"""What a score is worth within a source, and what is known without a pixel; the folds' own interval."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from lungsight.dataset import Row

pytest.importorskip("sklearn")
pytest.importorskip("lightning")
from lungsight.evaluation.crossvalidation import calibrated_out_of_fold, corrected_t, fold_aurocs
from lungsight.evaluation.no_pixels import no_pixel_scores, subsource_left_out
from lungsight.evaluation.sources import group_auroc, no_pixel_models, source_metrics, subsource_of
from lungsight.metrics import Patients, delong
from lungsight.wording import NoPixels


def rows(count: int = 200, seed: int = 0, **given: object) -> list[Row]:
    """Two sources; the second has hosts that tell the class, and a file size that does not."""
    random = np.random.default_rng(seed)
    made = []
    for number in range(count):
        covid = bool(random.random() < 0.5)
        host = f"host{(random.integers(0, 4) if covid else random.integers(2, 6))}"
        fields = {
            "source": "a" if number % 3 else "b",
            "subsource": host,
            "patient": f"p{number // 2}",
            "view": "ap",
            "original_width": int(random.integers(500, 900)),
            "original_height": 600,
            "original_mode": "L",
            "original_bytes": int(random.integers(9000, 90000)),
            **given,
        }
        made.append(Row(str(number), Path("x.png"), covid=covid, **fields))  # type: ignore[arg-type]
    return made


def test_within_a_source_and_a_sub_source() -> None:
    table = rows()
    truth = np.array([bool(row.covid) for row in table])
    score = truth + np.random.default_rng(1).normal(size=len(table))
    found = source_metrics(score, table, delong(score, truth), no_pixels=False)
    assert found.same_source is not None and found.same_subsource is not None
    by_hand = [
        (score[i] > score[j]) + 0.5 * (score[i] == score[j])
        for i in np.flatnonzero(truth)
        for j in np.flatnonzero(~truth)
        if subsource_of(table[i]) == subsource_of(table[j])
    ]
    assert found.same_subsource.auroc.value == pytest.approx(np.mean(by_hand))
    assert found.same_subsource.pairs == len(by_hand) < found.same_source.pairs
    assert found.same_subsource.groups == 4, "hosts 2 and 3 of either source have both classes"
    # A host of one class takes no pair with it.
    without = {one.name: one for one in found.without}
    assert len(without) > 1 and all(one.auroc.value == one.auroc.value for one in without.values())
    assert found.by_view == (), "one view only"


def test_a_table_without_sources_is_one_source() -> None:
    table = rows(source="", subsource="")
    score = np.arange(len(table), dtype=float)
    same = group_auroc(score, table)
    assert same is not None and same.groups == 1 and same.images == len(table)
    assert group_auroc(score, table, subsource_of) is None


def test_views_are_told_apart() -> None:
    table = [
        Row(str(i), Path("x"), source="s", patient=f"p{i}", covid=i % 3 == 0, view="ap" if i % 2 else "pa")
        for i in range(60)
    ]
    score = np.array([row.covid is True and row.view == "ap" for row in table], float)
    truth = np.array([bool(row.covid) for row in table])
    found = source_metrics(score, table, delong(score, truth), no_pixels=False)
    assert {one.name: one.auroc.value for one in found.by_view} == {"ap": 1.0, "pa": 0.5}


@pytest.fixture
def three_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forests of three trees, where the question is not how well they tell the class."""
    monkeypatch.setattr("lungsight.evaluation.no_pixels.TREES", 3)


class TestNoPixels:
    @pytest.mark.usefixtures("three_trees")
    def test_no_image_is_scored_by_what_saw_its_patient(self) -> None:
        table = rows()
        for one in no_pixel_scores(table):
            for folds in one.folds:
                of: dict[str, set[int]] = {}
                for row, fold in zip(table, folds.tolist(), strict=True):
                    of.setdefault(row.patient, set()).add(fold)
                assert all(len(numbers) == 1 for numbers in of.values())
            assert not set(one.folds[0].tolist()) & set(one.folds[1].tolist())

    def test_what_tells_the_class_is_found_and_what_does_not_is_chance(self) -> None:
        found = {one.model: one for one in no_pixel_models(rows(400))}
        assert set(found) == {NoPixels.SOURCE, NoPixels.SUBSOURCE, NoPixels.HEADER}
        host, header, source = (found[key] for key in (NoPixels.SUBSOURCE, NoPixels.HEADER, NoPixels.SOURCE))
        # Half of either class is on hosts of its own: the truth is 1 - 0.25 / 2.
        assert host.pooled.low < 0.875 < host.pooled.high
        assert header.pooled.low < 0.5 < header.pooled.high
        assert source.same_source is not None and source.same_source.auroc.value == 0.5
        assert host.same_subsource is not None and host.same_subsource.auroc.value == 0.5
        assert host.subsource_left_out is None and header.subsource_left_out is not None

    @pytest.mark.usefixtures("three_trees")
    def test_pairs_of_two_models_are_not_compared(self) -> None:
        """A source that says nothing is exactly 0.5 within folds; between folds its fraction differs by chance."""
        one = next(one for one in no_pixel_scores(rows(120, seed=3)) if one.model is NoPixels.SOURCE)
        assert len(set(one.score[0].round(9))) > 2, "two sources, and another fraction of each in every fold"
        models = no_pixel_models(rows(120, seed=3))
        source = next(one for one in models if one.model is NoPixels.SOURCE)
        assert source.same_source is not None and source.same_source.auroc.value == 0.5

    @pytest.mark.usefixtures("three_trees")
    def test_a_value_not_seen_counts_as_the_mean(self) -> None:
        table = rows(60, view="")
        # Each sub-source is one patient: none is ever seen in training.
        table = [
            Row(row.id, row.image, covid=row.covid, source="s", patient=row.id, subsource=row.id)
            for row in table
        ]
        one = next(one for one in no_pixel_scores(table) if one.model is NoPixels.SUBSOURCE)
        for folds, score in zip(one.folds, one.score, strict=True):
            for fold in np.unique(folds):
                assert len(set(score[folds == fold].round(12))) == 1
        assert no_pixel_models([row for row in table if row.covid]) == ()

    @pytest.mark.usefixtures("three_trees")
    def test_a_left_out_sub_source_is_wholly_in_one_fold(self) -> None:
        table = rows()
        apart = subsource_left_out([NoPixels.HEADER], table)[NoPixels.HEADER]
        for folds in apart.folds:
            pairs = {(subsource_of(row), fold) for row, fold in zip(table, folds.tolist(), strict=True)}
            assert len(pairs) == len({name for name, _ in pairs})
        assert not subsource_left_out([NoPixels.HEADER], rows(subsource=""))


class TestFolds:
    def test_the_corrected_interval_by_hand(self) -> None:
        # The ten folds of the network that ships.
        aurocs = [0.64, 0.78, 0.55, 0.86, 0.71, 0.53, 0.58, 0.72, 0.46, 0.97]
        found = corrected_t(aurocs, 10, 461, Patients.of(np.arange(273), 273))
        error = np.std(aurocs, ddof=1) * math.sqrt(1 / 10 + 1 / 8)
        assert found.value == pytest.approx(0.68)
        assert (found.low, found.high) == pytest.approx((0.68 - 2.262157 * error, 0.68 + 2.262157 * error))
        assert found.high - found.low > 1.4 * 2 * 2.262157 * np.std(aurocs, ddof=1) / math.sqrt(10)
        assert math.isnan(corrected_t([0.7, math.nan], 2, 10, Patients.of(None, 10)).low)

    def test_aurocs_of_folds(self) -> None:
        logits = np.array([[0.1, 0.9, 0.3, 0.2]])
        found = fold_aurocs(logits, np.array([[1, 1, 2, 2]]), np.array([False, True, False, True]))
        assert found == [1.0, 0.0]

    def test_a_fold_is_calibrated_by_the_others_alone(self) -> None:
        random = np.random.default_rng(0)
        logits, fold = random.normal(size=300), np.arange(300) % 3
        truth = random.random(300) < 1 / (1 + np.exp(-logits))
        found = calibrated_out_of_fold(logits, truth, fold)
        changed = truth.copy()
        changed[fold == 1] = ~changed[fold == 1]
        again = calibrated_out_of_fold(logits, changed, fold)
        assert np.array_equal(found[fold == 1], again[fold == 1])
        assert not np.allclose(found[fold == 0], again[fold == 0])
        # A ranking that is upside down says nothing.
        turned = calibrated_out_of_fold(-logits, truth, fold)
        assert all(len(set(turned[fold == number].round(9))) == 1 for number in range(3))
