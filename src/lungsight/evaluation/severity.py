"""How well severity scores agree with a reader's, with intervals over patients."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lungsight.records import Record

REPLICATES = 2000


class Agreement(Record, frozen=True):
    """Total scores (0 to 18) against a reader's, on the same films; 95 % intervals by bootstrap over patients."""

    name: str
    films: int
    patients: int
    mean_absolute_error: float
    error_low: float
    error_high: float
    correlation: float
    """Pearson's; NaN for a constant."""
    correlation_low: float
    correlation_high: float
    bias: float
    """Mean of score less reader."""


def agreement(
    name: str,
    score: NDArray[np.floating],
    reader: NDArray[np.floating],
    patients: NDArray[np.str_],
    *,
    seed: int = 0,
) -> Agreement:
    """Compare totals.

    Args:
        name: of what is compared with the reader.
        score: (N,) totals.
        reader: (N,) the reader's totals.
        patients: (N,), drawn whole by the bootstrap.
    """
    names, who = np.unique(patients, return_inverse=True)
    films = [np.flatnonzero(who == number) for number in range(len(names))]
    rng = np.random.default_rng(seed)
    errors, correlations = [], []
    for _ in range(REPLICATES):
        drawn = np.concatenate([films[number] for number in rng.integers(0, len(names), len(names))])
        errors.append(float(np.abs(score[drawn] - reader[drawn]).mean()))
        correlations.append(_correlation(score[drawn], reader[drawn]))
    low, high = np.percentile(errors, (2.5, 97.5))
    below, above = (
        (float("nan"), float("nan"))
        if np.isnan(correlations).any()
        else np.percentile(correlations, (2.5, 97.5))
    )
    return Agreement(
        name,
        len(score),
        len(names),
        float(np.abs(score - reader).mean()),
        float(low),
        float(high),
        _correlation(score, reader),
        float(below),
        float(above),
        float((score - reader).mean()),
    )


def _correlation(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])
