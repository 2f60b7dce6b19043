"""The figures that a reader of a chest X-ray paper looks for, each with a 95 % interval over patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lungsight.dataset.table import Row
from lungsight.metrics import (
    OVERLAP_FIGURES,
    Confusion,
    Interval,
    Overlap,
    RocCurve,
    accuracy,
    auprc,
    auroc,
    bootstrap,
    bootstrap_all,
    bootstrap_band,
    brier,
    confusion,
    ece,
    majority_accuracy,
    overlap_figures,
    roc_curve,
)

REPLICATES = 1000


@dataclass(frozen=True)
class MaskFigures:
    """How predicted masks agree with the truth.

    Attributes:
        values: name -> (N,) of every image, names as `OVERLAP_FIGURES`.
        per_image: name -> mean over images.
        pooled: name -> over the pixels of all images together.
    """

    threshold: float
    values: dict[str, NDArray[np.float64]]
    per_image: dict[str, Interval]
    pooled: dict[str, Interval]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "threshold": self.threshold,
            "per_image": {name: interval.to_dict() for name, interval in self.per_image.items()},
            "pooled": {name: interval.to_dict() for name, interval in self.pooled.items()},
        }


@dataclass(frozen=True)
class DiagnosisFigures:
    """How a score tells COVID-19 from the rest.

    Attributes:
        roc: the curve, and `band`, (2, K) low and high true positive rates at `grid` (K,).
        same_source: AUROC among pairs of one source; None where no source has both classes.
        same_source_images: images of such sources.
    """

    threshold: float
    figures: dict[str, Interval]
    majority_accuracy: float
    confusion: Confusion
    roc: RocCurve
    grid: NDArray[np.float64]
    band: NDArray[np.float64]
    same_source: Interval | None
    same_source_images: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "threshold": self.threshold,
            **{name: interval.to_dict() for name, interval in self.figures.items()},
            "majority_accuracy": self.majority_accuracy,
            "confusion": self.confusion.to_dict(),
            "same_source_auroc": self.same_source.to_dict() if self.same_source else None,
            "same_source_images": self.same_source_images,
        }


def patients_of(rows: Sequence[Row]) -> NDArray[np.str_] | None:
    """(N,) patient ids, or None where one is missing: images are resampled then, and the figure says so."""
    return np.array([row.patient for row in rows]) if all(row.patient for row in rows) else None


def mask_figures(
    predicted: NDArray[np.bool_], truth: NDArray[np.bool_], rows: Sequence[Row], threshold: float
) -> MaskFigures:
    """Overlap of masks (N, H, W), per image and pooled.

    Args:
        rows: the N rows, for their patients.
        threshold: at which `predicted` was cut, for the record.

    Raises:
        DataError: sizes differ.
    """
    overlap = Overlap.of(predicted, truth)
    values, patients = overlap.per_image(), patients_of(rows)
    per_image = bootstrap_all(
        {name: _mean_of(place) for place, name in enumerate(OVERLAP_FIGURES)},
        np.stack([values[name] for name in OVERLAP_FIGURES], axis=1),
        patients=patients,
        replicates=REPLICATES,
    )
    pooled = bootstrap_all(
        {name: _pooled_of(name) for name in OVERLAP_FIGURES},
        overlap.counts,
        patients=patients,
        replicates=REPLICATES,
    )
    return MaskFigures(threshold, values, per_image, pooled)


def _mean_of(place: int) -> Any:
    return lambda values: float(values[:, place].mean())


def _pooled_of(name: str) -> Any:
    return lambda counts: float(overlap_figures(counts.sum(axis=0))[name])


def diagnosis_figures(
    probability: NDArray[np.floating[Any]], rows: Sequence[Row], threshold: float = 0.5
) -> DiagnosisFigures:
    """AUROC, AUPRC, accuracy, Brier score and calibration error of probabilities (N,), pooled and within sources.

    Raises:
        DataError: probabilities outside [0, 1], or rows whose class is unknown.
    """
    truth = np.array([bool(row.covid) for row in rows])
    patients = patients_of(rows)
    figures = bootstrap_all(
        {
            "auroc": auroc,
            "auprc": auprc,
            "accuracy": lambda score, known: accuracy(score, known, threshold),
            "sensitivity": lambda score, known: confusion(score, known, threshold).sensitivity,
            "specificity": lambda score, known: confusion(score, known, threshold).specificity,
            "brier": brier,
            "ece": ece,
        },
        probability,
        truth,
        patients=patients,
        labels=truth,
        replicates=REPLICATES,
    )
    grid = np.linspace(0, 1, 201)
    band = bootstrap_band(
        lambda score, known: roc_curve(score, known).at(grid),
        probability,
        truth,
        patients=patients,
        labels=truth,
        replicates=200,
    )
    sources = np.array([row.source for row in rows])
    mixed = [name for name in np.unique(sources) if 0 < truth[sources == name].mean() < 1]
    chosen = np.isin(sources, mixed)
    same = None
    if chosen.any():
        same = bootstrap(
            same_source_auroc,
            probability[chosen],
            truth[chosen],
            sources[chosen],
            patients=None if patients is None else patients[chosen],
            labels=truth[chosen],
            replicates=REPLICATES,
        )
    return DiagnosisFigures(
        threshold,
        figures,
        majority_accuracy(truth),
        confusion(probability, truth, threshold),
        roc_curve(probability, truth),
        grid,
        np.stack(band),
        same,
        int(chosen.sum()),
    )


def same_source_auroc(score: ArrayLike, truth: ArrayLike, source: ArrayLike) -> float:
    """AUROC over the pairs (COVID, other) whose two images come from one source.

    Knowing the source is worth nothing here: where a score is only that, the figure is 0.5.

    Args:
        score: (N,) any real numbers.
        truth: (N,) bool.
        source: (N,) names.

    Returns:
        A value in [0, 1]; NaN where no source has both classes.
    """
    values, known, names = np.asarray(score), np.asarray(truth, bool), np.asarray(source)
    total, pairs = 0.0, 0
    for name in np.unique(names):
        here = names == name
        count = int(known[here].sum()) * int((~known[here]).sum())
        if count:
            total += count * auroc(values[here], known[here])
            pairs += count
    return total / pairs if pairs else float("nan")
