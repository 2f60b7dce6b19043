"""`lungsight uncertainty`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lungsight.cli.train import need_training


def uncertainty(
    scores: Annotated[
        Path,
        typer.Argument(
            help="Scores out of fold: predictions.csv of `cross-validate`, passes.csv of `benchmark`."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the report.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="Their data set, for coverage by sex, age and view.")
    ] = None,
    other: Annotated[
        Path | None,
        typer.Option(
            help="A data set of another hospital, scored by the runs of the folds beside the scores."
        ),
    ] = None,
    coverage: Annotated[float, typer.Option(help="Of the conformal sets, between 0 and 1.")] = 0.9,
    threshold: Annotated[float, typer.Option(help="On the probability, for right and wrong.")] = 0.5,
) -> None:
    """Whether a score's uncertainty finds its errors, whether conformal sets cover, and where they do not."""
    need_training()
    from lungsight.dataset import read_dataset
    from lungsight.evaluation.elsewhere import groups_of, score_elsewhere
    from lungsight.evaluation.uncertainty import evaluate_uncertainty, read_members
    from lungsight.report.uncertainty_report import write_uncertainty

    table = read_members(scores)
    found = evaluate_uncertainty(
        table,
        coverage=coverage,
        threshold=threshold,
        groups=None if data is None else groups_of(table, read_dataset(data)),
        elsewhere=None
        if other is None
        else score_elsewhere(scores.parent, read_dataset(other), len(table.members)),
        elsewhere_name="" if other is None else other.name,
    )
    for one in found.signals:
        print(f"{one.name}: AUROC of error {one.error_auroc}, mean risk {one.area:.3f} of {one.risk:.3f}")
    for part in found.sets:
        print(f"{part.name}: {part.images} images, covered {part.covered}, covid or not {part.both:.3f}")
    print(f"{write_uncertainty(out, found)}. Research use only, not for diagnosis.")
