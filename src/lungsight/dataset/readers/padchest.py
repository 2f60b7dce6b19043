"""PadChest: one table of 160,000 rows with reports, images in numbered folders or flat."""

from __future__ import annotations

from pathlib import Path

from lungsight.dataset.cells import Cells
from lungsight.dataset.finding import parts_of
from lungsight.dataset.readers.common import Collector, Pictures, column, find_tables, folder_of, one_table
from lungsight.dataset.readers.delimited import MAX_AGE, given, sex, whole
from lungsight.dataset.table import Dataset

NAME = "padchest"
_COLUMNS = ("ImageID", "PatientID", "Labels")
_REPORTS = ("Report", "LabelsLocalizationsBySentence")
"""What a radiologist wrote of a patient stays where it is."""


def recognise(path: Path) -> bool:
    """Whether a table has PadChest's columns, and one of its two for the view."""
    from lungsight.dataset.readers.common import header

    return any(header(table) & {"Projection", "ViewPosition_DICOM"} for table in find_tables(path, *_COLUMNS))


def read(path: Path) -> Dataset:
    """Labels are a Python list in text, partly made by a machine (`MethodLabel`); age is study year less birth year.

    Reports are not kept.
    """
    table = one_table(path, *_COLUMNS, what="PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv")
    root = folder_of(path)
    pictures = Pictures(root)
    found = Collector(root, NAME, NAME)
    kept = [name for name in table.header if name not in _REPORTS]
    places = {name: number for number, name in enumerate(kept)}
    for line, record in table.records:
        name, folder = record["ImageID"], record.get("ImageDir", "").removesuffix(".0")
        patient = given(record["PatientID"]).removesuffix(".0")
        view = given(record.get("Projection", "")) or record.get("ViewPosition_DICOM", "")
        found.add(
            name,
            pictures.at(f"{folder}/{name}") or pictures.named(name),
            where=f"line {line}",
            view=view,
            patient=f"padchest-{patient}" if patient else "",
            sex=sex(column(record, "PatientSex_DICOM", "PatientSex")),
            age=_age(column(record, "PatientBirth"), column(record, "StudyDate_DICOM", "StudyDate")),
            finding="|".join(dict.fromkeys(parts_of(given(record["Labels"])))),
            extra=Cells(places, tuple(record[one] for one in kept)),
        )
    return found.dataset(table)


def _age(birth: str, study: str) -> float | None:
    """Whole years, give or take one."""
    born, done = whole(birth[:4]), whole(study[:4])
    if born is None or done is None or not 0 <= done - born <= MAX_AGE:
        return None
    return float(done - born)
