"""The score of every image: out of fold, with the image changed, and on a second data set."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lungsight.audit.regions import REGIONS
from lungsight.dataset.cache import load_arrays
from lungsight.dataset.table import Dataset, Row
from lungsight.errors import DataError
from lungsight.files import write_text
from lungsight.metrics import logit, sigmoid
from lungsight.training import load_run, predict
from lungsight.training.data import network_inputs
from lungsight.training.uncertainty import has_drop_weights, predict_passes
from lungsight.wording import Region

VIEWS = {"whole": Region.WHOLE, "border": Region.BORDER, "lungs_black": Region.LUNGS_BLACK}
"""Columns of a system's scores -> what its networks are shown at prediction."""
COLUMNS = ("id", "patient", "source", "covid", "fold", *VIEWS)
EXTERNAL_COLUMNS = ("id", "patient", "source", "covid", "score")
PASSES = 20
PASS_COLUMNS = (
    "id",
    "patient",
    "source",
    "covid",
    "fold",
    *(f"pass_{number + 1}" for number in range(PASSES)),
)
BATCH = 64
Table = dict[str, dict[str, str]]


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
        scores[name] = predict(network, recipe, inputs, batch=BATCH, device=device)
        seconds += time.perf_counter() - begun
    records = [
        [
            *(row.id, row.patient, row.source, str(int(bool(row.covid))), str(fold + 1)),
            *(f"{scores[name][index]:.6f}" for name in VIEWS),
        ]
        for index, row in enumerate(arrays.rows)
    ]
    return records, seconds, sum(part == "train" for part in part_of.values())


def score_passes(run: Path, dataset: Dataset, fold: int, cache: Path | None, device: str) -> list[list[str]]:
    """A record of `PASS_COLUMNS` a test image of a network with drop-weights; of another network none."""
    recipe, network = load_run(run)
    if not has_drop_weights(network):
        return []
    with (run / "split.csv").open(encoding="utf-8", newline="") as file:
        part_of = {record["id"]: record["part"] for record in csv.DictReader(file)}
    arrays = load_arrays(
        dataset.where(lambda row: part_of.get(row.id) == "test"), recipe.data.resized, cache_dir=cache
    )
    inputs = network_inputs(np.asarray(arrays.images), arrays.masks.astype(bool), recipe.data)
    found = predict_passes(network, recipe, inputs, passes=PASSES, batch=BATCH, device=device)
    return [
        [row.id, row.patient, row.source, str(int(bool(row.covid))), str(fold + 1)]
        + [f"{value:.6f}" for value in found[:, index]]
        for index, row in enumerate(arrays.rows)
    ]


def external_rows(external: Dataset, dataset: Dataset) -> Dataset:
    """What of a second data set can be scored by every system: with a mask and a label, no patient of the first.

    Raises:
        DataError: nothing is left, or one class.
    """
    known = {row.patient for row in dataset if row.patient}
    kept = external.where(
        lambda row: row.mask is not None and row.covid is not None and row.patient not in known
    )
    classes = {row.covid for row in kept}
    if len(classes) < 2:
        raise DataError(
            "the second data set has no two classes among its images with a lung mask and a patient who is not in "
            "the first",
            where=external.root,
        )
    return kept


def score_external(
    runs: Sequence[Path], external: Dataset, cache: Path | None, device: str
) -> list[list[str]]:
    """A record of `EXTERNAL_COLUMNS` an image of a second data set: the folds' networks' mean logit, as a score."""
    total: NDArray[np.float64] | None = None
    rows: tuple[Row, ...] = ()
    for run in runs:
        recipe, network = load_run(run)
        arrays = load_arrays(external, recipe.data.resized, cache_dir=cache)
        inputs = network_inputs(np.asarray(arrays.images), arrays.masks.astype(bool), recipe.data)
        values = logit(predict(network, recipe, inputs, batch=BATCH, device=device))
        total, rows = values if total is None else total + values, arrays.rows
    means = sigmoid(np.zeros(0) if total is None else total / len(runs))
    return [
        [row.id, row.patient, row.source, str(int(bool(row.covid))), f"{value:.6f}"]
        for row, value in zip(rows, means, strict=True)
    ]


def write_scores(path: Path, columns: Sequence[str], records: list[list[str]]) -> Table:
    """Write a table of scores, and give it by id."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(records)
    write_text(path, out.getvalue())
    return {record[0]: dict(zip(columns, record, strict=True)) for record in records}
