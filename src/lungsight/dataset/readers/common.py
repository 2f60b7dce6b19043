"""What the readers of public collections share: tables told by their headers, images by name, rows collected."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lungsight.dataset.cells import Cells
from lungsight.dataset.finding import is_covid
from lungsight.dataset.locate import same_name
from lungsight.dataset.masks import MaskFile
from lungsight.dataset.readers.delimited import Table, load_table
from lungsight.dataset.table import Dataset, Excluded, Note, Row, is_image_file
from lungsight.errors import DataError
from lungsight.wording import DataNote, Exclusion, Label, View
from lungsight.xray.views import SLICES, is_frontal, view_code

TABLE_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt")
_HEAD_BYTES = 1 << 16


class Layout(Protocol):
    """A module that reads one layout."""

    NAME: str

    def recognise(self, path: Path) -> bool:
        """Whether a folder, or a table, is of this layout; by what is in it, cheaply."""

    def read(self, path: Path) -> Dataset:
        """Its table; raises DataError where a part of the layout is not there."""


def tables(path: Path, *, depth: int = 1) -> Iterator[Path]:
    """The tables in a folder and `depth` levels below, in order; or the path itself."""
    if path.is_file():
        yield path
        return
    level = [path]
    for _ in range(depth + 1):
        deeper: list[Path] = []
        for folder in level:
            try:
                entries = sorted(folder.iterdir())
            except OSError:
                continue
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.name.lower().endswith(TABLE_SUFFIXES):
                    yield entry
                elif not entry.suffix and len(deeper) < 2000:
                    deeper.append(entry)
        level = [folder for folder in deeper if folder.is_dir()]


def header(path: Path) -> frozenset[str]:
    """The column names of a table, from its beginning alone; empty where it cannot be read."""
    import csv
    import gzip

    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            start = file.read(_HEAD_BYTES)
    except (OSError, EOFError):
        return frozenset()
    encoding = "utf-16" if start.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8"
    line = start.decode(encoding, "replace").lstrip("\ufeff").splitlines()[:1]
    plain = re.sub(r'"[^"]*"', "", line[0]) if line else ""
    delimiter = max(",;\t", key=plain.count)
    try:
        return frozenset(name.strip() for name in next(csv.reader(line, delimiter=delimiter), []))
    except csv.Error:
        return frozenset()


def find_tables(path: Path, *columns: str, depth: int = 1) -> list[Path]:
    """The tables that have all these columns."""
    return [table for table in tables(path, depth=depth) if set(columns) <= header(table)]


def one_table(path: Path, *columns: str, what: str) -> Table:
    """The only table with these columns.

    Raises:
        DataError: there is none, or several.
    """
    found = find_tables(path, *columns)
    if not found:
        raise DataError(
            f"the layout is half there: {what} is missing",
            where=path,
            hint=f"A table with: {', '.join(columns)}",
        )
    if len(found) > 1:
        names = ", ".join(table.name for table in found[:5])
        raise DataError(f"several tables could be {what}: {names}", where=path, hint="Give one of them")
    return load_table(found[0])


def column(record: Mapping[str, str], *names: str) -> str:
    """The first of these columns that the table has; spelling of case, blanks and `_` does not matter.

    Raises:
        DataError: it has none of them.
    """
    for name in names:
        if name in record:
            return record[name]
    loose = {re.sub(r"[\W_]+", "", name).lower(): name for name in record}
    for name in names:
        key = re.sub(r"[\W_]+", "", name).lower()
        if key in loose:
            return record[loose[key]]
    raise DataError(f"the table has no column {names[0]!r}", hint=f"It has: {', '.join(list(record)[:30])}")


def folder_of(path: Path) -> Path:
    """The data set's folder, where the table itself was given."""
    return path if path.is_dir() else path.parent


class Pictures:
    """All image files below a folder, found by path or by name."""

    def __init__(self, root: Path, suffixes: Iterable[str] = ()) -> None:
        """`suffixes` beyond those of images, in lower case, such as `.img`."""
        self.root = root
        self._paths: dict[str, Path] = {}
        self._named: dict[str, list[Path]] = defaultdict(list)
        further = frozenset(suffixes)
        for folder, folders, files in os.walk(root, followlinks=False):
            folders.sort()
            for name in sorted(files):
                path = Path(folder, name)
                if path.suffix.lower() in further or is_image_file(path):
                    self._paths[same_name(path.relative_to(root).as_posix())] = path
                    self._named[same_name(path.name)].append(path)
                    self._named[same_name(path.stem)].append(path)

    def at(self, path: str) -> Path | None:
        """The file at this path, of which leading folders may be missing on disk or be missing in the path."""
        parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..")]
        for start in range(len(parts)):
            if (found := self._paths.get(same_name("/".join(parts[start:])))) is not None:
                return found
        return None

    def named(self, name: str) -> Path | Exclusion:
        """The file of this name, or stem, in any folder, or why there is none: missing, or several."""
        found = list(dict.fromkeys(self._named.get(same_name(name), ())))
        return found[0] if len(found) == 1 else Exclusion.AMBIGUOUS if found else Exclusion.IMAGE_MISSING

    def every(self) -> list[Path]:
        """All of them, sorted."""
        return sorted(self._paths.values())


@dataclass(frozen=True, slots=True)
class MaskFiles:
    """One mask in several files: the left and the right lung."""

    paths: tuple[Path, ...]

    @property
    def path(self) -> Path:
        """The first file."""
        return self.paths[0]

    def load(self) -> NDArray[np.bool_]:
        """What any of the files holds, (H, W); raises DataError."""
        masks = [MaskFile(path).load() for path in self.paths]
        if len({mask.shape for mask in masks}) > 1:
            raise DataError("the parts of the mask differ in size", where=self.path)
        return np.asarray(np.logical_or.reduce(masks))

    def shape(self) -> tuple[int, int]:
        """(H, W) of the first file."""
        return MaskFile(self.path).shape()


class Collector:
    """Rows, and what is left out, of one collection."""

    def __init__(self, root: Path, layout: str, source: str) -> None:
        self.root, self.layout, self.source = root, layout, source
        self.rows: list[Row] = []
        self.excluded: list[Excluded] = []
        self.counts: Counter[DataNote] = Counter()
        self._seen: set[str] = set()

    def add(
        self,
        identity: str,
        image: Path | Exclusion | None,
        *,
        view: str = "",
        where: str = "",
        finding: str = "",
        covid: bool | str | None = "",
        **fields: Any,
    ) -> None:
        """A row; or an exclusion, where the image is missing or the view is not frontal.

        Args:
            identity: of the row; a second one of the same name is excluded.
            image: the file, or why there is none.
            view: as the collection spells it.
            where: the line, for an exclusion.
            finding: text.
            covid: read from the finding where ''.
            fields: further fields of `Row`.
        """
        truth = is_covid(finding) if isinstance(covid, str) else covid
        code = view_code(view) or ""
        if identity in self._seen:
            return self._out(identity, Exclusion.LISTED_TWICE, where, truth, broken=True)
        self._seen.add(identity)
        if not is_frontal(code):
            slices, lateral = code in SLICES, code == View.LATERAL
            why = (
                Exclusion.CT_SLICE if slices else Exclusion.LATERAL_VIEW if lateral else Exclusion.OTHER_VIEW
            )
            return self._out(identity, why, "", truth)
        if not isinstance(image, Path):
            return self._out(identity, image or Exclusion.IMAGE_MISSING, where, truth, broken=True)
        fields.setdefault("source", self.source)
        fields.setdefault("original_filename", image.name)
        self.rows.append(Row(identity, image, view=code, finding=finding, covid=truth, **fields))
        return None

    def leave_out(self, identity: str, why: Exclusion, where: str = "", *, broken: bool = False) -> None:
        """An image that is not in the table."""
        self._out(identity, why, where, None, broken=broken)

    def dataset(self, *tables_read: Table) -> Dataset:
        """What was collected; raises DataError where not one row was listed."""
        if not self.rows and not self.excluded:
            raise DataError("there is no image in this data set", where=self.root)
        for table in tables_read:
            self.counts[DataNote.NOT_UTF8] += not table.utf8
            self.counts[DataNote.BLANK_ROWS] += table.blank_rows
        nameless = sum(not row.patient for row in self.rows)
        if nameless < len(self.rows):
            self.counts[DataNote.NO_PATIENT] += nameless
        notes = tuple(Note(code=code, count=count) for code, count in sorted(self.counts.items()) if count)
        return Dataset(self.root, self.layout, tuple(self.rows), tuple(self.excluded), notes=notes)

    def _out(
        self, identity: str, why: Exclusion, where: str, covid: bool | None, *, broken: bool = False
    ) -> None:
        self.excluded.append(Excluded(identity, why, where, covid=covid, broken=broken))


_KNOWN_LABELS: dict[tuple[tuple[str, Label], ...], Cells[Label]] = {}


def labels(found: Mapping[str, Label]) -> Cells[Label]:
    """Labels of one image; images with the same ones share the object."""
    key = tuple(found.items())
    if len(_KNOWN_LABELS) > 200_000:
        _KNOWN_LABELS.clear()
    return _KNOWN_LABELS.setdefault(key, Cells.of(dict(found)))


def named_positive(found: Mapping[str, Label]) -> str:
    """The findings that are there, as a text for `Row.finding`."""
    return "|".join(name for name, label in found.items() if label is Label.POSITIVE)


def with_cells(record: Cells[str], **further: str) -> Cells[str]:
    """A table's cells and more, for `Row.extra`."""
    return Cells.of({**record, **further})
