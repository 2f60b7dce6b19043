"""The command line in child processes that are stopped from outside.

To load PyTorch takes a child ten seconds of a core: one process loads it, and each child is forked from that.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from multiprocessing.connection import Connection
from typing import TextIO

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["lungsight.cli", "lungsight.training.train"])


def _run(words: tuple[str, ...], errors: Connection) -> None:
    os.dup2(errors.fileno(), 2)
    # A shell that runs tests in the background hands down an ignored Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from lungsight.cli import main

    sys.argv = ["lungsight", *words]
    main()


class Child:
    """`lungsight WORDS`, and what it writes to standard error."""

    def __init__(self, *words: str) -> None:
        self._reading, writing = CONTEXT.Pipe(duplex=False)
        self.process = CONTEXT.Process(target=_run, args=(words, writing))
        self.process.start()
        writing.close()
        self.errors: TextIO = os.fdopen(os.dup(self._reading.fileno()), encoding="utf-8")

    def send(self, number: int) -> None:
        """A signal."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def end(self) -> tuple[int | None, str]:
        """Exit code, and what it still wrote."""
        rest = self.errors.read()
        self.process.join(400)
        self.errors.close()
        self._reading.close()
        return self.process.exitcode, rest
