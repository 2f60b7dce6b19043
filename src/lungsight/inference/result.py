"""What is known about one X-ray after prediction."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsight.errors import LungsightError
from lungsight.inference.classifier import Diagnosis
from lungsight.inference.lung_masks import LEFT, RIGHT
from lungsight.inference.view_gate import Gate
from lungsight.preprocess import Frame
from lungsight.xray import XRay


@dataclass(frozen=True, eq=False)
class Result:
    """The answer for one X-ray of (H, W) pixels.

    Example:
        >>> result = model("chest.png")                          # doctest: +SKIP
        >>> result.decision, result.probability, result.flags    # doctest: +SKIP
        ('uncertain', 0.41, ())
    """

    xray: XRay
    """As read: pixels, spacing, notes."""
    labels: NDArray[np.uint8]
    """(H, W): 0, 1 the patient's left lung (on the right side of the image), 2 the right lung."""
    gate: Gate
    diagnosis: Diagnosis
    flags: tuple[str, ...]
    """What is implausible about the lungs; see `lungsight.inference.plausibility.FLAGS`."""
    network_map: NDArray[np.float32] = field(repr=False)
    """(h, w) lung probability at network size, as the network gave it."""
    frame: Frame = field(repr=False)
    """Geometry between the file and the network."""
    seconds: float = 0.0
    """Time from file to result; in a batch the networks' part is shared out evenly."""

    @property
    def name(self) -> str:
        """What the X-ray is called: its path, if it has one."""
        return self.xray.name

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """(H, W) both lungs."""
        return self.labels > 0

    @property
    def probability_map(self) -> NDArray[np.float32]:
        """(H, W) lung probability in [0, 1]; made anew at each use."""
        return self.frame.restore(self.network_map)

    @property
    def probability(self) -> float | None:
        """Calibrated probability of COVID-19 in [0, 1]; None where not scored."""
        return self.diagnosis.probability

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of `probability`."""
        return self.diagnosis.interval

    @property
    def decision(self) -> str:
        """'covid', 'not covid', 'uncertain' or 'not scored'."""
        return self.diagnosis.decision

    @cached_property
    def areas(self) -> tuple[int, int]:
        """Pixels of the right and of the left lung."""
        return int(np.count_nonzero(self.labels == RIGHT)), int(np.count_nonzero(self.labels == LEFT))

    @property
    def areas_mm2(self) -> tuple[float, float] | None:
        """Area of the right and of the left lung in mm², where the file gives the size of a pixel."""
        if self.xray.spacing is None:
            return None
        pixel = self.xray.spacing[0] * self.xray.spacing[1]
        return self.areas[0] * pixel, self.areas[1] * pixel

    def to_dict(self) -> dict[str, Any]:
        """Everything but the pixels, as plain values: one row of the table. None where nothing is known."""
        height, width = self.xray.shape
        low, high = self.interval or (None, None)
        right_mm2, left_mm2 = self.areas_mm2 or (None, None)
        return {
            "input": self.name,
            "status": "ok",
            "error": "",
            "probability": self.probability,
            "low": low,
            "high": high,
            "decision": self.decision,
            "gate": "frontal" if self.gate.frontal else "not frontal",
            "gate_score": self.gate.score,
            "reason": self.diagnosis.reason,
            "flags": list(self.flags),
            "right_lung_px": self.areas[0],
            "left_lung_px": self.areas[1],
            "right_lung_mm2": right_mm2,
            "left_lung_mm2": left_mm2,
            "width": width,
            "height": height,
            "format": self.xray.format,
            "view": self.xray.view,
            "notes": list(self.xray.notes),
            "seconds": round(self.seconds, 4),
        }


@dataclass(frozen=True, slots=True)
class Failure:
    """An X-ray that could not be read."""

    name: str
    error: LungsightError
    seconds: float = 0.0

    @property
    def reason(self) -> str:
        """What is wrong and what to do, without the name."""
        return f"{self.error.message}. {self.error.hint}" if self.error.hint else self.error.message

    def to_dict(self) -> dict[str, Any]:
        """As `Result.to_dict`, with what is known."""
        return {
            "input": self.name,
            "status": "failed",
            "error": self.reason,
            "seconds": round(self.seconds, 4),
        }
