"""What a model said of a table: the record of it, and anybody's scores read from a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsight.dataset.readers.delimited import blank, load_table, number
from lungsight.dataset.table import COVID_TARGET, Dataset, Row, Target
from lungsight.errors import DataError
from lungsight.evaluation.pairing import pair
from lungsight.metrics import Note
from lungsight.model import Bundle

SIZE = (256, 256)
"""(h, w) at which masks of files and of the shipped networks are compared."""
ID_NAMES = ("id", "input", "image", "filename", "file", "name", "image_id")
SCORE_NAMES = ("probability", "score", "prob", "prediction")
MOST_OUTSIDE = 0.1
"""Fraction of a table's numbers outside [0, 1] from which they are no probabilities at all."""
NOT_A_PROBABILITY = "the probability is no number in [0, 1]"

Failures = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Predictions:
    """What a model says of N images of one table.

    Attributes:
        name: of the model, in words.
        part: which images: 'all', or the part of a run's split.
        rows: the N images.
        probability: (N,) of the target in [0, 1], NaN where the model gave none; None for a lung model.
        threshold: at which the probability is cut.
        uncertain: (N,) images that the model calls uncertain; None where it does not say.
        masks: (N, h, w) predicted lungs; None for a score alone.
        truth: (N, h, w) lungs as annotated; None where the table has none.
        mask_threshold: at which the lung map was cut, for the record; NaN where it is not known.
        failures: (id, reason) of images without a prediction.
        notes: what a reader must know.
        inputs: (N, h, w) uint8, what a run's network saw; None for others.
        maps: (N, h, w) lung probability of a run; None for others.
        recipe, task: of a run.
        target: what was asked of the rows.
    """

    name: str
    part: str
    rows: tuple[Row, ...]
    probability: NDArray[np.float64] | None = None
    threshold: float = 0.5
    uncertain: NDArray[np.bool_] | None = None
    masks: NDArray[np.bool_] | None = None
    truth: NDArray[np.bool_] | None = None
    mask_threshold: float = math.nan
    failures: Failures = ()
    notes: tuple[Note, ...] = ()
    inputs: NDArray[np.uint8] | None = None
    maps: NDArray[np.float32] | None = None
    recipe: str = ""
    task: str = ""
    target: Target = COVID_TARGET


def read_scores(
    path: Path, dataset: Dataset, *, threshold: float | None = None, columns: Mapping[str, str] | None = None
) -> Predictions:
    """Anybody's scores: a table with the columns `id` and `probability`.

    An `id` is a row's id, its image's path or file name, or its original file name. An empty cell (also 'nan' and the
    like) means 'not scored'. A probability that is no number in [0, 1] is listed and left out; where more than a tenth
    of the numbers lie outside, the table is refused as one of logits or percentages. Rows of which it is
    not known whether they show the target take no part.

    Args:
        columns: 'id' and 'probability' -> the table's own names.

    Raises:
        DataError: no such columns, no id that matches, or no probabilities.
    """
    table = load_table(path)
    key = _column(table.header, columns, "id", ID_NAMES, path)
    score = _column(table.header, columns, "probability", SCORE_NAMES[:1], path)
    known = dataset.where(lambda row: row.covid is not None)
    if not len(known):
        raise DataError(f"no row says whether it is {dataset.target.name}", where=dataset.root)
    names: list[str] = []
    values: list[float] = []
    bad: list[tuple[str, str]] = []
    outside = 0
    for line, record in table.records:
        name, value = record[key], _probability(record[score])
        if value is None:
            outside += number(record[score]) is not None
            bad.append((name or f"line {line}", f"line {line}: {NOT_A_PROBABILITY}"))
        elif name:
            names.append(name)
            values.append(value)
    inside = sum(map(math.isfinite, values))
    # Logits or percentages of which some happen to lie in [0, 1] would be taken for probabilities.
    if bad and (not inside or outside > max(1, MOST_OUTSIDE * (inside + outside))):
        raise DataError(bad[0][1], where=path, hint="Turn logits and percentages into probabilities first")
    chosen, failures = pair(names, values, known, dataset, path)
    spoiled = {name for name, _ in bad}
    failures = [*bad, *(one for one in failures if one[0] not in spoiled)]
    return Predictions(
        name=path.name,
        part="all",
        rows=tuple(known.rows[index] for index in chosen.values()),
        probability=np.array([values[place] for place in chosen]),
        threshold=0.5 if threshold is None else threshold,
        failures=tuple(failures),
        target=dataset.target,
    )


def split_columns(columns: Mapping[str, str] | None, path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The names of `--columns` that are the data set's, and those of the table of scores at `path`.

    'probability' is of the scores; 'id' too where that table has it. Raises DataError where it cannot be read.
    """
    given = dict(columns or {})
    own = {name: given.pop(name) for name in ("probability",) if name in given}
    if "id" in given and given["id"] in load_table(path).header:
        own["id"] = given.pop("id") if given["id"] not in ID_NAMES or own else given["id"]
    return given, own


def _column(
    header: tuple[str, ...], columns: Mapping[str, str] | None, ours: str, usual: tuple[str, ...], path: Path
) -> str:
    if columns and ours in columns:
        if columns[ours] in header:
            return columns[ours]
        raise DataError(
            f"has no column {columns[ours]!r}", where=path, hint=f"It has {', '.join(header[:20])}"
        )
    lower = {name.lower(): name for name in reversed(header)}
    found = next((lower[name] for name in usual if name in lower), None)
    if found is None:
        raise DataError(
            f"needs the columns id and probability; it has {', '.join(header[:20])}",
            where=path,
            hint=f"Rename them, or say which they are: --columns {ours}=NAME",
        )
    return found


def _probability(text: str) -> float | None:
    """A number in [0, 1], NaN for an empty cell, None for anything else."""
    if blank(text):
        return math.nan
    value = number(text)
    return value if value is not None and 0 <= value <= 1 else None


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
    return [model.card.name for model in bundle.models if _knows(model.card, prints, dataset.root.name)]


def _knows(card: Any, prints: set[str], name: str) -> bool:
    return any(one.fingerprint in prints or one.name == name for one in card.trained_on)
