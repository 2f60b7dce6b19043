"""The networks as drawings and as tables of their layers (the paper's figures 3 and 6)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lungsight.errors import DataError, require
from lungsight.paper.content import (
    Architecture,
    Layer,
    LayerKind,
)
from lungsight.report.charts import COLOURS, INK, MUTED, STYLES, new_figure, svg
from lungsight.report.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WORDS: dict[LayerKind, str] = {
    "input": "input",
    "conv": "convolution",
    "pool": "2x2 max pool",
    "up": "2x upsampling",
    "concat": "concatenation",
    "dropout": "dropout",
    "flatten": "flatten",
    "dense": "dense",
}


def table(architecture: Architecture) -> Table:
    """The layers with their output and parameters."""
    rows = [
        (layer.name, WORDS[layer.kind], " x ".join(str(side) for side in layer.shape), layer.parameters)
        for layer in architecture.layers
    ]
    total = ("in all", "", "", sum(layer.parameters for layer in architecture.layers))
    header = ("Layer", "Kind", "Output (channels x height x width)", "Parameters")
    return Table(f"{architecture.title}: layers at width {architecture.width:g}", header, [*rows, total])


def describe(architecture: Architecture) -> str:
    """The network in words, for who does not see the drawing."""
    shapes = [layer for layer in architecture.layers if layer.kind in ("conv", "dense")]
    chain = "-".join(str(layer.shape[0]) for layer in shapes)
    return f"{architecture.title}: convolutions and dense layers with {chain} channels or units."


def draw(architecture: Architecture) -> str:
    """The network as SVG: a U over its levels where it goes up again, blocks in a row where it does not.

    Raises:
        DataError: there is no layer.
    """
    if not architecture.layers:
        raise DataError("has no layers to draw", where=architecture.title)
    if any(layer.kind == "up" for layer in architecture.layers):
        return _draw_u(architecture.layers)
    return _draw_row(architecture.layers)


def _box(
    axes: Axes, x: float, y: float, width: float, height: float, colour: str, alpha: float = 0.5
) -> None:
    patches = require("matplotlib.patches", feature="Drawing a report", extra="train")
    axes.add_patch(
        patches.Rectangle((x, y - height / 2), width, height, facecolor=colour, alpha=alpha, edgecolor="none")
    )
    axes.add_patch(
        patches.Rectangle((x, y - height / 2), width, height, fill=False, edgecolor=INK, linewidth=0.7)
    )


def _arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str, style: Any = "-"
) -> None:
    axes.annotate(
        "",
        end,
        start,
        arrowprops={
            "arrowstyle": "-|>",
            "color": colour,
            "linewidth": 1.3,
            "linestyle": style,
            "shrinkA": 0,
            "shrinkB": 0,
        },
    )


def _blank(axes: Axes) -> None:
    axes.axis("off")
    axes.grid(visible=False)


def _draw_u(parts: Sequence[Layer]) -> str:
    figure, axes = new_figure(8.4, 5.0)
    _blank(axes)
    top = parts[0].shape[1]
    step, gap = 1.35, 0.1

    def height(side: float) -> float:
        return 0.34 + 0.66 * side / top

    ends: dict[int, tuple[float, float]] = {}  # of each level: right edge and middle of its last box
    x, level, joined = 0.0, 0, 0
    boxes = [layer for layer in parts if layer.kind not in ("pool", "dropout")]
    for layer, following in zip(boxes, [*boxes[1:], None], strict=True):
        channels, side = layer.shape[0], layer.shape[1]
        before, level = level, round(math.log2(top / side))
        y, width = -step * level, 0.1 + 0.045 * math.log2(channels + 1)
        if layer.kind == "up":
            right, middle = ends[before]
            x = right + 0.25
            start, end = (right - 0.06, middle + height(side / 2) / 2), (x + 0.08, y - height(side) / 2)
            _arrow(axes, start, end, COLOURS[2], STYLES[1])
        if following is not None and following.kind == "concat":
            joined = channels  # drawn as a part of the box that it is joined into
            continue
        if layer.kind == "up":
            continue
        if level > before:
            right, middle = ends[before]
            x = right - 0.08
            _arrow(
                axes,
                (right - 0.06, middle - height(2 * side) / 2),
                (right - 0.06, y + height(side) / 2),
                COLOURS[1],
            )
        if layer.kind == "concat":
            right, middle = ends[level]
            _arrow(axes, (right + 0.04, middle), (x - 0.03, middle), MUTED)
            copied = width * (1 - joined / channels)
            _box(axes, x, y, copied, height(side), COLOURS[0], 0.18)
            _box(axes, x + copied, y, width - copied, height(side), COLOURS[2])
        else:
            _box(axes, x, y, width, height(side), COLOURS[0] if layer.kind == "conv" else MUTED)
        middle = x + width / 2
        axes.text(
            middle,
            y + height(side) / 2 + 0.05,
            str(channels),
            ha="center",
            va="bottom",
            fontsize=8,
            color=INK,
        )
        if level not in ends:
            words = f"{side}x{layer.shape[2]}"
            axes.text(x - 0.06, y - height(side) / 2, words, ha="right", va="bottom", fontsize=8, color=MUTED)
        ends[level] = (x + width, y)
        x += width + gap
    _key(axes)
    axes.set(xlim=(-0.75, x), ylim=(-step * max(ends) - 0.75, 0.75))
    return svg(figure)


def _key(axes: Axes) -> None:
    lines = require("matplotlib.lines", feature="Drawing a report", extra="train")
    patches = require("matplotlib.patches", feature="Drawing a report", extra="train")
    arrows = (
        ("2x2 max pool", COLOURS[1], "-"),
        ("2x upsampling + convolution", COLOURS[2], STYLES[1]),
        ("copied and joined", MUTED, "-"),
    )
    handles = [
        patches.Patch(facecolor=COLOURS[0], alpha=0.5, label="convolution + ReLU, with its channels"),
        *(lines.Line2D([], [], color=colour, linestyle=style, label=name) for name, colour, style in arrows),
    ]
    axes.legend(handles=handles, loc="lower left", frameon=False, fontsize=8.5, labelcolor=INK)


def _draw_row(parts: Sequence[Layer]) -> str:
    shown = [layer for layer in parts if layer.kind != "dropout"]
    figure, axes = new_figure(8.4, 2.9)
    _blank(axes)
    tallest = max(max(layer.shape[1:], default=1) for layer in shown)
    colours = {"conv": COLOURS[0], "pool": COLOURS[1], "dense": COLOURS[3], "flatten": MUTED, "input": MUTED}
    x = 0.0
    for layer in shown:
        if len(layer.shape) == 3:
            height = 0.3 + 1.3 * layer.shape[1] / tallest
            width = 0.16 + 0.06 * math.log2(layer.shape[0] + 1)
            size = f"{layer.shape[1]}x{layer.shape[2]}x{layer.shape[0]}"
        else:
            height, width = 0.25 + 0.085 * math.log2(layer.shape[0] + 1), 0.16
            size = f"{layer.shape[0]:,}"
        centre = x + 0.5
        _box(axes, centre - width / 2, 0, width, height, colours.get(layer.kind, MUTED))
        axes.text(centre, height / 2 + 0.06, size, ha="center", va="bottom", fontsize=8, color=INK)
        axes.text(centre, -0.98, WORDS[layer.kind], ha="center", va="top", fontsize=8, color=MUTED)
        if layer.parameters:
            axes.text(centre, -1.16, f"{layer.parameters:,}", ha="center", va="top", fontsize=8, color=INK)
        if x:
            _arrow(axes, (x - 0.2, 0), (x + 0.2, 0), MUTED)
        x += 1.12
    axes.text(-0.05, -1.16, "parameters", ha="right", va="top", fontsize=8, color=MUTED)
    axes.set(xlim=(-0.9, x), ylim=(-1.35, 1.1))
    return svg(figure)
