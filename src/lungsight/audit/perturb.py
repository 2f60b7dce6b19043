"""Changes to an X-ray that should, or should not, move a score that is about lungs."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from lungsight.audit.regions import DILATION, REGIONS, Image, Mask
from lungsight.preprocess import dilate, resize_image, resize_mask
from lungsight.wording import ImageChange, Region

Change = Callable[[Image, Mask], tuple[Image, Mask]]
LETTERS = ("R", "L", "PORTABLE", "AP ERECT")
CROP, ANGLE, QUALITY, BLUR = 0.06, 10.0, 30, 1 / 96


def letters_in(image: Image, mask: Mask) -> tuple[Image, Mask]:
    """White letters in the two upper corners, as technicians place them."""
    drawn = image.copy()
    height, width = image.shape
    scale = height / 256
    thickness = max(1, round(2 * scale))
    font = cv2.FONT_HERSHEY_SIMPLEX
    for text, x, y in ((LETTERS[1], 0.88, 0.12), (LETTERS[2], 0.04, 0.08)):
        position = (round(x * width), round(y * height))
        cv2.putText(drawn, text, position, font, 0.55 * scale, 255, thickness, cv2.LINE_AA)
    return drawn, mask


def letters_out(image: Image, mask: Mask) -> tuple[Image, Mask]:
    """Small bright marks outside the lungs filled from around them (Telea, J. Graphics Tools 2004)."""
    marks = find_letters(image, mask)
    if not marks.any():
        return image, mask
    filled = cv2.inpaint(image, dilate(marks, 0.01).astype(np.uint8), 3, cv2.INPAINT_TELEA)
    return np.asarray(filled, np.uint8), mask


def find_letters(image: Image, mask: Mask) -> Mask:
    """(H, W), True on what looks like letters: far brighter than around it, small, off the lungs."""
    side = max(image.shape)
    size = 2 * round(0.03 * side) + 1
    brush = cv2.getStructuringElement(cv2.MORPH_RECT, (size, size))
    top_hat = cv2.morphologyEx(image, cv2.MORPH_TOPHAT, brush)
    bright = ((top_hat > 60) & (image > 150) & ~dilate(mask, DILATION)).astype(np.uint8)
    count, components, statistics, _ = cv2.connectedComponentsWithStats(bright, connectivity=8)
    areas = statistics[:, cv2.CC_STAT_AREA]
    # Smaller is noise, larger is bone or a device.
    small = (areas >= 2e-4 * image.size) & (areas <= 0.01 * image.size)
    small[0] = False
    return np.asarray(small[components]) if count > 1 else np.zeros(image.shape, bool)


def crop(image: Image, mask: Mask) -> tuple[Image, Mask]:
    """6 % off each side, resized to the old size."""
    height, width = image.shape
    rows, columns = round(CROP * height), round(CROP * width)
    part = (slice(rows, height - rows), slice(columns, width - columns))
    return (
        np.asarray(resize_image(image[part], (height, width)), np.uint8),
        resize_mask(mask[part], (height, width)),
    )


def blur(image: Image, mask: Mask) -> tuple[Image, Mask]:
    """Gaussian, sigma a hundredth of the side."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), BLUR * max(image.shape)), np.uint8), mask


def jpeg(image: Image, mask: Mask) -> tuple[Image, Mask]:
    """Coarse JPEG, quality 30."""
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8), mask


def invert(image: Image, mask: Mask) -> tuple[Image, Mask]:
    """Black and white exchanged."""
    return 255 - image, mask


def rotate(image: Image, mask: Mask) -> tuple[Image, Mask]:
    """Ten degrees about the centre, black corners."""
    height, width = image.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), ANGLE, 1)
    turned = cv2.warpAffine(image, turn, (width, height), flags=cv2.INTER_LINEAR)
    lungs = cv2.warpAffine(mask.astype(np.uint8), turn, (width, height), flags=cv2.INTER_NEAREST)
    return np.asarray(turned, np.uint8), lungs > 0


def _region(key: Region) -> Change:
    return lambda image, mask: (REGIONS[key](image, mask), mask)


CHANGES: dict[ImageChange, Change] = {
    ImageChange.BACKGROUND_BLACK: _region(Region.LUNGS),
    ImageChange.BORDER: _region(Region.BORDER),
    ImageChange.LUNGS_BLACK: _region(Region.LUNGS_BLACK),
    ImageChange.LETTERS_IN: letters_in,
    ImageChange.LETTERS_OUT: letters_out,
    ImageChange.CROP: crop,
    ImageChange.BLUR: blur,
    ImageChange.JPEG: jpeg,
    ImageChange.INVERT: invert,
    ImageChange.ROTATE: rotate,
}
