"""Is this an upright frontal chest X-ray at all? What does not pass is not scored."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lungsight.card import Card
from lungsight.wording import OLD_GATE_CLASSES, Flag, GateAnswer, GateClass, Reason
from lungsight.xray import XRay
from lungsight.xray.views import is_frontal

MIN_SIDE = 64
"""Pixels of the shorter side, below which nobody could tell."""
MAX_ASPECT = 3
"""No chest X-ray is longer than this times its shorter side."""
MIN_CONTRAST = 0.02
"""Standard deviation of the grey levels in [0, 1], below which an image is blank."""


@dataclass(frozen=True, slots=True)
class Gate:
    """The answer of the gate."""

    answer: GateAnswer
    """`NONE` where no network was asked and nothing else speaks against the image."""
    score: float | None = None
    """The gate network's probability of 'frontal', in [0, 1]; None without that network."""
    reasons: tuple[Reason, ...] = ()
    """Why it is not frontal; empty otherwise."""

    @property
    def frontal(self) -> bool:
        """An upright frontal chest X-ray, as far as can be told."""
        return self.answer is not GateAnswer.NOT_FRONTAL


def judge(
    xray: XRay,
    small: NDArray[np.float32],
    probabilities: NDArray[np.float32] | None,
    card: Card | None,
    flags: tuple[Flag, ...],
) -> Gate:
    """Put together what the file says, what the pixels say, and what the network says.

    Args:
        xray: as read.
        small: (h, w) in [0, 1], the resized image.
        probabilities: (K,) of the gate network, in the order of `card.classes`; None without it.
        card: of the gate network. An image is frontal where the score is at least its threshold.
        flags: of `plausibility.check`.
    """
    score: float | None = None
    reasons: list[Reason] = []
    if not is_frontal(xray.view):
        reasons.append(Reason.HEADER_LATERAL)
    height, width = xray.shape
    if min(height, width) < MIN_SIDE:
        reasons.append(Reason.TOO_SMALL)
    if max(height, width) > MAX_ASPECT * min(height, width):
        reasons.append(Reason.SHAPE)
    if float(small.std()) < MIN_CONTRAST:
        reasons.append(Reason.BLANK)
    if probabilities is not None and card is not None:
        score = float(probabilities[card.classes.index(GateClass.FRONTAL)])
        if not score >= card.threshold:  # a NaN does not pass either
            reasons.append(_looks_like(probabilities, card.classes))
            score = score if math.isfinite(score) else None
    reasons += [reason for flag, reason in NEEDED.items() if flag in flags]
    if reasons:
        return Gate(GateAnswer.NOT_FRONTAL, score, tuple(dict.fromkeys(reasons)))
    return Gate(GateAnswer.NONE if score is None else GateAnswer.FRONTAL, score)


NEEDED = {
    Flag.NO_LUNGS: Reason.NO_LUNGS,
    Flag.UPSIDE_DOWN: Reason.UPSIDE_DOWN,
    Flag.INVERTED: Reason.INVERTED,
}
"""Flags with which an image is not scored."""


def _looks_like(probabilities: NDArray[np.float32], classes: tuple[str, ...]) -> Reason:
    """The reason of the likeliest class but 'frontal'; classes that we do not know count as no chest X-ray."""
    others = [
        (float(np.nan_to_num(p)), name)
        for p, name in zip(probabilities, classes, strict=True)
        if name != GateClass.FRONTAL
    ]
    name = max(others)[1] if others else ""
    name = OLD_GATE_CLASSES.get(name, name)
    return Reason(name) if name in set(GateClass) else Reason.NOT_A_CHEST_XRAY
