"""Conformal prediction sets of a score for two classes, with coverage over patients; needs NumPy alone.

Each class has a limit of its own, so that the coverage holds whatever the fraction of the class among a user's images:
'positive' is in the set unless the score is among the lowest of positives, 'negative' unless it is among the highest of
negatives (class-conditional sets: Vovk, ACML 2012). Images of one patient are no independent draws: each patient of the
calibration weighs 1, shared by their images, and so does the new patient, so that a random image of a new patient is
covered (pooled distribution functions: Lee, Barber and Willett, arXiv:2306.06342).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lungsight.errors import DataError
from lungsight.metrics.intervals import Patients

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Limits:
    """Where each class joins the set; an infinite limit: the class is in every set."""

    positive_from: float
    """Scores from here on have 'positive' in their set; -inf: too few positive patients."""
    negative_to: float
    """Scores up to here have 'negative' in their set; inf: too few negative patients."""
    positive_patients: int
    negative_patients: int
    coverage: float

    def sets(self, scores: ArrayLike) -> tuple[Bools, Bools]:
        """(N,) whether 'positive' is in the set, and whether 'negative' is."""
        values = np.asarray(scores, np.float64)
        return values >= self.positive_from, values <= self.negative_to


def conformal_limits(
    scores: ArrayLike, truth: ArrayLike, *, patients: ArrayLike | Patients | None, coverage: float = 0.9
) -> Limits:
    """The limits from scores of images that the model was not trained on.

    Args:
        scores: (N,) any real numbers, higher for positives.
        truth: (N,) labels.
        patients: (N,) ids; None: every image is a patient.
        coverage: of each class, in (0, 1).

    Raises:
        DataError: a coverage outside (0, 1), or scores that are no numbers.

    Example:
        >>> scores, truth = [*range(9), *range(-9, 0)], [True] * 9 + [False] * 9
        >>> found = conformal_limits(scores, truth, patients=None, coverage=0.8)
        >>> found.positive_from, found.negative_to
        (1.0, -2.0)
    """
    values, known = np.asarray(scores, np.float64), np.asarray(truth, bool)
    if not 0 < coverage < 1:
        raise DataError(f"the coverage must lie between 0 and 1, not {coverage}")
    if not np.isfinite(values).all():
        raise DataError("scores must be numbers")
    who = Patients.of(patients, known.size)
    high, positive = _quantile(-values[known], who.codes[known], coverage)
    low, negative = _quantile(values[~known], who.codes[~known], coverage)
    return Limits(-high, low, positive, negative, coverage)


def _quantile(
    strangeness: NDArray[np.float64], codes: NDArray[np.int64], coverage: float
) -> tuple[float, int]:
    """Smallest value up to which a share `coverage` of patients lies, the new one counted at infinity."""
    if not strangeness.size:
        return math.inf, 0
    _, groups, counts = np.unique(codes, return_inverse=True, return_counts=True)
    order = np.argsort(strangeness, kind="stable")
    share = np.cumsum((1 / counts)[groups][order]) / (len(counts) + 1)
    index = int(np.searchsorted(share, coverage - 1e-12))
    return (float(strangeness[order][index]) if index < len(order) else math.inf), len(counts)
