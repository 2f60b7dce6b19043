"""What an audit has done so far, on disk: a stopped audit does no unit of work twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from lungsight.errors import LungsightError
from lungsight.files import write_bytes
from lungsight.records import Record, from_json, plain, to_json

R = TypeVar("R", bound=Record)
FORMAT = 3
"""Raise it when a unit of work would come out differently."""


class Stored(Record, frozen=True):
    """One file: the record, and what it was made of."""

    key: str
    found: dict[str, Any]


class Store:
    """Records by name, in one folder; what was made of another model, table or setting does not count.

    Args:
        folder: made when first written to; None keeps nothing.
        made_of: whatever the results depend on.
    """

    def __init__(self, folder: Path | None, *made_of: object) -> None:
        self._folder = folder
        self._key = hashlib.sha256(repr((FORMAT, *map(plain, made_of))).encode()).hexdigest()

    def get(self, kind: type[R], name: str, make: Callable[[], R]) -> R:
        """The record `name` as it was made before, or made now and kept."""
        found = self._read(kind, name)
        if found is None:
            found = make()
            if self._folder is not None:
                write_bytes(self._path(name), to_json(Stored(self._key, plain(found)), indent=0))
        return found

    def _path(self, name: str) -> Path:
        return (self._folder or Path()) / f"{name}.json"

    def _read(self, kind: type[R], name: str) -> R | None:
        if self._folder is None:
            return None
        try:
            stored = from_json(Stored, self._path(name).read_bytes())
            if stored.key != self._key:
                return None
            return from_json(kind, to_json(stored.found, indent=0))
        except (OSError, LungsightError):
            return None
