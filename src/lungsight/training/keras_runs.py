"""Keras files in and out of run folders."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lungsight import provenance
from lungsight.config import Recipe, load_recipe
from lungsight.errors import ModelError, OutputError
from lungsight.files import write_bytes, write_json, write_text
from lungsight.networks.keras_files import KerasNetwork, read_keras
from lungsight.networks.keras_write import keras_bytes
from lungsight.records import to_toml
from lungsight.training.predict import load_run
from lungsight.training.run_folder import save_weights


def import_keras(path: str | Path, out: str | Path, *, command: str = "") -> KerasNetwork:
    """Make a run folder of a Keras file; it predicts, evaluates and exports as any other.

    Args:
        path: `.h5`, `.weights.h5` or `.keras` of the paper's U-Net or CNN.
        out: the run's folder.
        command: what a reader types to get the same, for `provenance.json`.

    Raises:
        ModelError: the file cannot be used.
        OutputError: the folder holds a run, or cannot be written.
    """
    folder = Path(out)
    if (folder / "config.toml").exists():
        raise OutputError("already holds a run", where=folder, hint="Choose another folder")
    found = read_keras(path)
    recipe = _recipe(found)
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    facts = provenance.describe(seed=recipe.training.seed, data="", command=command)
    write_json(folder / "provenance.json", facts | {"keras_file_sha256": digest})
    write_text(folder / "split.csv", "id,part\n")  # what it was trained on is not known
    write_text(folder / "config.toml", to_toml(recipe))
    save_weights(folder, found.network)
    return found


def _recipe(found: KerasNetwork) -> Recipe:
    lungs = found.name == "paper-unet"
    changes: dict[str, object] = {"network.width": found.width, "data.channels": found.channels}
    if lungs or found.size != (246, 236):
        changes |= {"data.size": list(found.size), "data.crop": [0, 0, 0, 0]}
    name = "paper-segmentation" if lungs else "paper-diagnosis"
    return load_recipe(name).with_settings(**changes)


def export_keras(run: str | Path, out: str | Path, *, name: str | None = None) -> Path:
    """Write a run of one of the paper's networks as a Keras `.h5` file that Keras 2 and 3 load.

    Args:
        run: a finished run.
        out: folder for the file.
        name: of the file, without its ending; default: the task.

    Returns:
        The file.

    Raises:
        ModelError: no finished run, or another network.
        OutputError: the file cannot be written.
    """
    recipe, network = load_run(run)
    if recipe.network.name not in ("paper-unet", "paper-cnn"):
        raise ModelError(
            f"its network, {recipe.network.name}, has no Keras form",
            code="keras",
            where=run,
            hint="Use --format onnx",
        )
    path = Path(out) / f"{name or recipe.task}.h5"
    write_bytes(path, keras_bytes(network, recipe.data.input_size))
    return path
