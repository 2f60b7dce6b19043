"""State dicts in torchvision's names and format -> ours: ResNet, VGG and DenseNet with ImageNet's weights.

torchvision's networks take RGB less ImageNet's mean, over its standard deviation; ours take grey in [0, 1], three times
or once. The difference goes into the first convolution, so that the network computes the same on the same image: its
weights are divided by the deviations, and the constant goes into its bias, or into the running mean of the
normalisation that follows it. (At the image's edge, where zeros are padded, the two differ a little.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from lungsight.preprocess import IMAGENET

MEAN, DEVIATION = IMAGENET
_FIRST = (
    ("conv1.weight", "bn1.running_mean"),
    ("features.conv0.weight", "features.norm0.running_mean"),
    ("features.0.weight", "features.0.bias"),
)
"""First convolution of ResNet, DenseNet and VGG, and what takes the constant."""
_LAST = ("fc.", "classifier.")
_OLD_DENSE = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])\.")


def torchvision_names(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the names of our network, if they are torchvision's; as they are if not.

    Args:
        weights: by name. Files of 2017 write `denselayer1.norm.1` where torchvision now has `denselayer1.norm1`.
        own: the network's own state dict.

    Returns:
        A copy in which the last layer of ImageNet is left under its name, and the first convolution takes grey levels:
        three channels each their own weights, one channel the sum over them.
    """
    given = {_OLD_DENSE.sub(r"\1\2.", name): value for name, value in weights.items()}
    first = next(((a, b) for a, b in _FIRST if a in given and given[a].dim() == 4), None)
    if first is None or given[first[0]].shape[1] != 3 or _is_ours(given):
        return dict(weights)
    if first[1] not in given:
        return dict(weights)
    names = {_theirs(name): name for name in own if not name.startswith(_LAST)}
    return {names.get(name, name): value for name, value in _grey(given, own, names, *first).items()}


def _is_ours(given: Mapping[str, Tensor]) -> bool:
    # VGG's convolutions have one name in both; ours has a last layer `fc`, torchvision's `classifier`.
    return "features.0.weight" in given and any(name.startswith("fc.") for name in given)


def _theirs(name: str) -> str:
    """Our name of a weight -> torchvision's."""
    if name.startswith("network.features."):  # MONAI's DenseNet
        return name.removeprefix("network.").replace(".layers.", ".")
    if re.match(r"features\.\d", name):  # VGG
        return name
    return name.removeprefix("features.")


def _grey(
    given: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    names: Mapping[str, str],
    convolution: str,
    constant: str,
) -> dict[str, Tensor]:
    changed = dict(given)
    kernel = given[convolution].float()
    shape = (1, 3, 1, 1)
    scaled = kernel / torch.tensor(DEVIATION).reshape(shape)
    shift = (scaled * torch.tensor(MEAN).reshape(shape)).sum(dim=(1, 2, 3))
    # W (x - m) / s = (W / s) x - c: a bias takes -c; a running mean, which is subtracted, +c.
    changed[constant] = given[constant].float() + (-shift if constant.endswith("bias") else shift)
    target = own.get(names.get(convolution, ""))
    one_channel = target is not None and target.dim() == 4 and target.shape[1] == 1
    changed[convolution] = scaled.sum(dim=1, keepdim=True) if one_channel else scaled
    return changed
