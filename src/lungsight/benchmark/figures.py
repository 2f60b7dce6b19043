"""What a system's scores are worth: pooled, within a source, calibrated, and against another system."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from lungsight.metrics import auroc, calibration_intervals, compare_delong, delong, wilson
from lungsight.records import Record

REPLICATES = 500
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Estimate(Record, frozen=True):
    """A metric with its 95 % interval; NaN where the data cannot give it."""

    value: float
    low: float
    high: float
    images: int = 0
    patients: int = 0

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "n/a"
        if math.isnan(self.low):
            return f"{self.value:.3f} (no interval)"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def pooled_auroc(scores: Floats, truth: Bools, patients: Sequence[str]) -> Estimate:
    """AUROC over all images; DeLong's interval, clustered by patient, or a bootstrap where it cannot be given."""
    found = delong(scores, truth, patients=np.asarray(patients))
    low, high = found.low, found.high
    if math.isnan(low):  # DeLong's needs more patients of a class than there are
        low, high = _interval(
            lambda index: auroc(scores[index], truth[index]), np.arange(len(scores)), np.asarray(patients)
        )
    return Estimate(found.value, low, high, len(scores), len(set(patients)))


def same_source_auroc(
    scores: Floats, truth: Bools, sources: Sequence[str], patients: Sequence[str]
) -> Estimate:
    """AUROC of pairs within one source, of all sources that have both classes.

    With one such source, DeLong's interval; with several the mean over their pairs, and a bootstrap over patients.
    """
    names = np.asarray(sources)
    both = [name for name in dict.fromkeys(sources) if 0 < truth[names == name].mean() < 1]
    inside = np.isin(names, both)
    count, people = int(inside.sum()), len(set(np.asarray(patients)[inside].tolist()))
    if not both:
        return Estimate(math.nan, math.nan, math.nan, 0, 0)
    if len(both) == 1:
        who = np.asarray(patients)[inside]
        return pooled_auroc(scores[inside], truth[inside], list(who))

    def within(index: NDArray[np.int64]) -> float:
        pairs, total = 0.0, 0.0
        for name in both:
            part = index[names[index] == name]
            number = float(truth[part].sum()) * float((~truth[part]).sum())
            if number:
                pairs, total = pairs + number, total + number * auroc(scores[part], truth[part])
        return total / pairs if pairs else math.nan

    rows = np.flatnonzero(inside)
    low, high = _interval(within, rows, np.asarray(patients))
    return Estimate(within(rows), low, high, count, people)


def mean_estimate(values: Floats, patients: Sequence[str]) -> Estimate:
    """A mean over images (accuracy, Brier score), with a bootstrap over patients."""
    rows = np.arange(len(values))
    low, high = _interval(lambda index: float(values[index].mean()), rows, np.asarray(patients))
    return Estimate(float(values.mean()), low, high, len(values), len(set(patients)))


def calibration_slope(scores: Floats, truth: Bools, patients: Sequence[str]) -> Estimate:
    """Slope of the truth's log-odds on the score's, with the profile likelihood's interval; see `metrics`."""
    found, _ = calibration_intervals(scores, truth, patients=np.asarray(patients))
    return Estimate(found.value, found.low, found.high, len(scores), len(set(patients)))


def _interval(
    metric: Callable[[NDArray[np.int64]], float], rows: NDArray[np.int64], patients: NDArray[np.str_]
) -> tuple[float, float]:
    _, codes = np.unique(patients[rows], return_inverse=True)
    order = np.argsort(codes, kind="stable")
    groups = np.split(rows[order], np.cumsum(np.bincount(codes))[:-1])
    rng = np.random.default_rng(0)
    found = []
    for _ in range(REPLICATES):
        drawn = rng.integers(0, len(groups), len(groups))
        found.append(metric(np.concatenate([groups[i] for i in drawn])))
    kept = np.array([value for value in found if not math.isnan(value)])
    if len(groups) < 2 or not len(kept):
        return math.nan, math.nan
    low, high = np.percentile(kept, (2.5, 97.5))
    return float(low), float(high)


def headline_estimate(successes: int, n: int) -> Estimate:
    """A published fraction with Wilson's interval for its test size; NaN where the counts are not known."""
    if not n:
        return Estimate(math.nan, math.nan, math.nan)
    found = wilson(successes, n)
    return Estimate(found.value, found.low, found.high, n)


def paired_p(
    first: Floats,
    second: Floats,
    truth: Bools,
    patients: Sequence[str],
    sources: Sequence[str] | None = None,
) -> float:
    """p-value of equal AUROC on the same images: DeLong's paired test, clustered by patient.

    Args:
        sources: only pairs within one source are compared; None: all pairs.
    """
    groups = None if sources is None else np.asarray(sources)
    return float(compare_delong(first, second, truth, patients=np.asarray(patients), groups=groups).p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979) for many comparisons; NaN stays NaN and is not counted.

    Example:
        >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    order = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    adjusted, highest = list(p_values), 0.0
    for rank, (p, index) in enumerate(order):
        highest = max(highest, min(1.0, p * (len(order) - rank)))
        adjusted[index] = highest
    return adjusted
