"""Detection of planted shortcuts against their strength, as a picture and a table.

    python benchmarks/audit_operating.py --out operating --planted --first 0 --last 24
    python benchmarks/audit_curves.py --out operating --picture docs/images/audit-curves.svg

Reads what the first command has done so far. Strength s: the source, which has the look, agrees with the class in a
fraction (1 + s) / 2 of the images, so that at 0 the look is there and says nothing. 'taken' is the answer that the
score takes a shortcut (or is explained by one). One scorer is a linear model of the whole image, which may take
the look; the other sees the lungs alone. With n data sets the 95 % intervals are Wilson's.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from audit_operating import ALARM, HELD_OUT, OFFERED, PLANTED, STRENGTHS, read
from lungsight.files import write_bytes
from lungsight.metrics import wilson

Counts = tuple[int, int]
"""How many data sets were given the answer, and how many there are."""


def counts(lines: list[dict], kind: str, strength: float, scorer: str) -> tuple[Counts, Counts]:
    """(the data offer a shortcut, the score takes it), each as counts."""
    here = [one["answers"][scorer] for one in lines if (one["kind"], one["strength"]) == (kind, strength)]
    offered = sum(one["data"] in OFFERED for one in here)
    return (offered, len(here)), (sum(one["score"] in ALARM for one in here), len(here))


def said(found: Counts) -> str:
    """As '24 of 25'."""
    return f"{found[0]} of {found[1]}"


def table(lines: list[dict]) -> str:
    """Markdown: a line a kind, a column a strength; offered / taken by the model of the whole image."""
    head = "| planted (offered / taken by the whole image) | " + " | ".join(map(str, STRENGTHS)) + " |"
    rows = [head, "|---" * (1 + len(STRENGTHS)) + "|"]
    for kind in PLANTED:
        cells = []
        for strength in STRENGTHS:
            offered, taken = counts(lines, kind, strength, "whole image")
            cells.append(f"{said(offered)} / {said(taken)}")
        rows.append(f"| {kind}{' (held out)' if kind == HELD_OUT else ''} | " + " | ".join(cells) + " |")
    for name, strengths, scorers in (
        ("false alarms with nothing planted (strength 0)", (0.0,), ("whole image", "lungs only")),
        ("a score of the lungs alone called 'taken', all strengths", STRENGTHS, ("lungs only",)),
    ):
        found = [counts(lines, kind, s, one)[1] for kind in PLANTED for s in strengths for one in scorers]
        total = (sum(one for one, _ in found), sum(n for _, n in found))
        rows += ["", f"{name}: {said(total)}, {wilson(*total)}" if total[1] else f"{name}: not run"]
    offered = [counts(lines, kind, 0.0, "whole image")[0] for kind in PLANTED]
    total = (sum(one for one, _ in offered), sum(n for _, n in offered))
    rows += [
        "",
        f"'a shortcut is on offer' with nothing planted: {said(total)}"
        + (f", {wilson(*total)}" if total[1] else ""),
    ]
    return "\n".join(rows)


def picture(lines: list[dict]) -> bytes:
    """SVG: how often each kind is found, against its strength."""
    import io

    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    FigureCanvasSVG(figure)
    both = figure.subplots(1, 2, sharey=True)
    for axes, place, title in zip(
        both, (0, 1), ("a shortcut is on offer", "the score takes it"), strict=True
    ):
        for number, kind in enumerate(PLANTED):
            points = [counts(lines, kind, s, "whole image")[place] for s in STRENGTHS]
            rates = [one / n if n else float("nan") for one, n in points]
            style = "--" if kind == HELD_OUT else "-"
            words = f"{kind} (held out)" if kind == HELD_OUT else kind
            axes.plot(STRENGTHS, rates, style, marker="o", markersize=4, color=f"C{number}", label=words)
        axes.set(xlabel="strength of the planted shortcut", ylim=(-0.03, 1.03), title=f"'{title}'")
        axes.axhline(0.05, color="0.7", linewidth=1, linestyle=":")
    both[0].set_ylabel("fraction of the data sets")
    both[1].legend(fontsize=8)
    out = io.BytesIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


def main() -> None:
    """Print the table; draw the picture where a path is given."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="the folder of audit_operating.py")
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    lines = read(given.out / "planted.jsonl")
    seeds = sorted({one["seed"] for one in lines})
    print(f"seeds {seeds}, {len(lines)} data sets, {sum(one['cpu_seconds'] for one in lines):.0f} s of CPU\n")
    print(table(lines))
    if given.picture is not None:
        write_bytes(given.picture, picture(lines))


if __name__ == "__main__":
    main()
