"""Intervals of any statistic by bootstrap over patients, for what has no formula.

Patients are drawn with replacement, each with all of its images (cluster bootstrap; Efron & Tibshirani, An Introduction
to the Bootstrap, 1993; Field & Welsh 2007). On few patients a percentile interval is too narrow: what has a formula
uses it (`linear`, `delong`), see `benchmarks/coverage.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lungsight.errors import DataError
from lungsight.metrics import _checks
from lungsight.metrics.intervals import LEVEL, Bools, Floats, Interval, Note, Patients
from lungsight.wording import Caution, IntervalMethod

Statistic = Callable[..., Any]
"""Takes the arrays of a resample, in the order given, and returns a float."""


def resamples(
    patients: Patients, labels: Bools | None = None, *, replicates: int = 2000, seed: int = 0
) -> Iterator[NDArray[np.int64]]:
    """Indices of images, a resample at a time: as many patients drawn with replacement as there are.

    With `labels` (N,) patients with a positive image and patients without are drawn apart, each as many as there are,
    so that neither class is lost. That holds the class fraction: only for statistics that do not depend on it.
    """
    random = np.random.default_rng(seed)
    order = np.argsort(patients.codes, kind="stable")
    sizes = np.bincount(patients.codes, minlength=patients.count)
    starts = np.cumsum(sizes) - sizes
    group = np.zeros(patients.count, bool) if labels is None else patients.having(labels)
    strata = [stratum for stratum in (np.flatnonzero(group), np.flatnonzero(~group)) if stratum.size]
    for _ in range(replicates):
        drawn = np.concatenate(
            [stratum[random.integers(0, stratum.size, stratum.size)] for stratum in strata]
        )
        taken = sizes[drawn]
        ends = np.cumsum(taken)
        yield order[np.arange(ends[-1]) + np.repeat(starts[drawn] - (ends - taken), taken)]


def bootstrap(
    statistic: Statistic,
    *arrays: ArrayLike,
    patients: ArrayLike | Patients | None,
    labels: ArrayLike | None = None,
    replicates: int = 2000,
    seed: int = 0,
    level: float = LEVEL,
) -> Interval:
    """Percentile interval of a statistic by bootstrap over patients.

    Args:
        statistic: called as statistic(*arrays) on the data and on each resample; returns a float.
        arrays: each (N, ...), resampled together along the first axis.
        patients: (N,) ids; None where the data do not have them, which a note says.
        labels: (N,) bool; draws patients with and without a positive image apart, see `resamples`.
        replicates: how many resamples.
        seed: of the draws; the same seed gives the same interval.
        level: of confidence, in (0, 1).

    Returns:
        The statistic of the data, NaN with a note where they cannot give it, and its interval.

    Raises:
        DataError: arrays, ids or labels of different length.
    """
    one = {"it": statistic}
    return bootstrap_all(
        one, *arrays, patients=patients, labels=labels, replicates=replicates, seed=seed, level=level
    )["it"]


def bootstrap_all(
    statistics: Mapping[str, Statistic],
    *arrays: ArrayLike,
    patients: ArrayLike | Patients | None,
    labels: ArrayLike | None = None,
    replicates: int = 2000,
    seed: int = 0,
    level: float = LEVEL,
) -> dict[str, Interval]:
    """As `bootstrap`, for several statistics on the same resamples."""
    data, who, truth = _prepare(arrays, patients, labels)
    images, method = len(data[0]), IntervalMethod.BOOTSTRAP
    if not images:
        nothing = (Note(Caution.NO_IMAGES),)
        return {name: Interval.missing(0, who.n, method, nothing) for name in statistics}
    values = {name: float(statistic(*data)) for name, statistic in statistics.items()}
    usable = [name for name, value in values.items() if math.isfinite(value)]
    draws = np.full((len(usable), replicates), np.nan)
    if usable:
        for column, index in enumerate(resamples(who, truth, replicates=replicates, seed=seed)):
            part = [array[index] for array in data]
            draws[:, column] = [float(statistics[name](*part)) for name in usable]
    cautions = who.cautions(truth)
    result = {}
    for name, value in values.items():
        if name in usable:
            bounds, notes = _percentiles(draws[usable.index(name)], level)
        else:
            bounds, notes = (math.nan, math.nan), (Note(Caution.UNDEFINED),)
        result[name] = Interval.of(value, bounds, images, who, method, (*cautions, *notes), level)
    return result


def _prepare(
    arrays: tuple[ArrayLike, ...], patients: ArrayLike | Patients | None, labels: ArrayLike | None
) -> tuple[list[NDArray[Any]], Patients, Bools | None]:
    data: list[NDArray[Any]] = [np.asarray(array) for array in arrays]
    lengths = {len(array) for array in data}
    if len(lengths) != 1:
        raise DataError(f"arrays of one length are needed, not {sorted(lengths)}")
    images = lengths.pop()
    truth = _checks.labels(labels) if labels is not None and images else None
    if truth is not None and truth.size != images:
        raise DataError(f"{truth.size} labels for {images} images")
    return data, Patients.of(patients, images), truth


def _percentiles(draws: Floats, level: float) -> tuple[tuple[float, float], tuple[Note, ...]]:
    finite, notes = draws[np.isfinite(draws)], []
    if finite.size < draws.size:
        notes.append(Note(Caution.RESAMPLES_LOST, draws.size - finite.size, draws.size))
    if not finite.size:
        return (math.nan, math.nan), tuple(notes)
    if finite.min() == finite.max():
        return (math.nan, math.nan), (*notes, Note(Caution.NO_VARIANCE))
    low, high = np.quantile(finite, ((1 - level) / 2, (1 + level) / 2))
    return (float(low), float(high)), tuple(notes)
