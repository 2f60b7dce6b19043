"""COVIDx: lists without a header, `patient file label source`, beside `data/train` and `data/test`."""

from __future__ import annotations

import re
from pathlib import Path

from lungsight.dataset.cells import Cells
from lungsight.dataset.readers.common import Collector, Pictures, folder_of, with_cells
from lungsight.dataset.table import Dataset
from lungsight.errors import DataError
from lungsight.wording import Exclusion

NAME = "covidx"
_FILE = re.compile(r"^(train|test|val)(?:_split)?_?(?:COVIDx|split)\w*(?:[-_.]\w+)*\.txt$", re.IGNORECASE)
_LABELS = {
    "normal": ("normal", False),
    "pneumonia": ("pneumonia", False),
    "covid-19": ("COVID-19", True),
    "negative": ("", False),
    "positive": ("COVID-19", True),
}
_SOURCES = {"rnsa": "rsna"}
_IMAGE = re.compile(r"\S+\.(?:png|jpe?g)$", re.IGNORECASE)
_MAX_BYTES = 64 * 2**20


def recognise(path: Path) -> bool:
    """Whether the path is such a list, or a folder with one."""
    return bool(_lists(path))


def read(path: Path) -> Dataset:
    """Lines are read from the right, since patients and files of `sirm` have blanks in them.

    The source of a row is the collection that COVIDx took it from; some lists of the first versions have none.

    Raises:
        DataError: several lists for one part, of different versions.
    """
    lists = _lists(path)
    parts = [_part(file) for file in lists]
    if len(set(parts)) < len(parts):
        names = ", ".join(file.name for file in lists[:6])
        raise DataError(f"lists of several versions: {names}", where=path, hint="Give one of the files")
    root = folder_of(path)
    pictures = Pictures(root)
    found = Collector(root, NAME, NAME)
    for file, part in zip(lists, parts, strict=True):
        if file.stat().st_size > _MAX_BYTES:
            raise DataError("the list is too large", where=file)
        for number, text in enumerate(file.read_text("utf-8-sig", "replace").splitlines(), 1):
            if not text.strip():
                continue
            where = f"{file.name}, line {number}"
            entry = _entry(text)
            if entry is None:
                found.leave_out(where, Exclusion.UNREADABLE, where, broken=True)
                continue
            patient, name, label, source = entry
            finding, covid = _LABELS[label]
            found.add(
                f"{part}/{name}",
                pictures.at(f"{part}/{name}") or pictures.named(name),
                where=where,
                finding=finding,
                covid=covid,
                patient=f"{source or NAME}-{patient}",
                source=source or NAME,
                extra=with_cells(Cells.of({}), split=part),
            )
    return found.dataset()


def _entry(text: str) -> tuple[str, str, str, str] | None:
    """(patient, file, label, source); None for a line that is none."""
    words = text.split()
    source = ""
    if len(words) > 3 and words[-2].lower() in _LABELS:
        source = words.pop().lower()
    if len(words) < 3 or words[-1].lower() not in _LABELS:
        return None
    label = words.pop().lower()
    # What is left is a patient and a file; the file is the last word, whatever blanks the patient has.
    name = words.pop()
    if not _IMAGE.match(name) or not words:
        return None
    return " ".join(words), name, label, _SOURCES.get(source, source)


def _lists(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if _FILE.match(path.name) else []
    places = (path, path / "labels")
    files = [file for place in places if place.is_dir() for file in place.iterdir()]
    return sorted(file for file in files if file.is_file() and _FILE.match(file.name))


def _part(file: Path) -> str:
    match = _FILE.match(file.name)
    return match[1].lower() if match else ""
