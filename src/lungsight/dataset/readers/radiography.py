"""COVID-19 Radiography Database: a folder a class with images, masks and a workbook of where they came from."""

from __future__ import annotations

import re
from pathlib import Path

from lungsight.dataset.cells import Cells
from lungsight.dataset.locate import same_name
from lungsight.dataset.masks import MaskFile
from lungsight.dataset.readers.common import Collector, folder_of, with_cells
from lungsight.dataset.readers.xlsx import read_sheet
from lungsight.dataset.table import Dataset, is_image_file
from lungsight.errors import DataError

NAME = "covid19-radiography"
_CLASSES = {
    "covid": "COVID-19",
    "lung_opacity": "Lung Opacity",
    "normal": "normal",
    "viral pneumonia": "viral pneumonia",
}


def recognise(path: Path) -> bool:
    """Whether a folder has COVID and two more of the classes, with images in them or in `images`."""
    return path.is_dir() and len(_folders(path)) >= 3 and "covid" in _folders(path)


def read(path: Path) -> Dataset:
    """The sub-source is the page that an image came from; there is no patient, view, sex or age.

    The masks are made by a machine.
    """
    root = folder_of(path)
    found = Collector(root, NAME, "radiography")
    for key, folder in _folders(root).items():
        nested = next((one for one in folder.iterdir() if one.name.lower() == "images"), folder)
        masks = next((one for one in folder.iterdir() if one.name.lower() == "masks"), None)
        drawn = {same_name(file.name): file for file in masks.iterdir()} if masks is not None else {}
        pages = _pages(root, folder)
        for image in sorted(file for file in nested.iterdir() if is_image_file(file)):
            mask = drawn.get(same_name(image.name))
            page = pages.get(same_name(image.stem), "")
            found.add(
                image.stem,
                image,
                finding=_CLASSES[key],
                covid=key == "covid",
                mask=MaskFile(mask) if mask is not None else None,
                subsource=re.sub(r"^\w+://(?:www\.)?", "", page)[:120],
                extra=with_cells(Cells.of({}), url=page),
            )
    return found.dataset()


def _folders(path: Path) -> dict[str, Path]:
    try:
        folders = [one for one in path.iterdir() if one.is_dir() and one.name.lower() in _CLASSES]
    except OSError:
        return {}
    return {one.name.lower(): one for one in sorted(folders)}


def _pages(root: Path, folder: Path) -> dict[str, str]:
    """Name of an image -> URL, from `<class>.metadata.xlsx`; case and blanks of the name may differ."""
    wanted = re.sub(r"[\W_]", "", folder.name).lower()
    for file in root.glob("*.metadata.xlsx"):
        if re.sub(r"[\W_]", "", file.name.partition(".")[0]).lower() == wanted:
            try:
                rows = read_sheet(file)
            except DataError:
                return {}
            return {same_name(row.get("FILE NAME", "")): row.get("URL", "") for row in rows}
    return {}
