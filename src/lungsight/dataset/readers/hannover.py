"""The Hannover collection (ml-workgroup): `data.csv` and `png/<image_id>.png`; all COVID-19."""

from __future__ import annotations

from pathlib import Path

from lungsight.dataset.readers.common import Collector, Pictures, column, find_tables, folder_of, one_table
from lungsight.dataset.readers.delimited import age, given, sex
from lungsight.dataset.table import Dataset

NAME = "hannover"
_COLUMNS = ("patient_id", "image_id", "admission_offset", "projection")


def recognise(path: Path) -> bool:
    """Whether a table has this collection's columns."""
    return bool(find_tables(path, *_COLUMNS))


def read(path: Path) -> Dataset:
    """Every patient has COVID-19: there is nobody to compare with."""
    table = one_table(path, *_COLUMNS, what="data.csv")
    root = folder_of(path)
    pictures = Pictures(root)
    found = Collector(root, NAME, NAME)
    for line, record in table.records:
        name, patient = record["image_id"], given(record["patient_id"])
        found.add(
            name,
            pictures.at(f"png/{name}.png") or pictures.named(name),
            where=f"line {line}",
            view=record["projection"],
            patient=f"hannover-{patient}" if patient else "",
            sex=sex(column(record, "sex")),
            age=age(record.get("age", "")),
            finding="COVID-19",
            extra=record,
        )
    return found.dataset(table)
