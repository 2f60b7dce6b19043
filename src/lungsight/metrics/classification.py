"""How well a score tells two classes apart, and what it does at a threshold.

An image is called positive where score >= threshold. Every function takes (predicted, truth): scores (N,) and
labels (N,), bool or 0 and 1, True for the finding. A metric that one class alone cannot give is NaN.

Metrics Reloaded (Maier-Hein et al., Nature Methods 2024) asks for AUROC with AUPRC beside it where one class
is rare, for metrics at a threshold chosen beforehand, and for a measure of calibration (`calibration`).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lungsight.errors import require
from lungsight.metrics import _checks
from lungsight.records import Record

Floats = NDArray[np.float64]
NAN = float("nan")


@dataclass(frozen=True, slots=True)
class RocCurve:
    """The operating points of a score, thresholds falling; at the first, inf, nothing is called positive."""

    false_positive_rate: Floats
    """(K,) FP / (FP + TN)."""
    true_positive_rate: Floats
    """(K,) TP / (TP + FN)."""
    thresholds: Floats
    """(K,)"""

    def at(self, false_positive_rate: ArrayLike) -> Floats:
        """True positive rate at given false positive rates, by straight lines; for bands over resamples."""
        wanted = np.asarray(false_positive_rate, dtype=np.float64)
        # Of points that share a rate, np.interp takes the last: the highest of a vertical part.
        return np.asarray(np.interp(wanted, self.false_positive_rate, self.true_positive_rate))


@dataclass(frozen=True, slots=True)
class PrCurve:
    """Precision over recall, thresholds rising; the last point, recall 0 and precision 1, has none."""

    precision: Floats
    """(K + 1,) TP / (TP + FP)."""
    recall: Floats
    """(K + 1,) TP / (TP + FN), falling."""
    thresholds: Floats
    """(K,)"""

    def at(self, recall: ArrayLike) -> Floats:
        """The best precision that has at least the given recall; no lines are drawn between points."""
        best = np.maximum.accumulate(self.precision)
        # Recall falls along the curve: the last point that still reaches the wanted recall.
        wanted = np.asarray(recall, dtype=np.float64)
        index = np.searchsorted(-self.recall, -wanted, side="right") - 1
        return np.asarray(best[np.maximum(index, 0)])


class Confusion(Record, frozen=True):
    """Counts at one threshold. A rate of nothing (0 / 0) is NaN."""

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def sensitivity(self) -> float:
        """TP / (TP + FN), the true positive rate."""
        return _rate(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> float:
        """TN / (TN + FP), one less the false positive rate."""
        return _rate(self.tn, self.tn + self.fp)

    @property
    def precision(self) -> float:
        """TP / (TP + FP), the positive predictive value at this data set's prevalence."""
        return _rate(self.tp, self.tp + self.fp)

    @property
    def negative_predictive_value(self) -> float:
        """TN / (TN + FN), at this data set's prevalence."""
        return _rate(self.tn, self.tn + self.fn)

    @property
    def accuracy(self) -> float:
        """(TP + TN) / all."""
        return _rate(self.tp + self.tn, self.tp + self.fp + self.fn + self.tn)


def _rate(part: int, whole: int) -> float:
    return part / whole if whole else NAN


def placements(values: Floats, others: Floats) -> Floats:
    """(N,) fraction of `others` below each of `values`, ties counted half: what AUROC is made of."""
    ordered = np.sort(others)
    return (ordered.searchsorted(values, "left") + ordered.searchsorted(values, "right")) / (2 * others.size)


def auroc(predicted: ArrayLike, truth: ArrayLike) -> float:
    """Area under the ROC curve: P(positive scores higher than negative) + P(equal) / 2, in [0, 1].

    The Mann-Whitney form, O(N log N): it is what the bootstrap calls thousands of times.
    """
    values, known = _checks.scores(predicted, truth)
    if known.all() or not known.any():
        return NAN
    return float(placements(values[known], values[~known]).mean())


def auprc(predicted: ArrayLike, truth: ArrayLike) -> float:
    """Average precision, sum of (R_k - R_{k-1}) P_k over thresholds, in [0, 1]; chance is the prevalence."""
    values, known = _checks.scores(predicted, truth)
    if not known.any():
        return NAN
    return float(_sklearn().average_precision_score(known, values))


def roc_curve(predicted: ArrayLike, truth: ArrayLike) -> RocCurve:
    """The ROC curve, with a point for every distinct score.

    Raises:
        DataError: scores or labels that cannot be used.
        MissingExtraError: scikit-learn is not installed.
    """
    values, known = _checks.scores(predicted, truth)
    if known.all() or not known.any():
        nothing = np.full(2, NAN)
        return RocCurve(nothing, nothing, np.array([np.inf, values.min()]))
    return RocCurve(*_sklearn().roc_curve(known, values, drop_intermediate=False))


def pr_curve(predicted: ArrayLike, truth: ArrayLike) -> PrCurve:
    """The precision-recall curve, with a point for every distinct score; NaN where no image is positive."""
    values, known = _checks.scores(predicted, truth)
    if not known.any():
        nothing = np.full(2, NAN)
        return PrCurve(nothing, nothing, np.array([values.min()]))
    return PrCurve(*_sklearn().precision_recall_curve(known, values))


def confusion(predicted: ArrayLike, truth: ArrayLike, threshold: float) -> Confusion:
    """Counts where score >= `threshold` is called positive."""
    values, known = _checks.scores(predicted, truth)
    called = values >= threshold
    tp, positive = int(np.count_nonzero(called & known)), int(np.count_nonzero(known))
    fp = int(np.count_nonzero(called)) - tp
    return Confusion(tp=tp, fp=fp, fn=positive - tp, tn=known.size - positive - fp)


def accuracy(predicted: ArrayLike, truth: ArrayLike, threshold: float) -> float:
    """Fraction of images called rightly, in [0, 1]; read it against `majority_accuracy`."""
    return confusion(predicted, truth, threshold).accuracy


def majority_accuracy(truth: ArrayLike) -> float:
    """What always answering the majority class scores, in [0.5, 1]."""
    fraction = float(_checks.labels(truth).mean())
    return max(fraction, 1 - fraction)


def threshold_at_specificity(predicted: ArrayLike, truth: ArrayLike, specificity: float) -> float:
    """The lowest threshold with at least this specificity: of those, it has the highest sensitivity.

    inf where only calling nothing positive is that specific; NaN with one class only.
    """
    curve = roc_curve(predicted, truth)
    reached = np.flatnonzero(1 - curve.false_positive_rate >= specificity - 1e-12)
    return float(curve.thresholds[reached[-1]]) if reached.size else NAN


def threshold_at_sensitivity(predicted: ArrayLike, truth: ArrayLike, sensitivity: float) -> float:
    """The highest threshold with at least this sensitivity: of those, it has the highest specificity."""
    curve = roc_curve(predicted, truth)
    reached = np.flatnonzero(curve.true_positive_rate >= sensitivity - 1e-12)
    return float(curve.thresholds[reached[0]]) if reached.size else NAN


def sensitivity_at_specificity(predicted: ArrayLike, truth: ArrayLike, specificity: float) -> float:
    """The highest sensitivity of an operating point with at least this specificity, in [0, 1]."""
    threshold = threshold_at_specificity(predicted, truth, specificity)
    return NAN if np.isnan(threshold) else confusion(predicted, truth, threshold).sensitivity


def specificity_at_sensitivity(predicted: ArrayLike, truth: ArrayLike, sensitivity: float) -> float:
    """The highest specificity of an operating point with at least this sensitivity, in [0, 1]."""
    threshold = threshold_at_sensitivity(predicted, truth, sensitivity)
    return NAN if np.isnan(threshold) else confusion(predicted, truth, threshold).specificity


def brier(predicted: ArrayLike, truth: ArrayLike) -> float:
    """Mean of (probability - label)^2, in [0, 1], less is better (Brier 1950). Probabilities in [0, 1]."""
    values, known = _checks.probabilities(predicted, truth)
    return float(np.mean((values - known) ** 2))


def _sklearn() -> ModuleType:
    return require("sklearn.metrics", feature="evaluation", extra="train")
