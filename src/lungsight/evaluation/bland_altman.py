"""How far two ways of measuring agree: mean error and limits of agreement (Bland and Altman, The Lancet 327, 1986)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lungsight.records import Record

REPLICATES = 2000
SPREAD = 1.96
"""Limits of agreement are so many standard deviations from the mean error: 95 % of normal errors."""


class BlandAltman(Record, frozen=True):
    """Agreement of measurements with a reference on the same items; 95 % intervals by bootstrap over items."""

    items: int
    mean_error: float
    """Of measurement less reference."""
    error_low: float
    error_high: float
    lower: float
    """Limits of agreement: mean error less and plus 1.96 standard deviations of the errors."""
    upper: float
    mean_absolute_error: float
    largest: float
    """Largest absolute error."""


def bland_altman(
    measured: NDArray[np.floating], reference: NDArray[np.floating], *, seed: int = 0
) -> BlandAltman:
    """Compare measurements with a reference.

    Args:
        measured: (N,) at least two.
        reference: (N,) of the same items, one a patient.
        seed: of the bootstrap.

    Raises:
        ValueError: fewer than two pairs, or other numbers of them.
    """
    if measured.shape != reference.shape or measured.ndim != 1 or len(measured) < 2:
        raise ValueError("needs two measurements or more, each with its reference")
    errors = np.asarray(measured, np.float64) - reference
    mean, spread = float(errors.mean()), SPREAD * float(errors.std(ddof=1))
    drawn = np.random.default_rng(seed).integers(0, len(errors), (REPLICATES, len(errors)))
    low, high = np.percentile(errors[drawn].mean(axis=1), (2.5, 97.5))
    absolute = np.abs(errors)
    return BlandAltman(
        len(errors),
        mean,
        float(low),
        float(high),
        mean - spread,
        mean + spread,
        float(absolute.mean()),
        float(absolute.max()),
    )
