"""Lung masks as DICOM segmentation objects, for viewers and archives. Needs highdicom (the `dicom` extra)."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsight import __version__
from lungsight.errors import InputError, require
from lungsight.files import write_bytes
from lungsight.inference.lung_masks import LEFT, RIGHT
from lungsight.wording import say_all
from lungsight.writers.dicom_source import Identity, carry, encode, read_source

SIDES = {RIGHT: ("Right lung", "24028007", "Right"), LEFT: ("Left lung", "7771000", "Left")}
"""Label, SNOMED CT code and meaning of the side."""


ZONE_WORDS = ("upper", "middle", "lower")
"""Of the three zones of a lung, from apex to base."""


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
    zones: bool = False,
    corrected: bool = False,
    warnings: Iterable[StrEnum] = (),
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
        zones: the labels are the six zones of `lungsight.inference.zones` (1 to 6), and there is a segment for each.
        corrected: a person changed the network's mask, so that the segments are semi-automatic.
        warnings: reasons and flags that speak against the mask; every segment's description says them in words.

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
    said = describe(warnings)
    digest = _digest(labels, f"{algorithm} {said}", zones, corrected)
    sop = str(header.SOPInstanceUID)
    what = "Lung zones" if zones else "Lungs corrected by hand" if corrected else "Lungs"
    try:
        segmentation = highdicom.seg.Segmentation(
            source_images=[header],
            pixel_array=np.ascontiguousarray(labels, np.uint8),
            segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=_segments(highdicom, algorithm, said, zones=zones, corrected=corrected),
            series_instance_uid=identity.result_uid(str(header.SeriesInstanceUID), _series(zones, corrected)),
            series_number=900,
            sop_instance_uid=identity.result_uid(sop, "SEG", digest),
            instance_number=1,
            manufacturer="Lungsight",
            manufacturer_model_name="Lungsight",
            software_versions=__version__,
            device_serial_number="0",
            content_label="LUNG_ZONES" if zones else "LUNGS",
            content_description=f"{what}, research use only",
            series_description=f"{what} (Lungsight, research use only)",
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


def _series(zones: bool, corrected: bool) -> str:
    """What a series is known by: masks, zones and corrected masks of one X-ray lie in series of their own."""
    return "SEG series" + (" zones" if zones else "") + (" corrected" if corrected else "")


def describe(warnings: Iterable[StrEnum]) -> str:
    """What every segment's description says: what it is for, and what speaks against it."""
    codes = tuple(dict.fromkeys(warnings))
    said = f" Warnings: {say_all(codes)}." if codes else ""
    return f"Research use only, not for diagnosis.{said}"[:1024]


def _segments(highdicom: Any, algorithm: str, said: str, *, zones: bool, corrected: bool) -> list[Any]:
    from pydicom.sr.codedict import codes

    identification = highdicom.AlgorithmIdentificationSequence(
        name=algorithm, family=codes.DCM.ArtificialIntelligence, version=__version__
    )
    kinds = highdicom.seg.SegmentAlgorithmTypeValues
    # The zones of the Brixia score have no code of their own that we know: the label says which, the code says lung.
    named = [
        (f"{label}, {word} zone" if zones else label, code, meaning)
        for label, code, meaning in (SIDES[side] for side in (RIGHT, LEFT))
        for word in (ZONE_WORDS if zones else ("",))
    ]
    segments = []
    for number, (label, code, meaning) in enumerate(named, start=1):
        segment = highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=codes.SCT.Lung,
            algorithm_type=kinds.SEMIAUTOMATIC if corrected else kinds.AUTOMATIC,
            algorithm_identification=identification,
        )
        segment.SegmentDescription = said
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


def _digest(labels: NDArray[np.uint8], algorithm: str, zones: bool, corrected: bool) -> str:
    import hashlib

    kind = (" zones" if zones else "") + (" corrected" if corrected else "")
    digest = hashlib.sha256(f"{algorithm} {__version__} {labels.shape}{kind}".encode())
    digest.update(np.ascontiguousarray(labels).tobytes())
    return digest.hexdigest()
