"""What a budget of minutes buys: measured paces, and from them the images and how often each network sees them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from lungsight.benchmark.systems import REDUCED_BATCH, REDUCED_EPOCHS, System, bench_recipe
from lungsight.config import Recipe
from lungsight.dataset.table import Dataset
from lungsight.errors import ConfigError, LungsightError
from lungsight.files import write_bytes
from lungsight.records import Record, from_json, to_json
from lungsight.training.device import Device
from lungsight.training.module import TrainingModule
from lungsight.training.predict import predict

MARGIN = 0.85
"""Of a budget is planned; the rest is for what was not measured."""
SCORING = 0.3
"""Of it may go into validation and scores, before images are left out."""
FEWEST_IMAGES = 800
FEWEST_VIEWS = 64
VIEWS_SCORED = 3
"""Whole, border alone, lungs black."""
LONG = 60.0
"""Minutes from which on the images are larger."""


class Plan(Record, frozen=True):
    """What a reduced benchmark does; kept in its folder, so that a stopped one continues as it was begun."""

    minutes: float
    side: int
    width: float
    folds: int
    seed: int
    systems: tuple[str, ...]
    fingerprint: str
    """Of the table before images were left out."""
    images: int
    """That are used; all of the sources that hold both classes, and drawn patients of the others."""
    views: int
    """Images shown to each network in training, the same for all."""
    seconds_train: tuple[float, ...]
    """Measured before the start: an image of each system, forwards and backwards."""
    seconds_predict: tuple[float, ...]

    def minutes_of(self, index: int) -> float:
        """The limit of one training run of a system: twice what was planned, so that one slow system ends."""
        planned = self.views * self.seconds_train[index] + self.images / self.folds * (
            REDUCED_EPOCHS * self.seconds_predict[index]
        )
        return max(2 * planned / 60, 0.005)


def default_side(minutes: float) -> int:
    """Pixels of a side at reduced size."""
    return 96 if minutes >= LONG else 64


def make_plan(
    dataset: Dataset,
    systems: Sequence[System],
    *,
    minutes: float,
    side: int,
    width: float,
    folds: int,
    seed: int,
    external: int = 0,
    device: str = "auto",
) -> Plan:
    """Measure each system on this machine as it is now and divide the budget.

    All systems see the same number of images, so that they differ in their networks and not in their training; what a
    slow network costs is taken from all.

    Args:
        external: images of a second data set, scored by every fold's network.
    """
    paces = [
        pace(bench_recipe(one, side=side, width=width, folds=folds, seed=seed), device) for one in systems
    ]
    train, score = (sum(each) for each in zip(*paces, strict=True))
    seconds = minutes * 60 * MARGIN
    each_image = score * (VIEWS_SCORED + REDUCED_EPOCHS)
    images = min(len(dataset), max(FEWEST_IMAGES, int(SCORING * seconds / each_image)))
    left = seconds - each_image * images - score * external * folds
    views = int(max(left, 0.0) / (train * folds))
    return Plan(
        minutes=minutes,
        side=side,
        width=width,
        folds=folds,
        seed=seed,
        systems=tuple(one.name for one in systems),
        fingerprint=dataset.fingerprint(),
        images=images,
        views=max(views, FEWEST_VIEWS),
        seconds_train=tuple(round(one, 6) for one, _ in paces),
        seconds_predict=tuple(round(two, 6) for _, two in paces),
    )


def pace(recipe: Recipe, device: str) -> tuple[float, float]:
    """Seconds of an image in training and in prediction, the better of two batches each."""
    place = Device.of(device)
    module = TrainingModule(recipe, steps=2).to(place.torch)
    module.network.train()
    shape = (REDUCED_BATCH, recipe.data.channels, *recipe.data.input_size)
    images = torch.rand(shape).to(place.torch, memory_format=torch.channels_last)
    target = (torch.arange(REDUCED_BATCH) % 2).float().unsqueeze(1).to(place.torch)
    optimiser = torch.optim.AdamW(module.network.parameters())
    shown = np.zeros((REDUCED_BATCH, *recipe.data.input_size), np.uint8)
    trained, scored = [], []
    for _ in range(2):
        begun = time.perf_counter()
        optimiser.zero_grad()
        module.training_step((images, target), 0)["loss"].backward()
        optimiser.step()
        trained.append(time.perf_counter() - begun)
    for _ in range(2):
        begun = time.perf_counter()
        predict(module.network, recipe, shown, batch=REDUCED_BATCH, device=device)
        scored.append(time.perf_counter() - begun)
    return min(trained) / REDUCED_BATCH, min(scored) / REDUCED_BATCH


def choose_images(dataset: Dataset, limit: int, seed: int) -> Dataset:
    """At most about `limit` rows: all of the sources that hold both classes, and patients of the others by lot.

    Within one source is where a score is put to the test, so that nothing of it is left out.
    """
    if len(dataset) <= limit:
        return dataset
    classes: dict[str, set[bool]] = {}
    for row in dataset:
        classes.setdefault(row.source, set()).add(bool(row.covid))
    mixed = {source for source, found in classes.items() if len(found) == 2}
    kept = {row.patient for row in dataset if row.source in mixed}
    count = sum(row.source in mixed for row in dataset)
    others: dict[str, int] = {}
    for row in dataset:
        if row.source not in mixed and row.patient not in kept:
            others[row.patient] = others.get(row.patient, 0) + 1
    names = sorted(others)
    for index in np.random.default_rng((seed, 17)).permutation(len(names)):
        if count >= limit:
            break
        kept.add(names[index])
        count += others[names[index]]
    return dataset.where(lambda row: row.patient in kept)


def recall_plan(folder: Path, wanted: Plan | None) -> Plan | None:
    """The plan by which a folder was begun, None where it is new.

    Args:
        wanted: what is asked for now (its measured parts do not count); None: the papers' own settings.

    Raises:
        ConfigError: the folder was begun otherwise, or its plan is damaged.
    """
    path = folder / "plan.json"
    if not path.exists():
        if wanted is not None and (folder / "benchmark.json").exists():
            raise ConfigError(
                "holds a benchmark without a budget", where=folder, hint="Choose another folder"
            )
        return None
    try:
        found = from_json(Plan, path.read_bytes(), where=path)
    except (OSError, LungsightError) as error:
        raise ConfigError("the plan is damaged", where=path, hint="Choose another folder") from error
    if wanted is None:
        raise ConfigError(
            f"was begun with --budget {found.minutes:g}",
            where=folder,
            hint="Give it again, or another folder",
        )
    for name in ("minutes", "side", "width", "folds", "seed", "systems", "fingerprint"):
        if getattr(found, name) != getattr(wanted, name):
            raise ConfigError(
                f"was begun otherwise: {NAMES[name]} differ{'' if name in PLURAL else 's'}",
                where=folder,
                hint=f"Continue with --budget {found.minutes:g} --side {found.side} --width {found.width:g} "
                f"--folds {found.folds} --seed {found.seed} and its systems and data, or choose another folder",
            )
    return found


NAMES = {
    "minutes": "the budget",
    "side": "the side",
    "width": "the width",
    "folds": "the folds",
    "seed": "the seed",
    "systems": "the systems",
    "fingerprint": "the data",
}
PLURAL = ("folds", "systems", "fingerprint")


def keep_plan(folder: Path, plan: Plan) -> Plan:
    """Write `plan.json`; raises OutputError."""
    write_bytes(folder / "plan.json", to_json(plan))
    return plan
