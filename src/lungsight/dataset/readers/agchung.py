"""Figure 1 and Actualmed (agchung): `metadata.csv` without a file name, or with `imagename`."""

from __future__ import annotations

from pathlib import Path

from lungsight.dataset.readers.common import Collector, Pictures, find_tables, folder_of, header, one_table
from lungsight.dataset.readers.delimited import age, given, sex
from lungsight.dataset.table import Dataset
from lungsight.wording import DataNote, Exclusion

NAME = "agchung"
_COLUMNS = ("patientid", "finding", "view", "modality")


def recognise(path: Path) -> bool:
    """Whether a table has a patient, a finding and a view, and no `filename`, which ieee8023's has."""
    return any(not {"filename", "image"} & header(table) for table in find_tables(path, *_COLUMNS))


def read(path: Path) -> Dataset:
    """Actualmed names its images; in Figure 1 the image is called as the patient.

    A blank finding is not negative: such rows have no label.
    """
    table = one_table(path, *_COLUMNS, what="metadata.csv")
    root = folder_of(path)
    pictures = Pictures(root)
    actualmed = "imagename" in table.header
    source = "actualmed" if actualmed else "figure1"
    found = Collector(root, NAME, source)
    for line, record in table.records:
        patient, where = given(record["patientid"]), f"line {line}"
        name = record["imagename"] if actualmed else patient
        if not name:
            found.leave_out(where, Exclusion.UNREADABLE, where, broken=True)
            continue
        if record["modality"].upper() == "CT":
            found.leave_out(name, Exclusion.CT_SLICE)
            continue
        years = record.get("age", "")
        found.counts[DataNote.AGE_IMPLAUSIBLE] += bool(given(years)) and age(years) is None
        found.add(
            name,
            pictures.at(f"images/{name}") or pictures.named(name),
            where=where,
            view=record["view"],
            patient=f"{source}-{patient}" if patient else "",
            sex=sex(record.get("sex", "")),
            age=age(years),
            finding=given(record["finding"]),
            extra=record,
        )
    return found.dataset(table)
