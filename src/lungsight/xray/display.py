"""Stored DICOM grey values -> grey as a reader sees it, bone bright (DICOM PS3.3 C.11.1, C.11.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lungsight.errors import InputError
from lungsight.wording import XRayNote
from lungsight.xray.base import STRETCH, Numbers, Pixels, Windowed, rescale_intensity
from lungsight.xray.dicom_elements import Elements
from lungsight.xray.tags import (
    INTERCEPT,
    LUT_DATA,
    LUT_DESCRIPTOR,
    MODALITY_LUTS,
    PADDING,
    PADDING_LIMIT,
    PALETTE_DESCRIPTORS,
    PALETTES,
    PRESENTATION_SHAPE,
    SEGMENTED_PALETTE,
    SLOPE,
    VOI_FUNCTION,
    VOI_LUTS,
    WINDOW_CENTER,
    WINDOW_WIDTH,
)

if TYPE_CHECKING:
    from lungsight.xray.dicom_pixels import Image

SEEN = 0.01
"""A window that leaves a smaller share of the pixels between black and white shows nothing."""
CURVE = 4096
"""Points of a VOI LUT that a viewer is given."""


def display(stored: NDArray[Any], elements: Elements, image: Image) -> tuple[Pixels, tuple[XRayNote, ...]]:
    """Modality LUT or rescale, then VOI LUT or window; then inversion as the header asks, and padding black.

    Where the file gives neither VOI LUT nor window, or one that leaves nothing to see, 8-bit values stay
    as they are and others are rescaled (see `lungsight.xray.base.rescale_intensity`).

    Args:
        stored: (H, W), the stored bits alone.
        elements: what the values mean.
        image: how they were stored.

    Returns:
        (H, W) `uint8`, or `float32` in [0, 1]; and notes.
    """
    values = np.nan_to_num(stored) if stored.dtype.kind == "f" else stored
    padding = _padding(values, elements, image)
    valid = None if padding is None else ~padding
    real, rescaled = _modality(values, elements, image)
    shown, notes = _voi(real, elements, image, valid)
    pixels: Pixels
    if shown is not None:
        pixels = shown
    elif values.dtype == np.uint8 and not rescaled and image.bits_stored == 8:
        pixels = np.array(values, np.uint8)
    else:
        pixels = rescale_intensity(real, valid)
        notes += (XRayNote.NO_WINDOW, XRayNote.RESCALED)
    if image.photometric == "MONOCHROME1":
        pixels = _invert(pixels)
        notes += (XRayNote.MONOCHROME1,)
    elif elements.text(PRESENTATION_SHAPE, 16).upper() == "INVERSE":
        pixels = _invert(pixels)
        notes += (XRayNote.INVERSE_SHAPE,)
    if padding is not None:
        pixels[padding] = 0
    return pixels, notes


def windowed(stored: NDArray[Any], elements: Elements, image: Image) -> Windowed | None:
    """What `display` makes its picture of, for a viewer that lets its user move the window.

    A VOI LUT and a sigmoid become a window with a curve.

    Returns:
        None where 8-bit values stay as they are.
    """
    values = np.nan_to_num(stored) if stored.dtype.kind == "f" else stored
    padding = _padding(values, elements, image)
    valid = None if padding is None else ~padding
    real, rescaled = _modality(values, elements, image)
    shown, _ = _voi(real, elements, image, valid)
    curve, span = None, 1.0
    if shown is not None:
        center, width, curve, span = _window_of(elements, signed=_below_zero(real, image))
    elif values.dtype == np.uint8 and not rescaled and image.bits_stored == 8:
        return None
    else:
        counted = real if valid is None else real[valid]
        low, high = (float(value) for value in np.percentile(counted, STRETCH))
        center, width = (low + high) / 2, max(high - low, 1e-6)
    inverted = image.photometric == "MONOCHROME1" or (
        elements.text(PRESENTATION_SHAPE, 16).upper() == "INVERSE"
    )
    if padding is not None:
        real = real.copy()
        real[padding] = real[~padding].max() if inverted else real[~padding].min()
    return Windowed(real, center, width, inverted, curve, span)


def _below_zero(values: NDArray[Any], image: Image) -> bool:
    """Whether a VOI LUT's first value is a signed number (PS3.3 C.11.2.1.1): so are rescaled values below zero."""
    return image.signed or bool(values.min() < 0)


def _window_of(elements: Elements, *, signed: bool) -> tuple[float, float, NDArray[np.float32] | None, float]:
    """Centre, width, curve and span, as `Windowed` has them, of a file with a VOI LUT or window that `_voi` uses."""
    tables = elements.items(VOI_LUTS, (LUT_DESCRIPTOR, LUT_DATA), 1)
    if tables:
        scaled = _scaled(tables[0], signed=signed)
        assert scaled is not None
        table, first = scaled
        points = np.linspace(0, len(table) - 1, min(len(table), CURVE))
        curve = np.interp(points, np.arange(len(table)), table).astype(np.float32)
        return first + (len(table) - 1) / 2, float(len(table) - 1), curve, 1.0
    center, width = elements.number(WINDOW_CENTER), elements.number(WINDOW_WIDTH)
    assert center is not None and width is not None
    function = elements.text(VOI_FUNCTION, 16).upper() or "LINEAR"
    if function == "SIGMOID":
        return center, width, (1 / (1 + np.exp(-4 * np.linspace(-2, 2, 257)))).astype(np.float32), 4.0
    return (center, width, None, 1.0) if function == "LINEAR_EXACT" else (center - 0.5, width - 1, None, 1.0)


def palette_grey(values: NDArray[Any], elements: Elements, *, signed: bool) -> NDArray[np.uint8]:
    """Indices (H, W) -> the luma (BT.601) of their colours as `uint8`; one small table, whatever the image's size.

    Raises:
        InputError: there is no whole palette.
    """
    tables = []
    for descriptor, data in zip(PALETTE_DESCRIPTORS, PALETTES, strict=True):
        table = _table(elements, descriptor, data, signed=signed)
        if table is None and SEGMENTED_PALETTE in elements.values:
            raise InputError("not supported: segmented palettes in DICOM", code="unsupported")
        if table is None:
            raise InputError("the DICOM file is damaged: its palette is missing or cut short", code="damaged")
        tables.append(table)
    # Tables of 8 bits in words are sometimes called tables of 16: as such they would be black.
    eight = max(int(entries.max()) for entries, _, _ in tables) < 256
    scaled = [
        (entries.astype(np.float64) * (255 / (2 ** (min(bits, 8) if eight else bits) - 1)), first)
        for entries, first, bits in tables
    ]
    if len({(len(entries), first) for entries, first in scaled}) != 1:
        raise InputError("not supported: palettes of different lengths in DICOM", code="unsupported")
    red, green, blue = (entries for entries, _ in scaled)
    grey = np.rint(0.299 * red + 0.587 * green + 0.114 * blue).clip(0, 255).astype(np.uint8)
    return _look_up(values, grey, scaled[0][1])


def _table(
    elements: Elements, descriptor: int, data: int, *, signed: bool
) -> tuple[NDArray[np.uint16], int, int] | None:
    """(entries, value of the first, bits) of a lookup table (PS3.3 C.11.1.1); None where it is missing or short.

    Entries of up to 8 bits may lie in a byte each. Tables often use fewer bits than they say, never more.
    """
    words = elements.words(descriptor)
    raw = elements.values.get(data)
    if len(words) != 3 or raw is None:
        return None
    count = words[0] or 2**16
    first = elements.words(descriptor, signed=signed)[1]
    bits = words[2] if 1 <= words[2] <= 16 else 16
    if bits <= 8 and count <= len(raw) < 2 * count:
        packed = np.frombuffer(raw[: count + count % 2], np.uint8)
        if not elements.little and len(packed) % 2 == 0:
            packed = packed.reshape(-1, 2)[:, ::-1].reshape(-1)
        return packed[:count].astype(np.uint16), first, bits
    if len(raw) < 2 * count:
        return None
    entries = np.frombuffer(raw[: 2 * count], "<u2" if elements.little else ">u2").astype(np.uint16)
    if bits <= 8 and entries.max() > 255:
        low = entries & np.uint16(255)
        if not low.any() or (low == entries >> np.uint16(8)).all():  # in the upper byte, or in both
            return entries >> np.uint16(8), first, bits
        # Two entries a word all the same.
        return np.frombuffer(raw[:count], np.uint8).astype(np.uint16), first, bits
    return entries, first, max(bits, int(entries.max()).bit_length())


def _look_up(values: NDArray[Any], table: NDArray[Any], first: int) -> NDArray[Any]:
    """table[values - first], with what lies outside taken to the ends."""
    index = values.astype(np.int32)
    index -= np.int32(first)
    np.clip(index, 0, len(table) - 1, out=index)
    return table[index]


def _padding(values: NDArray[Any], elements: Elements, image: Image) -> NDArray[np.bool_] | None:
    """(H, W), True where there is no image; None where every pixel counts (or, against sense, none would)."""
    first = elements.word(PADDING, signed=image.signed)
    if first is None:
        return None
    last = elements.word(PADDING_LIMIT, signed=image.signed)
    low, high = sorted((first, first if last is None else last))
    padding: NDArray[np.bool_] = (values >= low) & (values <= high)
    return padding if padding.any() and not padding.all() else None


def _modality(values: NDArray[Any], elements: Elements, image: Image) -> tuple[NDArray[Any], bool]:
    tables = elements.items(MODALITY_LUTS, (LUT_DESCRIPTOR, LUT_DATA), 1)
    table = _table(tables[0], LUT_DESCRIPTOR, LUT_DATA, signed=image.signed) if tables else None
    if table is not None and values.dtype.kind in "iu":
        return _look_up(values, table[0], table[1]), True
    slope, intercept = elements.number(SLOPE), elements.number(INTERCEPT)
    slope, intercept = 1.0 if slope is None else slope, 0.0 if intercept is None else intercept
    if slope == 0 or (slope, intercept) == (1.0, 0.0):
        return values, False
    real = values.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    return (real, True) if np.isfinite(real).all() else (values, False)


def _voi(
    values: NDArray[Any], elements: Elements, image: Image, valid: NDArray[np.bool_] | None
) -> tuple[NDArray[np.float32] | None, tuple[XRayNote, ...]]:
    """[0, 1] by the file's first VOI LUT or window; None where there is none that shows anything."""
    tables = elements.items(VOI_LUTS, (LUT_DESCRIPTOR, LUT_DATA), 1)
    center, width = elements.number(WINDOW_CENTER), elements.number(WINDOW_WIDTH)
    out: NDArray[np.float32] | None = None
    if tables:
        out = _voi_lut(values, tables[0], signed=_below_zero(values, image))
    elif center is not None and width is not None:
        out = window(values, center, width, elements.text(VOI_FUNCTION, 16).upper() or "LINEAR")
    else:
        return None, ()
    if out is None or _shows(values, out, valid):
        return out, ()
    return None, (XRayNote.WINDOW_NOT_USED,)


def window(values: Numbers, center: float, width: float, function: str) -> NDArray[np.float32] | None:
    """A window of PS3.3 C.11.2.1.2 and .3: (H, W) of any range -> [0, 1]; None for a senseless width."""
    x = values.astype(np.float32)
    if function == "SIGMOID" and width > 0:
        return np.asarray(1 / (1 + np.exp(np.clip(-4 * (x - center) / width, -80, 80))), np.float32)
    if function != "LINEAR_EXACT":
        center, width = center - 0.5, width - 1
    if not width > 0:
        return None
    x -= np.float32(center)
    x /= np.float32(width)
    x += np.float32(0.5)
    return np.clip(x, 0, 1, out=x)


def _voi_lut(values: NDArray[Any], item: Elements, *, signed: bool) -> NDArray[np.float32] | None:
    scaled = _scaled(item, signed=signed)
    if scaled is None:
        return None
    whole = values if values.dtype.kind in "iu" else np.rint(values)
    return np.asarray(_look_up(whole, *scaled), np.float32)


def _scaled(item: Elements, *, signed: bool) -> tuple[NDArray[np.float32], int] | None:
    """(entries in [0, 1], value of the first) of a VOI LUT; None where it says nothing."""
    table = _table(item, LUT_DESCRIPTOR, LUT_DATA, signed=signed)
    if table is None:
        return None
    entries, first, _ = table
    # Tables often use fewer bits than their descriptor says, so their own range counts.
    low, high = float(entries.min()), float(entries.max())
    if high <= low:
        return None
    return ((entries.astype(np.float32) - low) / (high - low)).astype(np.float32), first


def _shows(values: NDArray[Any], out: NDArray[np.float32], valid: NDArray[np.bool_] | None) -> bool:
    before, after = (values, out) if valid is None else (values[valid], out[valid])
    if before.min() == before.max():
        return True
    return bool(((after > 0) & (after < 1)).mean() >= SEEN)


def _invert(pixels: Pixels) -> Pixels:
    return 255 - pixels if pixels.dtype == np.uint8 else 1 - pixels
