"""What is audited: a run, a cross-validated folder, or ONNX networks, behind one way of asking for scores."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lungsight.dataset.cache import Arrays, Progress, load_arrays
from lungsight.dataset.table import Dataset, Row
from lungsight.errors import DataError, ModelError
from lungsight.evaluation.crossvalidation import fold_folders
from lungsight.evaluation.evaluate import choose_part, read_split
from lungsight.evaluation.predictions import trained_on
from lungsight.inference import Failure, load_model
from lungsight.training import load_run, predict, predict_masks
from lungsight.training.data import network_inputs

SIZE = (256, 256)
"""(h, w) at which ONNX networks are given the images."""

Scorer = Callable[[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.intp]], NDArray[np.float64]]
"""Images (K, h, w), lungs (K, h, w) and the places (K,) of the rows they come from -> probabilities (K,), NaN
where the model gives none."""


@dataclass(frozen=True)
class Target:
    """A model with the table that it is audited on.

    Attributes:
        identity: changes when the model does.
        dataset: the N rows that could be read, all with a mask and a known class.
        images: (N, h, w) uint8.
        masks: (N, h, w) lungs as annotated.
        held_out: places of the images that the model did not learn from.
        part: what they are called.
        parts: row id -> part of the model's split; empty where it is not known.
        score: the model.
        threshold: at which its probability is cut.
    """

    name: str
    identity: str
    dataset: Dataset
    images: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    held_out: NDArray[np.intp]
    part: str
    parts: dict[str, str]
    score: Scorer
    threshold: float
    failures: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def rows(self) -> tuple[Row, ...]:
        """The N rows."""
        return self.dataset.rows


def load_target(
    target: str | Path,
    dataset: Dataset,
    *,
    part: str | None = None,
    mask_run: Path | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Target:
    """Open what is to be audited and decode the table at its size.

    Args:
        target: a run's folder, a cross-validated folder, a folder of ONNX networks, or 'shipped'.
        part: of the run's split; None: test, or validation where there is no test part, or all images where the
            table is not the run's.
        mask_run: a lung run whose masks the audited run is given instead of the table's.

    Raises:
        ModelError: there is no finished run or no network, or it gives no COVID-19 score.
        DataError: the table has no masks, or not both classes.
    """
    usable = dataset.where(lambda row: row.mask is not None and row.covid is not None)
    if not len(usable):
        raise DataError(
            "has no image with both a lung mask and a known class, which the audit needs", where=dataset.root
        )
    for wanted, words in ((True, "no COVID-19 image"), (False, "only COVID-19 images")):
        if not any(row.covid is wanted for row in usable):
            raise DataError(
                f"has {words} with a lung mask", where=dataset.root, hint="The audit needs both classes"
            )
    folder = Path(target)
    if str(target) == "shipped":
        return _bundle(None, usable, cache, progress)
    if (folder / "config.toml").is_file():
        return _run(folder, usable, part, mask_run, cache, progress)
    if any(folder.glob("*.onnx")):
        return _bundle(folder, usable, cache, progress)
    raise ModelError(
        "there is no model to audit here",
        where=target,
        hint="Give a run's folder, a folder of ONNX networks, or 'shipped'",
    )


def _run(
    folder: Path,
    usable: Dataset,
    part: str | None,
    mask_run: Path | None,
    cache: Path | None,
    progress: Progress | None,
) -> Target:
    folds = fold_folders(folder)
    runs = folds or [folder]
    loaded = [load_run(run) for run in runs]
    recipe = loaded[0][0]
    if recipe.task != "diagnosis":
        raise ModelError(
            f"finds {recipe.task} and gives no COVID-19 score", where=folder, hint="Audit a diagnosis run"
        )
    arrays = load_arrays(usable, recipe.data.resized, cache_dir=cache, progress=progress)
    splits = [read_split(run) for run in runs]
    if folds:
        held = [
            i for i, row in enumerate(arrays.rows) if any(split.get(row.id) == "test" for split in splits)
        ]
        name = "out of fold"
        tested_by = np.array(
            [
                next((k for k, split in enumerate(splits) if split.get(row.id) == "test"), 0)
                for row in arrays.rows
            ]
        )
        # A split of which only 'fold k or not' matters: a duplicate in another fold was trained on.
        parts = {row.id: f"fold {tested_by[i] + 1}" for i, row in enumerate(arrays.rows)}
    else:
        parts = splits[0]
        places, name = choose_part(_kept(usable, arrays), parts, part, folder)
        held = places.tolist()
        tested_by = np.zeros(len(arrays), int)

    def score(
        images: NDArray[np.uint8], masks: NDArray[np.bool_], places: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        if mask_run is not None and recipe.data.crop_mode != "resize":
            masks = predict_masks(mask_run, images)
        inputs = network_inputs(images, masks, recipe.data)
        found = np.empty(len(images))
        for number in np.unique(tested_by[places]):
            here = tested_by[places] == number
            found[here] = predict(loaded[number][1], recipe, inputs[here])
        return found

    return Target(
        name=f"the run {folder.name} ({recipe.name})",
        identity=_digest([run / "weights.safetensors" for run in runs], mask_run, name),
        dataset=_kept(usable, arrays),
        images=arrays.images,
        masks=arrays.masks,
        held_out=np.array(held, np.intp),
        part=name,
        parts=parts if any(row.id in parts for row in arrays.rows) else {},
        score=score,
        threshold=recipe.evaluation.threshold,
        failures=arrays.failures,
        notes=("The model learned from some of these images: its own figures are too good.",)
        if name in ("all", "train") and any(row.id in parts for row in arrays.rows)
        else (),
    )


def _bundle(folder: Path | None, usable: Dataset, cache: Path | None, progress: Progress | None) -> Target:
    engine = load_model(folder)
    diagnosis = engine.bundle.diagnosis
    if diagnosis is None:
        raise ModelError(
            "give no COVID-19 score", where=folder or "the shipped networks", hint="Audit a diagnosis run"
        )
    seen = trained_on(engine.bundle, usable)
    arrays = load_arrays(usable, SIZE, cache_dir=cache, progress=progress)

    def score(
        images: NDArray[np.uint8], masks: NDArray[np.bool_], places: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        # End to end, as a user has it: the networks find the lungs themselves, and may refuse an image.
        found = np.full(len(images), np.nan)
        for place, result in enumerate(engine.predict_many(iter(images))):
            if not isinstance(result, Failure) and result.probability is not None:
                found[place] = result.probability
        return found

    return Target(
        name="the shipped networks" if folder is None else f"the networks in {folder.name}",
        identity=engine.bundle.fingerprint(),
        dataset=_kept(usable, arrays),
        images=arrays.images,
        masks=arrays.masks,
        held_out=np.arange(len(arrays)),
        part="all",
        parts={},
        score=score,
        threshold=diagnosis.card.threshold,
        failures=arrays.failures,
        notes=(
            f"The networks ({', '.join(seen)}) learned from this table: the score's own figures are too good.",
        )
        if seen
        else (),
    )


def _kept(usable: Dataset, arrays: Arrays) -> Dataset:
    return dataclasses.replace(usable, rows=arrays.rows)


def _digest(weights: list[Path], mask_run: Path | None, part: str) -> str:
    digest = hashlib.sha256(part.encode())
    for path in [*weights, *([mask_run / "weights.safetensors"] if mask_run else [])]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
