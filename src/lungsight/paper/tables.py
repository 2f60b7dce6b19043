"""The tables of the reproduction report."""

from __future__ import annotations

from collections.abc import Sequence

from lungsight.paper import reference as paper
from lungsight.paper.content import (
    ComparisonRow,
    DiagnosisResult,
    Reproduction,
    Run,
)
from lungsight.report.content import (
    Measure,
)
from lungsight.report.tables import Cell, Table


def tables_of(results: Reproduction) -> dict[str, Table]:
    """Every table by the name of its CSV file, in order."""
    tables = {"paper-and-ours": _comparison(results.comparison)}
    for count in sorted(results.tables, key=lambda table: table.number):
        tables[f"table-{count.number}"] = Table(
            f"Table {count.number}. {count.title}", ("", "Paper", "Ours"), count.rows, notes=count.note
        )
    if results.segmentation:
        tables["segmentation"] = _segmentation(results)
    if results.diagnosis:
        tables["diagnosis"] = _diagnoses(results.diagnosis)
    runs = runs_of(results)
    if runs:
        tables["training-runs"] = _run_table(runs)
    for run in runs:
        if run.history:
            names = list(dict.fromkeys(name for epoch in run.history for name in epoch))
            rows = [[epoch.get(name) for name in names] for epoch in run.history]
            tables[f"history-{run.name}"] = Table(f"History of {run.name}", names, rows)
    if results.diagnosis:
        tables["confounding"] = Table(
            "AUROC on all images, and within the one source that has both classes",
            (
                "What the network sees",
                "Pooled (95 % interval)",
                "Same source (95 % interval)",
                "Images of that source",
                "Remark",
            ),
            [_sources(result) for result in results.diagnosis],
            digits=3,
            notes="0.5 is chance. A high pooled AUROC beside a low one of the same source is the mark of a shortcut.",
        )
    return tables


def _sources(result: DiagnosisResult) -> tuple[Cell, ...]:
    pooled, same = Measure.of(result.metrics.metrics["auroc"]), result.metrics.sources.same_source
    if same is None:
        return result.run.title, pooled, None, None, "no source has both classes"
    return result.run.title, pooled, Measure.of(same.auroc), same.images, same.auroc.note


def _comparison(rows: Sequence[ComparisonRow]) -> Table:
    lines: list[tuple[Cell, ...]] = []
    part = ""
    for row in rows:
        if row.part != part:
            part = row.part
            lines.append((part,))
        lines.append((row.quantity, row.paper, row.ours, _difference(row), row.deviation))
    header = ("Quantity", "Paper", "Ours (95 % interval)", "Ours − paper", "What differed")
    return Table("Every number of the paper, and ours", header, lines, signed=("Ours − paper",))


def _difference(row: ComparisonRow) -> float | None:
    ours = row.ours.value if isinstance(row.ours, Measure) else row.ours
    if isinstance(ours, str) or isinstance(row.paper, str) or ours is None or row.paper is None:
        return None
    return ours - row.paper


def _segmentation(results: Reproduction) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for result in results.segmentation:
        rows.append(
            (f"{result.run.title} ({result.images:,} images, threshold {result.metrics.threshold:g})",)
        )
        for words, found in (
            ("mean of images", result.metrics.per_image),
            ("all pixels pooled", result.metrics.pooled),
        ):
            rows.append((words, *(Measure.of(found[name]) for name in ("accuracy", "iou", "dice"))))
    return Table(
        "Lung masks against the truth, with 95 % intervals",
        ("Averaging", "Accuracy", "IoU", "Dice"),
        rows,
        notes=f"Paper, averaging not given: accuracy {paper.SEGMENTATION_ACCURACY}, IoU {paper.IOU}, "
        f"Dice {paper.DICE}.",
    )


def _diagnoses(results: Sequence[DiagnosisResult]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for result in results:
        counts, found = result.metrics.confusion, result.metrics.metrics
        covid, others = counts.tp + counts.fn, counts.tn + counts.fp
        rows.append(
            (
                result.run.title,
                result.images,
                Measure.of(found["auroc"]),
                Measure.of(found["accuracy"]),
                result.metrics.majority_accuracy,
                counts.tp / covid if covid else None,
                counts.tn / others if others else None,
            )
        )
    return Table(
        "COVID-19 score on the validation part, with 95 % intervals",
        ("Run", "Images", "AUC", "Accuracy", "'Never COVID-19'", "Sensitivity", "Specificity"),
        rows,
        notes=f"Paper: AUC {paper.AUC}, accuracy {paper.DIAGNOSIS_ACCURACY}, "
        f"'never COVID-19' {paper.MAJORITY_ACCURACY:.4f}.",
    )


def _run_table(runs: Sequence[Run]) -> Table:
    rows = [
        (
            run.title,
            run.train,
            run.validation,
            f"{run.width:g}",
            f"{run.epochs} of {run.epochs_asked}" + (f" ({run.stopped})" if run.stopped else ""),
            duration(run.seconds),
        )
        for run in runs
    ]
    header = ("Run", "Training images", "Validation images", "Width", "Epochs", "Time")
    return Table("Training runs", header, rows)


def runs_of(results: Reproduction) -> list[Run]:
    """All training runs, segmentation first."""
    return [result.run for result in results.segmentation] + [result.run for result in results.diagnosis]


def duration(seconds: float) -> str:
    """Seconds, minutes or hours in words."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
