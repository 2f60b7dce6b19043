"""From a result to what is sent: JSON with the parts that were asked for, a mask, an overlay, a DICOM SEG."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import pairwise
from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from lungsight import explain
from lungsight.card import Calibration
from lungsight.inference import Lungsight, Result
from lungsight.inference import lung_masks as lungs
from lungsight.inference import worth as worth_of
from lungsight.inference.classifier import decide
from lungsight.inference.lung_masks import LEFT, RIGHT
from lungsight.inference.result import ResultRecord
from lungsight.preprocess import resize_image, to_uint8, to_unit
from lungsight.records import to_json
from lungsight.server import records
from lungsight.server.problems import Problem
from lungsight.server.records import Prediction
from lungsight.wording import Decision, XRayNote
from lungsight.writers.dicom_results import encode_results
from lungsight.writers.dicom_source import Identity
from lungsight.writers.images import encode_mask, encode_picture, overlay
from lungsight.xray import Limits
from lungsight.xray.dicom_values import StoredValues
from lungsight.xray.pool import shared_pool

DISPLAY = 2048
"""Longer side, in pixels, of the picture for the screen."""
GREY_PIXELS = 16_000_000
"""Grey values that are sent of one X-ray; a larger one is reduced."""
WARNINGS = "Lungsight-Warnings"
"""Header with the codes of what speaks against a mask, whatever its format."""


class MediaType(StrEnum):
    """What an answer may be, told by Accept."""

    json = "application/json"
    rle = "application/vnd.lungsight.rle+json"
    mask = "image/png"
    overlay = "image/jpeg"
    dicom = "application/dicom"

    @property
    def for_many(self) -> bool:
        """It may hold several files."""
        return self in (MediaType.json, MediaType.rle)


class Include(StrEnum):
    """What JSON may hold beside the figures."""

    mask = "mask"
    display = "display"
    grey = "grey"
    probability = "probability"
    evidence = "evidence"


class DicomObject(StrEnum):
    """Which DICOM object `MediaType.dicom` is; of `lungsight.writers.dicom_results.KINDS`."""

    seg = "seg"
    seg_zones = "seg-zones"
    sc = "sc"
    sr = "sr"


@dataclass(frozen=True, slots=True)
class ResponseOptions:
    """What a request asks for."""

    media_type: MediaType
    include: frozenset[Include]
    mask_threshold: float | None = None
    """For masks alone; the score rests on the network's own."""
    labels: bool = False
    """Mask pictures with 1 for the right and 2 for the left lung."""
    dicom: DicomObject = DicomObject.seg
    identity: Identity = field(default_factory=lambda: Identity(anonymous=True))
    """How a DICOM object names the patient."""


@dataclass(frozen=True, slots=True)
class Payload:
    """What is sent of one file."""

    content: bytes
    warnings: tuple[str, ...] = ()
    """Codes of what speaks against its mask."""


def choose_media_type(accept: str) -> MediaType:
    """The form that an Accept header prefers (RFC 9110, 12.5.1); JSON where it takes anything.

    Raises:
        Problem: none of the forms is acceptable.
    """
    best, quality = MediaType.json, 0.0
    for item in (accept or "*/*").lower().split(","):
        kind, *parameters = (piece.strip() for piece in item.split(";"))
        q = next((piece[2:] for piece in parameters if piece.startswith("q=")), "1")
        try:
            weight = float(q)
        except ValueError:
            weight = 0.0
        matches = [form for form in MediaType if kind in (form, "*/*", f"{form.partition('/')[0]}/*")]
        if matches and weight > quality:
            best, quality = matches[0], weight
    if not quality:
        raise Problem(406, "no_such_form", f"An answer can be one of {', '.join(MediaType)}.")
    return best


def payload(
    model: Lungsight, result: Result, data: bytes | bytearray, index: int, options: ResponseOptions
) -> Payload:
    """What is sent for one X-ray.

    Args:
        model: that predicted.
        result: what it predicted.
        data: the file.
        index: its place in the request.
        options: what is asked for.

    Raises:
        Problem: a DICOM object is asked for, and the X-ray is no DICOM file.
        InputError: the DICOM file lacks what a result must repeat.
    """
    threshold = options.mask_threshold or model.mask_threshold
    labels = result.labels
    if threshold != model.mask_threshold:
        found = lungs.find(result.network_map, threshold)
        labels = found.labels(result.frame, mirrored=result.xray.mirrored)
    codes = tuple(dict.fromkeys((*result.reasons, *result.flags)))
    warnings = tuple(map(str, codes))
    match options.media_type:
        case MediaType.mask:
            return Payload(encode_mask(labels if options.labels else labels > 0), warnings)
        case MediaType.overlay:
            return Payload(_overlay(result, labels), warnings)
        case MediaType.dicom:
            if result.xray.format != "DICOM":
                raise Problem(406, "no_dicom", "A DICOM result refers to a DICOM image; the upload is none.")
            shown = replace(result, labels=labels)
            ((_, content),) = encode_results(bytes(data), shown, [options.dicom], options.identity)
            return Payload(content, warnings)
    stored = _stored(model, result, data) if Include.grey in options.include else None
    row = _prediction(model, result, labels, index, options, threshold, stored)
    return Payload(to_json(row, indent=0), warnings)


def _overlay(result: Result, labels: NDArray[np.uint8]) -> bytes:
    return encode_picture(overlay(result.xray.pixels, labels, measures=result.measures), ".jpg", quality=90)


def failure(index: int, problem: Problem) -> Payload:
    """The row of a file that could not be used."""
    details = problem.details
    result = ResultRecord(input="", status=problem.outcome, error=details.code, message=details.detail)
    return Payload(to_json(Prediction(index=index, result=result, hint=details.hint), indent=0))


def _prediction(
    model: Lungsight,
    result: Result,
    labels: NDArray[np.uint8],
    index: int,
    options: ResponseOptions,
    threshold: float,
    stored: StoredValues | None,
) -> Prediction:
    pixel = result.xray.spacing[0] * result.xray.spacing[1] if result.xray.spacing else None
    right, left = (int(np.count_nonzero(labels == side)) for side in (RIGHT, LEFT))
    record = msgspec.structs.replace(
        result.record,
        right_lung_px=right,
        left_lung_px=left,
        right_lung_mm2=pixel and right * pixel,
        left_lung_mm2=pixel and left * pixel,
        # The name stays with the client, and what identifies the study with the file.
        input="",
        study_uid="",
        series_uid="",
        sop_uid="",
    )
    parts: dict[str, Any] = {}
    if Include.mask in options.include:
        parts["mask"] = _mask(labels, options, threshold)
    if Include.display in options.include:
        parts["display"] = _display(result)
    if Include.grey in options.include:
        parts["grey"] = _grey(result, stored)
    if Include.probability in options.include:
        side = lungs.find(result.network_map, threshold).side
        parts["probability_map"] = records.ProbabilityMap(
            _text(_png(_eight_bits(result.network_map))),
            _text(encode_mask((side >= 0) != result.xray.mirrored)),
            result.frame.box,
        )
    if Include.evidence in options.include:
        parts["evidence"] = _evidence(model, result)
    return Prediction(
        index=index,
        result=record,
        threshold=score_threshold(model),
        mask_threshold=threshold,
        mirrored=result.xray.mirrored,
        sides_known=result.xray.mirrored,
        **parts,
    )


def _mask(labels: NDArray[np.uint8], options: ResponseOptions, threshold: float) -> records.Mask:
    if options.media_type is MediaType.rle:
        right, left = (encode_rle(labels == label) for label in (RIGHT, LEFT))
        return records.Mask(threshold, rle=records.Sides(right, left))
    return records.Mask(threshold, png=_text(encode_mask(labels if options.labels else labels > 0)))


def encode_rle(mask: NDArray[np.bool_]) -> records.Rle:
    """COCO's uncompressed run lengths: column by column, beginning with the pixels that are not in the mask."""
    flat = np.concatenate([[False], mask.ravel(order="F"), [False]])
    edges = [0, *(np.flatnonzero(flat[1:] != flat[:-1])).tolist()]
    if edges[-1] != mask.size:
        edges.append(mask.size)
    height, width = mask.shape
    return records.Rle((height, width), [after - before for before, after in pairwise(edges)])


def _display(result: Result) -> records.Display:
    picture = to_uint8(result.xray.pixels)
    scale = min(1.0, DISPLAY / max(picture.shape))
    if scale < 1:
        height, width = (max(1, round(side * scale)) for side in picture.shape)
        picture = np.asarray(resize_image(picture, (height, width)), np.uint8)
    return records.Display(_text(_png(picture)), *picture.shape)


def _stored(model: Lungsight, result: Result, data: bytes | bytearray) -> StoredValues | None:
    """The file's own grey values, where it has more than eight bits of them and a window says how they are shown."""
    if result.xray.format not in ("DICOM", "PNG", "TIFF") or result.xray.pixels.dtype == np.uint8:
        return None
    return shared_pool().values(bytes(data), "", model.limits or Limits())


def _grey(result: Result, stored: StoredValues | None) -> records.Grey:
    pixels = result.xray.pixels
    values: NDArray[Any]
    intercept, inverted, span = 0.0, False, 1.0
    curve: tuple[float, ...] = ()
    if stored is not None and stored.values.shape == pixels.shape:
        values, slope, intercept = stored.values, stored.slope, stored.intercept
        center, window, span = stored.center, stored.width, stored.span
        curve = () if stored.curve is None else tuple(np.round(stored.curve.astype(float), 5).tolist())
        # The file's values are as they were; shown they are as the networks saw them.
        inverted = stored.inverted != (XRayNote.INVERSION_UNDONE in result.xray.notes)
    elif pixels.dtype == np.uint8:
        values = pixels
        slope, center, window = 1.0, 128.0, 256.0
    else:
        values = np.rint(np.clip(to_unit(pixels), 0, 1) * np.float32(65535)).astype(np.uint16)
        slope, center, window = 1 / 65535, 0.5, 1.0
    if values.size > GREY_PIXELS:
        scale = (GREY_PIXELS / values.size) ** 0.5
        height, width = (max(1, round(side * scale)) for side in values.shape)
        values = np.rint(resize_image(values.astype(np.float32), (height, width))).astype(values.dtype)
    height, width = values.shape
    return records.Grey(
        _text(_png(values)),
        height,
        width,
        values.dtype.itemsize * 8,
        slope,
        intercept,
        center,
        window,
        inverted,
        curve,
        span,
    )


def _evidence(model: Lungsight, result: Result) -> records.Evidence | None:
    found = explain.evidence(model, result) if model.bundle.diagnosis else None
    if found is None:
        return None
    scale = float(np.abs(found.values).max()) or 1.0
    return records.Evidence(
        _text(_png(np.rint(127.5 + 127.5 * found.values / scale).astype(np.uint8))),
        scale,
        found.frame.box,
        found.inside,
        found.text,
    )


def score_threshold(model: Lungsight) -> float | None:
    """The probability from which on the decision is COVID-19; None without a diagnosis network."""
    if model.bundle.diagnosis is None:
        return None
    return model.bundle.diagnosis.card.threshold if model.threshold is None else model.threshold


def cannot_tell(model: Lungsight) -> tuple[float, float] | None:
    """Probabilities between which the answer is 'uncertain'; None where there are none, or no diagnosis network."""
    limit = score_threshold(model)
    if model.bundle.diagnosis is None or limit is None:
        return None
    card = model.bundle.diagnosis.card
    calibration = card.calibration or Calibration()
    if calibration.uncertain and not calibration.conformal and model.threshold is None:
        return calibration.uncertain
    found = (decide(logit, card, threshold=model.threshold) for logit in np.linspace(-20, 20, 801).tolist())
    unsure = [one.probability for one in found if one.decision is Decision.UNCERTAIN and one.probability]
    return (min(unsure), max(unsure)) if unsure else None


def worth(model: Lungsight) -> records.Worth | None:
    """What the score is worth, by the card: its AUROC within one source where it says it, else the one it has."""
    metrics = model.bundle.diagnosis.card.metrics if model.bundle.diagnosis else {}
    for name in ("same_source_auroc", "same_source", "auroc"):
        given = metrics.get(name)
        if isinstance(given, dict) and isinstance(given.get("value"), int | float):
            low, high = given.get("low"), given.get("high")
            known = isinstance(low, int | float) and isinstance(high, int | float)
            return records.Worth(
                float(given["value"]),
                float(low) if known else None,  # type: ignore[arg-type]
                float(high) if known else None,  # type: ignore[arg-type]
                worth_of.score_worth(model.bundle.diagnosis.card) if model.bundle.diagnosis else "",
            )
    return None


def severity_worth(model: Lungsight) -> records.SeverityWorth | None:
    """What the severity is worth, by the card; None without a severity network."""
    network = model.bundle.severity
    return records.SeverityWorth(worth_of.severity_worth(network.card)) if network else None


def _eight_bits(probability: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.asarray(np.rint(np.clip(probability, 0, 1) * np.float32(255)), np.uint8)


def _png(picture: NDArray[Any]) -> bytes:
    # Level 1 is twice as fast as the default and a tenth larger.
    return bytes(cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes())


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
