"""How sure a figure is: intervals by bootstrap over patients, and Wilson's for a share.

Images of one patient are alike, so patients are drawn, each with all of its images (cluster bootstrap; Efron
& Tibshirani, An Introduction to the Bootstrap, 1993; Field & Welsh 2007). Metrics Reloaded (Maier-Hein et
al., 2024) asks that such nesting be heeded. `delong` has the analytic interval of AUROC.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lungsight.errors import DataError
from lungsight.metrics import _checks

FEW_PATIENTS = 10
"""Below this many patients, of either class, an interval carries a warning in its note."""

Statistic = Callable[..., Any]
"""Takes the arrays of a resample, in the order given, and returns a float."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its interval. NaN means that the data cannot give it; `note` says why."""

    value: float
    low: float
    high: float
    n: int
    """Images."""
    n_patients: int | None
    """None where the data do not say who the patients are."""
    method: str
    note: str = ""

    @classmethod
    def missing(cls, n: int, n_patients: int | None, method: str, note: str) -> Interval:
        """A figure that cannot be given, and why."""
        return cls(math.nan, math.nan, math.nan, n, n_patients, method, note)

    def format(self, digits: int = 3) -> str:
        """As '0.932 (0.921-0.944)'; 'n/a' for a figure that cannot be given, '(n/a)' for such an interval."""
        if math.isnan(self.value):
            return "n/a"
        if math.isnan(self.low) or math.isnan(self.high):
            return f"{self.value:.{digits}f} (n/a)"
        # A dash after a minus sign is misread.
        dash = " to " if self.low < 0 else "-"
        return f"{self.value:.{digits}f} ({self.low:.{digits}f}{dash}{self.high:.{digits}f})"

    def __str__(self) -> str:
        return self.format()

    def to_dict(self) -> dict[str, float | int | str | None]:
        """For JSON: NaN and infinity become None."""
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in asdict(self).items()
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on the same images: the difference, first less second, and its p-value."""

    difference: Interval
    p_value: float
    """Two-sided, [0, 1]; NaN where the data cannot give it."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        p_value = None if math.isnan(self.p_value) else self.p_value
        return {"difference": self.difference.to_dict(), "p_value": p_value}


@dataclass(frozen=True, slots=True)
class Patients:
    """Which images belong together."""

    codes: NDArray[np.int64]
    """(N,) number of each image's patient, 0 ... count - 1."""
    count: int
    known: bool
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, patients: ArrayLike | None, images: int) -> Patients:
        """Number the patients. An image without one (an empty id) is a patient of its own, and noted.

        Raises:
            DataError: not one id for each image.
        """
        if patients is None:
            note = "patients unknown: images are taken as independent, so the interval may be too narrow"
            return cls(np.arange(images), images, False, (note,))
        ids = np.asarray(patients).astype(str)
        if ids.shape != (images,):
            raise DataError(f"{ids.size} patient ids for {images} images")
        names, codes = np.unique(ids, return_inverse=True)
        blank = ids == ""
        if not blank.any():
            return cls(codes, len(names), True)
        codes[blank] = len(names) + np.arange(blank.sum())
        codes = np.unique(codes, return_inverse=True)[1]
        note = f"{blank.sum()} images without a patient id are taken as a patient each"
        return cls(codes, int(codes.max()) + 1, True, (note,))

    @property
    def n(self) -> int | None:
        """How many patients, None where nobody said who they are."""
        return self.count if self.known else None

    def having(self, which: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(count,) True for patients with at least one image of `which` (N,)."""
        return np.bincount(self.codes, weights=which, minlength=self.count) > 0

    def warnings(self, truth: NDArray[np.bool_] | None = None) -> list[str]:
        """What a reader must know: unknown patients, too few of them, one class only."""
        notes, unit = list(self.notes), "patients" if self.known else "images"
        if truth is not None and (truth.all() or not truth.any()):
            notes.append("one class only")
        elif truth is not None:
            fewest = int(min(self.having(truth).sum(), self.having(~truth).sum()))
            if fewest < FEW_PATIENTS <= self.count:
                notes.append(f"only {fewest} {unit} in the rarer class: read with care")
        if self.count < FEW_PATIENTS:
            notes.append(f"only {self.count} {unit}: too few to say anything")
        return notes


def resamples(
    patients: Patients, labels: NDArray[np.bool_] | None = None, *, replicates: int = 2000, seed: int = 0
) -> Iterator[NDArray[np.int64]]:
    """Indices of images, a resample at a time: as many patients drawn with replacement as there are.

    With `labels` (N,) patients with a positive image and patients without are drawn apart, each as many as
    there are, so that neither class is lost and the share of patients with the finding stays.
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
    patients: ArrayLike | None,
    labels: ArrayLike | None = None,
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Percentile interval of a statistic by bootstrap over patients.

    Args:
        statistic: called as statistic(*arrays) on the data and on each resample; returns a float.
        arrays: each (N, ...), resampled together along the first axis.
        patients: (N,) ids; None where the data do not have them, which the note says.
        labels: (N,) bool; draws patients with and without a positive image apart. Give it for anything that
            needs both classes, such as AUROC.
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
    patients: ArrayLike | None,
    labels: ArrayLike | None = None,
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval]:
    """As `bootstrap`, for several statistics on the same resamples."""
    data, who, truth = _prepare(arrays, patients, labels)
    images = len(data[0])
    unit = "patients" if who.known else "images"
    method = f"bootstrap over {unit}, {replicates} replicates, {100 * level:g}% percentile"
    if not images:
        return {name: Interval.missing(0, who.n, method, "no images") for name in statistics}
    values = {name: float(statistic(*data)) for name, statistic in statistics.items()}
    usable = [name for name, value in values.items() if math.isfinite(value)]
    draws = np.full((len(usable), replicates), np.nan)
    if usable:
        for column, index in enumerate(resamples(who, truth, replicates=replicates, seed=seed)):
            part = [array[index] for array in data]
            draws[:, column] = [float(statistics[name](*part)) for name in usable]
    warnings = who.warnings(truth)
    result = {}
    for name, value in values.items():
        if name in usable:
            low, high, note = _percentiles(draws[usable.index(name)], level)
        else:
            low, high, note = (
                math.nan,
                math.nan,
                ["the data cannot give it"],
            )
        result[name] = Interval(value, low, high, images, who.n, method, "; ".join((*warnings, *note)))
    return result


def bootstrap_band(
    curve: Callable[..., ArrayLike],
    *arrays: ArrayLike,
    patients: ArrayLike | None,
    labels: ArrayLike | None = None,
    replicates: int = 500,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pointwise band of a curve by bootstrap over patients.

    Args:
        curve: called as curve(*arrays); returns (K,) values at abscissae that it always takes alike, such as
            `lambda score, truth: roc_curve(score, truth).at(grid)`.

    Returns:
        Lower and upper bound, each (K,); NaN where no resample has the curve.

    Raises:
        DataError: no images, or arrays, ids or labels of different length.
    """
    data, who, truth = _prepare(arrays, patients, labels)
    if not len(data[0]):
        raise DataError("a band needs images; there are none")
    draws = np.stack(
        [
            np.asarray(curve(*(array[index] for array in data)), dtype=np.float64)
            for index in resamples(who, truth, replicates=replicates, seed=seed)
        ]
    )
    finite = draws[np.isfinite(draws).all(axis=1)]
    if not len(finite):
        return np.full(draws.shape[1], np.nan), np.full(draws.shape[1], np.nan)
    low, high = np.quantile(finite, ((1 - level) / 2, (1 + level) / 2), axis=0)
    return low, high


def compare_bootstrap(
    statistic: Statistic,
    first: ArrayLike,
    second: ArrayLike,
    *shared: ArrayLike,
    patients: ArrayLike | None,
    labels: ArrayLike | None = None,
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Comparison:
    """statistic(first, *shared) - statistic(second, *shared) on the same resampled patients.

    The two-sided p-value inverts the percentile interval: 2 min(#{d* <= 0} + 1, #{d* >= 0} + 1) / (B + 1), at
    most 1 (Davison & Hinkley 1997); with 2000 replicates it cannot fall under 0.001.

    Args:
        statistic: called as statistic(predictions, *shared), such as `auroc` with the truth as `shared`.
        first: (N, ...) predictions of the one model.
        second: (N, ...) predictions of the other, for the same images in the same order.
        shared: what both are judged against.
        patients: as for `bootstrap`, like all that follow.
    """
    seen: list[float] = []

    def difference(one: ArrayLike, other: ArrayLike, *rest: ArrayLike) -> float:
        value = float(statistic(one, *rest)) - float(statistic(other, *rest))
        seen.append(value)
        return value

    interval = bootstrap(
        difference,
        first,
        second,
        *shared,
        patients=patients,
        labels=labels,
        replicates=replicates,
        seed=seed,
        level=level,
    )
    draws = np.array(seen[1:])
    draws = draws[np.isfinite(draws)]
    if not draws.size:
        return Comparison(interval, math.nan)
    extreme = min(int((draws <= 0).sum()), int((draws >= 0).sum())) + 1
    return Comparison(interval, min(1.0, 2 * extreme / (draws.size + 1)))


def wilson(successes: int, n: int, *, level: float = 0.95, n_patients: int | None = None) -> Interval:
    """Wilson's score interval (1927) of a share of independent cases; sensible also at 0, 1 and small n."""
    if not 0 <= successes <= n:
        raise DataError(f"{successes} of {n} is not a share")
    method = f"Wilson, {100 * level:g}%"
    if not n:
        return Interval.missing(0, n_patients, method, "no images")
    low, high = wilson_bounds(successes, n, level=level)
    note = f"only {n} cases: too few to say anything" if n < FEW_PATIENTS else ""
    return Interval(successes / n, float(low), float(high), n, n_patients, method, note)


def wilson_bounds(
    successes: ArrayLike, n: ArrayLike, *, level: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Wilson's bounds for arrays of counts; NaN where n is 0.

    (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n).
    """
    z2 = NormalDist().inv_cdf((1 + level) / 2) ** 2
    count = np.asarray(n, dtype=np.float64)
    count = np.where(count > 0, count, np.nan)
    share = np.asarray(successes, dtype=np.float64) / count
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = np.sqrt(z2 * (share * (1 - share) / count + z2 / (4 * count**2))) / (1 + z2 / count)
    return np.clip(centre - half, 0.0, 1.0), np.clip(centre + half, 0.0, 1.0)


def _prepare(
    arrays: tuple[ArrayLike, ...], patients: ArrayLike | None, labels: ArrayLike | None
) -> tuple[list[NDArray[Any]], Patients, NDArray[np.bool_] | None]:
    data: list[NDArray[Any]] = [np.asarray(array) for array in arrays]
    lengths = {len(array) for array in data}
    if len(lengths) != 1:
        raise DataError(f"arrays of one length are needed, not {sorted(lengths)}")
    images = lengths.pop()
    truth = _checks.labels(labels) if labels is not None and images else None
    if truth is not None and truth.size != images:
        raise DataError(f"{truth.size} labels for {images} images")
    return data, Patients.of(patients, images), truth


def _percentiles(draws: NDArray[np.float64], level: float) -> tuple[float, float, list[str]]:
    finite, notes = draws[np.isfinite(draws)], []
    if finite.size < draws.size:
        notes.append(
            f"{draws.size - finite.size} of {draws.size} resamples could not be computed and are left out"
        )
    if not finite.size:
        return math.nan, math.nan, notes
    if finite.min() == finite.max():
        notes.append("every resample gives the same value: the interval is too narrow")
    low, high = np.quantile(finite, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high), notes
