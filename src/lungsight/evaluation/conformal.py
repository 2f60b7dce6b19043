"""The conformal limits of a cross-validated network, from its out-of-fold scores."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np

from lungsight.card import Conformal
from lungsight.errors import ModelError
from lungsight.metrics.conformal import Limits, conformal_limits

COVERAGE = 0.9


def conformal_of(folder: Path, coverage: float = COVERAGE) -> Conformal:
    """The limits from `predictions.csv` of a cross-validated folder, where every image was scored by networks that saw
    no image of its patient.

    What `ship.export` writes is a mean of one network of each repeat, which is what these scores are of. A mean of more
    networks, as the ten folds that ship, varies less: its sets are if anything too large.

    Raises:
        ModelError: the table is missing or damaged.
    """
    path = folder / "predictions.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        logits = np.array([float(row["logit"]) for row in rows])
        truth = np.array([row["covid"] == "1" for row in rows], bool)
        patients = np.array([row["patient"] for row in rows])
    except (OSError, ValueError, KeyError) as error:
        raise ModelError("the out-of-fold scores are missing or damaged", where=path) from error
    return as_record(conformal_limits(logits, truth, patients=patients, coverage=coverage))


def as_record(limits: Limits) -> Conformal:
    """The limits as a card carries them."""
    return Conformal(
        covid_from=limits.positive_from if math.isfinite(limits.positive_from) else None,
        not_covid_to=limits.negative_to if math.isfinite(limits.negative_to) else None,
        coverage=limits.coverage,
        covid_patients=limits.positive_patients,
        not_covid_patients=limits.negative_patients,
    )
