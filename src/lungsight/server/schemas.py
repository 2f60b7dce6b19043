"""The shapes of answers, for OpenAPI. The tests hold every answer against them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Exact(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ProblemDetails(BaseModel):
    """RFC 9457."""

    model_config = ConfigDict(extra="allow")
    type: str = "about:blank"
    title: str = Field(examples=["It cannot be used"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["Not an image that can be read: the file is a text file."])


class GateAnswer(_Exact):
    """Whether it is an upright frontal chest X-ray at all; what is not is not scored."""

    frontal: bool
    score: float | None = Field(description="The gate network's probability of 'frontal'.")
    reasons: list[str]


class Area(_Exact):
    """Area of one lung in the image."""

    pixels: int
    mm2: float | None = Field(description="Where a DICOM file gives the size of a pixel.")


class Areas(_Exact):
    """The patient's right lung is on the left of the image."""

    right: Area
    left: Area


class Image(_Exact):
    """The X-ray as it was read."""

    height: int
    width: int
    format: str
    bits: int
    spacing_mm: tuple[float, float] | None = Field(description="Size of a pixel: row, column.")


class Rle(_Exact):
    """COCO's uncompressed run lengths, column by column, beginning with the pixels outside."""

    size: tuple[int, int]
    counts: list[int]


class Sides(_Exact):
    """A mask for each lung."""

    right: Rle
    left: Rle


class Mask(_Exact):
    """Lungs at the size of the file: `png` (base64; 255 is lung), or `rle` by Accept."""

    threshold: float
    png: str | None = None
    rle: Sides | None = None


class Display(_Exact):
    """The X-ray as a browser can show it: 8-bit grey PNG (base64), longer side at most 2048."""

    png: str
    height: int
    width: int


class ProbabilityMap(_Exact):
    """Lung probability at network size: 8-bit grey PNG (base64), 255 is 1; `box` (top, left, bottom, right) is where
    it lies in the file's pixels. `sides_png`: 255 where the nearer lung is the right one."""

    png: str
    sides_png: str
    box: tuple[int, int, int, int]
    mask_threshold: float


class Evidence(_Exact):
    """What moved the score: 8-bit grey PNG (base64), 127.5 is 0, 255 is `scale` towards COVID-19."""

    png: str
    scale: float
    box: tuple[int, int, int, int]
    share_inside_lungs: float | None


class Prediction(_Exact):
    """One X-ray that was read."""

    index: int = Field(description="Place of the file in the request, from 0.")
    status: Literal["ok"]
    decision: Literal["covid", "not_covid", "uncertain", "not_scored"]
    probability: float | None = Field(description="Calibrated; None where not scored.")
    interval: tuple[float, float] | None = Field(description="95 %, of the calibration alone.")
    reason: str = Field(description="Why not scored.")
    gate: GateAnswer
    flags: list[str] = Field(description="What is implausible about the lungs.")
    notes: list[str] = Field(description="What was done to the grey values.")
    lungs: Areas
    image: Image
    seconds: float
    mask: Mask | None = None
    display: Display | None = None
    probability_map: ProbabilityMap | None = None
    evidence: Evidence | None = None


class Failed(_Exact):
    """One file that could not be used. The others of the request are not touched by it."""

    index: int
    status: Literal["failed"]
    error: ProblemDetails


class Predictions(_Exact):
    """The answer to a request, in the order of its files."""

    notice: str
    predictions: list[Prediction | Failed]


class Models(BaseModel):
    """What answers, and within which limits."""

    notice: str
    version: str
    models: list[dict[str, Any]]
    mask_threshold: float
    paper_mask_threshold: float
    threshold: float | None
    cannot_tell: tuple[float, float] | None
    limits: dict[str, float]
    sample: str


EXAMPLE: dict[str, Any] = {
    "notice": "Research use only, not for diagnosis.",
    "predictions": [
        {
            "index": 0,
            "status": "ok",
            "decision": "uncertain",
            "probability": 0.47,
            "interval": [0.31, 0.64],
            "reason": "",
            "gate": {"frontal": True, "score": 0.998, "reasons": []},
            "flags": ["lungs cut off by the image's edge"],
            "notes": ["MONOCHROME1, inverted"],
            "lungs": {
                "right": {"pixels": 812345, "mm2": 16490.6},
                "left": {"pixels": 701234, "mm2": 14235.1},
            },
            "image": {
                "height": 2500,
                "width": 2048,
                "format": "DICOM",
                "bits": 12,
                "spacing_mm": [0.1425, 0.1425],
            },
            "seconds": 0.09,
            "mask": {"threshold": 0.5, "png": "iVBORw0KGgo..."},
        },
        {
            "index": 1,
            "status": "failed",
            "error": {
                "type": "about:blank",
                "title": "It cannot be used",
                "status": 422,
                "detail": "Not an image that can be read: the file is a PDF document. "
                "PNG, JPEG, BMP, TIFF and DICOM are read.",
            },
        },
    ],
}
