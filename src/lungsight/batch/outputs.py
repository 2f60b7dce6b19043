"""What a run writes: files for each X-ray, and the tables over all of them."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import msgspec

from lungsight.batch.folder import PARTS, RECORDS, SHEET
from lungsight.errors import ConfigError, LungsightError, OutputError
from lungsight.files import AtomicStream, write_bytes
from lungsight.inference import Result, ResultRecord
from lungsight.inference.drawing import encode_mask, encode_picture, thumbnail, transparent
from lungsight.wording import Status
from lungsight.writers import shapes
from lungsight.writers.contact import ContactSheet, thumbnail_of
from lungsight.writers.dicom_source import Identity
from lungsight.writers.results import ResultsJson

OVERLAY_SIDE = 2048
"""Larger X-rays get a smaller overlay: it is there to be looked at. Masks keep the size of the file."""

FORMATS = {
    "nifti": ("nifti", ".nii.gz"),
    "coco": ("coco", ".json"),
    "rle": ("rle", ".json"),
    "darwin": ("darwin", ".json"),
    "labelme": ("labelme", ".json"),
    "transparent": ("transparent", ".png"),
    "zones": ("zones", ".png"),
    "seg": ("seg", ".dcm"),
    "seg-zones": ("seg-zones", ".dcm"),
    "sc": ("sc", ".dcm"),
    "sr": ("sr", ".dcm"),
}
"""Further forms of the masks: folder and ending of their files. `coco` is gathered in `coco.json` too."""

DICOM_FORMATS = ("seg", "seg-zones", "sc", "sr")
"""Of X-rays that are DICOM files themselves."""

TABLES = ("csv", "parquet")

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE}
"""With these nothing more can be written, whatever its name."""


@dataclass(frozen=True, slots=True)
class Written:
    """A row, and the thumbnail that belongs to it where one was made."""

    row: ResultRecord
    thumbnail: bytes | None = None
    duplicate: bool = False


class Outputs:
    """The files of each X-ray below the folder of results."""

    def __init__(
        self,
        folder: Path,
        *,
        labels: bool = False,
        overlays: bool = True,
        outline: bool = False,
        formats: tuple[str, ...] = (),
        table: str = "csv",
        identity: Identity | None = None,
        include_score: bool = False,
    ) -> None:
        """Say what is to be written.

        Raises:
            ConfigError: a format or table is not known.
        """
        for name in formats:
            if name not in FORMATS:
                raise ConfigError(
                    "the format is not known", where="formats", hint=f"Known: {', '.join(FORMATS)}"
                )
        if table not in TABLES:
            raise ConfigError("the table is not known", where="table", hint=f"Known: {', '.join(TABLES)}")
        self.folder, self.labels, self.overlays, self.outline = folder, labels, overlays, outline
        self.identity, self.include_score = identity or Identity(), include_score
        self.formats = tuple(name for name in FORMATS if name in formats)
        self.kinds = (
            *(["overlays-outline" if outline else "overlays"] if overlays else []),
            *self.formats,
            table,
            *(["new-uids"] if self.identity.new_uids else ["anonymous"] if self.identity.anonymous else []),
            *(["score-in-sr"] if include_score else []),
        )

    def write(self, result: Result, stem: str, *, with_thumbnail: bool = True) -> Written:
        """Every file of one X-ray.

        Args:
            result: of the X-ray.
            stem: its path below the folder of each kind, without an ending.
            with_thumbnail: make one, which takes as long as an overlay; the contact sheet has the first X-rays only.

        Returns:
            Its row; that of a failure where its files, and no others, cannot be written.

        Raises:
            OutputError: nothing can be written.
        """
        row = result.record
        if self.identity.anonymous:
            row = msgspec.structs.replace(row, study_uid="", series_uid="", sop_uid="")
        mask, picture = PurePath("masks") / f"{stem}.png", PurePath("overlays") / f"{stem}.jpg"
        try:
            write_bytes(self.folder / mask, encode_mask(result.labels if self.labels else result.mask))
            row = msgspec.structs.replace(row, mask=mask.as_posix())
            drawn = None
            if self.overlays or with_thumbnail:
                drawn = result.overlay(side=OVERLAY_SIDE, alpha=0.0 if self.outline else 0.15)
            if self.overlays and drawn is not None:
                write_bytes(self.folder / picture, encode_picture(drawn, ".jpg"))
                row = msgspec.structs.replace(row, overlay=picture.as_posix())
            for name in self.formats:
                data = self._dicom(name, result) if name in DICOM_FORMATS else _encode(name, result)
                if data is not None:
                    write_bytes(self._path(name, stem), data)
        except LungsightError as error:
            cause = error.__cause__
            if isinstance(error, OutputError) and isinstance(cause, OSError) and cause.errno in _NO_ROOM:
                raise
            return Written(_failed(row, error))
        except MemoryError:
            return Written(_failed(row, OutputError("needs more memory than there is", code="memory")))
        return Written(row, thumbnail(drawn) if with_thumbnail and drawn is not None else None)

    def are_whole(self, row: ResultRecord) -> bool:
        """Whether every file that a row names is there and not cut; what is not is made again on resume."""
        names = [name for name in (row.mask, row.overlay) if name]
        if row.mask:
            stem = str(PurePath(*PurePath(row.mask).parts[1:]).with_suffix(""))
            wanted = [name for name in self.formats if name not in DICOM_FORMATS or row.format == "DICOM"]
            names += [str(self._path(name, stem).relative_to(self.folder)) for name in wanted]
            if self.overlays and not row.overlay:
                return False
        return all(_is_whole(self.folder / name) for name in names)

    def thumbnail_of(self, row: ResultRecord) -> bytes | None:
        """From the files of an earlier run."""
        return thumbnail_of(row, self.folder)

    def _dicom(self, name: str, result: Result) -> bytes | None:
        if result.xray.format != "DICOM":
            return None
        from lungsight.writers.dicom_results import encode_results

        found = encode_results(result.name, result, [name], self.identity, include_score=self.include_score)
        return found[0][1]

    def _path(self, name: str, stem: str) -> Path:
        place, ending = FORMATS[name]
        return self.folder / place / f"{stem}{ending}"


def _encode(name: str, result: Result) -> bytes | None:
    """The file of one format; None where the X-ray has none in it."""
    if name == "nifti":
        return shapes.nifti(result.labels, result.xray.spacing)
    if name == "zones":
        return encode_mask(result.zones)
    if name == "transparent":
        return encode_picture(transparent(result.labels), ".png")
    makers: dict[str, Callable[[Any, str], dict[str, Any]]] = {
        "coco": shapes.coco,
        "rle": shapes.rle,
        "darwin": shapes.darwin,
        "labelme": shapes.labelme,
    }
    name_of_file = result.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return json.dumps(makers[name](result.labels, name_of_file), separators=(",", ":")).encode()


def _failed(row: ResultRecord, error: LungsightError) -> ResultRecord:
    return ResultRecord(
        input=row.input, status=Status.FAILED, error=error.code, message=error.message, seconds=row.seconds
    )


_ENDS = {".png": b"IEND\xaeB`\x82", ".jpg": b"\xff\xd9", ".json": b"}"}


def _is_whole(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - 8))
            return size > 0 and file.read().endswith(_ENDS.get(path.suffix, b""))
    except OSError:
        return False


class Sinks:
    """The tables over all X-rays beside `results.csv`, from rows as they come; they are there once it is closed."""

    def __init__(self, folder: Path, *, table: str = "csv", formats: tuple[str, ...] = ()) -> None:
        """Begin them; raises OutputError, and MissingExtraError where pyarrow is needed and absent."""
        self._sheet, self._json = ContactSheet(folder / SHEET), ResultsJson(folder / RECORDS)
        self._coco = CocoFile(folder) if "coco" in formats else None
        self._parquet = None
        if table == "parquet":
            from lungsight.writers.parquet import ParquetParts

            self._parquet = ParquetParts(folder / PARTS)

    @property
    def wants_thumbnail(self) -> bool:
        """The contact sheet still takes entries."""
        return not self._sheet.full

    def add(self, row: ResultRecord, picture: bytes | None) -> None:
        """One row, and its thumbnail as JPEG."""
        self._sheet.add(row, picture)
        for table in (self._json, self._coco, self._parquet):
            if table is not None:
                table.add(row)

    def close(self) -> None:
        """Move them to their places."""
        for table in (self._sheet, self._json, self._coco, self._parquet):
            if table is not None:
                table.close()


class CocoFile:
    """`coco.json` over the files of `coco/`, in the order of the rows."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._images = AtomicStream(folder / "coco.json")
        # Annotations stand after the images: they are gathered apart.
        self._annotations = AtomicStream(folder / ".coco.annotations")
        self._image = self._annotation = 0
        self._images.write('{"info":{"description":"Lungsight, research use only"},"images":[')

    def add(self, row: ResultRecord) -> None:
        """What the file of one row holds."""
        if not row.mask:
            return
        stem = PurePath(*PurePath(row.mask).parts[1:]).with_suffix(".json")
        try:
            found = json.loads((self._folder / "coco" / stem).read_bytes())
        except (OSError, ValueError):
            return
        self._images.write(
            f"{',' if self._image else ''}\n" + json.dumps({"id": self._image + 1, **found["image"]})
        )
        self._image += 1
        for one in found["annotations"]:
            self._annotation += 1
            told = {"id": self._annotation, "image_id": self._image, **one}
            self._annotations.write(
                f"{',' if self._annotation > 1 else ''}\n{json.dumps(told, separators=(',', ':'))}"
            )

    def close(self) -> None:
        """End the file and move it to its place."""
        self._annotations.close()
        path = self._folder / ".coco.annotations"
        self._images.write('\n],"annotations":[')
        for piece in _pieces(path):
            self._images.write(piece)
        self._images.write('\n],"categories":' + json.dumps(shapes.coco_categories()) + "}\n")
        self._images.close()
        path.unlink(missing_ok=True)


def _pieces(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        while piece := file.read(1 << 20):
            yield piece
