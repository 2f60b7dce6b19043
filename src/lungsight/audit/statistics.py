"""AUROC with its interval and its one-sided p-value, over all pairs or within strata; Holm's procedure.

All intervals are DeLong's on the logit scale, clustered by patient (DeLong 1988, Obuchowski 1997, Pepe 2003).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lungsight.dataset.split import clusters
from lungsight.dataset.table import Row
from lungsight.metrics import FEW_PATIENTS, Interval, Note
from lungsight.metrics.classification import placements
from lungsight.metrics.intervals import Patients
from lungsight.records import Record
from lungsight.wording import Caution, IntervalMethod

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
LEVEL = 0.95


class Estimate(Record, frozen=True):
    """An AUROC with its interval, its one-sided p-value against chance, and what it rests on.

    Attributes:
        auroc: with its 95 % interval; NaN where there is no pair.
        p: one-sided, of an AUROC of at most 0.5; NaN where it cannot be computed.
        pairs: of a positive and a negative that were compared.
        positive, negative: patients that take part, by class.
    """

    auroc: Interval
    p: float
    pairs: int
    positive: int
    negative: int

    @property
    def enough(self) -> bool:
        """Whether ten patients of either class take part."""
        return min(self.positive, self.negative) >= FEW_PATIENTS and not math.isnan(self.p)

    def __str__(self) -> str:
        return str(self.auroc)


def estimate(
    score: ArrayLike,
    truth: ArrayLike,
    patients: Sequence[str] | NDArray[np.str_] | None,
    strata: ArrayLike | None = None,
    *,
    folds: int = 0,
) -> Estimate:
    """AUROC over the pairs (positive, negative) of one stratum, each pair counted once.

    Scores out of fold come from models that share training images, so that their AUROC varies more than DeLong's
    variance says: 1.4 times as much in the standard error where nothing is to be found, among 200 images. With K
    folds the variance takes the factor of Nadeau & Bengio (Machine Learning 2003), 1 + K / (K - 1).

    Args:
        score: (N,) any real numbers.
        truth: (N,) bool.
        patients: (N,) ids; None: images are taken as independent.
        strata: (N,) labels; None: all pairs are compared.
        folds: K, of scores that models gave which were trained on the other folds; 0: the model is given.
    """
    values, known = np.asarray(score, np.float64), np.asarray(truth, bool)
    who = Patients.of(patients, known.size)
    groups = np.zeros(known.size, np.int64) if strata is None else _codes(strata)
    pull, used_positive, used_negative = (np.zeros(known.size) for _ in range(3))
    pairs, total, blocks = 0, 0.0, []
    for group in np.unique(groups):
        here = groups == group
        positive, negative = np.flatnonzero(here & known), np.flatnonzero(here & ~known)
        if not positive.size or not negative.size:
            continue
        of_positive = placements(values[positive], values[negative])
        of_negative = 1 - placements(values[negative], values[positive])
        blocks.append((positive, negative, of_positive, of_negative))
        pairs += positive.size * negative.size
        total += float(of_positive.sum()) * negative.size
    if not pairs:
        nothing = (Note(Caution.NO_PAIRS),)
        missing = Interval.missing(int(known.size), who.n, IntervalMethod.DELONG, nothing)
        return Estimate(missing, math.nan, 0, 0, 0)
    area = total / pairs
    for positive, negative, of_positive, of_negative in blocks:
        pull[positive] = (of_positive - area) * negative.size / pairs
        pull[negative] = (of_negative - area) * positive.size / pairs
        used_positive[positive] = used_negative[negative] = 1
    counts = [int(who.having(used.astype(bool)).sum()) for used in (used_positive, used_negative)]
    used = (used_positive + used_negative).astype(bool)
    widened = math.sqrt(1 + folds / (folds - 1)) if folds > 1 else 1.0
    error = widened * _error(pull, known, who, counts)
    low, high, p = _bounds(area, error, counts)
    method = IntervalMethod.DELONG_FOLDS if folds > 1 else IntervalMethod.DELONG
    notes = who.notes
    if min(counts) < FEW_PATIENTS:
        few = Caution.FEW_IN_CLASS if who.known else Caution.FEW_IMAGES_IN_CLASS
        notes = (Note(few, min(counts)), *notes)
    interval = Interval(
        area,
        low,
        high,
        int(used.sum()),
        int(who.having(used).sum()) if who.known else None,
        method,
        notes,
    )
    return Estimate(interval, p, pairs, *counts)


def _codes(strata: ArrayLike) -> NDArray[np.int64]:
    return np.asarray(np.unique(np.asarray(strata).astype(str), return_inverse=True)[1], np.int64)


def _error(pull: Floats, known: Bools, who: Patients, counts: Sequence[int]) -> float:
    """Standard error of the area: influences are summed within patients, each class with its own correction."""
    if min(counts) < 2:
        return math.nan
    positive, negative = (
        np.bincount(who.codes, weights=np.where(which, pull, 0), minlength=who.count)
        for which in (known, ~known)
    )
    variance = (
        float(positive @ positive) * counts[0] / (counts[0] - 1)
        + float(negative @ negative) * counts[1] / (counts[1] - 1)
        + 2 * float(positive @ negative)
    )
    return math.sqrt(max(variance, 0.0))


def _bounds(area: float, error: float, counts: Sequence[int]) -> tuple[float, float, float]:
    """Interval and one-sided p-value of an area; at 0 and 1 from the variance that chance alone would give."""
    if math.isnan(error):
        return math.nan, math.nan, math.nan
    normal = NormalDist()
    reach = normal.inv_cdf((1 + LEVEL) / 2)
    chance = math.sqrt((sum(counts) + 1) / (12 * counts[0] * counts[1]))
    if area <= 0 or area >= 1:
        # Rule of three for the side that has room (Hanley & Lippman-Hand 1983), over the rarer class.
        room = 3 / min(counts)
        low, high = (max(0.0, 1 - room), 1.0) if area >= 1 else (0.0, min(1.0, room))
        return low, high, 1 - normal.cdf((area - 0.5) / chance)
    if error < 1e-12:
        return area, area, 0.5 if abs(area - 0.5) < 1e-12 else 1 - normal.cdf((area - 0.5) / chance)
    spread = error / (area * (1 - area))
    centre = math.log(area / (1 - area))
    low, high = (1 / (1 + math.exp(-(centre + sign * reach * spread))) for sign in (-1, 1))
    return low, high, 1 - normal.cdf(centre / spread)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's adjusted p-values (Scand. J. Statistics 1979): reject below alpha, and the family's error is alpha.

    Args:
        p_values: of the tests that could be made, in [0, 1].
    """
    adjusted: dict[str, float] = {}
    worst = 0.0
    for rank, (key, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p))
        adjusted[key] = worst
    return adjusted


def truth_of(rows: Sequence[Row]) -> Bools:
    """(N,) True for the target."""
    return np.array([bool(row.positive) for row in rows], bool)


def patients_of(rows: Sequence[Row]) -> NDArray[np.str_]:
    """(N,) who belongs together: one patient, and one film under several names."""
    return clusters(rows).astype(str)


def rank_correlation(first: Floats, second: Floats) -> float:
    """Spearman's correlation of two (N,), in [-1, 1]; 0 where one of them does not vary, or of fewer than two."""
    from scipy.stats import rankdata

    one, two = rankdata(first), rankdata(second)
    if one.size < 2 or one.std() == 0 or two.std() == 0:
        return 0.0
    return float(np.corrcoef(one, two)[0, 1])


def estimate_weighted(
    score: Floats, truth: Bools, patients: Sequence[str] | NDArray[np.str_] | None, weight: Floats
) -> Estimate:
    """AUROC in which each pair has a weight of its own.

    Args:
        score: (N,) any real numbers.
        truth: (N,) bool, P of them True.
        patients: (N,) ids.
        weight: (P, N - P) of each pair (positive, negative), 0 or more.
    """
    who, known = Patients.of(patients, truth.size), truth
    total = float(weight.sum())
    if total <= 0:
        nothing = (Note(Caution.NO_PAIRS),)
        missing = Interval.missing(int(known.size), who.n, IntervalMethod.DELONG, nothing)
        return Estimate(missing, math.nan, 0, 0, 0)
    above = score[known][:, None] - score[~known][None]
    wins = weight * ((above > 0) + 0.5 * (above == 0))
    area = float(wins.sum()) / total
    pull, used = np.zeros(known.size), np.zeros(known.size, bool)
    for which, axis in ((known, 1), (~known, 0)):
        pull[which] = (wins.sum(axis=axis) - area * weight.sum(axis=axis)) / total
        used[which] = weight.any(axis=axis)
    counts = [int(who.having(used & which).sum()) for which in (known, ~known)]
    low, high, p = _bounds(area, _error(pull, known, who, counts), counts)
    interval = Interval(area, low, high, int(used.sum()), int(who.having(used).sum()), IntervalMethod.DELONG)
    return Estimate(interval, p, int((weight > 0).sum()), counts[0], counts[1])
