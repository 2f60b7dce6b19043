"""`lungsight evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lungsight.cli.train import DataOption, name_left_out, need_training


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    data: DataOption,
    part: Annotated[
        str | None, typer.Option(help="train, validation, test or all; default: what was held out.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Default: the recipe's (the paper: 0.2).")
    ] = None,
    masks: Annotated[Path | None, typer.Option(help="A lung run whose masks are applied.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Keep decoded pixels in this folder.")] = None,
    columns: Annotated[
        str | None, typer.Option(help="Other column names: finding=diagnosis,patient=subject.")
    ] = None,
) -> None:
    """Score a run on what it did not learn from; every figure with a 95 % interval over patients.

    Exit code 1: some images could not be used.
    """
    need_training()
    from rich.console import Console
    from rich.table import Table

    from lungsight.cli.data import parse_columns
    from lungsight.dataset import read_dataset
    from lungsight.evaluation import MaskFigures, evaluate_run

    dataset = read_dataset(data, columns=parse_columns(columns))
    result = evaluate_run(
        run,
        dataset,
        part=part,
        threshold=threshold,
        masks_from=masks,
        cache=cache,
    )
    figures = result.figures
    table = Table(title=f"{result.recipe.name}, {result.part} part: {len(result.rows)} images")
    if isinstance(figures, MaskFigures):
        for heading in ("", "per image", "pooled"):
            table.add_column(heading)
        for name, interval in figures.per_image.items():
            table.add_row(name, str(interval), str(figures.pooled.get(name, "")))
    else:
        table.add_column("")
        table.add_column("value")
        for name, interval in figures.figures.items():
            table.add_row(name, str(interval))
        table.add_row("accuracy of 'never COVID'", f"{figures.majority_accuracy:.3f}")
        same = str(figures.same_source) if figures.same_source else "no source has both classes"
        table.add_row(f"same-source AUROC ({figures.same_source_images} images)", same)
    Console().print(table)
    print(
        f"threshold {figures.threshold:g}; 95 % intervals by bootstrap over patients; in {run}/metrics.json"
    )
    if name_left_out(dataset, result.failures):
        raise typer.Exit(1)
