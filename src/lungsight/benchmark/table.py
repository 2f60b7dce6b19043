"""The benchmark as a Markdown table and as a picture: pooled against same-source."""

from __future__ import annotations

import io
import math
from pathlib import Path

from lungsight.benchmark.bench import Bench, SystemResult
from lungsight.files import write_bytes, write_text

NOTICE = "Research use only, not for diagnosis."


def write_tables(bench: Bench, out: str | Path) -> Path:
    """Write `benchmark.md` and `pooled-vs-same-source.svg`; returns the first. Raises OutputError."""
    folder = Path(out)
    write_bytes(folder / "pooled-vs-same-source.svg", picture(bench))
    path = folder / "benchmark.md"
    write_text(path, markdown(bench))
    return path


def markdown(bench: Bench) -> str:
    """The table with all that must be read beside it."""
    settings = (
        "Reduced size, width, optimiser and epochs, the same for all: these papers' architectures, not their training."
        if bench.reduced
        else "The recipes' own size, optimiser and epochs."
    )
    lines = [
        "# The cited systems on one bench",
        "",
        f"{NOTICE} {bench.images} images of {bench.patients} patients of `{bench.data}` (`{bench.fingerprint}`), "
        f"{bench.folds} folds by patient, seed {bench.seed}. {settings} 'Always the majority' has an accuracy of "
        f"{bench.majority:.3f}. Intervals are 95 %, over patients; the paper's own is Wilson's for its test size.",
        "",
        "![Pooled against same-source AUROC](pooled-vs-same-source.svg)",
        "",
        "| system | parameters | GFLOP | start (its paper's) | its paper | AUROC pooled | AUROC same source "
        "| border only | lungs black | accuracy | Brier | p | s a training image | s a prediction |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
        *(_line(one) for one in bench.systems),
        "",
        "p: equal pooled AUROC as the first line, DeLong's paired test by patient, Holm-corrected. Border only and "
        "lungs black: the image changed at prediction.",
        "",
    ]
    if bench.command:
        lines += [f"Command: `{bench.command}`", ""]
    return "\n".join(lines)


def _line(one: SystemResult) -> str:
    told = one.headline
    if not math.isnan(one.headline_estimate.value):
        told += f": {one.headline_estimate}, n = {one.headline_estimate.images}"
    cells = [
        f"{one.title}, width {one.width:g}, {one.size[0]} x {one.size[1]}, {one.epochs} epochs",
        f"{one.parameters:,}",
        f"{one.gflop:.2f}",
        f"{one.start} ({one.own_start})",
        told,
        *map(str, (one.pooled, one.same_source, one.border, one.lungs_black, one.accuracy, one.brier)),
        "" if math.isnan(one.p_pooled) else f"{one.p_pooled:.2g}",
        f"{one.seconds_train:.4f}",
        f"{one.seconds_predict:.4f}",
    ]
    return "| " + " | ".join(cells) + " |"


def picture(bench: Bench) -> bytes:
    """SVG: a point a system, with intervals; on the diagonal knowing the source would be worth nothing."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5.5), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.8", linewidth=1)
    axes.axhline(0.5, color="0.8", linewidth=1, linestyle=":")
    for number, one in enumerate(bench.systems):
        x, y = one.pooled, one.same_source
        if math.isnan(x.value) or math.isnan(y.value):
            continue
        away = [
            [[_length(x.value, x.low)], [_length(x.high, x.value)]],
            [[_length(y.value, y.low)], [_length(y.high, y.value)]],
        ]
        axes.errorbar(
            x.value, y.value, xerr=away[0], yerr=away[1], fmt="o", color=f"C{number % 10}", label=one.title
        )
    axes.set(xlabel="AUROC, all images", ylabel="AUROC within one source", xlim=(0.3, 1.02), ylim=(0.2, 1.02))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, loc="upper left")
    out = io.BytesIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


def _length(high: float, low: float) -> float:
    return 0.0 if math.isnan(high - low) else max(high - low, 0.0)
