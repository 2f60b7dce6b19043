"""Lung areas as a DICOM structured report (TID 1500). Needs highdicom (the `dicom` extra)."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

from lungsight import __version__
from lungsight.errors import InputError, require
from lungsight.wording import SpacingKind, say
from lungsight.writers.dicom_seg import SIDES
from lungsight.writers.dicom_source import Identity, carry, encode, read_source

SCHEME = "99LUNGSIGHT"
"""Of the codes that no standard has."""


def encode_dicom_sr(
    source: str | Path | bytes,
    areas: dict[int, int],
    *,
    spacing: tuple[float, float] | None = None,
    spacing_kind: str = "",
    score: float | None = None,
    algorithm: str = "Lungsight lung network",
    identity: Identity | None = None,
) -> bytes:
    """The areas of the lungs as a measurement report that refers to its X-ray (PS3.16 TID 1500, TID 1501).

    Each lung is a group of measurements: its area in pixels, and in mm² where the size of a pixel is known, with what
    that size is of as the method. The report is neither complete nor verified: nobody has looked at it.

    Args:
        source: the X-ray, a DICOM file or its bytes.
        areas: label of the side -> pixels.
        spacing: size of a pixel (row, column) in mm.
        spacing_kind: a code of `lungsight.wording.SpacingKind`.
        score: research probability of COVID-19 in [0, 1], where it was asked for.
        algorithm: name of the network.
        identity: how the run names patient and objects.

    Raises:
        InputError: the source is no DICOM image, or lacks what a result must repeat.
        MissingExtraError: highdicom is not installed.
    """
    highdicom = require("highdicom", feature="Writing DICOM SR", extra="dicom")
    sr = highdicom.sr
    from pydicom.sr.codedict import codes

    identity = identity or Identity()
    header = read_source(source, identity)
    sop, where = str(header.SOPInstanceUID), "the X-ray" if isinstance(source, bytes) else str(source)
    score = score if score is not None and math.isfinite(score) else None
    parts = f"{sorted(areas.items())} {spacing} {spacing_kind} {score} {algorithm} {__version__}"
    digest = hashlib.sha256(parts.encode()).hexdigest()

    def group(name: str, measurements: list[Any], finding: Any, sites: list[Any] | None = None) -> Any:
        return sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(
                uid=identity.result_uid(sop, "SR", name, digest), identifier=name
            ),
            source_images=[
                sr.SourceImageForMeasurementGroup(
                    referenced_sop_class_uid=str(header.SOPClassUID), referenced_sop_instance_uid=sop
                )
            ],
            finding_type=finding,
            finding_sites=sites,
            algorithm_id=sr.AlgorithmIdentification(name=algorithm, version=__version__),
            measurements=measurements,
        )

    groups = []
    for label, (name, code, meaning) in sorted(SIDES.items()):
        pixels = areas.get(label, 0)
        site = sr.FindingSite(codes.SCT.Lung, laterality=sr.CodedConcept(code, "SCT", meaning))
        measured = [
            sr.Measurement(
                name=sr.CodedConcept("42798000", "SCT", "Area"),
                value=pixels,
                unit=sr.CodedConcept("{pixels}", "UCUM", "pixels"),
            )
        ]
        if spacing is not None and spacing_kind in set(SpacingKind):
            method = sr.CodedConcept(f"area_{spacing_kind}", SCHEME, _meaning(spacing_kind))
            measured.append(
                sr.Measurement(
                    name=sr.CodedConcept("42798000", "SCT", "Area"),
                    value=round(pixels * spacing[0] * spacing[1], 1),
                    unit=codes.UCUM.SquareMillimeter,
                    method=method,
                )
            )
        groups.append(group(name, measured, codes.SCT.AnatomicalStructure, [site]))
    if score is not None:
        measured = [
            sr.Measurement(
                name=sr.CodedConcept(
                    "covid19_probability", SCHEME, "Research score of COVID-19, not for diagnosis"
                ),
                value=round(score, 6),
                unit=codes.UCUM.NoUnits,
            )
        ]
        finding = sr.CodedConcept("research_score", SCHEME, "Research score")
        groups.append(group("Research score, not for diagnosis", measured, finding))
    observer = sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=identity.result_uid("device", __version__),
            name="Lungsight",
            manufacturer_name="Lungsight",
            model_name="Lungsight",
        ),
    )
    try:
        report = sr.MeasurementReport(
            observation_context=sr.ObservationContext(observer_device_context=observer),
            procedure_reported=sr.CodedConcept("399208008", "SCT", "Plain chest X-ray"),
            imaging_measurements=groups,
            title=codes.DCM.ImagingMeasurementReport,
        )
        document = sr.ComprehensiveSR(
            evidence=[header],
            content=report[0],
            series_instance_uid=identity.result_uid(str(header.SeriesInstanceUID), "SR series"),
            series_number=902,
            sop_instance_uid=identity.result_uid(sop, "SR", digest),
            instance_number=1,
            manufacturer="Lungsight",
            series_description="Lung areas (Lungsight, research use only)",
        )
    except (AttributeError, KeyError, ValueError, TypeError) as error:
        raise InputError(
            "the DICOM file lacks what a result must repeat",
            code="no_reference",
            where=where,
            detail=str(error),
        ) from error
    carry(document, header, identity)
    return encode(document)


def _meaning(kind: str) -> str:
    """At most 64 characters, as the standard has it."""
    return f"Pixel size {say(SpacingKind(kind))}"[:64]
