"""The figures of a training run, on the images that it did not learn from."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsight.config import Recipe
from lungsight.dataset.table import Dataset, Row
from lungsight.errors import DataError, ModelError
from lungsight.evaluation.compute import DiagnosisFigures, MaskFigures, diagnosis_figures, mask_figures
from lungsight.files import write_json, write_text
from lungsight.metrics import Overlap
from lungsight.training import load_run, predict, prepare
from lungsight.training.data import planes

PARTS = ("train", "validation", "test", "all")
THRESHOLDS = np.arange(10, 91, 5) / 100


@dataclass(frozen=True)
class Evaluation:
    """What a run scores on one part of a table.

    Attributes:
        part: 'train', 'validation', 'test' or 'all'.
        rows: the N images.
        inputs: (N, h, w) uint8, what the network saw.
        truth: (N, h, w) bool for lungs, None for diagnosis.
        probability: (N, h, w) for lungs, (N,) for diagnosis.
        figures: with intervals.
        failures: (id, reason) of images that could not be read.
    """

    run: Path
    recipe: Recipe
    part: str
    rows: tuple[Row, ...]
    inputs: NDArray[np.uint8]
    truth: NDArray[np.bool_] | None
    probability: NDArray[np.float32]
    figures: MaskFigures | DiagnosisFigures
    failures: tuple[tuple[str, str], ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "recipe": self.recipe.name,
            "task": self.recipe.task,
            "part": self.part,
            "images": len(self.rows),
            "patients": len({row.patient for row in self.rows})
            if all(row.patient for row in self.rows)
            else None,
        } | self.figures.to_dict()


def evaluate_run(
    run: str | Path,
    dataset: Dataset,
    *,
    part: str | None = None,
    threshold: float | None = None,
    mask_run: Path | None = None,
    cache: Path | None = None,
    write: bool = True,
) -> Evaluation:
    """Score a run and write `metrics.json` and `predictions.csv` into its folder.

    Args:
        part: which of the run's parts; None: the test part, or the validation part where there is none (the paper's
            splits), or all images where the table is not the run's.
        threshold: on the probability; None: the recipe's, or chosen on the validation part where the recipe says so.
        mask_run: as for `train`.
        write: False leaves the folder alone.

    Raises:
        ModelError: no finished run.
        DataError: the part is empty, or the table lacks what the task needs.
    """
    folder = Path(run)
    recipe, network = load_run(folder)
    if recipe.task == "gate":
        raise ModelError("is a gate, which has figures of its own", where=folder, hint="Use evaluate_gate")
    kept, examples, failures = prepare(dataset, recipe, cache=cache, mask_run=mask_run)
    parts = read_split(folder)
    chosen, name = choose_part(kept, parts, part, folder)

    def probabilities(where: NDArray[np.int64]) -> NDArray[np.float32]:
        return predict(network, recipe, examples.inputs[where], plane=planes(examples, recipe)[where])

    cut = threshold
    if (
        cut is None
        and recipe.evaluation.choose_threshold
        and recipe.task == "lungs"
        and examples.masks is not None
    ):
        validation = np.array(
            [i for i, row in enumerate(kept) if parts.get(row.id) == "validation"], np.int64
        )
        if validation.size:
            cut = best_threshold(probabilities(validation), examples.masks[validation])
    cut = recipe.evaluation.threshold if cut is None else cut
    rows = tuple(kept.rows[i] for i in chosen)
    found = probabilities(chosen)
    truth = examples.masks[chosen] if examples.masks is not None else None
    figures = (
        diagnosis_figures(found, rows, cut) if truth is None else mask_figures(found > cut, truth, rows, cut)
    )
    result = Evaluation(folder, recipe, name, rows, examples.inputs[chosen], truth, found, figures, failures)
    if write:
        write_json(folder / "metrics.json", result.to_dict())
        write_text(folder / "predictions.csv", _predictions(result))
    return result


def best_threshold(probability: NDArray[np.float32], truth: NDArray[np.bool_]) -> float:
    """The threshold in 0.10, 0.15 ... 0.90 with the highest mean Dice of (N, h, w) maps."""
    scores = [Overlap.of(probability > cut, truth).per_image()["dice"].mean() for cut in THRESHOLDS]
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


def _predictions(result: Evaluation) -> str:
    out = io.StringIO()
    columns = ["id", "patient", "source", "finding", "covid"]
    if isinstance(result.figures, MaskFigures):
        extra = result.figures.values
    else:
        extra = {"probability": result.probability.astype(float)}
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*columns, *extra])
    for place, row in enumerate(result.rows):
        covid = "" if row.covid is None else int(row.covid)
        head = [row.id, row.patient, row.source, row.finding, covid]
        writer.writerow(head + [f"{values[place]:.6f}" for values in extra.values()])
    return out.getvalue()


def load_metrics(run: str | Path) -> dict[str, Any]:
    """`metrics.json` of a run; raises ModelError where it was not evaluated."""
    try:
        found: dict[str, Any] = json.loads((Path(run) / "metrics.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError("was not evaluated yet", where=run, hint="Run lungsight evaluate on it") from error
    return found
