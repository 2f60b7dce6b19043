"""One protocol of progress for everything that takes long."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol


class ProgressCallback(Protocol):
    """Called as work goes on.

    Args:
        done: units finished so far, from 0.
        total: units in all; 0 where not known yet.
        what: what is being done, in a few words, e.g. 'decoding'.
    """

    def __call__(self, done: int, total: int, what: str = "") -> None: ...


def silent(done: int, total: int, what: str = "") -> None:
    """Progress that nobody watches."""


_STOPPING = b"\nlungsight: stopping after what is being done; Ctrl-C again stops at once\n"


@contextmanager
def stopping_between_steps(progress: ProgressCallback, work: str) -> Iterator[ProgressCallback]:
    """Ctrl-C ends the work called `work` where its next step is told; a second one, and any before it, at once.

    An exception in the middle of a step may be lost: libraries in C that look a thing up in Python take any for 'is
    not there' (msgspec, of an enum). In the main thread alone, and where Ctrl-C has its usual meaning.

    Yields:
        What is to be told of each step, which tells `progress`.
    """
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if threading.current_thread() is not threading.main_thread() or not usual:
        yield progress
        return
    under_way = asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked or not under_way:
            raise KeyboardInterrupt
        asked = True
        os.write(2, _STOPPING)  # a signal may come in the middle of a print

    def step(done: int, total: int, what: str = "") -> None:
        nonlocal under_way, asked
        if asked:
            under_way = asked = False  # what is done is told yet, on the way out
            raise KeyboardInterrupt
        under_way = what == work
        progress(done, total, what)

    signal.signal(signal.SIGINT, ask)
    try:
        yield step
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
