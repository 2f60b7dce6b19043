"""`train`: a recipe and a table in, a run folder out."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch import callbacks
from numpy.typing import NDArray
from torch import nn

from lungsight.config import Recipe, load_recipe
from lungsight.dataset.cache import load_arrays
from lungsight.dataset.split import Split, by_patient, paper_diagnosis, paper_segmentation, patient_folds
from lungsight.dataset.table import Dataset
from lungsight.errors import ConfigError, DataError, ModelError, OutputError
from lungsight.files import write_json
from lungsight.networks import GATE_CLASSES, Mirrored
from lungsight.networks import check as check_network
from lungsight.training.data import Batches, Examples, to_input, view
from lungsight.training.module import (
    Checkpoints,
    DataModule,
    History,
    Listener,
    TrainingModule,
    channels_last,
    make_network,
    read_checkpoint,
)
from lungsight.training.run_folder import (
    Run,
    finished,
    save_weights,
    split_table,
    stored_split,
    write_history,
    write_start,
)

CHECKPOINTS = "checkpoints"


def make_split(dataset: Dataset, recipe: Recipe) -> Split:
    """The recipe's split of the table; raises DataError where the table does not allow it."""
    settings, seed = recipe.split, recipe.training.seed
    need_covid = recipe.task == "diagnosis"
    if settings.fold >= 0:
        folds = patient_folds(dataset, settings.folds, seed, need_covid=need_covid)
        test, validation = settings.fold, (settings.fold + 1) % settings.folds
        train = tuple(i for k, fold in enumerate(folds) if k not in (test, validation) for i in fold)
        return Split(
            f"fold {test + 1} of {settings.folds}", seed, train, tuple(folds[validation]), tuple(folds[test])
        )
    if settings.kind == "patient":
        return by_patient(dataset, seed, need_covid=need_covid)
    if recipe.task == "lungs":
        return paper_segmentation(dataset, seed, non_covid_limit=settings.non_covid_limit or None)
    return paper_diagnosis(dataset, seed)


def shown(dataset: Dataset, recipe: Recipe) -> Dataset:
    """The rows that the recipe trains, chooses and reports on: those of its one source, if it names one.

    Raises:
        DataError: no image is of that source.
    """
    source = recipe.split.only_source
    chosen = dataset.where(lambda row: not source or row.source == source)
    if source and not len(chosen):
        raise DataError(f"has no image of the source {source!r}", where=dataset.root)
    return chosen


def prepare(
    dataset: Dataset,
    recipe: Recipe,
    *,
    cache: Path | None = None,
    mask_run: Path | None = None,
) -> tuple[Dataset, Examples, tuple[tuple[str, str], ...]]:
    """Decode once and make what the recipe's network sees.

    Args:
        cache: folder for the decoded pixels.
        mask_run: a lung run whose predicted masks replace the table's, for the views `masked` and `lungs`.

    Returns:
        The rows that could be read, their examples, and (id, reason) of the others.

    Raises:
        DataError: nothing could be read, or the table lacks what the task needs.
    """
    if recipe.task == "lungs" and all(row.mask is None for row in dataset):
        raise DataError("has no lung masks, which this recipe needs", where=dataset.root)
    if recipe.task == "lungs" or (recipe.data.crop_mode != "resize" and mask_run is None):
        dataset = dataset.where(lambda row: row.mask is not None)
    if recipe.task == "diagnosis" or recipe.split.kind == "paper":
        dataset = dataset.where(lambda row: row.covid is not None)
        _need_both_classes(dataset)
    arrays = load_arrays(dataset, recipe.data.resized, cache_dir=cache)
    kept = Dataset(dataset.root, dataset.layout, tuple(arrays.rows), dataset.excluded)
    if not len(kept):
        first = f" ({arrays.failures[0][0]}: {arrays.failures[0][1]})" if arrays.failures else ""
        raise DataError(f"none of its images could be read{first}", where=dataset.root)
    masks = arrays.masks.astype(bool)
    if mask_run is not None and recipe.data.crop_mode != "resize":
        masks = predict_masks(mask_run, arrays.images)
    images = view(arrays.images, masks, recipe.data)
    names = [(row.source, bool(row.covid)) for row in kept]
    order = {name: place for place, name in enumerate(sorted(set(names)))}
    groups = np.array([order[name] for name in names], np.int64)
    labels = np.array([bool(row.covid) for row in kept], np.float32)
    examples = Examples(
        images,
        masks if recipe.task == "lungs" else None,
        labels if recipe.task == "diagnosis" else None,
        groups,
    )
    return kept, examples, tuple(arrays.failures)


def _need_both_classes(dataset: Dataset) -> None:
    for wanted, words in ((True, "no COVID image"), (False, "only COVID images")):
        if not any(row.covid is wanted for row in dataset):
            raise DataError(f"has {words}, and the paper's splits need both classes", where=dataset.root)


def train(
    recipe: Recipe,
    dataset: Dataset,
    out: str | Path,
    *,
    resume: bool = False,
    listener: Listener | None = None,
    minutes: float | None = None,
    mask_run: Path | None = None,
    cache: Path | None = None,
    command: str = "",
) -> Run:
    """Train by a recipe.

    The run folder holds `config.toml` (resolved), `split.csv`, `history.csv`, `provenance.json`,
    `checkpoints/last.ckpt` after every epoch and, at the end, `weights.safetensors`. A run that was stopped goes on
    from its last whole epoch with `resume` and ends with the weights of an uninterrupted one.

    Args:
        minutes: stop after the epoch that would not fit; None: never.
        mask_run: lung run whose masks are applied, for the views `masked` and `lungs`.
        command: what a reader types to get the same, for `provenance.json`.

    Raises:
        DataError, ConfigError, OutputError: as they say.
        KeyboardInterrupt: the user stopped it; what the last whole epoch left is on disk.
    """
    check_network(
        recipe.network.name,
        size=recipe.data.input_size,
        masks=recipe.task == "lungs",
        answers=len(GATE_CLASSES) if recipe.task == "gate" else 1,
    )
    folder = Path(out)
    last = folder / CHECKPOINTS / "last.ckpt"
    if (folder / "config.toml").exists():
        if not resume:
            raise OutputError(
                "already holds a run", where=folder, hint="Add --resume to go on, or choose another folder"
            )
        if load_recipe(folder / "config.toml") != recipe:
            raise ConfigError(
                "was made with other settings", where=folder, hint="Resume with the same recipe"
            )
    dataset, examples, failures = prepare(shown(dataset, recipe), recipe, cache=cache, mask_run=mask_run)
    split = make_split(dataset, recipe)
    if not split.train or not split.validation:
        raise DataError("is too small to split", where=dataset.root)
    if not (folder / "config.toml").exists():
        write_start(folder, recipe, dataset, split, command)
    elif split_table(dataset, split) != stored_split(folder):
        raise DataError(
            "is not the data set of this run, or other images of it can be read now",
            where=dataset.root,
            hint=f"Resume {folder} with the same data, or choose another folder",
        )
    if (folder / "weights.safetensors").exists() and resume:
        return finished(folder, recipe, failures)

    _quiet()
    torch.manual_seed(recipe.training.seed)
    batches = Batches(examples, np.array(split.train), recipe, training=True)
    module = TrainingModule(recipe, steps=len(batches))
    history = History(listener, minutes)
    others: list[Any] = [history]
    # The last one is written last: from it a run resumes, and it remembers which epoch was the best. (Not by
    # `save_last`, which since Lightning 2.6 writes only when the best one is written.)
    for name, quantity in (("best", "val_loss"), ("last", None)):
        if name in ("last", recipe.training.checkpoint):
            others.append(
                callbacks.ModelCheckpoint(
                    dirpath=folder / CHECKPOINTS,
                    filename=name,
                    monitor=quantity,
                    enable_version_counter=False,
                )
            )
    if recipe.training.patience:
        others.append(_Patience(monitor="val_loss", patience=recipe.training.patience, mode="min"))
    if recipe.training.ema_decay:
        others.append(callbacks.EMAWeightAveraging(decay=recipe.training.ema_decay))
    accelerated = torch.cuda.is_available()
    trainer = lightning.Trainer(
        max_epochs=recipe.training.epochs,
        accelerator="auto",
        devices=1,
        precision=precision(recipe),
        callbacks=others,
        plugins=[Checkpoints()],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1,
        deterministic="warn",
        default_root_dir=folder,
    )
    feed = DataModule(
        lambda epoch: Batches(examples, np.array(split.train), recipe, training=True, epoch=epoch),
        Batches(examples, np.array(split.validation), recipe, training=False),
        workers=min(8, (os.cpu_count() or 1) - 1) if accelerated else 0,
    )
    try:
        # weights_only: a checkpoint is read as data, never as a pickled program.
        trainer.fit(module, feed, ckpt_path=last if resume and last.exists() else None, weights_only=True)
    except OSError as error:
        raise _cannot_write(folder, (error.strerror or str(error)).lower()) from error
    except OutputError as error:
        raise _cannot_write(folder, error.message.partition(": ")[2]) from error
    except SystemExit as error:
        # Lightning answers Ctrl-C by ending the program and ignoring the next one.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from error
    # From disk, not from memory: a run that is resumed after its last epoch trains no more, and ends the same.
    kept = read_checkpoint(folder / CHECKPOINTS / f"{recipe.training.checkpoint}.ckpt")
    module.load_state_dict(kept["state_dict"])
    write_history(folder, history.rows)
    seconds = sum(row["seconds"] for row in history.rows)
    write_json(
        folder / "training.json",
        {
            "seconds": round(seconds, 1),
            "epochs": len(history.rows),
            "data_wait_fraction": round(history.data_wait_fraction, 4),
            "out_of_time": history.out_of_time,
            "precision": precision(recipe),
            "failures": failures,
        },
    )
    save_weights(folder, module.network)
    return Run(
        folder, recipe, history.rows, seconds, history.data_wait_fraction, history.out_of_time, failures
    )


def _cannot_write(folder: Path, reason: str) -> OutputError:
    return OutputError(
        f"cannot be written: {reason}",
        where=folder,
        hint="Free some space; --resume goes on from the last whole epoch",
    )


def precision(recipe: Recipe) -> str:
    """Lightning's name for the recipe's precision on this machine."""
    if recipe.training.precision == "float32":
        return "32-true"
    if recipe.training.precision == "bfloat16":
        return "bf16-mixed"
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    return "bf16-mixed" if torch.cpu._is_avx512_bf16_supported() else "32-true"


class _Patience(callbacks.EarlyStopping):
    """Early stopping that also holds when a run is resumed after the decision to stop."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if self.wait_count >= self.patience:
            trainer.should_stop = True


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
    network: nn.Module, recipe: Recipe, inputs: NDArray[np.uint8], *, batch: int = 16
) -> NDArray[np.float32]:
    """Probabilities of a trained network, in float32.

    Args:
        inputs: (N, h, w) uint8, as `prepare` makes them.

    Returns:
        (N, h, w) for lungs, (N,) for diagnosis, (N, K) for the gate.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = channels_last(network.to(device)).eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(inputs), batch):
            images = to_input(inputs[start : start + batch], recipe.data.channels).to(device)
            logits = network(images).float()
            found = logits.softmax(dim=1) if recipe.task == "gate" else torch.sigmoid(logits).squeeze(1)
            parts.append(found.cpu().numpy())
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def predict_masks(run: Path, images: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Lung masks (N, h, w) of a lung run for images (N, h, w) uint8 of the run's own size."""
    recipe, network = load_run(run)
    if recipe.task != "lungs" or images.shape[1:] != recipe.data.resized:
        raise ModelError("is no lung run of this image size", where=run)
    inputs = view(images, np.ones(images.shape, bool), recipe.data)
    return np.asarray(predict(network, recipe, inputs) > recipe.evaluation.threshold)


def _quiet() -> None:
    # Lightning's own log tells of devices and tips; the listener tells what a user wants to know.
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
