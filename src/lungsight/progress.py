"""One protocol of progress for everything that takes long."""

from __future__ import annotations

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
