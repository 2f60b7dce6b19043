"""The figures that a reader of a chest X-ray paper looks for, each with a 95 % interval over patients.

Which ones, follows Metrics Reloaded (Maier-Hein et al., Nature Methods 2024, doi:10.1038/s41592-023-02151-z): for
masks Dice or IoU with a boundary metric (NSD, HD95, ASSD) beside it, per image; for a score AUROC with AUPRC where
one class is rare, sensitivity and specificity at a threshold chosen beforehand, and calibration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lungsight.dataset.table import Row
from lungsight.metrics import (
    OVERLAP_FIGURES,
    Boundary,
    Confusion,
    DecisionCurve,
    Interval,
    Overlap,
    PrCurve,
    Reliability,
    RocCurve,
    accuracy,
    auprc,
    auroc,
    bootstrap,
    bootstrap_all,
    bootstrap_band,
    brier,
    confusion,
    decision_curve,
    delong,
    ece,
    finite_mean,
    majority_accuracy,
    overlap_figures,
    pr_curve,
    reliability,
    roc_curve,
    sensitivity_at_specificity,
    specificity_at_sensitivity,
)

REPLICATES = 1000
BAND_REPLICATES = 200
BOUNDARY_FIGURES = ("nsd", "hd95", "assd")
TOLERANCE = 2 / 256
"""What counts as agreement for NSD, as a share of the image's longer side: about what two readers differ by."""
REFERENCE_RATE = 0.95
"""Specificity at which sensitivity is given, and the other way round."""


@dataclass(frozen=True)
class MaskFigures:
    """How predicted masks agree with the truth.

    Attributes:
        values: name -> (N,) of every image, names as `OVERLAP_FIGURES` and `BOUNDARY_FIGURES`; the distances in
            pixels, inf where one of two masks is empty and NaN where both are.
        per_image: name -> mean over images; of a distance, over those that have one.
        pooled: name -> over the pixels of all images together, names as `OVERLAP_FIGURES`.
        areas: (N, 2) lung area, true and predicted, as a share of the image.
        without_distance: images in which one mask is empty.
    """

    threshold: float
    values: dict[str, NDArray[np.float64]]
    per_image: dict[str, Interval]
    pooled: dict[str, Interval]
    areas: NDArray[np.float64]
    without_distance: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "threshold": self.threshold,
            "without_distance": self.without_distance,
            "per_image": {name: interval.to_dict() for name, interval in self.per_image.items()},
            "pooled": {name: interval.to_dict() for name, interval in self.pooled.items()},
        }


@dataclass(frozen=True)
class DiagnosisFigures:
    """How a score tells COVID-19 from the rest.

    Attributes:
        auroc_delong: AUROC with DeLong's interval, beside the bootstrap's in `figures`.
        roc: the curve, and `band`, (2, K) low and high true positive rates at `grid` (K,).
        pr: precision over recall, and `pr_band`, (2, K) low and high precision at recalls `grid`.
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
    auroc_delong: Interval
    pr: PrCurve
    pr_band: NDArray[np.float64]
    reliability: Reliability
    decision: DecisionCurve

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "threshold": self.threshold,
            **{name: interval.to_dict() for name, interval in self.figures.items()},
            "majority_accuracy": self.majority_accuracy,
            "confusion": self.confusion.to_dict(),
            "same_source_auroc": self.same_source.to_dict() if self.same_source else None,
            "same_source_images": self.same_source_images,
            "auroc_delong": self.auroc_delong.to_dict(),
            "calibration_curve": _points(
                images=self.reliability.count,
                predicted=self.reliability.predicted,
                observed=self.reliability.observed,
                low=self.reliability.low,
                high=self.reliability.high,
            ),
            "decision_curve": _points(
                threshold=self.decision.thresholds,
                net_benefit=self.decision.model,
                call_all=self.decision.treat_all,
            ),
        }


def _points(**columns: NDArray[Any]) -> list[dict[str, float]]:
    return [
        dict(zip(columns, row, strict=True))
        for row in zip(*map(np.ndarray.tolist, columns.values()), strict=True)
    ]


def patients_of(rows: Sequence[Row]) -> NDArray[np.str_] | None:
    """(N,) patient ids, or None where one is missing: images are resampled then, and the figure says so."""
    return np.array([row.patient for row in rows]) if all(row.patient for row in rows) else None


def mask_figures(
    predicted: NDArray[np.bool_], truth: NDArray[np.bool_], rows: Sequence[Row], threshold: float
) -> MaskFigures:
    """Overlap and outline agreement of masks (N, H, W), per image and pooled.

    Args:
        rows: the N rows, for their patients.
        threshold: at which `predicted` was cut, for the record.

    Raises:
        DataError: sizes differ.
    """
    overlap = Overlap.of(predicted, truth)
    boundary = Boundary(tolerance=TOLERANCE * max(truth.shape[1:]))
    boundary.add(predicted, truth)
    values, patients = overlap.per_image() | boundary.per_image(), patients_of(rows)
    names = (*OVERLAP_FIGURES, *BOUNDARY_FIGURES)
    per_image = bootstrap_all(
        {name: _mean_of(place) for place, name in enumerate(names)},
        np.stack([values[name] for name in names], axis=1),
        patients=patients,
        replicates=REPLICATES,
    )
    pooled = bootstrap_all(
        {name: _pooled_of(name) for name in OVERLAP_FIGURES},
        overlap.counts,
        patients=patients,
        replicates=REPLICATES,
    )
    tp, fp, fn, _ = overlap.counts.T
    areas = np.stack((tp + fn, tp + fp), axis=1) / truth[0].size
    return MaskFigures(threshold, values, per_image, pooled, areas, int(np.isinf(values["hd95"]).sum()))


def _mean_of(place: int) -> Any:
    return lambda values: finite_mean(values[:, place])


def _pooled_of(name: str) -> Any:
    return lambda counts: float(overlap_figures(counts.sum(axis=0))[name])


def diagnosis_figures(
    probability: NDArray[np.floating[Any]], rows: Sequence[Row], threshold: float = 0.5
) -> DiagnosisFigures:
    """Discrimination, operating points and calibration of probabilities (N,), pooled and within sources.

    With one class only, what needs both is NaN and its note says so.

    Raises:
        DataError: probabilities outside [0, 1] or NaN, or no rows.
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
            "sensitivity_at_95_specificity": lambda s, known: sensitivity_at_specificity(
                s, known, REFERENCE_RATE
            ),
            "specificity_at_95_sensitivity": lambda s, known: specificity_at_sensitivity(
                s, known, REFERENCE_RATE
            ),
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
    bands = [
        bootstrap_band(curve, probability, truth, patients=patients, labels=truth, replicates=BAND_REPLICATES)
        for curve in (
            lambda score, known: roc_curve(score, known).at(grid),
            lambda score, known: pr_curve(score, known).at(grid),
        )
    ]
    same, images = same_source(probability, rows)
    return DiagnosisFigures(
        threshold,
        figures,
        majority_accuracy(truth),
        confusion(probability, truth, threshold),
        roc_curve(probability, truth),
        grid,
        np.stack(bands[0]),
        same,
        images,
        delong(probability, truth, patients=patients),
        pr_curve(probability, truth),
        np.stack(bands[1]),
        reliability(probability, truth),
        decision_curve(probability, truth),
    )


def same_source(
    score: NDArray[np.floating[Any]], rows: Sequence[Row], *, replicates: int = REPLICATES
) -> tuple[Interval | None, int]:
    """AUROC of a score (N,) among images of one source, with its interval over patients.

    Returns:
        The figure, None where no source has both classes, and how many images such sources have.
    """
    truth = np.array([bool(row.covid) for row in rows])
    sources, patients = np.array([row.source for row in rows]), patients_of(rows)
    mixed = [name for name in np.unique(sources) if 0 < truth[sources == name].mean() < 1]
    chosen = np.isin(sources, mixed)
    if not chosen.any():
        return None, 0
    interval = bootstrap(
        same_source_auroc,
        score[chosen],
        truth[chosen],
        sources[chosen],
        patients=None if patients is None else patients[chosen],
        labels=truth[chosen],
        replicates=replicates,
    )
    return interval, int(chosen.sum())


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
