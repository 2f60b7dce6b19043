"""Is this an upright frontal chest X-ray at all? What does not pass is not scored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lungsight.card import Card
from lungsight.inference import plausibility
from lungsight.wording import WORDS, GateClass
from lungsight.xray import XRay

LATERAL = frozenset({"LL", "RL", "LLD", "RLD", "LATERAL"})
"""Views, as a DICOM header gives them, that are not frontal."""


@dataclass(frozen=True, slots=True)
class Gate:
    """The answer of the gate."""

    frontal: bool
    """An upright frontal chest X-ray, as far as can be told."""
    score: float | None
    """The gate network's probability of 'frontal', in [0, 1]; None without that network."""
    reasons: tuple[str, ...] = ()
    """Why not; empty where `frontal`."""

    @property
    def reason(self) -> str:
        """The reasons in one line."""
        return "; ".join(self.reasons)


def judge(
    xray: XRay,
    small: NDArray[np.float32],
    probabilities: NDArray[np.float32] | None,
    card: Card | None,
    flags: tuple[str, ...],
) -> Gate:
    """Put together what the file says, what the pixels say, and what the network says.

    Args:
        xray: as read.
        small: (h, w) in [0, 1], the squashed image.
        probabilities: (K,) of the gate network, in the order of `card.classes`; None without it.
        card: of the gate network.
        flags: of `plausibility.check`.
    """
    score: float | None = None
    reasons: list[str] = []
    if xray.view.upper() in LATERAL:
        reasons.append(f"the file says that the view is {xray.view}")
    height, width = xray.shape
    if max(height, width) > 3 * min(height, width):
        reasons.append(f"{width} x {height} pixels is no chest X-ray's shape")
    if float(small.std()) < 0.02:
        reasons.append("the image is blank")
    if probabilities is not None and card is not None:
        score = float(probabilities[card.classes.index("frontal")])
        if score < card.threshold:
            others = [
                (float(p), name)
                for p, name in zip(probabilities, card.classes, strict=True)
                if name != "frontal"
            ]
            likeliest = max(others)[1] if others else GateClass.NOT_A_CHEST_XRAY
            reasons.append(f"looks like: {WORDS[GateClass].get(likeliest, likeliest)}")
    reasons += [flag for flag in (plausibility.NO_LUNGS, plausibility.UPSIDE_DOWN) if flag in flags]
    return Gate(not reasons, score, tuple(reasons))
