"""A trained run as an ONNX file, checked against PyTorch."""

from __future__ import annotations

import io

import numpy as np
import torch
from torch import Tensor, nn

from lungsight.config import Recipe
from lungsight.errors import ModelError, require
from lungsight.networks.ours import LungsCNN, LungsEnsemble

TOLERANCE = 1e-4


class _Probability(nn.Module):
    """Lungs: (N, C, h, w) -> probability (N, 1, h, w)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return torch.sigmoid(self.network(image))


class _Classes(nn.Module):
    """Gate: (N, C, h, w) -> probability (N, K)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return torch.softmax(self.network(image), dim=1)


class _Evidence(nn.Module):
    """Diagnosis by `LungsCNN`: (N, C, h, w) -> logit (N, 1) and the map whose mean it is."""

    def __init__(self, network: LungsCNN | LungsEnsemble) -> None:
        super().__init__()
        self.network = network

    def forward(self, lungs: Tensor) -> tuple[Tensor, Tensor]:
        cam = self.network.evidence(lungs)
        return cam.mean(dim=(2, 3)), cam


def to_onnx(network: nn.Module, recipe: Recipe) -> tuple[bytes, float]:
    """Export and compare.

    Args:
        network: the trained network, whose weights are read.
        recipe: of its run.

    Returns:
        The ONNX file and the largest absolute difference from PyTorch over eight random inputs (of probability for
        lungs and gate, of the logit for diagnosis).

    Raises:
        ModelError: the two differ by more than 1e-4.
    """
    require("onnxscript", feature="Export to ONNX", extra="train")
    network = network.cpu().eval()
    if recipe.task == "lungs":
        wrapped: nn.Module = _Probability(network)
        names, outputs = "image", ["probability"]
    elif recipe.task == "gate":
        wrapped, names, outputs = _Classes(network), "image", ["probability"]
    elif isinstance(network, LungsCNN | LungsEnsemble):
        wrapped, names, outputs = _Evidence(network), "lungs", ["logit", "cam"]
    else:
        wrapped, names, outputs = (
            network,
            "image" if recipe.data.crop_mode == "resize" else "lungs",
            ["logit"],
        )
    wrapped.eval()
    example = torch.rand(2, recipe.data.channels, *recipe.data.input_size)
    buffer = io.BytesIO()
    torch.onnx.export(
        wrapped,
        (example,),
        buffer,  # type: ignore[arg-type]
        input_names=[names],
        output_names=outputs,
        dynamic_axes={name: {0: "batch"} for name in (names, *outputs)},
        opset_version=17,
        dynamo=False,
    )
    code = folded(buffer.getvalue())
    difference = parity(wrapped, code, recipe)
    if difference > TOLERANCE:
        raise ModelError(
            f"the exported network differs from PyTorch by {difference:.2g}, more than {TOLERANCE:g}"
        )
    return code, difference


def folded(code: bytes) -> bytes:
    """The same ONNX file with what is constant worked out, above all the padding of convolutions.

    ONNX Runtime takes a padding into its convolution only where its amounts are constants; else each one goes to and
    fro between two memory layouts.
    """
    import onnx
    from onnxscript import optimizer

    model: onnx.ModelProto = optimizer.optimize(onnx.load_from_string(code))
    return bytes(model.SerializeToString())


def parity(wrapped: nn.Module, code: bytes, recipe: Recipe) -> float:
    """Largest absolute difference between PyTorch and ONNX Runtime over eight random inputs, first output."""
    import onnxruntime

    rng = np.random.default_rng(0)
    images = rng.random((8, recipe.data.channels, *recipe.data.input_size), np.float32)
    session = onnxruntime.InferenceSession(code, providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: images})[0]
    with torch.inference_mode():
        wanted = wrapped(torch.from_numpy(images))
    first = wanted[0] if isinstance(wanted, tuple) else wanted
    return float(np.abs(first.numpy() - found).max())
