"""Predictions and truth in, figures with intervals out. Needs `lungsight[train]`."""

from lungsight.evaluation.compute import (
    DiagnosisFigures,
    MaskFigures,
    diagnosis_figures,
    mask_figures,
    same_source_auroc,
)
from lungsight.evaluation.evaluate import Evaluation, evaluate_run
from lungsight.evaluation.gate import GateFigures, evaluate_gate

__all__ = [
    "DiagnosisFigures",
    "Evaluation",
    "GateFigures",
    "MaskFigures",
    "diagnosis_figures",
    "evaluate_gate",
    "evaluate_run",
    "mask_figures",
    "same_source_auroc",
]
