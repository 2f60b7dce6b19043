"""Predictions of whatever a user names: shipped networks, a run, a table of scores, a folder of masks or networks."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from lungsight.dataset.table import Dataset, Row
from lungsight.errors import DataError
from lungsight.evaluation.mask_files import format_notes, read_masks
from lungsight.evaluation.predictions import SIZE, Predictions, read_scores, trained_on
from lungsight.evaluation.runs import predict_run
from lungsight.inference import Failure, load_model
from lungsight.metrics import Note
from lungsight.preprocess import resize_mask
from lungsight.progress import ProgressCallback, silent
from lungsight.wording import Caution, Decision


def predict_shipped(
    dataset: Dataset,
    folder: Path | None = None,
    *,
    threshold: float | None = None,
    progress: ProgressCallback = silent,
) -> Predictions:
    """The shipped networks (or those of `folder`) on every image, as `lungsight predict` runs them.

    Raises:
        ModelError: there are no networks.
        DataError: no image can be read.
    """
    engine = load_model(folder, threshold=threshold)
    rows: list[Row] = []
    masks, truth, scores, uncertain, failures = [], [], [], [], []
    with_truth = all(row.mask is not None for row in dataset)
    for row, result in zip(dataset, engine.predict_many(row.image for row in dataset), strict=True):
        if isinstance(result, Failure):
            failures.append((row.id, result.error.message))
        else:
            rows.append(row)
            scores.append(math.nan if result.probability is None else result.probability)
            uncertain.append(result.decision == Decision.UNCERTAIN)
            if with_truth and row.mask is not None:
                masks.append(resize_mask(result.mask, SIZE))
                truth.append(resize_mask(row.mask.load(), SIZE))
        progress(len(rows) + len(failures), len(dataset))
    if not rows:
        raise DataError("none of its images could be read", where=dataset.root)
    diagnosis = engine.bundle.diagnosis
    limit = diagnosis.card.threshold if diagnosis and threshold is None else threshold
    seen = trained_on(engine.bundle, dataset)
    notes: tuple[Note, ...] = (Note(Caution.TRAINED_ON, names=tuple(seen)),) if seen else ()
    if with_truth:
        notes += format_notes(np.stack(masks), np.stack(truth))
    return Predictions(
        name="the shipped networks" if folder is None else f"the networks in {folder.name}",
        part="all",
        rows=tuple(rows),
        probability=np.array(scores) if diagnosis else None,
        threshold=0.5 if limit is None else limit,
        uncertain=np.array(uncertain, bool) if diagnosis else None,
        masks=np.stack(masks) if with_truth else None,
        truth=np.stack(truth) if with_truth else None,
        mask_threshold=engine.mask_threshold,
        failures=tuple(failures),
        notes=notes,
        target=dataset.target,
    )


def predict_any(target: Path, dataset: Dataset, *, cache: Path | None = None) -> Predictions:
    """Predictions of whatever `target` is, told by its content: 'shipped', a run, a CSV, masks, ONNX networks.

    Raises:
        DataError: it is none of these.
    """
    if str(target) == "shipped":
        return predict_shipped(dataset)
    if target.is_file():
        return read_scores(target, dataset)
    if (target / "config.toml").is_file():
        return predict_run(target, dataset, cache=cache)
    if any(target.glob("*.onnx")):
        return predict_shipped(dataset, target)
    if target.is_dir():
        return read_masks(target, dataset)
    raise DataError(
        "there is no such model",
        where=target,
        hint="Give a run's folder, 'shipped', a CSV of id and probability, or a folder of masks",
    )
