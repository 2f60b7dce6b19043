"""The audit's tables and sentences: records in, rows and English out."""

from __future__ import annotations

import numpy as np

from lungsight.audit.data_audit import FoundInData
from lungsight.audit.records import Caveat, Criterion, Found, Probe
from lungsight.audit.statistics import Estimate
from lungsight.report.content import Measure
from lungsight.report.subgroup_table import subgroup_table
from lungsight.report.tables import Cell, Table
from lungsight.wording import AuditCaveat, ImageChange, NoPixels, Property, Region, say

_HOLDS = {None: "cannot be told", True: "yes", False: "no"}
_METHODS = {
    "network": "small network",
    "logistic": "logistic regression",
    "ridge": "ridge regression on thumbnails",
    "fraction": "fraction of the target in each category",
    "forest": "random forest",
}
HEAD = ("What is seen", "Pooled", "Within source", "Pairs", "Within sub-source", "Pairs there")


def answers(found: Found) -> list[str]:
    """The two answers as sentences."""
    return [f"{text[0].upper()}{text[1:]}." for text in (say(found.verdict.data), say(found.verdict.score))]


def caveats(found: Found) -> list[str]:
    """What must be read with them, as sentences."""
    return [caveat_words(one) for one in (*found.notes, *found.verdict.caveats)]


def caveat_words(one: Caveat) -> str:
    return say(AuditCaveat(one.code)).format(**one.numbers)


def probe_words(key: str) -> str:
    """What a probe sees, in words."""
    return say(NoPixels(key)) if key in set(NoPixels) else say(Region(key))


def measured(one: Estimate | None) -> Cell:
    return None if one is None or np.isnan(one.auroc.value) else Measure.of(one.auroc)


def probe_row(what: str, probe: Probe) -> tuple[Cell, ...]:
    host = probe.same_subsource
    return (
        what,
        measured(probe.pooled),
        measured(probe.same_source),
        probe.same_source.pairs or None,
        measured(host),
        host.pairs or None,
    )


NOTES = (
    "0.5 is chance. Within: only pairs of images of one source, or of one sub-source, are compared; their number "
    "stands beside. A dash: no such pair. A model without lungs that does as well as the score is the mark of a "
    "shortcut."
)


def audit_tables(found: Found) -> dict[str, Table]:
    """Every table of the report, by the name of its CSV."""
    score = found.score
    rows: list[tuple[Cell, ...]] = [
        (
            f"The score itself ({found.model})",
            measured(score.pooled),
            measured(score.same_source),
            score.same_source.pairs or None,
            measured(score.same_subsource),
            score.same_subsource.pairs or None,
        )
    ]
    rows += [probe_row(f"No pixel: {probe_words(probe.key)}", probe) for probe in found.no_pixels]
    rows += [probe_row(f"Trained on {probe_words(probe.key)}", probe) for probe in found.retraining]
    title = f"AUROC for {found.target}, with 95 % intervals over patients"
    tables = {
        "first": Table(title, HEAD, rows, digits=3, notes=NOTES),
        "criteria": Table(
            "The criteria of the two answers",
            ("Criterion", "Decides", "Holds", "AUROC", "Beside", "Adjusted p"),
            [_criterion(one) for one in found.verdict.criteria],
            digits=3,
            notes="p: one-sided, against an AUROC of 0.5, adjusted within its answer by Holm's procedure.",
        ),
    }
    if found.perturbation:
        tables["perturbation"] = Table(
            f"The score after a change to the images ({found.perturbation[0].images} held-out images)",
            (
                "Change",
                "Scored",
                "AUROC",
                "Within source",
                "Mean change",
                "Flips",
                "Target moves",
                "Others move",
            ),
            [
                (
                    say(ImageChange(one.key)),
                    f"{one.scored:.0%}",
                    measured(one.pooled),
                    measured(one.same_source),
                    one.deviation,
                    f"{one.flipped:.0%}" if np.isfinite(one.flipped) else None,
                    one.positive_shift,
                    one.negative_shift,
                )
                for one in found.perturbation
            ],
            digits=3,
            notes="Scored: images that the model still scores. Flips: decisions that change. Moves: mean change.",
        )
    if found.transplants:
        tables["transplants"] = Table(
            f"The score with a property of another image, drawn by lot ({found.transplants[0].images} images)",
            (
                "Given",
                "Scored",
                "AUROC for the donor's class",
                "AUROC for its own class",
                "Follows donor",
                "Follows own",
            ),
            [
                (
                    say(Property(one.key)),
                    f"{one.scored:.0%}",
                    measured(one.donor_auroc),
                    measured(one.own_auroc),
                    one.background_dependence,
                    one.own_dependence,
                )
                for one in found.transplants
            ],
            digits=3,
            notes="The donor is drawn without regard to the image: an AUROC for its class above 0.5 can only come from "
            "the property. Follows: Spearman correlation with the unchanged score of the donor, and with its own.",
        )
    methods = [
        (probe_words(one.key), _METHODS[one.method], one.images)
        for one in (*found.retraining, *found.no_pixels)
    ]
    tables["models"] = Table("The models of the first table", ("Sees", "Kind", "Images"), methods)
    if (calibrated := found.calibration) is not None:
        tables["calibration"] = Table(
            "Whether a score of 0.8 is right eight times in ten",
            ("Metric", "Value"),
            [
                (
                    "calibration slope (right: 1; below 1 the scores are too extreme)",
                    Measure.of(calibrated.slope),
                ),
                ("calibration in the large (right: 0)", Measure.of(calibrated.intercept)),
                ("Brier score", Measure.of(calibrated.brier)),
                ("calibration error (ECE), biased on few images: no interval", calibrated.ece),
            ],
            digits=3,
        )
    if found.subgroups:
        tables["subgroups"] = subgroup_table(found.subgroups, found.target)
    lines = _source_lines(found)
    if lines:
        tables["source"] = Table("Sources", ("What", "Images", "AUROC"), lines, digits=3)
    if found.leakage.pairs:
        tables["near-duplicates"] = Table(
            "Images that look the same",
            ("First", "Second", "Parts", "Same patient", "Agreement"),
            [
                (
                    pair.first,
                    pair.second,
                    " / ".join(pair.parts),
                    "yes" if pair.same_patient else "no",
                    pair.agreement,
                )
                for pair in found.leakage.pairs
            ],
            digits=3,
        )
    return tables


def _criterion(one: Criterion) -> tuple[Cell, ...]:
    return (
        say(one.key),
        "yes" if one.decides else "no",
        _HOLDS[one.holds],
        measured(one.estimate),
        measured(one.beside),
        one.adjusted_p,
    )


def _source_lines(found: Found) -> list[tuple[Cell, ...]]:
    lines: list[tuple[Cell, ...]] = [
        (
            f"{one.first} told from {one.second} by {say(Region(one.region))}, images of '{one.finding}'",
            one.images,
            measured(one.auroc),
        )
        for one in found.source.tests
    ]
    if found.score.source_auroc is not None:
        text = "Two sources told apart by the score, images of one finding"
        lines.append((text, found.score.source_auroc.auroc.n, measured(found.score.source_auroc)))
    for one in found.source.left_out:
        what = f"in {one.name}, " if one.name else ""
        kind = "that source" if one.kind == "source" else "the image's sub-source"
        text = f"{found.target} {what}from {say(Region(one.region))}, trained without {kind}"
        lines.append((text, one.images, measured(one.auroc)))
    return lines


def data_table(found: FoundInData) -> Table:
    """The first table of the audit of a data set."""
    best = found.best
    rows: list[tuple[Cell, ...]] = [
        (
            "The best of these without lungs",
            measured(best.pooled),
            measured(best.same_source),
            None,
            None,
            None,
        )
    ]
    rows += [probe_row(f"No pixel: {probe_words(one.key)}", one) for one in found.no_pixels]
    rows += [probe_row(f"Trained on {probe_words(one.key)}", one) for one in found.retraining]
    title = f"AUROC for {found.target}, with 95 % intervals over patients"
    return Table(title, HEAD, rows, digits=3, notes=NOTES)
