"""The metrics that a reader of a chest X-ray paper looks for, each with a 95 % interval over patients.

Which ones, follows Metrics Reloaded (Maier-Hein et al., Nature Methods 2024, doi:10.1038/s41592-023-02151-z): for
masks Dice or IoU with a boundary metric (NSD, HD95, ASSD) beside it, per image; for a score AUROC with AUPRC where
one class is rare, sensitivity and specificity at a threshold chosen beforehand, and calibration.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsight.dataset.table import Row
from lungsight.evaluation.cohort import patients, truth_of
from lungsight.evaluation.records import (
    CalibrationBin,
    DecisionPoint,
    MaskMetrics,
    ScoreMetrics,
    UncertainMetrics,
)
from lungsight.evaluation.sources import source_metrics
from lungsight.metrics import (
    OVERLAP_METRICS,
    Boundary,
    Confusion,
    Interval,
    Overlap,
    PrCurve,
    Reliability,
    RocCurve,
    auprc_interval,
    calibration_intervals,
    confusion,
    decision_curve,
    delong,
    fraction_interval,
    majority_accuracy,
    mean_interval,
    pr_curve,
    ratio_interval,
    reliability,
    roc_band,
    roc_curve,
    sensitivity_at_specificity_interval,
    specificity_at_sensitivity_interval,
)

BOUNDARY_METRICS = ("nsd", "hd95", "assd")
TOLERANCE = 2 / 256
"""What counts as agreement for NSD, as a fraction of the image's longer side: 2 pixels of 256. `docs/honesty.md` says
where it comes from."""
REFERENCE_RATE = 0.95
"""Specificity at which sensitivity is given, and the other way round."""
GRID = np.linspace(0, 1, 101)
"""False positive rates at which the band of the ROC curve is computed."""
CURVE_POINTS = 2000
"""At most so many points of a curve are kept: more are not to be seen."""


@dataclass(frozen=True)
class MaskValues:
    """What stands behind `MaskMetrics`, an image at a time.

    Attributes:
        values: name -> (N,) of every image, names as `OVERLAP_METRICS` and `BOUNDARY_METRICS`; the distances in
            pixels, inf where one of two masks is empty and NaN where both are.
        areas: (N, 2) lung area, true and predicted, as a fraction of the image.
    """

    values: dict[str, NDArray[np.float64]]
    areas: NDArray[np.float64]


@dataclass(frozen=True)
class ScoreCurves:
    """What a report draws of a score.

    Attributes:
        roc: the curve, and `band`, (2, K) low and high true positive rates at `grid` (K,).
    """

    roc: RocCurve
    grid: NDArray[np.float64]
    band: NDArray[np.float64]
    pr: PrCurve
    reliability: Reliability


def mask_metrics(
    predicted: NDArray[np.bool_], truth: NDArray[np.bool_], rows: Sequence[Row], threshold: float
) -> tuple[MaskMetrics, MaskValues]:
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
    values, who = overlap.per_image() | boundary.per_image(), patients(rows)
    per_image = {
        name: mean_interval(
            values[name], patients=who, bounds=(0.0, math.inf) if name in ("hd95", "assd") else (0.0, 1.0)
        )
        for name in (*OVERLAP_METRICS, *BOUNDARY_METRICS)
    }
    tp, fp, fn, tn = overlap.counts.T.astype(np.float64)
    parts = {
        "dice": (2 * tp, 2 * tp + fp + fn),
        "iou": (tp, tp + fp + fn),
        "sensitivity": (tp, tp + fn),
        "precision": (tp, tp + fp),
        "accuracy": (tp + tn, tp + fp + fn + tn),
    }
    pooled = {name: ratio_interval(*part, patients=who) for name, part in parts.items()}
    areas = np.stack((tp + fn, tp + fp), axis=1) / truth[0].size
    hd95 = values["hd95"]
    record = MaskMetrics(threshold, per_image, pooled, int(np.isinf(hd95).sum()), int(np.isnan(hd95).sum()))
    return record, MaskValues(values, areas)


def score_metrics(
    probability: NDArray[np.floating[Any]],
    rows: Sequence[Row],
    threshold: float = 0.5,
    *,
    uncertain: NDArray[np.bool_] | None = None,
) -> tuple[ScoreMetrics, ScoreCurves]:
    """Discrimination, operating points and calibration of probabilities (N,), pooled and within sources.

    With one class only, what needs both is NaN and its note says so.

    Args:
        uncertain: (N,) images that the model calls uncertain, for the record.

    Raises:
        DataError: probabilities outside [0, 1] or NaN, or no rows.
    """
    truth = truth_of(rows)
    who = patients(rows)
    called = probability >= threshold
    slope, intercept = calibration_intervals(probability, truth, patients=who)
    metrics: dict[str, Interval] = {
        "auroc": delong(probability, truth, patients=who),
        "auprc": auprc_interval(probability, truth, patients=who),
        "accuracy": fraction_interval(called == truth, patients=who),
        "sensitivity": fraction_interval(called, patients=who, within=truth),
        "specificity": fraction_interval(~called, patients=who, within=~truth),
        "precision": fraction_interval(truth, patients=who, within=called, cautions=who.cautions(truth)),
        "negative_predictive_value": fraction_interval(
            ~truth, patients=who, within=~called, cautions=who.cautions(truth)
        ),
        "sensitivity_at_95_specificity": sensitivity_at_specificity_interval(
            probability, truth, REFERENCE_RATE, patients=who
        ),
        "specificity_at_95_sensitivity": specificity_at_sensitivity_interval(
            probability, truth, REFERENCE_RATE, patients=who
        ),
        "brier": mean_interval((probability - truth) ** 2, patients=who),
        "calibration_slope": slope,
        "calibration_intercept": intercept,
    }
    bins = reliability(probability, truth, patients=who)
    decision = decision_curve(probability, truth)
    record = ScoreMetrics(
        threshold=float(threshold),
        metrics=metrics,
        ece=bins.ece,
        majority_accuracy=majority_accuracy(truth),
        confusion=confusion(probability, truth, threshold),
        sources=source_metrics(probability, rows, metrics["auroc"]),
        calibration_curve=tuple(
            CalibrationBin(int(count), *map(float, rest))
            for count, *rest in zip(
                bins.count, bins.predicted, bins.observed, bins.low, bins.high, strict=True
            )
        ),
        decision_curve=tuple(
            DecisionPoint(*map(float, point))
            for point in zip(decision.thresholds, decision.model, decision.treat_all, strict=True)
        ),
        uncertain=_uncertain(probability, truth, threshold, uncertain),
    )
    curves = ScoreCurves(
        _thin_roc(roc_curve(probability, truth)),
        GRID,
        np.stack(roc_band(probability, truth, GRID, patients=who)),
        _thin_pr(pr_curve(probability, truth)),
        bins,
    )
    return record, curves


def _uncertain(
    probability: NDArray[np.floating[Any]],
    truth: NDArray[np.bool_],
    threshold: float,
    uncertain: NDArray[np.bool_] | None,
) -> UncertainMetrics | None:
    if uncertain is None:
        return None
    sure = ~uncertain
    decided = confusion(probability[sure], truth[sure], threshold) if sure.any() else Confusion(0, 0, 0, 0)
    return UncertainMetrics(int(uncertain.sum()), int(truth[uncertain].sum()), decided)


def _kept(points: int) -> NDArray[np.intp]:
    return np.unique(np.linspace(0, points - 1, min(points, CURVE_POINTS)).astype(np.intp))


def _thin_roc(curve: RocCurve) -> RocCurve:
    at = _kept(curve.thresholds.size)
    return RocCurve(curve.false_positive_rate[at], curve.true_positive_rate[at], curve.thresholds[at])


def _thin_pr(curve: PrCurve) -> PrCurve:
    at = _kept(curve.thresholds.size)
    last = np.append(at, curve.precision.size - 1)
    return PrCurve(curve.precision[last], curve.recall[last], curve.thresholds[at])
