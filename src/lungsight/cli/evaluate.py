"""`lungsight evaluate`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lungsight.cli.target import TargetOption, UncertainOption
from lungsight.cli.train import command_line, name_left_out, need_training
from lungsight.wording import Uncertain

if TYPE_CHECKING:
    from lungsight.dataset import Dataset
    from lungsight.evaluation import EvaluationRecord
    from lungsight.report.evaluate import Request


DataOption = Annotated[
    Path,
    typer.Option(
        "--data",
        help="A data set: manifest, Darwin export, masks beside images. Behind it :visible where its lungs are drawn "
        "as far as they are seen beside heart and diaphragm.",
    ),
]


def evaluate(
    data: DataOption,
    run: Annotated[
        Path | None, typer.Argument(help="Folder of a finished run, or cross-validated.", show_default=False)
    ] = None,
    shipped: Annotated[bool, typer.Option("--shipped", help="Evaluate the shipped networks.")] = False,
    predictions: Annotated[
        Path | None, typer.Option(help="Evaluate anybody's scores: a table with id and probability.")
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(
            help="Evaluate anybody's lung masks: a folder of images named by id. With RUN: the lung run to apply, "
            "or 'shipped'."
        ),
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(help="A second model for a paired test: a run, 'shipped', a CSV or a folder of masks."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder for report, tables and charts; default: the run's, or its evaluation/ if cross-validated.",
        ),
    ] = None,
    external: Annotated[
        Path | None, typer.Option(help="A second data set, for the external AUROC (RUN and --shipped).")
    ] = None,
    audit: Annotated[
        Path | None, typer.Option(help="Folder of the model's audit; default: RUN/audit, if there.")
    ] = None,
    part: Annotated[
        str | None, typer.Option(help="train, validation, test or all; default: what was held out.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Default: the recipe's (the paper: 0.2).")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Keep decoded pixels in this folder.")] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Other column names: finding=diagnosis,patient=subject; probability=score."),
    ] = None,
    external_columns: Annotated[str | None, typer.Option(help="The same for --external.")] = None,
    target: TargetOption = None,
    uncertain: UncertainOption = Uncertain.DROP,
) -> None:
    """Evaluate a model on what it was not trained on; every metric with a 95 % interval over patients.

    The model is a RUN, --shipped, --predictions or --masks. Writes report.html, metrics.json, predictions.csv,
    tables/ and the CLAIM and TRIPOD+AI checklists (claim.md, claim.json).
    Exit code 0: all done; 1: some images could not be used; 2: nothing could be evaluated.
    """
    need_training()
    from lungsight.cli.console import parse_columns
    from lungsight.cli.data import progress_bar
    from lungsight.dataset.table import COVID_TARGET
    from lungsight.report.evaluate import Request, write_report

    request = Request(
        data=data,
        run=run,
        shipped=shipped,
        predictions=predictions,
        masks=masks,
        compare=compare,
        out=out,
        columns=parse_columns(columns) or {},
        external=external,
        external_columns=parse_columns(external_columns) or {},
        audit=audit,
        part=part,
        threshold=threshold,
        cache=cache,
        target=target,
        uncertain=uncertain.value,
        command=command_line(),
    )
    request.check()
    dataset = request.read_data()
    if request.is_gate:
        _evaluate_gate(request, dataset)
        return
    with progress_bar("Evaluating") as progress:
        done = write_report(request, dataset, progress=lambda step, total, what="": progress(step, total))
    record = done.evaluated.evaluation.record
    _print(record)
    if record.score is not None and record.target != COVID_TARGET:
        print(record.target)
    for warning in (*map(str, record.notes), *done.warnings):
        print(f"warning: {warning}", file=sys.stderr)
    print(f"95 % intervals over patients; {done.report}")
    if run is not None and record.score is not None and done.evaluated.audit is None:
        print(f"next: lungsight audit {shlex.quote(str(run))} --data {shlex.quote(str(data))} --quick")
    if name_left_out(dataset, [(one.id, one.reason) for one in record.left_out]):
        raise typer.Exit(1)


def _print(record: EvaluationRecord) -> None:
    from rich.console import Console
    from rich.table import Table

    from lungsight.report.summary import summary_tables

    # A metric and what must be read beside it stay on one line, however narrow the terminal.
    console = Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 200)
    console.print(f"{record.model}, {record.part}: {record.images} images", soft_wrap=True)
    for header, rows in summary_tables(record):
        table = Table(*header)
        for row in rows:
            table.add_row(*row)
        console.print(table)


def _evaluate_gate(request: Request, dataset: Dataset) -> None:
    """A gate has metrics of its own, and no report: which X-rays pass, and which other pictures are refused."""
    from rich.console import Console
    from rich.table import Table

    from lungsight.evaluation import evaluate_gate

    run = request.run or Path()
    found = evaluate_gate(run, dataset, part=request.part, threshold=request.threshold, cache=request.cache)
    table = Table("", "fraction", "of", title=f"gate, {found.part} part: {found.images} X-rays")
    for verb, fractions in (("pass", found.passed), ("refused", found.refused)):
        for name, fraction in fractions.items():
            table.add_row(f"{verb}: {name}", str(fraction), str(fraction.n))
    Console().print(table)
    print(f"threshold {found.threshold:g}; 95 % intervals by Wilson; in {run}/metrics.json")
    if name_left_out(dataset, found.failures):
        raise typer.Exit(1)
