"""The networks that ship: small enough for a CPU, robust to exposure by their first layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lungsight.networks.paper import scaled
from lungsight.wording import GateClass


def scaled_filters(counts: Sequence[int], width: float) -> list[int]:
    """Filter counts times width; from 16 on multiples of 8, which ONNX Runtime's fast convolutions need."""
    return [n if (n := scaled(count, width)) < 16 else 8 * round(count * width / 8) for count in counts]


class Standardise(nn.Module):
    """Take each image to mean 0 and standard deviation 1, inside the network, so that every user of it agrees."""

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(dim=(2, 3), keepdim=True)
        deviation = (centred * centred).mean(dim=(2, 3), keepdim=True).sqrt()
        return centred / (deviation + 0.02)


class ConvolutionUnit(nn.Sequential):
    """3x3 convolution, batch normalisation, ReLU."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
        )


class LungUNet(nn.Module):
    """A compact U-Net that works at half resolution and answers at full resolution.

    The first convolution halves the image, five levels follow, and the last 1x1 convolution makes four values a
    position that are laid out as 2 x 2 pixels (sub-pixel convolution, Shi et al., CVPR 2016).

    Shape: (N, 1, H, W) in [0, 1], H and W multiples of 32 -> (N, 1, H, W) logits.
    """

    gives_masks, multiple, smallest = True, 32, 32
    answers = 1

    def __init__(self, width: float = 1.0, channels: int = 1) -> None:
        super().__init__()
        filters = scaled_filters((24, 48, 96, 128, 160), width)
        self.standardise = Standardise()
        self.stem = ConvolutionUnit(channels, filters[0], stride=2)
        self.down = nn.ModuleList()
        previous = filters[0]
        for count in filters:
            self.down.append(nn.Sequential(ConvolutionUnit(previous, count), ConvolutionUnit(count, count)))
            previous = count
        self.merge = nn.ModuleList()
        for count in filters[-2::-1]:
            self.merge.append(
                nn.Sequential(ConvolutionUnit(previous + count, count), ConvolutionUnit(count, count))
            )
            previous = count
        self.last = nn.Sequential(nn.Conv2d(previous, 4, 1), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(self.standardise(x))
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        skips.pop()
        for merge in self.merge:
            x = merge(torch.cat([skips.pop(), F.interpolate(x, scale_factor=2.0, mode="nearest")], dim=1))
        logits: Tensor = self.last(x)
        return logits


OUTPUTS = ("full", "visible", "heart")
"""What `LungHeartUNet` marks, in the order of its output: the lungs with what the heart and the diaphragm hide,
the lungs as far as they are seen beside them, and the heart."""


class LungHeartUNet(LungUNet):
    """`LungUNet` that marks lungs, in two conventions, and heart at once, for the price of one.

    Shape: (N, 1, H, W) in [0, 1], H and W multiples of 32 -> (N, 3, H, W) logits, in the order of `OUTPUTS`.
    """

    answers = len(OUTPUTS)
    outputs = OUTPUTS

    def __init__(self, width: float = 1.0, channels: int = 1) -> None:
        super().__init__(width, channels)
        (last,) = scaled_filters((24,), width)
        self.last = nn.Sequential(nn.Conv2d(last, 4 * self.answers, 1), nn.PixelShuffle(2))


class Mirrored(nn.Module):
    """The mean of a mask network's logits over an image and its mirror image.

    Shape: as the network.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = (self.network(x) + self.network(x.flip(3)).flip(3)) / 2
        return logits


class LungsCNN(nn.Module):
    """Diagnosis from the lungs alone, with an evidence map.

    Convolutions, then a 1x1 convolution that gives every position a value; the logit is their mean plus a bias, so
    that the map (a class activation map, Zhou et al., CVPR 2016) says exactly what each place adds to the score.

    Shape: (N, 1, H, W) in [0, 1] -> (N, 1) logits, or with `evidence` also the map (N, 1, H/16, W/16).
    """

    gives_masks, multiple, smallest = False, 1, 16
    answers = 1

    def __init__(self, width: float = 1.0, channels: int = 1, dropout: float = 0.3) -> None:
        super().__init__()
        filters = [scaled(n, width) for n in (16, 32, 64, 96)]
        layers: list[nn.Module] = []
        previous = channels
        for level, count in enumerate(filters):
            layers.append(ConvolutionUnit(previous, count, stride=2))
            if level:
                layers.append(ConvolutionUnit(count, count))
            previous = count
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Conv2d(previous, 1, 1)

    def evidence(self, x: Tensor) -> Tensor:
        """(N, 1, H, W) -> (N, 1, H/16, W/16): what each place adds; its mean is the logit."""
        values: Tensor = self.head(self.dropout(self.features(x)))
        return values

    def forward(self, x: Tensor) -> Tensor:
        return self.evidence(x).mean(dim=(2, 3))


GATE_CLASSES = tuple(GateClass)
"""What the gate tells apart, in the order of its output; only the first passes."""


class GateCNN(nn.Module):
    """Is this an upright frontal chest X-ray? Five strided convolutions, and the means of what they find
    in the upper and in the lower half: which half holds what tells an upright chest from one upside down.

    Shape: (N, 1, H, W) in [0, 1] -> (N, 6) logits, in the order of `GATE_CLASSES`. A blank image is all zeros after
    `Standardise`, which training shows as no chest X-ray.
    """

    gives_masks, multiple, smallest = False, 1, 64
    answers = len(GATE_CLASSES)

    def __init__(self, width: float = 1.0, channels: int = 1, dropout: float = 0.2) -> None:
        super().__init__()
        filters = [scaled(n, width) for n in (16, 32, 48, 64, 96)]
        self.features = nn.Sequential(
            Standardise(),
            *(ConvolutionUnit(*pair, stride=2) for pair in zip([channels, *filters], filters, strict=False)),
        )
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(2 * filters[-1], len(GATE_CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        found = self.features(x)
        middle = found.shape[2] // 2
        halves = [part.mean(dim=(2, 3)) for part in (found[:, :, :middle], found[:, :, middle:])]
        logits: Tensor = self.last(self.dropout(torch.cat(halves, dim=1)))
        return logits


class LungsEnsemble(nn.Module):
    """The mean of several `LungsCNN`: of their logits, and of their evidence maps.

    Shape: as `LungsCNN`.
    """

    def __init__(self, members: Sequence[LungsCNN]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def evidence(self, x: Tensor) -> Tensor:
        """(N, 1, H, W) -> (N, 1, H/16, W/16): the mean map."""
        return torch.stack([member.evidence(x) for member in self._members()]).mean(dim=0)

    def forward(self, x: Tensor) -> Tensor:
        return self.evidence(x).mean(dim=(2, 3))

    def _members(self) -> list[LungsCNN]:
        return [member for member in self.members if isinstance(member, LungsCNN)]
