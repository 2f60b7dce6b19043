"""Whether a probability of 0.8 is right eight times in ten, and how to make it so.

Fitting needs the `train` extra; applying a fit needs NumPy alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lungsight.errors import DataError, require
from lungsight.metrics import _checks
from lungsight.metrics.intervals import wilson_bounds

Floats = NDArray[np.float64]
Bins = Literal["width", "mass"]


@dataclass(frozen=True, slots=True)
class Reliability:
    """How often images of each bin of probability have the finding. Bins without an image are NaN."""

    edges: Floats
    """(B + 1,) from 0 to 1; a bin holds its lower edge, the last both."""
    count: NDArray[np.int64]
    """(B,) images."""
    predicted: Floats
    """(B,) mean probability."""
    observed: Floats
    """(B,) share with the finding."""
    low: Floats
    """(B,) lower Wilson bound of `observed`, images taken as independent."""
    high: Floats
    """(B,) upper Wilson bound."""

    @property
    def ece(self) -> float:
        """Expected calibration error: sum of count / N |observed - predicted|, in [0, 1]."""
        full = self.count > 0
        gap = np.abs(self.observed[full] - self.predicted[full])
        return float(np.average(gap, weights=self.count[full]))

    @property
    def largest_gap(self) -> float:
        """Maximum calibration error: the largest |observed - predicted|, in [0, 1]."""
        return float(np.nanmax(np.abs(self.observed - self.predicted)))


@dataclass(frozen=True, slots=True)
class DecisionCurve:
    """Net benefit of acting on the score, against acting on all and on none (which is 0)."""

    thresholds: Floats
    """(K,) probability from which one acts: 1 : (1 - t) / t is what a miss weighs against a false alarm."""
    model: Floats
    """(K,)"""
    treat_all: Floats
    """(K,)"""


def reliability(
    predicted: ArrayLike, truth: ArrayLike, *, bins: int = 10, by: Bins = "width", level: float = 0.95
) -> Reliability:
    """The calibration curve with counts and Wilson intervals.

    Args:
        predicted: (N,) probabilities in [0, 1].
        truth: (N,) labels.
        bins: how many.
        by: 'width' cuts [0, 1] into equal parts; 'mass' puts about as many images into each (equal
            probabilities stay together, so that there may be fewer bins).
        level: of the Wilson intervals.
    """
    values, known = _checks.probabilities(predicted, truth)
    if bins < 1:
        raise DataError(f"at least one bin is needed, not {bins}")
    if by == "width":
        edges = np.linspace(0, 1, bins + 1)
    else:
        inner = np.quantile(values, np.arange(1, bins) / bins, method="higher")
        edges = np.unique(np.concatenate(([0.0], inner, [1.0])))
    index = np.digitize(values, edges[1:-1])
    count = np.bincount(index, minlength=len(edges) - 1)
    positive = np.bincount(index, weights=known, minlength=len(count))
    divisor = np.where(count > 0, count, np.nan)
    low, high = wilson_bounds(positive, count, level=level)
    mean = np.bincount(index, weights=values, minlength=len(count)) / divisor
    return Reliability(edges, count, mean, positive / divisor, low, high)


def ece(predicted: ArrayLike, truth: ArrayLike, *, bins: int = 10, by: Bins = "width") -> float:
    """Expected calibration error, in [0, 1], less is better (Naeini et al. 2015; by mass: Nixon et al. 2019).

    It depends on the bins and is biased upwards on few images: read it with the curve.
    """
    return reliability(predicted, truth, bins=bins, by=by).ece


def decision_curve(
    predicted: ArrayLike, truth: ArrayLike, thresholds: ArrayLike | None = None
) -> DecisionCurve:
    """Net benefit = TP / N - FP / N * t / (1 - t) over thresholds t (Vickers & Elkin 2006).

    At the prevalence of the data given: where the finding is enriched, as in most collections, it is not what
    a hospital would see.

    Args:
        predicted: (N,) probabilities in [0, 1].
        truth: (N,) labels.
        thresholds: (K,) inside [0, 1); 0.01 ... 0.99 by default.
    """
    values, known = _checks.probabilities(predicted, truth)
    at = np.arange(1, 100) / 100 if thresholds is None else np.asarray(thresholds, dtype=np.float64)
    if at.ndim != 1 or not ((at >= 0) & (at < 1)).all():
        raise DataError("thresholds must be a list of numbers in [0, 1)")
    positives, negatives = np.sort(values[known]), np.sort(values[~known])
    odds = at / (1 - at)
    tp = positives.size - positives.searchsorted(at, "left")
    fp = negatives.size - negatives.searchsorted(at, "left")
    return DecisionCurve(
        at, (tp - fp * odds) / values.size, (positives.size - negatives.size * odds) / values.size
    )


def fit_platt(logits: ArrayLike, truth: ArrayLike) -> tuple[float, float]:
    """Slope and intercept of P = sigmoid(slope * logit + intercept) (Platt 1999).

    Maximum likelihood with Platt's targets (N+ + 1) / (N+ + 2) and 1 / (N- + 2) in place of 1 and 0, so that
    it has an answer also where the classes do not overlap.

    Raises:
        DataError: one class only.
        MissingExtraError: scikit-learn is not installed.
    """
    values, known = _checks.scores(logits, truth)
    positives, negatives = int(known.sum()), int((~known).sum())
    _both(positives, negatives)
    linear = require("sklearn.linear_model", feature="calibration", extra="train")
    target = np.where(known, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    # A soft target is a pair of images, one of either class, that share its weight.
    model = linear.LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-8, max_iter=500)
    model.fit(
        np.tile(values, 2)[:, np.newaxis],
        np.repeat((True, False), values.size),
        sample_weight=np.concatenate((target, 1 - target)),
    )
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def fit_temperature(logits: ArrayLike, truth: ArrayLike) -> float:
    """Temperature T of P = sigmoid(logit / T) with the least log loss (Guo et al. 2017), in [0.01, 100].

    Raises:
        DataError: one class only.
        MissingExtraError: SciPy is not installed.
    """
    values, known = _checks.scores(logits, truth)
    _both(int(known.sum()), int((~known).sum()))
    optimize = require("scipy.optimize", feature="calibration", extra="train")
    signed = np.where(known, values, -values)

    def loss(log_temperature: float) -> float:
        return float(np.logaddexp(0, -signed * np.exp(-log_temperature)).mean())

    limit = np.log(100)
    found = optimize.minimize_scalar(loss, bounds=(-limit, limit), method="bounded", options={"xatol": 1e-7})
    return float(np.exp(found.x))


def apply_platt(logits: ArrayLike, slope: float, intercept: float) -> Floats:
    """sigmoid(slope * logit + intercept), of the shape of `logits`, in [0, 1]."""
    return sigmoid(slope * np.asarray(logits, dtype=np.float64) + intercept)


def apply_temperature(logits: ArrayLike, temperature: float) -> Floats:
    """sigmoid(logit / temperature), of the shape of `logits`, in [0, 1]."""
    return sigmoid(np.asarray(logits, dtype=np.float64) / temperature)


def sigmoid(logits: ArrayLike) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * np.asarray(logits, dtype=np.float64))))


def logit(probability: ArrayLike) -> Floats:
    """log(p / (1 - p)), p kept 1e-7 off 0 and 1 (what single precision can tell from them)."""
    kept = np.clip(np.asarray(probability, dtype=np.float64), 1e-7, 1 - 1e-7)
    return np.asarray(np.log(kept) - np.log1p(-kept))


def _both(positives: int, negatives: int) -> None:
    if not positives or not negatives:
        raise DataError(
            f"calibration needs both classes, not {positives} with the finding and {negatives} without"
        )
