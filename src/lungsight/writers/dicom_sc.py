"""An overlay as a DICOM Secondary Capture image, which every viewer shows. Needs highdicom (the `dicom` extra)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsight.errors import InputError, require
from lungsight.writers.dicom_source import Identity, carry, encode, read_source


def encode_dicom_sc(
    source: str | Path | bytes,
    picture: NDArray[np.uint8],
    *,
    identity: Identity | None = None,
    spacing: tuple[float, float] | None = None,
) -> bytes:
    """A picture with the lungs outlined as a Secondary Capture image that refers to its X-ray (PS3.3 A.8.1).

    Args:
        source: the X-ray, a DICOM file or its bytes.
        picture: (h, w, 3) RGB; may be smaller than the X-ray.
        identity: how the run names patient and objects.
        spacing: size of a pixel of the picture (row, column) in mm, where it is known.

    Raises:
        InputError: the source is no DICOM image, or lacks what a result must repeat.
        MissingExtraError: highdicom is not installed.
    """
    highdicom = require("highdicom", feature="Writing DICOM Secondary Capture", extra="dicom")
    identity = identity or Identity()
    header = read_source(source, identity)
    sop = str(header.SOPInstanceUID)
    digest = hashlib.sha256(np.ascontiguousarray(picture).tobytes() + str(picture.shape).encode()).hexdigest()
    orientation = header.get("PatientOrientation") or None
    try:
        capture = highdicom.sc.SCImage(
            pixel_array=np.ascontiguousarray(picture, np.uint8),
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            study_instance_uid=str(header.StudyInstanceUID),
            series_instance_uid=identity.result_uid(str(header.SeriesInstanceUID), "SC series"),
            series_number=901,
            sop_instance_uid=identity.result_uid(sop, "SC", digest),
            instance_number=1,
            manufacturer="Lungsight",
            patient_id=header.PatientID,
            patient_name=header.PatientName,
            patient_birth_date=header.PatientBirthDate or None,
            patient_sex=header.PatientSex or None,
            accession_number=header.AccessionNumber,
            study_id=header.StudyID,
            study_date=header.StudyDate or None,
            study_time=header.StudyTime or None,
            referring_physician_name=header.ReferringPhysicianName,
            pixel_spacing=spacing,
            patient_orientation=tuple(orientation) if orientation else ("L", "F"),
            series_description="Lungs outlined (Lungsight, research use only)",
        )
    except (AttributeError, KeyError, ValueError, TypeError) as error:
        where = "the X-ray" if isinstance(source, bytes) else str(source)
        raise InputError(
            "the DICOM file lacks what a result must repeat",
            code="no_reference",
            where=where,
            detail=str(error),
        ) from error
    if not orientation:
        capture.PatientOrientation = ""
    _refer(capture, header)
    carry(capture, header, identity)
    return encode(capture)


def _refer(capture: Any, header: Any) -> None:
    """To the X-ray that it was drawn on."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    item.PurposeOfReferenceCodeSequence = Sequence(
        [_code("121322", "DCM", "Source of Image Processing Operation")]
    )
    capture.SourceImageSequence = Sequence([item])
    capture.BodyPartExamined = "CHEST"
    capture.ImageType = ["DERIVED", "SECONDARY"]
    capture.DerivationDescription = "Lungs outlined, research use only"
    capture.DerivationCodeSequence = Sequence([_code("113091", "DCM", "Pixel by pixel mask")])


def _code(value: str, scheme: str, meaning: str) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item
