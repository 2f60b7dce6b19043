"""Large tensors in memory that the process has already."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # glibc's numbers, malloc.h
_GLIBC_MMAP_MAX, _GLIBC_TRIM_THRESHOLD = 65_536, 128 * 1024


@contextmanager
def kept_memory(device: str) -> Iterator[None]:
    """Within it, what a tensor on a CPU leaves is kept for the next one, and given back at the end.

    glibc asks Linux for every block over 32 MiB anew and hands it back when it is freed, so that each such tensor of
    each step is filled with zeros, page by page, before anything is written to it: at full width a fifth of the time of
    the paper's U-Net. Where there is no glibc, and on other processors, nothing is changed.

    Args:
        device: 'cpu', or another kind of processor.
    """
    libc = _glibc() if device == "cpu" else None
    if libc is None:
        yield
        return
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        libc.mallopt(_MMAP_MAX, _GLIBC_MMAP_MAX)
        libc.mallopt(_TRIM_THRESHOLD, _GLIBC_TRIM_THRESHOLD)
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None
