"""Predictions and truth in, one record of metrics with intervals out. Needs `lungsight[train]`."""

from lungsight.evaluation.compute import mask_metrics, score_metrics
from lungsight.evaluation.evaluate import Evaluation, evaluate, evaluate_run
from lungsight.evaluation.gate import GateMetrics, evaluate_gate
from lungsight.evaluation.mask_files import read_masks
from lungsight.evaluation.models import predict_any, predict_shipped
from lungsight.evaluation.predictions import Predictions, read_scores
from lungsight.evaluation.records import EvaluationRecord, MaskMetrics, ScoreMetrics
from lungsight.evaluation.runs import predict_run
from lungsight.evaluation.sources import same_source_auroc

__all__ = [
    "Evaluation",
    "EvaluationRecord",
    "GateMetrics",
    "MaskMetrics",
    "Predictions",
    "ScoreMetrics",
    "evaluate",
    "evaluate_gate",
    "evaluate_run",
    "mask_metrics",
    "predict_any",
    "predict_run",
    "predict_shipped",
    "read_masks",
    "read_scores",
    "same_source_auroc",
    "score_metrics",
]
