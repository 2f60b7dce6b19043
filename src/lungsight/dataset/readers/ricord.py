"""RICORD 1c (TCIA): folders of studies with DICOM files, and a workbook with the patients."""

from __future__ import annotations

import re
from pathlib import Path

from lungsight.dataset.cells import Cells
from lungsight.dataset.readers.common import Collector, Pictures, folder_of, with_cells
from lungsight.dataset.readers.dicom_header import person
from lungsight.dataset.readers.xlsx import read_sheet, sheets_of
from lungsight.dataset.table import Dataset

NAME = "ricord-1c"
_SHEET = "CR Pos - TCIA Submission"
_SUBJECT = re.compile(r"MIDRC-RICORD-1C-(\d+-\d+)", re.IGNORECASE)


def recognise(path: Path) -> bool:
    """Whether folders of patients are here, or one level below."""
    return path.is_dir() and any(
        _SUBJECT.fullmatch(folder.name) for level in ("*", "*/*") for folder in path.glob(level)
    )


def read(path: Path) -> Dataset:
    """A row for each DICOM file. The patient is `Anon MRN`, found by the end of the study's UID, else the folder.

    All are positive for COVID-19. View, sex and age are in the headers; lateral views are excluded.
    """
    root = folder_of(path)
    studies = _studies(root)
    found = Collector(root, NAME, NAME)
    for image in Pictures(root).every():
        parts = image.relative_to(root).parts
        place = next((number for number, part in enumerate(parts) if _SUBJECT.fullmatch(part)), None)
        if place is None or image.suffix.lower() not in (".dcm", ".dicom"):
            continue
        study = parts[place + 1] if len(parts) > place + 2 else ""
        record = studies.get(study.rpartition("-")[2], {})
        view, sex, age = person(image)
        patient = record.get("Anon MRN") or parts[place]
        found.add(
            "/".join(parts[place:]),
            image,
            view=view,
            sex=sex,
            age=age,
            patient=f"ricord-{patient.removesuffix('.0')}",
            finding="COVID-19",
            extra=with_cells(Cells.of({}), **record),
        )
    return found.dataset()


def _studies(root: Path) -> dict[str, dict[str, str]]:
    """Last five characters of the study's UID, which its folder ends in -> row of the workbook."""
    for file in sorted(root.glob("*.xlsx")):
        if _SHEET in sheets_of(file):
            rows = read_sheet(file, _SHEET)
            return {row.get("Anon Study UID", "")[-5:]: row for row in rows if row.get("Anon Study UID")}
    return {}
