"""Arrays in, metrics out.

Masks are (H, W) or (N, H, W) bool; scores and labels are (N,). Predictions come first, the truth second.
Importing this needs NumPy alone; scikit-learn and SciPy (the `train` extra) are imported by the functions
that use them.
"""

from lungsight.metrics.bootstrap import bootstrap, bootstrap_all
from lungsight.metrics.boundary import Boundary, BoundaryMetrics, boundary_metrics, finite_mean
from lungsight.metrics.calibration import (
    DecisionCurve,
    Reliability,
    apply_platt,
    calibration_intervals,
    decision_curve,
    ece,
    fit_platt,
    logit,
    reliability,
    sigmoid,
)
from lungsight.metrics.classification import (
    Confusion,
    PrCurve,
    RocCurve,
    accuracy,
    auprc,
    auroc,
    brier,
    confusion,
    majority_accuracy,
    pr_curve,
    roc_curve,
    sensitivity_at_specificity,
    specificity_at_sensitivity,
    threshold_at_sensitivity,
    threshold_at_specificity,
)
from lungsight.metrics.delong import compare_delong, delong, pair_count
from lungsight.metrics.intervals import FEW_PATIENTS, Comparison, Interval, Note, Patients
from lungsight.metrics.linear import (
    auprc_interval,
    compare_auprc,
    compare_means,
    fraction_interval,
    mean_interval,
    ratio_interval,
    wilson,
    wilson_bounds,
)
from lungsight.metrics.operating import (
    roc_band,
    sensitivity_at_specificity_interval,
    specificity_at_sensitivity_interval,
)
from lungsight.metrics.overlap import OVERLAP_METRICS, Overlap, overlap_metrics

__all__ = [
    "FEW_PATIENTS",
    "OVERLAP_METRICS",
    "Boundary",
    "BoundaryMetrics",
    "Comparison",
    "Confusion",
    "DecisionCurve",
    "Interval",
    "Note",
    "Overlap",
    "Patients",
    "PrCurve",
    "Reliability",
    "RocCurve",
    "accuracy",
    "apply_platt",
    "auprc",
    "auprc_interval",
    "auroc",
    "bootstrap",
    "bootstrap_all",
    "boundary_metrics",
    "brier",
    "calibration_intervals",
    "compare_auprc",
    "compare_delong",
    "compare_means",
    "confusion",
    "decision_curve",
    "delong",
    "ece",
    "finite_mean",
    "fit_platt",
    "fraction_interval",
    "logit",
    "majority_accuracy",
    "mean_interval",
    "overlap_metrics",
    "pair_count",
    "pr_curve",
    "ratio_interval",
    "reliability",
    "roc_band",
    "roc_curve",
    "sensitivity_at_specificity",
    "sensitivity_at_specificity_interval",
    "sigmoid",
    "specificity_at_sensitivity",
    "specificity_at_sensitivity_interval",
    "threshold_at_sensitivity",
    "threshold_at_specificity",
    "wilson",
    "wilson_bounds",
]
