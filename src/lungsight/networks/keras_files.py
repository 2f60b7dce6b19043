"""The paper's two networks out of Keras files, read without Keras or TensorFlow.

A file is data here: nothing in it is run. What is read: `.h5` with or without the group `model_weights` (Keras 2, and
Keras 3's older format), `.weights.h5` and `.keras` (Keras 3).
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lungsight.errors import ModelError, require
from lungsight.networks.paper import PaperCNN, PaperUNet

LAYERS = frozenset(
    {"InputLayer", "Conv2D", "MaxPooling2D", "Dropout", "UpSampling2D", "Concatenate", "Flatten", "Dense"}
)
"""Kinds of layers that the two networks have; a file with another one is refused."""
MAX_FILE = 2**30
MAX_LAYERS, MAX_VALUES = 500, 150_000_000
"""Layers, and values of all of them together: the U-Net has 31 million, with its optimiser's three times as many."""
_HINT = "Only the paper's U-Net (zhixuhao's form) and its CNN are read"


@dataclass(frozen=True, slots=True)
class KerasNetwork:
    """A network out of a Keras file."""

    name: str
    """'paper-unet' or 'paper-cnn'."""
    width: float
    channels: int
    size: tuple[int, int]
    """(h, w) of its input, as the file says or, where it does not, the paper's."""
    network: nn.Module


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer with weights: kernel (kh, kw, in, out) or (in, out), bias (out,)."""

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]


def read_keras(path: str | Path) -> KerasNetwork:
    """Read one of the paper's networks from a Keras file.

    Raises:
        ModelError: it is no such file, is damaged, too large, or holds another network.
        MissingExtraError: h5py is not installed.
    """
    file = Path(path)
    require("h5py", feature="Reading Keras files", extra="train")
    try:
        if file.stat().st_size > MAX_FILE:
            raise _refused(file, "is larger than 1 GiB")
        with file.open("rb") as start:
            zipped = start.read(4) == b"PK\x03\x04"
        config, layers = _read_zip(file) if zipped else _read_h5(file, None)
    except ModelError:
        raise
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        RuntimeError,
        RecursionError,
        zipfile.BadZipFile,
    ) as error:
        raise ModelError(
            "cannot be read as a Keras file", where=file, hint=_HINT, detail=str(error)
        ) from error
    size = _check_config(config, file)
    return _assemble(layers, size, file)


def _refused(file: Path, message: str) -> ModelError:
    return ModelError(message, code="keras", where=file, hint=_HINT)


def _read_zip(file: Path) -> tuple[Any, list[_Layer]]:
    with zipfile.ZipFile(file) as archive:
        parts = {}
        for name, limit in (("config.json", 2**24), ("model.weights.h5", MAX_FILE)):
            try:
                info = archive.getinfo(name)
            except KeyError:
                raise _refused(file, f"holds no {name}") from None
            if info.file_size > limit:
                raise _refused(file, f"its {name} is too large")
            with archive.open(info) as part:
                parts[name] = part.read(limit + 1)
    config = json.loads(parts["config.json"])
    return _read_h5(file, io.BytesIO(parts["model.weights.h5"]), config)


def _read_h5(file: Path, data: io.BytesIO | None, config: Any = None) -> tuple[Any, list[_Layer]]:
    import h5py

    with h5py.File(data or file, "r") as root:
        text = root.attrs.get("model_config")
        if text is not None:
            config = json.loads(text)
        group = root.get("model_weights", root)
        if "layer_names" in group.attrs:
            names = _few(group.attrs["layer_names"], file)
            found = [_named(group, _text(name), file) for name in names]
        elif "layers" in root:
            names = sorted(_few(root["layers"], file), key=_natural)
            found = [_numbered(root["layers"][name], file) for name in names]
        else:
            raise _refused(file, "holds no layers that Keras names")
        # A layer may be named again and again, and a few bytes may stand for any number of zeros.
        if sum(values.size for layer in found for values in layer) > MAX_VALUES:
            raise _refused(file, "its layers' weights are of another kind or size")
        return config, [_layer(layer, file) for layer in found if layer]


def _few(names: Any, file: Path) -> Any:
    if len(names) > MAX_LAYERS:
        raise _refused(file, "has too many layers")
    return names


def _text(name: Any) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def _natural(name: str) -> tuple[str, int]:
    """conv2d, conv2d_1, ... conv2d_10 in the order in which they were made."""
    stem, _, number = name.rpartition("_")
    return (stem, int(number)) if stem and number.isascii() and number.isdigit() else (name, 0)


def _named(group: Any, name: str, file: Path) -> list[Any]:
    """A layer's weights by Keras 2's names, e.g. 'conv2d/conv2d/kernel:0'."""
    inner = _inside(group, name, file)
    names = _few(inner.attrs.get("weight_names", ()), file)
    return [_checked(_inside(inner, _text(item), file), file) for item in names]


def _numbered(group: Any, file: Path) -> list[Any]:
    """A layer's weights by Keras 3's numbers: 'vars/0' and 'vars/1'."""
    if "vars" not in group:
        return []
    inner = _inside(group, "vars", file)
    return [_checked(_inside(inner, name, file), file) for name in sorted(_few(inner, file))]


def _inside(group: Any, name: str, file: Path) -> Any:
    """What a path names within the file itself: no link may lead to another file."""
    import h5py

    here = group
    for part in name.split("/"):
        link = here.get(part, getlink=True) if part else None
        if not isinstance(link, h5py.HardLink):
            raise _refused(file, "a layer's weights are not where the file says")
        here = here[part]
    return here


def _checked(dataset: Any, file: Path) -> Any:
    """A table of numbers of the file itself, not read yet."""
    import h5py

    if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
        raise _refused(file, "a layer's weights are not in the file")
    if dataset.dtype.kind != "f" or not 1 <= dataset.ndim <= 4 or dataset.size > MAX_VALUES:
        raise _refused(file, "its layers' weights are of another kind or size")
    return dataset


def _values(dataset: Any, file: Path) -> NDArray[np.float32]:
    found = np.asarray(dataset[()], np.float32)
    if not np.isfinite(found).all():
        raise _refused(file, "a layer's weights are not all finite")
    return found


def _layer(given: list[Any], file: Path) -> _Layer:
    if len(given) != 2 or given[0].ndim not in (2, 4) or given[1].shape != given[0].shape[-1:]:
        raise _refused(file, "a layer has other weights than a kernel and a bias")
    return _Layer(*(_values(one, file) for one in given))


def _check_config(config: Any, file: Path) -> tuple[int, int] | None:
    """The input's (h, w) by the file's configuration; refuses what the two networks do not have."""
    if config is None:
        return None
    try:
        layers = config["config"]["layers"]
        kinds = {str(layer["class_name"]) for layer in layers}
        last = layers[-1]["config"].get("activation")
        shapes = [
            layer["config"].get("batch_input_shape") or layer["config"].get("batch_shape") for layer in layers
        ]
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise _refused(file, "its configuration is of another kind") from error
    if kinds - LAYERS:
        raise _refused(file, "holds a kind of layer that the paper's networks do not have")
    if last != "sigmoid":
        raise _refused(file, "its last layer does not end in a sigmoid")
    shape = next((shape for shape in shapes if shape), None)
    if isinstance(shape, list) and len(shape) == 4 and all(type(side) is int for side in shape[1:3]):
        return int(shape[1]), int(shape[2])
    return None


def _assemble(layers: list[_Layer], size: tuple[int, int] | None, file: Path) -> KerasNetwork:
    shapes = [layer.kernel.shape for layer in layers]
    if len(layers) == 24 and all(len(shape) == 4 for shape in shapes):
        name, base, usual = "paper-unet", 64, (256, 256)
    elif [len(shape) for shape in shapes] == [4, 4, 2, 2]:
        name, base, usual = "paper-cnn", 32, (246, 236)
    else:
        raise _refused(file, f"has {len(layers)} layers with weights, not 24 or 4 of the known shapes")
    width, channels = shapes[0][3] / base, shapes[0][2]
    height, columns = size or usual
    if (
        channels not in (1, 3)
        or not 0 < width <= 4
        or not 16 <= min(height, columns) <= max(height, columns) <= 2048
    ):
        raise _refused(file, "its input or width is out of range")
    with torch.device("meta"):  # nothing is made before the shapes are known to agree
        planned = _make(name, width, channels, (height, columns))
    wanted = [tuple(layer.weight.shape) for layer in weighted(planned)]
    found = [torch_shape(shape) for shape in shapes]
    if found != wanted:
        raise _refused(file, "its layers have other shapes than the paper's network of this width")
    network = _make(name, width, channels, (height, columns))
    with torch.no_grad():
        for layer, given in zip(weighted(network), layers, strict=True):
            layer.weight.copy_(_to_torch(given.kernel, network, layer))
            layer.bias.copy_(torch.from_numpy(given.bias))
    return KerasNetwork(name, width, channels, (height, columns), network.eval())


def _make(name: str, width: float, channels: int, size: tuple[int, int]) -> nn.Module:
    if name == "paper-unet":
        return PaperUNet(width, channels)
    return PaperCNN(width, channels, size)


def torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A Keras kernel's shape as PyTorch lays it out."""
    return (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape[::-1]


def weighted(network: nn.Module) -> list[Any]:
    """The layers with weights, in the order of the data's way through the network, as Keras lists them."""
    if isinstance(network, PaperUNet):
        blocks: list[nn.Module] = list(network.down)
        for up, merge in zip(network.up, network.merge, strict=True):
            blocks += [up, merge]
        blocks += [network.pair, network.last]
    elif isinstance(network, PaperCNN):
        blocks = [network.features, network.dense, network.last]
    else:
        raise ModelError("only the paper's two networks have a Keras form", code="keras")
    return [
        layer for block in blocks for layer in block.modules() if isinstance(layer, nn.Conv2d | nn.Linear)
    ]


def map_shape(network: nn.Module, layer: Any) -> tuple[int, int, int] | None:
    """(C, H, W) that is flattened before a dense layer; None for every other layer."""
    if not isinstance(network, PaperCNN) or layer is not network.dense:
        return None
    height, columns = network.map_size
    return layer.in_features // (height * columns), height, columns


def _to_torch(kernel: NDArray[np.float32], network: nn.Module, layer: Any) -> Tensor:
    if kernel.ndim == 4:
        return torch.from_numpy(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)))
    if (shape := map_shape(network, layer)) is not None:
        count, height, columns = shape  # Keras flattens (H, W, C), PyTorch (C, H, W)
        kernel = kernel.reshape(height, columns, count, -1).transpose(2, 0, 1, 3).reshape(len(kernel), -1)
    return torch.from_numpy(np.ascontiguousarray(kernel.T))
