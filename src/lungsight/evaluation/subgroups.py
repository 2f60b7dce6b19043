"""Metrics by source, sub-source, finding, view, sex and age, each with its count."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from lungsight.dataset.table import Row
from lungsight.evaluation.cohort import patients, truth_of
from lungsight.evaluation.records import Subgroup
from lungsight.metrics import FEW_PATIENTS, Interval, delong, fraction_interval, mean_interval

AGES = ((0, 18), (18, 40), (40, 60), (60, 80), (80, 200))
UNKNOWN = "not given"
SHOWN = 12
"""Groups of one kind that are shown: the largest. The rest are one group, 'others'."""
OTHERS = "others"


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
    "subsource": lambda row: row.subsource if row.subsource and row.subsource != row.source else UNKNOWN,
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
    """Metrics of every group of `KINDS`; a kind of which the table says nothing, or one thing only, is left out.

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
        if len(order) > SHOWN:
            names = np.where(np.isin(names, order[SHOWN:]), OTHERS, names)
            order = [*order[:SHOWN], OTHERS]
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
    at: NDArray[np.intp],
    rows: Sequence[Row],
    dice: NDArray[np.float64] | None,
    probability: NDArray[np.float64] | None,
    threshold: float,
) -> Subgroup:
    chosen = [rows[index] for index in at]
    who, truth = patients(chosen), truth_of(chosen)
    metrics: dict[str, Interval] = {}
    if dice is not None:
        metrics["dice"] = mean_interval(dice[at], patients=who)
    if probability is not None:
        score = probability[at]
        metrics["auroc"] = delong(score, truth, patients=who)
        metrics["accuracy"] = fraction_interval((score >= threshold) == truth, patients=who)
    return Subgroup(kind, name, len(chosen), int(truth.sum()), who.n, metrics, who.count < FEW_PATIENTS)
