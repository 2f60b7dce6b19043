"""Which layout a path holds, told by its content."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lungsight.dataset.readers import ieee8023, manifest
from lungsight.dataset.readers.darwin import annotation_folder, read_darwin
from lungsight.dataset.readers.semantic import find_masks, read_semantic
from lungsight.dataset.table import Dataset
from lungsight.errors import DataError

_KNOWN = (
    "Known are a folder with manifest.csv or metadata.csv, a Darwin export (images and releases), "
    "and images with masks (images and masks)"
)


def read_dataset(path: str | Path, *, columns: Mapping[str, str] | None = None) -> Dataset:
    """Read the table of a data set in any known layout; no pixel is decoded.

    Known are a manifest (`manifest.csv` or any CSV with a column `image`), a Darwin export of V7 (JSON 1.0,
    2.x or both), a folder of images and of masks (0 background, 127 ignore, 255 lung), and the `metadata.csv`
    of the ieee8023 collection.

    Args:
        path: a folder, or the CSV or JSON file itself. `~` is the home folder.
        columns: our column name -> the table's, such as `{"finding": "diagnosis"}`; for tables only.

    Returns:
        The usable rows; `excluded` names the others and why. Nothing is left out silently.

    Raises:
        DataError: nothing is here, the layout is unknown, a column is missing, or ids are not unique.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise DataError("there is no such file or folder", where=path, hint="Check the path")
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


def _table(path: Path) -> Path | None:
    """The CSV to read: the file itself, the one with a known name, or the only one in the folder."""
    if path.is_file():
        return path if path.suffix.lower() in (".csv", ".tsv") else None
    for name in (manifest.NAME, ieee8023.NAME):
        if (path / name).is_file():
            return path / name
    tables = list(path.glob("*.csv"))
    return tables[0] if len(tables) == 1 and not (path / "releases").is_dir() else None
