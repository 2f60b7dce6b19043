"""The second stage: from an image and its lungs to a calibrated probability, or to a plain 'cannot say'."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lungsight.card import Calibration, Card, InputSettings
from lungsight.preprocess import (
    Edges,
    Gray,
    apply_mask,
    crop_to_lungs,
    dilate,
    equalise,
    resize_image,
    resize_mask,
    to_uint8,
    to_unit,
)
from lungsight.wording import Decision, Reason


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A score and what it is worth."""

    decision: Decision
    probability: float | None = None
    """Calibrated, in [0, 1]; None where not scored."""
    interval: tuple[float, float] | None = None
    """95 %, from the uncertainty of the calibration alone."""
    answers: tuple[Decision, ...] = ()
    """The prediction set: what cannot be ruled out at the card's coverage; empty where not scored, where the card has
    no set or where the score fits neither."""
    reasons: tuple[Reason, ...] = ()
    """Why not scored; empty where it was."""
    evidence: NDArray[np.float32] | None = None
    """(h', w') what each place of the network's input adds to the logit, where the network says so."""


def prepare(pixels: Gray, mask: NDArray[np.bool_], settings: InputSettings) -> NDArray[np.float32] | None:
    """What the network sees.

    Args:
        pixels: (H, W) grey, the whole image.
        mask: (h, w) lungs of the whole image, at any size.
        settings: of the network's card.

    Returns:
        (channels, h, w) in [0, 1], or None where the mask is empty.
    """
    working = settings.resized
    small = resize_image(pixels, working)
    if settings.equalise:
        small = equalise(to_uint8(small))
    lungs = resize_mask(mask, working)
    if settings.preprocessing == "crop_to_lungs":
        part = crop_to_lungs(small, lungs, settings.size, dilation=settings.dilation)
        if part is None:
            return None
    else:
        if settings.preprocessing == "apply_mask":
            if not lungs.any():
                return None
            small = apply_mask(small, dilate(lungs, settings.dilation))
        top, left, bottom, right = Edges(*settings.crop).box(working)
        part = to_unit(small[top:bottom, left:right])
    return np.repeat(part[None], settings.channels, axis=0)


def decide(
    logit: float, card: Card, evidence: NDArray[np.float32] | None = None, threshold: float | None = None
) -> Diagnosis:
    """Turn a raw logit into a decision.

    Where the card has a conformal set and the user no threshold of their own, the set decides: one answer in it is the
    decision, two or none are 'uncertain'. Else COVID-19 where the probability is at least the threshold, and uncertain
    inside the card's band or, where it has none, where the probability's interval holds the threshold strictly inside.

    Args:
        logit: of the network.
        card: of the network.
        evidence: (h', w') its map.
        threshold: the user's own operating point, in (0, 1). It takes the place of the card's threshold, band and
            set, which were not calibrated for it: then a probability is uncertain whose interval holds the threshold.
    """
    if not math.isfinite(logit):
        return Diagnosis(Decision.NOT_SCORED, reasons=(Reason.NO_NUMBER,))
    calibration = card.calibration or Calibration()
    probability, interval = calibration.probability(logit), calibration.interval(logit)
    if calibration.conformal is not None and threshold is None:
        answers = calibration.conformal.answers(logit)
        said = answers[0] if len(answers) == 1 else Decision.UNCERTAIN
        return Diagnosis(said, probability, interval, answers, evidence=evidence)
    limit = card.threshold if threshold is None else threshold
    band = calibration.uncertain if threshold is None else None
    low, high = band or interval or (limit, limit)
    decision = Decision.COVID if probability >= limit else Decision.NOT_COVID
    if (low < probability < high) if band else (low < limit < high):
        decision = Decision.UNCERTAIN
    return Diagnosis(decision, probability, interval, evidence=evidence)
