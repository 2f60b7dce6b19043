"""Which layout a path holds, told by its content."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from lungsight.dataset.readers import ieee8023, manifest
from lungsight.dataset.readers.common import Layout
from lungsight.dataset.readers.darwin import annotation_folder, read_darwin
from lungsight.dataset.readers.semantic import find_masks, read_semantic
from lungsight.dataset.table import Dataset
from lungsight.errors import DataError

LAYOUTS = (
    *("nih", "chexpert", "mimic", "padchest", "vindr", "rsna", "covidx", "covidquex", "radiography", "bimcv"),
    *("hannover", "agchung", "brixia", "ricord", "jsrt", "nlm", "chexmask"),
)
"""Modules of `lungsight.dataset.readers`; each is asked in this order whether a path is its layout."""
_KNOWN = (
    "Known are a folder with manifest.csv or metadata.csv, a Darwin export (images and releases), "
    "images with masks (images and masks), and the layouts of public collections"
)


def read_dataset(path: str | Path, *, columns: Mapping[str, str] | None = None) -> Dataset:
    """Read the table of a data set in any known layout; no pixel is decoded.

    Known are a manifest (`manifest.csv` or any CSV with a column `image`), a Darwin export of V7 (JSON 1.0,
    2.x or both), a folder of images and of masks (0 background, 127 ignore, 255 lung), the `metadata.csv`
    of the ieee8023 collection, and the public collections of `LAYOUTS` as they are handed out.

    Args:
        path: a folder, or the CSV or JSON file itself. `~` is the home folder.
        columns: our column name -> the table's, such as `{"finding": "diagnosis"}`; for tables only.

    Returns:
        The usable rows; `excluded` names the others and why. Nothing is left out silently.

    Raises:
        DataError: nothing is here, the layout is unknown or half there, a column is missing, or ids are not unique.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise DataError("there is no such file or folder", where=path, hint="Check the path")
    manifest_here = path.is_dir() and (path / manifest.NAME).is_file()
    if not columns and not manifest_here and (layout := public_layout(path)) is not None:
        return layout.read(path)
    table = _table(path)
    if table is not None:
        header, _ = manifest.read_table(table)
        if ieee8023.is_metadata(header) and "image" not in (columns or {}):
            return ieee8023.read_metadata(table, columns=columns)
        return manifest.read_manifest(table, columns=columns)
    if columns:
        raise DataError("column names can be given for a table only, and there is none", where=path)
    if path.is_file():
        if path.suffix.lower() == ".json":
            return read_darwin(path)
        raise DataError("not a data set", where=path, hint=_KNOWN)
    if next(path.iterdir(), None) is None:
        raise DataError("the folder is empty", where=path, hint=_KNOWN)
    if annotation_folder(path) is not None:
        return read_darwin(path)
    masks = find_masks(path)
    if masks is not None:
        return read_semantic(path, *masks)
    raise DataError("the layout of this folder is not known", where=path, hint=_KNOWN)


def public_layout(path: Path) -> Layout | None:
    """The reader of a public collection that recognises the path, if any does."""
    if path.is_dir() and (path / "releases").is_dir():
        return None
    for name in LAYOUTS:
        layout = cast(Layout, importlib.import_module(f"lungsight.dataset.readers.{name}"))
        if layout.recognise(path):
            return layout
    return None


def _table(path: Path) -> Path | None:
    """The CSV to read: the file itself, the one with a known name, or the only one in the folder."""
    if path.is_file():
        return path if path.name.lower().endswith((".csv", ".tsv", ".csv.gz", ".tsv.gz")) else None
    for name in (manifest.NAME, ieee8023.NAME):
        if (path / name).is_file():
            return path / name
    tables = list(path.glob("*.csv"))
    return tables[0] if len(tables) == 1 and not (path / "releases").is_dir() else None
