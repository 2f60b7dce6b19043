"""Whether a probability of 0.8 is right eight times in ten, and how to make it so.

Fitting needs the `train` extra; applying a fit needs NumPy alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lungsight.errors import DataError, require
from lungsight.metrics import _checks
from lungsight.metrics.intervals import Interval, Note, Patients
from lungsight.metrics.linear import design_effect, t_quantile, wilson_bounds
from lungsight.wording import Caution, IntervalMethod

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
    """(B,) fraction with the finding."""
    low: Floats
    """(B,) lower Wilson bound of `observed`, scaled for patients."""
    high: Floats
    """(B,) upper Wilson bound."""

    @property
    def ece(self) -> float:
        """Expected calibration error: sum of count / N |observed - predicted|, in [0, 1]."""
        full = self.count > 0
        gap = np.abs(self.observed[full] - self.predicted[full])
        return float(np.average(gap, weights=self.count[full]))


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
    predicted: ArrayLike,
    truth: ArrayLike,
    *,
    bins: int = 10,
    by: Bins = "width",
    patients: ArrayLike | Patients | None = None,
    level: float = 0.95,
) -> Reliability:
    """The calibration curve with counts and Wilson intervals.

    Args:
        predicted: (N,) probabilities in [0, 1].
        truth: (N,) labels.
        bins: how many.
        by: 'width' cuts [0, 1] into equal parts; 'mass' puts about as many images into each (equal
            probabilities stay together, so that there may be fewer bins).
        patients: (N,) ids, for the intervals.
        level: of the Wilson intervals.

    Raises:
        DataError: as `probabilities`, or no bin.
    """
    values, known = _checks.probabilities(predicted, truth)
    if bins < 1:
        raise DataError(f"at least one bin is needed, not {bins}")
    if by == "width":
        # k / bins is the nearest number to what is written 0.3 or 0.7; steps of 0.1 would miss it. What single
        # precision calls 0.7 belongs there too.
        edges = np.arange(bins + 1) / bins
        if np.asarray(predicted).dtype == np.float32:
            edges = edges.astype(np.float32).astype(np.float64)
    else:
        inner = np.quantile(values, np.arange(1, bins) / bins, method="higher")
        edges = np.unique(np.concatenate(([0.0], inner, [1.0])))
    index = np.digitize(values, edges[1:-1])
    count = np.bincount(index, minlength=len(edges) - 1)
    positive = np.bincount(index, weights=known, minlength=len(count))
    divisor = np.where(count > 0, count, np.nan)
    effective = np.array(count, np.float64)
    if patients is not None:
        who = Patients.of(patients, known.size)
        for number in np.flatnonzero(count):
            here = index == number
            effective[number] /= design_effect(known[here], who.take(here), level=level)
    low, high = wilson_bounds(positive / divisor * effective, effective, level=level)
    mean = np.bincount(index, weights=values, minlength=len(count)) / divisor
    return Reliability(edges, count, mean, positive / divisor, low, high)


def ece(predicted: ArrayLike, truth: ArrayLike, *, bins: int = 10, by: Bins = "width") -> float:
    """Expected calibration error, in [0, 1], less is better (Naeini et al. 2015; by mass: Nixon et al. 2019).

    It depends on the bins and is biased upwards on few images, so that it has no interval: read it with the curve, and
    with `calibration_intervals`.
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


def calibration_intervals(
    predicted: ArrayLike, truth: ArrayLike, *, patients: ArrayLike | Patients | None, level: float = 0.95
) -> tuple[Interval, Interval]:
    """Calibration slope and calibration in the large (intercept at slope 1), with profile-likelihood intervals.

    Slope b of logit P(y) = a + b logit(p): 1 is right, below 1 the probabilities are too extreme. Intercept a of
    logit P(y) = a + logit(p): 0 is right, above 0 they are too low (Cox 1958; Van Calster et al., BMC Medicine 2019).
    The likelihood ratio is divided by the design effect of the patients. Where the classes do not overlap the slope has
    no estimate.

    Raises:
        DataError: probabilities outside [0, 1].
    """
    values, known = _checks.probabilities(predicted, truth)
    who, method = Patients.of(patients, known.size), IntervalMethod.PROFILE_LIKELIHOOD
    notes = who.cautions(known)
    if known.all() or not known.any():
        missing = Interval.missing(known.size, who.n, method, notes)
        return missing, missing
    logits = logit(values)
    large = _intercept(logits, known)
    score = known - sigmoid(logits + large)
    scale = _clusters(score, who)
    limit = t_quantile(math.inf, level) ** 2 / 2
    best = _likelihood(logits + large, known)

    def fall(at: float) -> float:
        return (best - _likelihood(logits + at, known)) / scale - limit

    intercept = Interval.of(large, _crossings(fall, large, 1.0), known.size, who, method, notes, level)
    if logits.min() == logits.max() or _separated(logits, known):
        code = Caution.UNDEFINED if logits.min() == logits.max() else Caution.NO_OVERLAP
        return Interval.missing(known.size, who.n, method, (*notes, Note(code))), intercept
    slope = _slope(logits, known)
    offset = _intercept(slope * logits, known)
    top = _likelihood(slope * logits + offset, known)
    fitted = sigmoid(slope * logits + offset)
    weight = fitted * (1 - fitted)
    centred = logits - np.average(logits, weights=weight)
    scale = _clusters((known - fitted) * centred, who)

    def drop(at: float) -> float:
        return (top - _likelihood(at * logits + _intercept(at * logits, known), known)) / scale - limit

    step = 1 / math.sqrt(max(float(weight @ centred**2), 1e-12))
    return Interval.of(slope, _crossings(drop, slope, step), known.size, who, method, notes, level), intercept


def _clusters(score: Floats, who: Patients) -> float:
    """Variance of the score summed within patients over that of independent images, at least 1."""
    if who.count == score.size:
        return 1.0
    independent = float(score @ score)
    summed = who.sums(score)
    ratio = (
        float(summed @ summed) / independent * who.count / max(1, who.count - 1) if independent > 0 else 1.0
    )
    small = (t_quantile(max(1, who.count - 1), 0.95) / t_quantile(math.inf, 0.95)) ** 2
    return max(1.0, ratio) * small


def _likelihood(logits: Floats, known: NDArray[np.bool_]) -> float:
    return -float(np.logaddexp(0, np.where(known, -logits, logits)).sum())


def _intercept(offset: Floats, known: NDArray[np.bool_]) -> float:
    """The a with sum sigmoid(offset + a) = number of positives, by Newton inside a bracket."""
    wanted, low, high = float(known.sum()), -60.0 - float(offset.max()), 60.0 - float(offset.min())
    at = min(max(0.0, low), high)
    for _ in range(200):
        fitted = sigmoid(offset + at)
        apart, weight = float(fitted.sum()) - wanted, float(np.sum(fitted * (1 - fitted)))
        low, high = (low, at) if apart > 0 else (at, high)
        if abs(apart) < 1e-9 * max(1.0, wanted):
            break
        step = at - apart / weight if weight > 1e-12 else math.nan
        at = step if low < step < high else (low + high) / 2
    return at


def _slope(logits: Floats, known: NDArray[np.bool_]) -> float:
    """Maximum-likelihood slope where the classes overlap, by Newton on the profile inside a bracket."""

    def gradient(at: float) -> float:
        return float((known - sigmoid(at * logits + _intercept(at * logits, known))) @ logits)

    # The profile likelihood is concave: its gradient falls. Spread out, so that the bracket is in units of it.
    unit = 1 / max(float(logits.std()), 1e-9)
    low, high = -unit, unit
    while gradient(low) < 0 and low > -1e6 * unit:
        low *= 2
    while gradient(high) > 0 and high < 1e6 * unit:
        high *= 2
    while high - low > 1e-9 * max(abs(low), abs(high), unit):
        middle = (low + high) / 2
        low, high = (middle, high) if gradient(middle) > 0 else (low, middle)
    return (low + high) / 2


def _separated(logits: Floats, known: NDArray[np.bool_]) -> bool:
    return bool(logits[known].min() >= logits[~known].max() or logits[known].max() <= logits[~known].min())


def _crossings(function: Callable[[float], float], top: float, step: float) -> tuple[float, float]:
    """Where a function that is below 0 at `top` and rises away from it crosses 0, on either side; inf where never."""
    found = []
    for sign in (-1, 1):
        reach = step
        while function(top + sign * reach) < 0:
            reach *= 2
            if reach > 1e6 * step:
                break
        if reach > 1e6 * step:
            found.append(sign * math.inf)
            continue
        inside, outside = 0.0, reach
        while outside - inside > 1e-7 * reach:
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if function(top + sign * middle) < 0 else (inside, middle)
        found.append(top + sign * inside)
    return found[0], found[1]


def apply_platt(logits: ArrayLike, slope: float, intercept: float) -> Floats:
    """sigmoid(slope * logit + intercept), of the shape of `logits`, in [0, 1]."""
    return sigmoid(slope * np.asarray(logits, dtype=np.float64) + intercept)


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
