"""From predictions to the record of everything that a report says of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsight.dataset.table import COVID, Dataset, Row
from lungsight.errors import DataError
from lungsight.evaluation.cohort import count_patients, patients
from lungsight.evaluation.compare import compare, scorable
from lungsight.evaluation.compute import MaskValues, ScoreCurves, mask_metrics, score_metrics
from lungsight.evaluation.predictions import Predictions
from lungsight.evaluation.records import EvaluationRecord, LeftOut, MaskMetrics, ScoreMetrics, Subgroup
from lungsight.evaluation.runs import predict_run
from lungsight.evaluation.subgroups import subgroups
from lungsight.files import write_json, write_text
from lungsight.metrics import Note
from lungsight.records import plain
from lungsight.wording import Caution


@dataclass(frozen=True)
class Evaluation:
    """One model on one table: the record, and the arrays behind it.

    Attributes:
        scored: rows that have a probability and a known class.
        probability: (len(scored),) theirs.
        mask_values: of every image; None where the model gives no masks.
        curves: what is drawn of the score; None where the model gives none.
    """

    predictions: Predictions
    record: EvaluationRecord
    scored: tuple[Row, ...]
    probability: NDArray[np.float64]
    mask_values: MaskValues | None
    curves: ScoreCurves | None

    @property
    def masks(self) -> MaskMetrics | None:
        """Metrics of the masks."""
        return self.record.masks

    @property
    def score(self) -> ScoreMetrics | None:
        """Metrics of the score."""
        return self.record.score

    def write(self, folder: Path, more: Mapping[str, Any] | None = None) -> None:
        """Write `metrics.json` and `predictions.csv`; raises OutputError.

        Args:
            more: entries that `metrics.json` has besides the record.
        """
        write_json(folder / "metrics.json", plain(self.record) | dict(more or {}))
        write_text(folder / "predictions.csv", self.predictions_csv())

    def predictions_csv(self) -> str:
        """`predictions.csv`: a line an image."""
        columns: dict[str, NDArray[np.float64]] = {}
        if self.mask_values is not None:
            columns |= self.mask_values.values
        if self.predictions.probability is not None:
            columns["probability"] = self.predictions.probability
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        asked = "covid" if self.predictions.target.name == COVID else "positive"
        writer.writerow(["id", "patient", "source", "finding", asked, *columns])
        for index, row in enumerate(self.predictions.rows):
            head = [row.id, row.patient, row.source, row.finding, "" if row.covid is None else int(row.covid)]
            values = [column[index] for column in columns.values()]
            writer.writerow(head + [f"{value:.6f}" if np.isfinite(value) else "" for value in values])
        return out.getvalue()


def evaluate(predictions: Predictions, other: Predictions | None = None) -> Evaluation:
    """All metrics of a model's predictions.

    Args:
        other: a second model, to compare with on the same patients.

    Raises:
        DataError: there is neither a mask nor a score to evaluate, or the two models share no image.
    """
    masks, values, score, curves = None, None, None, None
    groups: list[Subgroup] = []
    notes = list(predictions.notes)
    usable = scorable(predictions)
    scored = tuple(predictions.rows[i] for i in usable)
    probability = np.empty(0) if predictions.probability is None else predictions.probability[usable]
    if predictions.masks is not None and predictions.truth is not None:
        masks, values = mask_metrics(
            predictions.masks, predictions.truth, predictions.rows, predictions.mask_threshold
        )
        groups += subgroups(predictions.rows, dice=values.values["dice"])
    if usable.size:
        uncertain = predictions.uncertain[usable] if predictions.uncertain is not None else None
        score, curves = score_metrics(probability, scored, predictions.threshold, uncertain=uncertain)
        groups += subgroups(scored, probability=probability, threshold=predictions.threshold)
    if masks is None and score is None:
        raise DataError(
            "there is nothing to evaluate: no masks with a truth, and no score with a known class"
        )
    if predictions.probability is not None and len(scored) < len(predictions.rows):
        left = len(predictions.rows) - len(scored)
        notes.append(Note(Caution.NOT_SCORED, left, len(predictions.rows)))
    if score is not None and score.uncertain is not None and score.uncertain.images:
        notes.append(Note(Caution.UNCERTAIN, score.uncertain.images, len(scored)))
    notes += _notes(predictions.rows, scored if score else None, predictions.target.name)
    record = EvaluationRecord(
        model=predictions.name,
        part=predictions.part,
        images=len(predictions.rows),
        patients=count_patients(predictions.rows),
        scored=len(scored),
        masks=masks,
        score=score,
        subgroups=tuple(groups),
        comparison=compare(predictions, other) if other is not None else None,
        notes=tuple(notes),
        left_out=tuple(LeftOut(name, reason) for name, reason in predictions.failures),
        recipe=predictions.recipe,
        task=predictions.task,
        target=predictions.target,
    )
    return Evaluation(predictions, record, scored, probability, values, curves)


def _notes(rows: tuple[Row, ...], scored: tuple[Row, ...] | None, target: str) -> list[Note]:
    found = list(patients(rows).cautions())
    if scored is not None:
        positive = sum(bool(row.covid) for row in scored)
        mixed = {row.source for row in scored if row.covid} & {row.source for row in scored if not row.covid}
        if positive in (0, len(scored)):
            found.append(Note(Caution.ALL_POSITIVE if positive else Caution.ALL_NEGATIVE, names=(target,)))
        elif not mixed:
            found.append(Note(Caution.NO_MIXED_SOURCE, names=(target,)))
    return found


def evaluate_run(
    run: str | Path,
    dataset: Dataset,
    *,
    part: str | None = None,
    threshold: float | None = None,
    mask_run: Path | None = None,
    cache: Path | None = None,
    write: bool = True,
) -> Evaluation:
    """Score a run and write `metrics.json` and `predictions.csv` into its folder.

    Args:
        part, threshold, mask_run, cache: as for `predict_run`.
        write: False leaves the folder alone.

    Raises:
        ModelError: no finished run.
        DataError: the part is empty, or the table lacks what the task needs.
    """
    folder = Path(run)
    found = predict_run(folder, dataset, part=part, threshold=threshold, mask_run=mask_run, cache=cache)
    result = evaluate(found)
    if write:
        result.write(folder)
    return result
