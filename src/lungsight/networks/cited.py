"""The networks of the systems that the paper cites, rebuilt from what is published of them.

ResNet and DenseNet are MONAI's, without the convolution biases that torchvision's do not have either. Every network
here gives one logit an image. What a paper does not print is our choice, and said so in the class. An ImageNet start is
part of most of these systems: without `training.start` a network here has its paper's architecture, not its training.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lungsight.networks.paper import scaled

STAGES = {18: ("basic", (2, 2, 2, 2)), 50: ("bottleneck", (3, 4, 6, 3))}
DEVIATION_MARGIN = 5.0
"""By how many standard deviations of the reference an anomaly is to differ (Pang, Shen, van den Hengel, KDD 2019)."""
REFERENCE_DRAWS = 5000


def _resnet(depth: int, width: float, channels: int) -> tuple[nn.Module, int]:
    """MONAI's ResNet without its last layer: (N, channels, H, W) -> (N, features), and the number of features."""
    from monai.networks.nets import ResNet

    block, layers = STAGES[depth]
    planes = [scaled(count, width) for count in (64, 128, 256, 512)]
    made: nn.Module = ResNet(
        block,
        list(layers),
        planes,
        spatial_dims=2,
        n_input_channels=channels,
        conv1_t_stride=2,
        feed_forward=False,
        bias_downsample=False,
    )
    return made, planes[-1] * (4 if block == "bottleneck" else 1)


class ResNetScore(nn.Module):
    """ResNet-50 with one logit: after Narin, Kaya, Pamuk (arXiv:2003.10849).

    25.6 M parameters with ImageNet's top in its paper's table; 23,510,081 with one output in place of the 1,000. The
    paper's own head is not printed: global average pooling and one linear layer are ours.

    Shape: (N, channels, H, W) in [0, 1] -> (N, 1) logits.
    """

    gives_masks, multiple, smallest = False, 1, 32
    answers = 1

    def __init__(self, width: float = 1.0, channels: int = 3) -> None:
        super().__init__()
        self.features, count = _resnet(50, width, channels)
        self.fc = nn.Linear(count, 1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.features(x))
        return logits


class _Tartaglione(nn.Module):
    """ResNet on one grey channel with a head of two linear layers: after Tartaglione et al. (arXiv:2004.05405)."""

    gives_masks, multiple, smallest = False, 1, 32
    answers = 1
    depth, hidden = 18, 256

    def __init__(self, width: float = 1.0, channels: int = 1) -> None:
        super().__init__()
        self.features, count = _resnet(self.depth, width, channels)
        hidden = scaled(self.hidden, width)
        self.fc = nn.Sequential(nn.Linear(count, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, 1))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.features(x))
        return logits


class TartaglioneResNet18(_Tartaglione):
    """ResNet-18, 512 -> 256 -> 1; 11,301,825 parameters on one channel (its code: 11.3 M).

    Shape: (N, 1, H, W) in [0, 1] -> (N, 1) logits.
    """


class TartaglioneResNet50(_Tartaglione):
    """ResNet-50, 2048 -> 512 -> 1; 24,551,361 parameters on one channel (its code: 24.6 M).

    Shape: (N, 1, H, W) in [0, 1] -> (N, 1) logits.
    """

    depth, hidden = 50, 512


class CovidxVGG19(nn.Module):
    """VGG-19's 16 convolutions (20,024,384 parameters on three channels) with one logit: after COVIDX-Net
    (Hemdan et al., arXiv:2003.11055).

    Its head is not known: global average pooling and one linear layer are ours.

    Shape: (N, channels, H, W) in [0, 1] -> (N, 1) logits.
    """

    gives_masks, multiple, smallest = False, 1, 32
    answers = 1

    def __init__(self, width: float = 1.0, channels: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        previous = channels
        for filters, count in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)):
            for _ in range(count):
                made = nn.Conv2d(previous, scaled(filters, width), 3, padding=1)
                nn.init.kaiming_normal_(made.weight, mode="fan_out", nonlinearity="relu")
                layers += [made, nn.ReLU(inplace=True)]
                previous = scaled(filters, width)
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.fc = nn.Linear(previous, 1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.features(x).mean(dim=(2, 3)))
        return logits


class CovidxDenseNet201(nn.Module):
    """DenseNet-201 (18,092,928 parameters without its last layer) with one logit: after COVIDX-Net (arXiv:2003.11055).

    Keras counts 18.3 M, since it counts the running means of batch normalisation too.

    Shape: (N, channels, H, W) in [0, 1] -> (N, 1) logits.
    """

    gives_masks, multiple, smallest = False, 1, 32
    answers = 1
    blocks: ClassVar = (6, 12, 48, 32)

    def __init__(self, width: float = 1.0, channels: int = 3) -> None:
        super().__init__()
        from monai.networks.nets import DenseNet

        growth = scaled(32, width)
        self.network = DenseNet(
            2, channels, 1, init_features=2 * growth, growth_rate=growth, block_config=self.blocks
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x)
        return logits


class DenseNet121(CovidxDenseNet201):
    """DenseNet-121 (6,953,856 parameters without its last layer) with one logit: what CheXNet (arXiv:1711.05225) is.

    None of the paper's cited systems: the network that most chest X-ray papers since then train.

    Shape: (N, channels, H, W) in [0, 1] -> (N, 1) logits.
    """

    blocks: ClassVar = (6, 12, 24, 16)


class DropWeights(nn.Linear):
    """A linear layer of which single weights, not units, are left out by chance (as DropConnect does).

    In training always; in prediction where `stochastic` is set, which gives Monte-Carlo samples. What is kept is scaled
    up so that the mean stays.
    """

    def __init__(self, features: int, answers: int, rate: float = 0.5) -> None:
        super().__init__(features, answers)
        self.rate = rate
        self.stochastic = False

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training or self.stochastic):
            return super().forward(x)
        # A mask for each image: images of one batch are independent samples.
        kept = torch.rand(len(x), *self.weight.shape, device=x.device) >= self.rate
        weight = self.weight * kept / (1 - self.rate)
        return torch.einsum("ni,noi->no", x, weight.to(x.dtype)) + self.bias


class GhoshalDropWeights(nn.Module):
    """ResNet-50 with drop-weights before its logit, left on in prediction: after Ghoshal and Tucker (arXiv:2003.10769).

    23,510,081 parameters (Keras's ResNet-50 has 23.6 M: its convolutions have biases). The rate is not printed: 0.5 is
    ours. `training.uncertainty` gives the mean of several passes, the predictive entropy and BALD.

    Shape: (N, channels, H, W) in [0, 1] -> (N, 1) logits.
    """

    gives_masks, multiple, smallest = False, 1, 32
    answers = 1

    def __init__(self, width: float = 1.0, channels: int = 3, rate: float = 0.5) -> None:
        super().__init__()
        self.features, count = _resnet(50, width, channels)
        self.fc = DropWeights(count, 1, rate)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.features(x))
        return logits


class ZhangAnomaly(nn.Module):
    """ResNet-18 with a score and an anomaly head: after Zhang, Xie, Li, Shen, Xia (arXiv:2003.12338, version 1).

    The classification head is trained with cross-entropy. The anomaly head gives a value that is to lie near the mean
    of draws of a standard normal distribution for images without COVID-19, and `DEVIATION_MARGIN` standard deviations
    above it for the others. Their weights, the anomaly head's hidden layer and how the two become one score are not
    printed; ours: 1 and 1, 100 units, and the mean of the logit and of the deviation less half of the margin.

    Shape: (N, channels, H, W) in [0, 1] -> (N, 1) logits.
    """

    gives_masks, multiple, smallest = False, 1, 32
    answers = 1

    def __init__(self, width: float = 1.0, channels: int = 3) -> None:
        super().__init__()
        self.features, count = _resnet(18, width, channels)
        self.classification = nn.Linear(count, 1)
        self.anomaly = nn.Sequential(nn.Linear(count, 100), nn.ReLU(inplace=True), nn.Linear(100, 1))
        draws = torch.randn(REFERENCE_DRAWS, generator=torch.Generator().manual_seed(0))
        self.register_buffer("mean", draws.mean())
        self.register_buffer("deviation", draws.std())

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 1) logit and (N, 1) deviation, in standard deviations of the reference."""
        found = self.features(x)
        away = (self.anomaly(found) - self._buffer("mean")) / self._buffer("deviation")
        return self.classification(found), away

    def _buffer(self, name: str) -> Tensor:
        return self.get_buffer(name)

    def training_loss(self, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The (N, 1) logits and the loss of one batch; target (N, 1) of 0 and 1."""
        logit, away = self.heads(x)
        loss = F.binary_cross_entropy_with_logits(logit.float(), target)
        return self._score(logit, away), loss + deviation_loss(away.float(), target)

    @staticmethod
    def _score(logit: Tensor, away: Tensor) -> Tensor:
        return (logit + away - DEVIATION_MARGIN / 2) / 2

    def forward(self, x: Tensor) -> Tensor:
        return self._score(*self.heads(x))


def deviation_loss(away: Tensor, target: Tensor) -> Tensor:
    """(1 - y) |d| + y max(0, margin - d), the mean over (N, 1). Source: Pang, Shen, van den Hengel, KDD 2019."""
    return ((1 - target) * away.abs() + target * (DEVIATION_MARGIN - away).clamp(min=0)).mean()


class _Pepx(nn.Sequential):
    """Project, expand, depth-wise 3x3, project, extend: n_in -> n/4 -> n/2 -> n/2 -> n/8 -> n."""

    def __init__(self, before: int, count: int) -> None:
        first, second, third = max(1, count // 4), max(1, count // 2), max(1, count // 8)
        super().__init__(
            nn.Conv2d(before, first, 1),
            nn.Conv2d(first, second, 1),
            nn.Conv2d(second, second, 3, padding=1, groups=second),
            nn.Conv2d(second, third, 1),
            nn.Conv2d(third, count, 1),
            nn.ReLU(inplace=True),
        )


class CovidNet(nn.Module):
    """After COVID-Net (Wang, Lin, Wong, arXiv:2003.09871, April 2020).

    Its figure gives the stages (3, 4, 6 and 3 PEPX blocks of 256, 512, 1024 and 2048 channels), the long-range 1x1
    convolutions, the sums and the fully connected layers (100,352 -> 1024 -> 1024). The blocks' inner widths came from
    a private generator and are unpublished: ours (n/4, n/2, n/8) are chosen so that the count, 117,314,977, agrees with
    the published 117.4 M. With one output in place of three.

    Shape: (N, channels, H, W) in [0, 1], H and W as given, multiples of 32 -> (N, 1) logits.
    """

    gives_masks, multiple, smallest = False, 32, 32
    answers, needs_size = 1, True

    def __init__(self, width: float = 1.0, channels: int = 3, size: tuple[int, int] = (224, 224)) -> None:
        super().__init__()
        previous = scaled(64, width)
        self.stem = nn.Sequential(nn.Conv2d(channels, previous, 7, 2, padding=3), nn.ReLU(inplace=True))
        self.long = nn.ModuleList()
        self.stages = nn.ModuleList()
        for filters, blocks in ((256, 3), (512, 4), (1024, 6), (2048, 3)):
            count = scaled(filters, width)
            self.long.append(nn.Conv2d(previous, count, 1))
            made = [_Pepx(previous if not index else count, count) for index in range(blocks)]
            self.stages.append(nn.ModuleList(made))
            previous = count
        dense = scaled(1024, width)
        self.dense = nn.Sequential(
            nn.Linear(previous * (size[0] // 32) * (size[1] // 32), dense),
            nn.ReLU(inplace=True),
            nn.Linear(dense, dense),
            nn.ReLU(inplace=True),
        )
        self.fc = nn.Linear(dense, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for long, stage in zip(self.long, self.stages, strict=True):
            x = F.max_pool2d(x, 2)
            total = long(x)
            for index, block in enumerate(_modules(stage)):
                total = total + block(x if not index else total)
            # The sum over a stage grows with its length; its mean keeps the scale.
            x = total / (len(_modules(stage)) + 1)
        # Channels-last memory would flatten in another order than the plain one.
        logits: Tensor = self.fc(self.dense(x.contiguous().flatten(1)))
        return logits


def _modules(stage: Any) -> list[nn.Module]:
    return list(stage)
