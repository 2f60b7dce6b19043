"""The grey values of a file with all their bits, for a viewer that lets its user move the window.

`packed_values` runs in a decoding process, `StoredValues.unpack` takes what it sends.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lungsight.errors import InputError
from lungsight.xray.base import Limits
from lungsight.xray.sniff import HEAD, sniff

_HEAD = struct.Struct("<IIdddd?dI")
_HIGHEST = 65535


@dataclass(frozen=True, slots=True, eq=False)
class StoredValues:
    """Grey values and the window through which the file shows them. A value v means `slope * v + intercept`."""

    values: NDArray[np.uint16]
    """(H, W)."""
    slope: float
    intercept: float
    center: float
    width: float
    """`center - width / 2` is black, `center + width / 2` white; the other way where `inverted`."""
    inverted: bool
    curve: NDArray[np.float32] | None = None
    """As `lungsight.xray.base.Windowed` has it."""
    span: float = 1.0

    @classmethod
    def unpack(cls, data: bytes, limits: Limits) -> StoredValues:
        """From `packed_values`, taken as said by a stranger; raises ValueError where it makes no sense."""
        if len(data) < _HEAD.size:
            raise ValueError("too short")
        height, width, slope, intercept, center, wide, inverted, span, points = _HEAD.unpack_from(data)
        start = _HEAD.size + 4 * points
        if height * width > limits.max_pixels or len(data) != start + 2 * height * width or points == 1:
            raise ValueError("another length")
        if not np.isfinite([slope, intercept, center, wide, span]).all() or wide <= 0 or span <= 0:
            raise ValueError("no window")
        curve = np.frombuffer(data, "<f4", points, _HEAD.size).astype(np.float32) if points else None
        if curve is not None and not ((curve >= 0) & (curve <= 1)).all():
            raise ValueError("no curve")
        values = np.frombuffer(data, "<u2", offset=start).reshape(height, width)
        values = values.astype(np.uint16, copy=False)
        return cls(values, slope, intercept, center, wide, inverted, curve, span)


def packed_values(data: bytes, limits: Limits) -> bytes:
    """The values of a file, packed for the way out of the process; empty where a window says nothing of them.

    Raises:
        InputError: another kind of file, or one that cannot be read.
    """
    kind = sniff(data[:HEAD])
    if kind.startswith("DICOM"):
        from lungsight.xray.dicom import read_windowed

        found = read_windowed(data, limits)
    elif kind in ("PNG", "TIFF"):
        from lungsight.xray.raster import read_deep_grey

        found = read_deep_grey(data, kind, limits)
    else:
        raise InputError("stored values are read from DICOM, PNG and TIFF files alone", code="other_kind")
    if found is None:
        return b""
    real = found.values
    low, high = float(real.min()), float(real.max())
    whole = real.dtype.kind in "iu" and high - low <= _HIGHEST
    slope = 1.0 if whole else max((high - low) / _HIGHEST, 1e-12)
    steps = real.astype(np.int64) - int(low) if whole else np.rint((real.astype(np.float64) - low) / slope)
    curve = b"" if found.curve is None else found.curve.astype("<f4").tobytes()
    shown = (found.center, found.width, found.inverted, found.span, len(curve) // 4)
    return (
        _HEAD.pack(*real.shape, slope, low, *shown)
        + curve
        + np.ascontiguousarray(steps.astype("<u2")).tobytes()
    )
