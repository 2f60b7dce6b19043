"""`lungsight reproduce`: the paper's runs one after another, and the report of them."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from lungsight import provenance
from lungsight.config import Recipe, load_recipe
from lungsight.dataset import Dataset, describe
from lungsight.errors import DataError
from lungsight.evaluation import Evaluation, evaluate_run
from lungsight.files import write_json
from lungsight.paper import fill
from lungsight.paper.budget import Plan, Sizes, make_plan
from lungsight.paper.content import (
    Budget,
    Reproduction,
)
from lungsight.paper.report import write_reproduction
from lungsight.records import plain
from lungsight.training import Run, make_split, prepare, train
from lungsight.training.callbacks import Listener

LUNGS, LUNGS_500 = "paper-segmentation", "paper-segmentation-500"
DIAGNOSIS = ("paper-diagnosis", "paper-diagnosis-crop20", "paper-diagnosis-lungs")
BY_PATIENT = "paper-diagnosis-by-patient"
"""The paper's diagnosis with patients apart: not in the paper; beside its figure."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Finished:
    """One run and its evaluation."""

    run: Run
    evaluation: Evaluation


@dataclass(frozen=True)
class Reproduced:
    """The report, and what could not be read: (id, reason)."""

    report: Path
    failures: tuple[tuple[str, str], ...]


def reproduce(
    dataset: Dataset,
    out: str | Path,
    *,
    minutes: float | None = None,
    width: float | None = None,
    seed: int | None = None,
    tell: Tell = lambda _: None,
    listener: Listener | None = None,
    command: str = "",
) -> Reproduced:
    """Train and evaluate everything in the paper and write `report.html` in `out`.

    The same call goes on where a stopped one was: finished runs are kept, the open one resumes at its last epoch.

    Args:
        dataset: with masks and both classes.
        minutes: fit width and epochs to this time; None: the paper's own protocol.
        width: use this width for both networks.
        seed: of every run; None: the recipes' own.
        tell: gets a line at every stage; `listener` gets training progress.
        command: what a reader types to get the same.

    Returns:
        The report's path, and the images that could not be read.

    Raises:
        DataError: the data set has no masks, not both classes, or too few images to split.
        OutputError: `out` cannot be written.
    """
    begun, folder = time.monotonic(), Path(out)
    cache = folder / "cache"
    lungs, diagnosis = load_recipe(LUNGS), load_recipe(DIAGNOSIS[0])
    tell(f"reading {len(dataset)} images")
    kept, examples, failures = prepare(dataset, lungs, cache=cache)
    described = describe(dataset)
    # For their counts, which no seed changes.
    splits = {name: make_split(kept, load_recipe(name)) for name in (LUNGS, LUNGS_500, DIAGNOSIS[0])}
    if not all(split.train and split.validation for split in splits.values()):
        raise DataError("is too small to split", where=dataset.root)
    lungs_size, lungs_500_size, diagnosis_size = (
        (len(split.train), len(split.validation)) for split in splits.values()
    )
    sizes = Sizes(lungs_size, lungs_500_size, diagnosis_size, diagnosis_runs=len(DIAGNOSIS) + 1)
    tell("timing the networks on this machine" if minutes is not None else "planning")
    plan = make_plan(minutes, width, seed, examples, sizes, folder / "plan.json")
    tell(plan.words)

    done: dict[str, Finished] = {}
    for name in (LUNGS, LUNGS_500, *DIAGNOSIS, BY_PATIENT):
        recipe = _recipe(plan, name)
        tell(f"{name}: training")
        finished = _run(kept, folder, name, recipe, plan, begun, listener, cache, command)
        done[name] = finished
        tell(f"{name}: {_summary(finished.evaluation)}")

    content = Reproduction(
        data=f"{dataset.root.name} ({len(kept)} images with a lung mask)",
        comparison=fill.comparison(described, splits, done),
        tables=fill.tables(described, kept, splits),
        unet=fill.unet(plan),
        cnn=fill.cnn(plan),
        masks=fill.mask_examples(done[LUNGS].evaluation),
        predictions=fill.predictions(done[LUNGS].evaluation),
        crops=fill.crops(kept, examples, diagnosis.data),
        marked=fill.marked(kept, examples, diagnosis.data),
        segmentation=[fill.segmentation(done[name]) for name in (LUNGS, LUNGS_500)],
        diagnosis=[fill.diagnosis(done[name]) for name in (*DIAGNOSIS, BY_PATIENT)],
        budget=Budget(minutes, plan.words, time.monotonic() - begun, machine()),
        provenance=provenance.describe(
            seed=plan.seed,
            data=dataset.fingerprint(),
            command=command,
        ),
        notes=fill.notes(dataset, failures, done),
        synthetic=fill.is_synthetic(dataset),
    )
    path = write_reproduction(folder / "report.html", content)
    write_json(
        folder / "metrics.json", {name: plain(finished.evaluation.record) for name, finished in done.items()}
    )
    write_json(folder / "provenance.json", content.provenance)
    shutil.rmtree(cache, ignore_errors=True)
    return Reproduced(path, failures)


def _recipe(plan: Plan, name: str) -> Recipe:
    if name != BY_PATIENT:
        return plan.recipe(name)
    return plan.recipe(DIAGNOSIS[0]).with_settings(**{"split.kind": "patient", "name": BY_PATIENT})


def _run(
    kept: Dataset,
    folder: Path,
    name: str,
    recipe: Recipe,
    plan: Plan,
    begun: float,
    listener: Listener | None,
    cache: Path,
    command: str,
) -> Finished:
    limit = None
    if plan.minutes is not None:
        left = plan.minutes - (time.monotonic() - begun) / 60
        limit = max(0.1, left if recipe.task == "lungs" else min(left, plan.diagnosis_minutes or left))
        if name == LUNGS:
            # Leave what the later runs were planned to take.
            limit = max(0.1, left - 0.35 * plan.minutes)
    mask_run = folder / "runs" / LUNGS if recipe.data.crop_mode == "apply_mask" else None
    run = train(
        recipe,
        kept,
        folder / "runs" / name,
        resume=True,
        listener=listener,
        minutes=limit,
        mask_run=mask_run,
        cache=cache,
        command=command,
    )
    return Finished(run, evaluate_run(run.folder, kept, mask_run=mask_run, cache=cache))


def _summary(evaluation: Evaluation) -> str:
    if evaluation.masks is not None:
        per_image, pooled = (
            one["dice"].value for one in (evaluation.masks.per_image, evaluation.masks.pooled)
        )
        return f"Dice {per_image:.4f} per image, {pooled:.4f} pooled"
    if evaluation.score is None:
        return ""
    found = evaluation.score.metrics
    return f"AUC {found['auroc'].value:.4f}, accuracy {found['accuracy'].value:.4f}"


def machine() -> str:
    """The machine in words: '2 cores, no GPU'."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{os.cpu_count()} cores, {gpu}"


__all__ = ["Finished", "Reproduced", "reproduce"]
