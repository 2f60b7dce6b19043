"""Every system trained on the same patient folds, scored whole and with the image changed, resumable."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from msgspec import structs

from lungsight import provenance
from lungsight.audit.records import Probe, Settings
from lungsight.audit.retraining import retrain
from lungsight.audit.store import Store
from lungsight.benchmark.figures import (
    calibration_slope,
    headline_estimate,
    holm,
    mean_estimate,
    paired_p,
    pooled_auroc,
    same_source_auroc,
)
from lungsight.benchmark.plan import Plan, choose_images, default_side, keep_plan, make_plan, recall_plan
from lungsight.benchmark.records import Bench, SystemResult
from lungsight.benchmark.scores import (
    COLUMNS,
    EXTERNAL_COLUMNS,
    PASS_COLUMNS,
    VIEWS,
    Table,
    external_rows,
    score_external,
    score_fold,
    score_passes,
    write_scores,
)
from lungsight.benchmark.systems import REDUCED_WIDTH, SYSTEMS, System, bench_recipe
from lungsight.config import Recipe
from lungsight.dataset.cache import load_arrays
from lungsight.dataset.table import Dataset
from lungsight.errors import ConfigError, DataError
from lungsight.files import write_bytes, write_json
from lungsight.metrics import ece
from lungsight.networks import build, count_parameters
from lungsight.progress import silent
from lungsight.records import to_json
from lungsight.training import train
from lungsight.training.callbacks import Listener
from lungsight.training.start import check_start
from lungsight.wording import Region

RETRAINED = (Region.WHOLE, Region.BORDER, Region.LUNGS_BLACK)
"""What one small network is trained on, to see what the data offer."""


@dataclass(frozen=True)
class Place:
    """Where and how everything runs."""

    folder: Path
    cache: Path | None
    device: str
    listener: Listener | None
    tell: Callable[[str], None]
    command: str


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
    external: Dataset | None = None,
    cache: Path | None = None,
    device: str = "auto",
    listener: Listener | None = None,
    tell: Callable[[str], None] = lambda _: None,
    command: str = "",
) -> Bench:
    """Train and score every system on the same folds; started again, it continues where it was.

    Args:
        dataset: rows with lung masks, patients and a label of the target are used.
        out: folder; each system gets a folder of its own, and `benchmark.json` is the table.
        minutes: for training and scores; then size, width, epochs and, where it is short, the images of sources with
            one class are reduced. None: the papers' own settings.
        side: pixels of a side at reduced size; default 64, from an hour on 96.
        width: of every network that is not small, at reduced size; default 0.25.
        external: a second data set with the same target, scored by the mean of each system's networks.

    Raises:
        DataError: too few patients for the folds, or only one class.
        ConfigError: a budget of nothing, a side without one, a folder that was begun otherwise, or a start whose
            package is missing.
    """
    if minutes is not None and not minutes > 0:
        raise ConfigError("a budget must be above 0 minutes", where="--budget")
    if minutes is None and (side or width):
        raise ConfigError("side and width are reduced within a budget only", where="--budget")
    usable = dataset.where(lambda row: row.mask is not None and row.covid is not None)
    check_data(usable, folds)
    second = None if external is None else external_rows(external, usable)
    at = Place(Path(out), cache, device, listener, tell, command)
    side = None if minutes is None else side or default_side(minutes)
    for system in systems:
        check_start(bench_recipe(system, side=side, width=width, folds=folds, seed=seed))
    plan = _plan(usable, systems, second, at, minutes, side, width, folds, seed)
    chosen = usable if plan is None else choose_images(usable, plan.images, seed)
    results, scores, seconds = [], {}, 0.0
    for index, system in enumerate(systems):
        tell(f"{system.name}: {system.title}")
        views = plan.views if plan else 0
        recipe = bench_recipe(system, side=side, width=width, folds=folds, seed=seed, views=views)
        limit = plan.minutes_of(index) if plan else None
        result, scores[system.name], spent = _system(system, recipe, chosen, second, at, limit)
        results.append(result)
        seconds += spent
    tell("one small network on parts of the images")
    bench = Bench(
        data=dataset.root.name,
        fingerprint=chosen.fingerprint(),
        images=len(chosen),
        patients=len({row.patient for row in chosen}),
        of_images=len(usable),
        folds=folds,
        seed=seed,
        majority=_majority(chosen),
        reduced=plan is not None,
        systems=_compared(results, scores),
        retrained=_retrained(chosen, at, side or 128, folds, seed, reduced=plan is not None),
        budget=minutes,
        minutes=round(seconds / 60, 1),
        external_data="" if second is None else second.root.name,
        external_images=0 if second is None else len(second),
        external_patients=0 if second is None else len({row.patient for row in second}),
        commit=provenance.commit(),
        machine=_machine(device),
        command=command,
        target=dataset.target,
    )
    write_bytes(at.folder / "benchmark.json", to_json(bench))
    return bench


def _plan(
    dataset: Dataset,
    systems: Sequence[System],
    second: Dataset | None,
    at: Place,
    minutes: float | None,
    side: int | None,
    width: float | None,
    folds: int,
    seed: int,
) -> Plan | None:
    """The plan of the folder, or a new one; None where everything runs at the papers' own settings."""
    if minutes is None or side is None:
        recall_plan(at.folder, None)
        return None
    wide = width or REDUCED_WIDTH
    names = tuple(system.name for system in systems)
    wanted = Plan(minutes, side, wide, folds, seed, names, dataset.fingerprint(), 0, 0, (), ())
    found = recall_plan(at.folder, wanted)
    if found is None:
        at.tell("measuring how fast each system is here")
        found = keep_plan(
            at.folder,
            make_plan(
                dataset,
                systems,
                minutes=minutes,
                side=side,
                width=wide,
                folds=folds,
                seed=seed,
                external=0 if second is None else len(second),
                device=at.device,
            ),
        )
    at.tell(f"{found.images} of {len(dataset)} images, {found.views} shown to each network in training")
    return found


def check_data(dataset: Dataset, folds: int) -> None:
    """Whether the table can be dealt into the folds; raises DataError."""
    if not len(dataset):
        raise DataError(
            f"has no image with a lung mask and a label of {dataset.target.name}", where=dataset.root
        )
    if not 0 < _majority(dataset) < 1:
        raise DataError("holds one class only: nothing can be told apart", where=dataset.root)
    for wanted, word in ((True, "with"), (False, "without")):
        people = len({row.patient for row in dataset if row.positive is wanted})
        if people < folds:
            raise DataError(
                f"has {people} patient{'s' * (people != 1)} {word} {dataset.target.name}, too few for {folds} folds",
                where=dataset.root,
                hint="Use fewer --folds, 3 at least" if people >= 3 else "Use more data",
            )


def _majority(dataset: Dataset) -> float:
    fraction = float(np.mean([bool(row.covid) for row in dataset]))
    return max(fraction, 1 - fraction)


def _machine(device: str) -> str:
    where = f"{provenance.describe(seed=0, data='', command='')['machine']['cores']} cores"
    return f"{where}, device {device}, {torch.get_num_threads()} threads"


def _system(
    system: System,
    recipe: Recipe,
    dataset: Dataset,
    second: Dataset | None,
    at: Place,
    minutes: float | None,
) -> tuple[SystemResult, Table, float]:
    """The line of one system, its scores, and the seconds of its training and scoring."""
    folder = at.folder / system.name
    records: list[list[str]] = []
    passes: list[list[str]] = []
    runs, train_seconds, predict_seconds, shown = [], 0.0, 0.0, 0
    for fold in range(recipe.split.folds):
        at.tell(f"{system.name}: fold {fold + 1} of {recipe.split.folds}")
        run = train(
            recipe.with_settings(**{"split.fold": fold}),
            dataset,
            folder / f"fold-{fold + 1}",
            resume=True,
            listener=at.listener,
            minutes=minutes,
            cache=at.cache,
            device=at.device,
            command=at.command,
        )
        train_seconds += run.seconds
        found, seconds, trained = score_fold(run.folder, dataset, fold, at.cache, at.device)
        records += found
        passes += score_passes(run.folder, dataset, fold, at.cache, at.device)
        runs.append(run)
        predict_seconds += seconds
        shown += min(recipe.training.images_per_epoch or trained, 10 * trained) * len(run.history)
    table = write_scores(folder / "predictions.csv", COLUMNS, records)
    if passes:
        write_scores(folder / "passes.csv", PASS_COLUMNS, passes)
    external: Table | None = None
    if second is not None:
        scored = score_external([run.folder for run in runs], second, at.cache, at.device)
        external = write_scores(folder / "external.csv", EXTERNAL_COLUMNS, scored)
    write_json(
        folder / "seconds.json", {"train": round(train_seconds, 1), "score": round(predict_seconds, 1)}
    )
    result = _result(system, recipe, table, external)
    return (
        structs.replace(
            result,
            epochs=min(len(run.history) for run in runs),
            views=shown // len(runs),
            seconds_train=train_seconds / max(shown, 1),
            seconds_predict=predict_seconds / max(len(records) * len(VIEWS), 1),
        ),
        table,
        train_seconds + predict_seconds,
    )


def _result(system: System, recipe: Recipe, table: Table, external: Table | None) -> SystemResult:
    rows = list(table.values())
    truth = np.array([row["covid"] == "1" for row in rows])
    patients, sources = [row["patient"] for row in rows], [row["source"] for row in rows]
    scores = {name: np.array([float(row[name]) for row in rows]) for name in VIEWS}
    parameters, gflop = network_cost(recipe)
    right = ((scores["whole"] >= recipe.evaluation.threshold) == truth).astype(np.float64)
    others = list((external or {}).values())
    return SystemResult(
        name=system.name,
        title=system.title,
        start=recipe.training.start or "noise",
        own_start=system.start,
        parameters=parameters,
        gflop=gflop,
        size=recipe.data.input_size,
        width=recipe.network.width,
        epochs=0,
        views=0,
        headline=system.headline.words,
        headline_estimate=headline_estimate(system.headline.successes, system.headline.n),
        pooled=pooled_auroc(scores["whole"], truth, patients),
        same_source=same_source_auroc(scores["whole"], truth, sources, patients),
        border=pooled_auroc(scores["border"], truth, patients),
        lungs_black=pooled_auroc(scores["lungs_black"], truth, patients),
        accuracy=mean_estimate(right, patients),
        brier=mean_estimate((scores["whole"] - truth) ** 2, patients),
        calibration_slope=calibration_slope(scores["whole"], truth, patients),
        ece=ece(scores["whole"], truth),
        seconds_train=0.0,
        seconds_predict=0.0,
        external=None
        if external is None
        else pooled_auroc(
            np.array([float(row["score"]) for row in others]),
            np.array([row["covid"] == "1" for row in others]),
            [row["patient"] for row in others],
        ),
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
    """The lines with their p-values against the first system."""
    first = scores[results[0].name]
    pooled, inside = [], []
    for result in results[1:]:
        other = scores[result.name]
        ids = [name for name in first if name in other]
        truth = np.array([first[name]["covid"] == "1" for name in ids])
        one, two = (np.array([float(table[name]["whole"]) for name in ids]) for table in (other, first))
        patients, sources = ([first[name][column] for name in ids] for column in ("patient", "source"))
        pooled.append(paired_p(one, two, truth, patients))
        inside.append(paired_p(one, two, truth, patients, sources))
    columns = zip(results, [math.nan, *holm(pooled)], [math.nan, *holm(inside)], strict=True)
    return tuple(structs.replace(one, p_pooled=p, p_same_source=q) for one, p, q in columns)


def _retrained(
    dataset: Dataset, at: Place, side: int, folds: int, seed: int, *, reduced: bool
) -> tuple[Probe, ...]:
    """One small network trained on the whole image, its border alone, and the image with black lungs."""
    settings = Settings(px=side, folds=folds, seed=seed, min_steps=40, epochs=4 if reduced else 8)
    arrays = load_arrays(dataset, (128, 128), cache_dir=at.cache)
    store = Store(at.folder / "retrained", settings, dataset.fingerprint())
    return retrain(
        arrays.rows,
        arrays.images,
        arrays.masks.astype(bool),
        settings,
        store,
        silent,
        RETRAINED,
    )
