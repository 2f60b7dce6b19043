"""The paper's two networks, as the Keras models that it describes.

Both return logits; the sigmoid is applied by whoever reads them (it is part of an exported file).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def scaled(filters: int, width: float) -> int:
    """`filters` times `width`, rounded, at least 1."""
    return max(1, round(filters * width))


def _he_normal(layer: nn.Module) -> None:
    # Keras draws he_normal from a normal distribution truncated at two standard deviations and widens it to make up
    # for the cut (0.8796); biases start at 0.
    if isinstance(layer, nn.Conv2d):
        fan_in = layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1]
        deviation = math.sqrt(2 / fan_in) / 0.87962566103423978
        nn.init.trunc_normal_(layer.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


class _TwoConvolutions(nn.Sequential):
    def __init__(self, channels_in: int, channels_out: int, dropout: float = 0.0) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels_out, channels_out, 3, padding=1),
            nn.ReLU(inplace=True),
            *([nn.Dropout(dropout)] if dropout else []),
        )


class _UpConvolution(nn.Module):
    """2x nearest upsampling and a 2x2 convolution with 'same' padding (one row and column at the far end)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels_in, channels_out, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        return F.relu(self.convolution(F.pad(x, (0, 1, 0, 1))))


class PaperUNet(nn.Module):
    """U-Net in the Keras form of 'zhixuhao' (2018), which the paper uses for lung masks.

    At width 1.0 it has 31,032,837 parameters: 64-128-256-512-1024 filters, dropout 0.5 at the two deepest
    levels, a 3x3 convolution to 2 channels and a 1x1 convolution to 1. Initialised as Keras does (he_normal;
    glorot_uniform for the last layer).

    Shape: (N, channels, H, W) in [0, 1], H and W multiples of 16 -> (N, 1, H, W) logits.
    Source: Ronneberger, Fischer, Brox, MICCAI 2015.
    """

    gives_masks, multiple, smallest = True, 16, 16
    answers = 1

    def __init__(self, width: float = 1.0, channels: int = 3) -> None:
        super().__init__()
        filters = [scaled(n, width) for n in (64, 128, 256, 512, 1024)]
        self.down = nn.ModuleList()
        previous = channels
        for level, count in enumerate(filters):
            self.down.append(_TwoConvolutions(previous, count, dropout=0.5 if level >= 3 else 0.0))
            previous = count
        self.up = nn.ModuleList()
        self.merge = nn.ModuleList()
        for count in filters[-2::-1]:
            self.up.append(_UpConvolution(previous, count))
            self.merge.append(_TwoConvolutions(2 * count, count))
            previous = count
        self.pair = nn.Conv2d(previous, 2, 3, padding=1)
        self.last = nn.Conv2d(2, 1, 1)
        self.apply(_he_normal)
        nn.init.xavier_uniform_(self.last.weight)

    def forward(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        skips.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([skips.pop(), up(x)], dim=1))
        logits: Tensor = self.last(F.relu(self.pair(x)))
        return logits


class PaperCNN(nn.Module):
    """The paper's diagnosis network: two 3x3 convolutions with ReLU and 2x2 max pool, dense 64, dense 1.

    The paper does not print the filter counts; 32 and 64 are the usual ones of such a Keras model, with its
    defaults: 'valid' padding, glorot_uniform weights.

    Shape: (N, channels, H, W) in [0, 1], H and W as given -> (N, 1) logits.
    """

    gives_masks, multiple, smallest = False, 1, 10
    answers, needs_size = 1, True

    def __init__(self, width: float = 1.0, channels: int = 3, size: tuple[int, int] = (246, 236)) -> None:
        super().__init__()
        first, second, dense = scaled(32, width), scaled(64, width), 64
        height, columns = (((side - 2) // 2 - 2) // 2 for side in size)
        self.map_size = (height, columns)
        self.features = nn.Sequential(
            nn.Conv2d(channels, first, 3),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(first, second, 3),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        )
        self.dense = nn.Linear(second * height * columns, dense)
        self.last = nn.Linear(dense, 1)
        for layer in (*self.features, self.dense, self.last):
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        # Channels-last memory would flatten in another order than the plain one.
        flat = self.features(x).contiguous().flatten(1)
        logits: Tensor = self.last(F.relu(self.dense(flat)))
        return logits
