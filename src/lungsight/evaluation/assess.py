"""From predictions to everything that a report says of them; and two models on the same patients."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsight.dataset.table import Row
from lungsight.errors import DataError
from lungsight.evaluation.compute import (
    DiagnosisFigures,
    MaskFigures,
    diagnosis_figures,
    mask_figures,
    patients_of,
)
from lungsight.evaluation.predictions import Predictions
from lungsight.evaluation.subgroups import Subgroup, subgroups
from lungsight.metrics import (
    FEW_PATIENTS,
    Comparison,
    Overlap,
    auprc,
    brier,
    compare_bootstrap,
    compare_delong,
    finite_mean,
)

REPLICATES = 1000
"""Of the paired tests."""


@dataclass(frozen=True)
class Assessment:
    """One model on one table.

    Attributes:
        predicted: what it said.
        masks: figures of its masks; None where it gives none.
        diagnosis: figures of its score, over `scored`; None where it gives none.
        scored: rows that have a probability and a known class.
        probability: (len(scored),) theirs.
        subgroups: of masks and score.
        warnings: what a reader must know before the figures.
    """

    predicted: Predictions
    masks: MaskFigures | None
    diagnosis: DiagnosisFigures | None
    scored: tuple[Row, ...]
    probability: NDArray[np.float64]
    subgroups: tuple[Subgroup, ...]
    warnings: tuple[str, ...]
    comparison: Compared | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        rows = self.predicted.rows
        facts: dict[str, Any] = {
            "model": self.predicted.name,
            "part": self.predicted.part,
            "images": len(rows),
            "patients": len({row.patient for row in rows}) if all(row.patient for row in rows) else None,
            "scored": len(self.scored),
            "warnings": list(self.warnings),
            "failures": [{"id": name, "reason": reason} for name, reason in self.predicted.failures],
        }
        # The figures of one task stand at the top, as a run's `metrics.json` has them.
        both = self.masks is not None and self.diagnosis is not None
        if self.masks is not None:
            facts |= {"masks": self.masks.to_dict()} if both else self.masks.to_dict()
        if self.diagnosis is not None:
            facts |= self.diagnosis.to_dict()
        facts["subgroups"] = [group.to_dict() for group in self.subgroups]
        if self.comparison is not None:
            facts["comparison"] = self.comparison.to_dict()
        return facts

    def predictions_csv(self) -> str:
        """`predictions.csv`: a line an image."""
        columns: dict[str, NDArray[np.float64]] = {}
        if self.masks is not None:
            columns |= self.masks.values
        if self.predicted.probability is not None:
            columns["probability"] = self.predicted.probability
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["id", "patient", "source", "finding", "covid", *columns])
        for place, row in enumerate(self.predicted.rows):
            head = [row.id, row.patient, row.source, row.finding, "" if row.covid is None else int(row.covid)]
            figures = [values[place] for values in columns.values()]
            writer.writerow(head + [f"{value:.6f}" if np.isfinite(value) else "" for value in figures])
        return out.getvalue()


@dataclass(frozen=True)
class Compared:
    """Two models on the images that both predicted.

    Attributes:
        first, second: their names; differences are first less second.
        images: that both predicted.
        tests: name of a figure -> the paired test.
    """

    first: str
    second: str
    images: int
    tests: dict[str, Comparison] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        tests = {name: test.to_dict() for name, test in self.tests.items()}
        return {"first": self.first, "second": self.second, "images": self.images, "tests": tests}


def assess(predicted: Predictions, other: Predictions | None = None) -> Assessment:
    """All figures of a model's predictions.

    Args:
        other: a second model, to compare with on the same patients.

    Raises:
        DataError: there is neither a mask nor a score to judge, or the two models share no image.
    """
    masks, diagnosis = None, None
    scored: tuple[Row, ...] = ()
    probability = np.empty(0)
    warnings = list(predicted.notes)
    if predicted.masks is not None and predicted.truth is not None:
        masks = mask_figures(predicted.masks, predicted.truth, predicted.rows, predicted.mask_threshold)
    if predicted.probability is not None:
        usable = scorable(predicted)
        scored, probability = tuple(predicted.rows[i] for i in usable), predicted.probability[usable]
        if usable.size:
            diagnosis = diagnosis_figures(probability, scored, predicted.threshold)
        left = len(predicted.rows) - len(scored)
        if left:
            warnings.append(
                f"{left} of {len(predicted.rows)} images have no score or no known class: not in its figures"
            )
    if masks is None and diagnosis is None:
        raise DataError("there is nothing to judge: no masks with a truth, and no score with a known class")
    warnings += _warnings(predicted.rows, scored if diagnosis else None)
    groups = []
    if masks is not None:
        groups += subgroups(predicted.rows, dice=masks.values["dice"])
    if diagnosis is not None:
        groups += subgroups(scored, probability=probability, threshold=predicted.threshold)
    compared = compare(predicted, other) if other is not None else None
    return Assessment(
        predicted, masks, diagnosis, scored, probability, tuple(groups), tuple(warnings), compared
    )


def scorable(predicted: Predictions) -> NDArray[np.intp]:
    """Places of the images that have a probability and a known class."""
    if predicted.probability is None:
        return np.empty(0, np.intp)
    known = np.array([row.covid is not None for row in predicted.rows], dtype=bool)
    return np.flatnonzero(known & np.isfinite(predicted.probability))


def _warnings(rows: tuple[Row, ...], scored: tuple[Row, ...] | None) -> list[str]:
    found = []
    patients = patients_of(rows)
    unit, count = ("images", len(rows)) if patients is None else ("patients", len(set(patients)))
    if patients is None:
        found.append("patient ids are missing, so the intervals are over images and too narrow")
    if count < FEW_PATIENTS:
        found.append(f"only {count} {unit}: too few to say anything")
    if scored is not None:
        positive = sum(bool(row.covid) for row in scored)
        if positive in (0, len(scored)):
            which = "COVID-19" if positive else "not COVID-19"
            found.append(f"one class only: all images are {which}, so that AUROC and the like do not exist")
        elif not any(
            0
            < sum(bool(row.covid) for row in scored if row.source == name)
            < sum(row.source == name for row in scored)
            for name in {row.source for row in scored}
        ):
            found.append("no source has both classes, so that the score may tell sources, not COVID-19")
    return found


def compare(first: Predictions, second: Predictions) -> Compared:
    """Paired tests over the images that both predicted, first less second.

    AUROC by DeLong, AUPRC and Brier score by bootstrap over patients, mean Dice likewise.

    Raises:
        DataError: the two share no image, or one gives masks and the other a score.
    """
    place = {row.id: index for index, row in enumerate(second.rows)}
    pairs = [(i, place[row.id]) for i, row in enumerate(first.rows) if row.id in place]
    tests: dict[str, Comparison] = {}
    images = len(pairs)
    if first.probability is not None and second.probability is not None:
        both = set(scorable(first).tolist()), set(scorable(second).tolist())
        kept = [(i, j) for i, j in pairs if i in both[0] and j in both[1]]
        if kept:
            images = len(kept)
            one, other = np.array(kept).T
            rows = [first.rows[i] for i in one]
            truth = np.array([bool(row.covid) for row in rows])
            patients = patients_of(rows)
            scores = first.probability[one], second.probability[other]
            tests["auroc"] = compare_delong(*scores, truth, patients=patients)
            for name, statistic in (("auprc", auprc), ("brier", brier)):
                tests[name] = compare_bootstrap(
                    statistic, *scores, truth, patients=patients, labels=truth, replicates=REPLICATES
                )
    if first.masks is not None and second.masks is not None and first.truth is not None and pairs:
        one, other = np.array(pairs).T
        if first.masks.shape[1:] == second.masks.shape[1:] and second.truth is not None:
            dice = [
                Overlap.of(model.masks[index], model.truth[index]).per_image()["dice"]  # type: ignore[index]
                for model, index in ((first, one), (second, other))
            ]
            patients = patients_of([first.rows[i] for i in one])
            tests["dice"] = compare_bootstrap(finite_mean, *dice, patients=patients, replicates=REPLICATES)
    if not tests:
        raise DataError(
            f"{first.name} and {second.name} cannot be compared: no image in common, or not the same kind",
            hint="Both must give masks, or both a score, for the same ids",
        )
    return Compared(first.name, second.name, images, tests)
