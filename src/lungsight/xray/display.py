"""Stored DICOM grey values -> grey as a reader sees it, bone bright (DICOM PS3.3 C.11.1, C.11.2)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi

from lungsight.xray.base import Numbers, Pixels, rescale_intensity

SEEN = 0.01
"""A window that leaves a smaller share of the pixels between black and white shows nothing."""


def display(stored: NDArray[Any], dataset: Dataset) -> tuple[Pixels, tuple[str, ...]]:
    """Modality LUT or rescale, then VOI LUT or window; then MONOCHROME1 inverted and padding black.

    Where the file gives neither VOI LUT nor window, or one that leaves nothing to see, 8-bit values stay
    as they are and others are stretched (see `lungsight.xray.base.rescale_intensity`).

    Args:
        stored: (H, W) as decoded.
        dataset: the elements that say what the values mean.

    Returns:
        (H, W) `uint8`, or `float32` in [0, 1]; and notes.
    """
    values = _used_bits(stored, dataset)
    if values.dtype.kind == "f":
        values = np.nan_to_num(values)
    padding = _padding(values, dataset)
    valid = None if padding is None else ~padding
    real, rescaled = _modality(values, dataset)
    shown, notes = _voi(real, dataset, valid)
    pixels: Pixels
    if shown is not None:
        pixels = shown
    elif values.dtype == np.uint8 and not rescaled and int(dataset.BitsStored) == 8:
        pixels = np.array(values, np.uint8)
    else:
        pixels = rescale_intensity(real, valid)
        notes += ("no usable window, grey values stretched to their range",)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        pixels = _invert(pixels)
        notes += ("MONOCHROME1, inverted",)
    if padding is not None:
        pixels[padding] = 0
    return pixels, notes


def _used_bits(stored: NDArray[Any], dataset: Dataset) -> NDArray[Any]:
    """Drop what old files keep in the bits beside the stored ones (overlays)."""
    if stored.dtype.kind not in "iu":
        return stored
    width = stored.dtype.itemsize * 8
    bits, high = int(dataset.BitsStored), int(dataset.HighBit)
    if not 0 < bits < width or not bits - 1 <= high < width:
        return stored
    # Up against the top bit and back: the right shift of a signed type restores the sign.
    return (stored << (width - 1 - high)) >> (width - bits)


def _padding(values: NDArray[Any], dataset: Dataset) -> NDArray[np.bool_] | None:
    """(H, W), True where there is no image; None where every pixel counts (or, against sense, none would)."""
    first = dataset.get("PixelPaddingValue")
    if first is None:
        return None
    last = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((int(first), int(first if last is None else last)))
    padding: NDArray[np.bool_] = (values >= low) & (values <= high)
    return padding if padding.any() and not padding.all() else None


def _modality(values: NDArray[Any], dataset: Dataset) -> tuple[NDArray[Any], bool]:
    if dataset.get("ModalityLUTSequence"):
        return apply_modality_lut(values, dataset), True
    slope, intercept = _number(dataset, "RescaleSlope", 1.0), _number(dataset, "RescaleIntercept", 0.0)
    if slope == 0 or (slope, intercept) == (1.0, 0.0):
        return values, False
    return values.astype(np.float32) * np.float32(slope) + np.float32(intercept), True


def _voi(
    values: NDArray[Any], dataset: Dataset, valid: NDArray[np.bool_] | None
) -> tuple[NDArray[np.float32] | None, tuple[str, ...]]:
    """[0, 1] by the file's first VOI LUT or window; None where there is none that shows anything."""
    out: NDArray[np.float32] | None = None
    if dataset.get("VOILUTSequence"):
        out = _voi_lut(values, dataset)
    elif dataset.get("WindowCenter") is not None and dataset.get("WindowWidth") is not None:
        out = window(
            values,
            _number(dataset, "WindowCenter", 0.0),
            _number(dataset, "WindowWidth", 0.0),
            str(dataset.get("VOILUTFunction") or "LINEAR"),
        )
    else:
        return None, ()
    if out is None or _shows(values, out, valid):
        return out, ()
    return None, ("the file's window leaves nothing to see and was not used",)


def window(values: Numbers, center: float, width: float, function: str) -> NDArray[np.float32] | None:
    """A window of PS3.3 C.11.2.1.2 and .3: (H, W) of any range -> [0, 1]; None for a senseless width."""
    x = values.astype(np.float32)
    if function == "SIGMOID" and width > 0:
        return np.asarray(1 / (1 + np.exp(np.clip(-4 * (x - center) / width, -80, 80))), np.float32)
    if function != "LINEAR_EXACT":
        center, width = center - 0.5, width - 1
    if not width > 0:
        return None
    return np.asarray(
        np.clip((x - np.float32(center)) / np.float32(width) + np.float32(0.5), 0, 1), np.float32
    )


def _voi_lut(values: NDArray[Any], dataset: Dataset) -> NDArray[np.float32] | None:
    whole = values if values.dtype.kind in "iu" else np.rint(values).astype(np.int32)
    table = apply_voi(whole, dataset)
    # Tables often use fewer bits than their descriptor says, so their own range counts.
    data = dataset.VOILUTSequence[0].LUTData
    entries = np.frombuffer(data, np.uint16) if isinstance(data, bytes) else np.asarray(data)
    low, high = float(entries.min()), float(entries.max())
    return None if high <= low else np.clip((table.astype(np.float32) - low) / (high - low), 0, 1)


def _shows(values: NDArray[Any], out: NDArray[np.float32], valid: NDArray[np.bool_] | None) -> bool:
    before, after = (values, out) if valid is None else (values[valid], out[valid])
    if before.min() == before.max():
        return True
    return bool(((after > 0) & (after < 1)).mean() >= SEEN)


def _invert(pixels: Pixels) -> Pixels:
    return 255 - pixels if pixels.dtype == np.uint8 else 1 - pixels


def _number(dataset: Dataset, word: str, default: float) -> float:
    """The element's first value, as several windows may be given."""
    value = dataset.get(word)
    if value is None or value == "":
        return default
    return float(value if isinstance(value, int | float | str) else value[0])
