"""Cross-validation by patient: every image is scored by networks that saw no image of its patient.

One deal of the folds and one seed are one draw of what training can give. The deals are repeated over seeds; the mean
logit of an image over the repeats, each from a network that did not see its patient, is what a mean of as many networks
says of it. Such a mean is what `ship.export` writes, one network of each repeat, with the calibration fitted to these
out-of-fold means: what ships is of the kind that was cross-validated.

Three AUROCs are given. `auroc_folds`: mean over folds, with the corrected t interval of Nadeau & Bengio (Machine
Learning 2003; for repeated folds Bouckaert & Frank 2004), which holds what training and folds add.
`auroc_within_folds`: over the pairs that one network scored, for patients alone. The metrics of `score`: of the mean
logits out of fold, pooled over folds, for patients alone; between folds the scores differ in level, so that it is
biased downwards.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from lungsight.config import Recipe
from lungsight.dataset.table import Dataset, Row
from lungsight.errors import ConfigError, ModelError
from lungsight.evaluation.cohort import count_patients, patients, truth_of
from lungsight.evaluation.compute import score_metrics
from lungsight.evaluation.predicted_masks import with_predicted_masks
from lungsight.evaluation.records import ScoreMetrics
from lungsight.evaluation.runs import fold_folders, read_split
from lungsight.files import write_bytes, write_text
from lungsight.metrics import Interval, Patients, apply_platt, auroc, delong, fit_platt, logit
from lungsight.metrics.bootstrap import resamples
from lungsight.metrics.linear import t_quantile
from lungsight.records import Record, to_json, to_toml
from lungsight.training import load_run, predict, prepare, select_rows, train
from lungsight.training.callbacks import Listener
from lungsight.wording import IntervalMethod

REPLICATES = 200
"""Bootstrap fits of the calibration that a card carries."""


class CalibrationFit(Record, frozen=True):
    """Slope and intercept of the mean out-of-fold logits, at their prevalence, and the same for resampled patients."""

    slope: float
    intercept: float
    prevalence: float
    replicates: tuple[tuple[float, float], ...]


class CrossValidationRecord(Record, frozen=True):
    """What cross-validation found, as `metrics.json` has it.

    Attributes:
        fold_aurocs: of each fold of each repeat, in order; NaN where a fold has one class.
        auroc_folds: their mean; its interval holds training, folds and patients.
        auroc_within_folds: over pairs that one network scored; its interval holds patients alone.
        one_network: over folds of the first repeat: pooled raw scores of single networks.
        score: of the mean logits of `repeats` networks, calibrated in cross-validation.
    """

    recipe: str
    task: str
    part: str
    images: Annotated[int, Meta(ge=0)]
    patients: int | None
    folds: int
    repeats: int
    threshold: float
    fold_aurocs: tuple[float, ...]
    auroc_folds: Interval
    auroc_within_folds: Interval
    one_network: Interval
    score: ScoreMetrics
    calibration: CalibrationFit


@dataclass(frozen=True)
class CrossValidation:
    """Out-of-fold scores of one recipe.

    Attributes:
        rows: the N images that some fold tested.
        fold: (R, N) which fold tested it, in each repeat.
        logits: (R, N) raw, of the network that tested the image.
        probability: (N,) of the mean logit, calibrated on the mean logits of other patients.
    """

    folder: Path
    rows: tuple[Row, ...]
    fold: NDArray[np.int64]
    logits: NDArray[np.float64]
    probability: NDArray[np.float64]
    record: CrossValidationRecord


def cross_validate(
    recipe: Recipe,
    dataset: Dataset,
    out: str | Path,
    *,
    repeats: int = 1,
    listener: Listener | None = None,
    tell: Callable[[str], None] = lambda _: None,
    mask_run: Path | None = None,
    cache: Path | None = None,
    command: str = "",
) -> CrossValidation:
    """Train `recipe.split.folds` networks, `repeats` times, each with another fold as its test part, and score them.

    Started again, it goes on where it stopped. Writes `predictions.csv`, `metrics.json` and `config.toml`; the runs lie
    in `fold-1`, `fold-2` ..., those of further repeats, with the next seeds, in `repeat-2/fold-1` ...

    Args:
        mask_run: a lung run whose masks are applied in place of the table's; 'shipped': the lung network that ships.

    Raises:
        ConfigError: the recipe is not one of diagnosis, or `repeats` is below 1.
        DataError: too few patients for the folds, or no patient ids.
    """
    if recipe.task != "diagnosis":
        raise ConfigError("only diagnosis recipes are cross-validated", where=recipe.name)
    if repeats < 1:
        raise ConfigError("there must be at least one repeat", where="repeats")
    folder = Path(out)
    if mask_run is not None and recipe.data.crop_mode != "resize":
        dataset = with_predicted_masks(select_rows(dataset, recipe), recipe, mask_run, folder / "masks.npz")
    rows: dict[str, Row] = {}
    scored: list[dict[str, tuple[int, float]]] = []
    for repeat in range(repeats):
        found: dict[str, tuple[int, float]] = {}
        for fold in range(recipe.split.folds):
            run = folder / ("" if repeat == 0 else f"repeat-{repeat + 1}") / f"fold-{fold + 1}"
            tell(f"repeat {repeat + 1} of {repeats}, fold {fold + 1} of {recipe.split.folds}")
            settings: dict[str, Any] = {"split.fold": fold, "training.seed": recipe.training.seed + repeat}
            train(
                recipe.with_settings(**settings),
                dataset,
                run,
                resume=True,
                listener=listener,
                cache=cache,
                command=command,
            )
            for row, value in _score_fold(run, dataset, cache):
                rows[row.id], found[row.id] = row, (fold + 1, value)
        scored.append(found)
    kept = tuple(row for row in rows.values() if all(row.id in found for found in scored))
    fold_of = np.array([[found[row.id][0] for row in kept] for found in scored], np.int64)
    logits = np.array([[found[row.id][1] for row in kept] for found in scored], np.float64)
    result = summarise(folder, recipe, kept, fold_of, logits)
    _write(result, recipe)
    return result


def _score_fold(run: Path, dataset: Dataset, cache: Path | None) -> list[tuple[Row, float]]:
    recipe, network = load_run(run)
    kept, examples, _ = prepare(select_rows(dataset, recipe), recipe, cache=cache)
    of = read_split(run)
    test = np.array([i for i, row in enumerate(kept) if of.get(row.id) == "test"], np.int64)
    values = logit(predict(network, recipe, examples.inputs[test]))
    return [(kept.rows[i], float(value)) for i, value in zip(test, values, strict=True)]


def summarise(
    folder: Path,
    recipe: Recipe,
    rows: tuple[Row, ...],
    fold: NDArray[np.int64],
    logits: NDArray[np.float64],
) -> CrossValidation:
    """Everything that follows from the out-of-fold logits (R, N) of N images."""
    truth, who = truth_of(rows), patients(rows)
    repeats, folds = len(logits), recipe.split.folds
    aurocs = fold_aurocs(logits, fold, truth)
    mean = logits.mean(axis=0)
    probability = calibrated_out_of_fold(mean, truth, fold[0])
    spread = Patients(np.tile(who.codes, repeats), who.count, who.known, who.notes)
    groups = fold + (folds + 1) * np.arange(repeats)[:, np.newaxis]
    within = delong(logits.ravel(), np.tile(truth, repeats), patients=spread, groups=groups.ravel())
    score, _ = score_metrics(probability, rows)
    replicates = [
        fit_platt(mean[draw], truth[draw]) for draw in resamples(who, truth, replicates=REPLICATES, seed=0)
    ]
    record = CrossValidationRecord(
        recipe=recipe.name,
        task=recipe.task,
        part=f"cross-validated by patient, {folds} folds, {repeats} repeats",
        images=len(rows),
        patients=count_patients(rows),
        folds=folds,
        repeats=repeats,
        threshold=score.threshold,
        fold_aurocs=tuple(aurocs),
        auroc_folds=corrected_t(aurocs, folds, len(rows), who),
        auroc_within_folds=within,
        one_network=delong(logits[0], truth, patients=who),
        score=score,
        calibration=CalibrationFit(
            *fit_platt(mean, truth),
            float(truth.mean()),
            tuple((round(slope, 4), round(intercept, 4)) for slope, intercept in replicates),
        ),
    )
    return CrossValidation(folder, rows, fold, logits, probability, record)


def fold_aurocs(
    logits: NDArray[np.float64], fold: NDArray[np.int64], truth: NDArray[np.bool_]
) -> list[float]:
    """AUROC of each fold of each repeat, from logits and folds (R, N); NaN where a fold has one class."""
    return [
        auroc(values[numbers == number], truth[numbers == number])
        for values, numbers in zip(logits, fold, strict=True)
        for number in np.unique(numbers)
    ]


def corrected_t(aurocs: list[float], folds: int, images: int, who: Patients) -> Interval:
    """Mean of the folds' AUROCs with the corrected resampled t interval.

    Variance s^2 (1 / k + test / training), k values, degrees of freedom k - 1 (Nadeau & Bengio 2003). The folds share
    training images, which the plain t interval ignores. Here one more fold chooses and does not train: it counts as
    neither.
    """
    values = np.array([value for value in aurocs if not math.isnan(value)])
    notes, method = who.notes, IntervalMethod.TRAINING_T
    if values.size < 2:
        mean = float(values.mean()) if values.size else math.nan
        return Interval(mean, math.nan, math.nan, images, who.n, method, notes)
    training = max(1, folds - 2)
    error = math.sqrt(float(values.var(ddof=1)) * (1 / values.size + 1 / training))
    half = t_quantile(values.size - 1, 0.95) * error
    mean = float(values.mean())
    return Interval(mean, max(0.0, mean - half), min(1.0, mean + half), images, who.n, method, notes)


def calibrated_out_of_fold(
    logits: NDArray[np.float64], truth: NDArray[np.bool_], fold: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(N,) probabilities: each fold's logits by a Platt fit of the other folds'.

    The slope is held at 0 or more: a fit that is upside down by chance says 'no information'.
    """
    found = np.empty(len(logits))
    for number in np.unique(fold):
        here = fold == number
        others = truth[~here]
        if others.all() or not others.any():
            found[here] = others.mean() if others.size else 0.5
            continue
        slope, intercept = fit_platt(logits[~here], others)
        if slope <= 0:
            slope, intercept = 0.0, float(logit(others.mean()))
        found[here] = apply_platt(logits[here], slope, intercept)
    return found


def _write(result: CrossValidation, recipe: Recipe) -> None:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [f"logit_{number + 1}" for number in range(len(result.logits))]
    writer.writerow(["id", "patient", "source", "finding", "covid", "fold", "logit", "probability", *names])
    for index, row in enumerate(result.rows):
        head = (row.id, row.patient, row.source, row.finding, int(bool(row.covid)), result.fold[0, index])
        each = [f"{value:.6f}" for value in result.logits[:, index]]
        writer.writerow(
            [*head, f"{result.logits[:, index].mean():.6f}", f"{result.probability[index]:.6f}", *each]
        )
    write_text(result.folder / "predictions.csv", out.getvalue())
    write_text(result.folder / "config.toml", to_toml(recipe))
    write_bytes(result.folder / "metrics.json", to_json(result.record))


def load_calibration(folder: Path) -> dict[str, Any]:
    """`calibration` of a cross-validated folder's `metrics.json`; raises ModelError where it is missing."""
    try:
        found: dict[str, Any] = json.loads((folder / "metrics.json").read_text("utf-8"))["calibration"]
    except (OSError, ValueError, KeyError) as error:
        raise ModelError("was not cross-validated to its end", where=folder) from error
    return found


__all__ = [
    "CrossValidation",
    "CrossValidationRecord",
    "calibrated_out_of_fold",
    "corrected_t",
    "cross_validate",
    "fold_aurocs",
    "fold_folders",
    "load_calibration",
    "summarise",
]
