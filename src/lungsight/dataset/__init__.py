"""The table, one row an X-ray, from whichever layout is on disk.

`describe`, `check`, `write_manifest` and `load_arrays` touch pixels; they are imported when first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lungsight.dataset.read import read_dataset
from lungsight.dataset.table import Dataset, Excluded, MaskSource, Note, Row, Target, is_covid

if TYPE_CHECKING:
    from lungsight.dataset.cache import Arrays, load_arrays, load_pair
    from lungsight.dataset.convert import write_manifest
    from lungsight.dataset.description import Description, check, describe
    from lungsight.dataset.target import with_target

__all__ = [
    "Arrays",
    "Dataset",
    "Description",
    "Excluded",
    "MaskSource",
    "Note",
    "Row",
    "Target",
    "check",
    "describe",
    "is_covid",
    "load_arrays",
    "load_pair",
    "read_dataset",
    "with_target",
    "write_manifest",
]

_HOMES = {
    "Arrays": "cache",
    "Description": "description",
    "check": "description",
    "describe": "description",
    "load_arrays": "cache",
    "load_pair": "cache",
    "with_target": "target",
    "write_manifest": "convert",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
