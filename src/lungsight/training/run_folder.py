"""What a run leaves in its folder, but for the checkpoints, and how it is read again."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from lungsight import provenance
from lungsight.config import Recipe, load_recipe
from lungsight.dataset.split import Indices, Split
from lungsight.dataset.table import Dataset
from lungsight.errors import ConfigError, DataError, ModelError, OutputError
from lungsight.files import write_bytes, write_json, write_text
from lungsight.records import to_toml


@dataclass(frozen=True)
class Run:
    """A finished run."""

    folder: Path
    recipe: Recipe
    history: list[dict[str, float]]
    seconds: float
    data_wait_fraction: float
    out_of_time: bool
    failures: tuple[tuple[str, str], ...]
    """Images that could not be read: (id, reason)."""


def check_folder(folder: Path, recipe: Recipe, *, resume: bool) -> None:
    """Whether a run of the recipe may be written there.

    Raises:
        OutputError: it holds a run, and none is to be resumed.
        ConfigError: it holds a run of another recipe.
    """
    if not (folder / "config.toml").exists():
        return
    if not resume:
        raise OutputError(
            "already holds a run", where=folder, hint="Add --resume to go on, or choose another folder"
        )
    if load_recipe(folder / "config.toml") != recipe:
        raise ConfigError("was made with other settings", where=folder, hint="Resume with the same recipe")


def claim_folder(folder: Path, recipe: Recipe, dataset: Dataset, split: Split, command: str) -> None:
    """Write what is known before the first epoch, or check that the folder's run is of this data.

    Raises:
        DataError: its run was made with other images.
    """
    if not (folder / "config.toml").exists():
        write_start(folder, recipe, dataset, split, command)
    elif split_table(dataset, split) != stored_split(folder):
        raise DataError(
            "is not the data set of this run, or other images of it can be read now",
            where=dataset.root,
            hint=f"Resume {folder} with the same data, or choose another folder",
        )


def save_weights(folder: Path, network: nn.Module) -> None:
    """Write `weights.safetensors`; a folder that has it holds a finished run."""
    write_weights(folder / "weights.safetensors", network)


def write_weights(path: Path, network: nn.Module) -> None:
    """Write a network's weights as safetensors; raises OutputError."""
    from safetensors.torch import save

    state = {name: value.contiguous().cpu() for name, value in network.state_dict().items()}
    # Not `save_file`: on a full disk that raises an error of its own kind.
    write_bytes(path, save(state))


def write_start(folder: Path, recipe: Recipe, dataset: Dataset, split: Split, command: str) -> None:
    """Write what is known before the first epoch; `config.toml` last, so that a folder with it has the rest."""
    write_text(folder / "split.csv", split_table(dataset, split))
    write_json(
        folder / "provenance.json",
        provenance.describe(seed=recipe.training.seed, data=dataset.fingerprint(), command=command)
        | {
            "data_name": ", ".join(dict.fromkeys(row.collection or dataset.root.name for row in dataset)),
            "sources": sorted({dataset.rows[i].source for i in split.train}),
            "patients": len({dataset.rows[i].patient for i in split.train}),
            "split": {"name": split.name} | {part: len(rows) for part, rows in _parts(split).items()},
        },
    )
    write_text(folder / "config.toml", to_toml(recipe))


def _parts(split: Split) -> dict[str, Indices]:
    return {"train": split.train, "validation": split.validation, "test": split.test}


def split_table(dataset: Dataset, split: Split) -> str:
    """`split.csv`: the part of every image."""
    lines = [f"{_quote(dataset.rows[i].id)},{part}" for part, rows in _parts(split).items() for i in rows]
    return "\n".join(["id,part", *lines]) + "\n"


def stored_split(folder: Path) -> str:
    """`split.csv` of a folder; raises ModelError."""
    try:
        return (folder / "split.csv").read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError("the run's split.csv is missing or damaged", where=folder) from error


def _quote(text: str) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow([text])
    return out.getvalue()


def write_history(folder: Path, rows: list[dict[str, float]]) -> None:
    """Write `history.csv`, a row an epoch."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / "history.csv", out.getvalue())


def read_history(folder: Path) -> list[dict[str, float]]:
    """The epochs of a run: a dict of numbers each."""
    with (folder / "history.csv").open(encoding="utf-8", newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def finished(folder: Path, recipe: Recipe, failures: tuple[tuple[str, str], ...]) -> Run:
    """The run of a folder that has its weights; raises ModelError."""
    try:
        facts, history = json.loads((folder / "training.json").read_text("utf-8")), read_history(folder)
        return Run(
            folder,
            recipe,
            history,
            facts["seconds"],
            facts["data_wait_fraction"],
            facts["out_of_time"],
            failures,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            "the run's training.json or history.csv is missing or damaged", where=folder
        ) from error
