"""CheXpert: `train.csv` and `valid.csv` with paths that name the release, and 14 columns of 1, 0, -1 or nothing."""

from __future__ import annotations

import re
from pathlib import Path

from lungsight.dataset.readers.common import (
    Collector,
    Pictures,
    find_tables,
    folder_of,
    labels,
    named_positive,
    with_cells,
)
from lungsight.dataset.readers.delimited import age, given, load_table, number, sex
from lungsight.dataset.table import Dataset
from lungsight.errors import DataError
from lungsight.wording import DataNote, Exclusion, Label, View

NAME = "chexpert"
_COLUMNS = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA")
_PATIENT = re.compile(r"(?:^|/)(patient\d+)/")
_PART = re.compile(r"(?:^|/)(train|valid|test)/")
_LABELS = {1.0: Label.POSITIVE, 0.0: Label.NEGATIVE, -1.0: Label.UNCERTAIN}


def recognise(path: Path) -> bool:
    """Whether a table has CheXpert's first five columns."""
    return bool(find_tables(path, *_COLUMNS))


def read(path: Path) -> Dataset:
    """-1 is uncertain, a blank is not mentioned; the patient stands in the path alone; age 0 is unknown."""
    read_tables = [load_table(table) for table in find_tables(path, *_COLUMNS)]
    if not read_tables:
        raise DataError("the layout is half there: train.csv or valid.csv is missing", where=path)
    root = folder_of(path)
    pictures = Pictures(root)
    found = Collector(root, NAME, NAME)
    for table in read_tables:
        findings = [name for name in table.header if name not in _COLUMNS]
        for line, record in table.records:
            name, where = record["Path"], f"{table.path.name}, line {line}"
            patient, part = _PATIENT.search(name), _PART.search(name)
            if patient is None:
                found.leave_out(name or where, Exclusion.UNREADABLE, where, broken=True)
                continue
            said = {
                finding: _LABELS[value]
                for finding in findings
                if (value := number(record[finding])) in _LABELS and value is not None
            }
            years = age(record["Age"]) or None
            found.counts[DataNote.AGE_IMPLAUSIBLE] += years is None and bool(given(record["Age"]))
            found.add(
                name[name.find(part[1]) :] if part else name,
                pictures.at(name),
                where=where,
                view=_view(record["Frontal/Lateral"], record["AP/PA"]),
                patient=f"chexpert-{patient[1]}",
                sex=sex(record["Sex"]),
                age=years,
                finding=named_positive(said),
                labels=labels(said),
                extra=with_cells(record, split=part[1] if part else ""),
            )
    return found.dataset(*read_tables)


def _view(side: str, projection: str) -> str:
    """`AP/PA` also holds LL and RL, and nothing for lateral views."""
    if side.strip().lower() == "lateral":
        return View.LATERAL
    return projection if given(projection) else side
