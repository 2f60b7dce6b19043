"""What a read X-ray is, and how much of a file is accepted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lungsight.errors import InputError
from lungsight.wording import XRayNote

Pixels = NDArray[np.uint8] | NDArray[np.float32]

Numbers = NDArray[np.integer[Any]] | NDArray[np.floating[Any]]

STRETCH = (0.5, 99.5)
"""Percentiles that become black and white where a file of more than 8 bits says nothing about display."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a file may be, so that a hostile or broken one cannot take the machine's memory."""

    max_bytes: int = 256 * 2**20
    """Bytes of the file, and of what a deflated DICOM unpacks to."""
    max_pixels: int = 64_000_000
    """Height times width, checked before decoding. The largest chest X-rays have about 20 million."""
    min_side: int = 16
    """Shorter side in pixels."""
    max_seconds: float = 30.0
    """Time for decoding one file. The largest X-rays take about 3 s on one slow core."""

    def check_bytes(self, size: int, name: str) -> None:
        """Raises InputError where a file of `size` bytes is empty or too large."""
        if size == 0:
            raise InputError("the file is empty", code="empty", where=name)
        if size > self.max_bytes:
            raise InputError(
                f"{_bytes(size)} is larger than an X-ray may be ({_bytes(self.max_bytes)})",
                code="too_large",
                where=name,
                hint="Allow more with Limits(max_bytes=...), or --max-bytes, if the file is meant to be that large",
            )

    def check_size(self, height: int, width: int, name: str) -> None:
        """Raises InputError where an image of `height` x `width` is too small or too large."""
        if min(height, width) < self.min_side:
            raise InputError(
                f"the image is {width} x {height} pixels; at least {self.min_side} on each side are needed",
                code="too_small",
                where=name,
                hint="Allow less with Limits(min_side=...), or --min-side",
            )
        if height * width > self.max_pixels:
            millions = f"{self.max_pixels / 1e6:,.0f} million"
            accepted = millions if self.max_pixels >= 1_000_000 else f"{self.max_pixels:,}"
            raise InputError(
                f"the image says it is {width:,} x {height:,} pixels, "
                f"more than the {accepted} that are accepted",
                code="too_large",
                where=name,
                hint="Allow more with Limits(max_pixels=...), or --max-pixels, if it is meant to be that large",
            )


@dataclass(frozen=True, slots=True, eq=False)
class XRay:
    """One X-ray: grey pixels, and the little that is known about them. Holds nothing about the patient."""

    pixels: Pixels = field(repr=False)
    """(H, W), bone bright: `uint8` where the file is grey or colour of 8 bits, else `float32` in [0, 1]."""
    name: str
    format: str
    """'PNG', 'JPEG', 'BMP', 'TIFF', 'DICOM', 'JSRT' (its raw films) or 'array'."""
    bits: int
    """Bits of a grey value in the file."""
    spacing: tuple[float, float] | None = None
    """Size of a pixel (row, column) in mm, where a DICOM file says so; `spacing_kind` says of what."""
    view: str = ""
    """The projection by the header, a code of `lungsight.wording.View`; empty where unknown."""
    notes: tuple[XRayNote, ...] = ()
    """What was done to the grey values and what is unusual."""
    modality: str = ""
    """'CR', 'DX' ... by the header, a word of `lungsight.xray.dicom_kind`; empty where unknown."""
    spacing_kind: str = ""
    """A code of `lungsight.wording.SpacingKind`; empty where there is no `spacing`."""
    mirrored: bool = False
    """By the header the patient's right is on the right of the picture."""
    study_uid: str = ""
    """StudyInstanceUID, SeriesInstanceUID and SOPInstanceUID; empty where they are absent or no UIDs."""
    series_uid: str = ""
    sop_uid: str = ""

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return int(self.pixels.shape[0]), int(self.pixels.shape[1])

    @classmethod
    def from_fields(cls, pixels: Pixels, name: str, fields: Mapping[str, Any]) -> XRay:
        """An X-ray from its pixels and from its other fields as JSON gives them (lists for tuples).

        Raises:
            TypeError, ValueError: a field is unknown.
        """
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()
        }
        values["notes"] = tuple(map(XRayNote, values.get("notes", ())))
        return cls(pixels, name, **values)


class Windowed(NamedTuple):
    """Grey values as a file means them, and the window through which it is shown."""

    values: NDArray[Any]
    """(H, W), after modality LUT or rescale; padding at the end that is shown black."""
    center: float
    width: float
    """`center - width / 2` is black, `center + width / 2` white; the other way where `inverted`."""
    inverted: bool
    curve: NDArray[np.float32] | None = None
    """(n,) shades in [0, 1] at equal distances over `span` times `width` about `center`, instead of a straight line."""
    span: float = 1.0


def _bytes(number: int) -> str:
    return f"{number / 2**20:,.0f} MiB" if number >= 2**20 else f"{number:,} bytes"


def rescale_intensity(values: Numbers, valid: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
    """Grey values of any type and range (H, W) -> [0, 1] from their 0.5th to their 99.5th percentile.

    Values used less than full range (12 bits in a 16-bit file) so get their contrast back, and a few
    hot pixels do not take it away. A constant image has no contrast and becomes 0.

    Args:
        values: (H, W), finite.
        valid: (H, W), the pixels that count for the percentiles; all of them where None.
    """
    counted = values if valid is None or not valid.any() else values[valid]
    low, high = (float(v) for v in np.percentile(counted, STRETCH))
    if high <= low:
        low, high = float(counted.min()), float(counted.max())
    if high <= low:
        return np.zeros(values.shape, np.float32)
    out = values.astype(np.float32)
    out -= np.float32(low)
    out /= np.float32(high - low)
    return np.clip(out, 0, 1, out=out)


def luma(colour: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], tuple[XRayNote, ...]]:
    """RGB or RGBA (H, W, 3|4) -> grey (H, W) by ITU-R BT.601, transparent parts on black; and notes."""
    from PIL import Image

    image = Image.fromarray(colour)
    if image.mode == "RGBA":
        flat = Image.new("RGB", image.size)
        flat.paste(image, mask=image.getchannel("A"))
        image = flat
    step = max(1, min(image.size) // 256)
    sample = np.asarray(image)[::step, ::step].astype(np.int16)
    coloured = (sample.max(axis=2) - sample.min(axis=2) > 24).mean() > 0.01
    return np.array(image.convert("L")), (XRayNote.COLOUR,) if coloured else ()
