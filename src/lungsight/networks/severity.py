"""The severity network: frozen ImageNet features, averaged over each lung zone, and one linear layer for all zones."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lungsight.networks.efficientnet_lite import EfficientNetLite0

BLOCKS = (4, 10, 15)
"""Blocks of EfficientNet-Lite0 whose maps are taken: 8, 16 and 32 pixels a cell."""
FEATURES = 40 + 112 + 320
SIZE = (224, 224)
"""(h, w) of the input; both divide by 32."""


class ZoneFeatures(nn.Module):
    """(N, 7, 224, 224), the image in [0, 1] and six zone maps -> (N, 6, 472) mean features of each zone."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = EfficientNetLite0()

    def forward(self, x: Tensor) -> Tensor:
        """As the class says."""
        image, zones = EfficientNetLite0.normalise(x[:, :1]), x[:, 1:]
        channels = self.backbone.stem.convolution.in_channels
        maps = self.backbone.maps(image.expand(-1, channels, -1, -1) if channels > 1 else image, BLOCKS)
        found = []
        for map_, cell in zip(maps, (8, 2, 2), strict=True):
            zones = F.avg_pool2d(zones, cell)
            weights = zones / zones.sum(dim=(2, 3), keepdim=True).clamp_min(1e-6)
            found.append(weights.flatten(2) @ map_.flatten(2).transpose(1, 2))
        return torch.cat(found, dim=2)


class SeverityNetwork(nn.Module):
    """(N, 7, 224, 224) -> (N, 6) score of each zone, as the readers' 0 to 3, not cut off at the ends."""

    def __init__(self) -> None:
        super().__init__()
        self.features = ZoneFeatures()
        self.linear = nn.Linear(FEATURES, 1)

    def forward(self, x: Tensor) -> Tensor:
        """As the class says."""
        found: Tensor = self.linear(self.features(x)).squeeze(2)
        return found

    def grey(self) -> SeverityNetwork:
        """A copy whose first convolution takes the grey image once, not as three equal colours: the same answers."""
        out = copy.deepcopy(self)
        stem = out.features.backbone.stem
        summed = nn.Conv2d(1, stem.convolution.out_channels, stem.kernel, stem.stride, bias=False)
        summed.weight = nn.Parameter(stem.convolution.weight.detach().sum(dim=1, keepdim=True))
        stem.convolution = summed
        return out.eval()
