"""What a trained network is on disk: `NAME.onnx`, and beside it `NAME.json`, its card.

The card is checked when it is read; the ONNX bytes must have the SHA-256 that it gives.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from msgspec import structs

from lungsight.card import Card
from lungsight.errors import ModelError
from lungsight.files import write_bytes
from lungsight.records import build, from_json, plain, to_json

_HINT = "Use a file that `lungsight export` made"


@dataclass(frozen=True, slots=True)
class Model:
    """One network: its card and its ONNX bytes."""

    card: Card
    onnx: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Bundle:
    """The networks of one prediction. No `diagnosis`: no score. No `gate`: only simple checks. No `severity`: none."""

    lungs: Model
    diagnosis: Model | None = None
    gate: Model | None = None
    severity: Model | None = None

    @property
    def models(self) -> tuple[Model, ...]:
        """Those that are there."""
        found = (self.lungs, self.diagnosis, self.gate, self.severity)
        return tuple(model for model in found if model is not None)

    def fingerprint(self) -> str:
        """16 hex digits over weights and cards: two bundles that answer alike share it."""
        digest = hashlib.sha256()
        for model in self.models:
            digest.update(to_json(model.card))
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
    card = structs.replace(card, file=f"{card.name}.onnx", sha256=hashlib.sha256(onnx).hexdigest())
    card = build(Card, plain(card), where=card.name, error=ModelError)
    # The card last: were the process killed in between, an old card's SHA-256 would tell.
    write_bytes(Path(folder) / card.file, onnx)
    write_bytes(Path(folder) / f"{card.name}.json", to_json(card) + b"\n")
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
        text = (folder / f"{name}.json").read_bytes()
    except OSError as error:
        raise ModelError("the network's card cannot be read", where=where, hint=_HINT) from error
    card = from_json(Card, text, where=where, error=ModelError)
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
