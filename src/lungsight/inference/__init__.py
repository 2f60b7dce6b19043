"""Prediction with ONNX Runtime: lung masks, gate and score. Needs no PyTorch."""

from lungsight.inference.classifier import Diagnosis
from lungsight.inference.predictor import Lungsight, load_model
from lungsight.inference.result import Failure, Result
from lungsight.inference.view_gate import Gate

__all__ = ["Diagnosis", "Failure", "Gate", "Lungsight", "Result", "load_model"]
