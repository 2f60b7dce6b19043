"""The evaluation report: `report.html`, `metrics.json`, `predictions.csv`, `tables/` and the checklists."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lungsight.audit.records import Found
from lungsight.dataset.table import Row
from lungsight.errors import LungsightError
from lungsight.evaluation.assess import Assessment
from lungsight.evaluation.compute import DiagnosisFigures, MaskFigures
from lungsight.evaluation.subgroups import Subgroup
from lungsight.files import write_json, write_text
from lungsight.metrics import Interval
from lungsight.preprocess import resize_image, to_uint8
from lungsight.report import charts
from lungsight.report.claim import CLAIM, TRIPOD, Item, to_dict, to_markdown
from lungsight.report.content import Curve, Measure
from lungsight.report.image_tiles import plain, with_outlines
from lungsight.report.page import Block, Page, Tile
from lungsight.report.tables import Cell, Table
from lungsight.wording import say
from lungsight.xray import read_xray

SHOWN, WORST = 4, 20
WORDS = {
    "dice": "Dice", "iou": "IoU", "sensitivity": "sensitivity", "precision": "precision", "accuracy": "accuracy",
    "nsd": "NSD (outline within tolerance)", "hd95": "HD95 (pixels)", "assd": "ASSD (pixels)", "auroc": "AUROC",
    "auprc": "AUPRC", "specificity": "specificity", "brier": "Brier score", "ece": "calibration error (ECE)",
    "sensitivity_at_95_specificity": "sensitivity at 95 % specificity",
    "specificity_at_95_sensitivity": "specificity at 95 % sensitivity",
}  # fmt: skip
NOT_MEASURED = "not measured: `lungsight audit` does"


@dataclass(frozen=True)
class Evaluated:
    """All that an evaluation report shows.

    Attributes:
        audit: that of the same model, where there is one.
        external: AUROC on a second data set, and its name.
    """

    assessment: Assessment
    checklist: list[Item]
    provenance: Mapping[str, Any]
    data: str
    audit: Found | None = None
    external: tuple[str, Interval] | None = None


def write_evaluation(out: str | Path, evaluated: Evaluated) -> Path:
    """Write everything into the folder `out`.

    Returns:
        The path of `report.html`.

    Raises:
        OutputError: a file cannot be written.
    """
    folder = Path(out)
    result = evaluated.assessment
    first = first_table(evaluated)
    origin = ", ".join(f"{key} {evaluated.provenance.get(key)}" for key in ("lungsight", "commit", "command"))
    write_json(
        folder / "metrics.json", result.to_dict() | {"first_table": _first_dict(first), "evaluated": origin}
    )
    write_text(folder / "predictions.csv", result.predictions_csv())
    tables = _tables(evaluated)
    for name, table in tables.items():
        write_text(folder / "tables" / f"{name}.csv", table.to_csv())
    write_json(folder / "claim.json", to_dict(evaluated.checklist))
    write_text(folder / "claim.md", to_markdown(evaluated.checklist))
    return _page(evaluated, tables).write(folder / "report.html")


def first_table(evaluated: Evaluated) -> list[tuple[str, Interval | None, str]]:
    """(what, AUROC or None, remark): the figure that is usually published, and the four that say what it is worth."""
    figures_ = evaluated.assessment.diagnosis
    if figures_ is None:
        return []
    probes = {str(probe.key): probe for probe in evaluated.audit.retraining} if evaluated.audit else {}

    def of_probe(key: str) -> Interval | None:
        return probes[key].pooled.auroc if key in probes else None

    trained = "a network trained on this alone; near the pooled AUROC, it is not about lungs"
    same = figures_.same_source
    return [
        ("Pooled", figures_.figures["auroc"], "what most papers report"),
        (
            "Same source",
            same,
            f"{figures_.same_source_images} images; where the source is no help"
            if same
            else "no source has both classes, so it cannot be measured",
        ),
        ("Border only", of_probe("border"), trained if "border" in probes else NOT_MEASURED),
        ("Lungs blacked out", of_probe("lungs_black"), trained if "lungs_black" in probes else NOT_MEASURED),
        (
            "External",
            evaluated.external[1] if evaluated.external else None,
            evaluated.external[0]
            if evaluated.external
            else "not measured: give a second data set with `--external`",
        ),
    ]


def _first_dict(rows: list[tuple[str, Interval | None, str]]) -> list[dict[str, Any]]:
    return [
        {"what": what, "auroc": one.to_dict() if one else None, "remark": remark}
        for what, one, remark in rows
    ]


def _tables(evaluated: Evaluated) -> dict[str, Table]:
    result = evaluated.assessment
    tables: dict[str, Table] = {}
    if rows := first_table(evaluated):
        tables["first"] = Table(
            "AUROC, with 95 % intervals over patients",
            ("On", "AUROC", "What it is"),
            [(what, Measure.of(one) if one else None, remark) for what, one, remark in rows],
            digits=3,
            notes="0.5 is chance.",
        )
    if result.diagnosis is not None:
        tables["score"] = _score_table(result.diagnosis)
    if result.masks is not None:
        tables["masks"] = _mask_table(result.masks)
    if result.subgroups:
        tables["subgroups"] = _subgroup_table(result.subgroups)
    if result.comparison is not None:
        tables["comparison"] = Table(
            f"{result.comparison.first} less {result.comparison.second}, {result.comparison.images} images",
            ("Figure", "Difference (95 % interval)", "p"),
            [
                (WORDS[name], Measure.of(test.difference), _p(test.p_value))
                for name, test in result.comparison.tests.items()
            ],
            notes="AUROC: DeLong's paired test. The others: bootstrap over patients. Both models on the same images.",
        )
    return tables


def _p(value: float) -> str:
    return "n/a" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _score_table(found: DiagnosisFigures) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (WORDS[name], Measure.of(one), one.note) for name, one in found.figures.items()
    ]
    rows.insert(1, ("AUROC, interval by DeLong", Measure.of(found.auroc_delong), found.auroc_delong.note))
    place = 1 + next(i for i, row in enumerate(rows) if row[0] == "accuracy")
    rows.insert(place, ("accuracy of always saying the commoner class", found.majority_accuracy, ""))
    return Table(f"The score, threshold {found.threshold:g}", ("Figure", "Value", "Remark"), rows, digits=3)


def _mask_table(found: MaskFigures) -> Table:
    rows = [
        (WORDS[name], Measure.of(one), Measure.of(found.pooled[name]) if name in found.pooled else None)
        for name, one in found.per_image.items()
    ]
    notes = "Distances in pixels of the masks compared"
    if found.without_distance:
        notes += f"; {found.without_distance} images with one empty mask have none and are left out of them"
    return Table(
        "Lung masks, with 95 % intervals over patients",
        ("Figure", "Mean of images", "All pixels pooled"),
        rows,
        digits=3,
        notes=notes + ".",
    )


def _subgroup_table(groups: tuple[Subgroup, ...]) -> Table:
    names = list(dict.fromkeys(name for group in groups for name in group.figures))
    rows: list[tuple[Cell, ...]] = []
    kinds: list[tuple[str, tuple[str, ...]]] = []
    for group in groups:
        head = (group.kind, tuple(group.figures))
        if head not in kinds:
            kinds.append(head)
            rows.append((f"{group.kind.capitalize()}",))
        cells = [Measure.of(group.figures[name]) if name in group.figures else None for name in names]
        remark = "too small to say anything" if group.too_small else ""
        rows.append((group.name, group.images, group.covid, group.patients, *cells, remark))
    header = ("Group", "Images", "COVID-19", "Patients", *(WORDS[name] for name in names), "Remark")
    return Table("Subgroups", header, rows, digits=3, notes="A dash: one class only, or not known.")


def _page(evaluated: Evaluated, tables: Mapping[str, Table]) -> Page:
    result = evaluated.assessment
    page = Page(
        f"Evaluation of {result.predicted.name}",
        f"On {evaluated.data}: {len(result.predicted.rows):,} images ({result.predicted.part}).",
    )
    _first(page.section("The table that matters"), evaluated, tables)
    if result.diagnosis is not None:
        _score(page.section("The score"), result.diagnosis, tables["score"])
        _cases(page.section("Cases: the score"), result)
    if result.masks is not None:
        _masks(page.section("Lung masks"), result.masks, tables["masks"])
        _mask_cases(page.section("Cases: worst and median masks"), result, result.masks)
    if result.subgroups:
        _subgroups(page.section("Subgroups"), result.subgroups, tables["subgroups"], result)
    if "comparison" in tables:
        page.section("Two models on the same patients").table(tables["comparison"])
    _method(page.section("How to read this, and what is open"), evaluated)
    facts = evaluated.provenance
    page.provenance(
        {key: facts.get(key) for key in ("lungsight", "commit", "seed", "data_fingerprint", "created")}
    )
    return page


def _first(block: Block, evaluated: Evaluated, tables: Mapping[str, Table]) -> None:
    result = evaluated.assessment
    for warning in result.warnings:
        block.warning(warning[0].upper() + warning[1:] + ".")
    if "first" in tables:
        block.table(tables["first"])
        if evaluated.audit:
            verdict = evaluated.audit.verdict
            block.text(f"The shortcut audit: {say(verdict.data)}; {say(verdict.score)}.")
    if result.masks is not None:
        keys: list[tuple[str, Cell, str]] = [
            ("Dice, mean of images", Measure.of(result.masks.per_image["dice"]), ""),
            ("NSD, mean of images", Measure.of(result.masks.per_image["nsd"]), "outline within tolerance"),
        ]
        block.key_figures(keys, digits=3)


def _score(block: Block, found: DiagnosisFigures, table: Table) -> None:
    block.table(table)
    both = np.isfinite(found.roc.true_positive_rate).all()
    with block.side_by_side():
        if both:
            area = Measure.of(found.figures["auroc"])
            low, high = found.band
            curve = Curve(found.roc.false_positive_rate, found.roc.true_positive_rate, low, high, found.grid)
            block.drawing(
                charts.roc({"score": curve}, {"score": area}),
                "ROC curve; the band is the 95 % interval over patients.",
                f"ROC curve, area {area.value:.3f}.",
            )
            low, high = found.pr_band
            curve = Curve(found.pr.recall[::-1], found.pr.precision[::-1], low, high, found.grid)
            counts = found.confusion
            positives = counts.tp + counts.fn
            prevalence = positives / (positives + counts.fp + counts.tn)
            block.drawing(
                charts.precision_recall(
                    {"score": curve}, prevalence, {"score": Measure.of(found.figures["auprc"])}
                ),
                "Precision over recall, with its band; the dotted line is chance.",
                f"Precision-recall curve, area {found.figures['auprc'].value:.3f}.",
            )
        bins = found.reliability
        block.drawing(
            charts.reliability(bins.predicted, bins.observed, bins.count, Measure.of(found.figures["ece"])),
            "Reliability diagram: of the images with a probability of 0.8, are eight in ten COVID-19?",
            f"Reliability diagram, calibration error {found.figures['ece'].value:.3f}.",
        )
        curve_ = found.decision
        block.drawing(
            charts.decision_curve(curve_.thresholds, {"the score": curve_.model}, curve_.treat_all),
            "Decision curve, at the share of COVID-19 in these data, which is not a hospital's.",
            "Net benefit over the threshold probability.",
        )
        counts = found.confusion
        matrix = [[counts.tn, counts.fp], [counts.fn, counts.tp]]
        block.drawing(
            charts.confusion_matrix(matrix, ("other", "COVID-19")),
            f"Confusion matrix at the threshold {found.threshold:g}.",
            f"{counts.tp} found, {counts.fn} missed, {counts.fp} false alarms, {counts.tn} rightly passed.",
        )


def _cases(block: Block, result: Assessment) -> None:
    truth = np.array([bool(row.covid) for row in result.scored])
    for positive, words in (
        (True, "COVID-19 with the lowest scores"),
        (False, "Others with the highest scores"),
    ):
        places = np.flatnonzero(truth == positive)
        order = places[np.argsort(result.probability[places] * (1 if positive else -1))][:SHOWN]
        tiles = []
        for place in order:
            row = result.scored[place]
            picture = _read(row)
            if picture is not None:
                about = (
                    f"{row.id}: {row.finding or 'finding not given'}, score {result.probability[place]:.3f}"
                )
                tiles.append(Tile(plain(picture), f"X-ray. {about}", about))
        if tiles:
            block.tiles(tiles, f"{words}.")


def _masks(block: Block, found: MaskFigures, table: Table) -> None:
    block.table(table)
    truth, predicted = found.areas.T * 100
    block.drawing(
        charts.bland_altman(truth, predicted, "% of the image"),
        "Bland-Altman plot of the lung area: difference over mean, with the 95 % limits of agreement.",
        f"Mean difference of the lung area {float((predicted - truth).mean()):+.2f} % of the image.",
    )


def _mask_cases(block: Block, result: Assessment, found: MaskFigures) -> None:
    order = np.argsort(found.values["dice"], kind="stable")
    middle = max(0, len(order) // 2 - SHOWN // 2)
    chosen = (
        ("Worst masks by Dice", order[:WORST]),
        ("Median masks by Dice", order[middle : middle + SHOWN]),
    )
    predicted = result.predicted
    if predicted.masks is None or predicted.truth is None:
        return
    for words, places in chosen:
        tiles = []
        for place in places:
            picture = _read(predicted.rows[place])
            if picture is not None:
                about = f"{predicted.rows[place].id}: Dice {found.values['dice'][place]:.3f}"
                drawn = with_outlines(
                    resize_image(picture, predicted.truth.shape[1:]).astype(np.uint8),
                    predicted.truth[place],
                    predicted.masks[place],
                )
                tiles.append(Tile(drawn, f"X-ray with both outlines. {about}", about))
        if tiles:
            block.tiles(tiles, f"{words}: true outline solid, predicted dashed.")


def _read(row: Row) -> np.typing.NDArray[np.uint8] | None:
    try:
        return to_uint8(read_xray(row.image).pixels)
    except LungsightError:
        return None


def _subgroups(block: Block, groups: tuple[Subgroup, ...], table: Table, result: Assessment) -> None:
    small = [f"{group.kind} {group.name}" for group in groups if group.too_small]
    if small:
        block.warning(
            f"Too small to say anything (fewer than ten patients): {', '.join(dict.fromkeys(small))}."
        )
    for name, overall in (
        ("dice", result.masks.per_image["dice"] if result.masks else None),
        ("auroc", result.diagnosis.figures["auroc"] if result.diagnosis else None),
        ("accuracy", result.diagnosis.figures["accuracy"] if result.diagnosis else None),
    ):
        rows = [
            (f"{group.kind}: {group.name}", Measure.of(group.figures[name]), group.images)
            for group in groups
            if name in group.figures and not group.too_small and not math.isnan(group.figures[name].value)
        ]
        if rows and overall is not None:
            block.drawing(
                charts.forest(rows, WORDS[name], overall.value),
                f"{WORDS[name]} by subgroup with 95 % intervals; the dotted line is all images.",
                f"Forest plot of {WORDS[name]}.",
                wide=True,
            )
    block.table(table)


def _method(block: Block, evaluated: Evaluated) -> None:
    result = evaluated.assessment
    block.points(
        [
            "Intervals are percentiles of a bootstrap over patients, each drawn with all of its images.",
            "Which figures are shown follows Metrics Reloaded (Maier-Hein et al., Nature Methods 2024): an overlap "
            "and a boundary figure for masks; for a score AUROC with AUPRC beside it, an operating point that was "
            "chosen beforehand, and calibration. Accuracy stands beside that of the commoner class.",
            "A high pooled AUROC beside a low one of the same source is the mark of a shortcut.",
        ]
    )
    for name in (CLAIM, TRIPOD):
        own = [item for item in evaluated.checklist if item.checklist == name]
        block.text(
            f"{name}: {sum(item.filled for item in own)} of {len(own)} items could be filled in; `claim.md` has "
            "them all and marks the open ones."
        )
    if result.predicted.failures:
        with block.details(f"Left out: {len(result.predicted.failures)} images") as inner:
            inner.points([f"{name}: {reason}" for name, reason in result.predicted.failures[:200]])
    if command := evaluated.provenance.get("command"):
        block.text("The same again:")
        block.code(str(command))
