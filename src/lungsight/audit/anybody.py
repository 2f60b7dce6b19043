"""Anybody's model: a function from a batch of images to numbers, an ONNX file, or scores in a CSV."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lungsight.audit.audited import Audited, check_classes, hash_files
from lungsight.audit.leakage import split_of
from lungsight.audit.masks import with_masks
from lungsight.audit.records import Caveat
from lungsight.dataset.cache import load_arrays
from lungsight.dataset.table import Dataset
from lungsight.errors import ConfigError, DataError, ModelError
from lungsight.evaluation.predictions import read_scores
from lungsight.inference.any_network import open_network
from lungsight.preprocess import IMAGENET, to_unit
from lungsight.progress import ProgressCallback, silent
from lungsight.wording import AuditCaveat

Floats = NDArray[np.float64]
BatchScore = Callable[[NDArray[np.float32]], ArrayLike]
"""(N, 1, h, w) float32 in [0, 1], bone bright -> (N,) numbers, higher for the target."""

BATCH = 32
PIXELS_AT_MOST = 20_000
"""Images that are read beside scores alone: so many of 224 x 224 take 1 GB."""
_OUTPUT = re.compile(r"(?P<name>[^\[\]]*)(\[(?P<index>\d{1,6})\])?")


def from_function(
    score: BatchScore,
    dataset: Dataset,
    *,
    size: tuple[int, int] = (224, 224),
    name: str = "the function",
    threshold: float | None = None,
    cache: Path | None = None,
    progress: ProgressCallback = silent,
) -> Audited:
    """Open a function for the audit: every image is scored once, now.

    Args:
        score: called with batches (N, 1, h, w) float32 in [0, 1]; returns N numbers, higher for the target. An
            array, a list or a tensor, (N,) or (N, 1).
        dataset: rows with a known class; where a row has no lung mask, the shipped lung network makes it.
        size: (h, w) of the images that the function gets.
        name: for the report.
        threshold: a score at or above it is a positive; None: decisions are not counted.

    Raises:
        DataError: the table lacks a class, or the function gives not one finite number for each image (codes
            'score_length', 'score_not_finite', 'score_type').
    """
    usable = check_classes(dataset, need_masks=False)
    arrays = load_arrays(usable, size, cache_dir=cache, progress=progress)
    known = with_masks(usable, arrays)

    def ask(images: NDArray[np.uint8]) -> Floats:
        batch = to_unit(np.asarray(images, np.uint8))[:, None]
        return numbers(score(np.ascontiguousarray(batch, np.float32)), len(images))

    values = np.concatenate([ask(known.images[i : i + BATCH]) for i in range(0, len(known.rows), BATCH)])
    digest = hashlib.sha256(name.encode())
    digest.update(np.asarray(values, np.float32).tobytes())
    return Audited(
        name=name,
        model_hash=digest.hexdigest(),
        dataset=known.dataset,
        images=known.images,
        masks=known.masks,
        held_out=np.arange(len(known.rows)),
        part="all",
        parts={},
        score=lambda images, masks, indices: ask(images),
        threshold=float("nan") if threshold is None else threshold,
        values=values,
        failures=known.failures,
        notes=known.notes,
    )


def numbers(found: Any, count: int) -> Floats:
    """(N,) finite numbers from what a scoring function returned; raises DataError."""
    if hasattr(found, "detach"):  # a tensor
        found = found.detach().cpu().numpy()
    try:
        values = np.asarray(found if found is not None else "", np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(
            "the scoring function must return numbers", code="score_type", detail=str(error)
        ) from error
    if values.shape not in ((count,), (count, 1)):
        shape = " x ".join(map(str, values.shape)) or "a single number"
        raise DataError(
            f"the scoring function must return one number for each image: {count} for this batch, not {shape}",
            code="score_length",
            hint="Choose one output, as in scores[:, 1]",
        )
    if bad := int((~np.isfinite(values)).sum()):
        raise DataError(
            f"the scoring function gave NaN or infinity for {bad} of {count} images", code="score_not_finite"
        )
    return values.reshape(count)


def from_onnx(
    path: Path,
    dataset: Dataset,
    *,
    size: tuple[int, int],
    normalize: str = "0-1",
    output: str = "",
    sigmoid: bool = False,
    threshold: float | None = None,
    cache: Path | None = None,
    progress: ProgressCallback = silent,
) -> Audited:
    """Open an ONNX network of anybody's for the audit.

    Args:
        size: (h, w) of its input, which has 1 or 3 channels.
        normalize: 'imagenet', 'torchxrayvision' ([-1024, 1024]), '0-1', or 'MEAN,STD' of values in [0, 1].
        output: 'NAME', 'NAME[INDEX]' or '[INDEX]'; '': the first output, which then has one value.
        sigmoid: apply it to the value.

    Raises:
        ModelError: it is no network, or its input or output does not fit.
        ConfigError: `normalize` or `output` cannot be read.
    """
    mean, std = normalization(normalize)
    wanted = _OUTPUT.fullmatch(output.strip())
    if wanted is None:
        raise ConfigError("--output is NAME, NAME[INDEX] or [INDEX]", where="--output")
    network = open_network(path)
    channels = _channels(network.input_shape, size, path)
    if channels == 1 and len(mean) == 3:
        mean, std = (float(np.mean(mean)),), (float(np.mean(std)),)
    name = wanted["name"].strip() or network.outputs[0]
    if name not in network.outputs:
        raise ModelError(
            "has no such output", where=path, hint=f"Its outputs: {', '.join(network.outputs[:20])}"
        )
    index = None if wanted["index"] is None else int(wanted["index"])

    def score(batch: NDArray[np.float32]) -> Floats:
        inputs = np.repeat(batch, channels, axis=1)
        shaped = (-1, 1, 1)
        inputs = (inputs - np.reshape(mean, shaped)) / np.reshape(std, shaped)
        found = _picked(network.run(inputs.astype(np.float32))[name], index, len(batch), path)
        return np.asarray(1 / (1 + np.exp(-found)) if sigmoid else found)

    audited = from_function(
        score, dataset, size=size, name=path.name, threshold=threshold, cache=cache, progress=progress
    )
    return dataclasses.replace(audited, model_hash=hash_files([path]))


def normalization(text: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(means, standard deviations) of values in [0, 1]; raises ConfigError."""
    known: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
        "imagenet": IMAGENET,
        "torchxrayvision": ((0.5,), (0.5 / 1024,)),
        "0-1": ((0.0,), (1.0,)),
    }
    if text in known:
        return known[text]
    try:
        mean, std = (float(part) for part in text.split(","))
    except ValueError:
        mean, std = 0.0, 0.0
    if not (np.isfinite(mean) and np.isfinite(std) and std > 0):
        raise ConfigError(
            "must be imagenet, torchxrayvision, 0-1, or MEAN,STD with STD above 0", where="--normalize"
        )
    return (mean,), (std,)


def _channels(shape: tuple[int | None, ...], size: tuple[int, int], path: Path) -> int:
    """1 or 3 channels of an input (N, channels, h, w); None stands for any."""
    fits = len(shape) == 4 and shape[1] in (1, 3, None)
    fits = fits and all(given in (None, asked) for given, asked in zip(shape[2:], size, strict=False))
    if not fits:
        words = " x ".join("any" if one is None else str(one) for one in shape)
        raise ModelError(
            f"takes an input of {words}; the audit gives images x 1 or 3 x {size[0]} x {size[1]}",
            where=path,
            hint="Set --input HEIGHTxWIDTH to what the network takes",
        )
    return int(shape[1] or 1)


def _picked(values: NDArray[np.float32], index: int | None, count: int, path: Path) -> Floats:
    flat = np.asarray(values, np.float64).reshape(len(values), -1) if values.ndim else np.empty((0, 0))
    if len(flat) != count:
        raise ModelError("does not give one row for each image", where=path)
    if index is None and flat.shape[1] != 1:
        raise ModelError(
            f"gives {flat.shape[1]} values for each image",
            where=path,
            hint="Choose one with --output NAME[INDEX]",
        )
    if index is not None and index >= flat.shape[1]:
        raise ModelError(
            f"gives {flat.shape[1]} values for each image; there is no index {index}",
            where=path,
            hint="Indices start at 0",
        )
    return flat[:, index or 0]


def from_scores(
    path: Path,
    dataset: Dataset,
    *,
    columns: Mapping[str, str] | None = None,
    threshold: float | None = None,
    cache: Path | None = None,
    progress: ProgressCallback = silent,
    size: tuple[int, int] = (224, 224),
) -> Audited:
    """Open scores without a model: a CSV with id and probability, or the names in `columns`.

    The images are read too, for copies of a film and, where every row has a lung mask, for the models that see a
    region; not so where there are more than `PIXELS_AT_MOST`, and without masks an image may be absent.

    Raises:
        DataError: the CSV or the table cannot be used.
    """
    predicted = read_scores(path, dataset, threshold=threshold, columns=columns)
    usable = check_classes(dataset.with_rows(predicted.rows), need_masks=False)
    probability = predicted.probability if predicted.probability is not None else np.empty(0)
    values = dict(zip((row.id for row in predicted.rows), probability.tolist(), strict=True))
    failures = list(predicted.failures)
    images, masks = np.empty((0, *size), np.uint8), np.empty((0, *size), np.bool_)
    notes: tuple[Caveat, ...] = ()
    masked = all(row.mask is not None for row in usable)
    if len(usable) > PIXELS_AT_MOST or not (masked or all(row.image.is_file() for row in usable)):
        notes = (Caveat(AuditCaveat.NO_PIXELS_READ, {"images": len(usable)}),)
    else:
        arrays = load_arrays(usable, size, cache_dir=cache, progress=progress)
        usable, images, masks = usable.with_rows(arrays.rows), arrays.images, arrays.masks
        failures += arrays.failures
    if not split_of(usable.rows):
        notes = (*notes, Caveat(AuditCaveat.NO_SPLIT))
    scores = np.array([values[row.id] for row in usable], np.float64)
    return Audited(
        name=path.name,
        model_hash=hash_files([path]),
        dataset=usable,
        images=images,
        masks=masks,
        held_out=np.flatnonzero(np.isfinite(scores)),
        part="all",
        parts={},
        score=None,
        threshold=predicted.threshold,
        values=scores,
        failures=tuple(failures),
        notes=notes,
    )
