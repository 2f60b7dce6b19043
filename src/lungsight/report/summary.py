"""What the command line prints of an evaluation: each metric with its interval and what must be read beside it."""

from __future__ import annotations

import math

from lungsight.evaluation import EvaluationRecord, MaskMetrics, ScoreMetrics
from lungsight.evaluation.records import ComparisonMetrics, GroupAuroc
from lungsight.metrics import Interval
from lungsight.wording import say

Rows = list[tuple[str, ...]]


def summary_tables(record: EvaluationRecord) -> list[tuple[tuple[str, ...], Rows]]:
    """(header, rows) of each table, cells as text."""
    found: list[tuple[tuple[str, ...], Rows]] = []
    if record.masks is not None:
        found.append((("", "per image", "pooled"), _masks(record.masks)))
    if record.score is not None:
        found.append((("", "value"), _score(record.score, record.target.name)))
    if record.comparison is not None:
        found.append((("difference", "value", "p"), _comparison(record.comparison)))
    return found


def said(interval: Interval, digits: int = 3) -> str:
    """A metric with its interval and every note."""
    rest = [str(note) for note in interval.notes if str(note) not in str(interval)]
    return "; ".join([interval.format(digits), *rest])


def _masks(found: MaskMetrics) -> Rows:
    return [
        (name, said(interval), said(found.pooled[name]) if name in found.pooled else "")
        for name, interval in found.per_image.items()
    ]


def _group(group: GroupAuroc | None, name: str) -> str:
    if group is None:
        return f"no {name} has both classes"
    return f"{said(group.auroc)}; {group.pairs:,} pairs"


def _score(found: ScoreMetrics, target: str) -> Rows:
    rows: Rows = [(name.replace("_", " "), said(interval)) for name, interval in found.metrics.items()]
    rows.append(("accuracy of the majority class", f"{found.majority_accuracy:.3f}"))
    rows.append(("calibration error (ECE)", f"{found.ece:.3f}; biased on few images"))
    sources = found.sources
    rows.append(("same-source AUROC", _group(sources.same_source, "source")))
    rows.append(("same-sub-source AUROC", _group(sources.same_subsource, "sub-source")))
    rows += [
        (f"no pixels, same source: {say(one.model)}", _group(one.same_source, "source"))
        for one in sources.no_pixels
    ]
    if found.uncertain is not None:
        counts = f"{found.uncertain.images}, {found.uncertain.positive} of them {target}"
        rows.append(("called uncertain", counts))
    rows.append(("threshold", f"{found.threshold:g}"))
    return rows


def _comparison(found: ComparisonMetrics) -> Rows:
    return [
        (
            name.replace("_", " "),
            said(test.difference),
            "n/a" if math.isnan(test.p_value) else f"{test.p_value:.3g}",
        )
        for name, test in found.tests.items()
    ]
