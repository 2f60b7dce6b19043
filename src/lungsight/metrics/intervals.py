"""What an interval is, and which images belong to one patient.

Images of one patient are alike, so an interval is always over patients, each with all of its images. Metrics Reloaded
(Maier-Hein et al., Nature Methods 2024) asks that such nesting be heeded. The methods stand in `linear` (means,
fractions and ratios), `delong` (AUROC), `operating` (one rate at a given other one), `calibration` and `bootstrap`;
`benchmarks/coverage.py` measures how often each holds the truth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from numpy.typing import ArrayLike, NDArray

from lungsight.errors import DataError
from lungsight.records import Record, plain
from lungsight.wording import Caution, IntervalMethod, say

FEW_PATIENTS = 10
"""Below this many patients, or patients of either class, a metric has no interval and says 'too few' instead."""
LEVEL = 0.95

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


class Note(Record, frozen=True):
    """What a reader must know beside a metric: a code, and the counts in its sentence."""

    code: Caution
    count: int = 0
    of: int = 0
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return say(self.code).format(count=f"{self.count:,}", of=f"{self.of:,}", names=", ".join(self.names))


TOO_FEW = frozenset(
    {Caution.FEW_PATIENTS, Caution.FEW_IMAGES, Caution.FEW_IN_CLASS, Caution.FEW_IMAGES_IN_CLASS}
)


class Interval(Record, frozen=True):
    """A metric with its interval. NaN means that the data cannot give it; `notes` say why."""

    value: float
    low: float
    high: float
    n: Annotated[int, Meta(ge=0)]
    """Images."""
    n_patients: int | None
    """None where the data do not say who the patients are."""
    method: IntervalMethod
    notes: tuple[Note, ...] = ()
    level: float = LEVEL

    @classmethod
    def missing(
        cls, n: int, n_patients: int | None, method: IntervalMethod, notes: tuple[Note, ...] = ()
    ) -> Interval:
        """A metric that cannot be given, and why."""
        return cls(math.nan, math.nan, math.nan, n, n_patients, method, notes)

    @classmethod
    def of(
        cls,
        value: float,
        bounds: tuple[float, float],
        n: int,
        who: Patients,
        method: IntervalMethod,
        notes: tuple[Note, ...] = (),
        level: float = LEVEL,
    ) -> Interval:
        """A metric and its bounds; the bounds are left out where a note says 'too few'."""
        low, high = (math.nan, math.nan) if any(note.code in TOO_FEW for note in notes) else bounds
        return cls(float(value), float(low), float(high), n, who.n, method, notes, level)

    @property
    def note(self) -> str:
        """The notes in words, '' where there are none."""
        return "; ".join(map(str, self.notes))

    @property
    def too_few(self) -> bool:
        """Whether there are too few patients for an interval."""
        return any(note.code in TOO_FEW for note in self.notes)

    def format(self, digits: int = 3) -> str:
        """As '0.932 (0.921 to 0.944)'; 'n/a' for what cannot be given, '0.900 (too few: 3 patients)' for few."""
        if math.isnan(self.value):
            return "n/a"
        value = f"{self.value:.{digits}f}"
        if self.too_few:
            return f"{value} ({next(str(note) for note in self.notes if note.code in TOO_FEW)})"
        if math.isnan(self.low) or math.isnan(self.high):
            return f"{value} (n/a)"
        return f"{value} ({self.low:.{digits}f} to {self.high:.{digits}f})"

    def __str__(self) -> str:
        return self.format()

    def to_dict(self) -> dict[str, Any]:
        """For JSON: NaN and infinity become None."""
        return {
            "value": _finite(self.value),
            "low": _finite(self.low),
            "high": _finite(self.high),
            "n": self.n,
            "n_patients": self.n_patients,
            "method": str(self.method),
            "notes": plain(self.notes),
            "level": self.level,
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


class Comparison(Record, frozen=True):
    """Two models on the same images: the difference, first less second, and its p-value."""

    difference: Interval
    p_value: float
    """Two-sided, [0, 1]; NaN where the data cannot give it."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"difference": self.difference.to_dict(), "p_value": _finite(self.p_value)}


@dataclass(frozen=True, slots=True)
class Patients:
    """Which images belong together."""

    codes: NDArray[np.int64]
    """(N,) number of each image's patient, 0 ... count - 1."""
    count: int
    known: bool
    notes: tuple[Note, ...] = ()

    @classmethod
    def of(cls, patients: ArrayLike | Patients | None, images: int) -> Patients:
        """Number the patients. An image without one (an empty id) is a patient of its own, and noted.

        Raises:
            DataError: not one id for each image.
        """
        if isinstance(patients, Patients):
            if patients.codes.shape != (images,):
                raise DataError(f"{patients.codes.size} patient ids for {images} images")
            return patients
        ids = None if patients is None else np.asarray(patients).astype(str)
        if ids is not None and ids.shape != (images,):
            raise DataError(f"{ids.size} patient ids for {images} images")
        if ids is None or (images and (ids == "").all()):
            return cls(np.arange(images), images, False, (Note(Caution.PATIENTS_UNKNOWN),))
        names, codes = np.unique(ids, return_inverse=True)
        blank = ids == ""
        if not blank.any():
            return cls(codes, len(names), True)
        codes[blank] = len(names) + np.arange(blank.sum())
        codes = np.unique(codes, return_inverse=True)[1]
        note = Note(Caution.PATIENTS_MISSING, int(blank.sum()), images)
        return cls(codes, int(codes.max()) + 1, True, (note,))

    def take(self, which: Bools) -> Patients:
        """The patients of the images `which` (N,) alone."""
        names, codes = np.unique(self.codes[which], return_inverse=True)
        return Patients(codes, len(names), self.known, self.notes)

    @property
    def n(self) -> int | None:
        """How many patients, None where nobody said who they are."""
        return self.count if self.known else None

    def having(self, which: Bools) -> Bools:
        """(count,) True for patients with at least one image of `which` (N,)."""
        return np.bincount(self.codes, weights=which, minlength=self.count) > 0

    def sums(self, values: Floats) -> Floats:
        """(count,) sum of `values` (N,) over the images of each patient."""
        return np.asarray(np.bincount(self.codes, weights=values, minlength=self.count), np.float64)

    def cautions(self, truth: Bools | None = None) -> tuple[Note, ...]:
        """What a reader must know: unknown patients, too few of them, of either class of `truth`, or one class only."""
        notes = list(self.notes)
        if self.count < FEW_PATIENTS:
            code = Caution.FEW_PATIENTS if self.known else Caution.FEW_IMAGES
            notes.insert(0, Note(code, self.count))
        if truth is not None and (truth.all() or not truth.any()):
            notes.insert(0, Note(Caution.ONE_CLASS))
        elif truth is not None:
            fewest = int(min(self.having(truth).sum(), self.having(~truth).sum()))
            if fewest < FEW_PATIENTS:
                code = Caution.FEW_IN_CLASS if self.known else Caution.FEW_IMAGES_IN_CLASS
                notes.insert(0, Note(code, fewest))
        return tuple(notes)
