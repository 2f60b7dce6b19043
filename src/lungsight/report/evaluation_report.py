"""The evaluation report: `report.html`, `metrics.json`, `predictions.csv`, `tables/` and the checklists."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lungsight.dataset.table import Row
from lungsight.errors import LungsightError
from lungsight.evaluation import Evaluation
from lungsight.evaluation.compute import ScoreCurves
from lungsight.evaluation.records import ScoreMetrics, Subgroup
from lungsight.files import write_json, write_text
from lungsight.preprocess import resize_image, to_uint8
from lungsight.report import charts
from lungsight.report.claim import CLAIM, TRIPOD, to_dict, to_markdown
from lungsight.report.content import Curve, Measure
from lungsight.report.evaluation_tables import Evaluated, first_dict, first_table, tables_of
from lungsight.report.image_tiles import plain, with_outlines
from lungsight.report.page import Block, Page, Tile
from lungsight.report.subgroup_table import WORDS
from lungsight.report.tables import Cell, Table
from lungsight.wording import say
from lungsight.xray import read_xray

SHOWN, WORST = 4, 20


def write_evaluation(out: str | Path, evaluated: Evaluated) -> Path:
    """Write everything into the folder `out`.

    Returns:
        The path of `report.html`.

    Raises:
        OutputError: a file cannot be written.
    """
    folder = Path(out)
    result = evaluated.evaluation
    first = first_table(evaluated)
    origin = ", ".join(f"{key} {evaluated.provenance.get(key)}" for key in ("lungsight", "commit", "command"))
    result.write(folder, {"first_table": first_dict(first), "evaluated": origin})
    tables = tables_of(evaluated)
    for name, table in tables.items():
        write_text(folder / "tables" / f"{name}.csv", table.to_csv())
    write_json(folder / "claim.json", to_dict(evaluated.checklist))
    write_text(folder / "claim.md", to_markdown(evaluated.checklist))
    return _page(evaluated, tables).write(folder / "report.html")


def _page(evaluated: Evaluated, tables: Mapping[str, Table]) -> Page:
    result = evaluated.evaluation
    page = Page(
        f"Evaluation of {result.record.model}",
        f"On {evaluated.data}: {result.record.images:,} images ({result.record.part}).",
    )
    _first(page.section("The table that matters"), evaluated, tables)
    if result.score is not None and result.curves is not None:
        block = page.section("The score")
        _score(block, result.score, result.curves, tables["score"], result.record.target.name)
        if "sources" in tables:
            block.table(tables["sources"])
        _cases(page.section("Cases: the score"), result)
    if result.masks is not None:
        _masks(page.section("Lung masks"), result, tables["masks"])
        _mask_cases(page.section("Cases: worst and median masks"), result)
    if result.record.subgroups:
        _subgroups(page.section("Subgroups"), result.record.subgroups, tables["subgroups"], result)
    if "comparison" in tables:
        page.section("Two models on the same patients").table(tables["comparison"])
    if result.score is not None:
        asked = str(result.record.target)
        page.section("What was asked").text(f"{asked[0].upper()}{asked[1:]}.")
    _method(page.section("How to read this, and what is open"), evaluated)
    facts = evaluated.provenance
    page.provenance(
        {key: facts.get(key) for key in ("lungsight", "commit", "seed", "data_fingerprint", "created")}
    )
    return page


def _first(block: Block, evaluated: Evaluated, tables: Mapping[str, Table]) -> None:
    result = evaluated.evaluation
    for note in map(str, result.record.notes):
        block.warning(note[0].upper() + note[1:] + ".")
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


def _score(block: Block, found: ScoreMetrics, curves: ScoreCurves, table: Table, target: str) -> None:
    block.table(table)
    both = np.isfinite(curves.roc.true_positive_rate).all()
    with block.side_by_side():
        if both:
            area = Measure.of(found.metrics["auroc"])
            low, high = curves.band
            curve = Curve(
                curves.roc.false_positive_rate, curves.roc.true_positive_rate, low, high, curves.grid
            )
            block.drawing(
                charts.roc({"score": curve}, {"score": area}),
                "ROC curve; the band is the 95 % interval over patients.",
                f"ROC curve, area {area.value:.3f}.",
            )
            curve = Curve(curves.pr.recall[::-1], curves.pr.precision[::-1])
            counts = found.confusion
            positives = counts.tp + counts.fn
            prevalence = positives / (positives + counts.fp + counts.tn)
            block.drawing(
                charts.precision_recall(
                    {"score": curve}, prevalence, {"score": Measure.of(found.metrics["auprc"])}
                ),
                "Precision over recall; the dotted line is chance.",
                f"Precision-recall curve, area {found.metrics['auprc'].value:.3f}.",
            )
        bins = curves.reliability
        block.drawing(
            charts.reliability(bins.predicted, bins.observed, bins.count, Measure(found.ece), target=target),
            f"Reliability diagram: of the images with a probability of 0.8, are eight in ten {target}?",
            f"Reliability diagram, calibration error {found.ece:.3f}.",
        )
        points = found.decision_curve
        block.drawing(
            charts.decision_curve(
                np.array([point.threshold for point in points]),
                {"the score": np.array([point.net_benefit for point in points])},
                np.array([point.call_all for point in points]),
            ),
            f"Decision curve, at the share of {target} in these data, which is not a hospital's.",
            "Net benefit over the threshold probability.",
        )
        counts = found.confusion
        matrix = [[counts.tn, counts.fp], [counts.fn, counts.tp]]
        block.drawing(
            charts.confusion_matrix(matrix, ("other", target)),
            f"Confusion matrix at the threshold {found.threshold:g}.",
            f"{counts.tp} found, {counts.fn} missed, {counts.fp} false alarms, {counts.tn} rightly passed.",
        )


def _cases(block: Block, result: Evaluation) -> None:
    truth = np.array([bool(row.covid) for row in result.scored])
    for positive, words in (
        (True, f"{result.record.target.name} with the lowest scores"),
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


def _masks(block: Block, result: Evaluation, table: Table) -> None:
    block.table(table)
    if result.mask_values is None:
        return
    truth, predicted = result.mask_values.areas.T * 100
    block.drawing(
        charts.bland_altman(truth, predicted, "% of the image"),
        "Bland-Altman plot of the lung area: difference over mean, with the 95 % limits of agreement.",
        f"Mean difference of the lung area {float((predicted - truth).mean()):+.2f} % of the image.",
    )


def _mask_cases(block: Block, result: Evaluation) -> None:
    predicted = result.predictions
    if result.mask_values is None or predicted.masks is None or predicted.truth is None:
        return
    dice = result.mask_values.values["dice"]
    order = np.argsort(dice, kind="stable")
    middle = max(0, len(order) // 2 - SHOWN // 2)
    chosen = (
        ("Worst masks by Dice", order[:WORST]),
        ("Median masks by Dice", order[middle : middle + SHOWN]),
    )
    for words, places in chosen:
        tiles = []
        for place in places:
            picture = _read(predicted.rows[place])
            if picture is not None:
                about = f"{predicted.rows[place].id}: Dice {dice[place]:.3f}"
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


def _subgroups(block: Block, groups: tuple[Subgroup, ...], table: Table, result: Evaluation) -> None:
    small = [f"{group.kind} {group.name}" for group in groups if group.too_few]
    if small:
        block.warning(
            f"Too small to say anything (fewer than ten patients): {', '.join(dict.fromkeys(small))}."
        )
    for name, overall in (
        ("dice", result.masks.per_image["dice"] if result.masks else None),
        ("auroc", result.score.metrics["auroc"] if result.score else None),
        ("accuracy", result.score.metrics["accuracy"] if result.score else None),
    ):
        rows = [
            (f"{group.kind}: {group.name}", Measure.of(group.metrics[name]), group.images)
            for group in groups
            if name in group.metrics and not group.too_few and not math.isnan(group.metrics[name].value)
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
    result = evaluated.evaluation
    block.points(
        [
            "Intervals are over patients, each with all of its images; `metrics.json` names the method of each, and "
            "`docs/honesty.md` says how often it holds the truth. Of twenty such intervals one misses it: a subgroup "
            "that stands out may be chance.",
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
    if result.record.left_out:
        with block.details(f"Left out: {len(result.record.left_out)} images") as inner:
            inner.points([f"{one.id}: {one.reason}" for one in result.record.left_out[:200]])
    if command := evaluated.provenance.get("command"):
        block.text("The same again:")
        block.code(str(command))
