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
from lungsight.metrics.delong import areas_and_covariance
from lungsight.metrics.intervals import Patients, resamples


def drawn(
    n: int = 300, patients: int = 200, seed: int = 0, prevalence: float = 0.3
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.str_]]:
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


def test_interval_reads_well_and_goes_into_json() -> None:
    interval = metrics.Interval(0.9321, 0.921, 0.9437, 100, 80, "a method")
    assert str(interval) == "0.932 (0.921-0.944)"
    assert interval.format(2) == "0.93 (0.92-0.94)"
    assert str(metrics.Interval(-0.01, -0.02, 0.005, 9, 9, "m")) == "-0.010 (-0.020 to 0.005)"
    missing = metrics.Interval.missing(3, None, "m", "why")
    assert str(missing) == "n/a"
    assert missing.to_dict() == {
        "value": None, "low": None, "high": None, "n": 3, "n_patients": None, "method": "m", "note": "why",
    }  # fmt: skip
    assert str(metrics.Interval(0.5, math.nan, math.nan, 1, 1, "m")) == "0.500 (n/a)"


def test_wilson_of_published_values() -> None:
    # Newcombe, Statistics in Medicine 1998, table I: 81/263, 15/148, 0/20, 1/29.
    for successes, n, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611),
                                    (1, 29, 0.0061, 0.1718)):  # fmt: skip
        found = metrics.wilson(successes, n)
        assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    assert metrics.wilson(3, 3).note
    assert math.isnan(metrics.wilson(0, 0).value)
    assert np.isnan(metrics.wilson_bounds([0, 1], [0, 2])[0]).tolist() == [True, False]
    with pytest.raises(DataError):
        metrics.wilson(3, 2)


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
    assert (by_image.n_patients, "patients unknown" in by_image.note) == (None, True)
    error = values.std() / math.sqrt(40)
    assert (by_patient.high - by_patient.low) == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert (by_patient.high - by_patient.low) / (by_image.high - by_image.low) == pytest.approx(
        math.sqrt(5), rel=0.1
    )


def test_several_statistics_share_their_resamples() -> None:
    scores, truth, ids = drawn()
    statistics = {"area": metrics.auroc, "mean": lambda score, _: score.mean()}
    both = metrics.bootstrap_all(statistics, scores, truth, patients=ids, labels=truth, replicates=200)
    assert both["area"] == metrics.bootstrap(
        metrics.auroc, scores, truth, patients=ids, labels=truth, replicates=200
    )
    assert both["mean"].value == pytest.approx(scores.mean())


def test_what_the_data_cannot_give_is_nan_with_a_note() -> None:
    scores, truth, ids = drawn()
    one = metrics.bootstrap(
        metrics.auroc, scores, np.zeros_like(truth), patients=ids, labels=np.zeros_like(truth)
    )
    assert math.isnan(one.value)
    assert "one class only" in one.note
    few = metrics.bootstrap(
        metrics.auroc, scores[:9], np.arange(9) < 4, patients=ids[:9], labels=np.arange(9) < 4
    )
    assert 0 <= few.low <= few.value <= few.high <= 1
    assert "only 9 patients" in few.note
    rare = truth & (np.cumsum(truth) <= 3)
    assert "3 patients in the rarer class" in metrics.bootstrap(
        metrics.auroc, scores, rare, patients=ids, labels=rare, replicates=50
    ).note  # fmt: skip
    none = metrics.bootstrap(metrics.auroc, [], [], patients=[], labels=[])
    assert (none.n, none.note, math.isnan(none.value)) == (0, "no images", True)
    perfect = metrics.bootstrap(metrics.auroc, truth * 1.0, truth, patients=ids, labels=truth, replicates=50)
    assert (perfect.low, perfect.high) == (1, 1)
    assert "too narrow" in perfect.note
    # Without labels some resamples of few images hold one class; they are counted.
    lost = metrics.bootstrap(metrics.auroc, [0.1, 0.9, 0.8], [0, 1, 1], patients=list("abc"), replicates=100)
    assert "resamples could not be computed" in lost.note
    blank = metrics.bootstrap(np.mean, np.arange(20.0), patients=["", "", *"abcdefghijklmnopqr"])
    assert blank.n_patients == 20
    assert "2 images without a patient id" in blank.note


def test_arrays_that_do_not_match_are_refused() -> None:
    for arguments in (
        {"patients": ["a"]},
        {"patients": None, "labels": [True]},
    ):
        with pytest.raises(DataError):
            metrics.bootstrap(np.mean, np.arange(3.0), **arguments)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="one length"):
        metrics.bootstrap(metrics.auroc, [0.1, 0.2], [1], patients=None)


def test_a_band_holds_the_curve() -> None:
    scores, truth, ids = drawn()
    grid = np.linspace(0, 1, 21)

    def curve(score: NDArray[np.float64], label: NDArray[np.bool_]) -> NDArray[np.float64]:
        return metrics.roc_curve(score, label).at(grid)

    low, high = metrics.bootstrap_band(curve, scores, truth, patients=ids, labels=truth, replicates=100)
    ours = curve(scores, truth)
    assert ((low <= ours) & (ours <= high)).all()
    assert (high - low)[1:-1].max() > 0.05
    assert np.isnan(metrics.bootstrap_band(curve, scores, ~truth & truth, patients=ids, replicates=5)).all()


def slow_delong(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> tuple[NDArray, NDArray]:  # type: ignore[type-arg]
    """DeLong 1988 as printed, every pair of a positive and a negative compared."""
    pairs = [np.sign(score[truth][:, None] - score[~truth][None]) / 2 + 0.5 for score in scores]
    rows = np.cov([pair.mean(1) for pair in pairs]).reshape(len(scores), -1) / truth.sum()
    columns = np.cov([pair.mean(0) for pair in pairs]).reshape(len(scores), -1) / (~truth).sum()
    return np.array([pair.mean() for pair in pairs]), rows + columns


def test_delong_is_delongs_own_formula() -> None:
    scores, truth, _ = drawn()
    both = np.round(np.stack((scores, scores + np.random.default_rng(1).normal(size=scores.size))), 1)
    areas, covariance = areas_and_covariance(both, truth, Patients.of(None, truth.size))
    slow_areas, slow_covariance = slow_delong(both, truth)
    np.testing.assert_allclose(areas, slow_areas)
    np.testing.assert_allclose(covariance, slow_covariance)
    interval = metrics.delong(both[0], truth)
    error = math.sqrt(slow_covariance[0, 0])
    assert (interval.high - interval.low) == pytest.approx(2 * 1.96 * error, rel=0.03)
    test = metrics.compare_delong(both[0], both[1], truth)
    spread = math.sqrt(slow_covariance[0, 0] + slow_covariance[1, 1] - 2 * slow_covariance[0, 1])
    assert test.difference.value == pytest.approx(slow_areas[0] - slow_areas[1])
    assert test.p_value == pytest.approx(math.erfc(test.difference.value / spread / math.sqrt(2)))


def test_delong_of_doubled_images_is_that_of_the_patients() -> None:
    scores, truth, _ = drawn(n=120, patients=120)
    ids = np.arange(120)
    once = metrics.delong(scores, truth, patients=ids)
    twice = metrics.delong(np.tile(scores, 2), np.tile(truth, 2), patients=np.tile(ids, 2))
    assert (once.value, once.low, once.high) == pytest.approx((twice.value, twice.low, twice.high))
    blind = metrics.delong(np.tile(scores, 2), np.tile(truth, 2))
    assert blind.high - blind.low < 0.8 * (twice.high - twice.low)
    assert "patients unknown" in blind.note


def test_delong_and_bootstrap_agree_where_patients_have_images_of_both_classes() -> None:
    random = np.random.default_rng(5)
    ids = np.repeat(np.arange(150), 4)
    truth = np.tile([True, True, False, False], 150)
    scores = np.repeat(random.normal(size=150), 4) + 0.7 * random.normal(size=600) + truth
    analytic = metrics.delong(scores, truth, patients=ids)
    drawn_again = metrics.bootstrap(metrics.auroc, scores, truth, patients=ids, labels=truth, replicates=1000)
    assert analytic.value == pytest.approx(drawn_again.value)
    assert analytic.high - analytic.low == pytest.approx(drawn_again.high - drawn_again.low, rel=0.12)


def test_delong_at_the_edges() -> None:
    assert "one class only" in metrics.delong([0.1, 0.2], [1, 1]).note
    perfect = metrics.delong([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], patients=list("abcd"))
    assert (perfect.value, perfect.low, perfect.high) == (1, 1, 1)
    assert "too narrow" in perfect.note
    single = metrics.delong([0.1, 0.5, 0.3, 0.2], [0, 0, 1, 0])
    assert str(single) == "0.667 (n/a)"
    same = metrics.compare_delong([0.1, 0.6, 0.4, 0.9], [0.1, 0.6, 0.4, 0.9], [0, 0, 1, 1])
    assert (same.difference.value, same.p_value) == (0, 1)
    assert math.isnan(metrics.compare_delong([0.1, 0.2], [0.1, 0.3], [1, 1]).p_value)
    assert metrics.compare_delong([0.1, 0.2], [0.1, 0.3], [1, 1]).to_dict()["p_value"] is None


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    true_area = 0.5 * (1 + math.erf(1.2 / math.sqrt(2 * 1.09) / math.sqrt(2)))
    held = {"delong": 0, "bootstrap": 0}
    runs = 150
    for seed in range(runs):
        scores, truth, ids = drawn(n=200, patients=120, seed=seed + 1)
        for name, interval in {
            "delong": metrics.delong(scores, truth, patients=ids),
            "bootstrap": metrics.bootstrap(
                metrics.auroc, scores, truth, patients=ids, labels=truth, replicates=200
            ),
        }.items():
            held[name] += interval.low <= true_area <= interval.high
    assert 0.89 <= held["delong"] / runs <= 0.99
    assert 0.87 <= held["bootstrap"] / runs <= 0.99


def compared(first: NDArray[np.float64], second: NDArray[np.float64], seed: int) -> list[metrics.Comparison]:
    """Two models whose scores are a common one plus `first` and `second`, by both tests."""
    scores, truth, ids = drawn(n=200, patients=150, seed=seed)
    one, other = scores + first, scores + second
    bootstrap = metrics.compare_bootstrap(
        metrics.auroc, one, other, truth, patients=ids, labels=truth, replicates=199
    )
    return [bootstrap, metrics.compare_delong(one, other, truth, patients=ids)]


def test_paired_tests_see_a_difference() -> None:
    noise = np.random.default_rng(0).normal(size=200)
    for found in compared(np.zeros(200), 2 * noise, seed=1):
        assert found.p_value <= 0.01
        assert found.difference.low > 0
    for found in compared(2 * noise, np.zeros(200), seed=1):
        assert found.p_value <= 0.01
        assert found.difference.high < 0


def test_paired_tests_cry_wolf_as_seldom_as_they_say() -> None:
    random, runs = np.random.default_rng(0), 150
    pairs = [compared(*(0.5 * random.normal(size=(2, 200))), seed=seed) for seed in range(runs)]
    for method in zip(*pairs, strict=True):
        share = np.mean([found.p_value <= 0.05 for found in method])
        assert 0.005 <= share <= 0.11


def test_a_paired_difference_is_surer_than_two_areas() -> None:
    scores, truth, ids = drawn()
    alike = scores + 0.05 * np.random.default_rng(2).normal(size=scores.size)
    paired = metrics.compare_delong(scores, alike, truth, patients=ids).difference
    alone = metrics.delong(scores, truth, patients=ids)
    assert paired.high - paired.low < (alone.high - alone.low) / 3
