"""Charts: arrays in, inline SVG out. Okabe-Ito colours, told apart by line style too, never by red against green.

Colours in the SVG are the page's CSS variables, so that a chart follows light, dark and print.
"""

from __future__ import annotations

import hashlib
import io
import re
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lungsight.errors import DataError, require
from lungsight.report.content import Curve, Measure
from lungsight.report.tables import show

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito (2008), darkened a little for text on white: stand-ins that `svg` turns into CSS variables.
COLOURS = ("#0072b2", "#d55e00", "#00856a", "#a8568a", "#b87f00", "#3a93c9")
INK, MUTED, LINE, PAPER = "#1b232c", "#566370", "#d5dce3", "#fdfdfe"
_VARIABLES = {colour: f"var(--c{index})" for index, colour in enumerate(COLOURS, 1)} | {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    PAPER: "var(--paper)",
}
STYLES = ("-", (0, (5, 2)), (0, (1, 1.3)), (0, (6, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)), (0, (8, 3)))
MARKS = ("o", "s", "^", "D", "v", "P")


def svg(figure: Figure) -> str:
    """A matplotlib figure as inline SVG with the page's colours and font, without clashing ids."""
    import matplotlib

    # The words stay words (searchable, read aloud); ids hang on the content, so that a page is the same each time.
    salt = hashlib.sha256(repr([axes.get_title() for axes in figure.axes]).encode()).hexdigest()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        buffer = io.StringIO()
        options: dict[str, Any] = {"transparent": True, "metadata": {"Date": None, "Creator": None}}
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            try:
                figure.savefig(buffer, format="svg", **options)
            except UserWarning:  # a long legend leaves the axes no room: then each stands where it was put
                figure.set_layout_engine("none")
                buffer = io.StringIO()
                figure.savefig(buffer, format="svg", **options)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r"font: ([^;\"]*?)px [^;\"]*", r"font-size: \1px; font-family: inherit", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    return text


def new_figure(width: float = 4.7, height: float = 3.7, **options: Any) -> tuple[Figure, Any]:
    """A figure (inches) and its axes in the house style; `options` go to `Figure.subplots`.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figures = require("matplotlib.figure", feature="Drawing a report", extra="train")
    figure: Figure = figures.Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(**options)
    for one in np.atleast_1d(axes).ravel():
        _dress(one)
    return figure, axes


def _dress(axes: Axes) -> None:
    axes.set_facecolor("none")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(MUTED)
    axes.tick_params(colors=MUTED, labelcolor=INK, labelsize=9)
    axes.grid(color=LINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.title.set_color(INK)


def _legend(owner: Axes | Figure, *entries: Sequence[Any], **options: Any) -> None:
    legend = owner.legend(*entries, frameon=False, fontsize=9, title_fontsize=9, labelcolor=INK, **options)
    legend.get_title().set_color(INK)


_SHORT, _LINE = 34, 46
"""Characters of a legend's label: so many fit inside a square figure, and so many on a line below it."""


def _square_legend(figure: Figure, axes: Axes, loc: str, title: str | None = None) -> None:
    """Inside the axes where the labels are short, else below them, so that no label squeezes the curves."""
    handles, labels = axes.get_legend_handles_labels()
    if max(map(len, labels)) <= _SHORT:
        _legend(axes, loc=loc, title=title)
    else:
        wrapped = [textwrap.fill(label, _LINE) for label in labels]
        lines = sum(label.count("\n") + 1 for label in wrapped)
        figure.set_figheight(figure.get_figheight() + 0.2 * (lines + bool(title)))
        _legend(figure, handles, wrapped, loc="outside lower left", title=title, alignment="left")


def _label(name: str, measure: Measure | float | None) -> str:
    if measure is None:
        return name
    return f"{name}: {show(measure, 3)}"


def _curves(axes: Axes, curves: Mapping[str, Curve], areas: Mapping[str, Measure | float]) -> None:
    for index, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[index % len(COLOURS)]
        if curve.low is not None and curve.high is not None:
            at = curve.x if curve.band_x is None else curve.band_x
            axes.fill_between(at, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
        style = STYLES[index % len(STYLES)]
        label = _label(name, areas.get(name))
        axes.plot(curve.x, curve.y, color=colour, linestyle=style, linewidth=1.8, label=label)


def _unit_square(axes: Axes, x: str, y: str) -> None:
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", xlabel=x, ylabel=y)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_yticks(np.linspace(0, 1, 6))


def roc(curves: Mapping[str, Curve], areas: Mapping[str, Measure | float] | None = None) -> str:
    """ROC curves, with their areas in the legend and the bands that the curves bring.

    Args:
        curves: by name; x false positive rate, y true positive rate.
        areas: area under each, by the same names.
    """
    figure, axes = new_figure(4.7, 4.7)
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (2, 3)), label="chance")
    _curves(axes, curves, areas or {})
    _unit_square(axes, "False positive rate, FP / (FP + TN)", "True positive rate, TP / (TP + FN)")
    _square_legend(figure, axes, "lower right", title="AUC" if areas else None)
    return svg(figure)


def precision_recall(
    curves: Mapping[str, Curve], prevalence: float, areas: Mapping[str, Measure | float] | None = None
) -> str:
    """Precision over recall; a dotted line at `prevalence`, the precision of chance."""
    figure, axes = new_figure(4.7, 4.7)
    axes.axhline(
        prevalence, color=MUTED, linewidth=1, linestyle=(0, (2, 3)), label=f"chance: {prevalence:.3f}"
    )
    _curves(axes, curves, areas or {})
    _unit_square(axes, "Recall, TP / (TP + FN)", "Precision, TP / (TP + FP)")
    _square_legend(figure, axes, "best")
    return svg(figure)


def history(epochs: Sequence[Mapping[str, float]], quantity: str, label: str) -> str:
    """`train_<quantity>` and `validation_<quantity>` over the epochs; one that is missing is left out.

    Raises:
        DataError: neither is there.
    """
    figure, axes = new_figure(4.7, 3.1)
    drawn = 0
    for index, (part, words) in enumerate((("train", "training"), ("validation", "validation"))):
        key = f"{part}_{quantity}"
        points = [
            (epoch.get("epoch", n), epoch[key])
            for n, epoch in enumerate(epochs, 1)
            if epoch.get(key) is not None
        ]
        if not points:
            continue
        x, y = zip(*points, strict=True)
        drawn += 1
        axes.plot(
            x,
            y,
            color=COLOURS[index],
            linestyle=STYLES[index],
            marker=MARKS[index],
            markersize=4,
            linewidth=1.6,
            label=words,
        )
    if not drawn:
        raise DataError(f"the history has neither train_{quantity} nor validation_{quantity}")
    axes.set(xlabel="Epoch", ylabel=label)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if len(epochs) == 1:
        axes.set_xticks([epochs[0].get("epoch", 1)])
    _legend(axes, loc="best")
    return svg(figure)


def reliability(
    predicted: ArrayLike,
    observed: ArrayLike,
    counts: ArrayLike,
    error: Measure | float | None = None,
    *,
    target: str = "COVID-19",
) -> str:
    """Reliability diagram: observed share over mean predicted probability by bin, with the counts below.

    Args:
        predicted, observed: one value a bin, NaN where a bin is empty.
        counts: images in each bin.
        error: expected calibration error, for the legend.
        target: what is predicted, for the axis.
    """
    p, o, n = (np.asarray(values, dtype=float) for values in (predicted, observed, counts))
    figure, (axes, below) = new_figure(4.7, 5.0, nrows=2, sharex=True, height_ratios=[3.2, 1])
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (2, 3)), label="perfectly calibrated")
    full = n > 0
    name = "observed" if error is None else _label("observed, ECE", error)
    axes.plot(p[full], o[full], color=COLOURS[0], marker="o", markersize=5, linewidth=1.5, label=name)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel=f"Share that is {target}")
    _legend(axes, loc="upper left")
    edges = np.linspace(0, 1, len(n) + 1)
    below.bar((edges[:-1] + edges[1:]) / 2, n, width=0.9 / len(n), color=COLOURS[0], alpha=0.55)
    for centre, count in zip((edges[:-1] + edges[1:]) / 2, n, strict=True):
        if count:
            below.text(centre, count, f"{int(count)}", ha="center", va="bottom", fontsize=7.5, color=INK)
    # Most images lie in the outermost bins; a logarithmic scale keeps the others visible.
    below.set(
        yscale="log", ylim=(0.7, max(10.0, n.max() * 5)), xlabel="Predictions probability", ylabel="Images"
    )
    below.grid(visible=False, axis="x")
    return svg(figure)


def bland_altman(truth: ArrayLike, predicted: ArrayLike, unit: str) -> str:
    """Difference (predicted minus truth) over mean, with the bias and the 95 % limits of agreement.

    Source: Bland and Altman, Lancet 1986.
    """
    a, b = np.asarray(truth, dtype=float), np.asarray(predicted, dtype=float)
    mean, difference = (a + b) / 2, b - a
    bias, spread = float(difference.mean()), 1.96 * float(difference.std(ddof=1)) if len(a) > 1 else 0.0
    figure, axes = new_figure(4.7, 3.9)
    axes.scatter(mean, difference, s=12, color=COLOURS[0], alpha=0.55, linewidths=0)
    axes.axhline(bias, color=COLOURS[1], linewidth=1.5, label=f"mean difference {bias:+.3g} {unit}")
    limits = f"95 % limits {bias - spread:+.3g} to {bias + spread:+.3g} {unit}"
    axes.axhline(bias - spread, color=COLOURS[1], linewidth=1.2, linestyle=STYLES[1], label=limits)
    axes.axhline(bias + spread, color=COLOURS[1], linewidth=1.2, linestyle=STYLES[1])
    axes.set(xlabel=f"Mean of the two ({unit})", ylabel=f"Predictions − true ({unit})")
    reach = max(abs(float(difference.min())), abs(float(difference.max())), abs(bias) + spread) or 1.0
    axes.set_ylim(-1.15 * reach, 1.6 * reach)
    _legend(axes, loc="upper left")
    return svg(figure)


def forest(rows: Sequence[tuple[str, Measure, int]], label: str, overall: float | None = None) -> str:
    """Forest plot: one line a subgroup with its interval and its count, a dotted line at the overall figure."""
    figure, axes = new_figure(7.2, 0.7 + 0.31 * max(2, len(rows)))
    for y, (_, measure, count) in enumerate(rows):
        if measure.bounds:
            axes.plot(measure.bounds, [y, y], color=COLOURS[0], linewidth=1.6)
        if np.isfinite(measure.value):
            size = 20 + 60 * count / max(1, max(n for _, _, n in rows))
            axes.scatter([measure.value], [y], s=size, marker="s", color=COLOURS[0], zorder=3)
        axes.text(
            1.02,
            y,
            show(measure, 3),
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=9,
            color=INK,
        )
    if overall is not None:
        axes.axvline(overall, color=COLOURS[1], linewidth=1.2, linestyle=STYLES[2], zorder=0)
    axes.set(xlabel=label, ylim=(len(rows) - 0.4, -0.6))
    axes.set_yticks(range(len(rows)), [f"{name} ({count:,})" for name, _, count in rows])
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    return svg(figure)


def decision_curve(thresholds: ArrayLike, benefits: Mapping[str, ArrayLike], treat_all: ArrayLike) -> str:
    """Net benefit over the threshold probability, beside 'call all' and 'call none'.

    Source: Vickers and Elkin, Medical Decision Making 2006.
    """
    t = np.asarray(thresholds, dtype=float)
    figure, axes = new_figure(4.7, 3.9)
    axes.axhline(0, color=INK, linewidth=1, label="call none")
    axes.plot(t, np.asarray(treat_all), color=MUTED, linewidth=1.2, linestyle=STYLES[2], label="call all")
    top = 0.02
    for index, (name, values) in enumerate(benefits.items()):
        benefit = np.asarray(values, dtype=float)
        top = max(top, float(np.nanmax(benefit)))
        axes.plot(
            t, benefit, color=COLOURS[index % 6], linestyle=STYLES[index % 6], linewidth=1.8, label=name
        )
    axes.set(xlabel="Threshold probability", ylabel="Net benefit", ylim=(-0.35 * top, 1.25 * top))
    _legend(axes, loc="best")
    return svg(figure)


def confusion_matrix(counts: ArrayLike, classes: Sequence[str]) -> str:
    """Counts and the share of each true class; rows true, columns predicted."""
    table: NDArray[np.int64] = np.asarray(counts, dtype=np.int64)
    share = table / np.maximum(1, table.sum(axis=1, keepdims=True))
    figure, axes = new_figure(4.2, 3.1)
    axes.grid(visible=False)
    size = len(classes)
    for row in range(size):
        for column in range(size):
            box = ((column - 0.5, row - 0.5), 1, 1)
            patches = require("matplotlib.patches", feature="Drawing a report", extra="train")
            alpha = 0.06 + 0.44 * float(share[row, column])
            axes.add_patch(patches.Rectangle(*box, facecolor=COLOURS[0], alpha=alpha, linewidth=0))
            axes.text(
                column,
                row,
                f"{table[row, column]:,}\n{share[row, column]:.1%}",
                ha="center",
                va="center",
                color=INK,
                fontsize=11,
            )
    axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), xlabel="Predictions", ylabel="True")
    axes.set_xticks(range(size), classes)
    axes.set_yticks(range(size), classes)
    axes.tick_params(length=0)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    return svg(figure)
