"""What is shown beside the answers and decides nothing: how the score is calibrated, and its subgroups."""

from __future__ import annotations

import msgspec
import numpy as np

from lungsight.audit.audited import Audited
from lungsight.audit.records import Calibrated
from lungsight.audit.statistics import Floats
from lungsight.evaluation.cohort import patients, truth_of
from lungsight.evaluation.records import Subgroup
from lungsight.evaluation.subgroups import subgroups
from lungsight.metrics import calibration_intervals, ece, mean_interval


def calibration_of(audited: Audited, values: Floats) -> Calibrated | None:
    """Calibration of scores (N,) that are probabilities; None where one is outside [0, 1]."""
    scored = np.flatnonzero(np.isfinite(values))
    score = values[scored]
    if not len(score) or score.min() < 0 or score.max() > 1:
        return None
    rows = [audited.rows[i] for i in scored]
    truth, who = truth_of(rows), patients(rows)
    slope, intercept = calibration_intervals(score, truth, patients=who)
    brier = mean_interval((score - truth) ** 2, patients=who)
    return Calibrated(slope, intercept, brier, ece(score, truth))


def subgroups_of(audited: Audited, values: Floats) -> tuple[Subgroup, ...]:
    """AUROC by source, sub-source, finding, view, sex and age, and accuracy where the score has a threshold."""
    scored = np.flatnonzero(np.isfinite(values))
    rows, cut = [audited.rows[i] for i in scored], audited.threshold
    found = subgroups(rows, probability=values[scored], threshold=cut)
    if np.isfinite(cut):
        return tuple(found)
    return tuple(
        msgspec.structs.replace(
            one, metrics={name: m for name, m in one.metrics.items() if name != "accuracy"}
        )
        for one in found
    )
