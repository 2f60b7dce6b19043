"""The manifest: a CSV with one row an X-ray, the layout that every other one can be turned into."""

from __future__ import annotations

import csv
import io
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from lungsight.dataset.masks import MaskFile
from lungsight.dataset.table import Dataset, Excluded, Row, is_covid
from lungsight.errors import DataError
from lungsight.files import write_text

NAME = "manifest.csv"
COLUMNS = (
    "id", "image", "mask", "source", "original_filename", "patient", "finding", "covid", "view", "sex", "age",
)  # fmt: skip
MAX_BYTES = 64 * 2**20
_TRUE, _FALSE = (
    frozenset({"1", "true", "yes", "y", "positive"}),
    frozenset({"0", "false", "no", "n", "negative"}),
)


def read_manifest(path: Path, *, columns: Mapping[str, str] | None = None) -> Dataset:
    """Read a manifest; only `image` is needed of `COLUMNS`, everything else may be absent or empty.

    A relative path starts at the manifest's folder and must stay inside it; an absolute path is taken as
    written, since only the author of the file can have meant it. Links inside the folder are followed.

    Args:
        path: the CSV file.
        columns: our column name -> the table's where it has others, such as `{"finding": "diagnosis"}`.

    Raises:
        DataError: not a table, a column is missing, or two rows have one id. A row whose files are missing
            does not stop the reading: it is in `excluded`, marked broken.
    """
    header, records = read_table(path)
    names = _columns(header, columns or {}, path)
    rows: list[Row] = []
    excluded: list[Excluded] = []
    for line, record in records:
        cell = {ours: record.get(theirs, "").strip() for ours, theirs in names.items()}
        identity = cell.get("id") or Path(cell["image"]).stem or f"line {line}"
        covid = is_covid(cell.get("finding", ""))
        try:
            covid = _covid(cell.get("covid", ""), covid)
            rows.append(_row(identity, cell, covid, path.parent))
        except DataError as error:
            reason = f"line {line}: {error.where + ': ' if error.where else ''}{error.message}"
            excluded.append(Excluded(identity, reason, covid, broken=True))
    check_ids([row.id for row in rows] + [item.id for item in excluded], path)
    return Dataset(path.parent, "manifest", tuple(rows), tuple(excluded))


def write_table(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write rows (keys among `COLUMNS`; None is empty, a bool 1 or 0) as a manifest; raises OutputError."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: int(value) if isinstance(value, bool) else value for key, value in row.items()})
    write_text(path, buffer.getvalue())


def read_table(path: Path) -> tuple[tuple[str, ...], list[tuple[int, dict[str, str]]]]:
    """Read a CSV (comma, semicolon or tab; UTF-8): its header, and (line, record) for each row.

    Raises:
        DataError: it cannot be read, is larger than 64 MB, or has no header or no row.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError("the table is larger than 64 MB", where=path)
        text = path.read_text(encoding="utf-8-sig")
        head = text.partition("\n")[0]
        delimiter = max(",;\t", key=head.count)
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restkey="", restval="")
        header = tuple(name.strip() for name in reader.fieldnames or ())
        reader.fieldnames = header
        records = [(reader.line_num, record) for record in reader]
    except OSError as error:
        raise DataError(
            f"the table cannot be read: {(error.strerror or str(error)).lower()}", where=path
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError("not a table of UTF-8 text", where=path, hint="Save it as CSV in UTF-8") from error
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise DataError(f"the table has the column {twice[0]!r} twice", where=path)
    if not records:
        raise DataError("the table has no rows", where=path)
    return header, records


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


def check_ids(ids: Iterable[str], path: Path) -> None:
    """Raise DataError where an id occurs more than once."""
    twice = [name for name, count in Counter(ids).items() if count > 1]
    if twice:
        more = f" and {len(twice) - 1} more" if len(twice) > 1 else ""
        raise DataError(
            f"the id {twice[0]!r} occurs more than once{more}", where=path, hint="Give each row its own id"
        )


def number(text: str) -> float | None:
    """A finite number of years and the like, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _columns(header: tuple[str, ...], given: Mapping[str, str], path: Path) -> dict[str, str]:
    listed = ", ".join(header[:30])
    for ours, theirs in given.items():
        if ours not in COLUMNS:
            raise DataError(
                f"unknown column {ours!r} on the left of {ours}={theirs}", hint=f"Use {', '.join(COLUMNS)}"
            )
        if theirs not in header:
            raise DataError(f"the table has no column {theirs!r}", where=path, hint=f"It has: {listed}")
    names = {ours: given.get(ours, ours) for ours in COLUMNS if given.get(ours, ours) in header}
    if "image" not in names:
        raise DataError(
            "the table has no column 'image'",
            where=path,
            hint=f"It has: {listed}. Say which one holds the file names: --columns image=NAME",
        )
    return names


def _covid(text: str, from_finding: bool | None) -> bool | None:
    if not text:
        return from_finding
    # Tables written by pandas hold 1.0 where a column has gaps.
    word = text.lower().removesuffix(".0")
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise DataError(f"covid is {text!r}, not 0 or 1")


def _row(identity: str, cell: Mapping[str, str], covid: bool | None, folder: Path) -> Row:
    image = inside(folder, cell["image"])
    if not image.is_file():
        raise DataError("the image is missing", where=cell["image"])
    mask = None
    if cell.get("mask"):
        mask = MaskFile(inside(folder, cell["mask"]))
        if not mask.path.is_file():
            raise DataError("the mask is missing", where=cell["mask"])
    return Row(
        id=identity,
        image=image,
        mask=mask,
        source=cell.get("source", ""),
        patient=cell.get("patient", ""),
        finding=cell.get("finding", ""),
        covid=covid,
        view=cell.get("view", ""),
        sex=cell.get("sex", ""),
        age=number(cell.get("age", "")),
        original_filename=cell.get("original_filename", ""),
    )
