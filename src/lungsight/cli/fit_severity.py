"""`lungsight fit-severity`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lungsight.cli.console import tell
from lungsight.cli.train import DataOption, command_line, need_training


def fit_severity(
    data: DataOption,
    scores: Annotated[
        Path, typer.Option(help="CSV with id and READER_A to READER_F, 0 to 3, for each reader.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for severity.onnx and its card.")],
    reader: Annotated[str, typer.Option(help="Whose totals the figures are against.")] = "senior",
    seed: Annotated[int, typer.Option(min=0, help="Of folds and bootstraps.")] = 0,
) -> None:
    """Fit the severity network to readers' Brixia scores, cross-validated by patient. Needs the extra `imagenet`."""
    need_training()
    from lungsight.dataset import read_dataset
    from lungsight.ship_severity import fit_severity as run
    from lungsight.ship_severity import rows_of

    def progress(done: int, total: int, what: str = "") -> None:
        if done == total:
            tell(f"{what}: {total} films")

    fitted = run(
        read_dataset(data), scores, out, reader=reader, seed=seed, command=command_line(), progress=progress
    )
    tell(f"total score against {reader}: mean absolute error, correlation (95 % intervals over patients)")
    for name, error, correlation in rows_of(fitted.agreements):
        print(f"{name:24} {error:24} {correlation}")
    print(f"90 % interval: plus or minus {fitted.half_width:.1f} of 18")
    print(f"written: {out / 'severity.onnx'}")
