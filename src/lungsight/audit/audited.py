"""The model under audit: a run, a cross-validated folder, ONNX networks, any function, or scores alone."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lungsight.audit.records import Caveat
from lungsight.dataset.cache import Arrays, load_arrays
from lungsight.dataset.table import Dataset, Row
from lungsight.errors import DataError, ModelError
from lungsight.evaluation.predictions import trained_on
from lungsight.evaluation.runs import choose_part, fold_folders, read_split
from lungsight.inference import Failure, load_model
from lungsight.progress import ProgressCallback, silent
from lungsight.training import ask, load_run, predict, predict_masks
from lungsight.training.data import network_inputs
from lungsight.wording import AuditCaveat

SIZE = (256, 256)
"""(h, w) at which ONNX networks are given the images."""
OUT_OF_FOLD = "out of fold"

Scorer = Callable[[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.intp]], NDArray[np.float64]]
"""Images (K, h, w), lungs (K, h, w) and the indices (K,) of the rows they come from -> scores (K,), NaN
where the model gives none."""


@dataclass(frozen=True)
class Audited:
    """A model with the table that it is audited on.

    Attributes:
        model_hash: SHA-256 of the weights, or of the scores.
        dataset: the N rows that could be read, all with a known class.
        images: (N, h, w) uint8; (0, h, w) where only scores are given.
        masks: (N, h, w) lungs; none is True where there are no masks.
        held_out: indices of the images that the model was not trained on.
        part: what they are called.
        parts: row id -> part of the model's split; empty where it is not known.
        score: the model; None where only scores are given.
        values: (N,) scores that were given, NaN where there is none; None: ask `score`.
        threshold: a score at or above it is a positive; NaN where the score has no threshold.
    """

    name: str
    model_hash: str
    dataset: Dataset
    images: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    held_out: NDArray[np.intp]
    part: str
    parts: dict[str, str]
    score: Scorer | None
    threshold: float
    values: NDArray[np.float64] | None = None
    failures: tuple[tuple[str, str], ...] = ()
    notes: tuple[Caveat, ...] = field(default=())

    @property
    def rows(self) -> tuple[Row, ...]:
        """The N rows."""
        return self.dataset.rows

    @property
    def has_masks(self) -> bool:
        """Whether the lungs are known, so that they can be taken away."""
        return bool(len(self.images)) and bool(self.masks.any())


def check_classes(dataset: Dataset, *, need_masks: bool) -> Dataset:
    """The rows that an audit can use: with a known class, and a lung mask if need be.

    Raises:
        DataError: there is none, or one class only.
    """
    usable = dataset.where(lambda row: row.positive is not None and (row.mask is not None or not need_masks))
    both = " with both a lung mask and a known class" if need_masks else " with a known class"
    if not len(usable):
        raise DataError(f"has no image{both}, which the audit needs", where=dataset.root)
    name = dataset.target.name
    for wanted, words in ((True, f"no {name} image"), (False, f"only {name} images")):
        if not any(row.positive is wanted for row in usable):
            raise DataError(
                f"has {words}{' with a lung mask' if need_masks else ''}",
                where=dataset.root,
                hint="The audit needs both classes",
            )
    return usable


def load_audited(
    target: str | Path,
    dataset: Dataset,
    *,
    part: str | None = None,
    mask_run: Path | None = None,
    cache: Path | None = None,
    progress: ProgressCallback = silent,
) -> Audited:
    """Open what is to be audited and decode the table at its size.

    Args:
        target: a run's folder, a cross-validated folder, a folder of ONNX networks, or 'shipped'.
        part: of the run's split; None: test, or validation where there is no test part, or all images where the
            table is not the run's.
        mask_run: a lung run whose masks the audited run is given instead of the table's.

    Raises:
        ModelError: there is no finished run or no network, or it gives no score.
        DataError: the table has no masks, or not both classes.
    """
    usable = check_classes(ask_as(target, dataset), need_masks=True)
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


def ask_as(target: str | Path, dataset: Dataset) -> Dataset:
    """The question that a run was trained on, asked of a table of which nothing was asked yet.

    Raises:
        ModelError: the run is damaged.
        DataError: no row shows its target.
    """
    folder = Path(target)
    if str(target) == "shipped" or not (folder / "config.toml").is_file():
        return dataset
    return ask(dataset, load_run((fold_folders(folder) or [folder])[0])[0])


def model_hash(target: str | Path) -> str:
    """SHA-256 that an audit of this model carries, 64 hex digits.

    Args:
        target: a run's folder, a cross-validated folder, a folder of ONNX networks, 'shipped', or a file (an ONNX
            network, or a CSV of scores).

    Raises:
        ModelError: there is no model.
    """
    path = Path(target)
    if str(target) == "shipped":
        return _hash_text(load_model(None).bundle.fingerprint())
    if path.is_file():
        return hash_files([path])
    if (path / "config.toml").is_file():
        return hash_files([run / "weights.safetensors" for run in fold_folders(path) or [path]])
    if any(path.glob("*.onnx")):
        return _hash_text(load_model(path).bundle.fingerprint())
    raise ModelError("there is no model here", where=target)


def hash_files(paths: Sequence[Path]) -> str:
    """SHA-256 over files, 64 hex digits; raises ModelError where one cannot be read."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            digest.update(path.read_bytes())
        except OSError as error:
            raise ModelError("cannot be read", where=path, detail=str(error)) from error
    return digest.hexdigest()


def _hash_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _run(
    folder: Path,
    usable: Dataset,
    part: str | None,
    mask_run: Path | None,
    cache: Path | None,
    progress: ProgressCallback,
) -> Audited:
    folds = fold_folders(folder)
    runs = folds or [folder]
    loaded = [load_run(run) for run in runs]
    recipe = loaded[0][0]
    if recipe.task != "diagnosis":
        raise ModelError(
            f"finds {recipe.task} and gives no score", where=folder, hint="Audit a diagnosis run"
        )
    arrays = load_arrays(usable, recipe.data.resized, cache_dir=cache, progress=progress)
    splits = [read_split(run) for run in runs]
    tested_by = np.zeros(len(arrays), int)
    if folds:
        name = OUT_OF_FOLD
        held = [
            i for i, row in enumerate(arrays.rows) if any(split.get(row.id) == "test" for split in splits)
        ]
        for index, row in enumerate(arrays.rows):
            tested_by[index] = next((k for k, split in enumerate(splits) if split.get(row.id) == "test"), 0)
        # Only 'this fold or another' matters: a duplicate in another fold was trained on.
        parts = {row.id: f"fold {tested_by[i] + 1}" for i, row in enumerate(arrays.rows)}
    else:
        parts = splits[0]
        chosen, name = choose_part(_kept(usable, arrays), parts, part, folder)
        held = chosen.tolist()

    def score(
        images: NDArray[np.uint8], masks: NDArray[np.bool_], indices: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        if mask_run is not None and recipe.data.crop_mode != "resize":
            masks = predict_masks(mask_run, images)
        inputs = network_inputs(images, masks, recipe.data)
        found = np.empty(len(images))
        for number in np.unique(tested_by[indices]):
            here = tested_by[indices] == number
            found[here] = predict(loaded[number][1], recipe, inputs[here])
        return found

    own_table = any(row.id in parts for row in arrays.rows)
    return Audited(
        name=f"the run {folder.name} ({recipe.name})",
        model_hash=model_hash(folder),
        dataset=_kept(usable, arrays),
        images=arrays.images,
        masks=arrays.masks,
        held_out=np.array(held, np.intp),
        part=name,
        parts=parts if own_table else {},
        score=score,
        threshold=recipe.evaluation.threshold,
        failures=arrays.failures,
        notes=(Caveat(AuditCaveat.TRAINED_ON_SOME),) if name in ("all", "train") and own_table else (),
    )


def _bundle(folder: Path | None, usable: Dataset, cache: Path | None, progress: ProgressCallback) -> Audited:
    engine = load_model(folder)
    diagnosis = engine.bundle.diagnosis
    if diagnosis is None:
        raise ModelError(
            "give no score", where=folder or "the shipped networks", hint="Audit a diagnosis run"
        )
    seen = trained_on(engine.bundle, usable)
    arrays = load_arrays(usable, SIZE, cache_dir=cache, progress=progress)

    def score(
        images: NDArray[np.uint8], masks: NDArray[np.bool_], indices: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        # End to end, as a user has it: the networks find the lungs themselves, and may refuse an image.
        found = np.full(len(images), np.nan)
        for index, result in enumerate(engine.predict_many(iter(images))):
            if not isinstance(result, Failure) and result.probability is not None:
                found[index] = result.probability
        return found

    return Audited(
        name="the shipped networks" if folder is None else f"the networks in {folder.name}",
        model_hash=_hash_text(engine.bundle.fingerprint()),
        dataset=_kept(usable, arrays),
        images=arrays.images,
        masks=arrays.masks,
        held_out=np.arange(len(arrays)),
        part="all",
        parts={},
        score=score,
        threshold=diagnosis.card.threshold,
        failures=arrays.failures,
        notes=(Caveat(AuditCaveat.TRAINED_ON_TABLE),) if seen else (),
    )


def _kept(usable: Dataset, arrays: Arrays) -> Dataset:
    return dataclasses.replace(usable, rows=arrays.rows)
