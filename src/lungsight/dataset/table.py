"""The table: one row an X-ray, wherever it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class MaskSource(Protocol):
    """Where a lung mask comes from: a PNG, or the polygons of an annotation file."""

    def load(self) -> NDArray[np.bool_]:
        """Read the mask, (H, W) bool.

        Raises:
            DataError: it cannot be read.
        """


@dataclass(frozen=True, slots=True)
class Row:
    """One X-ray. An empty string or None means that the data set does not say."""

    id: str
    image: Path
    mask: MaskSource | None = None
    source: str = ""
    patient: str = ""
    finding: str = ""
    covid: bool | None = None
    view: str = ""
    sex: str = ""
    age: float | None = None
    original_filename: str = ""


@dataclass(frozen=True, slots=True)
class Excluded:
    """An image that the data set holds and the table leaves out, and why."""

    id: str
    reason: str
    covid: bool | None = None


@dataclass(frozen=True)
class Dataset:
    """Rows of one data set, in the order in which it lists them."""

    root: Path
    layout: str
    """'manifest', 'darwin-1.0', 'darwin-2.0', 'semantic-masks' or 'ieee8023-metadata'."""
    rows: tuple[Row, ...]
    excluded: tuple[Excluded, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def where(self, keep: Callable[[Row], bool]) -> Dataset:
        """The rows for which `keep` is true."""
        return Dataset(self.root, self.layout, tuple(row for row in self.rows if keep(row)), self.excluded)

    def fingerprint(self) -> str:
        """SHA-256 over the rows (ids, labels, file names and file sizes), 16 hex digits: names the data of a run."""
        digest = hashlib.sha256()
        for row in self.rows:
            size = row.image.stat().st_size if row.image.exists() else -1
            fields = (row.id, row.image.name, size, row.source, row.patient, row.finding, row.covid)
            digest.update("\x1f".join(map(str, fields)).encode() + b"\n")
        return digest.hexdigest()[:16]
