"""Tables of a report: the same rows as HTML and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lungsight.errors import DataError
from lungsight.report.content import Measure

Cell = Measure | float | str | None


@dataclass(frozen=True)
class Table:
    """A table, for the page and for a CSV file alike.

    Attributes:
        header: one name a column.
        rows: as long as the header; the first cell heads its row. A row of one cell is a heading over the rows
            that follow.
        digits: after the point, for floats and measures.
        notes: under the table.
        signed: names of columns whose figures carry their sign, as differences do.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    digits: int = 4
    notes: str = ""
    signed: Sequence[str] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) not in (1, len(self.header)):
                raise DataError(
                    f"a row of {len(row)} cells in a table of {len(self.header)} columns", where=self.caption
                )

    def to_csv(self) -> str:
        """The rows as CSV with all decimals: a column of measures becomes four, and headings a first column."""
        grouped = any(len(row) == 1 for row in self.rows) and len(self.header) > 1
        full = [row for row in self.rows if len(row) == len(self.header)]
        measured = [
            any(isinstance(row[column], Measure) for row in full) for column in range(len(self.header))
        ]
        header = ["part"] if grouped else []
        for name, triple in zip(self.header, measured, strict=True):
            header += [name, f"{name}, low", f"{name}, high", f"{name}, note"] if triple else [name]
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(header)
        part: Cell = ""
        for row in self.rows:
            if len(row) != len(self.header):
                part = row[0]
                continue
            cells: list[Cell] = [part] if grouped else []
            for cell, triple in zip(row, measured, strict=True):
                if not triple:
                    cells.append(cell)
                elif isinstance(cell, Measure):
                    cells += [cell.value, *(cell.bounds or (None, None)), cell.note]
                else:
                    cells += [cell, None, None, None]
            writer.writerow(cells)
        return buffer.getvalue()


def show(value: Cell, digits: int = 4, *, signed: bool = False) -> str:
    """A figure as text: thousands get commas, floats `digits` decimals, missing ones a dash, an interval brackets."""
    sign = "+" if signed else ""
    if value is None:
        return "–"
    if isinstance(value, Measure):
        number = show(value.value, digits)
        inside = [" to ".join(show(end, digits) for end in value.bounds)] if value.bounds else []
        inside += [value.note] if value.note else []
        return f"{number} ({'; '.join(inside)})" if inside else number
    if isinstance(value, str):
        return value
    if isinstance(value, int | np.integer):
        return f"{value:{sign},}".replace("-", "−")
    if not np.isfinite(value):
        return "–"
    return f"{value:{sign},.{digits}f}".replace("-", "−")
