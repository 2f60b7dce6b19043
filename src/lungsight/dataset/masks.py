"""Lung masks: from an image file, and drawn from outlines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lungsight.errors import DataError

MAX_PIXELS = 64_000_000
BACKGROUND, IGNORE, LUNG = 0, 127, 255
"""Grey values of V7's semantic masks."""

Ring = tuple[tuple[float, float], ...]
"""Corners (x, y) in pixels; the last joins the first."""


@dataclass(frozen=True, slots=True)
class MaskFile:
    """A mask as an image file, in any of the forms that people keep lungs in; see `mask_levels.lungs_of`."""

    path: Path

    def load(self) -> NDArray[np.bool_]:
        """Read the mask, (H, W) bool.

        Raises:
            DataError: it is missing, truncated, too large, no image, or an image of which it is not clear what
                in it is lung (an X-ray with the lungs painted over it, soft grey levels, a full frame).
        """
        from PIL import Image

        from lungsight.dataset.mask_levels import lungs_of

        try:
            with Image.open(self.path) as image:
                _check_size(image.width, image.height, self.path)
                return lungs_of(image, self.path)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise _unreadable(error, self.path) from error

    def shape(self) -> tuple[int, int]:
        """(H, W) from the file's header alone; raises DataError."""
        from PIL import Image

        try:
            with Image.open(self.path) as image:
                return image.height, image.width
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise _unreadable(error, self.path) from error


@dataclass(frozen=True, slots=True)
class Shape:
    """One drawn area: rings filled by the even-odd rule, so that a ring inside another is a hole."""

    value: int
    """`LUNG` or `IGNORE`."""
    rings: tuple[Ring, ...]


def rasterise(shapes: Sequence[Shape], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Draw shapes on (H, W) in the order background, lung, ignore.

    OpenCV's `fillPoly` on whole pixels, boundary included: what V7's own tool does, so the result is that of
    its published masks.
    """
    import cv2

    canvas = np.zeros(size, np.uint8)
    for shape in sorted(shapes, key=lambda shape: -shape.value):
        rings = [np.rint(np.asarray(ring, np.float64)).astype(np.int32) for ring in shape.rings]
        cv2.fillPoly(canvas, rings, int(shape.value))
    return canvas


def _check_size(width: int, height: int, path: Path) -> None:
    if width * height > MAX_PIXELS:
        raise DataError(f"the mask is too large: {width} x {height}", where=path)


def _unreadable(error: Exception, path: Path) -> DataError:
    reason = (
        error.strerror.lower()
        if isinstance(error, OSError) and error.strerror
        else "not an image, or damaged"
    )
    return DataError(f"the mask cannot be read: {reason}", where=path, detail=str(error))
