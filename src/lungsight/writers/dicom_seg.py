"""Lung masks as DICOM segmentation objects, for viewers and archives. Needs highdicom (the `dicom` extra)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsight import __version__
from lungsight.errors import InputError, require
from lungsight.files import write_bytes
from lungsight.inference.lung_masks import LEFT, RIGHT
from lungsight.writers.dicom_source import Identity, carry, encode, read_source

SIDES = {RIGHT: ("Right lung", "24028007", "Right"), LEFT: ("Left lung", "7771000", "Left")}
"""Label, SNOMED CT code and meaning of the side."""


def write_dicom_seg(
    path: str | Path,
    source: str | Path | bytes,
    labels: NDArray[np.uint8],
    *,
    algorithm: str = "Lungsight lung network",
    identity: Identity | None = None,
) -> None:
    """Write `encode_dicom_seg` to a file; raises OutputError where it cannot be written, and what that raises."""
    write_bytes(path, encode_dicom_seg(source, labels, algorithm=algorithm, identity=identity))


def encode_dicom_seg(
    source: str | Path | bytes,
    labels: NDArray[np.uint8],
    *,
    algorithm: str = "Lungsight lung network",
    anonymous: bool = False,
    identity: Identity | None = None,
    spacing: tuple[float, float] | None = None,
) -> bytes:
    """A label map as a DICOM SEG that refers to the X-ray it was made from.

    Each lung is a binary segment: category Anatomical Structure, type Lung (SNOMED CT 39607008) with the
    side as its modifier (DICOM PS3.3 C.8.20.4). The patient and study of the source are carried over, as
    a SEG belongs to its study, unless it is to be anonymous.

    Args:
        source: the X-ray, a DICOM file or its bytes.
        labels: (H, W) of the source's size: 0, 1 for the patient's right and 2 for the left lung.
        algorithm: name of the network, for the record.
        anonymous: carry over nothing but the UIDs by which a SEG finds its image and study.
        identity: how the run names patient and objects, in place of `anonymous`.
        spacing: size of a pixel (row, column) in mm, where it is known.

    Returns:
        The bytes of the SEG file. The same source and labels give the same SOPInstanceUID.

    Raises:
        InputError: the source is no DICOM image, lacks what a SEG must repeat, or has another size.
        MissingExtraError: highdicom is not installed.
    """
    highdicom = require("highdicom", feature="Writing DICOM SEG", extra="dicom")
    identity = identity or Identity(anonymous)
    header = read_source(source, identity)
    where = "the X-ray" if isinstance(source, bytes) else str(source)
    if (header.get("Rows"), header.get("Columns")) != labels.shape:
        raise InputError("the mask has another size than the DICOM image", code="other_size", where=where)
    digest = _digest(labels, algorithm)
    sop = str(header.SOPInstanceUID)
    try:
        segmentation = highdicom.seg.Segmentation(
            source_images=[header],
            pixel_array=np.ascontiguousarray(labels, np.uint8),
            segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=_segments(highdicom, algorithm),
            series_instance_uid=identity.result_uid(str(header.SeriesInstanceUID), "SEG series"),
            series_number=900,
            sop_instance_uid=identity.result_uid(sop, "SEG", digest),
            instance_number=1,
            manufacturer="Lungsight",
            manufacturer_model_name="Lungsight",
            software_versions=__version__,
            device_serial_number="0",
            content_label="LUNGS",
            content_description="Lungs, research use only",
            series_description="Lungs (Lungsight, research use only)",
            omit_empty_frames=False,
        )
    except (AttributeError, KeyError, ValueError, TypeError) as error:
        raise InputError(
            "the DICOM file lacks what a SEG must repeat", code="no_reference", where=where, detail=str(error)
        ) from error
    if spacing is not None:
        _measure(segmentation, spacing)
    carry(segmentation, header, identity)
    return encode(segmentation)


def _segments(highdicom: Any, algorithm: str) -> list[Any]:
    from pydicom.sr.codedict import codes

    identification = highdicom.AlgorithmIdentificationSequence(
        name=algorithm, family=codes.DCM.ArtificialIntelligence, version=__version__
    )
    segments = []
    for number, (label, code, meaning) in sorted(SIDES.items()):
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
    return segments


def _measure(segmentation: Any, spacing: tuple[float, float]) -> None:
    """The size of a pixel; the standard wants a thickness too, which a projection does not have: 1 mm stands in."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    item = Dataset()
    item.PixelSpacing = [f"{value:.8g}" for value in spacing]
    item.SliceThickness = "1"
    segmentation.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence = Sequence([item])


def _digest(labels: NDArray[np.uint8], algorithm: str) -> str:
    import hashlib

    digest = hashlib.sha256(f"{algorithm} {__version__} {labels.shape}".encode())
    digest.update(np.ascontiguousarray(labels).tobytes())
    return digest.hexdigest()
