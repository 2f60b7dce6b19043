"""The table of subgroups, which an evaluation and an audit both show, and the names of metrics."""

from __future__ import annotations

from lungsight.evaluation.records import Subgroup
from lungsight.report.content import Measure
from lungsight.report.tables import Cell, Table

WORDS = {
    "dice": "Dice", "iou": "IoU", "sensitivity": "sensitivity", "precision": "precision", "accuracy": "accuracy",
    "nsd": "NSD (outline within tolerance)", "hd95": "HD95 (pixels)", "assd": "ASSD (pixels)", "auroc": "AUROC",
    "auprc": "AUPRC", "specificity": "specificity", "brier": "Brier score", "ece": "calibration error (ECE)",
    "sensitivity_at_95_specificity": "sensitivity at 95 % specificity",
    "specificity_at_95_sensitivity": "specificity at 95 % sensitivity", "calibration_slope": "calibration slope",
    "calibration_intercept": "calibration in the large", "negative_predictive_value": "negative predictive value",
    "same_source_auroc": "AUROC within one source",
}  # fmt: skip


def subgroup_table(groups: tuple[Subgroup, ...], target: str) -> Table:
    """Every group, with its images, those with the target, its patients and metrics."""
    names = list(dict.fromkeys(name for group in groups for name in group.metrics))
    rows: list[tuple[Cell, ...]] = []
    kinds: list[tuple[str, tuple[str, ...]]] = []
    for group in groups:
        head = (group.kind, tuple(group.metrics))
        if head not in kinds:
            kinds.append(head)
            rows.append((f"{group.kind.capitalize()}",))
        cells = [Measure.of(group.metrics[name]) if name in group.metrics else None for name in names]
        rows.append((group.name, group.images, group.positive, group.patients, *cells))
    header = ("Group", "Images", target, "Patients", *(WORDS[name] for name in names))
    return Table("Subgroups", header, rows, digits=3, notes="A dash: one class only, or not known.")
