"""From a result to what is sent: JSON with the parts that were asked for, a mask, an overlay, a DICOM SEG."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lungsight import explain
from lungsight.card import Calibration
from lungsight.inference import Lungsight, Result
from lungsight.inference import lung_masks as lungs
from lungsight.inference.lung_masks import LEFT, RIGHT, Lungs
from lungsight.preprocess import resample, to_uint8
from lungsight.server.problems import Problem
from lungsight.wording import say, say_all
from lungsight.writers.dicom_seg import encode_dicom_seg
from lungsight.writers.images import encode_picture, overlay

DISPLAY = 2048
"""Longer side, in pixels, of the picture for the screen."""


class Form(StrEnum):
    """What an answer may be, told by Accept."""

    json = "application/json"
    rle = "application/vnd.lungsight.rle+json"
    mask = "image/png"
    overlay = "image/jpeg"
    dicom = "application/dicom"


class Part(StrEnum):
    """What JSON may hold beside the figures."""

    mask = "mask"
    display = "display"
    probability = "probability"
    evidence = "evidence"


@dataclass(frozen=True, slots=True)
class ResponseOptions:
    """What a request asks for."""

    form: Form
    parts: frozenset[Part]
    mask_threshold: float | None = None
    """For masks alone; the score rests on the network's own."""
    labels: bool = False
    """Mask pictures with 1 for the right and 2 for the left lung."""


def choose_form(accept: str) -> Form:
    """The form that an Accept header prefers (RFC 9110, 12.5.1); JSON where it takes anything.

    Raises:
        Problem: none of the forms is acceptable.
    """
    best, quality = Form.json, 0.0
    for item in (accept or "*/*").lower().split(","):
        kind, *parameters = (piece.strip() for piece in item.split(";"))
        q = next((piece[2:] for piece in parameters if piece.startswith("q=")), "1")
        try:
            weight = float(q)
        except ValueError:
            weight = 0.0
        matches = [form for form in Form if kind in (form, "*/*", f"{form.partition('/')[0]}/*")]
        if matches and weight > quality:
            best, quality = matches[0], weight
    if not quality:
        raise Problem(406, "no_such_form", f"An answer can be one of {', '.join(Form)}.")
    return best


def answer(
    model: Lungsight, result: Result, data: bytes | bytearray, wish: ResponseOptions
) -> dict[str, Any] | bytes:
    """What is sent for one X-ray.

    Args:
        model: that predicted.
        result: what it predicted.
        data: the file.
        wish: what is asked for.

    Raises:
        Problem: a DICOM SEG is asked for, and the X-ray is no DICOM file.
    """
    threshold = wish.mask_threshold or model.mask_threshold
    found = lungs.find(result.network_map, threshold)
    labels = (
        result.labels
        if threshold == model.mask_threshold
        else found.labels(result.frame, mirrored=result.xray.mirrored)
    )
    match wish.form:
        case Form.mask:
            return _png(_mask_values(labels, wish.labels))
        case Form.overlay:
            return encode_picture(overlay(result.xray.pixels, labels), ".jpg", quality=90)
        case Form.dicom:
            if result.xray.format != "DICOM":
                raise Problem(406, "no_dicom", "A DICOM SEG refers to a DICOM image; the upload is none.")
            card = model.bundle.lungs.card
            return encode_dicom_seg(
                bytes(data), labels, algorithm=f"{card.name} {card.version}", anonymous=True
            )
    return _json(model, result, labels, found, wish, threshold)


def _json(
    model: Lungsight,
    result: Result,
    labels: NDArray[np.uint8],
    found: Lungs,
    wish: ResponseOptions,
    threshold: float,
) -> dict[str, Any]:
    height, width = result.xray.shape
    counts = np.bincount(labels.ravel(), minlength=3)
    spacing = result.xray.spacing
    mm2 = spacing[0] * spacing[1] if spacing else None
    told: dict[str, Any] = {
        "status": "ok",
        "decision": result.decision,
        "probability": result.probability,
        "interval": result.interval,
        "reason": say_all(result.reasons),
        "gate": {
            "frontal": result.gate.frontal,
            "score": result.gate.score,
            "reasons": [say(code) for code in result.gate.reasons],
        },
        "flags": [say(code) for code in result.flags],
        "notes": result.xray.notes,
        "lungs": {
            side: {"pixels": int(counts[label]), "mm2": mm2 and float(counts[label] * mm2)}
            for side, label in (("right", RIGHT), ("left", LEFT))
        },
        "image": {
            "height": height,
            "width": width,
            "format": result.xray.format,
            "bits": result.xray.bits,
            "spacing_mm": spacing,
        },
        "seconds": round(result.seconds, 4),
    }
    if Part.mask in wish.parts:
        told["mask"] = {"threshold": threshold, **_mask(labels, wish)}
    if Part.display in wish.parts:
        told["display"] = _display(result)
    if Part.probability in wish.parts:
        told["probability_map"] = {
            "png": _text(_png(_eight_bits(result.network_map))),
            "sides_png": _text(_png((found.side >= 0).astype(np.uint8) * np.uint8(255))),
            "box": result.frame.box,
            "mask_threshold": model.mask_threshold,
        }
    if Part.evidence in wish.parts:
        told["evidence"] = _evidence(model, result)
    return told


def _mask(labels: NDArray[np.uint8], wish: ResponseOptions) -> dict[str, Any]:
    if wish.form is Form.rle:
        return {
            "rle": {side: encode_rle(labels == label) for side, label in (("right", RIGHT), ("left", LEFT))}
        }
    return {"png": _text(_png(_mask_values(labels, wish.labels)))}


def _mask_values(labels: NDArray[np.uint8], as_labels: bool) -> NDArray[np.uint8]:
    return labels if as_labels else (labels > 0).astype(np.uint8) * np.uint8(255)


def encode_rle(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """COCO's uncompressed run lengths: column by column, beginning with the pixels that are not in the mask."""
    flat = np.concatenate([[False], mask.ravel(order="F"), [False]])
    edges = [0, *(np.flatnonzero(flat[1:] != flat[:-1])).tolist()]
    if edges[-1] != mask.size:
        edges.append(mask.size)
    return {"size": list(mask.shape), "counts": [after - before for before, after in pairwise(edges)]}


def _display(result: Result) -> dict[str, Any]:
    picture = to_uint8(result.xray.pixels)
    scale = min(1.0, DISPLAY / max(picture.shape))
    if scale < 1:
        height, width = (max(1, round(side * scale)) for side in picture.shape)
        picture = resample(picture, (height, width))
    return {"png": _text(_png(picture)), "height": picture.shape[0], "width": picture.shape[1]}


def _evidence(model: Lungsight, result: Result) -> dict[str, Any] | None:
    found = explain.evidence(model, result) if model.bundle.diagnosis else None
    if found is None:
        return None
    scale = float(np.abs(found.values).max()) or 1.0
    return {
        "png": _text(_png(np.rint(127.5 + 127.5 * found.values / scale).astype(np.uint8))),
        "scale": scale,
        "box": found.frame.box,
        "share_inside_lungs": found.inside,
    }


def cannot_tell(model: Lungsight) -> tuple[float, float] | None:
    """Probabilities between which the answer is 'uncertain'; None where there are none, or no diagnosis network."""
    if model.bundle.diagnosis is None:
        return None
    card = model.bundle.diagnosis.card
    calibration = card.calibration or Calibration()
    if calibration.uncertain and model.threshold is None:
        return calibration.uncertain
    limit = card.threshold if model.threshold is None else model.threshold
    unsure = []
    for logit in np.linspace(-20, 20, 801).tolist():
        interval = calibration.interval(logit)
        if interval and interval[0] < limit < interval[1]:
            unsure.append(calibration.probability(logit))
    return (min(unsure), max(unsure)) if unsure else None


def _eight_bits(probability: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.asarray(np.rint(np.clip(probability, 0, 1) * np.float32(255)), np.uint8)


def _png(picture: NDArray[np.uint8]) -> bytes:
    # Level 1 is twice as fast as the default and a tenth larger.
    return bytes(cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes())


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
