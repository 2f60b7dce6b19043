"""The table of results, one row an input: the fields of `ResultRecord` are its columns."""

from __future__ import annotations

import csv
import io
import math
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from lungsight.errors import OutputError
from lungsight.files import AtomicStream, atomic_write
from lungsight.inference.result import ResultRecord
from lungsight.records import to_json
from lungsight.wording import Status

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins with one of these is run by spreadsheets."""

COLUMNS = ResultRecord.__struct_fields__
DONE = frozenset({Status.OK, Status.REFUSED, Status.PASSED_OVER})
"""What an earlier run need not be asked again; a failed input is tried again."""


class ResultsTable:
    """`results.csv`, row by row as they come, so that a run that is killed keeps what is done.

    A text that a spreadsheet would run as a formula (it begins with = + - @, tab or return) is written with
    an apostrophe in front, and so is one that begins with an apostrophe; reading takes it off again.

    Args:
        path: the CSV file.
        resume: go on with what is there; otherwise it is begun anew.
        keep: asked of every row that an earlier run left as done; those for which it says no are done again.
        first: gets the input of each row that is kept, and says whether it is the first of that name; None: a set in
            memory does.

    Raises:
        OutputError: it cannot be written, or what is there is another kind of table.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        resume: bool = False,
        keep: Callable[[ResultRecord], bool] | None = None,
        first: Callable[[str], bool] | None = None,
    ) -> None:
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if resume and self.path.exists() and self.path.stat().st_size:
                self._keep_the_done(keep, first or _Names().first)
                self._file = self.path.open("a", encoding="utf-8", newline="")
            else:
                self._file = self.path.open("w", encoding="utf-8", newline="")
                self._write(COLUMNS)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def __enter__(self) -> ResultsTable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; raises OutputError where the disk is full."""
        try:
            self._file.close()
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def kept(self) -> Iterator[ResultRecord]:
        """The rows that an earlier run left as done, before anything is appended."""
        return read_results(self.path)

    def append(self, row: ResultRecord) -> None:
        """Write one row through to the operating system; raises OutputError."""
        try:
            self._write(to_cells(row))
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def _write(self, cells: Iterable[str]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(cells)
        self._file.write(line.getvalue())
        self._file.flush()

    def _keep_the_done(
        self, keep: Callable[[ResultRecord], bool] | None, first: Callable[[str], bool]
    ) -> None:
        """Drop failed rows and a last line that was cut in the middle of writing."""
        with atomic_write(self.path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for cells, row in _read(self.path):
                if row.status in DONE and (keep is None or keep(row)) and first(row.input):
                    writer.writerow(cells)


class _Names:
    def __init__(self) -> None:
        self._seen: set[str] = set()

    def first(self, name: str) -> bool:
        before = len(self._seen)
        self._seen.add(name)
        return len(self._seen) > before


def read_results(path: str | Path) -> Iterator[ResultRecord]:
    """Rows of a `results.csv`, one at a time; a last line that was cut short is left out.

    Raises:
        OutputError: it is another kind of table, or cannot be read.
    """
    return (row for _, row in _read(path))


def _read(path: str | Path) -> Iterator[tuple[list[str], ResultRecord]]:
    """The cells of each row, and what they say."""
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            reader = csv.reader(_whole_lines(file))
            if next(reader, None) != list(COLUMNS):
                raise OutputError(
                    "is not a table of results of this version",
                    code="other_table",
                    where=path,
                    hint="Choose another folder, or begin again with overwrite=True (--overwrite)",
                )
            for cells in reader:
                if len(cells) == len(COLUMNS):
                    yield cells, from_cells(cells)
    except OSError as error:
        raise _unwritable(Path(path), error) from error
    except (UnicodeDecodeError, csv.Error, ValueError) as error:
        raise OutputError(
            "is damaged",
            code="damaged_table",
            where=path,
            hint="Begin again with overwrite=True (--overwrite)",
            detail=str(error),
        ) from error


class ResultsJson:
    """Rows as a JSON list of objects, as they come; the file is there once it is closed. Raises OutputError."""

    def __init__(self, path: str | Path) -> None:
        self._stream = AtomicStream(path)
        self._empty = True

    def add(self, row: ResultRecord) -> None:
        """One row."""
        self._stream.write("[\n  " if self._empty else ",\n  ")
        self._stream.write(to_json(_speakable(row), indent=0).decode())
        self._empty = False

    def close(self) -> None:
        """End the list and move the file to its place."""
        self._stream.write("[]\n" if self._empty else "\n]\n")
        self._stream.close()


def write_results_json(path: str | Path, rows: Iterable[ResultRecord]) -> None:
    """Write rows as a JSON list of objects, without holding them all.

    Raises:
        OutputError: it cannot be written.
    """
    table = ResultsJson(path)
    for row in rows:
        table.add(row)
    table.close()


def to_cells(row: ResultRecord) -> list[str]:
    """A row as the cells of a CSV file."""
    return [_to_cell(getattr(row, column)) for column in COLUMNS]


def from_cells(cells: Iterable[str]) -> ResultRecord:
    """The inverse of `to_cells`; raises ValueError where a cell is not what its column holds."""
    given = zip(_READERS.items(), cells, strict=True)
    # Most cells are empty, and mean the field's default.
    return ResultRecord(
        **{
            column: read(cell[1:] if cell[:1] == "'" else cell)
            for (column, read), cell in given
            if cell or column not in _EMPTY
        }
    )


def _whole_lines(file: Any) -> Iterator[str]:
    """Lines that end; the one a killed run left does not."""
    return (line for line in file if line.endswith(("\n", "\r")))


def _to_cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        value = ";".join(str(item).replace(";", ",") for item in value)
    if isinstance(value, float):
        # All digits: `resume` reads the rows again, and the other tables must be those of an undisturbed run.
        return "" if not math.isfinite(value) else repr(value).removesuffix(".0")
    text = str(value) if not isinstance(value, str) else printable(value)
    return f"'{text}" if isinstance(value, str) and text.startswith((*FORMULA, "'")) else text


def printable(text: str) -> str:
    """File names may hold bytes that are not UTF-8; they are shown as \\xNN."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _speakable(row: ResultRecord) -> ResultRecord:
    changes = {name: printable(getattr(row, name)) for name in ("input", "message", "mask", "overlay")}
    return msgspec.structs.replace(row, **changes)


def _reader(hint: Any) -> Callable[[str], Any]:
    """From the text of a cell to a value of the field's type."""
    parts = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        item = parts[0]
        return lambda text: tuple(map(item, filter(None, text.split(";"))))
    if isinstance(hint, types.UnionType):
        (kind,) = (part for part in parts if part is not types.NoneType)
        return lambda text: kind(text) if text else None
    if isinstance(hint, type) and issubclass(hint, StrEnum | str | int | float):
        return hint
    raise TypeError(f"a table has no cell for {hint}")


def _means_default(column: str) -> bool:
    """Whether an empty cell of a column is read as the field's default."""
    default = ResultRecord.__struct_defaults__[COLUMNS.index(column) - len(COLUMNS)]
    try:
        return bool(_READERS[column]("") == default)
    except ValueError:
        return False


_HINTS = typing.get_type_hints(ResultRecord)
_READERS = {name: _reader(_HINTS[name]) for name in COLUMNS}
_EMPTY = frozenset(name for name in COLUMNS[2:] if _means_default(name))


def _unwritable(path: Path, error: OSError) -> OutputError:
    reason = (error.strerror or "of an error of the system").lower()
    return OutputError(
        f"cannot be written: {reason}", where=path, hint="Free some space or choose another folder"
    )
