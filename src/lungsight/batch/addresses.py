"""What lies at an address (`s3://`, `https://` ...), read by fsspec within a stated time.

The packages below fsspec have limits of their own: some wait for five minutes, some for each byte as long as for the
first, some ask five times. So every step waits here for `answer_seconds()` at most, whatever is asked below it.
"""

from __future__ import annotations

import os
import threading
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, TypeVar

from lungsight.errors import ConfigError, InputError, MissingExtraError, require

T = TypeVar("T")

ANSWER_SECONDS = 60.0
"""For a first answer, and for each piece of a file; `LUNGSIGHT_ADDRESS_SECONDS` sets another."""
LISTING_SECONDS = 3600.0
"""For the names of all files below an address that gave a first answer; millions of them take many answers."""
PIECE = 4 * 2**20
"""Bytes that have to come within the time of an answer: 70 kB/s at 60 s, a tenth of a slow line."""
MOST_UNENDED = 16
"""Steps whose time was over and that have not ended yet; with so many nothing further is asked."""

_unended: list[threading.Thread] = []
_lock = threading.Lock()


def answer_seconds() -> float:
    """How long a store may take for an answer.

    Raises:
        ConfigError: the environment sets a time that is none.
    """
    told = os.environ.get("LUNGSIGHT_ADDRESS_SECONDS", "")
    try:
        seconds = float(told or ANSWER_SECONDS)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < threading.TIMEOUT_MAX:
        raise ConfigError(
            "the time for an answer must be a number of seconds above 0", where="LUNGSIGHT_ADDRESS_SECONDS"
        )
    return seconds


def in_time(work: Callable[[], T], where: str, seconds: float | None = None) -> T:
    """What `work` returns, or its error, if it comes in time.

    Work whose time is over cannot be stopped from here. It is left to itself, in a thread that does not keep the
    process from ending, and its answer is dropped.

    Args:
        work: asks the store at an address.
        where: the address, for the message.
        seconds: None: those of one answer.

    Raises:
        InputError: it did not come in time, or too much that was asked before has not ended yet.
    """
    seconds = answer_seconds() if seconds is None else seconds
    with _lock:
        _unended[:] = [thread for thread in _unended if thread.is_alive()]
        if len(_unended) >= MOST_UNENDED:
            raise InputError(
                "its store has left too many requests without an answer", code="unreachable", where=where
            )
    answer: Future[T] = Future()

    def ask() -> None:
        try:
            answer.set_result(work())
        except BaseException as error:
            answer.set_exception(error)

    thread = threading.Thread(target=ask, name="lungsight-address", daemon=True)
    thread.start()
    # Not by `result(seconds)`: what was asked may itself end with a TimeoutError.
    if not wait([answer], seconds).done:
        with _lock:
            _unended.append(thread)
        raise InputError(
            f"no answer within {seconds:g} seconds",
            code="unreachable",
            where=where,
            hint="Try again with --resume; LUNGSIGHT_ADDRESS_SECONDS sets another time",
        )
    return answer.result()


def file_system(address: str) -> tuple[Any, str]:
    """fsspec's file system for an address, and the name of what lies there.

    Raises:
        MissingExtraError: fsspec, or what it needs for such addresses, is not installed.
        InputError: it cannot be reached.
    """
    core = require("fsspec.core", feature="Reading from an address", extra="cluster")
    try:
        # Also this may ask: where to get rights from.
        files, inner = in_time(lambda: core.url_to_fs(address), address)
    except ImportError as error:
        protocol = address.partition("://")[0]
        raise MissingExtraError(
            f"addresses of {protocol}:// need a package that is not installed",
            where=protocol,
            hint="Install s3fs for s3://, gcsfs for gs://, aiohttp for https://",
        ) from error
    except InputError:
        raise
    except Exception as error:
        raise unreadable(error, address) from error
    return files, str(inner)


def read_address(address: str, size: int) -> bytes:
    """The bytes at an address, `size` at most; all where it is below 0.

    Raises:
        InputError: the store does not answer in time, or sends less than 4 MiB in that time.
        MissingExtraError: as `file_system`.
        Exception: whatever the store's package raises.
    """
    files, inner = file_system(address)
    # Blocks smaller than a piece: what is read ahead has to come in the same time.
    file = in_time(lambda: files.open(inner, "rb", block_size=PIECE // 4), address)
    pieces: list[bytes] = []
    left = size if size >= 0 else None
    while left is None or left > 0:
        wanted = PIECE if left is None else min(PIECE, left)
        piece = in_time(lambda wanted=wanted: _filled(file, wanted), address)  # type: ignore[misc]
        pieces.append(piece)
        if len(piece) < wanted:
            break
        left = None if left is None else left - len(piece)
    # Not after an error: what did not end may still be reading from it.
    in_time(file.close, address)
    return b"".join(pieces)


def _filled(file: Any, size: int) -> bytes:
    # Of a file whose length is not known a read gives what came so far, be it one byte.
    parts: list[bytes] = []
    while size > 0 and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def unreadable(error: Exception, name: str) -> InputError:
    """What is told of an input that a package could not read."""
    if isinstance(error, FileNotFoundError | KeyError):
        return InputError("there is no such file", code="missing", where=name)
    if isinstance(error, PermissionError):
        return InputError("may not be read: permission denied", code="permission", where=name)
    if isinstance(error, zipfile.BadZipFile | zlib.error | EOFError):
        return InputError("the archive is damaged or cut short", code="damaged", where=name)
    if isinstance(error, RuntimeError | NotImplementedError):
        return InputError(
            "is encrypted, or packed in a way that is not supported", code="unsupported", where=name
        )
    return InputError("cannot be reached or read", code="unreachable", where=name, detail=str(error))
