"""Analytic variance of AUROC, for one score and for the difference of two on the same images.

DeLong, DeLong & Clarke-Pearson, Biometrics 1988, from placement values found by sorting, O(N log N), the idea
of Sun & Xu, IEEE Signal Processing Letters 2014. With several images a patient, the placements are summed
within patients (Obuchowski, Biometrics 1997); with one image each that is DeLong's own variance.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lungsight.metrics import _checks
from lungsight.metrics.classification import placements
from lungsight.metrics.intervals import Comparison, Interval, Patients


def delong(
    predicted: ArrayLike, truth: ArrayLike, *, patients: ArrayLike | None = None, level: float = 0.95
) -> Interval:
    """AUROC with its DeLong interval.

    The interval is symmetric on the logit scale, theta = log(A / (1 - A)), se(theta) = se(A) / (A (1 - A))
    (Pepe 2003), so that it stays inside [0, 1] and keeps its coverage close to 1.

    Args:
        predicted: (N,) scores.
        truth: (N,) labels.
        patients: (N,) ids; without them images are taken as independent, which the note says.
        level: of confidence, in (0, 1).
    """
    scores, known = _checks.scores(predicted, truth)
    who = Patients.of(patients, known.size)
    method, notes = _method(who, f"{100 * level:g}%, logit scale"), who.warnings(known)
    if known.all() or not known.any():
        return Interval.missing(known.size, who.n, method, "; ".join(notes))
    areas, covariance = areas_and_covariance(scores[np.newaxis], known, who)
    area, error = float(areas[0]), math.sqrt(covariance[0, 0])
    if area in (0.0, 1.0):
        low = high = area
        notes.append("the classes do not overlap: the interval is too narrow")
    elif math.isnan(error):
        low = high = math.nan
        notes.append("a class with a single patient has no variance")
    else:
        half = NormalDist().inv_cdf((1 + level) / 2) * error / (area * (1 - area))
        low, high = (_sigmoid(math.log(area / (1 - area)) + sign * half) for sign in (-1, 1))
    return Interval(area, low, high, known.size, who.n, method, "; ".join(notes))


def compare_delong(
    first: ArrayLike,
    second: ArrayLike,
    truth: ArrayLike,
    *,
    patients: ArrayLike | None = None,
    level: float = 0.95,
) -> Comparison:
    """Difference in AUROC (first less second) on the same images, with DeLong's paired z-test."""
    (one, known), (other, _) = _checks.scores(first, truth), _checks.scores(second, truth)
    who = Patients.of(patients, known.size)
    method, notes = _method(who, f"paired, {100 * level:g}%"), who.warnings(known)
    if known.all() or not known.any():
        return Comparison(Interval.missing(known.size, who.n, method, "; ".join(notes)), math.nan)
    areas, covariance = areas_and_covariance(np.stack((one, other)), known, who)
    difference = float(areas[0] - areas[1])
    error = math.sqrt(max(0.0, float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])))
    if math.isnan(covariance[0, 0]):
        notes.append("a class with a single patient has no variance")
        error = p_value = math.nan
    elif error < 1e-12:
        notes.append("the difference has no variance")
        p_value = 1.0 if abs(difference) < 1e-12 else math.nan
    else:
        p_value = math.erfc(abs(difference) / error / math.sqrt(2))
    half = NormalDist().inv_cdf((1 + level) / 2) * error
    interval = Interval(
        difference, difference - half, difference + half, known.size, who.n, method, "; ".join(notes)
    )
    return Comparison(interval, p_value)


def areas_and_covariance(
    scores: NDArray[np.float64], truth: NDArray[np.bool_], patients: Patients
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """AUROC (K,) of K scores (K, N) on the same images, and their covariance (K, K) or NaN."""
    models, positives, negatives = len(scores), int(truth.sum()), int((~truth).sum())
    areas = np.empty(models)
    # How far each patient's images pull the area from its mean: as positives, and as negatives.
    as_positive, as_negative = (np.empty((models, patients.count)) for _ in range(2))
    for model, score in enumerate(scores):
        of_positives = placements(score[truth], score[~truth])
        of_negatives = 1 - placements(score[~truth], score[truth])
        areas[model] = of_positives.mean()
        for target, chosen, values in (
            (as_positive, truth, (of_positives - areas[model]) / positives),
            (as_negative, ~truth, (of_negatives - areas[model]) / negatives),
        ):
            target[model] = np.bincount(patients.codes[chosen], weights=values, minlength=patients.count)
    with_positives, with_negatives = (int(patients.having(which).sum()) for which in (truth, ~truth))
    if min(with_positives, with_negatives) < 2:
        return areas, np.full((models, models), np.nan)
    cross = as_positive @ as_negative.T
    covariance = (
        as_positive @ as_positive.T * with_positives / (with_positives - 1)
        + as_negative @ as_negative.T * with_negatives / (with_negatives - 1)
        + (cross + cross.T) * patients.count / (patients.count - 1)
    )
    return areas, covariance


def _method(who: Patients, rest: str) -> str:
    return f"DeLong{', clustered by patient' if who.known else ''}, {rest}"


def _sigmoid(value: float) -> float:
    return 0.5 * (1 + math.tanh(value / 2))
