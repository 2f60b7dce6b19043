"""`train`: a recipe and a table in, a run folder out."""

from __future__ import annotations

import logging
import os
import signal
from dataclasses import replace
from pathlib import Path

import lightning
import numpy as np
import torch

from lungsight.config import Recipe
from lungsight.dataset.split import Split
from lungsight.dataset.table import Dataset
from lungsight.errors import DataError, OutputError
from lungsight.files import write_json
from lungsight.training.callbacks import (
    Checkpoints,
    History,
    Listener,
    make_callbacks,
    read_checkpoint,
)
from lungsight.training.data import Batches, DataModule, Examples, marks_several
from lungsight.training.device import Device
from lungsight.training.memory import kept_memory
from lungsight.training.module import TrainingModule, make_network
from lungsight.training.prepare import check_network, make_split, prepare, select_rows, with_target_of
from lungsight.training.processes import Processes
from lungsight.training.run_folder import (
    Run,
    check_folder,
    claim_folder,
    finished,
    save_weights,
    write_history,
)
from lungsight.training.start import apply_start
from lungsight.training.teachers import teachers_answers

CHECKPOINTS = "checkpoints"


def train(
    recipe: Recipe,
    dataset: Dataset,
    out: str | Path,
    *,
    resume: bool = False,
    more_time: bool = False,
    listener: Listener | None = None,
    minutes: float | None = None,
    mask_run: Path | None = None,
    cache: Path | None = None,
    command: str = "",
    device: str = "auto",
) -> Run:
    """Train by a recipe.

    The run folder holds `config.toml` (resolved), `split.csv`, `history.csv`, `provenance.json`,
    `checkpoints/last.ckpt` after every epoch and, at the end, `weights.safetensors`. A run that was stopped continues
    from its last whole epoch with `resume` and ends with the weights of an uninterrupted one.

    Started by torchrun, each process takes its share of every batch of `training.batch` images (DDP), so that the
    weights are those of one process but for rounding; dropout, and batch normalisation on CPUs, are each process's
    own. The first process writes the folder, which all must see.

    Args:
        more_time: with `resume`, go on with a run that was ended by its `minutes`, too; else it is done.
        minutes: stop before the epoch that would not fit; None: never.
        mask_run: lung run whose masks are applied, where `data.crop_mode` needs masks.
        command: what a reader types to get the same, for `provenance.json`.
        device: 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'.

    Raises:
        DataError, ConfigError, ModelError, OutputError: as they say.
        KeyboardInterrupt: the user stopped it; what the last whole epoch left is on disk.
    """
    chosen = select_rows(dataset, recipe)
    recipe = with_target_of(recipe, chosen)
    check_network(recipe)
    place, folder, processes = Device.of(device), Path(out), Processes.of_environment()
    processes.check_batch(recipe.training.batch)
    if not processes.rank:
        check_folder(folder, recipe, resume=resume)
    rows, examples, failures = prepare(chosen, recipe, cache=cache, mask_run=mask_run, device=device)
    split = make_split(rows, recipe)
    if not split.train or not split.validation:
        raise DataError("is too small to split", where=dataset.root)
    if recipe.training.start and not (folder / CHECKPOINTS / "last.ckpt").exists():
        apply_start(make_network(recipe), recipe)  # weights that do not fit leave no folder of a run behind
    if not processes.rank:
        claim_folder(folder, recipe, rows, split, command)
    if (folder / "weights.safetensors").exists() and resume:
        run = finished(folder, recipe, failures)
        if not (run.out_of_time and more_time):
            return run
    if recipe.training.teachers and marks_several(recipe):
        answers = teachers_answers(recipe, examples.inputs, np.array(split.train), cache)
        examples = replace(examples, taught=answers)
    history = History(None if processes.rank else listener, minutes)
    module = fit(recipe, examples, split, folder, history, place, processes)
    if processes.rank:
        return Run(folder, recipe, history.rows, 0.0, 0.0, history.out_of_time, failures)
    return _finish(folder, module, history, place, failures)


def fit(
    recipe: Recipe,
    examples: Examples,
    split: Split,
    folder: Path,
    history: History,
    device: Device,
    processes: Processes | None = None,
) -> TrainingModule:
    """Train from the folder's last checkpoint, or from the start, and take the weights that the recipe keeps.

    Where several processes train together, the first takes them; the others keep those of the last step.
    """
    processes = processes or Processes()
    # Lightning's own log tells of devices and tips; the listener tells what a user wants to know.
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.manual_seed(recipe.training.seed)
    train_rows, validation_rows = np.array(split.train), np.array(split.validation)
    checkpoints = folder / CHECKPOINTS
    last = checkpoints / "last.ckpt"
    module = TrainingModule(recipe, steps=len(Batches(examples, train_rows, recipe, training=True)))
    if not last.exists():
        apply_start(module.network, recipe, folder)
    data = DataModule(
        lambda epoch: Batches(examples, train_rows, recipe, training=True, epoch=epoch),
        Batches(examples, validation_rows, recipe, training=False),
        workers=min(8, (os.cpu_count() or 1) - 1) if device.kind == "cuda" else 0,
        processes=processes,
    )
    trainer = lightning.Trainer(
        max_epochs=recipe.training.epochs,
        precision=device.precision(recipe.training.precision),
        callbacks=make_callbacks(recipe.training, checkpoints, history),
        plugins=[Checkpoints()],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1,
        deterministic="warn",
        default_root_dir=folder,
        **{**device.lightning, **processes.lightning(device.kind)},
    )
    try:
        # weights_only: a checkpoint is read as data, never as a pickled program.
        with kept_memory(device.kind):
            trainer.fit(module, data, ckpt_path=last if last.exists() else None, weights_only=True)
    except OSError as error:
        raise _cannot_write(folder, (error.strerror or str(error)).lower()) from error
    except OutputError as error:
        raise _cannot_write(folder, error.message.partition(": ")[2]) from error
    except SystemExit as error:
        # Lightning answers Ctrl-C by ending the program and ignoring the next one.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from error
    if processes.rank:
        return module
    # From disk, not from memory: a run that is resumed after its last epoch trains no more, and ends the same.
    kept = read_checkpoint(checkpoints / f"{recipe.training.checkpoint}.ckpt")
    module.load_state_dict(kept["state_dict"])
    return module


def _finish(
    folder: Path,
    module: TrainingModule,
    history: History,
    device: Device,
    failures: tuple[tuple[str, str], ...],
) -> Run:
    """Write the table of epochs, the facts and, last, the weights."""
    write_history(folder, history.rows)
    seconds = sum(row["seconds"] for row in history.rows)
    run = Run(
        folder,
        module.recipe,
        history.rows,
        seconds,
        history.data_wait_fraction,
        history.out_of_time,
        failures,
    )
    write_json(
        folder / "training.json",
        {
            "seconds": round(seconds, 1),
            "epochs": len(run.history),
            "data_wait_fraction": round(run.data_wait_fraction, 4),
            "out_of_time": run.out_of_time,
            "device": device.kind,
            "precision": device.precision(module.recipe.training.precision),
            "failures": failures,
        },
    )
    save_weights(folder, module.network)
    return run


def _cannot_write(folder: Path, reason: str) -> OutputError:
    return OutputError(
        f"cannot be written: {reason}",
        where=folder,
        hint="Free some space; --resume continues from the last whole epoch",
    )
