"""The command line: one Typer command a verb. Parses, calls, prints, maps errors to exit codes; no logic."""

from __future__ import annotations

import sys

import typer

from lungsight.cli import data
from lungsight.cli.audit import audit
from lungsight.cli.evaluate import evaluate
from lungsight.cli.explain import explain
from lungsight.cli.export import cross_validate, export
from lungsight.cli.predict import predict
from lungsight.cli.reproduce import reproduce
from lungsight.cli.serve import serve
from lungsight.cli.train import train
from lungsight.errors import LungsightError

app = typer.Typer(
    name="lungsight",
    help="Lung masks and an honest COVID-19 score for frontal chest X-rays. Research use only, not for diagnosis.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (predict, serve, explain, train, cross_validate, evaluate, audit, export, reproduce):
    app.command()(command)
app.add_typer(data.app, name="data", help="Describe, convert and draw data sets.")


def main() -> None:
    """Entry point: a `LungsightError` is one line on standard error and an exit code, never a traceback."""
    try:
        app()
    except LungsightError as error:
        print(f"lungsight: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("lungsight: stopped", file=sys.stderr)
        sys.exit(130)
