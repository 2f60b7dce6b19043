"""Files, folders and globs -> the X-rays in them, one at a time, told by their content."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lungsight.errors import InputError, PassedOverError
from lungsight.xray.dicom_kind import class_in_head, no_image
from lungsight.xray.sniff import HEAD, IMAGE_SUFFIXES, describe, sniff


@dataclass(frozen=True, slots=True)
class Found:
    """One file to read. `relative` is its path inside the folder that was given, or its name."""

    path: Path
    relative: Path


def find_inputs(
    paths: Sequence[str | Path],
    *,
    recursive: bool = True,
    problems: list[InputError] | None = None,
    passed_over: list[PassedOverError] | None = None,
) -> Iterator[Found]:
    """Yield the X-ray files that `paths` name, each once, folders in sorted order, without listing all first.

    A file that is named is taken whatever it is. In a folder each file is told by its first bytes, whatever its name:
    what is no image is passed over. Hidden files and folders are left out, a folder that symbolic links reach twice
    (or in a loop) is visited once, and nothing that lies in a folder ends the search.

    Args:
        paths: files, folders or glob patterns (`**` too).
        recursive: go into the folders of a folder.
        problems: gathers what is missing, empty or unreadable; where None, the first such problem is raised.
        passed_over: gathers the files of folders that hold no image, with the reason.

    Raises:
        InputError: only where `problems` is None.
    """
    seen: set[bytes] = set()
    for given in paths:
        for path in _expand(given, problems):
            if _is_folder(path):
                count = 0
                for found in _walk(path, path, recursive, set(), problems, passed_over):
                    count += 1
                    if _new(found.path, seen):
                        yield found
                if not count:
                    _report(
                        InputError("the folder holds no X-rays", code="no_xrays", where=path, hint=_HINT),
                        problems,
                    )
            elif _new(path, seen):
                yield Found(path, Path(path.name))


_HINT = "PNG, JPEG, BMP, TIFF and DICOM files are looked for"


def _expand(given: str | Path, problems: list[InputError] | None) -> Iterator[Path]:
    """The path where it exists, even if it looks like a pattern; else what it matches as a pattern."""
    try:
        path = Path(given).expanduser()
    except RuntimeError:  # '~nobody'
        path = Path(given)
    try:
        os.lstat(path)
        exists = True
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
        _report(InputError(what, code="missing", where=given), problems)
    yield from map(Path, matches)


def _walk(
    folder: Path,
    root: Path,
    recursive: bool,
    visited: set[tuple[int, int]],
    problems: list[InputError] | None,
    passed_over: list[PassedOverError] | None,
) -> Iterator[Found]:
    try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in visited:
            return
        visited.add((status.st_dev, status.st_ino))
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))  # noqa: PTH208
    except OSError as error:
        reason = (error.strerror or "an error of the system").lower()
        _report(InputError(f"cannot be listed: {reason}", code="unreadable", where=folder), problems)
        return
    for name in names:
        path = folder / name
        if _is_folder(path):
            if recursive:
                yield from _walk(path, root, recursive, visited, problems, passed_over)
            continue
        reason = _no_xray(path)
        if not reason:
            yield Found(path, path.relative_to(root))
        elif passed_over is not None:
            passed_over.append(PassedOverError(reason, code="no_image", where=path))


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (OSError, ValueError):  # a symbolic link to itself, or to nothing
        return False


def _no_xray(path: Path) -> str:
    """Why a file in a folder is passed over; '' where it is to be read, if only to learn what is wrong with it."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return "not an ordinary file"
        with path.open("rb") as file:
            head = file.read(HEAD)
    except PermissionError:
        return ""
    except (OSError, ValueError):
        return "a link that leads nowhere" if path.is_symlink() else ""
    kind = sniff(head)
    if kind.startswith("DICOM"):
        what = no_image(class_in_head(head))
        return f"holds no image: it is {what}" if what else ""
    if kind or path.suffix.lower() in IMAGE_SUFFIXES:
        return ""
    return f"holds no X-ray that can be read: it is {describe(head)}" if head else "the file is empty"


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
