"""Intervals: worked by hand, against brute force, and by how often they hold the truth."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from lungsight import metrics
from lungsight.errors import DataError
from lungsight.metrics.bootstrap import resamples
from lungsight.metrics.delong import areas_and_covariance
from lungsight.metrics.intervals import Patients
from lungsight.metrics.linear import average_precision
from lungsight.records import build, plain
from lungsight.wording import Caution, IntervalMethod

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Z = 1.959963984540054
CHI = Z**2


def drawn(
    n: int = 300, patients: int = 200, seed: int = 0, prevalence: float = 0.3
) -> tuple[Floats, Bools, NDArray[np.str_]]:
    """Scores, labels and patient ids; a patient has one label and a score of their own beside the image's."""
    random = np.random.default_rng(seed)
    who = np.concatenate((np.arange(patients), random.integers(0, patients, n - patients)))
    truth = (np.arange(patients) < prevalence * patients)[who]
    scores = random.normal(size=patients)[who] + 0.3 * random.normal(size=n) + 1.2 * truth
    return scores, truth, np.array([f"patient {number}" for number in who])


def test_importing_metrics_needs_numpy_alone() -> None:
    code = "import sys, lungsight.metrics; print({'scipy', 'sklearn', 'torch', 'cv2'} & set(sys.modules))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
    )
    assert all(hasattr(metrics, name) for name in metrics.__all__)


class TestInterval:
    def test_it_reads_well_and_goes_into_json_and_back(self) -> None:
        interval = metrics.Interval(0.9321, 0.921, 0.9437, 100, 80, IntervalMethod.DELONG)
        assert str(interval) == "0.932 (0.921 to 0.944)"
        assert interval.format(2) == "0.93 (0.92 to 0.94)"
        notes = (metrics.Note(Caution.PATIENTS_MISSING, 3, 1200),)
        missing = metrics.Interval.missing(3, None, IntervalMethod.WILSON, notes)
        assert str(missing) == "n/a"
        assert missing.note == "3 of 1,200 images have no patient id: each taken as a patient"
        written = missing.to_dict()
        assert (written["value"], written["method"]) == (None, "wilson")
        assert written["notes"][0]["code"] == "patients_missing"
        assert str(plain(build(metrics.Interval, written))) == str(plain(missing))
        assert str(metrics.Interval(0.5, math.nan, math.nan, 1, 1, IntervalMethod.WILSON)) == "0.500 (n/a)"

    def test_too_few_stand_in_place_of_the_interval_at_nine_and_not_at_ten(self) -> None:
        for count, few in ((9, True), (10, False)):
            scores, truth = np.arange(20 + count) % 7 / 7.0, np.arange(20 + count) < 20
            found = metrics.delong(scores, truth, patients=np.arange(20 + count))
            assert found.too_few is few and math.isnan(found.low) is few
            assert (f"(too few: {count} patients in the rarer class)" in str(found)) is few
            mean = metrics.mean_interval(np.linspace(0.8, 0.9, count), patients=np.arange(count))
            assert mean.too_few is few and math.isnan(mean.high) is few

    def test_a_perfect_score_on_three_patients_cannot_be_quoted_with_an_interval(self) -> None:
        found = metrics.delong([0.1, 0.2, 0.9], [0, 0, 1], patients=list("abc"))
        assert str(found) == "1.000 (too few: 1 patients in the rarer class)"
        assert found.to_dict()["low"] is None


class TestFractions:
    def test_wilson_of_published_values(self) -> None:
        # Newcombe, Statistics in Medicine 1998, table I: 81/263, 15/148, 0/20, 1/29.
        for successes, n, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611),
                                        (1, 29, 0.0061, 0.1718)):  # fmt: skip
            found = metrics.wilson(successes, n)
            assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
            one_each = metrics.fraction_interval(np.arange(n) < successes, patients=np.arange(n))
            assert (one_each.low, one_each.high) == pytest.approx((low, high), abs=5e-5)
        assert metrics.wilson(3, 3).too_few
        assert math.isnan(metrics.wilson(0, 0).value)
        assert np.isnan(metrics.wilson_bounds([0, 1], [0, 2])[0]).tolist() == [True, False]
        with pytest.raises(DataError):
            metrics.wilson(3, 2)

    def test_images_of_one_patient_that_agree_count_as_one(self) -> None:
        hits = np.arange(40) < 30
        once = metrics.fraction_interval(hits, patients=np.arange(40))
        many = metrics.fraction_interval(np.repeat(hits, 5), patients=np.repeat(np.arange(40), 5))
        assert many.value == once.value and (many.n, many.n_patients) == (200, 40)
        # With the correction for 40 patients it is a little wider than Wilson's of 40 images.
        assert 1.0 < (many.high - many.low) / (once.high - once.low) < 1.08
        all_hits = metrics.fraction_interval(np.ones(200, bool), patients=np.repeat(np.arange(40), 5))
        assert (all_hits.low, all_hits.high) == pytest.approx((1 / (1 + CHI / 40), 1.0))

    def test_within_is_the_denominator(self) -> None:
        called, truth = np.arange(60) < 25, np.arange(60) < 30
        found = metrics.fraction_interval(called, patients=np.arange(60), within=truth)
        assert (found.value, found.n) == (25 / 30, 30)
        assert metrics.fraction_interval(called, patients=None, within=truth).note.startswith(
            "patients unknown"
        )


class TestMeans:
    def test_of_symmetric_values_it_is_the_t_interval(self) -> None:
        values = 0.5 + 0.1 * np.repeat([-1.0, 1.0], 10)
        found = metrics.mean_interval(values, patients=np.arange(20))
        t = 2.093024054408263  # 19 degrees of freedom
        half = t * values.std(ddof=0) / math.sqrt(20)
        assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half))

    def test_hall_s_transformation_is_undone(self) -> None:
        values = np.random.default_rng(0).beta(8, 1, 60)
        found = metrics.mean_interval(values, patients=np.arange(60))
        spread, root = values.std(), math.sqrt(60)
        skew = float(np.mean((values - values.mean()) ** 3)) / spread**3
        for bound, sign in ((found.low, 1), (found.high, -1)):
            t = (found.value - bound) / spread
            transformed = t + skew * t**2 / 3 + skew**2 * t**3 / 27 + skew / (6 * 60)
            assert transformed * root == pytest.approx(sign * 2.0009953780882676, rel=1e-6)
        assert found.value - found.low > found.high - found.value, "the long tail is below"

    def test_what_is_not_finite_is_left_out_and_counted(self) -> None:
        values = np.array([*np.linspace(2, 9, 30), np.inf, np.nan])
        found = metrics.mean_interval(values, patients=np.arange(32), bounds=(0, math.inf))
        assert found.value == pytest.approx(5.5) and found.n == 30
        assert found.note == "2 of 32 images have none and are left out"

    def test_patients_are_what_counts(self) -> None:
        values = np.random.default_rng(1).uniform(size=40)
        once = metrics.mean_interval(values, patients=np.arange(40))
        five = metrics.mean_interval(np.repeat(values, 5), patients=np.repeat(np.arange(40), 5))
        assert (five.low, five.high) == pytest.approx((once.low, once.high))
        blind = metrics.mean_interval(np.repeat(values, 5), patients=None)
        assert (five.high - five.low) / (blind.high - blind.low) == pytest.approx(math.sqrt(5), rel=0.05)

    def test_a_pooled_ratio_weighs_by_its_denominator(self) -> None:
        found = metrics.ratio_interval(
            [1.0] * 10 + [8.0] * 10, [2.0] * 10 + [10.0] * 10, patients=np.arange(20)
        )
        assert found.value == pytest.approx(90 / 120)

    def test_nothing_varies(self) -> None:
        same = metrics.mean_interval(np.full(20, 0.75), patients=np.arange(20))
        assert (same.low, same.high) == (0.75, 0.75) and same.note == "no variance"
        perfect = metrics.mean_interval(np.ones(20), patients=np.arange(20))
        assert (perfect.low, perfect.high) == pytest.approx((1 / (1 + CHI / 20), 1.0))
        assert metrics.mean_interval([], patients=None).note.endswith("no images")


class TestAveragePrecision:
    def test_value_and_pulls(self) -> None:
        sklearn = pytest.importorskip("sklearn.metrics")
        random = np.random.default_rng(0)
        truth = random.random(150) < 0.3
        scores = np.round(random.normal(size=150) + truth, 1)
        value, pulls = average_precision(scores, truth)
        assert value == pytest.approx(sklearn.average_precision_score(truth, scores))
        assert pulls.sum() == pytest.approx(0, abs=1e-12)
        # Each image's part is what leaving it out takes away, but for terms of second order.
        without = [
            value - sklearn.average_precision_score(np.delete(truth, i), np.delete(scores, i))
            for i in range(150)
        ]
        assert np.corrcoef(pulls, without)[0, 1] > 0.99
        assert np.std(pulls) == pytest.approx(np.std(without), rel=0.06)

    def test_bounds_are_symmetric_on_the_logit_scale(self) -> None:
        scores, truth, ids = drawn(seed=2)
        found = metrics.auprc_interval(scores, truth, patients=ids)
        low, value, high = (float(metrics.logit(x)) for x in (found.low, found.value, found.high))
        assert value - low == pytest.approx(high - value)
        assert found.low < found.value < found.high


def test_a_resample_holds_whole_patients_and_as_many_of_either_class() -> None:
    _, truth, ids = drawn(n=60, patients=30)
    who = Patients.of(ids, len(ids))
    images = {code: set(np.flatnonzero(who.codes == code)) for code in range(who.count)}
    seen = set()
    for index in resamples(who, truth, replicates=50):
        taken = np.bincount(index, minlength=60)
        times = {code: {taken[image] for image in members} for code, members in images.items()}
        assert all(len(count) == 1 for count in times.values())
        counts = np.array([times[code].pop() for code in range(who.count)])
        assert counts.sum() == 30
        assert counts[who.having(truth)].sum() == who.having(truth).sum()
        seen.add(tuple(counts))
    assert len(seen) == 50


def test_bootstrap_is_seeded_and_heeds_patients() -> None:
    random = np.random.default_rng(1)
    values = np.repeat(random.normal(size=40), 5)  # five equal images a patient: 40 values, not 200
    ids = np.repeat(np.arange(40), 5)
    by_patient = metrics.bootstrap(np.mean, values, patients=ids)
    by_image = metrics.bootstrap(np.mean, values, patients=None)
    assert by_patient == metrics.bootstrap(np.mean, values, patients=ids)
    assert by_patient.low != metrics.bootstrap(np.mean, values, patients=ids, seed=1).low
    assert (by_patient.n, by_patient.n_patients, by_patient.note) == (200, 40, "")
    assert by_image.n_patients is None and "patients unknown" in by_image.note
    error = values.std() / math.sqrt(40)
    assert (by_patient.high - by_patient.low) == pytest.approx(2 * Z * error, rel=0.1)


def test_what_the_data_cannot_give_is_nan_with_a_note() -> None:
    scores, truth, ids = drawn()
    nothing = np.zeros_like(truth)
    one = metrics.bootstrap(metrics.auroc, scores, nothing, patients=ids, labels=nothing)
    assert math.isnan(one.value) and "one class only" in one.note
    few = truth & (np.cumsum(truth) <= 3)
    rare = metrics.bootstrap(metrics.auroc, scores, few, patients=ids, labels=few, replicates=50)
    assert "too few: 3 patients in the rarer class" in rare.note and math.isnan(rare.low)
    none = metrics.bootstrap(metrics.auroc, [], [], patients=[], labels=[])
    assert (none.n, none.note, math.isnan(none.value)) == (0, "no images", True)
    lost = metrics.bootstrap(metrics.auroc, [0.1, 0.9, 0.8], [0, 1, 1], patients=list("abc"), replicates=100)
    assert "resamples could not be computed" in lost.note
    blank = metrics.bootstrap(np.mean, np.arange(20.0), patients=["", "", *"abcdefghijklmnopqr"])
    assert blank.n_patients == 20 and "2 of 20 images have no patient id" in blank.note


def test_arrays_that_do_not_match_are_refused() -> None:
    for arguments in ({"patients": ["a"]}, {"patients": None, "labels": [True]}):
        with pytest.raises(DataError):
            metrics.bootstrap(np.mean, np.arange(3.0), **arguments)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="one length"):
        metrics.bootstrap(metrics.auroc, [0.1, 0.2], [1], patients=None)


def slow_delong(scores: Floats, truth: Bools) -> tuple[Floats, Floats]:
    """DeLong 1988 as printed, every pair of a positive and a negative compared."""
    pairs = [np.sign(score[truth][:, None] - score[~truth][None]) / 2 + 0.5 for score in scores]
    rows = np.cov([pair.mean(1) for pair in pairs]).reshape(len(scores), -1) / truth.sum()
    columns = np.cov([pair.mean(0) for pair in pairs]).reshape(len(scores), -1) / (~truth).sum()
    return np.array([pair.mean() for pair in pairs]), rows + columns


def slow_clustered(score: Floats, truth: Bools, who: NDArray[np.int64]) -> float:
    """Obuchowski 1997 as printed: S10, S01 and S11 over clusters, each with its own I / (I - 1)."""
    pairs = np.sign(score[truth][:, None] - score[~truth][None]) / 2 + 0.5
    area, m, n = pairs.mean(), int(truth.sum()), int((~truth).sum())
    x = {code: (pairs.mean(1)[who[truth] == code] - area).sum() for code in set(who[truth])}
    y = {code: (pairs.mean(0)[who[~truth] == code] - area).sum() for code in set(who[~truth])}
    everyone = set(x) | set(y)
    i10, i01, i = len(x), len(y), len(everyone)
    s10 = i10 / ((i10 - 1) * m) * sum(value**2 for value in x.values())
    s01 = i01 / ((i01 - 1) * n) * sum(value**2 for value in y.values())
    s11 = i / (i - 1) * sum(x.get(code, 0) * y.get(code, 0) for code in everyone)
    return float(s10 / m + s01 / n + 2 * s11 / (m * n))


class TestDelong:
    def test_it_is_delongs_own_formula(self) -> None:
        scores, truth, _ = drawn()
        noise = np.random.default_rng(1).normal(size=scores.size)
        both = np.round(np.stack((scores, scores + noise)), 1)
        areas, covariance = areas_and_covariance(both, truth, Patients.of(None, truth.size))
        slow_areas, slow_covariance = slow_delong(both, truth)
        np.testing.assert_allclose(areas, slow_areas)
        np.testing.assert_allclose(covariance, slow_covariance)
        interval = metrics.delong(both[0], truth)
        area, error = slow_areas[0], math.sqrt(slow_covariance[0, 0])
        half = Z * error / (area * (1 - area))
        centre = math.log(area / (1 - area))
        bounds = [1 / (1 + math.exp(-(centre + sign * half))) for sign in (-1, 1)]
        assert [interval.low, interval.high] == pytest.approx(bounds, rel=1e-9)
        test = metrics.compare_delong(both[0], both[1], truth)
        spread = math.sqrt(slow_covariance[0, 0] + slow_covariance[1, 1] - 2 * slow_covariance[0, 1])
        assert test.difference.value == pytest.approx(slow_areas[0] - slow_areas[1])
        assert test.difference.high - test.difference.value == pytest.approx(Z * spread)
        assert test.p_value == pytest.approx(math.erfc(test.difference.value / spread / math.sqrt(2)))

    @pytest.mark.parametrize("patients", [12, 40])
    def test_clusters_are_obuchowskis_own_formula(self, patients: int) -> None:
        """Few patients, with images of both classes, of one alone, and of the other alone."""
        random = np.random.default_rng(patients)
        who = random.integers(0, patients, 3 * patients)
        truth = random.random(who.size) < np.linspace(0, 1, patients)[who]
        score = random.normal(size=patients)[who] + 0.5 * random.normal(size=who.size) + truth
        _, covariance = areas_and_covariance(score[None], truth, Patients.of(who, who.size))
        assert covariance[0, 0] == pytest.approx(slow_clustered(score, truth, who), rel=1e-9)

    def test_doubled_images_are_those_of_the_patients(self) -> None:
        scores, truth, _ = drawn(n=120, patients=120)
        ids = np.arange(120)
        once = metrics.delong(scores, truth, patients=ids)
        twice = metrics.delong(np.tile(scores, 2), np.tile(truth, 2), patients=np.tile(ids, 2))
        assert (once.value, once.low, once.high) == pytest.approx((twice.value, twice.low, twice.high))
        blind = metrics.delong(np.tile(scores, 2), np.tile(truth, 2))
        assert blind.high - blind.low < 0.8 * (twice.high - twice.low)

    def test_pairs_within_groups(self) -> None:
        # Group a: 0.9 beats 0.1 and 0.3. Group b: 0.2 loses to 0.8, beats 0.1. Group c has one class.
        scores = np.array([0.9, 0.1, 0.3, 0.2, 0.8, 0.1, 0.99])
        truth = np.array([1, 0, 0, 1, 0, 0, 1], bool)
        groups = np.array(list("aaabbbc"))
        found = metrics.delong(scores, truth, groups=groups)
        assert (found.value, found.n) == (3 / 4, 6)
        assert metrics.pair_count(truth, groups) == 4 and metrics.pair_count(truth) == 12
        groups[3:] = ""
        assert metrics.delong(scores, truth, groups=groups).n == 3
        assert metrics.delong(scores, truth, groups=np.arange(7)).notes[-1].code is Caution.NO_PAIRS

    def test_the_error_within_groups_is_that_of_leaving_patients_out(self) -> None:
        random = np.random.default_rng(3)
        groups = random.integers(0, 6, 120)
        truth = random.random(120) < 0.4
        scores, who = random.normal(size=120) + truth, random.integers(0, 60, 120)
        found = metrics.delong(scores, truth, patients=who, groups=groups)

        def area(kept: Bools) -> float:
            return metrics.delong(scores[kept], truth[kept], groups=groups[kept]).value

        left = np.array([area(who != code) for code in range(60)])
        error = math.sqrt(59 / 60 * ((left - left.mean()) ** 2).sum())
        width = float(metrics.logit(found.high) - metrics.logit(found.low))
        assert width * found.value * (1 - found.value) / (2 * Z) == pytest.approx(error, rel=0.06)

    def test_classes_that_do_not_overlap_have_a_bound(self) -> None:
        truth = np.arange(51) < 41
        perfect = metrics.delong(truth * 1.0, truth, patients=np.arange(51))
        assert (perfect.value, perfect.high) == (1.0, 1.0)
        assert perfect.low == pytest.approx(0.025 ** (1 / 10))
        assert "do not overlap" in perfect.note and not perfect.too_few
        upside_down = metrics.delong(-1.0 * truth, truth, patients=np.arange(51))
        assert (upside_down.low, upside_down.high) == (0.0, pytest.approx(1 - 0.025 ** (1 / 10)))

    def test_at_the_edges(self) -> None:
        assert "one class only" in metrics.delong([0.1, 0.2], [1, 1]).note
        same = metrics.compare_delong([0.1, 0.6, 0.4, 0.9], [0.1, 0.6, 0.4, 0.9], [0, 0, 1, 1])
        assert (same.difference.value, same.p_value) == (0, 1)
        assert math.isnan(metrics.compare_delong([0.1, 0.2], [0.1, 0.3], [1, 1]).p_value)
        assert metrics.compare_delong([0.1, 0.2], [0.1, 0.3], [1, 1]).to_dict()["p_value"] is None


class TestOperatingPoint:
    def brute_force(
        self, scores: Floats, truth: Bools, given: float, grid: Floats, limit: float = CHI
    ) -> list[float]:
        """Sensitivities for which some specificity is likely enough, by the definition."""

        def kl(p: float, q: float) -> float:
            parts = [(p, q), (1 - p, 1 - q)]
            return sum(math.inf if not b else a * math.log(a / b) for a, b in parts if a)

        n0, n1 = (~truth).sum(), truth.sum()
        # A specificity has all thresholds between two negatives: its sensitivity is the middle of the extremes.
        steps: dict[float, list[float]] = {}
        for t in (*scores, math.inf):
            steps.setdefault(float((scores[~truth] < t).mean()), []).append(
                float((scores[truth] >= t).mean())
            )
        kept = []
        for value in grid:
            best = min(
                2 * n0 * kl(below, given)
                + n1 * ((min(above) + max(above)) / 2 - value) ** 2 / (value * (1 - value))
                for below, above in steps.items()
            )
            if best <= limit:
                kept.append(float(value))
        return kept

    def test_it_is_its_definition(self) -> None:
        random = np.random.default_rng(4)
        truth = np.arange(110) < 50
        scores = random.normal(size=110) + 1.5 * truth
        found = metrics.sensitivity_at_specificity_interval(scores, truth, 0.9, patients=np.arange(110))
        kept = self.brute_force(scores, truth, 0.9, np.linspace(0.001, 0.999, 999))
        assert (found.low, found.high) == pytest.approx((min(kept), max(kept)), abs=0.0011)
        assert found.value == metrics.sensitivity_at_specificity(scores, truth, 0.9)
        turned = metrics.specificity_at_sensitivity_interval(-scores, ~truth, 0.9, patients=np.arange(110))
        assert (turned.low, turned.high) == pytest.approx((found.low, found.high))

    @pytest.mark.parametrize(("negatives", "bounded"), [(37, False), (38, True)])
    def test_so_many_negatives_bound_it_from_below(self, negatives: int, bounded: bool) -> None:
        # 2 n log(1 / 0.95) passes chi2 = 3.841 between 37 and 38.
        truth = np.arange(100 + negatives) < 100
        scores = np.where(truth, 1.0, 0.0)
        found = metrics.sensitivity_at_specificity_interval(scores, truth, 0.95, patients=None)
        assert (found.low > 0) is bounded
        assert any(note.code is Caution.NO_LOWER_BOUND for note in found.notes) is not bounded

    def test_with_no_lower_bound_all_of_the_error_stands_above(self) -> None:
        # 10 negatives: the two-sided limit would be chi2 = 3.841, 5 % on one side is 1.645^2 = 2.706.
        random = np.random.default_rng(5)
        truth = np.arange(51) < 41
        scores = random.normal(size=51) + 1.2 * truth
        found = metrics.sensitivity_at_specificity_interval(scores, truth, 0.95, patients=np.arange(51))
        kept = self.brute_force(scores, truth, 0.95, np.linspace(0.001, 0.999, 999), 1.644854**2)
        assert found.low == 0 and found.high == pytest.approx(max(kept), abs=0.0011)

    def test_a_band_holds_its_curve(self) -> None:
        scores, truth, ids = drawn()
        grid = np.linspace(0, 1, 21)
        low, high = metrics.roc_band(scores, truth, grid, patients=ids)
        curve = metrics.roc_curve(scores, truth).at(grid)
        assert ((low <= curve + 1e-9) & (curve <= high + 1e-9)).all()
        assert (np.diff(low) >= -1e-3).all() and (np.diff(high) >= -1e-3).all()
        assert np.isnan(metrics.roc_band(scores, truth & False, grid, patients=ids)).all()


class TestCalibration:
    def data(self, clusters: int = 1) -> tuple[Floats, Bools, NDArray[np.int64]]:
        random = np.random.default_rng(7)
        logits = random.normal(0, 1.5, 200)
        truth = random.random(200) < metrics.sigmoid(0.6 * logits - 0.4)
        return (
            metrics.sigmoid(np.tile(logits, clusters)),
            np.tile(truth, clusters),
            np.tile(np.arange(200), clusters),
        )

    def test_estimates_are_maximum_likelihood_and_bounds_lose_as_much_as_they_say(self) -> None:
        linear, optimize = pytest.importorskip("sklearn.linear_model"), pytest.importorskip("scipy.optimize")
        probability, truth, ids = self.data()
        slope, intercept = metrics.calibration_intervals(probability, truth, patients=ids)
        logits = metrics.logit(probability)
        fitted = linear.LogisticRegression(C=np.inf, tol=1e-10).fit(logits[:, None], truth)
        assert slope.value == pytest.approx(fitted.coef_[0, 0], rel=1e-5)

        def loss(values: Floats) -> float:
            return float(np.logaddexp(0, np.where(truth, -values, values)).sum())

        def profile(at: float) -> float:
            found = optimize.minimize_scalar(
                lambda a: loss(at * logits + a), bounds=(-9, 9), method="bounded"
            )
            return float(found.fun)

        for bound in (slope.low, slope.high):
            assert 2 * (profile(bound) - profile(slope.value)) == pytest.approx(CHI, rel=1e-3)
        best = optimize.minimize_scalar(lambda a: loss(logits + a), bounds=(-9, 9), method="bounded")
        assert intercept.value == pytest.approx(best.x, abs=1e-4)
        for bound in (intercept.low, intercept.high):
            assert 2 * (loss(logits + bound) - best.fun) == pytest.approx(CHI, rel=1e-3)
        assert slope.low < 0.6 < slope.high and intercept.low < -0.4 + 0.1 < intercept.high

    def test_copies_of_a_patient_s_image_say_nothing_new(self) -> None:
        one, four = (
            metrics.calibration_intervals(*self.data(n)[:2], patients=self.data(n)[2]) for n in (1, 4)
        )
        for once, often in zip(one, four, strict=True):
            assert often.value == pytest.approx(once.value, abs=1e-6)
            assert often.high - often.low == pytest.approx(once.high - once.low, rel=0.08)

    def test_classes_that_do_not_overlap_have_no_slope(self) -> None:
        truth = np.arange(40) < 20
        slope, intercept = metrics.calibration_intervals(
            np.where(truth, 0.8, 0.2), truth, patients=np.arange(40)
        )
        assert str(slope) == "n/a" and slope.notes[-1].code is Caution.NO_OVERLAP
        assert intercept.low < 0 < intercept.high
        flat, _ = metrics.calibration_intervals(np.full(40, 0.5), truth, patients=np.arange(40))
        assert flat.notes[-1].code is Caution.UNDEFINED


class TestPaired:
    def compared(self, first: Floats, second: Floats, seed: int) -> list[metrics.Comparison]:
        scores, truth, ids = drawn(n=200, patients=150, seed=seed)
        one, other = scores + first, scores + second
        return [
            metrics.compare_delong(one, other, truth, patients=ids),
            metrics.compare_auprc(one, other, truth, patients=ids),
        ]

    def test_they_see_a_difference(self) -> None:
        noise = np.random.default_rng(0).normal(size=200)
        for found in self.compared(np.zeros(200), 2 * noise, seed=1):
            assert found.p_value <= 0.01 and found.difference.low > 0
        for found in self.compared(2 * noise, np.zeros(200), seed=1):
            assert found.p_value <= 0.01 and found.difference.high < 0

    def test_false_alarms_are_as_rare_as_they_say(self) -> None:
        random, runs = np.random.default_rng(0), 150
        pairs = [self.compared(*(0.5 * random.normal(size=(2, 200))), seed=seed) for seed in range(runs)]
        for method in zip(*pairs, strict=True):
            assert 0.005 <= np.mean([found.p_value <= 0.05 for found in method]) <= 0.11

    def test_means_by_the_paired_t_test(self) -> None:
        stats = pytest.importorskip("scipy.stats")
        first, second = np.random.default_rng(0).normal([[0.3], [0.0]], 1.0, (2, 30))
        found = metrics.compare_means(first, second, patients=np.arange(30))
        wanted = stats.ttest_rel(first, second)
        interval = wanted.confidence_interval(0.95)
        assert found.p_value == pytest.approx(wanted.pvalue)
        assert (found.difference.low, found.difference.high) == pytest.approx((interval.low, interval.high))
        left = metrics.compare_means([*first, np.inf], [*second, 1.0], patients=np.arange(31))
        assert left.difference.value == pytest.approx(found.difference.value)
        assert "1 of 31" in left.difference.note

    def test_same_source_is_compared_within_sources(self) -> None:
        truth = np.tile([True, False], 60)
        source = np.repeat(["a", "b"], 60)
        random = np.random.default_rng(0)
        good = truth + 0.3 * random.normal(size=120)
        found = metrics.compare_delong(good, random.normal(size=120), truth, patients=None, groups=source)
        assert found.p_value < 1e-6 and found.difference.low > 0.2

    def test_a_difference_is_surer_than_two_areas(self) -> None:
        scores, truth, ids = drawn()
        alike = scores + 0.05 * np.random.default_rng(2).normal(size=scores.size)
        paired = metrics.compare_delong(scores, alike, truth, patients=ids).difference
        alone = metrics.delong(scores, truth, patients=ids)
        assert paired.high - paired.low < (alone.high - alone.low) / 3


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """A quick look; `benchmarks/coverage.py` is the measurement."""
    true_area = 0.5 * (1 + math.erf(1.2 / math.sqrt(2 * 1.09) / math.sqrt(2)))
    held, runs = 0, 150
    for seed in range(runs):
        scores, truth, ids = drawn(n=200, patients=120, seed=seed + 1)
        interval = metrics.delong(scores, truth, patients=ids)
        held += interval.low <= true_area <= interval.high
    assert 0.89 <= held / runs <= 0.99
