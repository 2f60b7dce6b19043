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
    """A mask as an image file.

    A lung is 255 beside V7's 127 for ignored parts, True in a 1-bit image, 1 in a 0/1 image, any entry but
    the first in a palette image: in short, more than half of full white, or not 0 where nothing exceeds 1.
    """

    path: Path

    def load(self) -> NDArray[np.bool_]:
        """Read the mask, (H, W) bool.

        Raises:
            DataError: it is missing, truncated, too large, or not an image with 8 bits or fewer.
        """
        from PIL import Image

        try:
            with Image.open(self.path) as image:
                _check_size(image.width, image.height, self.path)
                if image.mode == "P":
                    return np.asarray(image) > 0
                if image.mode not in ("1", "L", "LA", "RGB", "RGBA"):
                    raise DataError(
                        f"a mask of mode {image.mode} is not understood",
                        where=self.path,
                        hint="Use 8-bit grey",
                    )
                values = np.asarray(image.convert("L") if image.mode != "1" else image, np.uint8)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"the mask cannot be read: {_reason(error)}", where=self.path) from error
        return np.asarray(values > (0 if values.max(initial=0) <= 1 else IGNORE))

    def shape(self) -> tuple[int, int]:
        """(H, W) from the file's header alone; raises DataError."""
        from PIL import Image

        try:
            with Image.open(self.path) as image:
                return image.height, image.width
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"the mask cannot be read: {_reason(error)}", where=self.path) from error


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


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "not an image" if "cannot identify" in str(error) else str(error)
