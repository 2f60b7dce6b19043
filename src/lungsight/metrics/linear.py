"""Intervals of means, fractions, ratios and average precision over patients, by formula.

Each image's contribution to the error of a metric is summed within patients (linearisation, the delta method for
clusters; Woodruff 1971, Binder 1983). The classes are not held fixed, so that what depends on the fraction of positives
carries its uncertainty. A mean of few skewed values takes Hall's correction for skewness (J. R. Statist. Soc. B 1992),
a fraction Wilson's interval with an effective sample size (Korn & Graubard 1998), average precision the logit scale.
`benchmarks/coverage.py` measures how often each holds the truth, and the percentile bootstrap beside it.
"""

from __future__ import annotations

import math
from types import ModuleType

import numpy as np
from numpy.typing import ArrayLike

from lungsight.errors import DataError, require
from lungsight.metrics import _checks
from lungsight.metrics.intervals import (
    FEW_PATIENTS,
    LEVEL,
    Bools,
    Comparison,
    Floats,
    Interval,
    Note,
    Patients,
)
from lungsight.wording import Caution, IntervalMethod

TINY = 1e-12
"""A standard error below this is rounding."""


def mean_interval(
    values: ArrayLike,
    *,
    patients: ArrayLike | Patients | None,
    bounds: tuple[float, float] = (0.0, 1.0),
    level: float = LEVEL,
) -> Interval:
    """Mean of the finite values (N,) of images, e.g. Dice or Brier score.

    Args:
        values: one an image; what is not finite (a distance to an empty mask) is left out, and counted in a note.
        patients: (N,) ids.
        bounds: in which a value can lie.
        level: of confidence, in (0, 1).
    """
    array = np.asarray(values, dtype=np.float64)
    who = Patients.of(patients, array.size)
    kept = np.isfinite(array)
    notes: tuple[Note, ...] = ()
    if not kept.all():
        notes, who = (Note(Caution.NOT_FINITE, int((~kept).sum()), array.size),), who.take(kept)
    return ratio_interval(
        array[kept], np.ones(int(kept.sum())), patients=who, bounds=bounds, level=level, notes=notes
    )


def ratio_interval(
    numerator: ArrayLike,
    denominator: ArrayLike,
    *,
    patients: ArrayLike | Patients | None,
    bounds: tuple[float, float] = (0.0, 1.0),
    level: float = LEVEL,
    notes: tuple[Note, ...] = (),
) -> Interval:
    """Ratio of two sums over images, e.g. Dice over the pixels of all images; t over patients, skewness corrected.

    Args:
        numerator: (N,).
        denominator: (N,), not negative.
        bounds: in which the ratio can lie.
        notes: to begin with.
    """
    above, below = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    who, method, total = Patients.of(patients, above.size), IntervalMethod.SKEW_T, float(below.sum())
    if not total > 0:
        return Interval.missing(above.size, who.n, method, (*notes, Note(Caution.NO_IMAGES)))
    value = float(above.sum()) / total
    notes = (*who.cautions(), *notes)
    if who.count < 2:
        return Interval.of(value, (math.nan, math.nan), above.size, who, method, notes, level)
    pulls = who.sums((above - value * below) / total)
    if math.sqrt(float(pulls @ pulls)) < TINY * max(1.0, abs(value)):
        if value in bounds:
            # Nothing varies: what Wilson's interval says of as many alike patients.
            lowest, highest = wilson_bounds(who.count * (value == bounds[1]), who.count, level=level)
            at = (float(lowest), float(highest)) if bounds == (0.0, 1.0) else (value, value)
            return Interval.of(value, at, above.size, who, IntervalMethod.WILSON, notes, level)
        notes = (*notes, Note(Caution.NO_VARIANCE))
        return Interval.of(value, (value, value), above.size, who, method, notes, level)
    low, high = skew_bounds(value, pulls, level)
    clipped = (max(low, bounds[0]), min(high, bounds[1]))
    return Interval.of(value, clipped, above.size, who, method, notes, level)


def skew_bounds(value: float, pulls: Floats, level: float) -> tuple[float, float]:
    """Bounds of a mean by Hall's cubic transformation of t, with as many degrees of freedom as patients less one.

    With n patients, error s / sqrt(n) and skewness g: T = t + g t^2 / 3 + g^2 t^3 / 27 + g / 6n is close to symmetric,
    t in units of s; its inverse gives the bounds.

    Args:
        pulls: (G,) each patient's part of value - truth; they sum to 0.
    """
    count = pulls.size
    spread = math.sqrt(float(pulls @ pulls) / count)
    skew = float(np.mean((pulls / spread) ** 3))
    quantile = t_quantile(count - 1, level)

    def inverse(at: float) -> float:
        if abs(skew) < 1e-6:
            return at
        root = math.sqrt(count)
        inner = 1 + skew * (at / root - skew / (6 * count))
        return 3 / skew * root * (math.copysign(abs(inner) ** (1 / 3), inner) - 1)

    error = spread * math.sqrt(count)
    return value - error * inverse(quantile), value - error * inverse(-quantile)


def fraction_interval(
    hits: ArrayLike,
    *,
    patients: ArrayLike | Patients | None,
    within: Bools | None = None,
    cautions: tuple[Note, ...] | None = None,
    level: float = LEVEL,
) -> Interval:
    """Fraction of images, e.g. accuracy, or of the images `within`, e.g. sensitivity within the positives.

    Wilson's interval (1927) with the effective number of independent images: N divided by the design effect that the
    patients give, and shrunk for the few of them (Korn & Graubard 1998). One image a patient: Wilson's own.

    Args:
        hits: (N,) bool.
        patients: (N,) ids.
        within: (N,) bool.
        cautions: of the table, where those of the images `within` would say less: few images that are called
            positive are no reason to give no interval.
    """
    counted = np.asarray(hits, bool)
    who, method = Patients.of(patients, counted.size), IntervalMethod.WILSON
    if within is not None:
        counted, who = counted[within], who.take(within)
    if not counted.size:
        return Interval.missing(0, who.n, method, (Note(Caution.NO_IMAGES),))
    value = float(counted.mean())
    effective = counted.size / design_effect(counted, who, level=level)
    low, high = wilson_bounds(value * effective, effective, level=level)
    notes = who.cautions() if cautions is None else cautions
    return Interval.of(value, (float(low), float(high)), counted.size, who, method, notes, level)


def design_effect(hits: Bools, who: Patients, *, level: float = LEVEL) -> float:
    """How many times more images are needed than if they were independent, at least 1, for a fraction (N,).

    Where all images agree the data cannot tell: then every patient counts as one image.
    """
    if who.count == hits.size:
        return 1.0
    fraction = float(hits.mean())
    if fraction in (0.0, 1.0) or who.count < 2:
        return hits.size / who.count
    pulls = who.sums((hits - fraction) / hits.size)
    variance = float(pulls @ pulls) * who.count / (who.count - 1)
    effect = max(1.0, variance / (fraction * (1 - fraction) / hits.size))
    small = (t_quantile(who.count - 1, level) / t_quantile(math.inf, level)) ** 2
    return min(effect * small, max(effect, float(hits.size)))


def wilson(successes: int, n: int, *, level: float = LEVEL, n_patients: int | None = None) -> Interval:
    """Wilson's score interval (1927) of a fraction of independent cases; sensible also at 0, 1 and small n.

    Raises:
        DataError: more successes than cases, or fewer than none.
    """
    if not 0 <= successes <= n:
        raise DataError(f"{successes} of {n} is not a fraction")
    if not n:
        return Interval.missing(0, n_patients, IntervalMethod.WILSON, (Note(Caution.NO_IMAGES),))
    low, high = wilson_bounds(successes, n, level=level)
    notes = (Note(Caution.FEW_IMAGES, n),) if n < FEW_PATIENTS else ()
    bounds = (math.nan, math.nan) if notes else (float(low), float(high))
    return Interval(successes / n, *bounds, n, n_patients, IntervalMethod.WILSON, notes, level)


def wilson_bounds(successes: ArrayLike, n: ArrayLike, *, level: float = LEVEL) -> tuple[Floats, Floats]:
    """Wilson's bounds for arrays of counts, whole or effective; NaN where n is 0.

    (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n).
    """
    z2 = t_quantile(math.inf, level) ** 2
    count = np.asarray(n, dtype=np.float64)
    count = np.where(count > 0, count, np.nan)
    fraction = np.asarray(successes, dtype=np.float64) / count
    centre = (fraction + z2 / (2 * count)) / (1 + z2 / count)
    half = np.sqrt(z2 * (fraction * (1 - fraction) / count + z2 / (4 * count**2))) / (1 + z2 / count)
    return np.clip(centre - half, 0.0, 1.0), np.clip(centre + half, 0.0, 1.0)


def auprc_interval(
    predicted: ArrayLike, truth: ArrayLike, *, patients: ArrayLike | Patients | None, level: float = LEVEL
) -> Interval:
    """Average precision with its interval on the logit scale; t with the rarer class's patients less one."""
    scores, known = _checks.scores(predicted, truth)
    who, method = Patients.of(patients, known.size), IntervalMethod.LINEAR_LOGIT
    notes = who.cautions(known)
    if known.all() or not known.any():
        return Interval.missing(known.size, who.n, method, notes)
    value, pulls = average_precision(scores, known)
    fewest = int(min(who.having(known).sum(), who.having(~known).sum()))
    if value >= 1 - TINY or fewest < 2:
        bounds = (perfect_bound(fewest, level), 1.0)
        return Interval.of(value, bounds, known.size, who, method, (*notes, Note(Caution.NO_OVERLAP)), level)
    summed = who.sums(pulls)
    error = math.sqrt(float(summed @ summed) * who.count / (who.count - 1))
    bounds = logit_bounds(value, error, t_quantile(fewest - 1, level))
    return Interval.of(value, bounds, known.size, who, method, notes, level)


def average_precision(scores: Floats, truth: Bools) -> tuple[float, Floats]:
    """Average precision, sum of (R_k - R_(k-1)) P_k over thresholds, and (N,) each image's part of its error.

    With M(t) images at or above t, P positives: (y_j (P(s_j) - AP) + sum over positives i with s_i <= s_j of
    (y_j - P(s_i)) / M(s_i)) / P. Equal scores stay together.
    """
    order = np.argsort(-scores, kind="stable")
    sorted_scores, known = scores[order], truth[order].astype(np.float64)
    _, first, size = np.unique(-sorted_scores, return_index=True, return_counts=True)
    start, last = np.repeat(first, size), np.repeat(first + size - 1, size)
    above = last + 1.0
    precision = np.cumsum(known)[last] / above
    positives = known.sum()
    value = float((known * precision).sum() / positives)
    one, other = (np.cumsum((known * part)[::-1])[::-1][start] for part in (1 / above, precision / above))
    pulls = np.empty(scores.size)
    pulls[order] = (known * (precision - value) + known * one - other) / positives
    return value, pulls


def compare_means(
    first: ArrayLike, second: ArrayLike, *, patients: ArrayLike | Patients | None, level: float = LEVEL
) -> Comparison:
    """Mean of first - second over the images where both are finite, with a paired t-test over patients.

    Args:
        first: (N,) values of the one model, e.g. each image's Dice.
        second: (N,) of the other, for the same images in the same order.
    """
    apart = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    who = Patients.of(patients, apart.size)
    kept = np.isfinite(apart)
    notes: tuple[Note, ...] = ()
    if not kept.all():
        notes, who = (Note(Caution.NOT_FINITE, int((~kept).sum()), apart.size),), who.take(kept)
    apart = apart[kept]
    value = float(apart.mean()) if apart.size else math.nan
    return compare_pulls(value, (apart - value) / max(1, apart.size), who, level=level, notes=notes)


def compare_auprc(
    first: ArrayLike,
    second: ArrayLike,
    truth: ArrayLike,
    *,
    patients: ArrayLike | Patients | None,
    level: float = LEVEL,
) -> Comparison:
    """Difference in average precision, first less second, on the same images, with a paired t-test over patients."""
    (one, known), (other, _) = _checks.scores(first, truth), _checks.scores(second, truth)
    who = Patients.of(patients, known.size)
    if known.all() or not known.any():
        return compare_pulls(math.nan, np.zeros(known.size), who, truth=known, level=level)
    (area, pulls), (other_area, other_pulls) = average_precision(one, known), average_precision(other, known)
    return compare_pulls(area - other_area, pulls - other_pulls, who, truth=known, level=level)


def compare_pulls(
    difference: float,
    pulls: Floats,
    who: Patients,
    *,
    truth: Bools | None = None,
    level: float = LEVEL,
    notes: tuple[Note, ...] = (),
) -> Comparison:
    """A difference with its paired t-test from (N,) each image's part of its error."""
    method, notes = IntervalMethod.PAIRED_T, (*who.cautions(truth), *notes)
    if who.count < 2 or math.isnan(difference):
        return Comparison(Interval.missing(pulls.size, who.n, method, notes), math.nan)
    summed = who.sums(pulls)
    error = math.sqrt(float(summed @ summed) * who.count / (who.count - 1))
    freedom = who.count - 1
    if error < TINY:
        p_value = 1.0 if abs(difference) < TINY else math.nan
        notes = (*notes, Note(Caution.NO_VARIANCE))
    else:
        p_value = 2 * _special().stdtr(freedom, -abs(difference) / error)
    half = t_quantile(freedom, level) * error
    bounds = (difference - half, difference + half)
    return Comparison(Interval.of(difference, bounds, pulls.size, who, method, notes, level), float(p_value))


def logit_bounds(value: float, error: float, quantile: float) -> tuple[float, float]:
    """Bounds of a value inside (0, 1), symmetric on the logit scale (Pepe 2003), so that they stay inside."""
    half = quantile * error / (value * (1 - value))
    centre = math.log(value / (1 - value))
    return 0.5 * (1 + math.tanh((centre - half) / 2)), 0.5 * (1 + math.tanh((centre + half) / 2))


def perfect_bound(fewest: int, level: float) -> float:
    """A lower bound of an area of exactly 1 that holds for any score: ((1 - level) / 2)^(1 / k).

    k patients of the rarer class make k independent pairs with as many of the other; all are in the right order with a
    probability of at most A^k.
    """
    return float(((1 - level) / 2) ** (1 / max(1, fewest)))


def t_quantile(freedom: float, level: float) -> float:
    """Two-sided quantile of Student's t; of the normal for infinite degrees of freedom."""
    special = _special()
    at = (1 + level) / 2
    return float(special.ndtri(at) if math.isinf(freedom) else special.stdtrit(max(1.0, freedom), at))


def _special() -> ModuleType:
    return require("scipy.special", feature="evaluation", extra="train")
