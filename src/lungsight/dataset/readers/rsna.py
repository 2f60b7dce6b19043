"""RSNA pneumonia challenge: DICOM images of NIH patients, a line for each box."""

from __future__ import annotations

import json
import re
from pathlib import Path

from lungsight.dataset.readers.common import Collector, Pictures, find_tables, folder_of, labels, one_table
from lungsight.dataset.readers.delimited import load_table, number
from lungsight.dataset.readers.dicom_header import person
from lungsight.dataset.table import Dataset
from lungsight.wording import Label

NAME = "rsna-pneumonia"
_LABELS = ("patientId", "x", "y", "width", "height", "Target")
_MAX_MAPPING = 64 * 2**20


def recognise(path: Path) -> bool:
    """Whether a table has a box and a target for each `patientId`."""
    return bool(find_tables(path, *_LABELS))


def read(path: Path) -> Dataset:
    """One row an image, however many boxes it has. View, sex and age are in the DICOM headers.

    `patientId` is an image, not a person. All images are NIH's: the patient is known where the challenge's mapping
    file (JSON, `img_id` and `subset_img_id`) lies beside the tables, and is left empty otherwise.
    """
    table = one_table(path, *_LABELS, what="stage_2_train_labels.csv")
    root = folder_of(path)
    classes = {
        record["patientId"]: record["class"]
        for extra in find_tables(root, "patientId", "class")[:1]
        for _, record in load_table(extra).records
    }
    opacity: dict[str, bool] = {}
    lines: dict[str, int] = {}
    for line, record in table.records:
        name = record["patientId"]
        opacity[name] = opacity.get(name, False) or number(record["Target"]) == 1
        lines.setdefault(name, line)
    pictures = Pictures(root)
    patients = _nih_patients(root)
    found = Collector(root, NAME, "rsna")
    for name, positive in opacity.items():
        image = pictures.named(f"{name}.dcm")
        view, sex, age = person(image) if isinstance(image, Path) else ("", "", None)
        found.add(
            name,
            image,
            where=f"line {lines[name]}",
            view=view,
            sex=sex,
            age=age,
            patient=patients.get(name, ""),
            finding="Lung Opacity" if positive else classes.get(name, "No Lung Opacity"),
            labels=labels({"Lung Opacity": Label.POSITIVE if positive else Label.NEGATIVE}),
            covid=False,
        )
    return found.dataset(table)


def _nih_patients(root: Path) -> dict[str, str]:
    """RSNA image -> NIH patient, from the mapping file of the challenge where it is there."""
    for file in sorted(root.glob("*mapping*.json")):
        try:
            entries = json.loads(file.read_bytes()) if file.stat().st_size <= _MAX_MAPPING else []
        except (OSError, ValueError, RecursionError):
            continue
        pairs = [
            (one.get("subset_img_id"), re.match(r"(\d{8})_\d+", str(one.get("img_id"))))
            for one in entries
            if isinstance(one, dict)
        ]
        if any(match for _, match in pairs):
            return {str(name): f"nih-{match[1]}" for name, match in pairs if match}
    return {}
