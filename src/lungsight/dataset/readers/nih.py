"""NIH ChestX-ray14: `Data_Entry_2017.csv` (or v2020) and images in `images_001` ... or one folder."""

from __future__ import annotations

from pathlib import Path

from lungsight.dataset.readers.common import Collector, Pictures, column, folder_of, one_table, with_cells
from lungsight.dataset.readers.delimited import age, given, sex
from lungsight.dataset.table import Dataset
from lungsight.wording import DataNote

NAME = "nih-chestxray14"
_COLUMNS = ("Image Index", "Finding Labels")
_LISTS = {"train_val_list.txt": "train_val", "test_list.txt": "test"}


def recognise(path: Path) -> bool:
    """Whether a table names images and findings as NIH does."""
    from lungsight.dataset.readers.common import find_tables

    return bool(find_tables(path, *_COLUMNS))


def read(path: Path) -> Dataset:
    """Findings joined by `|`, mined from reports; patients by number; official lists as `split=test`."""
    table = one_table(path, *_COLUMNS, what="Data_Entry_2017.csv")
    root = folder_of(path)
    pictures = Pictures(root)
    parts = {
        name.strip(): part
        for file, part in _LISTS.items()
        if (root / file).is_file()
        for name in (root / file).read_text("utf-8", "replace").splitlines()
    }
    found = Collector(root, NAME, "nih")
    for line, record in table.records:
        name = record["Image Index"]
        years = column(record, "Patient Age")
        number = given(column(record, "Patient ID"))
        found.counts[DataNote.AGE_IMPLAUSIBLE] += bool(given(years)) and age(years) is None
        found.add(
            name,
            pictures.named(name),
            where=f"line {line}",
            view=column(record, "View Position"),
            patient=f"nih-{number.zfill(8)}" if number else "",
            sex=sex(column(record, "Patient Gender", "Patient Sex")),
            age=age(years),
            finding=record["Finding Labels"],
            extra=with_cells(record, split=parts.get(name, "")),
        )
    return found.dataset(table)
