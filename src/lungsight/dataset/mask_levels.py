"""What is lung in a mask image: told from its levels, colours and transparency, or refused with the reason."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lungsight.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

IGNORE = 127
"""What V7's semantic masks have where a device hides the lung."""
MERGE = 12
"""Levels of an 8-bit image closer than this are one level that JPEG or resampling has spread."""
MAX_BETWEEN = 0.15
"""Of the pixels: with more between the levels it is a picture or a soft mask. Antialiased edges of a mask of
64 pixels have 0.1."""
FEW = 8
"""Levels of an image that was saved as drawn, however rare some of them are."""
LEAST_LEVEL = 0.025
"""Of the pixels, in one that was not: edges spread over all levels, and no window of them holds as much."""
INVERTED_BORDER = 0.6
"""Of the frame's border: lungs do not fill it, the background of an inverted mask does."""
_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "I;16", "I;16B", "I", "F", "CMYK", "YCbCr"})


def lungs_of(image: Image, where: Path) -> NDArray[np.bool_]:
    """The lungs of a mask image, (H, W) bool.

    Read are: 1 bit; 0 and any other level; two labels, one for each lung (1 and 2, 64 and 128, 128 and 255);
    V7's 0, 127 (ignored: no lung) and 255; one or two colours on black or on white; a palette; an alpha channel
    that holds the shape; white background with dark lungs; the same after JPEG or resampling; 16 bits; 32-bit floats.

    Raises:
        DataError: none of these. The message says what it looks like.
    """
    if image.mode not in _MODES:
        raise _refused(f"it has the mode {image.mode}", where)
    if image.mode == "1":
        lung = np.asarray(image, bool)
        return lung if lung.all() else _upright(lung, where)
    if image.mode in ("I", "I;16", "I;16B", "F"):
        values = np.asarray(image)
        if not np.isfinite(values).all() or values.min(initial=0) < 0:
            raise _refused("it holds values below 0, or what is no number", where)
        return _upright(_of_levels(_to_bytes(values), where), where)
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        colours = np.asarray(image.convert("RGBA"))
        opaque = colours[..., 3] > 127
        if opaque.all():
            return _upright(_of_colours(colours[..., :3], where), where)
        return _of_alpha(colours, opaque, where)
    if image.mode == "L":
        return _upright(_of_levels(np.asarray(image), where), where)
    return _upright(_of_colours(np.asarray(image.convert("RGB")), where), where)


def _of_levels(values: NDArray[np.uint8], where: Path) -> NDArray[np.bool_]:
    """Grey levels (H, W) -> lung."""
    counts = np.bincount(values.ravel(), minlength=256)
    levels = _levels(counts)
    if not levels:
        raise _refused("its grey levels are those of a picture", where)
    if len(levels) == 1:
        return np.full(values.shape, levels[0] > 0 and levels[0] != IGNORE)
    middle = np.array([(low + high) / 2 for low, high in itertools.pairwise(levels)])
    near = np.searchsorted(middle, np.arange(256))
    if levels[-1] >= 32:
        off = np.abs(np.arange(256) - np.asarray(levels)[near]) > MERGE
        if counts[off].sum() > MAX_BETWEEN * counts.sum():
            raise _refused("its grey levels are those of a picture, or of a soft mask", where)
    if levels == [0, IGNORE]:
        return np.zeros(values.shape, bool)
    slack = 0 if np.count_nonzero(counts) <= FEW else MERGE
    foreground = [level for level in levels[1:] if not (abs(level - IGNORE) <= slack and levels[-1] > 200)]
    if len(foreground) > 2:
        raise _refused(f"it has {len(foreground)} areas beside the background", where)
    lung = np.isin(np.asarray(levels), foreground)
    return np.asarray(lung[near][values])


def _levels(counts: NDArray[np.int64]) -> list[int]:
    """The levels that an image was drawn with: each the most frequent one within `MERGE`, rare ones left out."""
    present = np.flatnonzero(counts)
    if present[-1] < 32:  # labels 0, 1, 2: neighbours are different areas
        return [int(level) for level in present]
    least = 0 if len(present) <= FEW else LEAST_LEVEL * counts.sum()
    left = counts.copy()
    found: list[int] = []
    while left.any():
        level = int(left.argmax())
        if left[max(0, level - 2) : level + 3].sum() < least:
            break
        found.append(level)
        left[max(0, level - MERGE) : level + MERGE + 1] = 0
    return sorted(found)


def _of_colours(colours: NDArray[np.uint8], where: Path) -> NDArray[np.bool_]:
    """(H, W, 3): grey in three channels, or one or two colours on a background -> lung."""
    signed = colours.astype(np.int16)
    spread = signed.max(axis=2) - signed.min(axis=2)
    coloured = spread > 48
    if coloured.mean() < 0.0005:
        return _of_levels(np.asarray(colours[..., 1]), where)
    grey = colours[..., 1][~coloured]
    between = ((grey > 32) & (grey < 223)).mean() if grey.size else 0.0
    if between > MAX_BETWEEN:
        raise _refused("it looks like an X-ray with the lungs painted over it", where)
    # Hues of the coloured part: a mask has one or two, an overlay or a heat map many.
    keys = (colours[coloured] >> 6).astype(np.uint16) @ np.array([16, 4, 1], np.uint16)
    counts = np.bincount(keys, minlength=64)
    if (counts > 0.05 * counts.sum()).sum() > 2:
        raise _refused("it has several colours, as an overlay or a heat map", where)
    dark, bright = (grey < 32).sum(), (grey > 223).sum()
    if dark and bright and min(dark, bright) > 0.02 * coloured.size:
        raise _refused("it has a colour beside black and white", where)
    if not grey.size:
        corners = colours[[0, 0, -1, -1], [0, -1, 0, -1]].astype(np.int16)
        background = np.median(corners, axis=0)
        return np.asarray(np.abs(signed - background).max(axis=2) > 64)
    return np.asarray(coloured)


def _of_alpha(colours: NDArray[np.uint8], opaque: NDArray[np.bool_], where: Path) -> NDArray[np.bool_]:
    """(H, W, 4) with transparent parts: the opaque shape, or what is bright in it."""
    if not opaque.any():
        return opaque
    shown = colours[opaque][:, :3].astype(np.int16)
    bright = shown.max(axis=1) > 127
    if np.ptp(shown, axis=0).max() <= 2 * MERGE or bright.all():
        return _upright(opaque, where)
    share = bright.mean()
    middle = ((shown.max(axis=1) > 32) & (shown.max(axis=1) < 223)).mean()
    if middle > MAX_BETWEEN or not 0 < share < 1:
        raise _refused("it looks like a picture with transparent parts", where)
    lung = np.zeros(opaque.shape, bool)
    lung[opaque] = bright
    return _upright(lung, where)


def _upright(lung: NDArray[np.bool_], where: Path) -> NDArray[np.bool_]:
    """The mask as it is, or its opposite where the background was given as lung."""
    if lung.all():
        raise _refused("all of it is one area", where)
    border = np.concatenate([lung[0], lung[-1], lung[:, 0], lung[:, -1]])
    corners = lung[[0, 0, -1, -1], [0, -1, 0, -1]]
    return ~lung if border.mean() > INVERTED_BORDER and corners.all() else lung


def _to_bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """16- or 32-bit levels: small whole ones as they are, large ones and fractions scaled to 255."""
    top = values.max(initial=0)
    if top <= 255 and (values == np.rint(values)).all():
        return np.asarray(values, np.uint8)
    return np.asarray(np.rint(values.astype(np.float64) * (255 / top)), np.uint8)


def _refused(what: str, where: Path) -> DataError:
    return DataError(
        f"it is not clear what is lung in this mask: {what}",
        code="mask_format",
        where=where,
        hint="Use an 8-bit PNG with 0 for the background and 255 for the lungs",
    )
