"""Prediction with ONNX Runtime: lung masks, gate and score. Needs no PyTorch."""

from lungsight.inference.diagnosis import Diagnosis
from lungsight.inference.gate import Gate
from lungsight.inference.predictor import Lungsight, load_model
from lungsight.inference.result import Failure, Result

__all__ = ["Diagnosis", "Failure", "Gate", "Lungsight", "Result", "load_model"]
