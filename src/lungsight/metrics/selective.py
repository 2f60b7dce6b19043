"""Whether an uncertainty knows of the errors: risk against coverage, and the AUROC of error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lungsight.errors import DataError

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """Errors among the images that are kept when the least certain are left out first."""

    coverage: Floats
    """(K,) fraction kept, rising to 1."""
    risk: Floats
    """(K,) fraction of errors among them."""

    @property
    def area(self) -> float:
        """Mean risk over all coverages (AURC), less is better. Source: Geifman and El-Yaniv, NeurIPS 2017."""
        steps = np.diff(self.coverage, prepend=0.0)
        return float((self.risk * steps).sum())


def risk_coverage(uncertainty: ArrayLike, error: ArrayLike) -> RiskCoverage:
    """The curve; images of equal uncertainty are kept together.

    Args:
        uncertainty: (N,) any real numbers, higher for less certain.
        error: (N,) whether the decision is wrong.

    Raises:
        DataError: no image, or an uncertainty that is no number.

    Example:
        >>> found = risk_coverage([0.1, 0.2, 0.3, 0.3], [False, False, True, False])
        >>> found.coverage.tolist(), found.risk.tolist()
        ([0.25, 0.5, 1.0], [0.0, 0.0, 0.25])
    """
    values, wrong = np.asarray(uncertainty, np.float64), np.asarray(error, bool)
    if not values.size or not np.isfinite(values).all():
        raise DataError("uncertainties must be numbers, one at least")
    order = np.argsort(values, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(values[order]) > 0, True))
    return RiskCoverage((ends + 1) / values.size, np.cumsum(wrong[order])[ends] / (ends + 1))
