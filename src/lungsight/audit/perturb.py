"""Changes to an X-ray that should, or should not, move a score that is about lungs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from lungsight.audit import views
from lungsight.audit.views import GROW, Image, Mask
from lungsight.dataset.table import Row
from lungsight.preprocess import dilate, resample

Change = Callable[[Image, Mask], tuple[Image, Mask]]
SWAP = "outside-swapped"
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
        place = (round(x * width), round(y * height))
        cv2.putText(drawn, text, place, font, 0.55 * scale, 255, thickness, cv2.LINE_AA)
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
    bright = ((top_hat > 60) & (image > 150) & ~dilate(mask, GROW)).astype(np.uint8)
    count, pieces, statistics, _ = cv2.connectedComponentsWithStats(bright, connectivity=8)
    areas = statistics[:, cv2.CC_STAT_AREA]
    # Smaller is noise, larger is bone or a device.
    small = (areas >= 2e-4 * image.size) & (areas <= 0.01 * image.size)
    small[0] = False
    return np.asarray(small[pieces]) if count > 1 else np.zeros(image.shape, bool)


def crop(image: Image, mask: Mask) -> tuple[Image, Mask]:
    """6 % off each side, drawn up to the old size."""
    height, width = image.shape
    rows, columns = round(CROP * height), round(CROP * width)
    part = (slice(rows, height - rows), slice(columns, width - columns))
    return (
        resample(image[part], (height, width), "linear"),
        resample(mask[part].astype(np.uint8), (height, width), "nearest") > 0,
    )


def blur(image: Image, mask: Mask) -> tuple[Image, Mask]:
    """Gaussian, sigma a hundredth of the side."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), BLUR * max(image.shape)), np.uint8), mask


def jpeg(image: Image, mask: Mask) -> tuple[Image, Mask]:
    """Coarse JPEG, quality 30."""
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8), mask


def invert(image: Image, mask: Mask) -> tuple[Image, Mask]:
    """Black for white."""
    return 255 - image, mask


def rotate(image: Image, mask: Mask) -> tuple[Image, Mask]:
    """Ten degrees about the centre, black corners."""
    height, width = image.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), ANGLE, 1)
    turned = cv2.warpAffine(image, turn, (width, height), flags=cv2.INTER_LINEAR)
    lungs = cv2.warpAffine(mask.astype(np.uint8), turn, (width, height), flags=cv2.INTER_NEAREST)
    return np.asarray(turned, np.uint8), lungs > 0


def _view(key: str) -> Change:
    return lambda image, mask: (views.VIEWS[key][1](image, mask), mask)


CHANGES: dict[str, tuple[str, Change]] = {
    "outside-black": ("outside of the lungs blacked out", _view("lungs")),
    "border": ("only the border left (outer 12 %)", _view("border")),
    "lungs-black": ("lungs blacked out", _view("lungs-black")),
    "letters-in": ("letters painted in", letters_in),
    "letters-out": ("letters painted over", letters_out),
    "crop": ("6 % cut off each side", crop),
    "blur": ("blurred", blur),
    "jpeg": ("coarse JPEG (quality 30)", jpeg),
    "invert": ("black and white exchanged", invert),
    "rotate": ("turned by 10 degrees", rotate),
}
"""key -> words and function; `SWAP` needs two images and is made by `swap_outside`."""
SWAP_WORDS = "outside of the lungs taken from another source"


def swap_outside(image: Image, mask: Mask, donor: Image, donor_mask: Mask) -> Image:
    """The lungs of one X-ray in the outside of another, all (H, W).

    Where the donor's own lungs would show, its outside is continued smoothly, so that no second pair is seen.
    """
    outside = (~dilate(donor_mask, GROW)).astype(np.float32)
    sigma = max(donor.shape) / 16
    weight = cv2.GaussianBlur(outside, (0, 0), sigma)
    smooth = cv2.GaussianBlur(donor * outside, (0, 0), sigma) / np.maximum(weight, 1e-3)
    background = np.where(outside > 0, donor, np.clip(smooth, 0, 255))
    return np.where(dilate(mask, GROW), image, background).astype(np.uint8)


def donors(rows: Sequence[Row], seed: int) -> tuple[NDArray[np.intp], str]:
    """(N,) for each image the place of one of another source, and what to call it.

    Where all images have one source, of another patient.
    """
    rng = np.random.default_rng((seed, 7))
    sources = np.array([row.source for row in rows])
    patients = np.array([row.patient or row.id for row in rows])
    other = len(set(sources)) > 1
    keys = sources if other else patients
    found = np.empty(len(rows), np.intp)
    for key in np.unique(keys):
        here = np.flatnonzero(keys == key)
        choices = np.flatnonzero(keys != key)
        found[here] = rng.choice(choices, here.size) if choices.size else here
    return found, SWAP_WORDS if other else "outside of the lungs taken from another patient"
