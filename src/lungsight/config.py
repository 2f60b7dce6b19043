"""Recipes: what a training run is, as records that TOML files hold.

A recipe is one of the shipped names (`recipe_names()`) or a path to a TOML file. Every setting is
checked when it is read, by the limits that stand beside it; an unknown key is an error that names the nearest one.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, field

from lungsight.errors import ConfigError
from lungsight.records import Record, build, from_toml, plain

Task = Literal["lungs", "diagnosis", "gate", "severity"]
CropMode = Literal["resize", "apply_mask", "crop_to_lungs"]
"""resize: the whole image; apply_mask: 0 outside the lungs; crop_to_lungs: masked, cut to the lungs' box, with grey
levels of their own."""
Convention = Literal["full", "visible"]
"""Lungs as drawn in V7's masks, with what heart and diaphragm hide, or as far as they are seen beside them."""
OLD_CROP_MODES: dict[Any, str] = {
    "whole": "resize",
    "squash": "resize",
    "masked": "apply_mask",
    "lungs": "crop_to_lungs",
    "lungs-only": "crop_to_lungs",
}
"""Names in recipes and cards that were written before."""

Side = Annotated[int, Meta(ge=16, le=2048)]
Count = Annotated[int, Meta(ge=0)]
Dilation = Annotated[float, Meta(ge=0, le=0.5)]
Probability = Annotated[float, Meta(gt=0, lt=1)]


class NetworkSettings(Record, frozen=True):
    """Which network, and how wide."""

    name: str = "paper-unet"
    width: Annotated[float, Meta(gt=0, le=4)] = 1.0
    """Every filter count is multiplied by this and rounded, at least 1."""


class DataSettings(Record, frozen=True):
    """What a network is shown."""

    size: tuple[Side, Side] = (256, 256)
    """(h, w) of what the network is shown, before the crop."""
    resize_to: tuple[Side, Side] | None = None
    """(h, w) to which every image is resized first, where `crop_to_lungs` cuts a part out of it; None: `size`."""
    channels: Literal[1, 3] = 3
    """3: the grey image three times, as the paper's RGB input; 1: grey."""
    crop: tuple[Count, Count, Count, Count] = (0, 0, 0, 0)
    """Pixels cut off the resized image: top, left, bottom, right."""
    crop_mode: CropMode = "resize"
    """Whether the network sees the whole image, the lungs in their place, or the lungs alone."""
    equalise: bool = False
    """Spread the grey levels of the resized image evenly first (its histogram becomes flat)."""
    dilation: Dilation = 0.0
    """Growth of the mask for `apply_mask` and `crop_to_lungs`, as a fraction of the longer side."""
    target: Annotated[str, Meta(min_length=1, max_length=500)] = "COVID-19"
    """`diagnosis`: what is asked of each image, as `lungsight.dataset.with_target` takes it."""
    uncertain: Literal["negative", "positive", "drop"] = "drop"
    """What 'possible X', and -1 in a table of labels, count as."""

    old_names: ClassVar = {"working": "resize_to", "view": "crop_mode", "grow": "dilation"}

    @classmethod
    def upgrade(cls, values: dict[str, Any]) -> dict[str, Any]:
        changed = dict(values)
        if isinstance(mode := changed.get("crop_mode"), str):
            changed["crop_mode"] = OLD_CROP_MODES.get(mode, mode)
        if changed.get("target") == "":
            changed["target"] = "COVID-19"
        if changed.get("resize_to") in ([0, 0], (0, 0)):
            changed["resize_to"] = None
        return changed

    def __post_init__(self) -> None:
        if self.resize_to not in (None, self.size) and self.crop_mode != "crop_to_lungs":
            raise ValueError("resize_to must be left out but for the crop_mode 'crop_to_lungs'")
        (height, width), (top, left, bottom, right) = self.size, self.crop
        if top + bottom >= height or left + right >= width:
            raise ValueError("crop must be smaller than size")

    @property
    def resized(self) -> tuple[int, int]:
        """(h, w) to which every image is resized first."""
        return self.resize_to or self.size

    @property
    def input_size(self) -> tuple[int, int]:
        """(h, w) of what the network gets, after the crop."""
        (height, width), (top, left, bottom, right) = self.size, self.crop
        return (
            self.size if self.crop_mode == "crop_to_lungs" else (height - top - bottom, width - left - right)
        )


class SplitSettings(Record, frozen=True):
    """Which images train, choose and report."""

    kind: Literal["paper", "patient"] = "paper"
    """paper: 70 / 30 by image; patient: 70 / 15 / 15, every patient in one part only."""
    non_covid_limit: Count = 0
    """Use only so many non-COVID training images; 0: all."""
    fold: Annotated[int, Meta(ge=-1)] = -1
    """Which fold of `folds` is the test part; -1: no folds."""
    folds: Annotated[int, Meta(ge=3, le=100)] = 5
    """At least 3: one part tests, one chooses, the rest train."""
    only_source: str = ""
    """Train, choose and report on the images of this source alone; '': all."""
    leave_out: str = ""
    """`lungs`: the images of this source neither train nor choose, all of them report; '': none."""
    parts: str = ""
    """A CSV of id and part (a shipped one by name) for rows whose part is not drawn; '': all are drawn."""

    def __post_init__(self) -> None:
        if self.fold >= self.folds:
            raise ValueError("fold must be -1, or below split.folds")


class TrainingSettings(Record, frozen=True):
    """How the weights are found."""

    epochs: Annotated[int, Meta(ge=1, le=10_000)] = 15
    batch: Annotated[int, Meta(ge=1, le=4096)] = 8
    learning_rate: Annotated[float, Meta(gt=0, lt=1)] = 1e-3
    optimiser: Literal["adam", "adamw", "sgd"] = "adam"
    momentum: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    """Of `sgd`."""
    weight_decay: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    schedule: Literal["constant", "cosine", "plateau"] = "constant"
    """plateau: times `plateau_factor` after `plateau_patience` epochs without a better validation loss."""
    plateau_factor: Annotated[float, Meta(gt=0, lt=1)] = 0.1
    plateau_patience: Count = 10
    loss: Literal["bce", "bce-dice", "focal"] = "bce"
    """focal: cross-entropy times (1 - p)^2 of the true class, so that what is easy counts less (Lin et al., 2017)."""
    patience: Count = 0
    """Stop after so many epochs without a better validation loss; 0: never."""
    checkpoint: Literal["last", "best"] = "last"
    """Which weights a run ends with: the last epoch's, or those of the lowest validation loss."""
    half_size_epochs: Count = 0
    """`lungs`: so many epochs at the beginning see images and masks at half the side, at a quarter of the cost."""
    images_per_epoch: Count = 0
    """How many images are drawn for an epoch, at most ten times as many as there are; 0: as many as there are."""
    ema_decay: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    """Decay of an exponential moving average of the weights; 0: none."""
    augmentation: Literal["none", "lungs", "diagnosis", "gate", "mild"] = "none"
    """mild: mirror, small turns, shifts, zoom and brightness, as the cited systems do."""
    balance: Literal["none", "source-and-class", "source"] = "none"
    """source-and-class: every (source, class) is drawn more evenly, by the square root of its count; source: every
    source is drawn equally often."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 multiplications where the machine has them, weights in float32 always."""
    seed: Annotated[int, Meta(ge=0, lt=2**32)] = 2020
    start: str = ""
    """The first weights: '' (drawn by the seed), 'shipped', 'imagenet' (EfficientNet-Lite0's), a run folder, or a file
    of weights. The run's folder says what was taken from it."""
    fixed_statistics: bool = False
    """Batch normalisation keeps the means and deviations of `start`, as befits few images and small batches."""

    teachers: dict[str, str] = field(default_factory=dict)
    """`lungs`, networks with several outputs: for each output by name, a folder of networks whose lung network's
    answer is learned too; knowledge distillation (Hinton et al., arXiv:1503.02531)."""
    teacher_weight: Annotated[float, Meta(ge=0, le=1)] = 0.5
    """Share of the teachers in the target where the annotation says something; elsewhere they are the whole target."""

    old_names: ClassVar = {"keep": "checkpoint", "averaging": "ema_decay"}


class EvaluationSettings(Record, frozen=True):
    """How metrics are taken."""

    threshold: Probability = 0.5
    """On the probability; for `lungs` the paper's is 0.2."""
    choose_threshold: bool = False
    """Choose the threshold on the validation part instead."""
    tta_flip: bool = False
    """`lungs`: answer with the mean over the image and its mirror image, at twice the cost."""

    old_names: ClassVar = {"flip": "tta_flip"}


class Recipe(Record, frozen=True):
    """One training run, resolved."""

    name: str
    task: Task
    network: NetworkSettings = field(default_factory=NetworkSettings)
    data: DataSettings = field(default_factory=DataSettings)
    split: SplitSettings = field(default_factory=SplitSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)

    def __post_init__(self) -> None:
        if self.task == "lungs" and any(self.data.crop):
            raise ValueError("data.crop must be 0 where the task is 'lungs'")
        if self.training.half_size_epochs and (self.task != "lungs" or self.training.teachers):
            raise ValueError("training.half_size_epochs must be 0 but for lungs without teachers")
        if self.task != "lungs" and self.evaluation.tta_flip:
            raise ValueError("evaluation.tta_flip must be false but for lungs")
        if self.task != "lungs" and self.split.leave_out:
            raise ValueError("split.leave_out must be empty but for lungs")

    def with_settings(self, **changes: Any) -> Recipe:
        """A copy with settings changed by dotted name: `recipe.with_settings(**{"training.epochs": 3})`.

        Raises:
            ConfigError: an unknown name or a value out of range.
        """
        table = plain(self)
        for name, value in changes.items():
            target, *rest = reversed(name.split("."))
            inner = table
            for part in reversed(rest):
                inner = inner.setdefault(part, {})
                if not isinstance(inner, dict):
                    raise ConfigError(f"{name} is not known", where=self.name)
            inner.pop(target, None)
            inner[target] = value  # the last one, so that an old name counts too
        return build(Recipe, table, where=self.name)


def recipe_names() -> tuple[str, ...]:
    """Names of the shipped recipes."""
    folder = resources.files("lungsight") / "recipes"
    return tuple(
        sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))
    )


def load_recipe(name_or_path: str | Path, settings: Sequence[str] = ()) -> Recipe:
    """Read a shipped recipe by name, or a TOML file by path.

    Args:
        name_or_path: e.g. 'paper-segmentation' or 'mine.toml'.
        settings: changes as a user types them: 'training.epochs=3', 'network.width=0.25'.

    Raises:
        ConfigError: no such recipe, not TOML, an unknown key, or a value of the wrong kind or range.

    Example:
        >>> from lungsight.config import load_recipe
        >>> load_recipe("paper-segmentation", ["training.epochs=3"]).training.epochs
        3
    """
    if str(name_or_path) in recipe_names():
        text = (resources.files("lungsight") / "recipes" / f"{name_or_path}.toml").read_text("utf-8")
    else:
        path = Path(name_or_path)
        if not path.is_file():
            near = difflib.get_close_matches(str(name_or_path), recipe_names(), n=1)
            asked = f"Did you mean {near[0]}? " if near else ""
            raise ConfigError(
                f"there is no recipe {str(name_or_path)!r}",
                hint=f"{asked}Shipped recipes: {', '.join(recipe_names())}; or give the path of a TOML file",
            )
        text = path.read_text("utf-8", errors="replace")
    recipe = from_toml(Recipe, text, where=str(name_or_path))
    return recipe.with_settings(**dict(map(_parse_setting, settings))) if settings else recipe


def _parse_setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(
            f"{text!r} is not a setting", hint="Write it as section.name=value, e.g. training.epochs=3"
        )
    try:
        return name.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name.strip(), value.strip()
