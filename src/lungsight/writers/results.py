"""The table of results, one row an input."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any

from lungsight.errors import OutputError
from lungsight.files import atomic_write

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins with one of these is run by spreadsheets."""


@dataclass(frozen=True, slots=True)
class ResultRow:
    """What is known about one input. Empty or None where it does not apply; the fields are the columns."""

    input: str
    status: str
    """'ok' or 'failed'."""
    error: str = ""
    probability: float | None = None
    """Calibrated, [0, 1], with the ends of its interval."""
    low: float | None = None
    high: float | None = None
    decision: str = ""
    """'covid', 'not covid', 'uncertain' or ''."""
    gate: str = ""
    """'frontal' or 'not frontal'."""
    gate_score: float | None = None
    flags: tuple[str, ...] = ()
    right_lung_px: int | None = None
    left_lung_px: int | None = None
    right_lung_mm2: float | None = None
    left_lung_mm2: float | None = None
    width: int | None = None
    height: int | None = None
    mask: str = ""
    overlay: str = ""
    seconds: float | None = None


COLUMNS = tuple(field.name for field in fields(ResultRow))
INTEGERS = frozenset({"right_lung_px", "left_lung_px", "width", "height"})
TEXTS = frozenset({"input", "status", "error", "decision", "gate", "mask", "overlay"})


class ResultsTable:
    """`results.csv`, row by row as they come, so that a run that is killed keeps what is done.

    A text that a spreadsheet would run as a formula (it begins with = + - @, tab or return) is written with
    an apostrophe in front, and so is one that begins with an apostrophe; reading takes it off again.

    Args:
        path: the CSV file.
        resume: go on with what is there; otherwise it is begun anew.

    Raises:
        OutputError: it cannot be written, or what is there is another kind of table.
    """

    def __init__(self, path: str | Path, *, resume: bool = False) -> None:
        self.path = Path(path)
        self.done: set[str] = set()
        """Inputs with the status 'ok' that an earlier run left. Failed ones are tried again."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if resume and self.path.exists() and self.path.stat().st_size:
                self._keep_the_done()
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

    def append(self, row: ResultRow) -> None:
        """Write one row through to the operating system; raises OutputError."""
        try:
            self._write([_to_cell(getattr(row, column)) for column in COLUMNS])
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def _write(self, cells: Any) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(cells)
        self._file.write(line.getvalue())
        self._file.flush()

    def _keep_the_done(self) -> None:
        """Drop failed rows and a last line that was cut in the middle of writing."""
        with atomic_write(self.path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for row in read_results(self.path):
                if row.status == "ok" and row.input not in self.done:
                    self.done.add(row.input)
                    writer.writerow([_to_cell(getattr(row, column)) for column in COLUMNS])


def read_results(path: str | Path) -> Iterator[ResultRow]:
    """Rows of a `results.csv`, one at a time; a last line that was cut short is left out.

    Raises:
        OutputError: it is another kind of table, or cannot be read.
    """
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            reader = csv.reader(_whole_lines(file))
            header = next(reader, None)
            if header != list(COLUMNS):
                raise OutputError(
                    "is not a table of results of this version",
                    where=path,
                    hint="Choose another folder, or run without resuming to begin anew",
                )
            for cells in reader:
                if len(cells) == len(COLUMNS):
                    yield _to_row(dict(zip(COLUMNS, cells, strict=True)))
    except OSError as error:
        raise _unwritable(Path(path), error) from error
    except (UnicodeDecodeError, csv.Error, ValueError) as error:
        raise OutputError(
            f"is damaged ({error})", where=path, hint="Run without resuming to begin anew"
        ) from error


def write_results_json(path: str | Path, table: str | Path) -> None:
    """Write the rows of `table` (a `results.csv`) as a JSON list of objects, without holding them all.

    Raises:
        OutputError: it cannot be read or written.
    """
    import json

    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        separator = "[\n"
        for row in read_results(table):
            record = {column: getattr(row, column) for column in COLUMNS}
            file.write(f"{separator}  {json.dumps(record, ensure_ascii=False, allow_nan=False)}")
            separator = ",\n"
        file.write("[]\n" if separator == "[\n" else "\n]\n")


def _whole_lines(file: Any) -> Iterator[str]:
    """Lines that end; the one a killed run left does not."""
    return (line for line in file if line.endswith(("\n", "\r")))


def _to_cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        value = ";".join(flag.replace(";", ",") for flag in value)
    if isinstance(value, float):
        return "" if not math.isfinite(value) else f"{value:.6g}" if abs(value) < 1e5 else f"{value:.1f}"
    text = str(value) if not isinstance(value, str) else _printable(value)
    return f"'{text}" if isinstance(value, str) and text.startswith((*FORMULA, "'")) else text


def _printable(text: str) -> str:
    """File names may hold bytes that are not UTF-8; they are shown as \\xNN."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _to_row(cells: dict[str, str]) -> ResultRow:
    values: dict[str, Any] = {}
    for column, cell in cells.items():
        cell = cell[1:] if cell.startswith("'") else cell
        if column in TEXTS:
            values[column] = cell
        elif column == "flags":
            values[column] = tuple(filter(None, cell.split(";")))
        elif not cell:
            values[column] = None
        else:
            values[column] = int(cell) if column in INTEGERS else float(cell)
    return ResultRow(**values)


def _unwritable(path: Path, error: OSError) -> OutputError:
    reason = (error.strerror or str(error)).lower()
    return OutputError(
        f"cannot be written: {reason}", where=path, hint="Free some space or choose another folder"
    )
