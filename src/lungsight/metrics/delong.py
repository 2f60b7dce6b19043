"""Analytic variance of AUROC, for one score and for the difference of two on the same images, pooled or within groups.

DeLong, DeLong & Clarke-Pearson, Biometrics 1988, from placement values found by sorting, O(N log N), the idea of Sun &
Xu, IEEE Signal Processing Letters 2014. With several images a patient, the placements are summed within patients
(Obuchowski, Biometrics 1997); with one image each that is DeLong's own variance.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lungsight.metrics import _checks
from lungsight.metrics.classification import placements
from lungsight.metrics.intervals import LEVEL, Bools, Comparison, Floats, Interval, Note, Patients
from lungsight.metrics.linear import TINY, logit_bounds, perfect_bound, t_quantile
from lungsight.wording import Caution, IntervalMethod

Groups = ArrayLike | None


def delong(
    predicted: ArrayLike,
    truth: ArrayLike,
    *,
    patients: ArrayLike | Patients | None = None,
    groups: Groups = None,
    level: float = LEVEL,
) -> Interval:
    """AUROC with its DeLong interval.

    The interval is symmetric on the logit scale, theta = log(A / (1 - A)), se(theta) = se(A) / (A (1 - A))
    (Pepe 2003), so that it stays inside [0, 1] and keeps its coverage close to 1. An area of exactly 1 (or 0) has a
    bound that holds for any score (`perfect_bound`).

    Args:
        predicted: (N,) scores.
        truth: (N,) labels.
        patients: (N,) ids; without them images are taken as independent, which a note says.
        groups: (N,) names: only pairs (positive, negative) within one group count, each alike; images of groups with
            one class are left out. An empty name, or a number below 0, is no group.
        level: of confidence, in (0, 1).
    """
    scores, known = _checks.scores(predicted, truth)
    who, method = Patients.of(patients, known.size), IntervalMethod.DELONG
    kept, codes = comparable(known, groups)
    if not kept.any():
        note = Note(Caution.ONE_CLASS if groups is None else Caution.NO_PAIRS)
        return Interval.missing(known.size if groups is None else 0, who.n, method, (*who.notes, note))
    scores, known, who, codes = scores[kept], known[kept], who.take(kept), codes[kept]
    notes = who.cautions(known)
    areas, covariance = areas_and_covariance(scores[np.newaxis], known, who, codes)
    area, error = float(areas[0]), math.sqrt(covariance[0, 0])
    fewest = int(min(who.having(known).sum(), who.having(~known).sum()))
    if area >= 1 - TINY:
        bounds, notes = (perfect_bound(fewest, level), 1.0), (*notes, Note(Caution.NO_OVERLAP))
    elif area <= TINY:
        bounds, notes = (0.0, 1 - perfect_bound(fewest, level)), (*notes, Note(Caution.NO_OVERLAP))
    elif math.isnan(error):
        bounds = (math.nan, math.nan)
    else:
        bounds = logit_bounds(area, error, t_quantile(math.inf, level))
    return Interval.of(area, bounds, known.size, who, method, notes, level)


def compare_delong(
    first: ArrayLike,
    second: ArrayLike,
    truth: ArrayLike,
    *,
    patients: ArrayLike | Patients | None = None,
    groups: Groups = None,
    level: float = LEVEL,
) -> Comparison:
    """Difference in AUROC (first less second) on the same images, with DeLong's paired z-test.

    Args:
        groups: as for `delong`: a paired test of the same-source AUROC.
    """
    (one, known), (other, _) = _checks.scores(first, truth), _checks.scores(second, truth)
    who, method = Patients.of(patients, known.size), IntervalMethod.DELONG_PAIRED
    kept, codes = comparable(known, groups)
    if not kept.any():
        note = Note(Caution.ONE_CLASS if groups is None else Caution.NO_PAIRS)
        return Comparison(Interval.missing(known.size, who.n, method, (*who.notes, note)), math.nan)
    known, who = known[kept], who.take(kept)
    notes = who.cautions(known)
    areas, covariance = areas_and_covariance(np.stack((one[kept], other[kept])), known, who, codes[kept])
    difference = float(areas[0] - areas[1])
    error = math.sqrt(max(0.0, float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])))
    if math.isnan(covariance[0, 0]):
        error = p_value = math.nan
    elif error < TINY:
        notes = (*notes, Note(Caution.NO_VARIANCE))
        p_value = 1.0 if abs(difference) < TINY else math.nan
    else:
        p_value = math.erfc(abs(difference) / error / math.sqrt(2))
    half = t_quantile(math.inf, level) * error
    bounds = (difference - half, difference + half)
    return Comparison(Interval.of(difference, bounds, known.size, who, method, notes, level), p_value)


def comparable(truth: Bools, groups: Groups) -> tuple[Bools, NDArray[np.int64]]:
    """(N,) images that stand in a pair of both classes, and (N,) the number of their group."""
    if groups is None:
        return np.full(truth.size, bool(truth.any() and not truth.all())), np.zeros(truth.size, np.int64)
    names = np.asarray(groups)
    if names.dtype.kind not in "iu":
        names = names.astype(str)
    codes = np.asarray(np.unique(names, return_inverse=True)[1], np.int64)
    both = (np.bincount(codes, weights=truth) > 0) & (np.bincount(codes, weights=~truth) > 0)
    return both[codes] & (names >= 0 if names.dtype.kind in "iu" else names != ""), codes


def pair_count(truth: ArrayLike, groups: Groups = None) -> int:
    """How many pairs (positive, negative) stand within one group."""
    known = _checks.labels(truth)
    kept, codes = comparable(known, groups)
    positive, negative = (np.bincount(codes[kept & which], minlength=1) for which in (known, ~known))
    size = max(positive.size, negative.size)
    return int(np.pad(positive, (0, size - positive.size)) @ np.pad(negative, (0, size - negative.size)))


def areas_and_covariance(
    scores: Floats, truth: Bools, patients: Patients, groups: NDArray[np.int64] | None = None
) -> tuple[Floats, Floats]:
    """AUROC (K,) of K scores (K, N) on the same images, and their covariance (K, K) or NaN.

    Args:
        groups: (N,) numbers: each with both classes; only pairs within one count.
    """
    codes = np.zeros(truth.size, np.int64) if groups is None else groups
    members = _members(codes)
    pairs = sum(int(truth[at].sum()) * int((~truth[at]).sum()) for at in members)
    models = len(scores)
    areas, pulls = np.zeros(models), np.zeros((models, truth.size))
    weight = np.zeros(truth.size)
    for at in members:
        positive, negative = at[truth[at]], at[~truth[at]]
        weight[positive], weight[negative] = negative.size / pairs, positive.size / pairs
        for model, score in enumerate(scores):
            pulls[model, positive] = placements(score[positive], score[negative])
            pulls[model, negative] = 1 - placements(score[negative], score[positive])
            # Wins are halves: rounded to them, an area of 0.5 is 0.5 and no neighbour of it.
            areas[model] += np.round(2 * pulls[model, positive].sum() * negative.size) / 2
    areas /= pairs
    for model in range(models):
        # How far each image pulls the area from its mean: as a positive, and as a negative.
        pulls[model] = weight * (pulls[model] - areas[model])
    with_positives, with_negatives = (int(patients.having(which).sum()) for which in (truth, ~truth))
    if min(with_positives, with_negatives) < 2:
        return areas, np.full((models, models), np.nan)
    as_positive, as_negative = (
        np.stack([patients.sums(np.where(which, pull, 0.0)) for pull in pulls]) for which in (truth, ~truth)
    )
    cross = as_positive @ as_negative.T
    covariance = (
        as_positive @ as_positive.T * with_positives / (with_positives - 1)
        + as_negative @ as_negative.T * with_negatives / (with_negatives - 1)
        + (cross + cross.T) * patients.count / (patients.count - 1)
    )
    return areas, covariance


def _members(codes: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
