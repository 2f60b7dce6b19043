"""What charts, tables and tiles are made of: metrics with intervals, curves, images. No drawing, no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsight.metrics import Interval


@dataclass(frozen=True)
class Measure:
    """A figure, with its 95 % interval where one was computed."""

    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""
    """What must be read beside it, in words."""

    @classmethod
    def of(cls, interval: Interval) -> Measure:
        """From what `lungsight.metrics` gives; a bound that could not be computed is left out."""
        return cls(
            interval.value,
            None if math.isnan(interval.low) else interval.low,
            None if math.isnan(interval.high) else interval.high,
            interval.note,
        )

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The interval, where both ends are known."""
        if (
            self.low is None
            or self.high is None
            or not (math.isfinite(self.low) and math.isfinite(self.high))
        ):
            return None
        return self.low, self.high


@dataclass(frozen=True)
class MaskExample:
    """An image with its true mask and, for predictions, the probability map at the same size.

    Attributes:
        image: (H, W) uint8.
        truth: (H, W) bool.
        probability: (H, W) float in [0, 1], or None.
        dice: at the report's threshold, or None.
        caption: shown under it, e.g. the id and finding.
    """

    image: NDArray[np.uint8]
    truth: NDArray[np.bool_]
    probability: NDArray[np.floating[Any]] | None = None
    dice: float | None = None
    caption: str = ""


@dataclass(frozen=True)
class CropExample:
    """An image before and after the diagnosis crop.

    Attributes:
        before: (H, W) uint8.
        box: (top, left, bottom, right) in pixels; what is kept is before[top:bottom, left:right].
    """

    before: NDArray[np.uint8]
    box: tuple[int, int, int, int]
    caption: str = ""


@dataclass(frozen=True)
class Curve:
    """Points of a curve, x rising, with an optional band.

    Attributes:
        low, high: ends of the band, at `band_x`, or at `x` where that is None.
    """

    x: NDArray[np.floating[Any]]
    y: NDArray[np.floating[Any]]
    low: NDArray[np.floating[Any]] | None = None
    high: NDArray[np.floating[Any]] | None = None
    band_x: NDArray[np.floating[Any]] | None = None
