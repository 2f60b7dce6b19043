"""What a trained network is on disk: `NAME.onnx`, and beside it `NAME.json`, its card.

The card says how to prepare the input, where the operating point lies, how the score becomes a
probability, and where the network comes from. It is checked when it is read; the ONNX bytes must have
the SHA-256 that it gives.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lungsight.errors import ModelError
from lungsight.files import write_bytes, write_json

FORMAT = 1
"""Version of the card's layout."""

Task = Literal["lungs", "diagnosis", "gate"]
Preprocessing = Literal["squash", "masked", "lungs-only"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_HINT = "Use a file that `lungsight export` made"


@dataclass(frozen=True, slots=True)
class InputSettings:
    """How pixels become the network's input, (N, channels, h, w) `float32` in [0, 1]."""

    size: tuple[int, int]
    """(h, w) of the input."""
    preprocessing: Preprocessing = "squash"
    """squash: the whole image; masked: 0 outside the lungs; lungs-only: `preprocess.crop_to_lungs`."""
    working: tuple[int, int] | None = None
    """(h, w) to which the image is squashed before the steps that follow; None: `size`."""
    crop: tuple[int, int, int, int] = (0, 0, 0, 0)
    """squash, masked: pixels cut off the squashed image (top, left, bottom, right), which leaves `size`."""
    grow: float = 0.0
    """masked and lungs-only: growth of the mask, as a share of the longer side."""
    channels: int = 1
    """1, or 3: the grey image three times."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Platt scaling: probability = sigmoid(slope * logit + intercept), with the fit's own uncertainty.

    Source: Platt, Advances in Large Margin Classifiers, 1999.
    """

    slope: float = 1.0
    intercept: float = 0.0
    replicates: tuple[tuple[float, float], ...] = ()
    """(slope, intercept) of bootstrap fits; the interval is their 2.5th to 97.5th percentile."""
    covariance: tuple[tuple[float, float], tuple[float, float]] | None = None
    """Of (slope, intercept), used where there are no replicates."""
    uncertain: tuple[float, float] | None = None
    """Probabilities between these are 'uncertain'; None: those whose interval holds the threshold."""
    prevalence: float | None = None
    """Share of COVID-19 among the images for which the probability holds; None: as in the training data."""
    method: Literal["platt"] = "platt"

    def probability(self, logit: float) -> float:
        """Calibrated probability in [0, 1] of one raw `logit`."""
        return _sigmoid(self.slope * logit + self.intercept)

    def interval(self, logit: float) -> tuple[float, float] | None:
        """95 % interval of `probability(logit)` from the fit's uncertainty; None if the card gives none."""
        if self.replicates:
            slopes, intercepts = np.asarray(self.replicates, np.float64).T
            low, high = np.percentile(slopes * logit + intercepts, (2.5, 97.5))
            return _sigmoid(float(low)), _sigmoid(float(high))
        if self.covariance is not None:
            (slope, both), (_, constant) = self.covariance
            centre = self.slope * logit + self.intercept
            reach = 1.96 * math.sqrt(max(slope * logit * logit + 2 * both * logit + constant, 0.0))
            return _sigmoid(centre - reach), _sigmoid(centre + reach)
        return None


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else 1 - 1 / (1 + math.exp(value))


@dataclass(frozen=True, slots=True)
class TrainedOn:
    """The data set that a network was trained on."""

    name: str = ""
    fingerprint: str = ""
    """`Dataset.fingerprint()`."""
    images: int = 0
    patients: int = 0
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Card:
    """Everything that must be known of a network beside its weights."""

    name: str
    task: Task
    input: InputSettings
    threshold: float
    """On the probability, in (0, 1): above it a pixel is lung, an X-ray COVID-19, an image frontal."""
    version: str = "1"
    file: str = ""
    sha256: str = ""
    outputs: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    """gate: names of the columns of its output; the one called 'frontal' passes."""
    calibration: Calibration | None = None
    data: TrainedOn = field(default_factory=TrainedOn)
    recipe: str = ""
    """The resolved recipe, TOML."""
    command: str = ""
    """The command that made the file."""
    commit: str = ""
    seed: int = 0
    figures: dict[str, Any] = field(default_factory=dict)
    limits: tuple[str, ...] = ()
    licence: str = ""
    created: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as in the JSON file."""
        return {"format": FORMAT, **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, table: Any, *, where: str = "card") -> Card:
        """Check plain values and make a card of them.

        Raises:
            ModelError: a key is missing or unknown, or a value is of the wrong kind or out of range.
        """
        if isinstance(table, Mapping):
            table = dict(table)
            if table.pop("format", FORMAT) != FORMAT:
                raise ModelError("the card's format is unknown", where=where, hint="Update lungsight")
        return _check(_build(cls, table, where), where)


@dataclass(frozen=True, slots=True)
class Model:
    """One network: its card and its ONNX bytes."""

    card: Card
    onnx: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Bundle:
    """The networks of one prediction. No `diagnosis`: no score. No `gate`: only simple checks."""

    lungs: Model
    diagnosis: Model | None = None
    gate: Model | None = None

    @property
    def models(self) -> tuple[Model, ...]:
        """Those that are there."""
        return tuple(model for model in (self.lungs, self.diagnosis, self.gate) if model is not None)

    def fingerprint(self) -> str:
        """16 hex digits over weights and cards: two bundles that answer alike share it."""
        digest = hashlib.sha256()
        for model in self.models:
            digest.update(json.dumps(model.card.to_dict(), sort_keys=True).encode())
        return digest.hexdigest()[:16]


def save(folder: str | Path, card: Card, onnx: bytes) -> Model:
    """Write `NAME.onnx` and `NAME.json` into `folder`, each whole or not at all.

    `file` and `sha256` of the card are filled in.

    Returns:
        The model as `load` would give it.

    Raises:
        ModelError: the card would not pass its own check.
        OutputError: a file cannot be written.
    """
    card = dataclasses.replace(card, file=f"{card.name}.onnx", sha256=hashlib.sha256(onnx).hexdigest())
    card = Card.from_dict(json.loads(json.dumps(card.to_dict())), where=card.name)
    # The card last: were the process killed in between, an old card's SHA-256 would tell.
    write_bytes(Path(folder) / card.file, onnx)
    write_json(Path(folder) / f"{card.name}.json", card.to_dict())
    return Model(card, onnx)


def load(path: str | Path) -> Model:
    """Read one network.

    Args:
        path: its card (`NAME.json`) or its weights (`NAME.onnx`); the other lies beside it.

    Raises:
        ModelError: a file is missing, the card does not pass its check, or the weights are not the card's.
    """
    path = Path(path)
    return _load(path.parent, path.name.removesuffix(".onnx").removesuffix(".json"))


def load_bundle(folder: str | Path | None = None) -> Bundle:
    """Read every network of a folder, one a task.

    Args:
        folder: holds `*.onnx` with their cards; None: the networks that come with lungsight.

    Raises:
        ModelError: no lung network, two networks of one task, or one that `load` refuses.
    """
    place: Traversable = resources.files("lungsight") / "weights" if folder is None else Path(folder)
    files = [item.name for item in place.iterdir()] if place.is_dir() else []
    found: dict[str, Model] = {}
    for name in sorted(name.removesuffix(".onnx") for name in files if name.endswith(".onnx")):
        model = _load(place, name)
        if model.card.task in found:
            both = f"{found[model.card.task].card.name} and {model.card.name}"
            raise ModelError(
                f"holds two networks for {model.card.task!r}: {both}",
                where=str(place),
                hint="Leave one of them in the folder",
            )
        found[model.card.task] = model
    if "lungs" not in found:
        raise ModelError(
            "holds no lung network" if place.is_dir() else "there is no such folder",
            where=str(place) if folder is not None else "the installed package",
            hint="Give a folder with NAME.onnx and NAME.json, as `lungsight export` makes them",
        )
    return Bundle(**found)


def _load(folder: Traversable, name: str) -> Model:
    where = str(folder / f"{name}.json")
    try:
        card = Card.from_dict(json.loads((folder / f"{name}.json").read_bytes()), where=where)
    except OSError as error:
        raise ModelError("the network's card cannot be read", where=where, hint=_HINT) from error
    except (ValueError, RecursionError) as error:
        raise ModelError("is not JSON", where=where, hint=_HINT) from error
    try:
        onnx = (folder / f"{name}.onnx").read_bytes()
    except OSError as error:
        raise ModelError("the card's weights, NAME.onnx beside it, cannot be read", where=where) from error
    if card.name != name or hashlib.sha256(onnx).hexdigest() != card.sha256:
        raise ModelError(
            "the weights are not those of the card (name or SHA-256 differs)",
            where=where,
            hint="The file is damaged or was changed: fetch or export it again",
        )
    return Model(card, onnx)


def _build(kind: Any, table: Any, where: str, prefix: str = "") -> Any:
    if not isinstance(table, Mapping):
        raise _refuse(prefix.rstrip(".") or "the card", "an object", where)
    hints = typing.get_type_hints(kind)
    if unknown := sorted(str(key) for key in table if key not in hints):
        raise ModelError(
            f"the card holds something unknown: {', '.join(prefix + key for key in unknown)}",
            where=where,
            hint="It may come from a newer lungsight: update this one",
        )
    values = {key: _convert(hints[key], value, where, prefix + key) for key, value in table.items()}
    for item in dataclasses.fields(kind):
        needed = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        if needed and item.name not in values:
            raise ModelError(f"the card lacks {prefix + item.name}", where=where, hint=_HINT)
    return kind(**values)


def _convert(hint: Any, value: Any, where: str, name: str) -> Any:
    if isinstance(hint, types.UnionType):
        return None if value is None else _convert(typing.get_args(hint)[0], value, where, name)
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, where, f"{name}.")
    parts = typing.get_args(hint)
    match typing.get_origin(hint) or hint:
        case typing.Literal:
            if value not in parts:
                raise _refuse(name, f"one of {', '.join(map(repr, parts))}", where)
            return value
        case origin if origin is tuple:
            if not isinstance(value, list | tuple) or (parts[-1] is not ... and len(value) != len(parts)):
                raise _refuse(name, "a list" if parts[-1] is ... else f"a list of {len(parts)}", where)
            kinds = parts[:1] * len(value) if parts[-1] is ... else parts
            return tuple(_convert(kind, item, where, name) for kind, item in zip(kinds, value, strict=True))
        case origin if origin is float:
            if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
                raise _refuse(name, "a number", where)
            return float(value)
        case origin:
            if not isinstance(value, origin) or (origin is int and isinstance(value, bool)):
                raise _refuse(name, {int: "a whole number", str: "text", dict: "an object"}[origin], where)
            return value


def _refuse(name: str, need: str, where: str) -> ModelError:
    return ModelError(f"{name} must be {need}", where=where, hint=_HINT)


def _check(card: Card, where: str) -> Card:
    given = card.input
    height, width = working = given.working or given.size
    top, left, bottom, right = given.crop
    left_over = (height - top - bottom, width - left - right)
    whole = given.preprocessing == "squash" and not any(given.crop)
    band = card.calibration.uncertain if card.calibration else None
    share = card.calibration.prevalence if card.calibration else None
    for name, ok, need in (
        # A card must not lead out of its folder.
        ("name", _NAME.fullmatch(card.name), "letters, digits, '.', '-' and '_'"),
        ("file", card.file in ("", f"{card.name}.onnx"), "NAME.onnx, with the card's name"),
        ("threshold", 0 < card.threshold < 1, "between 0 and 1"),
        (
            "input.size",
            all(8 <= side <= 4096 for side in (*given.size, *working)),
            "[height, width], 8 to 4096",
        ),
        ("input.channels", given.channels in (1, 3), "1 or 3"),
        ("input.grow", 0 <= given.grow <= 0.5, "from 0 to 0.5"),
        ("input.crop", min(given.crop) >= 0, "0 or more"),
        ("input.size", given.preprocessing == "lungs-only" or left_over == given.size, "working less crop"),
        (
            "input.preprocessing",
            card.task == "diagnosis" or whole,
            "'squash' without crop, but for diagnosis",
        ),
        ("calibration.uncertain", band is None or 0 <= band[0] <= band[1] <= 1, "[low, high] in [0, 1]"),
        ("calibration.prevalence", share is None or 0 < share < 1, "between 0 and 1"),
        ("classes", card.task != "gate" or "frontal" in card.classes, "a list with 'frontal' for a gate"),
    ):
        if not ok:
            raise _refuse(name, need, where)
    return card
