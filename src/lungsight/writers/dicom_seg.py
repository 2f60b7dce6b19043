"""Lung masks as DICOM segmentation objects, for viewers and archives. Needs highdicom (the `serve` extra)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lungsight import __version__
from lungsight.errors import InputError, require
from lungsight.files import atomic_write
from lungsight.writers.pictures import LEFT, RIGHT

SIDES = {LEFT: ("Left lung", "7771000", "Left"), RIGHT: ("Right lung", "24028007", "Right")}
"""Label, SNOMED CT code and meaning of the side."""


def write_dicom_seg(
    path: str | Path,
    source: str | Path,
    labels: NDArray[np.uint8],
    *,
    algorithm: str = "Lungsight lung network",
) -> None:
    """Write a label map as a DICOM SEG that refers to the X-ray it was made from.

    Each lung is a binary segment: category Anatomical Structure, type Lung (SNOMED CT 39607008) with the
    side as its modifier (DICOM PS3.3 C.8.20.4). The patient and study of the source are carried over, as
    a SEG belongs to its study: this is the only result of lungsight that names a patient.

    Args:
        path: the SEG file.
        source: the X-ray, a DICOM file.
        labels: (H, W) of the source's size: 0, 1 for the patient's left and 2 for the right lung.
        algorithm: name of the network, for the record.

    Raises:
        InputError: the source is no DICOM image, lacks what a SEG must repeat, or has another size.
        MissingExtraError: highdicom is not installed.
        OutputError: the file cannot be written.
    """
    highdicom = require("highdicom", feature="Writing DICOM SEG", extra="serve")
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    try:
        image = dcmread(source, stop_before_pixels=True)
    except (OSError, InvalidDicomError) as error:
        raise InputError("a DICOM SEG needs the X-ray as a DICOM file", where=source) from error
    size = (image.get("Rows"), image.get("Columns"))
    if size != labels.shape:
        raise InputError(f"the labels are {labels.shape}, the DICOM image is {size}", where=source)
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
        raise InputError(f"the DICOM file lacks what a SEG must repeat ({error})", where=source) from error
    with atomic_write(path) as temporary:
        segmentation.save_as(temporary)
