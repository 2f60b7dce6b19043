"""The tables and the picture of `benchmarks/audit.py`: what each tool says, in how many sets of each kind it warns."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from lungsight.metrics import wilson

OFFERED = ("offered", "as_good_as_the_image")
TAKEN = ("taken", "explained")
DATALAB_LIMIT, PPS_LIMIT = 0.3, 0.2
"""Datalab's default threshold (an issue lies below); that of the condition in deepchecks' suite (it fails above)."""

TOOLS = {
    "datalab": "Datalab",
    "deepchecks": "deepchecks' PPS",
    "data_audit": "lungsight data audit",
    "grad_cam": "Grad-CAM inside lungs",
    "audit_score": "lungsight audit",
}


Counts = tuple[int, int]
"""In how many sets a tool warns, and in how many it was asked."""


def said(name: str, found: dict[str, Any]) -> tuple[bool, str, float]:
    """Whether a tool warns of one set, its own words, and its number (NaN: it gives none)."""
    if name == "datalab":
        worst, value = min(found["scores"].items(), key=lambda item: item[1])
        return value < DATALAB_LIMIT, worst.removesuffix("_score"), value
    if name == "deepchecks":
        worst, value = max(found["scores"].items(), key=lambda item: item[1])
        return value > PPS_LIMIT, worst, value
    if name == "grad_cam":
        return found["inside"] < found["area"], f"of {found['area']:.2f}", found["inside"]
    key, warns = ("answer", OFFERED) if name == "data_audit" else ("score", TAKEN)
    return found[key] in warns, found[key], float("nan")


def cell(name: str, lines: list[dict[str, Any]]) -> tuple[str, Counts]:
    """What a tool says of one kind of set, and in how many of how many sets it warns."""
    found = [said(name, line[name]) for line in lines if name in line]
    if not found:
        return "not run", (0, 0)
    warned = sum(warns for warns, _, _ in found)
    values = [value for _, _, value in found]
    words = Counter(said for _, said, _ in found)
    shown = ", ".join(f"{one} {n}" if len(words) > 1 else one for one, n in words.most_common())
    if not np.isnan(values[0]):
        low, high = f"{min(values):.2f}", f"{max(values):.2f}"
        shown = f"{words.most_common(1)[0][0]} {low}" + (f" to {high}" if high != low else "")
    if name == "grad_cam":
        shown = shown.split(" ", 2)[2] + f" (lungs {np.mean([line[name]['area'] for line in lines]):.2f})"
    return f"**{warned} of {len(found)}** {shown}", (warned, len(found))


def report(lines: list[dict[str, Any]], clean: str, path: Path) -> None:
    """Print the tables and draw the picture.

    Args:
        lines: what every tool said, a line a set.
        clean: the kind in which nothing is planted.
        path: of the picture.
    """
    print("| set | network's AUROC | AUROC for the cue, by lot |", " | ".join(TOOLS.values()), "|")
    print("| --- " * (3 + len(TOOLS)) + "|")
    counted: dict[str, list[Counts]] = {}
    kinds = {line["kind"]: [one for one in lines if one["kind"] == line["kind"]] for line in lines}
    for kind, here in kinds.items():
        cue = span([line["cue_auroc"] for line in here]) if "cue_auroc" in here[0] else "-"
        cells = [cell(name, here) for name in TOOLS]
        if "fingerprint" not in here[0]:
            counted[kind] = [counts for _, counts in cells]
        area = span([line["auroc"] for line in here])
        print(f"| {kind} | {area} | {cue} |", " | ".join(words for words, _ in cells), "|")
    print()
    for name, words in TOOLS.items():
        took = [line[name]["seconds"] for line in lines if name in line and "fingerprint" not in line]
        drawn = [line for line in lines if name in line and "fingerprint" not in line]
        both = [
            [said(name, line[name])[0] for line in drawn if (line["kind"] == clean) == one] for one in (0, 1)
        ]
        if drawn:
            counts = [f"{sum(one)} of {len(one)}, {wilson(sum(one), len(one))}" for one in both]
            print(
                f"{words}: planted {counts[0]}; nothing planted {counts[1]}; CPU seconds {np.median(took):.1f}"
            )
    if counted:
        picture(counted, path)


def span(values: list[float]) -> str:
    """As '0.94 to 0.97', or one number."""
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low} to {high}"


def picture(counted: dict[str, list[Counts]], path: Path) -> None:
    """In how many of the sets each tool warns, a row a kind."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    matplotlib.rcParams["svg.hashsalt"] = "audit-compared"
    figure = Figure(figsize=(8, 0.45 * len(counted) + 1.4), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots()
    rates = np.array([[warned / max(n, 1) for warned, n in row] for row in counted.values()])
    axes.pcolormesh(rates, cmap="GnBu", vmin=0, vmax=1.6, edgecolors="white")
    for row, values in enumerate(counted.values()):
        for column, (warned, n) in enumerate(values):
            words = f"{warned} of {n}" if n else "not run"
            axes.text(column + 0.5, row + 0.5, words, ha="center", va="center", fontsize=10)
    axes.set_xticks(
        [place + 0.5 for place in range(len(TOOLS))], [name.replace(" ", "\n", 1) for name in TOOLS.values()]
    )
    axes.set_yticks([place + 0.5 for place in range(len(counted))], list(counted))
    axes.invert_yaxis()
    axes.xaxis.tick_top()
    axes.axhline(1, color="black", linewidth=1.5)
    axes.set_title("Sets in which a tool warns; above the line nothing is planted", fontsize=10)
    figure.savefig(path, format="svg", metadata={"Date": None})
