"""Memory that this program and a decoding process both see, so that neither pushes megabytes through a pipe.

Linux alone has it in this form (man 2 memfd_create); elsewhere, and for what is larger, the pipe is used.
"""

from __future__ import annotations

import mmap
import os
from typing import Any

SIZE = 32 * 2**20
"""Bytes; pages that are never written take no memory."""


def make() -> tuple[mmap.mmap, int] | None:
    """New memory and the number of its file, which the other process inherits; None where the system has none.

    Nobody can make it smaller afterwards: reading what is no longer there would end this program.
    """
    number = -1
    try:
        import fcntl

        system: Any = os
        number = system.memfd_create("lungsight", system.MFD_CLOEXEC | system.MFD_ALLOW_SEALING)
        if number < 3:  # a program without standard input or output: those numbers are the pipes of the other
            low, number = number, fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3)
            os.close(low)
        os.ftruncate(number, SIZE)
        seals: Any = fcntl
        fcntl.fcntl(number, seals.F_ADD_SEALS, seals.F_SEAL_SHRINK | seals.F_SEAL_GROW | seals.F_SEAL_SEAL)
        return mmap.mmap(number, SIZE), number
    except (ImportError, AttributeError, OSError, ValueError):
        if number >= 0:
            os.close(number)
        return None


def take(number: int) -> mmap.mmap:
    """The memory, in the process that inherited its file; the file is closed."""
    try:
        return mmap.mmap(number, SIZE)
    finally:
        os.close(number)
