"""The command line without a new process: PyTorch is imported once."""

from __future__ import annotations

import contextlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from lungsight.cli import main


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


def lungsight(*arguments: str | Path) -> Done:
    """Run `lungsight ARGUMENTS` through its entry point; an error other than its own escapes and fails the test."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with (
        mock.patch.object(sys, "argv", ["lungsight", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    return Done(code, out.getvalue(), err.getvalue())
