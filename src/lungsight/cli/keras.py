"""`lungsight import-keras`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from lungsight.cli.train import command_line, need_training


def import_keras(
    file: Annotated[
        Path, typer.Argument(help="A Keras file of the paper's U-Net or CNN: .h5, .weights.h5 or .keras.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the run that is made of it.")],
) -> None:
    """Make a run of a Keras file, without Keras or TensorFlow. Nothing in the file is run."""
    need_training()
    from lungsight.training.keras_runs import import_keras as run

    found = run(file, out, command=command_line())
    height, width = found.size
    print(f"{found.name}, width {found.width:g}, input {height} x {width} x {found.channels}, in {out}")
    print(f"next: lungsight evaluate {shlex.quote(str(out))} --data PATH --part all")
