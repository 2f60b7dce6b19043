"""CheXmask: lung masks as run lengths in a table, for the images of another collection beside it."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lungsight.dataset.masks import MAX_PIXELS
from lungsight.dataset.readers.common import Collector, Pictures, find_tables, folder_of
from lungsight.dataset.readers.delimited import number, whole
from lungsight.dataset.table import Dataset
from lungsight.errors import DataError
from lungsight.wording import Exclusion

NAME = "chexmask"
_COLUMNS = ("Dice RCA (Mean)", "Left Lung", "Right Lung", "Height", "Width")
_IDS = ("Image Index", "Path", "dicom_id", "ImageID", "image_id")
PREPROCESSED = (1024, 1024)
"""Of every image in the folder of that name, also where the table leaves the size blank."""
LEAST_RCA = 0.7
"""Of the estimated Dice of a mask that nobody has drawn; the collection's own advice."""
csv.field_size_limit(1 << 26)


@dataclass(frozen=True, slots=True)
class RunMask:
    """A mask in one line of a table; it is read when it is wanted, since a table holds gigabytes of them."""

    path: Path
    offset: int
    """Of the line in the file, in bytes."""
    columns: tuple[int, ...]
    """Of the organs that belong to the mask."""
    size: tuple[int, int]

    def load(self) -> NDArray[np.bool_]:
        """(H, W); raises DataError."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            cells = next(csv.reader([file.readline().decode("utf-8", "replace")]))
        masks = [decode_runs(cells[column], self.size, self.path) for column in self.columns]
        return np.asarray(np.logical_or.reduce(masks))

    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.size


def decode_runs(text: str, size: tuple[int, int], where: str | Path = "") -> NDArray[np.bool_]:
    """`start length start length ...`, starts counted from 1, row by row, as a mask (H, W); raises DataError."""
    try:
        numbers = np.array(text.split(), np.int64)
    except (ValueError, OverflowError) as error:
        raise DataError("the run lengths are not whole numbers", where=where) from error
    starts, lengths = numbers[::2] - 1, numbers[1::2]
    pixels = size[0] * size[1]
    if len(starts) != len(lengths) or (len(starts) and (starts.min() < 0 or lengths.min() < 0)):
        raise DataError("the run lengths are no pairs of start and length from 1", where=where)
    if len(starts) and (starts + lengths).max() > pixels:
        raise DataError("the run lengths go beyond the image", where=where)
    steps = np.zeros(pixels + 1, np.int32)
    np.add.at(steps, starts, 1)
    np.add.at(steps, starts + lengths, -1)
    return np.asarray(np.cumsum(steps[:-1]) > 0).reshape(size)


def recognise(path: Path) -> bool:
    """Whether a table has this collection's columns."""
    return bool(find_tables(path, *_COLUMNS, depth=2))


def read(path: Path) -> Dataset:
    """Images are found by name below the folder; masks with too low an estimated Dice are left out.

    Raises:
        DataError: the table is packed (its lines cannot be reached one by one).
    """
    found_tables = find_tables(path, *_COLUMNS, depth=2)
    root = folder_of(path)
    pictures = Pictures(root)
    found = Collector(root, NAME, NAME)
    for table in found_tables:
        if table.suffix == ".gz":
            raise DataError("the table is packed", where=table, hint="Unpack it first: gunzip -k FILE")
        with table.open("rb") as file:
            names = [name.strip().strip("\ufeff") for name in next(csv.reader([file.readline().decode()]))]
            place = {name: number for number, name in enumerate(names)}
            identity = next((place[name] for name in _IDS if name in place), None)
            if identity is None:
                raise DataError("the table has no column with the image's name", where=table)
            lungs = place["Left Lung"], place["Right Lung"]
            line = 1
            while True:
                offset = file.tell()
                raw = file.readline()
                line += 1
                if not raw:
                    break
                cells = next(csv.reader([raw.decode("utf-8", "replace")]), [])
                if len(cells) != len(names):
                    if raw.strip():
                        found.leave_out(f"line {line}", Exclusion.UNREADABLE, f"line {line}", broken=True)
                    continue
                name = cells[identity].strip()
                size = whole(cells[place["Height"]]), whole(cells[place["Width"]])
                if table.parent.name == "Preprocessed" and size == (None, None):
                    size = PREPROCESSED
                image = pictures.at(name) or pictures.named(name)
                # In one of the tables Mean and Max are swapped: the smaller of the two is the mean.
                rca = [
                    number(cells[place[key]]) for key in ("Dice RCA (Mean)", "Dice RCA (Max)") if key in place
                ]
                mask = None
                if None not in size and min((v for v in rca if v is not None), default=0.0) >= LEAST_RCA:
                    shape = (size[0] or 0, size[1] or 0)
                    if 0 < shape[0] * shape[1] <= MAX_PIXELS:
                        mask = RunMask(table, offset, lungs, shape)
                found.add(name, image, where=f"line {line}", mask=mask)
    return found.dataset()
