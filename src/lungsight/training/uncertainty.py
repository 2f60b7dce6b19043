"""What several passes of a network with drop-weights say, and how far they agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lungsight.config import Recipe
from lungsight.errors import ModelError
from lungsight.networks.cited import DropWeights
from lungsight.training.data import to_input
from lungsight.training.device import Device
from lungsight.training.module import channels_last
from lungsight.training.predict import predict


@dataclass(frozen=True, slots=True)
class Uncertain:
    """Probabilities of an ensemble or of several passes; every array (N,)."""

    probability: NDArray[np.float64]
    """Mean over the passes, in [0, 1]."""
    entropy: NDArray[np.float64]
    """Of the mean, in nats: 0 to log 2. What is not known of the image, from whatever cause."""
    information: NDArray[np.float64]
    """BALD: the entropy of the mean less the mean entropy, 0 or more. What the passes do not agree on."""


def summarise(passes: NDArray[np.floating]) -> Uncertain:
    """Mean, predictive entropy and BALD of probabilities (T, N).

    Source: Houlsby et al., arXiv:1112.5745 (BALD); Ghoshal and Tucker, arXiv:2003.10769.

    Example:
        >>> import numpy as np
        >>> found = summarise(np.array([[0.0, 0.5], [1.0, 0.5]]))
        >>> found.probability.tolist(), found.entropy.round(3).tolist(), found.information.round(3).tolist()
        ([0.5, 0.5], [0.693, 0.693], [0.693, 0.0])
    """
    values = np.asarray(passes, np.float64)
    mean = values.mean(axis=0)
    entropy = binary_entropy(mean)
    return Uncertain(mean, entropy, np.maximum(entropy - binary_entropy(values).mean(axis=0), 0.0))


def binary_entropy(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """-p log p - (1 - p) log (1 - p) in nats, 0 at 0 and 1; any shape."""
    kept = np.clip(probability, 1e-300, 1.0)
    other = np.clip(1.0 - probability, 1e-300, 1.0)
    return np.asarray(-(probability * np.log(kept) + (1.0 - probability) * np.log(other)))


def predict_passes(
    network: nn.Module,
    recipe: Recipe,
    inputs: NDArray[np.uint8],
    *,
    passes: int = 20,
    seed: int = 0,
    batch: int = 16,
    device: str = "auto",
) -> NDArray[np.float32]:
    """Probabilities (T, N) of a network whose drop-weights stay on.

    Args:
        inputs: (N, h, w) uint8, as `prepare` makes them.
        passes: T, 2 or more.
        seed: of the drop-weights; equal seeds give equal passes on one machine.

    Raises:
        ModelError: the network has no drop-weights.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, DropWeights)]
    if not layers:
        raise ModelError("the network has no drop-weights: every pass would give the same", where=recipe.name)
    features, last = getattr(network, "features", None), getattr(network, "fc", None)
    if layers == [last] and isinstance(features, nn.Module):
        return _passes_of_last(features, layers[0], recipe, inputs, passes, seed, batch, device)
    try:
        for layer in layers:
            layer.stochastic = True
        found = []
        with torch.random.fork_rng():
            for number in range(passes):
                torch.manual_seed(seed * 100_003 + number)
                found.append(predict(network, recipe, inputs, batch=batch, device=device))
    finally:
        for layer in layers:
            layer.stochastic = False
    return np.stack(found)


def has_drop_weights(network: nn.Module) -> bool:
    """Whether `predict_passes` takes it."""
    return any(isinstance(layer, DropWeights) for layer in network.modules())


def _passes_of_last(
    features: nn.Module,
    last: DropWeights,
    recipe: Recipe,
    inputs: NDArray[np.uint8],
    passes: int,
    seed: int,
    batch: int,
    device: str,
) -> NDArray[np.float32]:
    """The same where nothing but the last layer changes from pass to pass: its input is computed once."""
    place = Device.of(device).torch
    features, last = channels_last(features.to(place)).eval(), last.to(place)
    parts = []
    with torch.inference_mode():
        for start in range(0, len(inputs), batch):
            images = to_input(inputs[start : start + batch], recipe.data.channels).to(place)
            parts.append(features(images).float())
    found = []
    try:
        last.stochastic = True
        with torch.inference_mode(), torch.random.fork_rng():
            for number in range(passes):
                torch.manual_seed(seed * 100_003 + number)
                logits = [last(part).squeeze(1) for part in parts]
                found.append(torch.sigmoid(torch.cat(logits)).cpu().numpy())
    finally:
        last.stochastic = False
    return np.stack(found)
