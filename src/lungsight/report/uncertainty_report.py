"""The report on a score's uncertainty: `uncertainty.html`, `uncertainty.json` and tables as CSV."""

from __future__ import annotations

from pathlib import Path

from lungsight.evaluation.uncertainty import UncertaintyRecord
from lungsight.files import write_bytes, write_text
from lungsight.records import to_json
from lungsight.report import charts
from lungsight.report.content import Measure
from lungsight.report.page import Page
from lungsight.report.tables import Cell, Table


def write_uncertainty(out: str | Path, found: UncertaintyRecord) -> Path:
    """Write everything into the folder `out`; returns the page's path. Raises OutputError."""
    folder = Path(out)
    tables = uncertainty_tables(found)
    write_bytes(folder / "uncertainty.json", to_json(found))
    for name, table in tables.items():
        write_text(folder / "tables" / f"{name}.csv", table.to_csv())
    page = Page(
        "What the score's uncertainty is worth",
        f"{found.images:,} images of {found.patients:,} patients, {found.members} values each, out of fold. Intervals "
        "are 95 %, over patients.",
    )
    block = page.section("Does it find the errors?")
    block.table(tables["errors"])
    block.drawing(
        _curves(found),
        "Figure 1. Risk-coverage: the fraction of wrong decisions among the images kept when the least certain are "
        "left out first. A level line: the uncertainty knows nothing of the errors.",
        "Risk against coverage, one line an uncertainty",
    )
    page.section("Does the set cover?").table(tables["coverage"])
    return page.write(folder / "uncertainty.html")


def uncertainty_tables(found: UncertaintyRecord) -> dict[str, Table]:
    """The tables by the name of their file."""
    there = (
        f" AUROC of {found.elsewhere}: how well it tells {found.elsewhere_images:,} images of there from these; 0.5 if "
        "it does not rise."
    )
    rises = [f"AUROC of {found.elsewhere}"] if found.elsewhere else []
    errors: list[list[Cell]] = [
        [one.name, Measure.of(one.error_auroc), one.area, one.risk, *([one.elsewhere_auroc] if rises else [])]
        for one in found.signals
    ]
    sets: list[list[Cell]] = [
        [one.name, one.images, Measure.of(one.covered), one.both, one.neither] for one in found.sets
    ]
    return {
        "errors": Table(
            "Uncertainty against errors",
            ["uncertainty", "AUROC of error", "mean risk (AURC)", "risk of all", *rises],
            errors,
            digits=3,
            notes="AUROC of error: 0.5 if it does not know of the errors." + (there if rises else ""),
        ),
        "coverage": Table(
            f"Conformal sets of {found.coverage:.0%}",
            ["images", "number", "covered", "covid or not", "neither"],
            sets,
            digits=3,
            notes="Covered: the set holds the truth. The limits come from other folds' patients, of each class "
            "apart: the coverage is promised of each class over all sources together, not within each.",
        ),
    }


def _curves(found: UncertaintyRecord) -> str:
    figure, axes = charts.new_figure()
    for index, one in enumerate(found.signals):
        colour, style = charts.COLOURS[index % 6], charts.STYLES[index % 6]
        axes.plot(one.coverage, one.curve, color=colour, linestyle=style, linewidth=1.8, label=one.name)
    axes.set(xlabel="coverage", ylabel="risk", xlim=(0, 1.01), ylim=(0, None))
    axes.legend(frameon=False, fontsize=9, labelcolor=charts.INK)
    return charts.svg(figure)
