"""`lungsight reproduce`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from lungsight.cli.console import tell
from lungsight.cli.train import DataOption, Reporter, clock, command_line, name_left_out, need_training


def reproduce(
    data: DataOption,
    out: Annotated[Path, typer.Option("--out", help="Folder of the report and its runs.")],
    budget: Annotated[
        float | None,
        typer.Option(min=0.5, help="Minutes: width and epochs are fitted to them. Default: the paper's own."),
    ] = None,
    width: Annotated[
        float | None, typer.Option(min=0.01, max=4, help="Width of both networks; 1.0 is the paper's.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every run.")] = None,
    columns: Annotated[
        str | None, typer.Option(help="Other column names: finding=diagnosis,patient=subject.")
    ] = None,
) -> None:
    """Do the whole paper: data, both networks, every table and figure, in one report.

    Stopped, the same command continues where it was. Exit code 1: some images could not be used.
    """
    need_training()
    from lungsight.cli.console import parse_columns
    from lungsight.dataset import read_dataset
    from lungsight.paper import reproduce as run

    begun = time.monotonic()

    def timed(line: str) -> None:
        tell(f"[{clock(time.monotonic() - begun)}] {line}")

    dataset = read_dataset(data, columns=parse_columns(columns))
    done = run(
        dataset,
        out,
        minutes=budget,
        width=width,
        seed=seed,
        tell=timed,
        listener=Reporter(),
        command=command_line(),
    )
    print(f"{done.report} after {clock(time.monotonic() - begun)}. Research use only, not for diagnosis.")
    if name_left_out(dataset, done.failures):
        raise typer.Exit(1)
