"""What is known about one X-ray after prediction: `Result` with its pixels; `record.ResultRecord` without them."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from lungsight.errors import LungsightError, PassedOverError, RefusedError
from lungsight.files import write_bytes
from lungsight.inference import drawing
from lungsight.inference.classifier import Diagnosis
from lungsight.inference.heart import Cardiothoracic, Width
from lungsight.inference.lung_masks import LEFT, RIGHT
from lungsight.inference.record import TABLE_VERSION, NetworkId, ResultRecord
from lungsight.inference.severity import Severity, can_grade
from lungsight.inference.view_gate import Gate
from lungsight.inference.zones import zone_areas, zones
from lungsight.preprocess import Frame, resize_image
from lungsight.records import plain, to_json
from lungsight.wording import (
    Decision,
    Flag,
    LungConvention,
    LungLabels,
    RatioNote,
    Reason,
    Status,
    say,
    say_all,
)
from lungsight.xray import XRay

__all__ = ["TABLE_VERSION", "Failure", "NetworkId", "Result", "ResultRecord"]


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """The answer for one X-ray of (H, W) pixels.

    Example:
        >>> result = model("chest.png")                          # doctest: +SKIP
        >>> result.decision, result.probability, result.flags    # doctest: +SKIP
        (<Decision.UNCERTAIN: 'uncertain'>, 0.41, ())
    """

    xray: XRay
    """As read: pixels, spacing, notes."""
    labels: NDArray[np.uint8]
    """(H, W): 0, 1 the patient's right lung (on the left side of the image), 2 the left lung, as lungmask has them."""
    gate: Gate
    diagnosis: Diagnosis
    flags: tuple[Flag, ...]
    """What is implausible about the lungs."""
    network_map: NDArray[np.float32] = field(repr=False)
    """(h, w) lung probability at network size, as the network gave it, in the convention of the mask."""
    score_map: NDArray[np.float32] = field(repr=False)
    """(h, w) the same in the network's own convention, on which score, gate and flags rest."""
    frame: Frame = field(repr=False)
    """Geometry between the file and the network."""
    seconds: float = 0.0
    """Time from file to result; in a batch the networks' part is shared out evenly."""
    networks: tuple[NetworkId, ...] = ()
    """Which networks answered."""
    convention: LungConvention = LungConvention.FULL
    """What counts as lung in the mask."""
    heart_map: NDArray[np.float32] | None = field(default=None, repr=False)
    """(h, w) heart probability at network size; None where the network does not mark the heart."""
    sha256: str = ""
    """Of the file, where it was asked for."""
    severity: Severity | None = None
    """Estimate of the Brixia score; None where no network is loaded or it cannot tell."""
    unlikeness: float | None = None
    """Distance from the images that the lung network learned from, over its limit: above 1 it is flagged as unfamiliar;
    None where the network does not give it."""
    ratio: Cardiothoracic | None = None
    """The cardiothoracic ratio, widths in pixels of the lung network; None where it cannot be measured."""

    @property
    def name(self) -> str:
        """What the X-ray is called: its path, if it has one."""
        return self.xray.name

    @property
    def status(self) -> Status:
        """`OK`, or `REFUSED` where it is no upright frontal chest X-ray."""
        return Status.OK if self.gate.frontal else Status.REFUSED

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
    def decision(self) -> Decision:
        """'covid', 'not_covid', 'uncertain' or 'not_scored'."""
        return self.diagnosis.decision

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Why it is not scored."""
        return tuple(dict.fromkeys((*self.gate.reasons, *self.diagnosis.reasons)))

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

    @property
    def cardiothoracic_ratio(self) -> float | None:
        """Widest heart over widest chest; too large on AP films. None where it cannot be measured."""
        return self.ratio.ratio if self.ratio else None

    @cached_property
    def zones(self) -> NDArray[np.uint8]:
        """(H, W) the six lung zones, 1 to 6 for A to F; see `lungsight.inference.zones`. All 0 without `has_zones`."""
        return zones(self.labels) if self.has_zones else np.zeros(self.labels.shape, np.uint8)

    @property
    def has_zones(self) -> bool:
        """Whether the lungs are such that their zones mean something: frontal, both of them whole."""
        return self.gate.frontal and can_grade(self.flags)

    @property
    def measures(self) -> drawing.Measures | None:
        """What is drawn over the lungs beside their outline; None where there is nothing."""
        if not self.has_zones and self.ratio is None:
            return None
        height, width = self.score_map.shape
        return drawing.Measures(
            has_zones=self.has_zones,
            # Rounded first as in the record, so that picture and table never differ in their last digit.
            severity=tuple(round(one, 2) for one in self.severity.zones) if self.severity else (),
            ratio=(round(self.ratio.ratio, 3), self.ratio.heart, self.ratio.chest, (height, width))
            if self.ratio
            else None,
        )

    @property
    def record(self) -> ResultRecord:
        """Everything but the pixels."""
        height, width = self.xray.shape
        low, high = self.interval or (None, None)
        right_mm2, left_mm2 = self.areas_mm2 or (None, None)
        row_mm, column_mm = self.xray.spacing or (None, None)
        return ResultRecord(
            input=self.name,
            status=self.status,
            decision=self.decision,
            probability=self.probability,
            low=low,
            high=high,
            answers=self.diagnosis.answers,
            gate=self.gate.answer,
            gate_score=self.gate.score,
            reasons=self.reasons,
            flags=self.flags,
            notes=self.xray.notes,
            right_lung_px=self.areas[0],
            left_lung_px=self.areas[1],
            right_lung_mm2=right_mm2,
            left_lung_mm2=left_mm2,
            severity=_rounded(self.severity.total) if self.severity else None,
            severity_low=_rounded(self.severity.low) if self.severity else None,
            severity_high=_rounded(self.severity.high) if self.severity else None,
            severity_zones=tuple(round(one, 2) for one in self.severity.zones) if self.severity else (),
            cardiothoracic_ratio=_rounded(self.cardiothoracic_ratio, 3),
            ratio_note=note_of(self.xray.view) if self.ratio else None,
            ratio_doubts=self.ratio.doubts if self.ratio else (),
            heart_line=_line(self.ratio.heart, self.score_map.shape) if self.ratio else (),
            chest_line=_line(self.ratio.chest, self.score_map.shape) if self.ratio else (),
            zone_px=zone_areas(self.labels) if self.has_zones else (),
            convention=self.convention,
            lung_labels=LungLabels.RIGHT1_LEFT2,
            width=width,
            height=height,
            format=self.xray.format,
            bits=self.xray.bits,
            view=self.xray.view,
            modality=self.xray.modality,
            spacing_kind=self.xray.spacing_kind,
            study_uid=self.xray.study_uid,
            series_uid=self.xray.series_uid,
            sop_uid=self.xray.sop_uid,
            spacing_row_mm=row_mm,
            spacing_column_mm=column_mm,
            seconds=round(self.seconds, 4),
            sha256=self.sha256,
            networks=_names(self.networks),
        )

    def overlay(
        self, *, side: int | None = None, alpha: float = 0.15, thickness: int | None = None
    ) -> NDArray[np.uint8]:
        """X-ray in grey with the lungs outlined, their zones shaded by severity, and the widths of heart and chest.

        Args:
            side: longer side of the picture at most; the size of the file where None.
            alpha: strength of the tint inside the outline, 0 (the outline alone, no zones and widths) to 1.
            thickness: of the outline in pixels; about a 200th of the longer side where None.

        Returns:
            (h, w, 3) `uint8` RGB.
        """
        step = -(-max(self.xray.shape) // side) if side else 1
        small = self.labels[::step, ::step]
        pixels = resize_image(self.xray.pixels, (small.shape[0], small.shape[1]))
        measures = self.measures if alpha else None
        return drawing.overlay(pixels, small, alpha=alpha, thickness=thickness, measures=measures)

    def save(self, folder: str | Path, *, labels: bool = False) -> list[Path]:
        """Write NAME.mask.png, NAME.overlay.jpg and NAME.json into a folder; files of that name are replaced.

        Args:
            folder: made where absent.
            labels: mask with 1 for the patient's right and 2 for the left lung instead of 255 for both.

        Returns:
            The files.

        Raises:
            OutputError: they cannot be written.
        """
        stem = re.sub(r"[^\w.-]", "_", PurePath(self.name.replace("\\", "/")).stem)[:80].lstrip(".") or "xray"
        mask, picture, told = (
            Path(folder) / f"{stem}{end}" for end in (".mask.png", ".overlay.jpg", ".json")
        )
        write_bytes(mask, drawing.encode_mask(self.labels if labels else self.mask))
        write_bytes(picture, drawing.encode_picture(self.overlay(), ".jpg"))
        record = msgspec.structs.replace(self.record, mask=mask.name, overlay=picture.name)
        write_bytes(told, to_json(record) + b"\n")
        return [mask, picture, told]

    def __repr__(self) -> str:
        height, width = self.xray.shape
        right, left = self.areas
        flags = f", flags: {', '.join(self.flags)}" if self.flags else ""
        return f"Result({self.name}, {width} x {height}: {self._said()}; right lung {right} px, left {left} px{flags})"

    def _said(self) -> str:
        """The answer in a few words: severity, cardiothoracic ratio, score."""
        parts = []
        if self.severity:
            total, low, high = map(_rounded, (self.severity.total, self.severity.low, self.severity.high))
            between = f" ({low:.1f} to {high:.1f})" if low is not None and high is not None else ""
            parts.append(f"severity {total:.1f}{between} of 18")
        if self.ratio:
            parts.append(f"cardiothoracic ratio {_rounded(self.ratio.ratio, 3):.2f}")
        return "; ".join([*parts, self._score_said()])

    def _score_said(self) -> str:
        if self.probability is None:
            return f"{say(self.decision)} ({say_all(self.reasons)})"
        low, high = self.interval or (None, None)
        between = f", 95 % interval {low:.2f} to {high:.2f}" if low is not None and high is not None else ""
        both = len(self.diagnosis.answers) > 1
        said = " or ".join(map(say, self.diagnosis.answers)) if both else say(self.decision)
        return f"{said}, probability {self.probability:.2f}{between}"

    def _repr_png_(self) -> bytes:
        return drawing.encode_picture(self.overlay(side=512), ".png")

    def _repr_html_(self) -> str:
        flags = f"<br>{html.escape(say_all(self.flags))}" if self.flags else ""
        return (
            f"<div><p><b>{html.escape(self.name)}</b><br>{html.escape(self._said())}{flags}<br>"
            "<small>Research use only, not for diagnosis.</small></p>"
            f'<img alt="X-ray with its lungs outlined" src="data:image/png;base64,'
            f'{base64.b64encode(self._repr_png_()).decode()}"></div>'
        )

    def to_dict(self) -> dict[str, Any]:
        """`record` as plain values: text, numbers, lists and None."""
        return _plain(self.record)


@dataclass(frozen=True, slots=True)
class Failure:
    """An X-ray for which there is no result: it could not be read, was refused, or is no image."""

    name: str
    error: LungsightError
    seconds: float = 0.0
    sha256: str = ""
    """Of the file, where it was asked for."""

    @property
    def status(self) -> Status:
        """`FAILED`; `REFUSED` or `PASSED_OVER` where nothing went wrong."""
        if isinstance(self.error, RefusedError):
            return Status.REFUSED
        return Status.PASSED_OVER if isinstance(self.error, PassedOverError) else Status.FAILED

    @property
    def reason(self) -> str:
        """What is wrong and what to do, without the name."""
        return f"{self.error.message}. {self.error.hint}" if self.error.hint else self.error.message

    @property
    def record(self) -> ResultRecord:
        """As `Result.record`, with what is known."""
        return ResultRecord(
            input=self.name,
            status=self.status,
            error=self.error.code,
            message=self.reason,
            seconds=round(self.seconds, 4),
            sha256=self.sha256,
        )

    def to_dict(self) -> dict[str, Any]:
        """As `Result.to_dict`, with what is known."""
        return _plain(self.record)


def _plain(record: ResultRecord) -> dict[str, Any]:
    return {name: list(v) if isinstance(v, tuple) else v for name, v in plain(record).items()}


def note_of(view: str) -> RatioNote | None:
    """What the view says about a cardiothoracic ratio; None for a film taken from behind (PA)."""
    if not view:
        return RatioNote.VIEW_UNKNOWN
    return RatioNote.MAGNIFIED if view.upper().startswith("AP") else None


def _line(width: Width, shape: tuple[int, ...]) -> tuple[float, ...]:
    """Row, first and last column as fractions of (height, width)."""
    row, start, stop = (width.row + 0.5) / shape[0], width.start / shape[1], width.stop / shape[1]
    return round(row, 4), round(start, 4), round(stop, 4)


def _rounded(value: float | None, digits: int = 2) -> float | None:
    return None if value is None else round(value, digits)


def _names(networks: Sequence[NetworkId]) -> tuple[str, ...]:
    return tuple(map(str, networks))
