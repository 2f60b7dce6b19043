"""Networks by name. Everything here needs PyTorch (`lungsight[train]`)."""

from __future__ import annotations

from typing import Any

from torch import nn

from lungsight.errors import ConfigError
from lungsight.networks.ours import LungsCNN, LungUNet
from lungsight.networks.paper import PaperCNN, PaperUNet

__all__ = ["NETWORKS", "LungUNet", "LungsCNN", "PaperCNN", "PaperUNet", "build", "count_parameters"]

NETWORKS: dict[str, Any] = {
    "paper-unet": PaperUNet,
    "paper-cnn": PaperCNN,
    "lung-unet": LungUNet,
    "lungs-cnn": LungsCNN,
}


def build(
    name: str, *, width: float = 1.0, channels: int = 3, size: tuple[int, int] | None = None
) -> nn.Module:
    """Make a network with fresh weights (drawn from torch's global generator).

    Args:
        name: a key of `NETWORKS`.
        width: factor on every filter count.
        channels: channels of the input.
        size: (h, w) of the input, for networks whose weights depend on it (`paper-cnn`).

    Raises:
        ConfigError: no network has that name.
    """
    if name not in NETWORKS:
        raise ConfigError(f"there is no network {name!r}", hint=f"Known: {', '.join(NETWORKS)}")
    options: dict[str, Any] = {"width": width, "channels": channels}
    if name == "paper-cnn" and size is not None:
        options["size"] = size
    network: nn.Module = NETWORKS[name](**options)
    return network


def count_parameters(network: nn.Module) -> int:
    """Number of trainable values."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
