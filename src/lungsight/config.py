"""Recipes: what a training run is, as TOML in and frozen dataclasses out.

A recipe is one of the shipped names (`recipe_names()`) or a path to a TOML file. Every setting is
checked when it is read; an unknown key is an error that names the nearest known one.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from lungsight.errors import ConfigError


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """Which network, and how wide."""

    name: str = "paper-unet"
    width: float = 1.0
    """Every filter count is multiplied by this and rounded, at least 1."""


@dataclass(frozen=True, slots=True)
class DataSettings:
    """What a network is shown."""

    size: tuple[int, int] = (256, 256)
    """(h, w) of what the network is shown, before the crop."""
    working: tuple[int, int] = (0, 0)
    """(h, w) to which every image is resized first, where the view `lungs` cuts a part out of it; 0, 0: `size`."""
    channels: Literal[1, 3] = 3
    """3: the grey image three times, as the paper's RGB input; 1: grey."""
    crop: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Pixels cut off the resized image: top, left, bottom, right."""
    view: Literal["whole", "masked", "lungs"] = "whole"
    """whole: the image; masked: 0 outside the lungs; lungs: masked, cut to the lungs' box, grey levels of their own."""
    grow: float = 0.0
    """Growth of the mask for the views `masked` and `lungs`, as a share of the longer side."""

    @property
    def resized(self) -> tuple[int, int]:
        """(h, w) to which every image is resized first."""
        return self.size if self.working == (0, 0) else self.working


@dataclass(frozen=True, slots=True)
class SplitSettings:
    """Which images train, choose and report."""

    kind: Literal["paper", "patient"] = "paper"
    """paper: 70 / 30 by image; patient: 70 / 15 / 15, every patient in one part only."""
    non_covid_limit: int = 0
    """Use only so many non-COVID training images; 0: all."""
    fold: int = -1
    """Which fold of `folds` is the test part; -1: no folds."""
    folds: int = 5
    only_source: str = ""
    """Train, choose and report on the images of this source alone; '': all."""


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How the weights are found."""

    epochs: int = 15
    batch: int = 8
    learning_rate: float = 1e-3
    optimiser: Literal["adam", "adamw"] = "adam"
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    loss: Literal["bce", "bce-dice"] = "bce"
    patience: int = 0
    """Stop after so many epochs without a better validation loss; 0: never."""
    keep: Literal["last", "best"] = "last"
    """Which weights a run ends with: the last epoch's, or those of the lowest validation loss."""
    averaging: float = 0.0
    """Decay of an exponential moving average of the weights; 0: none."""
    augmentation: Literal["none", "lungs", "diagnosis", "gate"] = "none"
    balance: Literal["none", "source-and-class"] = "none"
    """source-and-class: every (source, class) is drawn more evenly, by the square root of its count."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 multiplications where the machine has them, weights in float32 always."""
    seed: int = 2020


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """How figures are taken."""

    threshold: float = 0.5
    """On the probability; for `lungs` the paper's is 0.2."""
    choose_threshold: bool = False
    """Choose the threshold on the validation part instead."""
    flip: bool = False
    """`lungs`: answer with the mean over the image and its mirror image, at twice the cost."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One training run, resolved."""

    name: str
    task: Literal["lungs", "diagnosis", "gate"]
    network: NetworkSettings = field(default_factory=NetworkSettings)
    data: DataSettings = field(default_factory=DataSettings)
    split: SplitSettings = field(default_factory=SplitSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)

    def with_settings(self, **changes: Any) -> Recipe:
        """A copy with settings changed by dotted name: `recipe.with_settings(**{"training.epochs": 3})`.

        Raises:
            ConfigError: an unknown name or a value out of range.
        """
        table = to_table(self)
        for name, value in changes.items():
            target, *rest = reversed(name.split("."))
            inner = table
            for part in reversed(rest):
                inner = inner.setdefault(part, {})
                if not isinstance(inner, dict):
                    raise ConfigError(f"there is no setting {name!r}", where=self.name)
            inner[target] = value
        return from_table(table, where=self.name)


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
    """
    if str(name_or_path) in recipe_names():
        text = (resources.files("lungsight") / "recipes" / f"{name_or_path}.toml").read_text("utf-8")
    else:
        path = Path(name_or_path)
        if not path.is_file():
            raise ConfigError(
                f"there is no recipe {str(name_or_path)!r}",
                hint=f"Shipped recipes: {', '.join(recipe_names())}; or give the path of a TOML file",
            )
        text = path.read_text("utf-8", errors="replace")
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"is not TOML: {error}", where=name_or_path) from error
    return from_table(table, where=str(name_or_path)).with_settings(**dict(map(_parse_setting, settings)))


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


def from_table(table: Mapping[str, Any], *, where: str = "recipe") -> Recipe:
    """Check a table as TOML gives it and make a `Recipe` of it; raises ConfigError."""
    recipe: Recipe = _build(Recipe, table, where, "")
    training, data = recipe.training, recipe.data
    for name, ok, need in (
        ("network.width", 0 < recipe.network.width <= 4, "above 0, at most 4"),
        ("data.size", all(16 <= side <= 2048 for side in data.size), "from 16 to 2048"),
        (
            "data.working",
            all(side == 0 or 16 <= side <= 2048 for side in data.working),
            "0, or from 16 to 2048",
        ),
        (
            "data.working",
            data.view == "lungs" or data.working in ((0, 0), data.size),
            "0 but for the view 'lungs'",
        ),
        ("data.crop", all(cut >= 0 for cut in data.crop), "0 or more"),
        (
            "data.crop",
            data.size[0] > data.crop[0] + data.crop[2] and data.size[1] > data.crop[1] + data.crop[3],
            "smaller than data.size",
        ),
        ("data.crop", recipe.task != "lungs" or not any(data.crop), "0 where the task is 'lungs'"),
        ("data.grow", 0 <= data.grow <= 0.5, "from 0 to 0.5"),
        ("training.epochs", 1 <= training.epochs <= 10_000, "from 1 to 10000"),
        ("training.batch", 1 <= training.batch <= 4096, "from 1 to 4096"),
        ("training.learning_rate", 0 < training.learning_rate < 1, "above 0, below 1"),
        ("training.weight_decay", 0 <= training.weight_decay < 1, "from 0, below 1"),
        ("training.averaging", 0 <= training.averaging < 1, "from 0, below 1"),
        ("training.patience", training.patience >= 0, "0 or more"),
        ("training.seed", 0 <= training.seed < 2**32, "from 0, below 2^32"),
        ("evaluation.threshold", 0 < recipe.evaluation.threshold < 1, "between 0 and 1"),
        ("evaluation.flip", not recipe.evaluation.flip or recipe.task == "lungs", "false but for lungs"),
        ("split.non_covid_limit", recipe.split.non_covid_limit >= 0, "0 or more"),
        (
            "split.folds",
            3 <= recipe.split.folds <= 100,
            "from 3: one part tests, one chooses, the rest train",
        ),
        ("split.fold", -1 <= recipe.split.fold < recipe.split.folds, "-1, or below split.folds"),
    ):
        if not ok:
            raise ConfigError(f"{name} must be {need}", where=where)
    return recipe


def _build(kind: Any, table: Mapping[str, Any], where: str, prefix: str) -> Any:
    fields = {item.name: item for item in dataclasses.fields(kind)}
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{prefix}{key}"
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            raise ConfigError(
                f"there is no setting {name!r}",
                where=where,
                hint=f"Did you mean {prefix + near[0]!r}?" if near else f"Known: {', '.join(fields)}",
            )
        hint = hints[key]
        if dataclasses.is_dataclass(hint):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{name} must be a table", where=where)
            values[key] = _build(hint, value, where, f"{name}.")
        else:
            values[key] = _convert(hint, value, where, name)
    missing = [n for n, f in fields.items() if n not in values and _required(f)]
    if missing:
        raise ConfigError(f"lacks the setting {prefix + missing[0]!r}", where=where)
    return kind(**values)


def _required(item: dataclasses.Field[Any]) -> bool:
    return item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING


def _convert(hint: Any, value: Any, where: str, name: str) -> Any:
    origin = typing.get_origin(hint)
    if origin is Literal:
        choices = typing.get_args(hint)
        # Compared with its type: 1.0 and True equal 1.
        if (type(value), value) not in [(type(choice), choice) for choice in choices]:
            raise ConfigError(f"{name} is {value!r}, not one of {', '.join(map(repr, choices))}", where=where)
        return value
    if origin is tuple:
        parts = typing.get_args(hint)
        if not isinstance(value, list | tuple) or len(value) != len(parts):
            raise ConfigError(f"{name} must be a list of {len(parts)} numbers", where=where)
        return tuple(_convert(part, item, where, name) for part, item in zip(parts, value, strict=True))
    if isinstance(hint, types.UnionType):  # pragma: no cover - no setting uses one today
        raise TypeError(f"{name}: unions are not supported")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ConfigError(f"{name} must be {_WORDS[hint]}, not {value!r}", where=where)
    return value


_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def to_table(recipe: Recipe) -> dict[str, Any]:
    """The recipe as nested plain values."""
    return dataclasses.asdict(recipe)


def to_toml(recipe: Recipe) -> str:
    """The resolved recipe as TOML; `load_recipe` reads it back to an equal recipe."""
    lines: list[str] = []
    table = to_table(recipe)
    for key, value in table.items():
        if not isinstance(value, dict):
            lines.append(f"{key} = {_toml(value)}")
    for key, value in table.items():
        if isinstance(value, dict):
            lines += ["", f"[{key}]"] + [f"{inner} = {_toml(item)}" for inner, item in value.items()]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{"".join(map(_escape, value))}"'
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return repr(value)


def _escape(letter: str) -> str:
    if letter in '"\\':
        return f"\\{letter}"
    return f"\\u{ord(letter):04x}" if ord(letter) < 32 or ord(letter) == 127 else letter
