"""A trained network's answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lungsight.config import Recipe, load_recipe
from lungsight.errors import ModelError
from lungsight.inference import Failure, load_model
from lungsight.networks import Mirrored
from lungsight.training.data import network_inputs, to_input
from lungsight.training.device import Device
from lungsight.training.module import channels_last, make_network

SHIPPED = "shipped"
"""In place of a lung run: the lung network that ships."""


def load_run(folder: str | Path) -> tuple[Recipe, nn.Module]:
    """The recipe and the trained network of a run folder, ready to predict.

    Raises:
        ModelError: the folder holds no finished run, or a damaged one.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(folder) / "weights.safetensors"
    if not path.is_file():
        raise ModelError(
            "holds no finished run", where=folder, hint="Train first, or add --resume to finish it"
        )
    recipe = load_recipe(Path(folder) / "config.toml")
    network = make_network(recipe)
    try:
        network.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        raise ModelError(
            "the weights are damaged, or not those of config.toml beside them", where=path
        ) from error
    if recipe.evaluation.tta_flip:
        network = Mirrored(network)
    return recipe, network.eval()


def predict(
    network: nn.Module,
    recipe: Recipe,
    inputs: NDArray[np.uint8],
    *,
    batch: int = 16,
    device: str = "auto",
    plane: NDArray[np.int64] | int = 0,
) -> NDArray[np.float32]:
    """Probabilities of a trained network, in float32.

    Args:
        inputs: (N, h, w) uint8, as `prepare` makes them.
        device: as `Device.of` takes it.
        plane: which of `networks.OUTPUTS` is wanted, of all images or (N,) of each, of a network that gives several.

    Returns:
        (N, h, w) for lungs, (N,) for diagnosis, (N, K) for the gate.
    """
    place = Device.of(device).torch
    network = channels_last(network.to(place)).eval()
    parts = []
    planes = np.broadcast_to(np.asarray(plane, np.int64), (len(inputs),)).copy()
    with torch.inference_mode():
        for start in range(0, len(inputs), batch):
            images = to_input(inputs[start : start + batch], recipe.data.channels).to(place)
            logits = network(images).float()
            if logits.dim() == 4 and logits.shape[1] > 1:
                wanted = torch.from_numpy(planes[start : start + batch]).to(place)
                logits = logits[torch.arange(len(logits), device=place), wanted].unsqueeze(1)
            found = logits.softmax(dim=1) if recipe.task == "gate" else torch.sigmoid(logits).squeeze(1)
            parts.append(found.cpu().numpy())
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def predict_masks(run: Path, images: NDArray[np.uint8], *, device: str = "auto") -> NDArray[np.bool_]:
    """Lung masks (N, h, w) for images (N, h, w) uint8; none is True in an image that cannot be predicted.

    Args:
        run: a lung run, whose own size the images must have, or 'shipped', which takes any.

    Raises:
        ModelError: there is no such run.
    """
    if str(run) == SHIPPED:
        masks = np.zeros(images.shape, bool)
        for index, result in enumerate(load_model().predict_many(iter(images))):
            if not isinstance(result, Failure):
                masks[index] = result.labels > 0
        return masks
    recipe, network = load_run(run)
    if recipe.task != "lungs" or images.shape[1:] != recipe.data.resized:
        raise ModelError("is no lung run of this image size", where=run)
    inputs = network_inputs(images, np.ones(images.shape, bool), recipe.data)
    return np.asarray(predict(network, recipe, inputs, device=device) >= recipe.evaluation.threshold)
