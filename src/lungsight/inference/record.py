"""`ResultRecord`: the one shape of an answer without its pixels.

The row of the tables, the JSON, the answer of the API, the page and the contact sheet are made from it.
"""

from __future__ import annotations

from lungsight.model import Model
from lungsight.records import Record
from lungsight.wording import (
    Decision,
    Flag,
    GateAnswer,
    LungConvention,
    LungLabels,
    RatioDoubt,
    RatioNote,
    Reason,
    Status,
)

TABLE_VERSION = 3
"""Version of `ResultRecord`; changes whenever a field is taken away, renamed or given another meaning."""


class NetworkId(Record, frozen=True):
    """Which network answered."""

    task: str
    name: str
    version: str
    sha256: str
    """Of its weights, 64 hex digits."""

    @classmethod
    def of(cls, model: Model) -> NetworkId:
        """Of a loaded network."""
        return cls(model.card.task, model.card.name, model.card.version, model.card.sha256)

    def __str__(self) -> str:
        return f"{self.name}@{self.version}:{self.sha256[:12]}"


class ResultRecord(Record, frozen=True, kw_only=True):
    """One answer without its pixels. The fields are the columns of the table, in their order.

    None, an empty text or an empty list where a thing is not known or does not apply. Codes are those of `wording`.
    Sides are the patient's; the right lung lies on the left of the image.
    """

    input: str
    """Path, address or name of the X-ray."""
    status: Status
    error: str = ""
    """Code of what went wrong, where something did."""
    message: str = ""
    """The same in plain words."""
    decision: Decision = Decision.NOT_SCORED
    probability: float | None = None
    """Calibrated probability of COVID-19, [0, 1]."""
    low: float | None = None
    """Ends of the 95 % interval of `probability`, from the uncertainty of the calibration alone."""
    high: float | None = None
    answers: tuple[Decision, ...] = ()
    """What cannot be ruled out, 'covid', 'not_covid' or both: a conformal set with the coverage of the network's card.
    Empty where it is not scored, the card has no set, a threshold was given, or the score fits neither."""
    gate: GateAnswer | None = None
    gate_score: float | None = None
    """The gate network's probability of 'frontal', [0, 1]."""
    reasons: tuple[Reason, ...] = ()
    """Why it is not scored."""
    flags: tuple[Flag, ...] = ()
    """What is implausible about the lungs."""
    notes: tuple[str, ...] = ()
    """Codes of `lungsight.wording.XRayNote`: what was done to the grey values, and what is unusual in the file.
    Rows that a version before wrote hold sentences."""
    right_lung_px: int | None = None
    """Area of the lung in the mask that was asked for, in pixels of the file."""
    left_lung_px: int | None = None
    right_lung_mm2: float | None = None
    """The same in mm², where the file says how large a pixel is; `spacing_kind` says where."""
    left_lung_mm2: float | None = None
    severity: float | None = None
    """Estimated Brixia score, [0, 18]; empty where it cannot tell."""
    severity_low: float | None = None
    """Ends of its 90 % interval."""
    severity_high: float | None = None
    severity_zones: tuple[float, ...] = ()
    """Of zones A, B, C of the right lung from apex to base and D, E, F of the left, [0, 3] each."""
    cardiothoracic_ratio: float | None = None
    """Widest heart over widest chest inside the ribs."""
    ratio_note: RatioNote | None = None
    """What must be known of the ratio: on a film taken from the front (AP) the heart is magnified."""
    ratio_doubts: tuple[RatioDoubt, ...] = ()
    """What the lungs' shape says against the ratio."""
    heart_line: tuple[float, ...] = ()
    """Row, first and last column of the heart's width, as fractions of the image's height and width."""
    chest_line: tuple[float, ...] = ()
    """The same of the chest's width."""
    zone_px: tuple[int, ...] = ()
    """Pixels of zones A to F in the mask that was asked for; empty where the lungs cannot be cut into zones."""
    convention: LungConvention | None = None
    """What counts as lung in the mask."""
    lung_labels: LungLabels | None = None
    """Which number stands for which lung in label maps."""
    width: int | None = None
    height: int | None = None
    format: str = ""
    bits: int | None = None
    """Of a grey value in the file."""
    view: str = ""
    """Projection by the header, a code of `View`; empty where it does not say."""
    modality: str = ""
    spacing_row_mm: float | None = None
    """Distance of two rows, and of two columns, in mm."""
    spacing_column_mm: float | None = None
    spacing_kind: str = ""
    """Where that distance holds, a code of `SpacingKind`."""
    study_uid: str = ""
    series_uid: str = ""
    sop_uid: str = ""
    mask: str = ""
    """File of the mask, and of the overlay, below the folder of results."""
    overlay: str = ""
    seconds: float | None = None
    """From the file to the result; in a batch the networks' part is shared out evenly."""
    sha256: str = ""
    """Of the file, where it was asked for."""
    networks: tuple[str, ...] = ()
    """NAME@VERSION:HASH of each network that had a say."""
    table: int = TABLE_VERSION
    """Version of this record."""
