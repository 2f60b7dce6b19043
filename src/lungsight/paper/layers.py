"""The layers of a network in the order in which an image passes them, for the report's architecture figures."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lungsight.networks import PaperUNet, build, count_parameters
from lungsight.paper.content import (
    Architecture,
    Layer,
    LayerKind,
)

_KINDS: dict[type[nn.Module], LayerKind] = {
    nn.Conv2d: "conv",
    nn.MaxPool2d: "pool",
    nn.Dropout: "dropout",
    nn.Linear: "dense",
}


def architecture(name: str, title: str, width: float, size: tuple[int, int], note: str) -> Architecture:
    """What the report draws of a paper network.

    Args:
        name: 'paper-unet' or 'paper-cnn'.
        size: (h, w) of its input.
    """
    network = build(name, width=width, size=size)
    full = count_parameters(build(name, width=1.0, size=size))
    return Architecture(title, _trace(network, size), width, count_parameters(network), full, note)


def _trace(network: nn.Module, size: tuple[int, int]) -> list[Layer]:
    layers = [Layer("input", "input", (3, *size))]

    def note(name: str, kind: LayerKind, output: Tensor, parameters: int = 0) -> None:
        layers.append(Layer(name, kind, tuple(output.shape[1:]), parameters))

    hooks = []
    for name, module in network.named_modules():
        kind = _KINDS.get(type(module))
        if kind is None:
            continue

        def hook(
            module: nn.Module,
            inputs: tuple[Tensor, ...],
            output: Tensor,
            name: str = name,
            kind: LayerKind = kind,
        ) -> None:
            # The paper's form pools, upsamples and concatenates between modules: what a convolution is given tells.
            if isinstance(network, PaperUNet):
                level, place = name.split(".")[0], name.rsplit(".", 1)[-1]
                if level == "down" and place == "0" and name != "down.0.0":
                    note(f"{name}.pool", "pool", inputs[0])
                if level == "up":
                    note(f"{name}.upsampling", "up", inputs[0][..., :-1, :-1])
                if level == "merge" and place == "0":
                    note(f"{name}.concatenation", "concat", inputs[0])
            elif kind == "dense" and inputs[0].ndim == 2 and all(layer.kind != "flatten" for layer in layers):
                note("flatten", "flatten", inputs[0])
            note(name, kind, output, count_parameters(module))

        hooks.append(module.register_forward_hook(hook))
    with torch.inference_mode():
        network.eval()(F.interpolate(torch.zeros(1, 3, 1, 1), size))
    for handle in hooks:
        handle.remove()
    return layers
