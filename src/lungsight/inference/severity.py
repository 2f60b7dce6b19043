"""How much of the lungs is affected: the Brixia score, estimated for each of six zones.

Two radiologists scored 160 films of COVID-19 from 0 (normal) to 3 (dense) in each zone (Signoroni et al., Medical
Image Analysis 71, 2021; zones after Borghesi and Maroldi, La radiologia medica 125, 2020). The network estimates the
mean of such readers. What it is worth stands on its card.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lungsight.card import Card
from lungsight.errors import ModelError
from lungsight.inference.zones import ZONES, zone_parts
from lungsight.preprocess import Gray, resize_image, resize_placed, to_unit
from lungsight.wording import Flag

MOST = 3.0
"""Highest score of a zone."""
DOUBTS = frozenset(
    {
        Flag.NO_LUNGS,
        Flag.ONE_LUNG,
        Flag.SMALL,
        Flag.LARGE,
        Flag.AT_EDGE,
        Flag.MANY_COMPONENTS,
        Flag.UPSIDE_DOWN,
        Flag.INVERTED,
    }
)
"""Flags with which the zones are not what the readers saw: then it cannot tell."""


@dataclass(frozen=True, slots=True)
class Severity:
    """The estimate for one X-ray."""

    zones: tuple[float, ...]
    """Score of each of `ZONES`, [0, 3]."""
    low: float | None = None
    high: float | None = None
    """Ends of the 90 % interval of `total`, from errors on patients that the network did not learn from."""

    @property
    def total(self) -> float:
        """Sum over the zones, [0, 18]."""
        return float(sum(self.zones))


def severity_input(
    pixels: Gray, labels: NDArray[np.uint8], size: tuple[int, int]
) -> NDArray[np.float32] | None:
    """What the network sees: the whole image, and where each zone lies.

    Args:
        pixels: (H, W) grey.
        labels: (h', w') of the whole image at any size: 0, 1 right lung, 2 left lung.
        size: (h, w) of the network's input.

    Returns:
        (7, h, w) in [0, 1]: the image, then the fraction of each pixel that lies in zone A to F; None where a zone
        is empty.
    """
    maps = []
    for _, place, inside in zone_parts(labels):
        if inside.any():
            maps.append(resize_placed(inside, place, labels.shape, size))
    if len(maps) < len(ZONES):
        return None
    return np.stack([to_unit(resize_image(pixels, size)), *maps])


def can_grade(flags: Sequence[Flag]) -> bool:
    """Whether the lungs that were found are such as the readers saw: no flag of `DOUBTS`."""
    return DOUBTS.isdisjoint(flags)


def severities_of(scores: NDArray[np.float32], card: Card) -> list[Severity]:
    """The network's answers (N, 6) as estimates.

    Raises:
        ModelError: the network does not answer with a number for each of six zones.
    """
    if scores.ndim != 2 or scores.shape[1] != len(ZONES) or not np.isfinite(scores).all():
        raise ModelError(
            "does not answer with a number for each of six zones", where=f"{card.name}.onnx", code="answer"
        )
    return [severity_of(each, card) for each in scores]


def severity_of(scores: Sequence[float] | NDArray[np.floating], card: Card) -> Severity:
    """The network's six numbers as an estimate with its interval.

    Args:
        scores: (6,), as the network gives them.
        card: of the network; `half_width` is that of the interval of the total.
    """
    each = tuple(float(np.clip(score, 0, MOST)) for score in scores)
    found = Severity(each)
    if card.half_width is None:
        return found
    return Severity(
        each, max(0.0, found.total - card.half_width), min(MOST * len(ZONES), found.total + card.half_width)
    )
