"""What the API answers, as records. `ResultRecord` is the one shape of a result; here stand the parts around it."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from lungsight.inference.result import ResultRecord
from lungsight.records import Record
from lungsight.wording import Decision, Flag, GateAnswer, LungConvention, LungLabels, Reason, Status

NOTICE = "Research use only, not for diagnosis."

Box = tuple[int, int, int, int]


class Rle(Record, frozen=True):
    """COCO's uncompressed run lengths, column by column, beginning with the pixels outside."""

    size: tuple[int, int]
    counts: list[int]


class Sides(Record, frozen=True):
    """A mask for each lung; the sides are the patient's."""

    right: Rle
    left: Rle


class Mask(Record, frozen=True):
    """Lungs at the size of the file: `png` (base64; 255 is lung), or `rle` by Accept."""

    threshold: float
    """A pixel is lung where its probability is at least this."""
    png: str | UnsetType = UNSET
    rle: Sides | UnsetType = UNSET


class Display(Record, frozen=True):
    """The X-ray as a browser can show it: 8-bit grey PNG (base64), longer side at most 2048."""

    png: str
    height: int
    width: int


class Grey(Record, frozen=True):
    """The grey values of the file: PNG (base64) of 8 or 16 bits. A value v means `slope * v + intercept`.

    Shown through a window: `center - window / 2` is black, `center + window / 2` white; the other way where `inverted`.
    Where the file has a VOI LUT or a sigmoid, `curve` holds its shades, 0 to 1, at equal distances over `span` times
    the window, instead of the straight line; the window then is the table's range, or that of the sigmoid.
    """

    png: str
    height: int
    width: int
    bits: int
    slope: float
    intercept: float
    center: float
    window: float
    inverted: bool
    curve: tuple[float, ...] = ()
    span: float = 1.0


class ProbabilityMap(Record, frozen=True):
    """Lung probability at network size: 8-bit grey PNG (base64), 255 is 1.

    `box` (top, left, bottom, right) is where it lies in the file's pixels. `sides_png`: 255 where the nearer lung is
    the right one.
    """

    png: str
    sides_png: str
    box: Box


class Evidence(Record, frozen=True):
    """What moved the score: 8-bit grey PNG (base64), 127.5 is 0, 255 is `scale` towards COVID-19."""

    png: str
    scale: float
    box: Box
    fraction_inside_lungs: float | None
    """Of the absolute values, before they are smoothed for the screen; None where all are 0."""
    text: str
    """Why the rest lies elsewhere."""


class Prediction(Record, frozen=True, kw_only=True):
    """One file of a request: the record of its result, as in the tables, and the parts that were asked for."""

    index: int
    """Place of the file in the request, from 0."""
    result: ResultRecord
    hint: str = ""
    """What to do about an error."""
    threshold: float | None = None
    """The decision is COVID-19 from this probability on."""
    mask_threshold: float | None = None
    """Of the mask and the areas; the score rests on the network's own."""
    mirrored: bool = False
    """The file says that the patient's right lung lies on the right of the image."""
    sides_known: bool = False
    """Whether the file says which side of the image is the patient's right; else it is assumed as usual."""
    mask: Mask | UnsetType = UNSET
    display: Display | UnsetType = UNSET
    grey: Grey | UnsetType = UNSET
    probability_map: ProbabilityMap | UnsetType = UNSET
    evidence: Evidence | UnsetType | None = UNSET


class Predictions(Record, frozen=True):
    """The answer to a request, in the order of its files."""

    notice: str
    version: str
    """Of lungsight."""
    predictions: list[Prediction]


class Worth(Record, frozen=True):
    """What the score is worth: the area under the ROC curve on X-rays that the network did not see, of the card."""

    auroc: float
    low: float | None
    high: float | None
    words: str = ""
    """The same in a sentence."""


class SeverityWorth(Record, frozen=True):
    """How far the severity lies from a radiologist's, in a sentence of the network's card."""

    words: str


class ModelCard(Record, frozen=True, kw_only=True):
    """What a network says of itself."""

    task: str
    name: str
    version: str
    sha256: str
    threshold: float
    trained_on: list[str]
    metrics: dict[str, Any]
    limits: list[str]
    licence: str
    created: str


class RequestLimits(Record, frozen=True):
    """How much is taken in one request."""

    files: int
    file_bytes: int
    request_bytes: int
    pixels: int


class Models(Record, frozen=True, kw_only=True):
    """What answers, and within which limits."""

    notice: str
    version: str
    models: list[ModelCard]
    mask_threshold: float
    paper_mask_threshold: float
    threshold: float | None
    cannot_tell: tuple[float, float] | None
    """Probabilities between which the answer is 'uncertain'."""
    worth: Worth | None
    severity: SeverityWorth | None
    """None where no severity network is loaded."""
    limits: RequestLimits
    columns: list[str]
    """Fields of a result, in the order of the tables."""
    sample: str


COLUMNS = [field.name for field in msgspec.structs.fields(ResultRecord)]

EXAMPLE = Predictions(
    NOTICE,
    "0.1.0",
    [
        Prediction(
            index=0,
            result=ResultRecord(
                input="",
                status=Status.OK,
                decision=Decision.UNCERTAIN,
                probability=0.47,
                low=0.31,
                high=0.64,
                gate=GateAnswer.FRONTAL,
                gate_score=0.998,
                flags=(Flag.AT_EDGE,),
                right_lung_px=812345,
                left_lung_px=701234,
                right_lung_mm2=16490.6,
                left_lung_mm2=14235.1,
                convention=LungConvention.FULL,
                lung_labels=LungLabels.RIGHT1_LEFT2,
                width=2048,
                height=2500,
                format="DICOM",
                bits=12,
                spacing_row_mm=0.1425,
                spacing_column_mm=0.1425,
                seconds=0.09,
                networks=("lungs@1:0123456789ab", "diagnosis@1:456789abcdef", "gate@1:89abcdef0123"),
            ),
            threshold=0.5,
            mask_threshold=0.5,
            mask=Mask(0.5, png="iVBORw0KGgo..."),
        ),
        Prediction(
            index=1,
            result=ResultRecord(
                input="",
                status=Status.REFUSED,
                reasons=(Reason.LATERAL_VIEW,),
                gate=GateAnswer.NOT_FRONTAL,
                gate_score=0.02,
                width=1024,
                height=1024,
                format="PNG",
                bits=8,
            ),
            threshold=0.5,
            mask_threshold=0.5,
        ),
        Prediction(
            index=2,
            result=ResultRecord(
                input="",
                status=Status.FAILED,
                error="unreadable",
                message="Not an image that can be read: the file is a PDF document.",
            ),
            hint="PNG, JPEG, BMP, TIFF and DICOM are read.",
        ),
    ],
)
