"""Predictions and truth in, figures with intervals out. Needs `lungsight[train]`."""

from lungsight.evaluation.figures import (
    DiagnosisFigures,
    MaskFigures,
    diagnosis_figures,
    mask_figures,
    same_source_auroc,
)
from lungsight.evaluation.gate import GateFigures, evaluate_gate
from lungsight.evaluation.run import Evaluation, evaluate_run

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
