"""One rate at a given other one, e.g. sensitivity at 95 % specificity, with the threshold's own uncertainty.

The threshold comes from the same images, so that an interval that takes it as given is too narrow. Here it is a
nuisance of an empirical likelihood (Claeskens, Jing, Peng & Zhou, Can. J. Statist. 2003): s is inside the interval
where some threshold t makes both 'the specificity at t is 95 %' and 'the sensitivity at t is s' likely enough,
2 n0 KL(spec(t), 0.95) + n1 (sens(t) - s)^2 / (s (1 - s)) <= chi2(1). The second part is Wilson's score statistic in
place of the likelihood ratio: with ten cases it is less conservative. All thresholds between two neighbouring negatives
have one specificity; the middle of their sensitivities counts, since the best and the worst of them would add half a
step of the ROC curve to either end. With fewer than 38 negatives no threshold can be shown to be 95 % specific: the
lower bound is 0, a note says so, and all of the error of 5 % stands on the other side.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from lungsight.metrics import _checks
from lungsight.metrics.classification import sensitivity_at_specificity, specificity_at_sensitivity
from lungsight.metrics.intervals import LEVEL, Bools, Floats, Interval, Note, Patients
from lungsight.metrics.linear import design_effect, t_quantile
from lungsight.wording import Caution, IntervalMethod


def sensitivity_at_specificity_interval(
    predicted: ArrayLike,
    truth: ArrayLike,
    specificity: float,
    *,
    patients: ArrayLike | Patients | None,
    level: float = LEVEL,
) -> Interval:
    """The highest sensitivity with at least this specificity, with its interval."""
    scores, known = _checks.scores(predicted, truth)
    value = sensitivity_at_specificity(scores, known, specificity)
    return _interval(value, scores, known, specificity, patients, level)


def specificity_at_sensitivity_interval(
    predicted: ArrayLike,
    truth: ArrayLike,
    sensitivity: float,
    *,
    patients: ArrayLike | Patients | None,
    level: float = LEVEL,
) -> Interval:
    """The highest specificity with at least this sensitivity, with its interval."""
    scores, known = _checks.scores(predicted, truth)
    value = specificity_at_sensitivity(scores, known, sensitivity)
    # The classes change places: a negative with a low score is what a positive with a high one was.
    return _interval(value, -scores, ~known, sensitivity, patients, level)


def roc_band(
    predicted: ArrayLike,
    truth: ArrayLike,
    false_positive_rate: ArrayLike,
    *,
    patients: ArrayLike | Patients | None,
    level: float = LEVEL,
) -> tuple[Floats, Floats]:
    """Pointwise bounds (K,) of the ROC curve at given false positive rates (K,); NaN with one class only."""
    scores, known = _checks.scores(predicted, truth)
    at = np.asarray(false_positive_rate, np.float64)
    if known.all() or not known.any():
        return np.full(at.size, np.nan), np.full(at.size, np.nan)
    who = Patients.of(patients, known.size)
    tables = _rates(scores, known)
    counts, steps = _effective(tables, 0.5, scores, known, who, level), _steps(*tables[1:])
    bounds = np.array([_bounds(*steps, 1 - rate, *counts, level) for rate in at]).reshape(-1, 2)
    return bounds[:, 0], bounds[:, 1]


def _interval(
    value: float,
    scores: Floats,
    known: Bools,
    given: float,
    patients: ArrayLike | Patients | None,
    level: float,
) -> Interval:
    who, method = Patients.of(patients, known.size), IntervalMethod.EMPIRICAL_LIKELIHOOD
    notes = who.cautions(known)
    if known.all() or not known.any():
        return Interval.missing(known.size, who.n, method, notes)
    tables = _rates(scores, known)
    counts = _effective(tables, given, scores, known, who, level)
    low, high = _bounds(*_steps(*tables[1:]), given, *counts, level)
    if low <= 0 < value:
        notes = (*notes, Note(Caution.NO_LOWER_BOUND, int(who.having(~known).sum())))
    return Interval.of(value, (min(low, value), max(high, value)), known.size, who, method, notes, level)


def _rates(scores: Floats, known: Bools) -> tuple[Floats, Floats, Floats]:
    """Thresholds, falling from above all scores; the fraction of negatives below, of positives at or above each."""
    thresholds = np.concatenate(([np.inf], np.unique(scores)[::-1]))
    negatives, positives = np.sort(scores[~known]), np.sort(scores[known])
    below = negatives.searchsorted(thresholds, "left") / negatives.size
    above = 1 - positives.searchsorted(thresholds, "left") / positives.size
    return thresholds, below, above


def _effective(
    tables: tuple[Floats, Floats, Floats],
    given: float,
    scores: Floats,
    known: Bools,
    who: Patients,
    level: float,
) -> tuple[float, float]:
    """Effective numbers of negatives and positives: divided by the design effects at the operating point."""
    thresholds, below, _ = tables
    cut = thresholds[np.flatnonzero(below >= given - 1e-12)[-1]]
    called = scores >= cut
    return tuple(  # type: ignore[return-value]
        float(which.sum()) / design_effect(called[which], who.take(which), level=level)
        for which in (~known, known)
    )


def _steps(below: Floats, above: Floats) -> tuple[Floats, Floats]:
    """Each fraction of negatives below a threshold, falling, and the middle of the fractions of positives with it.

    Args:
        below, above: of falling thresholds, so that those of one step stand together.
    """
    first = np.concatenate(([0], np.flatnonzero(np.diff(below)) + 1))
    last = np.concatenate((first[1:], [below.size])) - 1
    return below[first], (above[first] + above[last]) / 2


def _bounds(
    below: Floats,
    above: Floats,
    given: float,
    negatives: float,
    positives: float,
    level: float,
) -> tuple[float, float]:
    limit = t_quantile(math.inf, level) ** 2
    # Even where no negative lies above it, no threshold is shown to be as specific: there is no lower bound, whatever
    # the scores are, and the upper one may miss as often as both together.
    one_sided = given > 0 and -2 * negatives * math.log(given) <= limit
    if one_sided:
        limit = t_quantile(math.inf, 2 * level - 1) ** 2
    spent = 2 * negatives * _divergence(below, np.full(below.size, given))
    fits = spent <= limit
    if not fits.any():
        # The given rate lies between two thresholds that do not fit: those on either side.
        at = int(np.searchsorted(-below, -given))
        fits[max(0, at - 1) : at + 1] = True
        spent = np.minimum(spent, limit)
    rates, left = above[fits], limit - spent[fits]
    # Wilson's bounds with what is left of the limit in place of z^2.
    centre = (rates + left / (2 * positives)) / (1 + left / positives)
    half = np.sqrt(left * (rates * (1 - rates) / positives + left / (4 * positives**2))) / (
        1 + left / positives
    )
    low = 0.0 if one_sided else max(0.0, float((centre - half).min()))
    return low, min(1.0, float((centre + half).max()))


def _divergence(observed: Floats, wanted: Floats) -> Floats:
    """Kullback-Leibler divergence of two fractions, elementwise; infinite where what was seen is impossible."""
    total = np.zeros(observed.size)
    for part, whole in ((observed, wanted), (1 - observed, 1 - wanted)):
        seen = part > 0
        impossible = seen & (whole <= 0)
        fine = seen & ~impossible
        total[fine] += part[fine] * np.log(part[fine] / whole[fine])
        total[impossible] = np.inf
    return np.maximum(total, 0.0)
