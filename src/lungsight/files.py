"""Writing results: whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lungsight.errors import OutputError


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Give a temporary path in the same folder; move it to `path` when the block ends without an error.

    The folder is made if need be. A reader never sees half a file, and a full disk leaves the old one.

    Raises:
        OutputError: no permission, no space, or `path` is a folder.
    """
    target = Path(path)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=target.parent, prefix=f".{target.name[:40]}.", suffix=target.suffix
        )
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    except OSError as error:
        if (file := _file_in_the_way(target.parent)) is not None:
            raise OutputError(
                "cannot be written: a file stands where a folder is needed",
                code="not_a_folder",
                where=file,
                hint="Choose another folder",
            ) from error
        reason = error.strerror or str(error)
        raise OutputError(
            f"cannot be written: {reason.lower()}",
            where=target,
            hint="Free some space or choose another folder",
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _file_in_the_way(folder: Path) -> Path | None:
    """What is no folder among a folder and those above it."""
    there = next((place for place in (folder, *folder.parents) if place.exists()), None)
    return there if there is not None and not there.is_dir() else None


class AtomicStream:
    """A UTF-8 text file that grows over a long run and takes its place when it is closed.

    Raises:
        OutputError: no permission or no space, here and from each method.
    """

    def __init__(self, path: str | Path) -> None:
        self._context = atomic_write(path)
        self._temporary = self._context.__enter__()
        self._file = self._temporary.open("w", encoding="utf-8", newline="")
        self._failed = False

    def write(self, text: str) -> None:
        """Append."""
        try:
            self._file.write(text)
        except OSError as error:
            self._fail(error)

    def close(self) -> None:
        """Move the file to its place; nothing where writing failed before."""
        if self._failed:
            return
        try:
            self._file.close()
        except OSError as error:
            self._fail(error)
        self._context.__exit__(None, None, None)

    def _fail(self, error: OSError) -> None:
        self._failed = True
        # Raises the OutputError that stands for it.
        self._context.__exit__(type(error), error, error.__traceback__)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file whole or not at all; raises OutputError."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text whole or not at all; raises OutputError."""
    write_bytes(path, text.encode())


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON whole or not at all. NaN becomes null, since JSON has no NaN; raises OutputError."""
    write_text(path, json.dumps(_no_nan(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _no_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _no_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_no_nan(item) for item in value]
    if hasattr(value, "tolist"):
        return _no_nan(value.tolist())
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return str(value) if isinstance(value, Path) else value


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
