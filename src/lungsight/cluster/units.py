"""What the machines of a cluster share: the list of inputs, cut into units of work, and the parts of the table.

A unit is some inputs that one actor predicts; its rows are one Parquet file, whose name follows from the number of the
run and of the unit. So a unit that is done twice, since a machine was lost, writes the same file twice, and no row is
doubled.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lungsight.batch.folder import PARTS
from lungsight.batch.index import RunIndex
from lungsight.batch.sources import Place
from lungsight.errors import OutputError, require
from lungsight.files import atomic_write
from lungsight.inference import ResultRecord
from lungsight.records import plain
from lungsight.wording import Status
from lungsight.writers.parquet import schema
from lungsight.writers.results import DONE, printable

INPUTS = ".run.json.inputs.parquet"
"""The list of inputs, a row group for each unit; swept away with other temporary files where a run was killed."""
LEAST, MOST = 16, 1000
"""Inputs of a unit."""
UNITS_EACH = 32
"""Units for each actor, so that none waits long for the last one."""
_FIELDS = ("name", "kind", "place", "member", "stem")
_READ = ("input", "status", "mask", "overlay", "format")
_FEATURE = "Predicting on a cluster"


def unit_size(inputs: int, actors: int) -> int:
    """Inputs of a unit: small enough that the work is even, large enough that the table has few parts."""
    return max(LEAST, min(MOST, inputs // (max(actors, 1) * UNITS_EACH)))


def write_units(folder: Path, index: RunIndex, size: int) -> int:
    """Write the inputs of `index` to `folder`, `size` to a unit.

    Returns:
        Units.

    Raises:
        OutputError: it cannot be written.
    """
    arrow, parquet = _arrow()
    kinds = arrow.schema([(name, arrow.binary()) for name in _FIELDS])
    count = 0
    rows: list[dict[str, bytes]] = []

    def flush() -> None:
        nonlocal count
        writer.write_table(arrow.Table.from_pylist(rows, schema=kinds), row_group_size=size)
        rows.clear()
        count += 1

    with atomic_write(folder / INPUTS) as temporary, parquet.ParquetWriter(temporary, kinds) as writer:
        for place, stem in index.inputs():
            values = (place.name, place.kind, place.where, place.member, stem)
            rows.append(dict(zip(_FIELDS, map(_raw, values), strict=True)))
            if len(rows) == size:
                flush()
        if rows:
            flush()
    return count


class Units:
    """The list of inputs, as an actor reads it: one unit at a time."""

    def __init__(self, folder: Path) -> None:
        """Open it; raises OutputError where this machine does not see it."""
        _, parquet = _arrow()
        try:
            self._file = parquet.ParquetFile(folder / INPUTS)
        except OSError as error:
            raise OutputError(
                "is not seen by every machine of the cluster",
                code="not_shared",
                where=folder,
                hint="Choose a folder that all of them mount under the same name",
            ) from error

    def inputs(self, unit: int) -> Iterator[tuple[Place, str]]:
        """The inputs of a unit, each with the stem of its outputs."""
        for row in self._file.read_row_group(unit).to_pylist():
            name, kind, where, member, stem = (
                row[field].decode("utf-8", "surrogateescape") for field in _FIELDS
            )
            yield Place(name, kind, where, member), stem


def part_path(folder: Path, run: int, unit: int | str) -> Path:
    """Where the rows of a unit lie. `unit` is a number, or a word for rows that belong to none."""
    name = f"{unit:07}" if isinstance(unit, int) else unit
    return folder / PARTS / f"part-{run:04}-{name}.parquet"


def write_part(path: Path, rows: list[ResultRecord]) -> None:
    """Rows as one Parquet file, whole or not at all; raises OutputError."""
    arrow, parquet = _arrow()
    values = [
        {key: printable(value) if isinstance(value, str) else value for key, value in plain(row).items()}
        for row in rows
    ]
    with atomic_write(path) as temporary:
        parquet.write_table(arrow.Table.from_pylist(values, schema=schema()), temporary, compression="zstd")


def read_part(path: Path) -> list[ResultRecord]:
    """What must be known of the rows of a part to go on from them: input, status and files.

    Raises:
        OutputError: it is no part of such a table.
    """
    arrow, parquet = _arrow()
    try:
        rows = parquet.read_table(path, columns=list(_READ)).to_pylist()
        return [ResultRecord(**{**row, "status": Status(row["status"])}) for row in rows]
    except (OSError, ValueError, TypeError, arrow.ArrowException) as error:
        raise OutputError(
            "is damaged",
            code="damaged_table",
            where=path,
            hint="Pass --overwrite to begin again",
            detail=str(error),
        ) from error


def parts_of(folder: Path) -> list[Path]:
    """The parts of the table, older runs first."""
    return sorted((folder / PARTS).glob("part-*.parquet"))


def take_over(folder: Path, index: RunIndex, keep: Any) -> int:
    """Note in `index` what earlier runs did, and take out of their parts the rows that come again: of inputs that
    failed, whose files are gone or cut (`keep` says no), or that stand in two parts, since a machine that was thought
    lost wrote one after its run had ended.

    Returns:
        The number of the next run.

    Raises:
        OutputError: a part is damaged or cannot be written.
    """
    _, parquet = _arrow()
    last = 0
    for path in parts_of(folder):
        last = max(last, int(path.name.split("-")[1]))
        good = [
            row.status in DONE
            and not index.is_done(row.input)
            and bool(keep(row))
            and index.set_done(row.input)
            for row in read_part(path)
        ]
        if all(good) and good:
            continue
        if any(good):
            table = parquet.read_table(path, schema=schema())
            with atomic_write(path) as temporary:
                parquet.write_table(table.filter(good), temporary, compression="zstd")
        else:
            path.unlink(missing_ok=True)
    return last + 1


def drop_strays(folder: Path, known: set[Path], run: int) -> None:
    """Delete parts that are neither of this run nor were there when it began: their inputs were done again."""
    for path in parts_of(folder):
        if path not in known and int(path.name.split("-")[1]) != run:
            path.unlink(missing_ok=True)


def _arrow() -> tuple[Any, Any]:
    return (
        require("pyarrow", feature=_FEATURE, extra="cluster"),
        require("pyarrow.parquet", feature=_FEATURE, extra="cluster"),
    )


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
