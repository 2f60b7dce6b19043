"""The lung network of an earlier version as a start for `lungsight train lungs --start lungs-1.safetensors`.

    git show 6722682:src/lungsight/weights/lungs.onnx > lungs-1.onnx
    python benchmarks/lungs_start.py lungs-1.onnx lungs-1.safetensors

That version has no file of weights beside its ONNX file. Its convolutions hold the batch normalisation that followed
them, so that the layer is read back with means of 0 and variances of 1, and is to be trained with
`training.fixed_statistics`. It marks the full lungs alone: the visible ones start as the full ones, the heart as
nowhere.
"""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from safetensors.torch import save_file
from torch import nn

from lungsight.networks import LungHeartUNet

NOWHERE = -3.0
"""Logit of a heart that is not there."""


def main() -> None:
    """Read, convert, write."""
    source, target = map(Path, sys.argv[1:3])
    graph = onnx.load(str(source)).graph
    arrays = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    alias = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Identity"}
    layers: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    for node in graph.node:  # the mirrored half uses the same weights again
        if node.op_type == "Conv":
            weight, bias = (alias.get(name, name) for name in node.input[1:3])
            layers[weight] = (torch.tensor(arrays[weight]), torch.tensor(arrays[bias]))
    network = LungHeartUNet()
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    *hidden, (weight, bias) = layers.values()
    with torch.no_grad():
        for (kernel, shift), convolution, norm in zip(hidden, convolutions[:-1], norms, strict=True):
            convolution.weight.copy_(kernel)
            norm.weight.fill_(1)
            norm.bias.copy_(shift)
            norm.running_mean.zero_()  # type: ignore[union-attr]
            norm.running_var.fill_(1 - norm.eps)  # type: ignore[union-attr]
        last = convolutions[-1]
        last.weight.copy_(torch.cat([weight, weight, torch.zeros_like(weight)]))
        last.bias.copy_(torch.cat([bias, bias, torch.full_like(bias, NOWHERE)]))  # type: ignore[union-attr]
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, target)


if __name__ == "__main__":
    main()
