"""Figures by source, finding, view, sex and age, each with its count and a word where it is too small."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsight.dataset.table import Row
from lungsight.evaluation.compute import patients_of
from lungsight.metrics import FEW_PATIENTS, Interval, accuracy, auroc, bootstrap, finite_mean

REPLICATES = 500
AGES = ((0, 18), (18, 40), (40, 60), (60, 80), (80, 200))
UNKNOWN = "not given"


@dataclass(frozen=True)
class Subgroup:
    """One group of images.

    Attributes:
        kind: 'source', 'finding', 'view', 'sex' or 'age'.
        patients: None where the table does not say.
        figures: 'dice' for masks; 'auroc' (NaN with one class only) and 'accuracy' for a score.
        too_small: fewer than ten patients: the figures say nothing.
    """

    kind: str
    name: str
    images: int
    covid: int
    patients: int | None
    figures: dict[str, Interval]
    too_small: bool

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "kind": self.kind,
            "name": self.name,
            "images": self.images,
            "covid": self.covid,
            "patients": self.patients,
            "too_small": self.too_small,
            "figures": {name: interval.to_dict() for name, interval in self.figures.items()},
        }


def age_band(row: Row) -> str:
    """'under 18', '18 to 39' ... '80 and over', or 'not given'."""
    if row.age is None:
        return UNKNOWN
    for low, high in AGES:
        if low <= row.age < high:
            return (
                f"under {high}" if low == 0 else f"{low} and over" if high == 200 else f"{low} to {high - 1}"
            )
    return UNKNOWN


KINDS: dict[str, Callable[[Row], str]] = {
    "source": lambda row: row.source or UNKNOWN,
    "finding": lambda row: row.finding or UNKNOWN,
    "view": lambda row: row.view or UNKNOWN,
    "sex": lambda row: row.sex or UNKNOWN,
    "age": age_band,
}


def subgroups(
    rows: Sequence[Row],
    *,
    dice: NDArray[np.float64] | None = None,
    probability: NDArray[np.float64] | None = None,
    threshold: float = 0.5,
) -> list[Subgroup]:
    """Figures of every group of `KINDS`; a kind of which the table says nothing, or one thing only, is left out.

    Args:
        rows: the N images.
        dice: (N,) of the masks.
        probability: (N,) in [0, 1], of images whose class is known.
        threshold: on the probability.
    """
    found = []
    for kind, of in KINDS.items():
        names = np.array([of(row) for row in rows])
        groups = [name for name in np.unique(names) if name != UNKNOWN]
        if len(groups) + bool((names == UNKNOWN).any()) < 2:
            continue
        order = (
            sorted(groups) if kind == "age" else sorted(groups, key=lambda name: -int((names == name).sum()))
        )
        if kind == "age":
            order.sort(key=lambda name: not name.startswith("under"))
        for name in [*order, *([UNKNOWN] if (names == UNKNOWN).any() else [])]:
            found.append(
                _subgroup(kind, str(name), np.flatnonzero(names == name), rows, dice, probability, threshold)
            )
    return found


def _subgroup(
    kind: str,
    name: str,
    places: NDArray[np.intp],
    rows: Sequence[Row],
    dice: NDArray[np.float64] | None,
    probability: NDArray[np.float64] | None,
    threshold: float,
) -> Subgroup:
    chosen = [rows[place] for place in places]
    patients = patients_of(chosen)
    truth = np.array([bool(row.covid) for row in chosen])
    figures: dict[str, Interval] = {}
    if dice is not None:
        figures["dice"] = bootstrap(finite_mean, dice[places], patients=patients, replicates=REPLICATES)
    if probability is not None:
        score = probability[places]
        figures["auroc"] = bootstrap(
            auroc, score, truth, patients=patients, labels=truth, replicates=REPLICATES
        )
        figures["accuracy"] = bootstrap(
            lambda values, known: accuracy(values, known, threshold),
            score,
            truth,
            patients=patients,
            labels=truth,
            replicates=REPLICATES,
        )
    count = None if patients is None else len(set(patients))
    small = (len(chosen) if count is None else count) < FEW_PATIENTS
    return Subgroup(kind, name, len(chosen), int(truth.sum()), count, figures, small)
