"""What a training run says of its held-out part or of another table; out of fold where it was cross-validated."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsight.dataset.readers.delimited import read_table
from lungsight.dataset.table import Dataset
from lungsight.errors import DataError, ModelError
from lungsight.evaluation.predictions import Predictions, read_scores
from lungsight.metrics import Note, Overlap
from lungsight.training import ask, load_run, predict, prepare
from lungsight.training.data import planes
from lungsight.wording import Caution

PARTS = ("train", "validation", "test", "all")
OUT_OF_FOLD = "out of fold"
THRESHOLDS = np.arange(10, 91, 5) / 100


def predict_run(
    run: Path,
    dataset: Dataset,
    *,
    part: str | None = None,
    threshold: float | None = None,
    mask_run: Path | None = None,
    cache: Path | None = None,
) -> Predictions:
    """A run's predictions; of a cross-validated folder the out-of-fold ones, or its networks' mean on another table.

    Args:
        part: which of the run's parts; None: the test part, or the validation part where there is none (the paper's
            splits), or all images where the table is not the run's.
        threshold: on the probability; None: the recipe's, or chosen on the validation part where the recipe says so.
        mask_run: as for `train`.

    Raises:
        ModelError: no finished run.
        DataError: the part is empty, or the table lacks what the task needs.
    """
    folds = fold_folders(run)
    if folds:
        return _of_folds(run, folds, dataset, threshold, mask_run, cache)
    recipe, network = load_run(run)
    if recipe.task == "gate":
        raise ModelError("is a gate, which has metrics of its own", where=run, hint="Use evaluate_gate")
    dataset = ask(dataset, recipe)
    kept, examples, failures = prepare(dataset, recipe, cache=cache, mask_run=mask_run)
    parts = read_split(run)
    chosen, name = choose_part(kept, parts, part, run)

    def probabilities(where: NDArray[np.int64]) -> NDArray[np.float32]:
        return predict(network, recipe, examples.inputs[where], plane=planes(examples, recipe)[where])

    cut = recipe.evaluation.threshold if threshold is None else threshold
    if threshold is None and recipe.evaluation.choose_threshold and examples.masks is not None:
        validation = [i for i, row in enumerate(kept) if parts.get(row.id) == "validation"]
        if validation:
            at = np.array(validation, np.int64)
            cut = best_threshold(probabilities(at), examples.masks[at])
    found = probabilities(chosen)
    truth = examples.masks[chosen] if examples.masks is not None else None
    shared = Predictions(
        name=f"the run {run.name} ({recipe.name})",
        part=name,
        rows=tuple(kept.rows[i] for i in chosen),
        failures=failures,
        inputs=examples.inputs[chosen],
        recipe=recipe.name,
        task=recipe.task,
        target=dataset.target,
        notes=stopped_early(run, recipe.training.epochs),
    )
    if truth is None:
        return dataclasses.replace(shared, probability=found.astype(np.float64), threshold=cut)
    return dataclasses.replace(shared, masks=found >= cut, maps=found, truth=truth, mask_threshold=cut)


def stopped_early(run: Path, epochs: int) -> tuple[Note, ...]:
    """A note where a run's time was up before its planned epochs; none where its `training.json` does not say so."""
    try:
        facts = json.loads((run / "training.json").read_text("utf-8"))
        done = int(facts["epochs"]) if facts["out_of_time"] else epochs
    except (OSError, ValueError, KeyError, TypeError):
        return ()
    return (Note(Caution.STOPPED_EARLY, done, epochs),) if done < epochs else ()


def best_threshold(probability: NDArray[np.float32], truth: NDArray[np.bool_]) -> float:
    """The threshold in 0.10, 0.15 ... 0.90 with the highest mean Dice of (N, h, w) maps."""
    scores = [Overlap.of(probability >= cut, truth).per_image()["dice"].mean() for cut in THRESHOLDS]
    return float(THRESHOLDS[int(np.argmax(scores))])


def read_split(run: Path) -> dict[str, str]:
    """id -> 'train', 'validation' or 'test' of a run; raises ModelError where it is missing."""
    try:
        with (run / "split.csv").open(encoding="utf-8", newline="") as file:
            return {row["id"]: row["part"] for row in csv.DictReader(file)}
    except (OSError, KeyError) as error:
        raise ModelError("the run's split.csv is missing or damaged", where=run) from error


def choose_part(
    kept: Dataset, parts: dict[str, str], part: str | None, run: Path
) -> tuple[NDArray[np.int64], str]:
    """Row numbers of one part, and its name; `part` None: what was held out, or all where the table is not the run's.

    Raises:
        DataError: no such part, or it is empty.
    """
    known = any(row.id in parts for row in kept)
    if part is None:
        present = {parts.get(row.id) for row in kept}
        part = "all" if not known else "test" if "test" in present else "validation"
    if part not in PARTS:
        raise DataError(f"there is no part {part!r}", hint=f"Parts: {', '.join(PARTS)}")
    chosen = [i for i, row in enumerate(kept) if part == "all" or parts.get(row.id) == part]
    if not chosen:
        raise DataError(f"none of its images is in the {part} part of the run {run}", where=kept.root)
    return np.array(chosen, np.int64), part


def fold_folders(folder: str | Path) -> list[Path]:
    """The runs of a cross-validated folder, in order; empty for a plain run."""
    return sorted(path for path in Path(folder).glob("fold-*") if path.is_dir())


def member_folders(folder: str | Path) -> list[Path]:
    """The runs whose mean is what a cross-validated folder says: the first fold of each repeat."""
    repeats = sorted(Path(folder).glob("repeat-*"), key=lambda path: int(path.name.partition("-")[2]))
    return [run for run in (Path(folder) / "fold-1", *(one / "fold-1" for one in repeats)) if run.is_dir()]


def load_metrics(run: str | Path) -> dict[str, Any]:
    """`metrics.json` of a run, with the metrics of its score or masks at the top.

    Raises:
        ModelError: it was not evaluated.
    """
    try:
        found: dict[str, Any] = json.loads((Path(run) / "metrics.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError("was not evaluated yet", where=run, hint="Run lungsight evaluate on it") from error
    for key in ("masks", "score"):
        inner = found.pop(key, None)
        if isinstance(inner, dict):
            own = inner.pop("metrics", {})
            found |= inner | own
    return found


def _of_folds(
    run: Path,
    folds: list[Path],
    dataset: Dataset,
    threshold: float | None,
    mask_run: Path | None,
    cache: Path | None,
) -> Predictions:
    """Out-of-fold predictions where the table is the run's own, else the mean of its networks."""
    name = f"the cross-validated run {run.name}"
    cut = float(load_metrics(run)["threshold"]) if threshold is None else threshold
    dataset = ask(dataset, load_run(folds[0])[0])
    own = {record["id"] for _, record in read_table(run / "predictions.csv")[1]}
    tested = dataset.where(lambda row: row.id in own)
    if len(tested):
        found = read_scores(run / "predictions.csv", tested, threshold=cut)
        return dataclasses.replace(found, name=name, part=OUT_OF_FOLD)
    each = [predict_run(fold, dataset, part="all", mask_run=mask_run, cache=cache) for fold in folds]
    mean = np.mean([one.probability for one in each if one.probability is not None], axis=0)
    return dataclasses.replace(each[0], name=name, probability=mean, threshold=cut)
