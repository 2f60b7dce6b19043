"""What a model said of a table: read from anybody's files, made by the shipped networks, or taken from a run."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lungsight.dataset.cache import check_aspect
from lungsight.dataset.masks import MaskFile
from lungsight.dataset.readers.manifest import read_table
from lungsight.dataset.table import Dataset, Row
from lungsight.errors import DataError, LungsightError
from lungsight.evaluation.compute import MaskFigures
from lungsight.evaluation.crossvalidation import fold_folders
from lungsight.evaluation.evaluate import Evaluation, evaluate_run, load_metrics
from lungsight.inference import Failure, load_model
from lungsight.model import Bundle
from lungsight.preprocess import resize_mask

SIZE = (256, 256)
"""(h, w) at which masks of files and of the shipped networks are compared."""
SHOWN = 5
"""Ids that a message names."""

Progress = Callable[[int, int], None]
Failures = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Predictions:
    """What a model says of N images of one table.

    Attributes:
        name: of the model, in words.
        part: which images: 'all', or the part of a run's split.
        rows: the N images.
        probability: (N,) of COVID-19 in [0, 1], NaN where the model gave none; None for a lung model.
        threshold: at which the probability is cut.
        masks: (N, h, w) predicted lungs; None for a score alone.
        truth: (N, h, w) lungs as annotated; None where the table has none.
        mask_threshold: at which the lung map was cut, for the record; NaN where it is not known.
        failures: (id, reason) of images without a prediction.
        notes: what a reader must know.
    """

    name: str
    part: str
    rows: tuple[Row, ...]
    probability: NDArray[np.float64] | None = None
    threshold: float = 0.5
    masks: NDArray[np.bool_] | None = None
    truth: NDArray[np.bool_] | None = None
    mask_threshold: float = math.nan
    failures: Failures = ()
    notes: tuple[str, ...] = ()


def read_probabilities(path: Path, dataset: Dataset, *, threshold: float | None = None) -> Predictions:
    """Anybody's scores: a CSV with the columns `id` and `probability`.

    An `id` is a row's id, its original file name, or its image's file name. An empty probability means 'not
    scored'. Rows of which it is not known whether they are COVID-19 take no part.

    Raises:
        DataError: no such columns, no id that matches, an id twice, or a probability that is no number in [0, 1].
    """
    header, records = read_table(path)
    key = next((name for name in ("id", "input", "image", "filename") if name in header), None)
    if key is None or "probability" not in header:
        raise DataError(
            f"needs the columns id and probability; it has {', '.join(header[:20])}",
            where=path,
            hint="Rename the columns",
        )
    names = [record[key].strip() for _, record in records]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"the id {twice[0]!r} occurs more than once", where=path)
    values = [_probability(record["probability"].strip(), line, path) for line, record in records]
    known = dataset.where(lambda row: row.covid is not None)
    if not len(known):
        raise DataError("no row says whether it is COVID-19", where=dataset.root)
    chosen, unmatched = _match(names, known, dataset, path)
    rows = tuple(known.rows[i] for i in chosen.values())
    missing = [row.id for i, row in enumerate(known.rows) if i not in set(chosen.values())]
    return Predictions(
        name=path.name,
        part="all",
        rows=rows,
        probability=np.array([values[place] for place in chosen]),
        threshold=0.5 if threshold is None else threshold,
        failures=tuple(
            [(name, "is in no row of the table") for name in unmatched]
            + [(name, "has no prediction") for name in missing]
        ),
    )


def _probability(text: str, line: int, path: Path) -> float:
    if not text:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        raise DataError(f"line {line}: the probability is {text!r}, not a number", where=path) from None
    if not 0 <= value <= 1:
        raise DataError(
            f"line {line}: the probability is {text}, not a number in [0, 1]",
            where=path,
            hint="Turn logits into probabilities; leave the cell empty where there is no score",
        )
    return value


def _match(
    names: Iterable[str], known: Dataset, dataset: Dataset, path: Path
) -> tuple[dict[int, int], list[str]]:
    """place in `names` -> index of its row, and the names that no row has.

    A name of a row that `known` leaves out is passed over. Raises DataError where nothing matches.
    """
    keys = _keys(known.rows)
    others = _keys(dataset.rows)
    chosen: dict[int, int] = {}
    unmatched: list[str] = []
    for place, name in enumerate(names):
        index = keys.get(name, keys.get(Path(name).name, keys.get(Path(name).stem)))
        if index is not None and index not in chosen.values():
            chosen[place] = index
        elif name not in others:
            unmatched.append(name)
    if not chosen:
        given = ", ".join(map(repr, unmatched[:SHOWN])) or "none"
        raise DataError(
            f"no id matches a row of {dataset.root}: given are {given}; the table has "
            + ", ".join(repr(row.id) for row in known.rows[:SHOWN]),
            where=path,
            hint="Use the ids of the table, or the images' file names",
        )
    return chosen, unmatched


def _keys(rows: tuple[Row, ...]) -> dict[str, int]:
    """Every name by which a row can be meant; a name that two rows share means neither."""
    keys: dict[str, int] = {}
    for names in (
        [(row.original_filename, Path(row.original_filename).stem) for row in rows],
        [(row.image.name, row.image.stem) for row in rows],
        [(row.id, row.id) for row in rows],
    ):
        found = Counter(name for pair in names for name in set(pair) if name)
        for index, pair in enumerate(names):
            keys |= {name: index for name in pair if found[name] == 1}
    return keys


def read_masks(folder: Path, dataset: Dataset, *, progress: Progress | None = None) -> Predictions:
    """Anybody's lung masks: a folder of PNG files named by id or by original file name.

    A mask may be of another size than the annotated one as long as its aspect ratio is the same; both are compared
    at `SIZE`.

    Raises:
        DataError: no masks, or none that matches a row and can be used.
    """
    files = sorted(path for path in folder.glob("*.png") if not path.name.startswith("."))
    known = dataset.where(lambda row: row.mask is not None)
    if not len(known):
        raise DataError("has no lung masks to compare with", where=dataset.root)
    if not files:
        raise DataError("holds no PNG mask", where=folder)
    chosen, unmatched = _match([path.stem for path in files], known, dataset, folder)
    rows, truth, masks = [], [], []
    failures = [(name, "is in no row of the table") for name in unmatched]
    for done, (place, index) in enumerate(chosen.items(), 1):
        row = known.rows[index]
        try:
            pair = _mask_pair(row, files[place])
        except LungsightError as error:
            failures.append((row.id, str(error)))
        else:
            rows.append(row)
            truth.append(pair[0])
            masks.append(pair[1])
        if progress:
            progress(done, len(chosen))
    missing = set(range(len(known))) - set(chosen.values())
    failures += [(known.rows[i].id, "has no prediction") for i in sorted(missing)]
    if not rows:
        raise DataError(f"none of the masks can be used ({failures[0][0]}: {failures[0][1]})", where=folder)
    return Predictions(
        name=f"the masks in {folder.name}",
        part="all",
        rows=tuple(rows),
        masks=np.stack(masks),
        truth=np.stack(truth),
        failures=tuple(failures),
    )


def _mask_pair(row: Row, file: Path) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    if row.mask is None:
        raise DataError("the row has no lung mask", where=row.id)
    truth, mask = row.mask.load(), MaskFile(file).load()
    if mask.shape != truth.shape:
        try:
            check_aspect((truth.shape[0], truth.shape[1]), (mask.shape[0], mask.shape[1]), str(file))
        except DataError:
            sizes = f"{mask.shape[1]} x {mask.shape[0]}, the true one {truth.shape[1]} x {truth.shape[0]}"
            raise DataError(f"the mask is {sizes}: not the same shape", where=file) from None
    return resize_mask(truth, SIZE), resize_mask(mask, SIZE)


def predict_bundle(
    dataset: Dataset,
    folder: Path | None = None,
    *,
    threshold: float | None = None,
    progress: Progress | None = None,
) -> Predictions:
    """The shipped networks (or those of `folder`) on every image, as `lungsight predict` runs them.

    Raises:
        ModelError: there are no networks.
        DataError: no image can be read.
    """
    engine = load_model(folder, threshold=threshold)
    rows, masks, scores, failures = [], [], [], []
    for row, result in zip(dataset, engine.predict_many(row.image for row in dataset), strict=True):
        if isinstance(result, Failure):
            failures.append((row.id, result.error.message))
        else:
            rows.append(row)
            masks.append(resize_mask(result.mask, SIZE))
            scores.append(math.nan if result.probability is None else result.probability)
        if progress:
            progress(len(rows) + len(failures), len(dataset))
    if not rows:
        raise DataError("none of its images could be read", where=dataset.root)
    diagnosis = engine.bundle.diagnosis
    limit = diagnosis.card.threshold if diagnosis and threshold is None else threshold
    with_truth = all(row.mask is not None for row in rows)
    seen = trained_on(engine.bundle, dataset)
    return Predictions(
        name="the shipped networks" if folder is None else f"the networks in {folder.name}",
        part="all",
        rows=tuple(rows),
        probability=np.array(scores) if diagnosis else None,
        threshold=0.5 if limit is None else limit,
        masks=np.stack(masks) if with_truth else None,
        truth=np.stack([_truth(row) for row in rows]) if with_truth else None,
        mask_threshold=engine.mask_threshold,
        failures=tuple(failures),
        notes=(
            f"These images are what the networks ({', '.join(seen)}) learned from, so the figures are too good. "
            "The held-out ones are in their cards",
        )
        if seen
        else (),
    )


def _truth(row: Row) -> NDArray[np.bool_]:
    return resize_mask(row.mask.load(), SIZE) if row.mask is not None else np.zeros(SIZE, bool)


def trained_on(bundle: Bundle, dataset: Dataset) -> list[str]:
    """Names of the networks whose cards say that they were trained on this table, or on a part of it.

    Told by the fingerprint, and by the folder's name, which also a later version of a table keeps: a warning too
    many is cheaper than one too few.
    """

    def of(source: str) -> Dataset:
        return dataset.where(lambda row: row.source == source)

    parts = [dataset, *map(of, {row.source for row in dataset})]
    parts += [part.where(lambda row: row.mask is not None) for part in parts]
    parts += [part.where(lambda row: row.covid is not None) for part in parts]
    prints = {part.fingerprint() for part in parts}
    return [
        model.card.name
        for model in bundle.models
        if any(one.fingerprint in prints or one.name == dataset.root.name for one in model.card.trained_on)
    ]


def of_evaluation(evaluation: Evaluation) -> Predictions:
    """A run's predictions."""
    lungs = isinstance(evaluation.figures, MaskFigures)
    limit = evaluation.figures.threshold
    return Predictions(
        name=f"the run {evaluation.run.name} ({evaluation.recipe.name})",
        part=evaluation.part,
        rows=evaluation.rows,
        probability=None if lungs else evaluation.probability.astype(np.float64),
        threshold=0.5 if lungs else limit,
        masks=evaluation.probability > limit if lungs else None,
        truth=evaluation.truth,
        mask_threshold=limit if lungs else math.nan,
        failures=evaluation.failures,
    )


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

    Raises:
        ModelError: no finished run.
        DataError: as `evaluate_run`.
    """
    if folds := fold_folders(run):
        return _of_folds(run, folds, dataset, threshold, mask_run, cache)
    return of_evaluation(
        evaluate_run(
            run, dataset, part=part, threshold=threshold, mask_run=mask_run, cache=cache, write=False
        )
    )


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
    own = {record["id"] for _, record in read_table(run / "predictions.csv")[1]}
    tested = dataset.where(lambda row: row.id in own)
    if len(tested):
        found = read_probabilities(run / "predictions.csv", tested, threshold=cut)
        return dataclasses.replace(found, name=name, part="out of fold")
    each = [
        evaluate_run(fold, dataset, part="all", mask_run=mask_run, cache=cache, write=False) for fold in folds
    ]
    mean = np.stack([one.probability for one in each]).astype(np.float64).mean(axis=0)
    return dataclasses.replace(of_evaluation(each[0]), name=name, probability=mean, threshold=cut)


def predict_any(target: Path, dataset: Dataset, *, cache: Path | None = None) -> Predictions:
    """Predictions of whatever `target` is, told by its content: 'shipped', a run, a CSV, masks, ONNX networks.

    Raises:
        DataError: it is none of these.
    """
    if str(target) == "shipped":
        return predict_bundle(dataset)
    if target.is_file():
        return read_probabilities(target, dataset)
    if (target / "config.toml").is_file():
        return predict_run(target, dataset, cache=cache)
    if any(target.glob("*.onnx")):
        return predict_bundle(dataset, target)
    if target.is_dir():
        return read_masks(target, dataset)
    raise DataError(
        "there is no such model",
        where=target,
        hint="Give a run's folder, 'shipped', a CSV of id and probability, or a folder of masks",
    )
