"""The paper's two networks as Keras files: `.h5` with the configuration of Keras 2.4, which Keras 2 and 3 load."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from lungsight.errors import require
from lungsight.networks.keras_files import map_shape, weighted
from lungsight.networks.paper import PaperUNet


def _to_keras(network: nn.Module, layer: Any) -> NDArray[np.float32]:
    weight = layer.weight.detach().cpu().float().numpy()
    if weight.ndim == 4:
        return np.ascontiguousarray(weight.transpose(2, 3, 1, 0))
    kernel = weight.T
    if (shape := map_shape(network, layer)) is not None:
        kernel = kernel.reshape(*shape, -1).transpose(1, 2, 0, 3).reshape(len(kernel), -1)
    return np.ascontiguousarray(kernel)


def keras_bytes(network: nn.Module, size: tuple[int, int]) -> bytes:
    """One of the paper's networks as a Keras `.h5` file, with its configuration.

    Args:
        network: `PaperUNet` or `PaperCNN`.
        size: (h, w) of its input.

    Raises:
        ModelError: another network.
        MissingExtraError: h5py is not installed.
    """
    h5py = require("h5py", feature="Writing Keras files", extra="train")
    layers = weighted(network)
    names = _layer_names(layers)
    config = keras_config(network, size)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as root:
        root.attrs["keras_version"], root.attrs["backend"] = "2.4.0", "tensorflow"
        root.attrs["model_config"] = json.dumps(config)
        group = root.create_group("model_weights")
        group.attrs["keras_version"], group.attrs["backend"] = "2.4.0", "tensorflow"
        listed = [layer["config"]["name"] for layer in config["config"]["layers"]]
        group.attrs["layer_names"] = [name.encode() for name in listed]
        for name in listed:
            group.create_group(name).attrs["weight_names"] = np.array([], "S1")
        for name, layer in zip(names, layers, strict=True):
            inner = group[name]
            inner.attrs["weight_names"] = [f"{name}/kernel:0".encode(), f"{name}/bias:0".encode()]
            inner.create_dataset(f"{name}/kernel:0", data=_to_keras(network, layer))
            inner.create_dataset(f"{name}/bias:0", data=layer.bias.detach().cpu().float().numpy())
    return buffer.getvalue()


def _layer_names(layers: list[Any]) -> list[str]:
    counts = {"conv2d": 0, "dense": 0}
    names = []
    for layer in layers:
        kind = "conv2d" if isinstance(layer, nn.Conv2d) else "dense"
        names.append(f"{kind}_{counts[kind]}" if counts[kind] else kind)
        counts[kind] += 1
    return names


def keras_config(network: nn.Module, size: tuple[int, int]) -> dict[str, Any]:
    """A Keras 2.4 model's configuration: a list of layers, each with what it is fed by."""
    layers = weighted(network)
    channels = layers[0].weight.shape[1]
    chain = _Chain((None, *size, channels))
    names = dict(zip(map(id, layers), _layer_names(layers), strict=True))

    def conv(layer: Any, padding: str, activation: str = "relu") -> None:
        kernel = list(layer.kernel_size)
        chain.add(
            "Conv2D",
            {
                "filters": layer.out_channels,
                "kernel_size": kernel,
                "padding": padding,
                "activation": activation,
            },
            name=names[id(layer)],
        )

    if isinstance(network, PaperUNet):
        skips = []
        for level, block in enumerate(network.down):
            if level:
                chain.add("MaxPooling2D", {"pool_size": [2, 2]})
            first, second = (layer for layer in block.modules() if isinstance(layer, nn.Conv2d))
            conv(first, "same")
            conv(second, "same")
            if level >= 3:
                chain.add("Dropout", {"rate": 0.5})
            skips.append(chain.last)
        skips.pop()
        for up, merge in zip(network.up, network.merge, strict=True):
            chain.add("UpSampling2D", {"size": [2, 2]})
            conv(up.convolution, "same")
            chain.add("Concatenate", {"axis": 3}, feeds=[skips.pop(), chain.last])
            for layer in (layer for layer in merge.modules() if isinstance(layer, nn.Conv2d)):
                conv(layer, "same")
        conv(network.pair, "same")
        conv(network.last, "valid", "sigmoid")
    else:
        for layer in layers[:2]:
            conv(layer, "valid")
            chain.add("MaxPooling2D", {"pool_size": [2, 2]})
        chain.add("Flatten", {})
        for layer, activation in zip(layers[2:], ("relu", "sigmoid"), strict=True):
            chain.add("Dense", {"units": layer.out_features, "activation": activation}, name=names[id(layer)])
    return chain.config()


class _Chain:
    """Layers in a row, each fed by the one before unless it is told otherwise."""

    def __init__(self, shape: tuple[int | None, ...]) -> None:
        self.last = "input_1"
        self._made: dict[str, int] = {}
        settings = {"batch_input_shape": list(shape), "dtype": "float32", "name": self.last}
        self._layers: list[dict[str, Any]] = [
            {"class_name": "InputLayer", "config": settings, "name": self.last, "inbound_nodes": []}
        ]

    def add(
        self, kind: str, settings: dict[str, Any], *, name: str = "", feeds: list[str] | None = None
    ) -> None:
        if not name:
            stem = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind).lower()
            count = self._made.get(stem, 0)
            self._made[stem] = count + 1
            name = f"{stem}_{count}" if count else stem
        inbound = [[[feed, 0, 0, {}] for feed in feeds or [self.last]]]
        self._layers.append(
            {"class_name": kind, "config": {"name": name} | settings, "name": name, "inbound_nodes": inbound}
        )
        self.last = name

    def config(self) -> dict[str, Any]:
        inner = {
            "name": "model",
            "layers": self._layers,
            "input_layers": [["input_1", 0, 0]],
            "output_layers": [[self.last, 0, 0]],
        }
        return {"class_name": "Functional", "config": inner}
