"""`lungsight check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def check(
    model: Annotated[
        Path | None, typer.Option(help="Folder with other networks (NAME.onnx and NAME.json).")
    ] = None,
    write: Annotated[
        bool,
        typer.Option("--write", help="Keep what --model gives here as what it should give from now on."),
    ] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="Cores to use; default: all.")] = None,
) -> None:
    """Does this installation give what it should? Masks of drawn X-rays against those kept with the networks.

    Exit code 0: it does; 1: it does not; 2: there is nothing to compare with.
    """
    from lungsight.errors import ConfigError
    from lungsight.inference import selfcheck

    if write:
        if model is None:
            raise ConfigError("--write needs --model, the folder of the networks")
        print(f"written: {selfcheck.write_expected(model, threads=threads)}")
        return
    found = selfcheck.check(model, threads=threads)
    for one in found:
        print(f"{'ok  ' if one.passed else 'WRONG'} {one.case:14} {one.marked:8} Dice {one.dice:.4f}")
    wrong = sum(not one.passed for one in found)
    print(f"{len(found) - wrong} of {len(found)} as they should be")
    if wrong:
        raise typer.Exit(1)
