"""The table: one row an X-ray, wherever it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lungsight.dataset.cells import Cells
from lungsight.dataset.finding import is_covid
from lungsight.records import Record
from lungsight.wording import DataNote, Exclusion, Label, say

__all__ = ["Dataset", "Excluded", "MaskSource", "Note", "Row", "Target", "is_covid", "is_image_file"]

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".dcm", ".dicom"})
_NOTHING: Cells[str] = Cells({}, ())
_NO_LABELS: Cells[Label] = Cells({}, ())
COVID = "COVID-19"


def is_image_file(path: Path) -> bool:
    """Whether a folder's entry is to be taken as an image: by its suffix, and not a hidden file or a folder."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


class MaskSource(Protocol):
    """Where a mask comes from: an image file, or the outlines of an annotation file."""

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


class Target(Record, frozen=True):
    """What is predicted of an image: by default whether it shows COVID-19. See `with_target`."""

    name: str = COVID
    """As the user wrote it."""
    uncertain: str = "drop"
    """How uncertain labels were taken: 'negative', 'positive' or 'drop'."""
    unmentioned: str = "negative"
    """How rows that name other findings only were taken: 'negative' or 'drop'."""
    rows_uncertain: int = 0
    rows_unmentioned: int = 0

    def __str__(self) -> str:
        """The target and how the labels were taken that are neither yes nor no."""
        taken = {"drop": "left out", "negative": "taken as negative", "positive": "taken as positive"}
        words = [f"target {self.name}"]
        if self.rows_uncertain:
            words.append(f"{self.rows_uncertain:,} uncertain labels {taken[self.uncertain]}")
        if self.rows_unmentioned:
            words.append(
                f"{self.rows_unmentioned:,} images that name other findings only {taken[self.unmentioned]}"
            )
        return ", ".join(words)


COVID_TARGET = Target()


class Note(Record, frozen=True):
    """Something that a reader met and how often."""

    code: DataNote
    count: int


@dataclass(frozen=True, slots=True)
class Row:
    """One X-ray. An empty string or None means that the data set does not say."""

    id: str
    image: Path
    mask: MaskSource | None = None
    source: str = ""
    """The collection."""
    patient: str = ""
    finding: str = ""
    covid: bool | None = None
    """Whether the target holds; the target is COVID-19 unless `with_target` has set another."""
    view: str = ""
    """A code of `lungsight.wording.View`."""
    sex: str = ""
    """'F', 'M' or empty."""
    age: float | None = None
    """Years."""
    original_filename: str = ""
    subsource: str = ""
    """The hospital, or the page, within the collection."""
    original_width: int | None = None
    original_height: int | None = None
    original_mode: str = ""
    """'L', 'RGB' ...: how the file was stored before it was converted."""
    original_bytes: int | None = None
    group: str = ""
    """Rows of one group show one film, or are to stay together for another reason."""
    heart: MaskSource | None = None
    convention: str = ""
    """How the lungs were drawn: 'full', behind heart and diaphragm (also where empty), or 'visible'."""
    collection: str = ""
    """Which of several data sets that were joined."""
    labels: Mapping[str, Label] = field(default=_NO_LABELS, hash=False)
    """What a table with a column for each finding says; a finding that it does not mention is absent."""
    extra: Mapping[str, str] = field(default=_NOTHING, hash=False, compare=False, repr=False)
    """The table's own columns, for a target such as `column=value`."""

    @property
    def positive(self) -> bool | None:
        """Whether the data set's target holds; None where it is not known."""
        return self.covid

    def files(self) -> tuple[Path, ...]:
        """What the row's pixels come from: the image, and the file with its mask."""
        return (self.image,) if self.mask is None else (self.image, self.mask.path)


@dataclass(frozen=True, slots=True)
class Excluded:
    """An image that the data set holds and the table leaves out, and why."""

    id: str
    code: Exclusion
    where: str = ""
    """The line or file, as the data set names it."""
    detail: str = ""
    """More words of our own on the reason, without any value of a file."""
    covid: bool | None = None
    broken: bool = False
    """True for a fault in the data (a file is missing), False for what the rules leave out."""
    image: Path | None = None

    @property
    def reason(self) -> str:
        """In English."""
        words = self.detail or say(self.code)
        return f"{self.where}: {words}" if self.where else words


@dataclass(frozen=True)
class Dataset:
    """Rows of one data set, in the order in which it lists them."""

    root: Path
    layout: str
    """The reader's name, such as 'manifest', 'darwin-2.0' or 'chexpert'."""
    rows: tuple[Row, ...]
    excluded: tuple[Excluded, ...] = ()
    target: Target = COVID_TARGET
    notes: tuple[Note, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def with_rows(self, rows: Iterable[Row]) -> Dataset:
        """The same data set with other rows."""
        return replace(self, rows=tuple(rows))

    def where(self, keep: Callable[[Row], bool]) -> Dataset:
        """The rows for which `keep` is true."""
        return self.with_rows(row for row in self.rows if keep(row))

    def fingerprint(self) -> str:
        """SHA-256 over the rows (ids, labels, names and sizes of files), 16 hex digits."""
        digest = hashlib.sha256()
        for row in self.rows:
            files = [(path.name, path.stat().st_size if path.exists() else -1) for path in row.files()]
            fields = (row.id, files, row.source, row.patient, row.finding, row.covid)
            digest.update("\x1f".join(map(str, fields)).encode() + b"\n")
        return digest.hexdigest()[:16]
