"""What a DICOM header says about projection, sides and the size of a pixel."""

from __future__ import annotations

from dataclasses import dataclass

from lungsight.wording import SpacingKind, View, XRayNote
from lungsight.xray.dicom_elements import Elements
from lungsight.xray.tags import (
    CALIBRATION,
    CODE_VALUE,
    IMAGER_SPACING,
    MAGNIFICATION,
    ORIENTATION,
    PIXEL_SPACING,
    SCANNED_SPACING,
    VIEW_CODES,
    VIEW_POSITION,
)
from lungsight.xray.views import VIEW_CODE_VALUES, view_code

FIELD_MM = (150.0, 700.0)
"""Longer side of the field of a chest X-ray, from a newborn's to the largest detector with room for a scanner's."""
MAGNIFICATIONS = (1.0, 2.0)
"""A chest is magnified 1.05 to 1.3 times."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """Size of a pixel (row, column) in mm, and what that size is of."""

    spacing: tuple[float, float] | None = None
    kind: str = ""
    notes: tuple[XRayNote, ...] = ()


def geometry_of(elements: Elements, rows: int, columns: int) -> Geometry:
    """Size of a pixel, in the patient where the file says so (PS3.3 10.7.1.3, C.8.7.9).

    ImagerPixelSpacing is the detector's; divided by the magnification, where that is given, it is the patient's.
    PixelSpacing is calibrated where it says by what, or differs from the detector's; alone it says nothing of where.
    """
    pixel, imager = _pair(elements, PIXEL_SPACING), _pair(elements, IMAGER_SPACING)
    factor = elements.number(MAGNIFICATION)
    magnified = factor is not None and MAGNIFICATIONS[0] <= factor <= MAGNIFICATIONS[1]
    calibrated = elements.text(CALIBRATION, 16).upper() in ("GEOMETRY", "FIDUCIAL")
    if pixel and (calibrated or (imager and not _same(pixel, imager))):
        found = pixel, SpacingKind.CALIBRATED
    elif imager and magnified and factor is not None:
        found = (imager[0] / factor, imager[1] / factor), SpacingKind.CORRECTED
    elif imager:
        found = imager, SpacingKind.DETECTOR
    elif pixel:
        found = pixel, SpacingKind.STATED
    else:
        scanned = _pair(elements, SCANNED_SPACING)
        if scanned is None:
            return Geometry()
        found = scanned, SpacingKind.DETECTOR
    (row, column), kind = found
    longer = max(rows * row, columns * column)
    if not FIELD_MM[0] <= longer <= FIELD_MM[1] or not 0.5 <= row / column <= 2:
        return Geometry(notes=(XRayNote.PIXEL_SIZE_NOT_USED,))
    return Geometry((row, column), kind)


def view_of(elements: Elements) -> tuple[View | None, tuple[XRayNote, ...]]:
    """The projection by ViewPosition, ViewCodeSequence or PatientOrientation, in this order; None where unknown."""
    said = view_code(elements.text(VIEW_POSITION, 32))
    coded = next(
        (
            VIEW_CODE_VALUES[item.text(CODE_VALUE, 16)]
            for item in elements.items(VIEW_CODES, (CODE_VALUE,), 1)
            if item.text(CODE_VALUE, 16) in VIEW_CODE_VALUES
        ),
        None,
    )
    said = None if said is View.OTHER else said
    if said is None and coded is None:
        row, _ = _directions(elements)
        if row in ("A", "P"):  # the picture is seen from the side
            return View.LATERAL, ()
    return said or coded, ()


def turned(elements: Elements) -> tuple[bool, tuple[XRayNote, ...]]:
    """Whether the patient's right is on the right of the picture, by PatientOrientation; and what is unusual.

    'L\\F' is the usual one: columns go to the patient's left, rows to the feet (PS3.3 C.7.6.1.1.1).
    """
    row, column = _directions(elements)
    if row == "R" and column == "F":
        return True, (XRayNote.MIRRORED,)
    if row == "R" and column == "H":  # turned by half
        return True, (XRayNote.UPSIDE_DOWN,)
    if row == "L" and column == "H":
        return False, (XRayNote.UPSIDE_DOWN,)
    if row in ("H", "F"):
        return False, (XRayNote.ON_ITS_SIDE,)
    return False, ()


def _directions(elements: Elements) -> tuple[str, str]:
    """The main directions of rows and columns: 'L', 'R', 'H', 'F', 'A', 'P' or ''."""
    raw = bytes(elements.values.get(ORIENTATION, b"")[:16])
    parts = [part.strip(b" \0").upper() for part in raw.split(b"\\")]
    if len(parts) != 2 or any(set(part) - set(b"LRHFAP") for part in parts):
        return "", ""
    row, column = (part[:1].decode() for part in parts)
    return row, column


def _pair(elements: Elements, tag: int) -> tuple[float, float] | None:
    values = elements.numbers(tag)
    if len(values) != 2 or not all(0 < value < 1e4 for value in values):
        return None
    return values[0], values[1]


def _same(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return all(abs(a - b) <= 1e-3 * b for a, b in zip(one, other, strict=True))
