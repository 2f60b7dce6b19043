"""Where the files of a data set lie, whatever became of their names on the way."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from urllib.parse import unquote

from lungsight.errors import DataError


class Files:
    """Finds files below a folder by the names that a table gives; each folder is listed once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._listed: dict[Path, dict[str, str | None]] = {}

    def find(self, name: str, *, folder: str = "") -> Path | None:
        """The file, or None.

        The name is taken as written; else with `%20` and the like decoded, in either Unicode form (a Mac writes
        'e' and an accent as two), with the other slash, or in another case where that is one file only.

        Args:
            name: as the table has it; absolute as written, relative only within the root.
            folder: below the root, to look in.

        Raises:
            DataError: the name is empty or leads out of the root.
        """
        path = inside(self._root, f"{folder}/{name}" if folder and name else name)
        if _is_file(path):
            return path
        for written in dict.fromkeys((name, unquote(name), name.replace("\\", "/"))):
            try:
                path = inside(self._root, f"{folder}/{written}" if folder else written)
            except DataError:
                continue
            found = self._listing(path.parent).get(_key(path.name))
            if found is not None and _is_file(path.parent / found):
                return path.parent / found
        return None

    def _listing(self, folder: Path) -> dict[str, str | None]:
        """Key of a name -> the name; None where several have it."""
        if folder not in self._listed:
            names: dict[str, str | None] = {}
            try:
                entries = sorted(entry.name for entry in folder.iterdir())
            except (OSError, ValueError):  # ValueError: a name that no file can have
                entries = []
            for entry in entries:
                names[_key(entry)] = None if _key(entry) in names else entry
            self._listed[folder] = names
        return self._listed[folder]


def inside(folder: Path, name: str) -> Path:
    """The file `name` of a data set in `folder`: absolute as written, relative only within the folder.

    Raises:
        DataError: the name is empty or leads out of the folder.
    """
    if not name or "\0" in name:
        raise DataError("no file is named")
    if Path(name).is_absolute():
        return Path(name)
    relative = Path(os.path.normpath(name))
    if relative.parts[:1] == (os.pardir,):
        raise DataError("the path leads out of the data folder", where=name)
    return folder / relative


def same_name(text: str) -> str:
    """A name for comparison: one Unicode form, one case, `%20` decoded."""
    return _key(unquote(text))


def _is_file(path: Path) -> bool:
    """False also for a name that is longer than the system allows, which `Path.is_file` raises for."""
    try:
        return path.is_file()
    except OSError:
        return False


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", unquote(name)).casefold()
