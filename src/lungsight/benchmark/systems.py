"""Which systems stand on the bench, and what their own papers say of them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from lungsight.config import Recipe, load_recipe
from lungsight.errors import ConfigError
from lungsight.records import Record

REDUCED_EPOCHS, REDUCED_BATCH = 2, 16
"""Within a budget: an epoch is so many images as the plan says, not all of them."""


REDUCED_WIDTH = 0.25


class Headline(Record, frozen=True):
    """A paper's own figure, as counts, so that its interval can be given."""

    words: str
    successes: int = 0
    n: int = 0
    """0: the counts are not known."""


class System(Record, frozen=True):
    """One system, by the name of its recipe."""

    name: str
    title: str
    recipe: str
    headline: Headline
    start: str = "noise"
    """What its own paper started from."""
    small: bool = False
    """Keeps its own width at reduced size."""


SYSTEMS: tuple[System, ...] = (
    System(
        "paper-cnn", "The reproduced paper's CNN", "paper-diagnosis", Headline("accuracy 0.9666", 1855, 1919),
        small=True,
    ),
    System("lungs-cnn", "Lungs alone, as shipped", "diagnosis", Headline("none: it is ours"), small=True),
    System(
        "efficientnet-lite0", "EfficientNet-Lite0 from ImageNet", "efficientnet-lite0",
        Headline("none: it is ours"), "ImageNet", small=True,
    ),
    System(
        "narin-resnet50", "Narin et al., ResNet-50", "narin-resnet50",
        Headline("accuracy 98 % by 5 folds, as the reproduced paper quotes it", 98, 100), "ImageNet",
    ),
    System(
        "covidx-vgg19", "COVIDX-Net, VGG-19", "covidx-vgg19",
        Headline("accuracy 90 %, as lists quote it", 9, 10), "ImageNet",
    ),
    System(
        "covidx-densenet201", "COVIDX-Net, DenseNet-201", "covidx-densenet201",
        Headline("accuracy 90 %, as lists quote it", 9, 10), "ImageNet",
    ),
    System(
        "ghoshal-dropweights", "Ghoshal and Tucker, drop-weights", "ghoshal-dropweights",
        Headline("none that could be read"), "ImageNet",
    ),
    System(
        "zhang-anomaly", "Zhang et al., anomaly head", "zhang-anomaly",
        Headline("sensitivity 96.00 % (specificity 70.65 %)", 96, 100), "ImageNet",
    ),
    System(
        "covid-net", "After COVID-Net", "covid-net",
        Headline("sensitivity 87.1 % (accuracy 92.6 %), April 2020", 27, 31), "ImageNet",
    ),
    System(
        "tartaglione-resnet18", "Tartaglione et al., ResNet-18", "tartaglione-resnet18",
        Headline("none: it warns of small sets"), "ImageNet, then pneumonia",
    ),
    System(
        "tartaglione-resnet50", "Tartaglione et al., ResNet-50", "tartaglione-resnet50",
        Headline("none: it warns of small sets"), "ImageNet, then pneumonia",
    ),
)  # fmt: skip


def choose_systems(names: Sequence[str] | None) -> tuple[System, ...]:
    """The systems of these names, in the order of the bench; all where none is named.

    Raises:
        ConfigError: there is no such system.
    """
    known = {system.name: system for system in SYSTEMS}
    for name in names or ():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(known)}"
            raise ConfigError(f"there is no system {name!r}", code="system", where="--systems", hint=hint)
    return tuple(system for system in SYSTEMS if not names or system.name in names)


def bench_recipe(
    system: System, *, side: int | None, width: float | None, folds: int, seed: int, views: int = 0
) -> Recipe:
    """The system's recipe on the bench's folds; with `side` at reduced size, width and epochs.

    At reduced size every system is trained alike (AdamW at 0.001 along a cosine, batches of 16, no balancing): the
    papers' rates and epochs are for an ImageNet start and days of a GPU, and leave a network near its noise otherwise.
    A recipe with a start keeps its own rate, and a small network its own width.

    Args:
        views: images shown in training; 0: each training image once an epoch.
    """
    recipe = load_recipe(system.recipe)
    changes: dict[str, object] = {
        "split.kind": "patient",
        "split.only_source": "",
        "split.folds": folds,
        "training.seed": seed,
    }
    if side is not None:
        masked = recipe.data.crop_mode == "crop_to_lungs"
        changes |= {
            "data.size": [side, side],
            "data.resize_to": [2 * side, 2 * side] if masked else [0, 0],
            "data.crop": [cut * side // recipe.data.size[0] for cut in recipe.data.crop],
            "network.width": recipe.network.width if system.small else width or REDUCED_WIDTH,
            "training.epochs": REDUCED_EPOCHS,
            "training.images_per_epoch": -(-views // REDUCED_EPOCHS),
            "training.batch": REDUCED_BATCH,
            "training.learning_rate": recipe.training.learning_rate if recipe.training.start else 1e-3,
            "training.optimiser": "adamw",
            "training.weight_decay": 0.01,
            "training.schedule": "cosine",
            "training.patience": 0,
            "training.checkpoint": "last",
            "training.ema_decay": 0.0,
            "training.balance": "none",
        }
    return recipe.with_settings(**changes)
