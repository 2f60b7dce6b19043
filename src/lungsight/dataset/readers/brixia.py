"""Brixia: DICOM files and `metadata_global_v2.csv`; the scores of six zones are digits of one text."""

from __future__ import annotations

from pathlib import Path

from lungsight.dataset.readers.common import (
    Collector,
    Pictures,
    find_tables,
    folder_of,
    one_table,
    with_cells,
)
from lungsight.dataset.readers.delimited import given, number, sex
from lungsight.dataset.readers.dicom_header import person
from lungsight.dataset.table import Dataset

NAME = "brixia"
_GLOBAL = ("Filename", "Subject", "BrixiaScore")
_COHEN = ("filename", "S-Global", "J-Global")
_ZONES = "ABCDEF"


def recognise(path: Path) -> bool:
    """Whether a table has the collection's scores, or those of its annotation of ieee8023's images."""
    return bool(find_tables(path, *_GLOBAL) or find_tables(path, *_COHEN))


def read(path: Path) -> Dataset:
    """`BrixiaScore` of one row becomes `Brixia_A` ... `Brixia_F` in `Row.extra`; views are in the DICOM headers."""
    if find_tables(path, *_GLOBAL):
        return _global(path)
    table = one_table(path, *_COHEN, what="public-annotations.csv")
    root = folder_of(path)
    pictures = Pictures(root)
    found = Collector(root, NAME, "ieee8023")
    for line, record in table.records:
        name = record["filename"]
        image = pictures.at(f"images/{name}") or pictures.named(name)
        found.add(name, image, where=f"line {line}", finding="COVID-19", extra=record)
    return found.dataset(table)


def _global(path: Path) -> Dataset:
    table = one_table(path, *_GLOBAL, what="metadata_global_v2.csv")
    root = folder_of(path)
    pictures = Pictures(root)
    found = Collector(root, NAME, NAME)
    for line, record in table.records:
        name, subject = record["Filename"], given(record["Subject"])
        image = pictures.named(name)
        view = person(image)[0] if isinstance(image, Path) and image.suffix.lower() == ".dcm" else ""
        step = number(record.get("AgeAtStudyDateFiveYear", ""))
        # A spreadsheet that took it for a number has dropped the zeros in front.
        digits = record["BrixiaScore"].strip().strip("'").removesuffix(".0").zfill(6)
        zones = digits if len(digits) == 6 and set(digits) <= set("0123") else ""
        found.add(
            name,
            image,
            where=f"line {line}",
            view=view,
            patient=f"brixia-{subject}" if subject else "",
            sex=sex(record.get("Sex", "")),
            age=step * 5 if step is not None and 0 <= step <= 22 else None,
            finding="COVID-19",
            extra=with_cells(
                record, **{f"Brixia_{zone}": digit for zone, digit in zip(_ZONES, zones, strict=False)}
            ),
        )
    return found.dataset(table)
