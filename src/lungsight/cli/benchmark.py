"""`lungsight benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lungsight.cli.console import tell
from lungsight.cli.target import TargetOption, UncertainOption, read_target
from lungsight.cli.train import DataOption, DeviceOption, Reporter, command_line, need_training
from lungsight.wording import Uncertain


def benchmark(
    data: DataOption,
    out: Annotated[Path, typer.Option("--out", help="Folder of the table and of every system's runs.")],
    budget: Annotated[
        float | None,
        typer.Option(
            help="Minutes in all: size, width, epochs and, if short, images are reduced. Default: the papers' own."
        ),
    ] = None,
    systems: Annotated[
        list[str] | None, typer.Option("--systems", help="Only this system (repeatable). Default: all.")
    ] = None,
    folds: Annotated[int, typer.Option(min=3, max=20, help="Folds by patient.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Seed of folds, weights and augmentation.")] = 1,
    side: Annotated[
        int | None, typer.Option(min=32, max=512, help="Pixels of a side at reduced size.")
    ] = None,
    width: Annotated[
        float | None, typer.Option(min=0.01, max=4, help="Width of every network at reduced size.")
    ] = None,
    external: Annotated[
        Path | None,
        typer.Option(help="A second data set, for the AUROC on other patients of other hospitals."),
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Keep decoded pixels in this folder.")] = None,
    columns: Annotated[
        str | None, typer.Option(help="Other column names: finding=diagnosis,patient=subject.")
    ] = None,
    target: TargetOption = None,
    uncertain: UncertainOption = Uncertain.DROP,
    device: DeviceOption = "auto",
) -> None:
    """The systems that the paper cites, on the same patients: pooled beside same-source AUROC, with intervals.

    Stopped, the same command continues.
    """
    need_training()
    from lungsight.benchmark import choose_systems, run_benchmark
    from lungsight.report.benchmark_report import write_benchmark

    chosen = choose_systems(systems)
    bench = run_benchmark(
        read_target(data, columns, target, uncertain),
        out,
        systems=chosen,
        minutes=budget,
        side=side,
        width=width,
        folds=folds,
        seed=seed,
        external=None if external is None else read_target(external, None, target, uncertain),
        cache=cache,
        device=device,
        listener=Reporter(),
        tell=tell,
        command=command_line(),
    )
    for one in bench.systems:
        print(f"{one.name}: pooled {one.pooled}, same source {one.same_source}")
    print(f"{write_benchmark(bench, out)}. Research use only, not for diagnosis.")
