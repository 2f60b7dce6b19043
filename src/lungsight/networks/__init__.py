"""Networks by name. Everything here needs PyTorch (`lungsight[train]`)."""

from __future__ import annotations

from typing import Any

from torch import nn

from lungsight.errors import ConfigError
from lungsight.networks import cited
from lungsight.networks.efficientnet_lite import EfficientNetLite0Score
from lungsight.networks.ours import (
    GATE_CLASSES,
    OUTPUTS,
    GateCNN,
    LungHeartUNet,
    LungsCNN,
    LungsEnsemble,
    LungUNet,
    Mirrored,
)
from lungsight.networks.paper import PaperCNN, PaperUNet

__all__ = [
    "GATE_CLASSES",
    "NETWORKS",
    "OUTPUTS",
    "GateCNN",
    "LungHeartUNet",
    "LungUNet",
    "LungsCNN",
    "LungsEnsemble",
    "Mirrored",
    "PaperCNN",
    "PaperUNet",
    "build",
    "check",
    "count_parameters",
]

NETWORKS: dict[str, Any] = {
    "paper-unet": PaperUNet,
    "paper-cnn": PaperCNN,
    "lung-unet": LungUNet,
    "lung-heart-unet": LungHeartUNet,
    "lungs-cnn": LungsCNN,
    "gate-cnn": GateCNN,
    "narin-resnet50": cited.ResNetScore,
    "tartaglione-resnet18": cited.TartaglioneResNet18,
    "tartaglione-resnet50": cited.TartaglioneResNet50,
    "covidx-vgg19": cited.CovidxVGG19,
    "covidx-densenet201": cited.CovidxDenseNet201,
    "densenet121": cited.DenseNet121,
    "ghoshal-dropweights": cited.GhoshalDropWeights,
    "zhang-anomaly": cited.ZhangAnomaly,
    "covid-net": cited.CovidNet,
    "efficientnet-lite0": EfficientNetLite0Score,
}


def build(
    name: str, *, width: float = 1.0, channels: int = 3, size: tuple[int, int] | None = None
) -> nn.Module:
    """Make a network with fresh weights (drawn from torch's global generator).

    Args:
        name: a key of `NETWORKS`.
        width: factor on every filter count.
        channels: channels of the input.
        size: (h, w) of the input, for networks whose weights depend on it (`paper-cnn`, `covid-net`).

    Raises:
        ConfigError: no network has that name, or it cannot take that size.
    """
    check(name, size=size)
    options: dict[str, Any] = {"width": width, "channels": channels}
    if getattr(NETWORKS[name], "needs_size", False) and size is not None:
        options["size"] = size
    network: nn.Module = NETWORKS[name](**options)
    return network


def check(
    name: str,
    *,
    size: tuple[int, int] | None = None,
    masks: bool | None = None,
    answers: int | None = None,
) -> None:
    """Whether a network takes this input and gives this answer, without making it.

    Args:
        name: a key of `NETWORKS`.
        size: (h, w) of the input.
        masks: True: a mask is wanted, False: a score.
        answers: values wanted for each image or pixel.

    Raises:
        ConfigError: it does not exist or does not fit; the message says which do.
    """
    if name not in NETWORKS:
        raise ConfigError(f"there is no network {name!r}", hint=f"Known: {', '.join(NETWORKS)}")
    kind = NETWORKS[name]
    if masks is not None and kind.gives_masks is not masks:
        fitting = [other for other, found in NETWORKS.items() if found.gives_masks is masks]
        raise ConfigError(
            f"the network {name!r} gives {'a score' if masks else 'masks'}, the recipe wants "
            f"{'masks' if masks else 'a score'}",
            hint=f"Use {' or '.join(fitting)}",
        )
    if answers is not None and kind.answers != answers:
        fitting = [other for other, found in NETWORKS.items() if found.answers == answers]
        raise ConfigError(
            f"the network {name!r} gives {kind.answers} values, the recipe wants {answers}",
            hint=f"Use {' or '.join(fitting)}",
        )
    if size is not None and (min(size) < kind.smallest or any(side % kind.multiple for side in size)):
        need = f"of {kind.smallest} or more" + (
            f", multiples of {kind.multiple}" if kind.multiple > 1 else ""
        )
        raise ConfigError(
            f"the network {name!r} needs sides {need}; after the crop the input is {size[0]} x {size[1]}",
            hint="Change data.size or data.crop",
        )


def count_parameters(network: nn.Module) -> int:
    """Number of trainable values."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
