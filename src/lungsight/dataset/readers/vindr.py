"""VinDr-CXR: three readers an image in training; Kaggle's boxes or PhysioNet's image labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from lungsight.dataset.cells import Cells
from lungsight.dataset.readers.common import (
    Collector,
    Pictures,
    find_tables,
    folder_of,
    header,
    labels,
    named_positive,
    with_cells,
)
from lungsight.dataset.readers.delimited import Table, load_table, number
from lungsight.dataset.table import Dataset
from lungsight.errors import DataError
from lungsight.wording import DataNote, Label

NAME = "vindr-cxr"
_KAGGLE = ("image_id", "class_name", "class_id", "rad_id")
_BOXES = frozenset({"class_name", "x_min", "y_min", "x_max", "y_max"})


def recognise(path: Path) -> bool:
    """Whether a table is Kaggle's, or PhysioNet's labels of images."""
    return bool(find_tables(path, *_KAGGLE)) or bool(_image_labels(path))


def read(path: Path) -> Dataset:
    """A finding is there where more than half of the readers say so, uncertain where fewer do.

    Neither patient, sex nor view is told.
    """
    root = folder_of(path)
    read_tables = [load_table(table) for table in _image_labels(path) or find_tables(path, *_KAGGLE)]
    if not read_tables:
        raise DataError(
            "the layout is half there: train.csv or image_labels_train.csv is missing", where=path
        )
    pictures = Pictures(root)
    found = Collector(root, NAME, "vindr")
    for table in read_tables:
        kaggle = "class_name" in table.header
        part = next((name for name in ("train", "test") if name in table.path.stem), "")
        for image, readers in (_boxes(table) if kaggle else _votes(table)).items():
            said = _majority(readers)
            found.counts[DataNote.DISAGREEMENT] += Label.UNCERTAIN in said.values()
            found.add(
                image,
                pictures.at(f"{part}/{image}.dicom") or pictures.named(image),
                where=table.path.name,
                finding=named_positive(said),
                labels=labels(said),
                extra=with_cells(Cells.of({}), split=part),
            )
    return found.dataset(*read_tables)


_Readers = dict[str, dict[str, bool]]
"""Reader -> finding -> whether this reader sees it."""


def _image_labels(path: Path) -> list[Path]:
    """PhysioNet's tables: an image, a reader in training, and a column for each finding; no boxes."""
    return [
        table
        for table in find_tables(path, "image_id")
        if not _BOXES & header(table) and {"no finding"} <= {name.lower() for name in header(table)}
    ]


def _boxes(table: Table) -> Mapping[str, _Readers]:
    """Kaggle: a line for each box; class 14, 'No finding', has none."""
    names = sorted({_name(record["class_name"]) for _, record in table.records})
    found: dict[str, _Readers] = defaultdict(dict)
    for _, record in table.records:
        seen = found[record["image_id"]].setdefault(record["rad_id"], dict.fromkeys(names, False))
        seen[_name(record["class_name"])] = True
    return found


def _votes(table: Table) -> Mapping[str, _Readers]:
    columns = [name for name in table.header if name not in ("image_id", "rad_id")]
    found: dict[str, _Readers] = defaultdict(dict)
    for _, record in table.records:
        readers = found[record["image_id"]]
        who = record.get("rad_id") or str(len(readers))
        readers[who] = {_name(name): number(record[name]) == 1 for name in columns}
    return found


def _name(text: str) -> str:
    """`Other diseases` in training is `Other disease` in test."""
    return "Other diseases" if text.strip().lower() == "other disease" else text.strip()


def _majority(readers: _Readers) -> dict[str, Label]:
    names = dict.fromkeys(name for seen in readers.values() for name in seen)
    said = {}
    for name in names:
        votes = sum(seen.get(name, False) for seen in readers.values())
        said[name] = (
            Label.POSITIVE if 2 * votes > len(readers) else Label.UNCERTAIN if votes else Label.NEGATIVE
        )
    return said
