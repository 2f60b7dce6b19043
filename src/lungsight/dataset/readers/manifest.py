"""The manifest: a CSV with one row an X-ray, the layout that every other one can be turned into."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from lungsight.dataset.cells import Cells
from lungsight.dataset.finding import is_covid
from lungsight.dataset.locate import Files, inside
from lungsight.dataset.masks import MaskFile
from lungsight.dataset.readers.delimited import (
    Table,
    age,
    given,
    load_table,
    number,
    read_table,
    sex,
    whole,
)
from lungsight.dataset.table import Dataset, Excluded, Note, Row
from lungsight.errors import DataError
from lungsight.files import write_text
from lungsight.wording import DataNote, Exclusion, Label
from lungsight.xray.views import view_code

__all__ = ["COLUMNS", "NAME", "check_ids", "inside", "number", "read_manifest", "read_table", "write_table"]

NAME = "manifest.csv"
COLUMNS = (
    *(
        "id",
        "image",
        "mask",
        "source",
        "subsource",
        "original_filename",
        "patient",
        "finding",
        "covid",
        "view",
    ),
    *("sex", "age", "original_width", "original_height", "original_mode", "original_bytes", "group", "heart"),
    *("labels", "convention"),
)
_TRUE, _FALSE = (
    frozenset({"1", "true", "yes", "y", "positive"}),
    frozenset({"0", "false", "no", "n", "negative"}),
)
_LABELS = {"1": Label.POSITIVE, "0": Label.NEGATIVE, "-1": Label.UNCERTAIN}
_SIGNS = {label: sign for sign, label in _LABELS.items()}


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
    table = load_table(path)
    names = _columns(table.header, columns or {}, path)
    files = Files(path.parent)
    rows: list[Row] = []
    excluded: list[Excluded] = []
    ages = 0
    for line, record in table.records:
        cell = {ours: record[theirs] for ours, theirs in names.items()}
        identity = cell.get("id") or Path(cell["image"]).stem or f"line {line}"
        covid = is_covid(cell.get("finding", ""))
        try:
            if line in table.surplus:
                raise DataError("the row has more cells than the header has columns")
            covid = _covid(cell.get("covid", ""), covid)
            row = _row(identity, cell, covid, files, record)
        except DataError as error:
            where = f"line {line}" + (f": {error.where}" if error.where else "")
            code = Exclusion(error.code) if error.code in list(Exclusion) else Exclusion.UNREADABLE
            excluded.append(Excluded(identity, code, where, error.message, covid, broken=True))
            continue
        ages += row.age is None and bool(given(cell.get("age", "")))
        rows.append(row)
    check_ids([row.id for row in rows] + [item.id for item in excluded], path)
    return Dataset(path.parent, "manifest", tuple(rows), tuple(excluded), notes=notes(table, ages, rows))


def notes(table: Table, ages: int, rows: Iterable[Row]) -> tuple[Note, ...]:
    """What is worth telling of a table beside its rows; `ages` could not be read as such."""
    patients = [bool(row.patient) for row in rows]
    counts = (
        (DataNote.NOT_UTF8, int(not table.utf8)),
        (DataNote.BLANK_ROWS, table.blank_rows),
        (DataNote.AGE_IMPLAUSIBLE, ages),
        # Where nobody has one, the data set has no patients; that is told apart.
        (DataNote.NO_PATIENT, patients.count(False) if any(patients) else 0),
    )
    return tuple(Note(code=code, count=count) for code, count in counts if count)


def write_table(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write rows (None is empty, a bool 1 or 0) as a manifest; raises OutputError.

    `COLUMNS` stand first, those of them that are empty throughout are left out but for the first eleven that every
    manifest has; further columns follow.
    """
    listed = list(rows)
    further = dict.fromkeys(key for row in listed for key in row if key not in COLUMNS)
    always = {
        "id",
        "image",
        "mask",
        "source",
        "original_filename",
        "patient",
        "finding",
        "covid",
        "view",
        "sex",
        "age",
    }
    used = [
        name for name in COLUMNS if name in always or any(row.get(name) not in (None, "") for row in listed)
    ]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [*used, *further], lineterminator="\n", restval="", extrasaction="ignore")
    writer.writeheader()
    for row in listed:
        writer.writerow({key: int(value) if isinstance(value, bool) else value for key, value in row.items()})
    write_text(path, buffer.getvalue())


def labels_text(labels: Mapping[str, Label]) -> str:
    """Labels as the column `labels` has them: `Edema=1|Pneumonia=-1|Fracture=0`."""
    return "|".join(f"{name}={_SIGNS[label]}" for name, label in labels.items())


def check_ids(ids: Iterable[str], path: Path) -> None:
    """Raise DataError where an id occurs more than once."""
    twice = [name for name, count in Counter(ids).items() if count > 1]
    if twice:
        more = f" and {len(twice) - 1} more" if len(twice) > 1 else ""
        raise DataError(
            f"the id {twice[0]!r} occurs more than once{more}", where=path, hint="Give each row its own id"
        )


def _columns(header: tuple[str, ...], given_names: Mapping[str, str], path: Path) -> dict[str, str]:
    listed = ", ".join(header[:30])
    for ours, theirs in given_names.items():
        if ours not in COLUMNS:
            raise DataError(
                f"unknown column {ours!r} on the left of {ours}={theirs}", hint=f"Use {', '.join(COLUMNS)}"
            )
        if theirs not in header:
            raise DataError(f"the table has no column {theirs!r}", where=path, hint=f"It has: {listed}")
    # 'Image' and 'ID', as Excel users write them, are ours too.
    lower = {name.lower(): name for name in reversed(header)}
    names = {
        ours: given_names.get(ours, ours if ours in header else lower.get(ours, ours)) for ours in COLUMNS
    }
    names = {ours: theirs for ours, theirs in names.items() if theirs in header}
    if "image" not in names:
        raise DataError(
            "the table has no column 'image'",
            where=path,
            hint=f"It has: {listed}. Say which one holds the file names: --columns image=NAME",
        )
    return names


def _covid(text: str, from_finding: bool | None) -> bool | None:
    # Tables written by pandas hold 1.0 where a column has gaps; Excel may write 1,0.
    word = given(text).lower().replace(",", ".").removesuffix(".0")
    if not word:
        return from_finding
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise DataError("the column covid holds something else than 0 or 1")


def _convention(text: str) -> str:
    word = given(text).lower()
    if word not in ("", "full", "visible"):
        raise DataError("the column convention holds something else than 'full' or 'visible'")
    return word


def _labels(text: str) -> Cells[Label]:
    found: dict[str, Label] = {}
    for part in filter(None, text.split("|")):
        name, _, sign = part.rpartition("=")
        if not name or sign not in _LABELS:
            raise DataError("the column labels is not NAME=1|NAME=0|NAME=-1")
        found[name] = _LABELS[sign]
    return Cells.of(found)


def _row(identity: str, cell: Mapping[str, str], covid: bool | None, files: Files, record: Cells[str]) -> Row:
    def mask(column: str, exclusion: Exclusion) -> MaskFile | None:
        name = given(cell.get(column, ""))
        if not name:
            return None
        path = files.find(name)
        if path is None:
            raise DataError(f"the {column} is missing", code=exclusion, where=name)
        return MaskFile(path)

    image = files.find(cell["image"])
    if image is None:
        raise DataError("the image is missing", code=Exclusion.IMAGE_MISSING, where=cell["image"])
    return Row(
        id=identity,
        image=image,
        mask=mask("mask", Exclusion.MASK_MISSING),
        heart=mask("heart", Exclusion.MASK_MISSING),
        source=given(cell.get("source", "")),
        subsource=given(cell.get("subsource", "")),
        patient=_identifier(cell.get("patient", "")),
        finding=given(cell.get("finding", "")),
        covid=covid,
        view=view_code(cell.get("view", "")) or "",
        sex=sex(cell.get("sex", "")),
        age=age(cell.get("age", "")),
        original_filename=cell.get("original_filename", ""),
        original_width=whole(cell.get("original_width", "")),
        original_height=whole(cell.get("original_height", "")),
        original_mode=given(cell.get("original_mode", "")),
        original_bytes=whole(cell.get("original_bytes", "")),
        group=_identifier(cell.get("group", "")),
        convention=_convention(cell.get("convention", "")),
        labels=_labels(given(cell.get("labels", ""))),
        extra=record,
    )


def _identifier(text: str) -> str:
    """A patient's or group's id; pandas makes 17 to 17.0 where a column has gaps."""
    text = given(text)
    return text[:-2] if text.endswith(".0") and text[:-2].isdigit() else text
