"""The tables of an evaluation report; each is also a CSV file beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lungsight.audit.records import Found
from lungsight.evaluation import Evaluation
from lungsight.evaluation.records import GroupAuroc, MaskMetrics, ScoreMetrics
from lungsight.metrics import Interval
from lungsight.report.claim import Item
from lungsight.report.content import Measure
from lungsight.report.subgroup_table import WORDS, subgroup_table
from lungsight.report.tables import Cell, Table
from lungsight.wording import say

NOT_MEASURED = "not measured: `lungsight audit` does"


@dataclass(frozen=True)
class Evaluated:
    """All that an evaluation report shows.

    Attributes:
        audit: that of the same model, where there is one.
        external: a second data set in words, and the AUROC on it; None where none of its images was scored.
    """

    evaluation: Evaluation
    checklist: list[Item]
    provenance: Mapping[str, Any]
    data: str
    audit: Found | None = None
    external: tuple[str, Interval | None] | None = None


def first_table(evaluated: Evaluated) -> list[tuple[str, Interval | None, str]]:
    """(what, AUROC or None, remark): what is usually published, and what says how much of it is about lungs."""
    score = evaluated.evaluation.score
    if score is None:
        return []
    probes = {str(probe.key): probe for probe in evaluated.audit.retraining} if evaluated.audit else {}

    def of_probe(key: str) -> Interval | None:
        return probes[key].pooled.auroc if key in probes else None

    def of_group(group: GroupAuroc | None, name: str) -> tuple[Interval | None, str]:
        if group is None:
            return None, f"no {name} has both classes, so it cannot be measured"
        return group.auroc, f"{group.pairs:,} pairs of {group.images:,} images, {group.groups} {name}s"

    trained = "a network trained on this alone; near the pooled AUROC, it is not about lungs"
    sources = score.sources
    rows: list[tuple[str, Interval | None, str]] = [
        ("Pooled", sources.pooled, "what most papers report"),
        ("Same source", *of_group(sources.same_source, "source")),
        ("Same sub-source", *of_group(sources.same_subsource, "sub-source")),
        ("Border only", of_probe("border"), trained if "border" in probes else NOT_MEASURED),
        ("Lungs blacked out", of_probe("lungs_black"), trained if "lungs_black" in probes else NOT_MEASURED),
    ]
    for one in sources.no_pixels:
        within, remark = of_group(one.same_source, "source")
        rows.append((f"No pixels: {say(one.model)}", one.pooled, f"known of {one.images:,} images"))
        rows.append((f"No pixels, same source: {say(one.model)}", within, remark))
    if evaluated.external is None:
        rows.append(("External", None, "not measured: give a second data set with `--external`"))
    else:
        rows.append(("External", evaluated.external[1], evaluated.external[0]))
    return rows


def first_dict(rows: list[tuple[str, Interval | None, str]]) -> list[dict[str, Any]]:
    return [
        {"what": what, "auroc": one.to_dict() if one else None, "remark": remark}
        for what, one, remark in rows
    ]


def tables_of(evaluated: Evaluated) -> dict[str, Table]:
    result = evaluated.evaluation
    tables: dict[str, Table] = {}
    if rows := first_table(evaluated):
        tables["first"] = Table(
            "AUROC, with 95 % intervals over patients",
            ("On", "AUROC", "What it is"),
            [(what, Measure.of(one) if one else None, remark) for what, one, remark in rows],
            digits=3,
            notes="0.5 is chance.",
        )
    if result.score is not None:
        tables["score"] = _score_table(result.score, result.record.target.name)
        sources = result.score.sources
        named = [(f"view {one.name}", one) for one in sources.by_view]
        named += [(f"without {one.name}", one) for one in sources.without]
        if named:
            tables["sources"] = Table(
                "AUROC within one source, by view and without one sub-source",
                ("Images", "AUROC", "Number of images", result.record.target.name),
                [(what, Measure.of(one.auroc), one.images, one.positive) for what, one in named],
                digits=3,
                notes="Without a sub-source: the number is of the images that are left out.",
            )
    if result.masks is not None:
        tables["masks"] = _mask_table(result.masks)
    if result.record.subgroups:
        tables["subgroups"] = subgroup_table(result.record.subgroups, result.record.target.name)
    comparison = result.record.comparison
    if comparison is not None:
        tables["comparison"] = Table(
            f"{comparison.first} less {comparison.second}, {comparison.images} images",
            ("Metric", "Difference (95 % interval)", "p"),
            [
                (WORDS[name], Measure.of(test.difference), _p(test.p_value))
                for name, test in comparison.tests.items()
            ],
            notes="AUROC: DeLong's paired test. The others: t over patients. Both models on the same images.",
        )
    return tables


def _p(value: float) -> str:
    return "n/a" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _score_table(found: ScoreMetrics, target: str) -> Table:
    rows: list[tuple[Cell, ...]] = [(WORDS[name], Measure.of(one)) for name, one in found.metrics.items()]
    place = 1 + next(i for i, row in enumerate(rows) if row[0] == "accuracy")
    rows.insert(place, ("accuracy of always saying the majority class", found.majority_accuracy))
    rows.append(("calibration error (ECE), biased on few images: no interval", found.ece))
    if (uncertain := found.uncertain) is not None:
        rows.append((f"called uncertain ({uncertain.positive} with {target})", uncertain.images))
    return Table(f"The score, threshold {found.threshold:g}", ("Metric", "Value"), rows, digits=3)


def _mask_table(found: MaskMetrics) -> Table:
    rows = [
        (WORDS[name], Measure.of(one), Measure.of(found.pooled[name]) if name in found.pooled else None)
        for name, one in found.per_image.items()
    ]
    return Table(
        "Lung masks, with 95 % intervals over patients",
        ("Metric", "Mean of images", "All pixels pooled"),
        rows,
        digits=3,
        notes="Distances in pixels of the masks compared.",
    )
