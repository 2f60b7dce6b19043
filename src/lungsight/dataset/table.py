"""The table: one row an X-ray, wherever it came from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".dcm", ".dicom"})


def is_image_file(path: Path) -> bool:
    """Whether a folder's entry is to be taken as an image: by its suffix, and not a hidden file or a folder."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


class MaskSource(Protocol):
    """Where a lung mask comes from: a PNG, or the polygons of an annotation file."""

    def load(self) -> NDArray[np.bool_]:
        """Read the mask, (H, W) bool.

        Raises:
            DataError: it cannot be read.
        """

    def shape(self) -> tuple[int, int]:
        """(H, W), without decoding the pixels; raises DataError."""

    @property
    def path(self) -> Path:
        """The file that holds it."""


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

    def files(self) -> tuple[Path, ...]:
        """What the row's pixels come from: the image, and the file with its mask."""
        return (self.image,) if self.mask is None else (self.image, self.mask.path)


@dataclass(frozen=True, slots=True)
class Excluded:
    """An image that the data set holds and the table leaves out, and why."""

    id: str
    reason: str
    covid: bool | None = None
    broken: bool = False
    """True for a fault in the data (a file is missing), False for what the rules leave out."""
    image: Path | None = None


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
        """SHA-256 over the rows (ids, labels, names and sizes of files), 16 hex digits."""
        digest = hashlib.sha256()
        for row in self.rows:
            files = [(path.name, path.stat().st_size if path.exists() else -1) for path in row.files()]
            fields = (row.id, files, row.source, row.patient, row.finding, row.covid)
            digest.update("\x1f".join(map(str, fields)).encode() + b"\n")
        return digest.hexdigest()[:16]


_COVID = re.compile(r"\bcovid|\bsars[-_ ]?cov[-_ ]?2|\b2019[-_ ]?ncov|\bncov[-_ ]?2019")
_NEGATED = re.compile(r"\b(no|non|not|without|negative|neg)\b")
_UNKNOWN = frozenset({"", "todo", "unknown", "n/a", "na", "nan", "none", "?"})


def is_covid(finding: str) -> bool | None:
    """Whether a finding such as 'Pneumonia/Viral/COVID-19' names COVID-19; None where it says nothing.

    'No COVID-19', 'non-COVID' and 'COVID-19 negative' are not COVID.
    """
    text = finding.strip().lower()
    if text in _UNKNOWN:
        return None
    parts = re.split(r"[/,;|]", text)
    return any(_COVID.search(part) and not _NEGATED.search(part) for part in parts)
