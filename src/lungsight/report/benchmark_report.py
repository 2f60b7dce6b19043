"""The benchmark's report: `benchmark.html`, `benchmark.md`, tables as CSV, and the picture as SVG."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lungsight.audit.records import Probe
from lungsight.benchmark.figures import Estimate
from lungsight.benchmark.records import Bench, SystemResult
from lungsight.dataset.table import COVID_TARGET
from lungsight.files import write_bytes, write_text
from lungsight.report import charts
from lungsight.report.content import Measure
from lungsight.report.page import Page
from lungsight.report.tables import Table
from lungsight.wording import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOTICE = "Research use only, not for diagnosis."
PICTURE = "pooled-vs-same-source.svg"
HONEST = (
    "An ImageNet start is part of most of these systems' own papers. A line that started from noise is the "
    "architecture of its paper and says nothing of the paper's own figure."
)


def write_benchmark(bench: Bench, out: str | Path) -> Path:
    """Write the report into the folder `out`; returns the page's path. Raises OutputError."""
    folder = Path(out)
    tables = benchmark_tables(bench)
    write_bytes(folder / PICTURE, standalone(bench))
    write_text(folder / "benchmark.md", markdown(bench, tables))
    for name, table in tables.items():
        write_text(folder / "tables" / f"{name}.csv", table.to_csv())
    return _page(bench, tables).write(folder / "benchmark.html")


def benchmark_tables(bench: Bench) -> dict[str, Table]:
    """The tables by the name of their file."""
    within = [
        [one.title, _measure(one.pooled), _measure(one.same_source), _measure(one.border),
         _measure(one.lungs_black), *([_external(one)] if bench.external_data else []),
         _p(one.p_pooled), _p(one.p_same_source)]
        for one in bench.systems
    ]  # fmt: skip
    within += [
        [f"a small network trained on {say_region(one)}", _interval(one, "pooled"), _interval(one, "same_source"),
         None, None, *([None] if bench.external_data else []), None, None]
        for one in bench.retrained
    ]  # fmt: skip
    outside = [f"external ({bench.external_data})"] if bench.external_data else []
    return {
        "auroc": Table(
            "AUROC, out of fold",
            ["system", "pooled", "same source", "border only", "lungs black", *outside,
             "p pooled", "p same source"],
            within,
            digits=3,
            notes=f"p: equal to the first line; DeLong's paired test by patient, Holm's correction over "
            f"{max(len(bench.systems) - 1, 0)} comparisons a column. Border only and lungs black: the image is changed "
            "at prediction; the small network was trained on the part anew, and shows what the data offer.",
        ),
        "calibration": Table(
            "Accuracy and calibration",
            ["system", "accuracy at 0.5", "Brier", "calibration slope", "ECE"],
            [
                [one.title, _measure(one.accuracy), _measure(one.brier), _measure(one.calibration_slope), one.ece]
                for one in bench.systems
            ],
            digits=3,
            notes=f"'Always the majority' has an accuracy of {bench.majority:.3f}. Slope: 1 is right, below 1 the "
            "probabilities are too extreme. ECE: expected calibration error, ten bins.",
        ),
        "papers": Table(
            "Their own papers",
            ["system", "its paper's headline", "as a fraction", "tested on", "start there", "start here"],
            [
                [one.title, one.headline, _measure(one.headline_estimate), one.headline_estimate.images or None,
                 one.own_start, one.start]
                for one in bench.systems
            ],
            digits=3,
            notes="The interval is Wilson's for the number of images that the headline rests on.",
        ),
        "cost": Table(
            "Size and cost",
            ["system", "parameters", "GFLOP", "input", "width", "epochs", "images shown", "ms a training image",
             "ms a prediction"],
            [
                [one.title, one.parameters, one.gflop, f"{one.size[0]} x {one.size[1]}", one.width, one.epochs,
                 one.views, 1000 * one.seconds_train, 1000 * one.seconds_predict]
                for one in bench.systems
            ],
            digits=2,
            notes="GFLOP: multiplications and additions of one image. Images shown: to the network of one fold, all "
            "epochs together.",
        ),
    }  # fmt: skip


def say_region(probe: Probe) -> str:
    """What a small network saw, in words."""
    from lungsight.wording import Region

    return say(Region(probe.key))


def lead(bench: Bench) -> str:
    """What was run, in a few sentences."""
    part = (
        ""
        if bench.images == bench.of_images
        else f" (of {bench.of_images:,}; all of sources with both classes)"
    )
    text = (
        f"{bench.images:,} images{part} of {bench.patients:,} patients of `{bench.data}`, {bench.folds} folds by "
        f"patient, seed {bench.seed}. "
    )
    if bench.target != COVID_TARGET:
        asked = str(bench.target)
        text = f"{asked[0].upper()}{asked[1:]}. {text}"
    if bench.reduced:
        text += (
            "Reduced size, width, optimiser and epochs, the same for all: these papers' architectures, not their "
            f"training. Budget {bench.budget:g} minutes, taken {bench.minutes:g}."
        )
    else:
        text += f"The recipes' own size, optimiser and epochs. Taken: {bench.minutes:g} minutes."
    return text + " Intervals are 95 %, over patients."


def markdown(bench: Bench, tables: dict[str, Table]) -> str:
    """The same as the page, for a repository."""
    lines = ["# The cited systems on one bench", "", f"{NOTICE} {lead(bench)} {HONEST}", ""]
    lines += [f"![Pooled against same-source AUROC]({PICTURE})", ""]
    for table in tables.values():
        lines += [
            f"## {table.caption}",
            "",
            f"| {' | '.join(table.header)} |",
            "|---" * len(table.header) + "|",
        ]
        lines += ["| " + " | ".join(_text(cell, table.digits) for cell in row) + " |" for row in table.rows]
        lines += ["", table.notes, ""]
    facts = [
        f"Commit {bench.commit[:12]}" if bench.commit else "",
        bench.machine,
        f"data {bench.fingerprint}",
    ]
    lines += [", ".join(filter(None, facts)) + ".", ""]
    if bench.command:
        lines += [f"Command: `{bench.command}`", ""]
    return "\n".join(lines)


def _page(bench: Bench, tables: dict[str, Table]) -> Page:
    page = Page("The cited systems on one bench", lead(bench))
    block = page.section("What is left within one source")
    block.text(HONEST)
    block.drawing(charts.svg(draw(bench)), _CAPTION, "Pooled against same-source AUROC, one point a system")
    block.table(tables["auroc"])
    page.section("Calibration").table(tables["calibration"])
    page.section("Their own papers").table(tables["papers"])
    block = page.section("Cost")
    block.table(tables["cost"])
    if bench.command:
        block.text("Started again, the same command continues where it was stopped:")
        block.code(bench.command)
    page.provenance(
        {"commit": bench.commit[:12], "machine": bench.machine, "data": bench.fingerprint, "seed": bench.seed}
    )
    return page


_CAPTION = (
    "Figure 1. AUROC over all images against AUROC within one source, with 95 % intervals over patients. On the dotted "
    "line the score tells nothing within a source; right of it and low, it tells the source."
)


def draw(bench: Bench) -> Figure:
    """One point a system, numbered as in the legend, with intervals both ways."""
    figure, axes = charts.new_figure(6.4, 6.2)
    axes.axhline(0.5, color=charts.MUTED, linewidth=1, linestyle=":")
    axes.plot([0, 1], [0, 1], color=charts.LINE, linewidth=1)
    ends: list[float] = []
    for index, one in enumerate(bench.systems):
        x, y = one.pooled, one.same_source
        if math.isnan(x.value) or math.isnan(y.value):
            continue
        colour = charts.COLOURS[index % len(charts.COLOURS)]
        mark = charts.MARKS[index % len(charts.MARKS) if index < len(charts.MARKS) else (index + 1) % 6]
        axes.errorbar(
            x.value, y.value, xerr=_away(x), yerr=_away(y), fmt=mark, color=colour, markersize=6, linewidth=1,
            label=f"{index + 1} {one.title}, from {one.start}",
        )  # fmt: skip
        axes.annotate(str(index + 1), (x.value, y.value), xytext=(5, 5), textcoords="offset points", fontsize=9,
                      color=charts.INK)  # fmt: skip
        ends += [end for end in (x.low, x.high, y.low, y.high) if not math.isnan(end)]
    low = max(0.0, math.floor(10 * min([0.5, *ends])) / 10)
    axes.set(xlabel="AUROC, all images", ylabel="AUROC within one source", xlim=(low, 1.01), ylim=(low, 1.01))
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower left", frameon=False, fontsize=8, ncols=2,
                      labelcolor=charts.INK)  # fmt: skip
    return figure


def standalone(bench: Bench) -> bytes:
    """The picture as an SVG file of its own, on white."""
    import matplotlib

    figure = draw(bench)
    figure.patch.set_facecolor("white")
    out = io.BytesIO()
    options: dict[str, Any] = {"metadata": {"Date": None, "Creator": None}}
    with matplotlib.rc_context({"svg.hashsalt": "benchmark"}):
        figure.savefig(out, format="svg", facecolor="white", **options)
    return out.getvalue()


def _away(found: Estimate) -> list[list[float]]:
    low, high = found.value - found.low, found.high - found.value
    return [[0.0 if math.isnan(low) else max(low, 0.0)], [0.0 if math.isnan(high) else max(high, 0.0)]]


def _measure(found: Estimate) -> Measure | None:
    if math.isnan(found.value):
        return None
    ends = (None, None) if math.isnan(found.low) else (found.low, found.high)
    return Measure(found.value, *ends)


def _external(one: SystemResult) -> Measure | None:
    return None if one.external is None else _measure(one.external)


def _interval(probe: Probe, name: str) -> Measure:
    return Measure.of(getattr(probe, name).auroc)


def _p(value: float) -> str | None:
    return None if math.isnan(value) else f"{value:.2g}"


def _text(cell: Any, digits: int) -> str:
    from lungsight.report.tables import show

    if isinstance(cell, Measure) and cell.bounds:
        return f"{cell.value:.{digits}f} ({cell.bounds[0]:.{digits}f} to {cell.bounds[1]:.{digits}f})"
    return show(cell.value if isinstance(cell, Measure) else cell, digits)
