"""The table of results as Parquet, in parts. Needs pyarrow (the `cluster` extra)."""

from __future__ import annotations

import shutil
import types
import typing
from enum import StrEnum
from pathlib import Path
from typing import Any

from lungsight.errors import OutputError, require
from lungsight.files import atomic_write
from lungsight.inference.result import ResultRecord
from lungsight.records import plain
from lungsight.writers.results import printable

PART_ROWS = 5000
"""Rows of one file."""


class ParquetParts:
    """`part-00000.parquet` and so on in a folder that is read as one table; each file is whole or absent.

    Codes are text, lists are lists, what is not known is null. What the folder held before is thrown away: every row
    of the table comes again.

    Raises:
        MissingExtraError: pyarrow is not installed.
        OutputError: it cannot be written.
    """

    def __init__(self, folder: str | Path, *, rows: int = PART_ROWS) -> None:
        self._arrow = require("pyarrow", feature="Writing Parquet", extra="cluster")
        self._writer = require("pyarrow.parquet", feature="Writing Parquet", extra="cluster")
        self._folder, self._limit = Path(folder), rows
        self._schema = schema()
        self._rows: list[dict[str, Any]] = []
        self._count = 0
        try:
            if self._folder.is_dir():
                shutil.rmtree(self._folder)
            self._folder.mkdir(parents=True)
        except OSError as error:
            reason = (error.strerror or "an error of the system").lower()
            raise OutputError(f"cannot be written: {reason}", where=folder) from error

    def add(self, row: ResultRecord) -> None:
        """One row."""
        values = plain(row)
        self._rows.append({name: printable(v) if isinstance(v, str) else v for name, v in values.items()})
        if len(self._rows) >= self._limit:
            self._flush()

    def close(self) -> None:
        """Write what is left. A table without rows has one file without rows."""
        if self._rows or not self._count:
            self._flush()

    def _flush(self) -> None:
        table = self._arrow.Table.from_pylist(self._rows, schema=self._schema)
        with atomic_write(self._folder / f"part-{self._count:05}.parquet") as temporary:
            self._writer.write_table(table, temporary, compression="zstd")
        self._count += 1
        self._rows = []


def schema() -> Any:
    """Arrow's schema of `ResultRecord`."""
    arrow = require("pyarrow", feature="Writing Parquet", extra="cluster")
    hints = typing.get_type_hints(ResultRecord)
    return arrow.schema([(name, _kind(hints[name], arrow)) for name in ResultRecord.__struct_fields__])


def _kind(hint: Any, arrow: Any) -> Any:
    if isinstance(hint, types.UnionType):
        (hint,) = (part for part in typing.get_args(hint) if part is not types.NoneType)
    if typing.get_origin(hint) is tuple:
        return arrow.list_(_kind(typing.get_args(hint)[0], arrow))
    if issubclass(hint, StrEnum | str):
        return arrow.string()
    return {int: arrow.int64(), float: arrow.float64(), bool: arrow.bool_()}[hint]
