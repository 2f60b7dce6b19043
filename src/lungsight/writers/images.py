"""Masks and overlays as picture files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lungsight.errors import OutputError
from lungsight.files import write_bytes
from lungsight.inference.drawing import (
    COLOURS,
    Labels,
    encode_mask,
    encode_picture,
    mask_values,
    overlay,
    thumbnail,
    transparent,
)
from lungsight.inference.lung_masks import LEFT, RIGHT

__all__ = [
    "COLOURS",
    "LEFT",
    "RIGHT",
    "Labels",
    "encode_mask",
    "encode_picture",
    "mask_values",
    "overlay",
    "thumbnail",
    "transparent",
    "write_mask",
    "write_picture",
]


def write_mask(path: str | Path, mask: Labels) -> None:
    """Write a mask as a 1-channel 8-bit PNG of 0 and 255, or a label map as one of 0, 1 (right) and 2 (left).

    Raises:
        OutputError: it cannot be written.
    """
    write_bytes(path, encode_mask(mask))


def write_picture(path: str | Path, picture: NDArray[np.uint8], *, quality: int = 88) -> None:
    """Write grey (H, W), RGB (H, W, 3) or, PNG alone, RGBA (H, W, 4) as PNG or JPEG, told by the name's extension.

    Raises:
        OutputError: it cannot be written, or the extension is another.
    """
    extension = Path(path).suffix.lower()
    if extension not in (".png", ".jpg", ".jpeg"):
        raise OutputError(f"pictures are written as PNG or JPEG, not as {extension or 'this'}", where=path)
    write_bytes(path, encode_picture(picture, extension, quality))
