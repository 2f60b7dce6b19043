"""Lung masks as DICOM segmentation objects, for viewers and archives. Needs highdicom (the `serve` extra)."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lungsight import __version__
from lungsight.errors import InputError, require
from lungsight.files import write_bytes
from lungsight.inference.lung_masks import LEFT, RIGHT

SIDES = {RIGHT: ("Right lung", "24028007", "Right"), LEFT: ("Left lung", "7771000", "Left")}
"""Label, SNOMED CT code and meaning of the side."""

CARRIED = frozenset(
    {"SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"}
    | {"Modality", "Rows", "Columns"}
)
"""What an anonymous SEG takes from its source."""
EMPTIED = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "ReferringPhysicianName"),
    *("StudyID", "StudyDate", "StudyTime", "AccessionNumber"),
)
"""What must be there, but may be empty."""


def write_dicom_seg(
    path: str | Path,
    source: str | Path | bytes,
    labels: NDArray[np.uint8],
    *,
    algorithm: str = "Lungsight lung network",
) -> None:
    """Write `encode_dicom_seg` to a file; raises OutputError where it cannot be written, and what that raises."""
    data = encode_dicom_seg(source, labels, algorithm=algorithm)
    write_bytes(path, data)


def encode_dicom_seg(
    source: str | Path | bytes,
    labels: NDArray[np.uint8],
    *,
    algorithm: str = "Lungsight lung network",
    anonymous: bool = False,
) -> bytes:
    """A label map as a DICOM SEG that refers to the X-ray it was made from.

    Each lung is a binary segment: category Anatomical Structure, type Lung (SNOMED CT 39607008) with the
    side as its modifier (DICOM PS3.3 C.8.20.4). The patient and study of the source are carried over, as
    a SEG belongs to its study: this is the only result of lungsight that names a patient.

    Args:
        source: the X-ray, a DICOM file or its bytes.
        labels: (H, W) of the source's size: 0, 1 for the patient's right and 2 for the left lung.
        algorithm: name of the network, for the record.
        anonymous: carry over nothing but the UIDs by which a SEG finds its image and study.

    Returns:
        The bytes of the SEG file.

    Raises:
        InputError: the source is no DICOM image, lacks what a SEG must repeat, or has another size.
        MissingExtraError: highdicom is not installed.
    """
    highdicom = require("highdicom", feature="Writing DICOM SEG", extra="serve")
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError
    from pydicom.sr.codedict import codes
    from pydicom.uid import UID, generate_uid

    where = "the X-ray" if isinstance(source, bytes) else source
    try:
        image = dcmread(io.BytesIO(source) if isinstance(source, bytes) else source, stop_before_pixels=True)
    except (OSError, InvalidDicomError) as error:
        raise InputError("a DICOM SEG needs the X-ray as a DICOM file", where=where) from error
    if anonymous:
        for element in list(image):
            # A UID that is none may be anything, a name too.
            if element.keyword not in CARRIED or (element.VR == "UI" and not UID(element.value).is_valid):
                del image[element.tag]
        for word in EMPTIED:
            setattr(image, word, "")
    size = (image.get("Rows"), image.get("Columns"))
    if size != labels.shape:
        raise InputError(f"the labels are {labels.shape}, the DICOM image is {size}", where=where)
    identification = highdicom.AlgorithmIdentificationSequence(
        name=algorithm, family=codes.DCM.ArtificialIntelligence, version=__version__
    )
    segments = []
    for number, (label, code, meaning) in SIDES.items():
        segment = highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=codes.SCT.Lung,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=identification,
        )
        side = highdicom.sr.CodedConcept(code, "SCT", meaning)
        segment.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [side]
        segments.append(segment)
    # Pixel measures are optional beside the reference to the source, and highdicom would write them without the
    # thickness that a projection lacks and its own reader asks for.
    image.pop("PixelSpacing", None)
    try:
        segmentation = highdicom.seg.Segmentation(
            source_images=[image],
            pixel_array=np.ascontiguousarray(labels, np.uint8),
            segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=segments,
            series_instance_uid=generate_uid(),
            series_number=900,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer="Lungsight",
            manufacturer_model_name="Lungsight",
            software_versions=__version__,
            device_serial_number="0",
            content_label="LUNGS",
            content_description="Lungs, research use only",
            series_description="Lungs (Lungsight, research use only)",
        )
    except (AttributeError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"the DICOM file lacks what a SEG must repeat ({error})", where=where) from error
    buffer = io.BytesIO()
    segmentation.save_as(buffer)
    return buffer.getvalue()
