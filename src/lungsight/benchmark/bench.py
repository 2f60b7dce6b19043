"""Every system trained on the same patient folds, scored whole and with the image changed, resumable."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from msgspec import structs

from lungsight.audit.regions import REGIONS
from lungsight.benchmark.figures import (
    Estimate,
    headline_estimate,
    holm,
    mean_estimate,
    paired_p,
    pooled_auroc,
    same_source_auroc,
)
from lungsight.benchmark.systems import SYSTEMS, Headline, System, bench_recipe
from lungsight.config import Recipe
from lungsight.dataset.cache import load_arrays
from lungsight.dataset.table import Dataset
from lungsight.errors import ConfigError, DataError
from lungsight.files import write_bytes, write_text
from lungsight.networks import build, count_parameters
from lungsight.records import Record, from_json, to_json
from lungsight.training import load_run, predict, train
from lungsight.training.callbacks import Listener
from lungsight.training.data import network_inputs
from lungsight.wording import Region

VIEWS = {"whole": Region.WHOLE, "border": Region.BORDER, "lungs_black": Region.LUNGS_BLACK}
"""Columns of a system's scores -> what its networks are shown at prediction."""
COLUMNS = ("id", "patient", "source", "covid", "fold", *VIEWS)


class SystemResult(Record, frozen=True):
    """One line of the table."""

    name: str
    title: str
    start: str
    """What it started from here."""
    own_start: str
    """What its own paper started from."""
    parameters: int
    gflop: float
    """Of one image, multiplications and additions."""
    size: tuple[int, int]
    width: float
    epochs: int
    """Of the fold that got fewest."""
    headline: str
    headline_estimate: Estimate
    pooled: Estimate
    same_source: Estimate
    border: Estimate
    lungs_black: Estimate
    accuracy: Estimate
    brier: Estimate
    seconds_train: float
    """An image and epoch."""
    seconds_predict: float
    """An image."""
    p_pooled: float = math.nan
    """Against the first system of the table, DeLong's paired test, Holm-corrected."""


class Bench(Record, frozen=True):
    """The whole table."""

    data: str
    fingerprint: str
    images: int
    patients: int
    folds: int
    seed: int
    majority: float
    """Accuracy of 'always the majority'."""
    reduced: bool
    """Size, width, optimiser and epochs are ours and not the papers'."""
    systems: tuple[SystemResult, ...]
    command: str = ""


def run_benchmark(
    dataset: Dataset,
    out: str | Path,
    *,
    systems: Sequence[System] = SYSTEMS,
    minutes: float | None = None,
    side: int | None = None,
    width: float | None = None,
    folds: int = 5,
    seed: int = 1,
    cache: Path | None = None,
    device: str = "auto",
    listener: Listener | None = None,
    tell: Callable[[str], None] = lambda _: None,
    command: str = "",
) -> Bench:
    """Train and score every system on the same folds; started again, it continues where it was.

    Args:
        dataset: rows with lung masks, patients and a COVID-19 label are used.
        out: folder; each system gets a folder of its own, and `benchmark.json` is the table.
        minutes: for all training; then size, width and epochs are reduced. None: the papers' own settings.
        side: pixels of a side at reduced size; default 96 where there is a budget.
        width: of every network at reduced size; default 0.25.

    Raises:
        DataError: too few patients for the folds, or only one class.
        ConfigError: a budget of nothing.
    """
    if minutes is not None and not minutes > 0:
        raise ConfigError("a budget must be above 0 minutes", where="--budget")
    reduced = minutes is not None or side is not None
    side = side or (96 if reduced else None)
    usable = dataset.where(lambda row: row.mask is not None and row.covid is not None)
    _check(usable, folds)
    folder, each = Path(out), None if minutes is None else minutes / len(systems) / folds
    results, scores = [], {}
    for system in systems:
        tell(f"{system.name}: {system.title}")
        recipe = bench_recipe(system, side=side, width=width, folds=folds, seed=seed)
        result, table = _system(
            system, recipe, usable, folder / system.name, each, cache, device, listener, tell, command
        )
        results.append(result)
        scores[system.name] = table
    bench = Bench(
        data=dataset.root.name,
        fingerprint=usable.fingerprint(),
        images=len(usable),
        patients=len({row.patient for row in usable}),
        folds=folds,
        seed=seed,
        majority=_majority(usable),
        reduced=reduced,
        systems=_compared(results, scores),
        command=command,
    )
    write_bytes(folder / "benchmark.json", to_json(bench))
    return bench


def _check(dataset: Dataset, folds: int) -> None:
    if not len(dataset):
        raise DataError("has no image with a lung mask and a COVID-19 label", where=dataset.root)
    if not 0 < _majority(dataset) < 1:
        raise DataError("holds one class only: nothing can be told apart", where=dataset.root)
    for covid in (True, False):
        people = len({row.patient for row in dataset if row.covid is covid})
        if people < folds:
            raise DataError(
                f"has {people} patients {'with' if covid else 'without'} COVID-19, too few for {folds} folds",
                where=dataset.root,
                hint="Use fewer --folds, 3 at least",
            )


def _majority(dataset: Dataset) -> float:
    fraction = float(np.mean([bool(row.covid) for row in dataset]))
    return max(fraction, 1 - fraction)


Table = dict[str, dict[str, str]]


def _system(
    system: System,
    recipe: Recipe,
    dataset: Dataset,
    folder: Path,
    minutes: float | None,
    cache: Path | None,
    device: str,
    listener: Listener | None,
    tell: Callable[[str], None],
    command: str,
) -> tuple[SystemResult, Table]:
    records: list[list[str]] = []
    epochs, train_seconds, predict_seconds = [], 0.0, 0.0
    shown = 0
    for fold in range(recipe.split.folds):
        tell(f"{system.name}: fold {fold + 1} of {recipe.split.folds}")
        run = train(
            recipe.with_settings(**{"split.fold": fold}),
            dataset,
            folder / f"fold-{fold + 1}",
            resume=True,
            listener=listener,
            minutes=minutes,
            cache=cache,
            device=device,
            command=command,
        )
        epochs.append(len(run.history))
        train_seconds += run.seconds
        found, seconds, trained = score_fold(run.folder, dataset, fold, cache, device)
        records += found
        predict_seconds += seconds
        shown += trained * len(run.history)
    _write_scores(folder, records)
    table = {record[0]: dict(zip(COLUMNS, record, strict=True)) for record in records}
    pace = (train_seconds / max(shown, 1), predict_seconds / max(len(records) * len(VIEWS), 1))
    return _result(system, recipe, table, min(epochs), pace), table


def score_fold(
    run: Path, dataset: Dataset, fold: int, cache: Path | None, device: str
) -> tuple[list[list[str]], float, int]:
    """Scores of a fold's test images, each as it is and changed.

    Returns:
        A record of `COLUMNS` an image, the seconds of prediction, and the number of training images.
    """
    recipe, network = load_run(run)
    with (run / "split.csv").open(encoding="utf-8", newline="") as file:
        part_of = {record["id"]: record["part"] for record in csv.DictReader(file)}
    test = dataset.where(lambda row: part_of.get(row.id) == "test")
    arrays = load_arrays(test, recipe.data.resized, cache_dir=cache)
    masks = arrays.masks.astype(bool)
    scores, seconds = {}, 0.0
    for name, region in VIEWS.items():
        changed = [REGIONS[region](image, mask) for image, mask in zip(arrays.images, masks, strict=True)]
        inputs = network_inputs(np.stack(changed), masks, recipe.data)
        begun = time.perf_counter()
        scores[name] = predict(network, recipe, inputs, device=device)
        seconds += time.perf_counter() - begun
    records = [
        [
            *(row.id, row.patient, row.source, str(int(bool(row.covid))), str(fold + 1)),
            *(f"{scores[name][index]:.6f}" for name in VIEWS),
        ]
        for index, row in enumerate(arrays.rows)
    ]
    return records, seconds, sum(part == "train" for part in part_of.values())


def _write_scores(folder: Path, records: list[list[str]]) -> None:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(records)
    write_text(folder / "predictions.csv", out.getvalue())


def _result(
    system: System, recipe: Recipe, table: Table, epochs: int, seconds: tuple[float, float]
) -> SystemResult:
    rows = list(table.values())
    truth = np.array([row["covid"] == "1" for row in rows])
    patients, sources = [row["patient"] for row in rows], [row["source"] for row in rows]
    scores = {name: np.array([float(row[name]) for row in rows]) for name in VIEWS}
    parameters, gflop = network_cost(recipe)
    right = ((scores["whole"] >= recipe.evaluation.threshold) == truth).astype(np.float64)
    headline: Headline = system.headline
    return SystemResult(
        name=system.name,
        title=system.title,
        start=recipe.training.start or "noise",
        own_start=system.start,
        parameters=parameters,
        gflop=gflop,
        size=recipe.data.input_size,
        width=recipe.network.width,
        epochs=epochs,
        headline=headline.words,
        headline_estimate=headline_estimate(headline.successes, headline.n),
        pooled=pooled_auroc(scores["whole"], truth, patients),
        same_source=same_source_auroc(scores["whole"], truth, sources, patients),
        border=pooled_auroc(scores["border"], truth, patients),
        lungs_black=pooled_auroc(scores["lungs_black"], truth, patients),
        accuracy=mean_estimate(right, patients),
        brier=mean_estimate((scores["whole"] - truth) ** 2, patients),
        seconds_train=seconds[0],
        seconds_predict=seconds[1],
    )


def network_cost(recipe: Recipe) -> tuple[int, float]:
    """Trainable parameters of a recipe's network, and the GFLOP (multiplications and additions) of one image."""
    from torch.utils.flop_counter import FlopCounterMode

    size = recipe.data.input_size
    with torch.device("meta"):
        network = build(
            recipe.network.name, width=recipe.network.width, channels=recipe.data.channels, size=size
        ).eval()
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            network(torch.empty(1, recipe.data.channels, *size))
    return count_parameters(network), counter.get_total_flops() / 1e9


def _compared(results: list[SystemResult], scores: dict[str, Table]) -> tuple[SystemResult, ...]:
    first = scores[results[0].name]
    found = []
    for result in results[1:]:
        other = scores[result.name]
        ids = [name for name in first if name in other]
        truth = np.array([first[name]["covid"] == "1" for name in ids])
        one, two = (np.array([float(table[name]["whole"]) for name in ids]) for table in (other, first))
        found.append(paired_p(one, two, truth, [first[name]["patient"] for name in ids]))
    adjusted = [math.nan, *holm(found)]
    return tuple(structs.replace(one, p_pooled=p) for one, p in zip(results, adjusted, strict=True))


def read_bench(folder: str | Path) -> Bench:
    """The table of a finished benchmark; raises ConfigError where there is none, or a damaged one."""
    path = Path(folder) / "benchmark.json"
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError("holds no benchmark", where=folder) from error
    return from_json(Bench, text, where=path)
