"""Give an X-ray a property of another one: what lies outside its lungs, its contrast, sharpness or framing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from lungsight.audit.regions import DILATION, Image, Mask
from lungsight.preprocess import bounding_box, dilate
from lungsight.wording import Property

RING = (0.08, 0.16)
"""Contrast and sharpness are measured at this distance from the lungs, as a fraction of the longer side: nearer, the
scatter of a disease would be measured with them."""
BANDS = (1 / 256, 1 / 128)
"""Sigma of the two finest detail bands, as a fraction of the longer side."""
GAIN = (0.25, 4.0)
"""How far a detail band may be damped or amplified."""


def draw_donors(truth: NDArray[np.bool_], patients: NDArray[np.str_], seed: int) -> NDArray[np.intp]:
    """(N,) for each image the index of its donor: another patient's image, of either class with equal probability.

    The class of the donor is drawn without regard to the image that receives. Within a class every image serves
    about equally often.

    Args:
        truth: (N,) class of the images.
        patients: (N,) ids.
    """
    rng = np.random.default_rng((seed, 7))
    count = len(truth)
    wanted = rng.permutation(np.arange(count) % 2 == 0)
    donors = np.empty(count, np.intp)
    for of_class in (True, False):
        receiving = np.flatnonzero(wanted == of_class)
        pool = np.flatnonzero(truth == of_class)
        if not pool.size:
            pool = np.arange(count)
        repeats = -(-receiving.size // pool.size)
        dealt = np.concatenate([rng.permutation(pool) for _ in range(repeats)])[: receiving.size]
        donors[receiving] = dealt
        # The few that met an image of their own patient draw again.
        for index in receiving[patients[dealt] == patients[receiving]]:
            others = pool[patients[pool] != patients[index]]
            donors[index] = rng.choice(others) if others.size else index
    return donors


def background(image: Image, mask: Mask, donor: Image, donor_mask: Mask) -> tuple[Image, Mask]:
    """The lungs of one X-ray in the background of another, all (H, W).

    Where the donor's own lungs would show, its background is continued smoothly, so that no second pair is seen.
    """
    outside = (~dilate(donor_mask, DILATION)).astype(np.float32)
    sigma = max(donor.shape) / 16
    weight = cv2.GaussianBlur(outside, (0, 0), sigma)
    smooth = cv2.GaussianBlur(donor * outside, (0, 0), sigma) / np.maximum(weight, 1e-3)
    rest = np.where(outside > 0, donor, np.clip(smooth, 0, 255))
    return np.where(dilate(mask, DILATION), image, rest).astype(np.uint8), mask


def contrast(image: Image, mask: Mask, donor: Image, donor_mask: Mask) -> tuple[Image, Mask]:
    """Grey levels shifted and scaled so that the body around the lungs has the donor's median and spread.

    Measured beside the lungs, not in them, so that a disease is not transplanted with it.
    """
    own, other = _around(image, mask), _around(donor, donor_mask)
    (low, middle, high), (low_donor, middle_donor, high_donor) = (
        np.percentile(values, (25, 50, 75)) for values in (own, other)
    )
    scale = np.clip((high_donor - low_donor + 1) / (high - low + 1), *GAIN)
    return _to_uint8((image.astype(np.float32) - middle) * scale + middle_donor), mask


def sharpness(image: Image, mask: Mask, donor: Image, donor_mask: Mask) -> tuple[Image, Mask]:
    """The two finest detail bands scaled to the strength that they have around the donor's lungs."""
    rest = image.astype(np.float32)
    rest_donor = donor.astype(np.float32)
    total = np.zeros_like(rest)
    for sigma in BANDS:
        bands = []
        for pixels in (rest, rest_donor):
            smooth = cv2.GaussianBlur(pixels, (0, 0), max(sigma * max(pixels.shape), 0.5))
            bands.append((pixels - smooth, smooth))
        (detail, rest), (detail_donor, rest_donor) = bands
        own, other = _around(detail, mask).std(), _around(detail_donor, donor_mask).std()
        total += detail * np.float32(np.clip((other + 0.1) / (own + 0.1), *GAIN))
    return _to_uint8(rest + total), mask


def framing(image: Image, mask: Mask, donor: Image, donor_mask: Mask) -> tuple[Image, Mask]:
    """Moved and scaled so that the box around the lungs lies where the donor's lies; the edge is continued."""
    own, other = bounding_box(mask), bounding_box(donor_mask)
    if own is None or other is None:
        return image, mask
    down, across = ((other[2 + axis] - other[axis]) / (own[2 + axis] - own[axis]) for axis in (0, 1))
    matrix = np.array(
        [[across, 0, other[1] - across * own[1]], [0, down, other[0] - down * own[0]]], np.float64
    )
    size = (image.shape[1], image.shape[0])
    moved = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    lungs = cv2.warpAffine(mask.astype(np.uint8), matrix, size, flags=cv2.INTER_NEAREST)
    return np.asarray(moved, np.uint8), lungs > 0


def _around(pixels: NDArray[np.generic], mask: Mask) -> NDArray[np.float32]:
    ring = dilate(mask, RING[1]) & ~dilate(mask, RING[0])
    return np.asarray(pixels[ring] if ring.any() else pixels.ravel(), np.float32)


def _to_uint8(values: NDArray[np.floating]) -> Image:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


PROPERTIES: dict[Property, Callable[[Image, Mask, Image, Mask], tuple[Image, Mask]]] = {
    Property.BACKGROUND: background,
    Property.CONTRAST: contrast,
    Property.SHARPNESS: sharpness,
    Property.FRAMING: framing,
}


def transplanted(
    key: Property,
    images: Sequence[Image] | NDArray[np.uint8],
    masks: NDArray[np.bool_],
    donors: NDArray[np.intp],
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """(N, H, W) images and masks after each has got the property of its donor (N,)."""
    change = PROPERTIES[key]
    pairs = [change(images[i], masks[i], images[j], masks[j]) for i, j in enumerate(donors)]
    return np.stack([one for one, _ in pairs]), np.stack([two for _, two in pairs])
