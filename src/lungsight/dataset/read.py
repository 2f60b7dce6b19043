"""Which layout a path holds, told by its content."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lungsight.dataset.manifest import NAME, read_manifest
from lungsight.dataset.table import Dataset
from lungsight.errors import DataError


def read_dataset(path: str | Path, *, columns: Mapping[str, str] | None = None) -> Dataset:
    path = Path(path)
    if not path.exists():
        raise DataError("there is nothing here", where=path, hint="Check the path")
    return read_manifest(path / NAME if path.is_dir() else path, columns=columns)
