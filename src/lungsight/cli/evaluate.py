"""`lungsight evaluate`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lungsight.cli.train import DataOption, command_line, name_left_out, need_training
from lungsight.errors import ConfigError, DataError

if TYPE_CHECKING:
    from lungsight.audit import Found
    from lungsight.dataset import Dataset
    from lungsight.evaluation import GateFigures
    from lungsight.evaluation.assess import Assessment
    from lungsight.evaluation.predictions import Predictions
    from lungsight.metrics import Interval


def evaluate(
    data: DataOption,
    run: Annotated[
        Path | None, typer.Argument(help="Folder of a finished run, or cross-validated.", show_default=False)
    ] = None,
    shipped: Annotated[bool, typer.Option("--shipped", help="Judge the networks that come along.")] = False,
    predictions: Annotated[
        Path | None, typer.Option(help="Judge anybody's scores: a CSV with id and probability.")
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(
            help="Judge anybody's lung masks: a folder of PNGs named by id. With RUN: the lung run to apply."
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
            help="Folder for report, tables and figures; default: the run's, or its evaluation/ if cross-validated.",
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
        str | None, typer.Option(help="Other column names: finding=diagnosis,patient=subject.")
    ] = None,
    external_columns: Annotated[str | None, typer.Option(help="The same for --external.")] = None,
) -> None:
    """Judge a model on what it did not learn from; every figure with a 95 % interval over patients.

    The model is a RUN, --shipped, --predictions or --masks. Writes report.html, metrics.json, predictions.csv,
    tables/ and the CLAIM and TRIPOD+AI checklists (claim.md, claim.json).
    Exit code 0: all done; 1: some images could not be used; 2: nothing could be judged.
    """
    applied = masks if run is not None else None
    chosen = [run, predictions, masks if run is None else None]
    if sum(one is not None for one in chosen) + shipped != 1:
        raise ConfigError("give one model: a RUN, --shipped, --predictions CSV or --masks FOLDER")
    if out is None and run is None:
        raise ConfigError("--out is needed where the model is no run", hint="Name a folder for the report")
    need_training()
    from lungsight import provenance
    from lungsight.cli.data import parse_columns, progress_bar
    from lungsight.dataset import read_dataset
    from lungsight.evaluation import predictions as reading
    from lungsight.evaluation.assess import assess
    from lungsight.evaluation.crossvalidation import fold_folders
    from lungsight.report.claim_answers import fill_in
    from lungsight.report.evaluation_report import Evaluated, write_evaluation
    from lungsight.training import load_run

    folds = fold_folders(run) if run is not None else []
    # A cross-validated folder's own metrics.json holds the calibration that an export needs.
    folder = out or (run / "evaluation" if run is not None and folds else run) or Path()
    dataset = read_dataset(data, columns=parse_columns(columns))
    if run is not None and not folds and load_run(run)[0].task == "gate":
        _evaluate_gate(run, dataset, part, threshold, cache)
        return

    def predict(table: Dataset, which: str | None) -> Predictions:
        with progress_bar("Judging") as progress:
            if run is not None:
                return reading.predict_run(
                    run, table, part=which, threshold=threshold, mask_run=applied, cache=cache
                )
            if predictions is not None:
                return reading.read_probabilities(predictions, table, threshold=threshold)
            if masks is not None:
                return reading.read_masks(masks, table, progress=progress)
            return reading.predict_bundle(table, threshold=threshold, progress=progress)

    second = reading.predict_any(Path(compare), dataset, cache=cache) if compare else None
    assessment = assess(predict(dataset, part), second)
    found = None
    if external is not None:
        if run is None and not shipped:
            raise ConfigError("--external needs a model to run: a RUN or --shipped")
        other = assess(predict(read_dataset(external, columns=parse_columns(external_columns)), "all"))
        found = _external(external, other)
    model = "shipped" if shipped else run or predictions
    audited = _audit(audit or (run / "audit" if run else None), model, required=audit is not None)
    facts = provenance.describe(seed=0, data=dataset.fingerprint(), command=command_line())
    items = fill_in(assessment, dataset, facts, run=run, external=bool(found), audited=bool(audited))
    report = write_evaluation(
        folder, Evaluated(assessment, items, facts, dataset.root.resolve().name, audited, found)
    )
    _print(assessment)
    for warning in assessment.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"95 % intervals by bootstrap over patients; {report}")
    if run is not None and assessment.diagnosis and not audited:
        print(f"next: lungsight audit {shlex.quote(str(run))} --data {shlex.quote(str(data))} --quick")
    if name_left_out(dataset, assessment.predicted.failures):
        raise typer.Exit(1)


def _external(path: Path, assessment: Assessment) -> tuple[str, Interval]:
    if assessment.diagnosis is None:
        raise DataError("gives no external AUROC: the model has no COVID-19 score", where=path)
    return f"{path.resolve().name}, {len(assessment.scored)} images", assessment.diagnosis.figures["auroc"]


def _audit(folder: Path | None, model: str | Path | None, *, required: bool) -> Found | None:
    """The model's audit; one that is merely found beside the run, and is not of this model, is left out with a word."""
    from lungsight.audit import model_hash, read_audit

    if folder is None or model is None or not (required or (folder / "audit.json").is_file()):
        return None
    try:
        return read_audit(folder, model_hash(model))
    except DataError as error:
        if required:
            raise
        print(f"warning: {error}; left out", file=sys.stderr)
        return None


def _print(assessment: Assessment) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(markup=False, highlight=False)
    predicted = assessment.predicted
    console.print(f"{predicted.name}, {predicted.part}: {len(predicted.rows)} images", soft_wrap=True)
    if assessment.masks is not None:
        table = Table("", "per image", "pooled")
        for name, interval in assessment.masks.per_image.items():
            table.add_row(name, str(interval), str(assessment.masks.pooled.get(name, "")))
        console.print(table)
    figures = assessment.diagnosis
    if figures is not None:
        table = Table("", "value")
        for name, interval in figures.figures.items():
            table.add_row(name.replace("_", " "), str(interval))
        table.add_row("accuracy of the commoner class", f"{figures.majority_accuracy:.3f}")
        same = str(figures.same_source) if figures.same_source else "no source has both classes"
        table.add_row(f"same-source AUROC ({figures.same_source_images} images)", same)
        table.add_row("threshold", f"{figures.threshold:g}")
        console.print(table)
    if assessment.comparison is not None:
        table = Table("difference", "value", "p")
        for name, test in assessment.comparison.tests.items():
            table.add_row(name, str(test.difference), f"{test.p_value:.3g}")
        console.print(table)


def _evaluate_gate(
    run: Path, dataset: Dataset, part: str | None, threshold: float | None, cache: Path | None
) -> None:
    """A gate has figures of its own, and no report: which X-rays pass, and which other pictures are refused."""
    from lungsight.evaluation import evaluate_gate

    figures = evaluate_gate(run, dataset, part=part, threshold=threshold, cache=cache)
    _print_gate(run, figures)
    if name_left_out(dataset, figures.failures):
        raise typer.Exit(1)


def _print_gate(run: Path, figures: GateFigures) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("", "share", "of", title=f"gate, {figures.part} part: {figures.images} X-rays")
    for verb, shares in (("pass", figures.passed), ("refused", figures.refused)):
        for name, share in shares.items():
            table.add_row(f"{verb}: {name}", str(share), str(share.n))
    Console().print(table)
    print(f"threshold {figures.threshold:g}; 95 % intervals by Wilson; in {run}/metrics.json")
