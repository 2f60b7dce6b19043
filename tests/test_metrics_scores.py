"""Classification and calibration: worked by hand, and against scikit-learn and torchmetrics."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from lungsight import metrics
from lungsight.errors import DataError

SCORES = np.array([0.9, 0.8, 0.7, 0.6, 0.4, 0.2])
TRUTH = np.array([1, 1, 0, 1, 0, 0], bool)


def drawn(n: int = 400, seed: int = 0, decimals: int = 2) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Probabilities with many ties, and labels that follow them roughly."""
    random = np.random.default_rng(seed)
    truth = random.random(n) < 0.3
    return np.round(metrics.sigmoid(random.normal(size=n) + 1.5 * truth - 1), decimals), truth


def test_auroc_counts_the_pairs_in_order() -> None:
    assert metrics.auroc(SCORES, TRUTH) == pytest.approx(8 / 9)
    assert metrics.auroc([0.5, 0.5], [0, 1]) == 0.5
    assert metrics.auroc(SCORES, ~TRUTH) == pytest.approx(1 / 9)


def test_confusion_and_its_rates() -> None:
    found = metrics.confusion(SCORES, TRUTH, 0.7)
    assert (found.tp, found.fp, found.fn, found.tn) == (2, 1, 1, 2)
    assert found.sensitivity == pytest.approx(2 / 3)
    assert found.specificity == pytest.approx(2 / 3)
    assert found.precision == pytest.approx(2 / 3)
    assert found.negative_predictive_value == pytest.approx(2 / 3)
    lopsided = metrics.confusion(SCORES, np.array([1, 0, 0, 0, 0, 0]), 0.6)
    assert (lopsided.tp, lopsided.fp, lopsided.fn, lopsided.tn) == (1, 3, 0, 2)
    assert (lopsided.sensitivity, lopsided.specificity, lopsided.precision) == (1.0, 2 / 5, 1 / 4)
    assert metrics.accuracy(SCORES, TRUTH, 0.5) == pytest.approx(5 / 6)
    assert math.isnan(metrics.confusion(SCORES, TRUTH, 2.0).precision)


def test_the_majority_answers_one_class_for_all() -> None:
    assert metrics.majority_accuracy([0] * 9 + [1]) == 0.9
    assert metrics.majority_accuracy([1, 1, 1, 0]) == 0.75


def test_roc_curve_of_a_case_worked_by_hand() -> None:
    curve = metrics.roc_curve(SCORES, TRUTH)
    assert curve.thresholds.tolist() == [math.inf, *SCORES.tolist()]
    np.testing.assert_allclose(curve.true_positive_rate, np.array([0, 1, 2, 2, 3, 3, 3]) / 3)
    np.testing.assert_allclose(curve.false_positive_rate, np.array([0, 0, 0, 1, 1, 2, 3]) / 3)
    np.testing.assert_allclose(curve.at([0, 1 / 6, 1 / 3, 1]), [2 / 3, 2 / 3, 1, 1])


def test_every_point_of_the_roc_curve_is_the_confusion_at_its_threshold() -> None:
    scores, truth = drawn()
    curve = metrics.roc_curve(scores, truth)
    assert len(curve.thresholds) == len(np.unique(scores)) + 1
    for tpr, fpr, threshold in zip(
        curve.true_positive_rate, curve.false_positive_rate, curve.thresholds, strict=True
    ):
        found = metrics.confusion(scores, truth, threshold)
        assert (found.sensitivity, 1 - found.specificity) == pytest.approx((tpr, fpr))


def test_precision_at_a_recall_is_the_best_that_reaches_it() -> None:
    curve = metrics.pr_curve(SCORES, TRUTH)
    np.testing.assert_allclose(curve.at([0, 0.5, 2 / 3, 0.9, 1]), [1, 1, 1, 3 / 4, 3 / 4])


def test_operating_points() -> None:
    assert metrics.threshold_at_specificity(SCORES, TRUTH, 1.0) == 0.8
    assert metrics.sensitivity_at_specificity(SCORES, TRUTH, 1.0) == pytest.approx(2 / 3)
    assert metrics.sensitivity_at_specificity(SCORES, TRUTH, 0.6) == 1.0
    assert metrics.threshold_at_sensitivity(SCORES, TRUTH, 1.0) == 0.6
    assert metrics.specificity_at_sensitivity(SCORES, TRUTH, 1.0) == pytest.approx(2 / 3)
    assert metrics.specificity_at_sensitivity(SCORES, TRUTH, 0.5) == 1.0
    assert metrics.threshold_at_specificity([0.9, 0.1], [0, 1], 1.0) == math.inf
    assert metrics.sensitivity_at_specificity([0.9, 0.1], [0, 1], 1.0) == 0.0


def test_scores_of_probabilities_worked_by_hand() -> None:
    assert metrics.brier([0.8, 0.3], [1, 0]) == pytest.approx((0.04 + 0.09) / 2)


@pytest.mark.parametrize("seed", range(3))
def test_classification_agrees_with_scikit_learn_and_torchmetrics(seed: int) -> None:
    sklearn, torch = pytest.importorskip("sklearn.metrics"), pytest.importorskip("torch")
    functional = pytest.importorskip("torchmetrics.functional.classification")
    scores, truth = drawn(seed=seed)
    tensors = torch.from_numpy(scores), torch.from_numpy(truth).int()
    assert metrics.auroc(scores, truth) == pytest.approx(sklearn.roc_auc_score(truth, scores))
    assert metrics.auroc(scores, truth) == pytest.approx(functional.binary_auroc(*tensors).item(), rel=1e-5)
    assert metrics.auprc(scores, truth) == pytest.approx(
        functional.binary_average_precision(*tensors).item(), rel=1e-5
    )
    assert metrics.brier(scores, truth) == pytest.approx(sklearn.brier_score_loss(truth, scores))
    curve = metrics.roc_curve(scores, truth)
    area = np.trapezoid(curve.true_positive_rate, curve.false_positive_rate)
    assert area == pytest.approx(metrics.auroc(scores, truth))
    sensitivity = functional.binary_sensitivity_at_specificity(*tensors, min_specificity=0.9)[0].item()
    assert metrics.sensitivity_at_specificity(scores, truth, 0.9) == pytest.approx(sensitivity, rel=1e-5)
    specificity = functional.binary_specificity_at_sensitivity(*tensors, min_sensitivity=0.9)[0].item()
    assert metrics.specificity_at_sensitivity(scores, truth, 0.9) == pytest.approx(specificity, rel=1e-5)


@pytest.mark.parametrize("truth", [np.zeros(6, bool), np.ones(6, bool)])
def test_one_class_only_is_nan_without_a_warning(truth: NDArray[np.bool_]) -> None:
    assert math.isnan(metrics.auroc(SCORES, truth))
    assert math.isnan(metrics.sensitivity_at_specificity(SCORES, truth, 0.9))
    assert math.isnan(metrics.specificity_at_sensitivity(SCORES, truth, 0.9))
    assert np.isnan(metrics.roc_curve(SCORES, truth).at([0.1, 0.5])).all()
    assert metrics.majority_accuracy(truth) == 1.0
    if not truth.any():
        assert math.isnan(metrics.auprc(SCORES, truth))
        assert np.isnan(metrics.pr_curve(SCORES, truth).at([0.1, 0.5])).all()
    with pytest.raises(DataError, match="both classes"):
        metrics.fit_platt(SCORES, truth)


@pytest.mark.parametrize(
    ("scores", "truth", "message"),
    [
        ([0.1, np.nan], [0, 1], "1 of 2 predictions are NaN"),
        ([0.1, np.inf], [0, 1], "NaN or infinite"),
        ([0.1, 1.5], [0, 1], r"lie in \[0, 1\]"),
        ([-0.1, 0.5], [0, 1], r"lie in \[0, 1\]"),
        ([0.1], [0, 1], "differ in length"),
        ([0.1, 0.2], [0, 2], "must be 0 or 1"),
        ([0, 1], [0.1, 0.2], "swapped"),
        ([], [], "at least one"),
    ],
)
def test_bad_input_is_refused(scores: list[float], truth: list[int], message: str) -> None:
    for measure in (metrics.brier, metrics.ece, metrics.decision_curve):
        with pytest.raises(DataError, match=message):
            measure(scores, truth)
    if "lie in" not in message:
        with pytest.raises(DataError, match=message):
            metrics.auroc(scores, truth)


def test_reliability_worked_by_hand() -> None:
    found = metrics.reliability([0.1, 0.3, 0.6, 1.0], [0, 1, 1, 1], bins=2)
    assert found.count.tolist() == [2, 2]
    assert found.predicted == pytest.approx([0.2, 0.8])
    assert found.observed == pytest.approx([0.5, 1.0])
    assert found.ece == pytest.approx(0.5 * 0.3 + 0.5 * 0.2)
    assert ((found.low < found.observed) & (found.high >= found.observed)).all()
    gap = metrics.reliability([0.1, 0.9], [0, 1], bins=4)
    assert gap.count.tolist() == [1, 0, 0, 1]
    assert np.isnan(gap.observed[1:3]).all()
    assert gap.ece == pytest.approx(0.1)


def test_equal_mass_bins_hold_equal_numbers_and_keep_ties_together() -> None:
    random = np.random.default_rng(0)
    even = metrics.reliability(random.random(1000) ** 4, random.random(1000) < 0.2, bins=10, by="mass")
    assert even.count.tolist() == [100] * 10
    tied = metrics.reliability([0.2] * 50 + [0.7] * 50, [0] * 50 + [1] * 50, bins=10, by="mass")
    assert sorted(tied.count[tied.count > 0].tolist()) == [50, 50]
    assert tied.ece == pytest.approx(0.25)


def test_calibration_agrees_with_torchmetrics_and_scikit_learn() -> None:
    functional, torch = (
        pytest.importorskip("torchmetrics.functional.classification"),
        pytest.importorskip("torch"),
    )
    sklearn = pytest.importorskip("sklearn.calibration")
    scores, truth = drawn(decimals=9)
    other = functional.binary_calibration_error(
        torch.from_numpy(scores), torch.from_numpy(truth).int(), n_bins=10, norm="l1"
    ).item()
    assert metrics.ece(scores, truth) == pytest.approx(other, rel=1e-4)
    for by, strategy in (("width", "uniform"), ("mass", "quantile")):
        found = metrics.reliability(scores, truth, bins=8, by=by)  # type: ignore[arg-type]
        observed, predicted = sklearn.calibration_curve(truth, scores, n_bins=8, strategy=strategy)
        if by == "width":
            full = found.count > 0
            np.testing.assert_allclose(found.observed[full], observed)
            np.testing.assert_allclose(found.predicted[full], predicted)
        else:
            # Where a quantile falls between two images the one on the cut may change sides.
            np.testing.assert_allclose(found.predicted, predicted, atol=0.01)


def test_decision_curve_worked_by_hand() -> None:
    curve = metrics.decision_curve(SCORES, TRUTH, [0.0, 0.5, 0.7])
    np.testing.assert_allclose(curve.treat_all, [0.5, (3 - 3) / 6, (3 - 3 * 7 / 3) / 6], atol=1e-12)
    np.testing.assert_allclose(curve.model, [0.5, (3 - 1) / 6, (2 - 1 * 7 / 3) / 6], atol=1e-12)
    with pytest.raises(DataError, match="thresholds"):
        metrics.decision_curve(SCORES, TRUTH, [1.0])


def test_platt_finds_what_the_data_were_drawn_with() -> None:
    random = np.random.default_rng(3)
    logits = random.normal(0, 3, 40_000)
    truth = random.random(logits.size) < metrics.sigmoid(0.5 * logits - 1)
    slope, intercept = metrics.fit_platt(logits, truth)
    assert (slope, intercept) == pytest.approx((0.5, -1), abs=0.04)
    assert metrics.ece(metrics.apply_platt(logits, slope, intercept), truth) < 0.01


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_a_probability_on_an_edge_lies_in_the_bin_above_it(kind: type) -> None:
    edges = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    found = metrics.reliability(np.array(edges, kind), [0, 1] * 5 + [1])
    assert found.count.tolist() == [1] * 9 + [2]
    below = np.nextafter(np.array(edges[1:-1], kind), kind(0))
    assert metrics.reliability(below, [0, 1] * 4 + [1]).count.tolist() == [1] * 9 + [0]


def test_platt_agrees_with_scikit_learns_own_and_survives_separable_classes() -> None:
    own = pytest.importorskip("sklearn.calibration")
    if not hasattr(own, "_sigmoid_calibration"):
        pytest.skip("scikit-learn keeps its Platt fit private, and has moved it")
    random = np.random.default_rng(0)
    logits = random.normal(size=300)
    for truth in (random.random(300) < metrics.sigmoid(logits), logits > 0.3):
        # scikit-learn writes P = 1 / (1 + exp(a f + b)).
        a, b = own._sigmoid_calibration(logits, truth)
        assert metrics.fit_platt(logits, truth) == pytest.approx((-a, -b), rel=1e-3)


def test_logit_undoes_sigmoid_and_stays_finite() -> None:
    values = np.array([-12.0, -1.0, 0.0, 3.0])
    np.testing.assert_allclose(metrics.logit(metrics.sigmoid(values)), values, rtol=1e-6)
    assert np.isfinite(metrics.logit([0.0, 1.0])).all()
    assert metrics.sigmoid([-1e6, 1e6]).tolist() == [0.0, 1.0]
