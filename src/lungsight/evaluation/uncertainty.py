"""What a score's uncertainty is worth: does it find the errors, does a set cover, does it rise on other images.

Works on a table of scores out of fold: of `cross-validate` (a logit a repeat), of `benchmark` (a score, and the passes
of a network with drop-weights), or any with `id`, `patient`, `source`, `covid`, `fold` and one of these. Several values
of an image are an ensemble: their mean is the score, the entropy of the mean the whole uncertainty, and what they do
not agree on (BALD) the part that more networks would remove.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lungsight.errors import DataError
from lungsight.metrics import Interval, delong, fraction_interval, logit, sigmoid
from lungsight.metrics.conformal import conformal_limits
from lungsight.metrics.selective import risk_coverage
from lungsight.records import Record
from lungsight.training.uncertainty import summarise

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
COVERAGE = 0.9
_MEMBER = re.compile(r"(?:logit|pass)_\d+")


class Subgroup(Record, frozen=True):
    """Coverage of the sets among some of the images."""

    name: str
    images: int
    covered: Interval
    """Fraction whose set holds the truth."""
    both: float
    """Fraction whose set holds both answers: 'covid or not'."""
    neither: float
    """Fraction whose set is empty."""


class Signal(Record, frozen=True):
    """One uncertainty."""

    name: str
    error_auroc: Interval
    """How well it tells wrong decisions from right ones; 0.5: it does not know."""
    area: float
    """Under the risk-coverage curve: mean risk over all coverages; compare with `risk`."""
    risk: float
    """Fraction of wrong decisions among all images."""
    coverage: tuple[float, ...]
    """The curve: fraction kept ..."""
    curve: tuple[float, ...]
    """... and the fraction wrong among them."""
    elsewhere_auroc: float | None = None
    """How well it tells images of another hospital from these; 0.5: it does not rise."""


class UncertaintyRecord(Record, frozen=True):
    """Everything that `lungsight uncertainty` finds."""

    images: int
    patients: int
    members: int
    """Values of an image: networks, or passes of one."""
    coverage: float
    """Asked of the sets."""
    threshold: float
    signals: tuple[Signal, ...]
    sets: tuple[Subgroup, ...]
    """All images, by class, by source and by what else is known."""
    elsewhere: str = ""
    elsewhere_images: int = 0


@dataclass(frozen=True)
class Scores:
    """A table of scores.

    Attributes:
        members: (T, N) probabilities.
        fold: (N,) number of the fold; images of one fold were scored by one network.
    """

    ids: tuple[str, ...]
    patients: NDArray[np.str_]
    sources: NDArray[np.str_]
    truth: Bools
    fold: NDArray[np.int64]
    members: Floats


def read_members(path: str | Path) -> Scores:
    """Read such a table.

    Raises:
        DataError: it is missing, or lacks a column.
    """
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError("the table of scores cannot be read", where=path) from error
    names = list(rows[0]) if rows else []
    columns = [name for name in names if _MEMBER.fullmatch(name)]
    single = next((name for name in ("whole", "score", "probability") if name in names), None)
    if not rows or (not columns and single is None) or not {"id", "covid", "patient"} <= set(names):
        raise DataError("has no id, patient, covid and scores", where=path)
    try:
        values = np.array([[float(row[name]) for row in rows] for name in columns or [str(single)]])
        fold = np.array([int(row.get("fold") or 0) for row in rows])
    except ValueError as error:
        raise DataError("has a score that is no number", where=path) from error
    if columns and columns[0].startswith("logit"):
        values = sigmoid(values)
    return Scores(
        tuple(row["id"] for row in rows),
        np.array([row["patient"] or row["id"] for row in rows]),
        np.array([row.get("source") or "" for row in rows]),
        np.array([row["covid"] == "1" for row in rows], bool),
        fold,
        values,
    )


def uncertainties(members: Floats) -> dict[str, Floats]:
    """Each uncertainty (N,) of probabilities (T, N), by name."""
    found = summarise(members)
    signals = {"distance from the threshold": 1 - np.abs(2 * found.probability - 1), "entropy": found.entropy}
    return signals | ({"disagreement (BALD)": found.information} if len(members) > 1 else {})


def conformal_sets(scores: Scores, coverage: float = COVERAGE) -> tuple[Bools, Bools]:
    """(N,) whether the set of an image holds COVID-19, and whether it holds the other answer.

    The limits for a fold come from the images of the other folds, which hold other patients (cross-conformal). Without
    folds, half of the patients, drawn by lot, set the limits for the other half and the other way round.
    """
    value = logit(np.clip(scores.members.mean(axis=0), 1e-9, 1 - 1e-9))
    fold = scores.fold
    if len(np.unique(fold)) < 2:
        names, codes = np.unique(scores.patients, return_inverse=True)
        fold = (np.random.default_rng(0).permutation(len(names)) % 2)[codes]
    positive, negative = (np.zeros(len(value), bool) for _ in range(2))
    for number in np.unique(fold):
        here = fold == number
        limits = conformal_limits(
            value[~here], scores.truth[~here], patients=scores.patients[~here], coverage=coverage
        )
        positive[here], negative[here] = limits.sets(value[here])
    return positive, negative


def evaluate_uncertainty(
    scores: Scores,
    *,
    coverage: float = COVERAGE,
    threshold: float = 0.5,
    groups: Mapping[str, Sequence[str]] | None = None,
    elsewhere: Floats | None = None,
    elsewhere_name: str = "",
) -> UncertaintyRecord:
    """Everything about the uncertainty of a table of scores.

    Args:
        threshold: on the probability; an image at or above it is called COVID-19.
        groups: name -> (N,) values of the images, '' where it is not known: sex, age, view.
        elsewhere: (T, M) probabilities of images of another hospital.

    Raises:
        DataError: one class, or nothing to score.
    """
    if scores.truth.all() or not scores.truth.any():
        raise DataError("one class only: coverage and errors cannot be told apart")
    mean = scores.members.mean(axis=0)
    error = (mean >= threshold) != scores.truth
    others = uncertainties(elsewhere) if elsewhere is not None else {}
    signals = []
    for name, values in uncertainties(scores.members).items():
        curve = risk_coverage(values, error)
        kept = np.unique(np.linspace(0, len(curve.coverage) - 1, min(200, len(curve.coverage))).astype(int))
        rises = None
        if name in others:
            both = np.concatenate([values, others[name]])
            rises = delong(both, np.arange(len(both)) >= len(values)).value
        signals.append(
            Signal(
                name,
                delong(values, error, patients=scores.patients),
                curve.area,
                float(error.mean()),
                tuple(curve.coverage[kept].tolist()),
                tuple(curve.risk[kept].tolist()),
                rises,
            )
        )
    positive, negative = conformal_sets(scores, coverage)
    covered = np.where(scores.truth, positive, negative)
    parts: dict[str, Bools] = {"all": np.ones(len(mean), bool)}
    parts |= {"COVID-19": scores.truth, "without COVID-19": ~scores.truth}
    tables: dict[str, NDArray[np.str_]] = {"source": scores.sources}
    tables |= {name: np.asarray(values, str) for name, values in (groups or {}).items()}
    for name, column in tables.items():
        parts |= {f"{name} {one}": column == one for one in np.unique(column) if one}
    return UncertaintyRecord(
        images=len(mean),
        patients=len(np.unique(scores.patients)),
        members=len(scores.members),
        coverage=coverage,
        threshold=threshold,
        signals=tuple(signals),
        sets=tuple(
            Subgroup(
                name,
                int(here.sum()),
                fraction_interval(covered[here], patients=scores.patients[here]),
                float((positive & negative)[here].mean()),
                float((~positive & ~negative)[here].mean()),
            )
            for name, here in parts.items()
        ),
        elsewhere=elsewhere_name,
        elsewhere_images=0 if elsewhere is None else elsewhere.shape[1],
    )


def age_groups(ages: Sequence[float | None]) -> list[str]:
    """Decades that a table of subgroups can hold: under 18, 18 to 64, from 65 on; '' where it is not known."""
    return [
        ""
        if age is None or math.isnan(age)
        else "under 18"
        if age < 18
        else "18 to 64"
        if age < 65
        else "65 on"
        for age in ages
    ]
