"""Tiny ONNX networks with known answers, so that prediction is tested end to end without the shipped weights.

The lung network calls dark pixels lung: sigmoid(40 * (0.5 - local mean)). The diagnosis network's logit is
8 * (mean - 0.5). The gate says 'frontal' where the image's right half and left half are alike enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from lungsight.card import Calibration, Card, InputSettings
from lungsight.model import save

SIZE = (64, 64)


def _model(
    nodes: Sequence[Any], values: dict[str, float], name: str, outputs: dict[str, Sequence[Any]]
) -> bytes:
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1, "h", "w"])]
    made = [helper.make_tensor_value_info(key, TensorProto.FLOAT, shape) for key, shape in outputs.items()]
    constants = [helper.make_tensor(key, TensorProto.FLOAT, [], [value]) for key, value in values.items()]
    graph = helper.make_graph(list(nodes), "tiny", inputs, made, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def lungs_onnx() -> bytes:
    nodes = [
        helper.make_node("AveragePool", ["image"], ["mean"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Sub", ["half", "mean"], ["dark"]),
        helper.make_node("Mul", ["dark", "steep"], ["scaled"]),
        helper.make_node("Sigmoid", ["scaled"], ["probability"]),
    ]
    return _model(nodes, {"half": 0.5, "steep": 40.0}, "image", {"probability": ["n", 1, "h", "w"]})


def diagnosis_onnx() -> bytes:
    nodes = [
        helper.make_node("AveragePool", ["lungs"], ["pooled"], kernel_shape=[16, 16], strides=[16, 16]),
        helper.make_node("Sub", ["pooled", "half"], ["centred"]),
        helper.make_node("Mul", ["centred", "steep"], ["cam"]),
        helper.make_node("ReduceMean", ["cam"], ["logit"], axes=[2, 3], keepdims=0),
    ]
    outputs = {"logit": ["n", 1], "cam": ["n", 1, "a", "b"]}
    return _model(nodes, {"half": 0.5, "steep": 8.0}, "lungs", outputs)


def gate_onnx() -> bytes:
    """Two classes, 'frontal' and 'other': frontal where the whole image is darker than 0.75 on average."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Sub", ["limit", "flat"], ["dark"]),
        helper.make_node("Mul", ["dark", "steep"], ["scaled"]),
        helper.make_node("Sigmoid", ["scaled"], ["frontal"]),
        helper.make_node("Sub", ["one", "frontal"], ["other"]),
        helper.make_node("Concat", ["frontal", "other"], ["probability"], axis=1),
    ]
    return _model(nodes, {"limit": 0.75, "steep": 60.0, "one": 1.0}, "image", {"probability": ["n", 2]})


def lungs_card(**changes: Any) -> Card:
    return Card(
        **{"name": "tiny-lungs", "task": "lungs", "input": InputSettings(SIZE), "threshold": 0.5, **changes}
    )


def diagnosis_card(**changes: Any) -> Card:
    settings: dict[str, Any] = {
        "name": "tiny-diagnosis",
        "task": "diagnosis",
        "input": InputSettings((32, 32), "crop_to_lungs", resize_to=SIZE, dilation=0.02),
        "threshold": 0.5,
        "calibration": Calibration(1.5, 0.1, covariance=((0.04, 0.0), (0.0, 0.09)), uncertain=(0.45, 0.55)),
    }
    return Card(**{**settings, **changes})


def gate_card(**changes: Any) -> Card:
    settings: dict[str, Any] = {
        "name": "tiny-gate",
        "task": "gate",
        "input": InputSettings((16, 16)),
        "threshold": 0.5,
        "classes": ("frontal", "other"),
    }
    return Card(**{**settings, **changes})


def write_bundle(folder: Path, *tasks: str) -> Path:
    """The tiny networks of `tasks` (all three where none is named) in a folder."""
    makers = {
        "lungs": (lungs_card, lungs_onnx),
        "diagnosis": (diagnosis_card, diagnosis_onnx),
        "gate": (gate_card, gate_onnx),
    }
    for task in tasks or makers:
        card, network = makers[task]
        save(folder, card(), network())
    return folder


def draw_chest(height: int = 200, width: int = 160, *, lung: int = 60, seed: int = 0) -> np.ndarray:
    """(H, W) uint8: two dark ellipses that lean apart at the base, on grey; the left lung is the smaller."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    y, x = rows / height, columns / width
    image = np.full((height, width), 180.0)
    for centre, lean, half in ((0.3, -0.15, 0.15), (0.7, 0.15, 0.13)):
        middle = centre + lean * (y - 0.5)
        image[((x - middle) / half) ** 2 + ((y - 0.5) / 0.32) ** 2 < 1] = lung
    noise = np.random.default_rng(seed).normal(0, 6, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)
