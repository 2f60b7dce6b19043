"""The reproduction report: `report.html`, `report.json` and the tables as CSV, from what a run found."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lungsight.files import write_json, write_text
from lungsight.paper import architecture
from lungsight.paper import reference as paper
from lungsight.paper.content import (
    Reproduction,
    Run,
)
from lungsight.paper.tables import duration, runs_of, tables_of
from lungsight.records import Record, plain
from lungsight.report import charts, image_tiles
from lungsight.report.content import (
    Measure,
)
from lungsight.report.page import Block, Page
from lungsight.report.tables import Cell, Table, show


def write_reproduction(path: str | Path, results: Reproduction) -> Path:
    """Write the report, with `<stem>.json` and the folder `tables/` beside it.

    Args:
        path: of the HTML file.
        results: of the run; pictures go into the HTML alone, all figures into the JSON too.

    Returns:
        The path of the HTML file.

    Raises:
        OutputError: a file cannot be written.
        MissingExtraError: matplotlib is not installed.
    """
    target = Path(path)
    tables = tables_of(results)
    for name, table in tables.items():
        write_text(target.parent / "tables" / f"{name}.csv", table.to_csv())
    write_json(target.with_suffix(".json"), {"paper": paper.REFERENCE, **_figures_only(results)})
    return _page(results, tables).write(target)


def _page(results: Reproduction, tables: Mapping[str, Table]) -> Page:
    page = Page(
        "Lung masks and COVID-19 scores from chest X-rays: the paper's experiment, run again",
        f"After {paper.REFERENCE}. Data: {results.data}.",
    )
    _first(page.section("Paper and ours"), results, tables)
    _counts(page.section("Data and splits (tables 1 to 5)"), tables)
    _networks(page.section("Networks (figures 3 and 6)"), results)
    _masks(page.section("Lung segmentation (figures 4 and 5)"), results, tables)
    _diagnosis(page.section("Diagnosis (figures 7 to 9)"), results, tables)
    _training(page.section("Training"), results, tables)
    _confounding(page.section("How to read these figures"), results, tables)
    _deviation(page.section("What differed"), results)
    page.section("Where the paper is wrong or silent").points(paper.CORRECTIONS)
    _origin(page.section("Provenance"), results)
    facts = {
        key: results.provenance.get(key)
        for key in ("lungsight", "commit", "seed", "data_fingerprint", "created")
    }
    page.provenance(facts)
    return page


def _first(block: Block, results: Reproduction, tables: Mapping[str, Table]) -> None:
    if results.synthetic:
        block.warning(
            "The images of this run are drawn phantoms, not X-rays. The run shows that every step works; "
            "its figures say nothing about patients and do not compare with the paper's."
        )
    keys: list[tuple[str, Cell, str]] = []
    if results.segmentation:
        best = results.segmentation[0]
        keys += [
            (
                f"{words} of the lung masks, mean of images",
                Measure.of(best.metrics.per_image[name]),
                f"Paper: {value:.4f}.",
            )
            for words, name, value in (("Dice", "dice", paper.DICE), ("IoU", "iou", paper.IOU))
        ]
    if results.diagnosis:
        score = results.diagnosis[0].metrics
        note = (
            f"'Never COVID-19' scores {score.majority_accuracy:.4f}. Paper: {paper.DIAGNOSIS_ACCURACY:.4f}."
        )
        keys += [
            (
                "AUC of the COVID-19 score",
                Measure.of(score.metrics["auroc"]),
                f"Paper: {paper.AUC:.3f}. Read with care: see below.",
            ),
            ("Accuracy of the COVID-19 score", Measure.of(score.metrics["accuracy"]), note),
        ]
    if keys:
        block.key_figures(keys)
    block.table(tables["paper-and-ours"])
    block.text(f"{results.budget.words} All figures are in the JSON and CSV files beside this page.".strip())


def _counts(block: Block, tables: Mapping[str, Table]) -> None:
    with block.side_by_side():
        for name, table in tables.items():
            if name.startswith("table-"):
                block.table(table)


def _networks(block: Block, results: Reproduction) -> None:
    for number, network in ((3, results.unet), (6, results.cnn)):
        block.heading(network.title)
        block.drawing(
            architecture.draw(network),
            f"Figure {number}. {network.title} at width {network.width:g}: {network.parameters:,} parameters "
            f"({network.full_parameters:,} at width 1). {network.note}".strip(),
            architecture.describe(network),
            wide=True,
        )
        with block.details(f"{network.title}: all layers") as inner:
            inner.table(architecture.table(network))


def _masks(block: Block, results: Reproduction, tables: Mapping[str, Table]) -> None:
    if results.masks:
        tiles = [tile for example in results.masks for tile in image_tiles.mask_tiles(example)]
        block.tiles(tiles, "Figure 4. X-rays and their true lung masks.")
    drawn = [example for example in results.predictions if example.probability is not None]
    if drawn:
        cut = results.segmentation[0].metrics.threshold if results.segmentation else 0.2
        tiles = [tile for example in drawn for tile in image_tiles.prediction_tiles(example, cut)]
        block.tiles(
            tiles,
            "Figure 5. Predictions on the validation part: the X-ray, the true outline (sky blue), the predicted one "
            f"(orange, dashed) over it, and the probability, dark blue 0 to yellow 1, cut at {cut:g}.",
        )
    if "segmentation" in tables:
        block.table(tables["segmentation"])


def _diagnosis(block: Block, results: Reproduction, tables: Mapping[str, Table]) -> None:
    if results.crops:
        tiles = [tile for example in results.crops for tile in image_tiles.crop_tiles(example)]
        block.tiles(tiles, "Figure 7. Cropping before diagnosis: the frame is what the network gets.")
    if results.diagnosis:
        with block.side_by_side():
            curves = {result.run.title: result.roc for result in results.diagnosis}
            areas: dict[str, Measure | float] = {
                result.run.title: Measure.of(result.metrics.metrics["auroc"]) for result in results.diagnosis
            }
            alt = "ROC curves. " + "; ".join(f"{name}: AUC {show(area, 3)}" for name, area in areas.items())
            block.drawing(
                charts.roc(curves, areas),
                "Figure 8. ROC curves on the validation part; AUC with its 95 % interval, band where one was drawn.",
                alt,
            )
            for result in results.diagnosis[:1]:
                at = result.metrics.confusion
                block.drawing(
                    charts.confusion_matrix([[at.tn, at.fp], [at.fn, at.tp]], ("not COVID-19", "COVID-19")),
                    f"{result.run.title}: images by true and predicted class at {result.metrics.threshold:g}.",
                    f"{at.tn} true negatives, {at.fp} false positives, {at.fn} false negatives, "
                    f"{at.tp} true positives.",
                )
        block.table(tables["diagnosis"])
    if results.marked:
        tiles = [tile for example in results.marked for tile in image_tiles.crop_tiles(example)]
        block.tiles(
            tiles,
            "Figure 9. X-rays with letters or devices, and what the crop leaves of them: what stays can stand for "
            "the hospital, and the hospital for the class.",
        )


def _training(block: Block, results: Reproduction, tables: Mapping[str, Table]) -> None:
    runs = runs_of(results)
    if not runs:
        block.text("No network was trained in this run.")
        return
    block.table(tables["training-runs"])
    for run in runs:
        drawn = [
            (quantity, label)
            for quantity, label in (("loss", "Binary cross-entropy"), ("accuracy", "Accuracy"))
            if any(
                epoch.get(f"{part}_{quantity}") is not None
                for epoch in run.history
                for part in ("train", "validation")
            )
        ]
        if not drawn:
            continue
        block.heading(run.title)
        with block.side_by_side():
            for quantity, label in drawn:
                words = f"{run.title}: {label.lower()} by epoch"
                block.drawing(
                    charts.history(run.history, quantity, label), f"{words}.", _spoken(run, quantity, words)
                )


def _spoken(run: Run, quantity: str, words: str) -> str:
    last = run.history[-1]
    parts = [
        f"{name} {last[key]:.4f}"
        for name, key in (("training", f"train_{quantity}"), ("validation", f"validation_{quantity}"))
        if last.get(key) is not None
    ]
    return f"{words}; at the end {', '.join(parts)}." if parts else f"{words}."


def _confounding(block: Block, results: Reproduction, tables: Mapping[str, Table]) -> None:
    block.text(
        f"An accuracy of {paper.DIAGNOSIS_ACCURACY:.4f} sounds high. On the paper's validation part of 1,787 images "
        f"without and 132 with COVID-19, a rule that never says COVID-19 has {paper.MAJORITY_ACCURACY:.4f}: that, "
        "not one half, is where its scale begins."
    )
    for result in results.diagnosis[:1]:
        found, at = result.metrics, result.metrics.confusion
        accuracy = Measure.of(found.metrics["accuracy"])
        gain = accuracy.value - found.majority_accuracy
        block.text(
            f"In this run 'never COVID-19' has {found.majority_accuracy:.4f} and the network "
            f"{show(accuracy)}: {show(gain, signed=True)}. At its threshold it finds {at.tp:,} of "
            f"{at.tp + at.fn:,} images with COVID-19 and raises {at.fp:,} false alarms among {at.tn + at.fp:,}."
        )
    if results.synthetic:
        block.text("What follows holds for the paper's data, not for phantoms.")
    block.text(
        "The AUC is confounded. All COVID-19 images of this data set come from one collection, and nearly all others "
        "from a children's hospital. A network that learns to tell the two hospitals apart, by age, exposure, "
        "borders or letters, gets a high AUC and has learned nothing about the disease. Only images of one "
        "source can tell: among them, the source is no help."
    )
    if "confounding" in tables:
        block.table(tables["confounding"])
    else:
        block.warning(
            "The AUROC within one source was not computed in this run, so the AUC above cannot be read as skill in "
            "telling COVID-19. `lungsight audit` measures it."
        )


def _deviation(block: Block, results: Reproduction) -> None:
    budget = results.budget
    asked = f"a budget of {budget.minutes:g} minutes" if budget.minutes is not None else "no limit of time"
    block.text(
        f"This run was given {asked} on {budget.machine} and took {duration(budget.seconds)}. {budget.words}"
    )
    different = [row for row in results.comparison if row.deviation]
    lines: dict[str, list[str]] = {}
    for row in different:
        lines.setdefault(row.deviation, []).append(row.quantity)
    block.points(
        [f"{reason}: {', '.join(quantities)}" for reason, quantities in lines.items()] + list(results.notes)
    )


def _origin(block: Block, results: Reproduction) -> None:
    facts = results.provenance
    if command := facts.get("command"):
        block.text("The same again:")
        block.code(str(command))
    rows: list[tuple[Cell, ...]] = []
    for key, value in facts.items():
        if key == "command":
            continue
        if isinstance(value, Mapping):
            rows += [(f"{key}: {name}", str(item)) for name, item in value.items()]
        else:
            rows.append((str(key).replace("_", " "), str(value)))
    block.table(Table("Where these figures come from", ("What", "Value"), rows))


def _figures_only(value: Any) -> Any:
    # Pictures (two dimensions and more) stay in the HTML.
    if isinstance(value, Record):
        return plain(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {name: _figures_only(item) for name, item in fields.items() if not _is_picture(item)}
    if isinstance(value, Mapping):
        return {str(key): _figures_only(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_figures_only(item) for item in value]
    return value


def _is_picture(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.ndim > 1
