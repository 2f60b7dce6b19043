"""Prediction with ONNX Runtime: lung masks, gate and score. Needs no PyTorch."""

from lungsight.inference.classifier import Diagnosis
from lungsight.inference.load import load_model
from lungsight.inference.predictor import Lungsight
from lungsight.inference.result import TABLE_VERSION, Failure, NetworkId, Result, ResultRecord
from lungsight.inference.view_gate import Gate

__all__ = [
    "TABLE_VERSION",
    "Diagnosis",
    "Failure",
    "Gate",
    "Lungsight",
    "NetworkId",
    "Result",
    "ResultRecord",
    "load_model",
]
