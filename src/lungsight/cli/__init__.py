"""The command line: one Typer command a verb. Parses, calls, prints, maps errors to exit codes; no logic."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from lungsight import __version__
from lungsight.cli import console, data
from lungsight.cli.audit import audit
from lungsight.cli.benchmark import benchmark
from lungsight.cli.check import check
from lungsight.cli.dicom_node import dicom_node
from lungsight.cli.dicom_web import dicom_web
from lungsight.cli.evaluate import evaluate
from lungsight.cli.explain import explain
from lungsight.cli.export import cross_validate, export
from lungsight.cli.fit_outliers import fit_outliers
from lungsight.cli.fit_severity import fit_severity
from lungsight.cli.keras import import_keras
from lungsight.cli.predict import predict, start_ahead
from lungsight.cli.reproduce import reproduce
from lungsight.cli.serve import serve
from lungsight.cli.train import train
from lungsight.cli.uncertainty import uncertainty
from lungsight.errors import LungsightError

# Plain help: Rich's is cut where a terminal, or a file, is narrow.
app = typer.Typer(
    name="lungsight",
    help="Lung masks and an honest COVID-19 score for frontal chest X-rays. Research use only, not for diagnosis.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
for command in (
    predict,
    serve,
    dicom_node,
    dicom_web,
    explain,
    train,
    cross_validate,
    evaluate,
    audit,
    export,
    fit_severity,
    fit_outliers,
    import_keras,
    reproduce,
    check,
    benchmark,
    uncertainty,
):
    app.command(short_help=console.first_sentence(command))(console.shared(command))
for registered in data.app.registered_commands:
    if registered.callback is not None:
        registered.short_help = console.first_sentence(registered.callback)
        registered.callback = console.shared(registered.callback)
DATA = "Describe, convert and draw data sets."
app.add_typer(data.app, name="data", help=DATA, short_help=DATA)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"lungsight {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Lung masks and an honest COVID-19 score for frontal chest X-rays. Research use only, not for diagnosis."""


def main() -> None:
    """Entry point: a `LungsightError` is one line on standard error and an exit code, never a traceback."""
    console.set_level(console.Level.NORMAL)
    try:
        if sys.argv[1:2] == ["predict"]:
            start_ahead(sys.argv[2:])
        app()
    except LungsightError as error:
        print(f"lungsight: {error}", file=sys.stderr)
        if console.level() is console.Level.VERBOSE:
            print(console.trace(error), file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("lungsight: stopped", file=sys.stderr)
        sys.exit(130)
