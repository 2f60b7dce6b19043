"""Cross-validation by patient: every image is scored by a network that saw no image of its patient."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsight.config import Recipe
from lungsight.dataset.table import Dataset, Row
from lungsight.errors import ConfigError, ModelError
from lungsight.evaluation.compute import DiagnosisFigures, diagnosis_figures, patients_of
from lungsight.evaluation.evaluate import read_split
from lungsight.files import write_json, write_text
from lungsight.metrics import apply_platt, fit_platt, logit
from lungsight.metrics.intervals import Patients, resamples
from lungsight.records import to_toml
from lungsight.training import load_run, predict, prepare, select_rows, train
from lungsight.training.callbacks import Listener

REPLICATES = 200
"""Bootstrap fits of the calibration that a card carries."""


@dataclass(frozen=True)
class CrossValidation:
    """Out-of-fold scores of one recipe.

    Attributes:
        rows: the N images that some fold tested.
        fold: (N,) which one.
        logits: (N,) raw, of the network that tested the image.
        probability: (N,) calibrated on that network's own validation part.
        figures: of `probability`.
        calibration: (slope, intercept) of all out-of-fold logits, for the mean of the networks.
        replicates: (R, 2) the same for resampled patients.
    """

    folder: Path
    rows: tuple[Row, ...]
    fold: NDArray[np.int64]
    logits: NDArray[np.float64]
    probability: NDArray[np.float64]
    figures: DiagnosisFigures
    calibration: tuple[float, float]
    replicates: NDArray[np.float64]


def fold_folders(folder: str | Path) -> list[Path]:
    """The runs of a cross-validated folder, in order; empty for a plain run."""
    return sorted(path for path in Path(folder).glob("fold-*") if path.is_dir())


def cross_validate(
    recipe: Recipe,
    dataset: Dataset,
    out: str | Path,
    *,
    listener: Listener | None = None,
    tell: Callable[[str], None] = lambda _: None,
    mask_run: Path | None = None,
    cache: Path | None = None,
    command: str = "",
) -> CrossValidation:
    """Train `recipe.split.folds` networks, each with another fold as its test part, and score them together.

    Started again, it goes on where it stopped. Writes `predictions.csv`, `metrics.json` and `config.toml`; the
    runs lie in `fold-1`, `fold-2` ...

    Raises:
        ConfigError: the recipe is not one of diagnosis.
        DataError: too few patients for the folds, or no patient ids.
    """
    if recipe.task != "diagnosis":
        raise ConfigError("only diagnosis recipes are cross-validated", where=recipe.name)
    folder = Path(out)
    parts: list[tuple[list[Row], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]] = []
    for fold in range(recipe.split.folds):
        run = folder / f"fold-{fold + 1}"
        tell(f"fold {fold + 1} of {recipe.split.folds}")
        of_fold = recipe.with_settings(**{"split.fold": fold})
        train(
            of_fold,
            dataset,
            run,
            resume=True,
            listener=listener,
            mask_run=mask_run,
            cache=cache,
            command=command,
        )
        parts.append(_score_fold(run, dataset, fold, mask_run, cache))
    rows = tuple(row for part in parts for row in part[0])
    folds, logits, probability = (np.concatenate([part[place] for part in parts]) for place in (1, 2, 3))
    truth = np.array([bool(row.covid) for row in rows])
    result = CrossValidation(
        folder,
        rows,
        folds,
        logits,
        probability,
        diagnosis_figures(probability, rows),
        fit_platt(logits, truth),
        _replicates(logits, truth, rows),
    )
    _write(result, recipe)
    return result


def _score_fold(
    run: Path, dataset: Dataset, fold: int, mask_run: Path | None, cache: Path | None
) -> tuple[list[Row], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    recipe, network = load_run(run)
    kept, examples, _ = prepare(select_rows(dataset, recipe), recipe, cache=cache, mask_run=mask_run)
    of = read_split(run)
    test, validation = (
        np.array([i for i, row in enumerate(kept) if of.get(row.id) == part], np.int64)
        for part in ("test", "validation")
    )
    scores = [logit(predict(network, recipe, examples.inputs[part])) for part in (test, validation)]
    known = np.array([bool(kept.rows[i].covid) for i in validation])
    # The slope is held at 0 or more: a validation part whose ranking is upside down by chance says 'no information'.
    slope, intercept = fit_platt(scores[1], known)
    if slope <= 0:
        slope, intercept = 0.0, float(logit(known.mean()))
    return (
        [kept.rows[i] for i in test],
        np.full(len(test), fold + 1),
        np.asarray(scores[0]),
        np.asarray(apply_platt(scores[0], slope, intercept)),
    )


def _replicates(
    logits: NDArray[np.float64], truth: NDArray[np.bool_], rows: tuple[Row, ...]
) -> NDArray[np.float64]:
    who = Patients.of(patients_of(rows), len(rows))
    draws = resamples(who, truth, replicates=REPLICATES, seed=0)
    return np.array([fit_platt(logits[draw], truth[draw]) for draw in draws])


def _write(result: CrossValidation, recipe: Recipe) -> None:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["id", "patient", "source", "finding", "covid", "fold", "logit", "probability"])
    for place, row in enumerate(result.rows):
        figures = (f"{result.logits[place]:.6f}", f"{result.probability[place]:.6f}")
        head = (row.id, row.patient, row.source, row.finding, int(bool(row.covid)))
        writer.writerow([*head, result.fold[place], *figures])
    write_text(result.folder / "predictions.csv", out.getvalue())
    write_text(result.folder / "config.toml", to_toml(recipe))
    facts: dict[str, Any] = {
        "recipe": recipe.name,
        "task": recipe.task,
        "part": f"cross-validated by patient, {recipe.split.folds} folds",
        "images": len(result.rows),
        "patients": len({row.patient for row in result.rows}),
        **result.figures.to_dict(),
        "calibration": {
            "slope": result.calibration[0],
            "intercept": result.calibration[1],
            "prevalence": float(np.mean([bool(row.covid) for row in result.rows])),
            "replicates": result.replicates.round(4).tolist(),
        },
    }
    write_json(result.folder / "metrics.json", facts)


def load_calibration(folder: Path) -> dict[str, Any]:
    """`calibration` of a cross-validated folder's `metrics.json`; raises ModelError where it is missing."""
    try:
        found: dict[str, Any] = json.loads((folder / "metrics.json").read_text("utf-8"))["calibration"]
    except (OSError, ValueError, KeyError) as error:
        raise ModelError("was not cross-validated to its end", where=folder) from error
    return found
