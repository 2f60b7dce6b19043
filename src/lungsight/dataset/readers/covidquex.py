"""COVID-QU-Ex: no table, doubled folders, three parts and three classes, lung masks and infection masks."""

from __future__ import annotations

from pathlib import Path

from lungsight.dataset.cells import Cells
from lungsight.dataset.locate import same_name
from lungsight.dataset.masks import MaskFile
from lungsight.dataset.readers.common import Collector, folder_of, with_cells
from lungsight.dataset.table import Dataset, is_image_file
from lungsight.errors import DataError

NAME = "covid-qu-ex"
_KINDS = ("Lung Segmentation Data", "Infection Segmentation Data")
_PARTS = {"Train": "train", "Val": "validation", "Test": "test"}
_CLASSES = {"COVID-19": "COVID-19", "Non-COVID": "non-COVID pneumonia", "Normal": "normal"}


def recognise(path: Path) -> bool:
    """Whether `Train/COVID-19/images` and `lung masks` lie below, in either of the two data sets."""
    return path.is_dir() and _base(path) is not None


def read(path: Path) -> Dataset:
    """The lung data where it is there, else the infection data, which is a part of it. Nobody is named."""
    base = _base(path)
    if base is None:
        raise DataError("the layout is half there: Train/COVID-19/images is missing", where=path)
    found = Collector(folder_of(path), NAME, NAME)
    for part, split in _PARTS.items():
        for name, finding in _CLASSES.items():
            folder = base / part / name
            if not (folder / "images").is_dir():
                continue
            masks = folder / "lung masks"
            drawn = {same_name(file.stem): file for file in masks.iterdir()} if masks.is_dir() else {}
            for image in sorted(file for file in (folder / "images").iterdir() if is_image_file(file)):
                mask = drawn.get(same_name(image.stem))
                found.add(
                    f"{part}/{name}/{image.stem}",
                    image,
                    finding=finding,
                    covid=name == "COVID-19",
                    mask=MaskFile(mask) if mask is not None else None,
                    extra=with_cells(Cells.of({}), split=split),
                )
    return found.dataset()


def _base(path: Path) -> Path | None:
    """The folder with Train, Val and Test."""
    for kind in _KINDS:
        for place in (path / kind / kind, path / kind, path):
            if (place / "Train" / "COVID-19" / "images").is_dir() and (
                place / "Train" / "COVID-19" / "lung masks"
            ).is_dir():
                return place
    return None
