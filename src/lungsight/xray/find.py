"""Files, folders and globs -> the X-rays in them, one at a time."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lungsight.errors import InputError

EXTENSIONS = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".dcm", ".dicom"))


@dataclass(frozen=True, slots=True)
class Found:
    """One file to read. `relative` is its path inside the folder that was given, or its name."""

    path: Path
    relative: Path


def find_inputs(
    paths: Sequence[str | Path], *, recursive: bool = True, problems: list[InputError] | None = None
) -> Iterator[Found]:
    """Yield the X-ray files that `paths` name, each once, folders in sorted order, without listing all first.

    A file that is named is taken whatever it is called. In a folder those are taken that have an extension
    of `EXTENSIONS`, or none and the DICM mark inside; hidden files and folders are passed over, and a
    folder that symbolic links reach twice (or in a loop) is visited once.

    Args:
        paths: files, folders or glob patterns (`**` too).
        recursive: go into the folders of a folder.
        problems: gathers what is missing, empty or unreadable; where None, the first such problem is raised.

    Raises:
        InputError: only where `problems` is None.
    """
    seen: set[bytes] = set()
    for given in paths:
        for path in _expand(given, problems):
            if path.is_dir():
                count = 0
                for found in _walk(path, path, recursive, set(), problems):
                    count += 1
                    if _new(found.path, seen):
                        yield found
                if not count:
                    _report(InputError("the folder holds no X-rays", where=path, hint=_HINT), problems)
            elif _new(path, seen):
                yield Found(path, Path(path.name))


_HINT = "PNG, JPEG, BMP, TIFF and DICOM files are looked for"


def _expand(given: str | Path, problems: list[InputError] | None) -> Iterator[Path]:
    """The path where it exists, even if it looks like a pattern; else what it matches as a pattern."""
    path = Path(given).expanduser()
    try:
        exists = path.exists()
    except (OSError, ValueError):
        exists = False
    if exists:
        yield path
        return
    is_pattern = glob.has_magic(str(path))
    # Path.glob takes no absolute pattern.
    matches = sorted(glob.glob(str(path), recursive=True)) if is_pattern else []  # noqa: PTH207
    if not matches:
        what = "nothing matches this pattern" if is_pattern else "there is no such file or folder"
        _report(InputError(what, where=given), problems)
    yield from map(Path, matches)


def _walk(
    folder: Path,
    root: Path,
    recursive: bool,
    visited: set[tuple[int, int]],
    problems: list[InputError] | None,
) -> Iterator[Found]:
    try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in visited:
            return
        visited.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            names = sorted(
                (entry.name, _is_folder(entry)) for entry in entries if not entry.name.startswith(".")
            )
    except OSError as error:
        _report(
            InputError(f"cannot be listed: {(error.strerror or str(error)).lower()}", where=folder), problems
        )
        return
    for name, is_folder in names:
        path = folder / name
        if is_folder:
            if recursive:
                yield from _walk(path, root, recursive, visited, problems)
        elif _is_candidate(path):
            yield Found(path, path.relative_to(root))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a symbolic link to itself
        return False


def _is_candidate(path: Path) -> bool:
    extension = path.suffix.lower()
    if extension in EXTENSIONS:
        return True
    # DICOM files are often named by their UID, whose last part looks like an extension.
    if extension and not extension[1:].isdigit():
        return False
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _new(path: Path, seen: set[bytes]) -> bool:
    """Whether the file behind the path comes up for the first time. 8 bytes a file are kept."""
    import hashlib

    key = hashlib.blake2b(os.fsencode(os.path.realpath(path)), digest_size=8).digest()
    if key in seen:
        return False
    seen.add(key)
    return True


def _report(problem: InputError, problems: list[InputError] | None) -> None:
    if problems is None:
        raise problem
    problems.append(problem)
