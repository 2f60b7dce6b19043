"""MIMIC-CXR-JPG: images by patient and study, labels per study, in four packed tables."""

from __future__ import annotations

from pathlib import Path

from lungsight.dataset.cells import Cells
from lungsight.dataset.readers.chexpert import _LABELS
from lungsight.dataset.readers.common import (
    Collector,
    Pictures,
    column,
    find_tables,
    folder_of,
    labels,
    named_positive,
    one_table,
    with_cells,
)
from lungsight.dataset.readers.delimited import given, load_table, number
from lungsight.dataset.table import Dataset
from lungsight.errors import DataError
from lungsight.wording import Label

NAME = "mimic-cxr-jpg"
_METADATA = ("dicom_id", "subject_id", "study_id", "ViewPosition")


def recognise(path: Path) -> bool:
    """Whether a table is MIMIC's metadata, or another of its tables that needs it."""
    if find_tables(path, *_METADATA):
        return True
    return path.is_dir() and bool(find_tables(path, "dicom_id", "study_id", "subject_id", "split"))


def read(path: Path) -> Dataset:
    """Both views of a study share its labels; lateral ones are excluded; a blank view is kept as not given.

    CheXpert's labels are taken where both they and NegBio's are there. Sex and age are not in these tables.
    """
    root = folder_of(path)
    metadata = one_table(path, *_METADATA, what="mimic-cxr-2.0.0-metadata.csv")
    said = _labels(root)
    parts = {
        record["dicom_id"]: record["split"]
        for table in find_tables(root, "dicom_id", "split")[:1]
        for _, record in load_table(table).records
    }
    pictures = Pictures(root)
    found = Collector(root, NAME, "mimic")
    for line, record in metadata.records:
        name, subject, study = record["dicom_id"], record["subject_id"], record["study_id"]
        image = pictures.at(f"files/p{subject[:2]}/p{subject}/s{study}/{name}.jpg")
        mentioned = said.get(study, Cells.of({}))
        found.add(
            name,
            image or pictures.named(f"{name}.jpg"),
            where=f"line {line}",
            view=record["ViewPosition"],
            patient=f"mimic-{subject}" if given(subject) else "",
            finding=named_positive(mentioned),
            labels=mentioned,
            extra=with_cells(record, split=parts.get(name, "")),
        )
    return found.dataset(metadata)


def _labels(root: Path) -> dict[str, Cells[Label]]:
    """Study -> what is said of each finding."""
    candidates = find_tables(root, "subject_id", "study_id", "Pneumonia")
    if not candidates:
        raise DataError(
            "the layout is half there: neither mimic-cxr-2.0.0-chexpert.csv nor -negbio.csv is there",
            where=root,
        )
    table = load_table(next((one for one in candidates if "chexpert" in one.name), candidates[0]))
    findings = [name for name in table.header if name not in ("subject_id", "study_id")]
    return {
        column(record, "study_id"): labels(
            {
                finding: _LABELS[value]
                for finding in findings
                if (value := number(record[finding])) is not None and value in _LABELS
            }
        )
        for _, record in table.records
    }
