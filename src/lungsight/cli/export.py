"""`lungsight export` and `lungsight cross-validate`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lungsight.cli.console import tell
from lungsight.cli.target import TargetOption, UncertainOption, target_settings
from lungsight.cli.train import DataOption, Reporter, command_line, need_training
from lungsight.wording import Uncertain


class Form(StrEnum):
    """What is written."""

    onnx = "onnx"
    keras = "keras"


def export(
    run: Annotated[Path, typer.Argument(help="A finished, evaluated run, or a cross-validated folder.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for NAME.onnx and NAME.json.")],
    name: Annotated[str | None, typer.Option(help="Default: the task.")] = None,
    licence: Annotated[str, typer.Option(help="Licence of the weights, for the card.")] = "",
    form: Annotated[
        Form, typer.Option("--format", help="onnx, or keras: the paper's two networks as a Keras .h5 file.")
    ] = Form.onnx,
) -> None:
    """Make an ONNX file with its card, for use without PyTorch; or a Keras file."""
    need_training()
    if form is Form.keras:
        from lungsight.training.keras_runs import export_keras

        print(export_keras(run, out, name=name))
        return
    from lungsight.ship import export as run_export

    model, difference = run_export(run, out, name=name, licence=licence)
    size = len(model.onnx) / 1e6
    print(f"{out / model.card.file}: {size:.1f} MB, differs from PyTorch by {difference:.1e} at most")


def cross_validate(
    recipe: Annotated[str, typer.Argument(help="A diagnosis recipe's name, or a TOML file.")],
    data: DataOption,
    out: Annotated[Path, typer.Option("--out", help="Folder of the folds' runs.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Change a setting (repeatable).")
    ] = None,
    repeats: Annotated[
        int, typer.Option(min=1, max=100, help="Train all folds so many times, with the next seeds.")
    ] = 1,
    masks: Annotated[
        Path | None,
        typer.Option(help="A lung run, or 'shipped', whose masks are applied instead of the data set's own."),
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Keep decoded pixels in this folder.")] = None,
    columns: Annotated[
        str | None, typer.Option(help="Other column names: finding=diagnosis,patient=subject.")
    ] = None,
    target: TargetOption = None,
    uncertain: UncertainOption = Uncertain.DROP,
) -> None:
    """Train and score a diagnosis recipe by patient, fold by fold. Stopped, the same command continues."""
    need_training()
    from lungsight.cli.console import parse_columns
    from lungsight.config import load_recipe
    from lungsight.dataset import read_dataset
    from lungsight.evaluation.crossvalidation import cross_validate as run_folds

    result = run_folds(
        load_recipe(recipe, [*(settings or []), *target_settings(target, uncertain)]),
        read_dataset(data, columns=parse_columns(columns)),
        out,
        repeats=repeats,
        listener=Reporter(),
        tell=tell,
        mask_run=masks,
        cache=cache,
        command=command_line(),
    )
    found = result.record
    print(f"AUROC, mean of folds {found.auroc_folds}, within folds {found.auroc_within_folds}")
    same = found.score.sources.same_source
    said = f"{same.auroc}, {same.pairs:,} pairs" if same else "no source has both classes"
    print(f"pooled out of fold {found.score.metrics['auroc']}, same-source {said}")
    print(f"{found.images} images, {found.folds} folds, {found.repeats} repeats, in {out}/metrics.json")
