"""Pictures: X-rays with masks, outlines, probabilities and crops drawn over them; arrays in, RGB tiles out."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lungsight.errors import DataError
from lungsight.preprocess import resize_image
from lungsight.report.content import CropExample, MaskExample
from lungsight.report.page import Tile

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]

# Okabe and Ito (2008), RGB: sky blue for the truth, orange for the prediction, everywhere.
TRUE_COLOUR = (86, 180, 233)
PREDICTED_COLOUR = (230, 159, 0)
SIDE = 360


def _rgb(image: Image, side: int = SIDE) -> Image:
    """(H, W) or (H, W, 3) uint8 -> RGB whose longer side is `side` pixels."""
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or not image.size:
        raise DataError(f"a picture must be (H, W) or (H, W, 3) uint8, not {image.shape} {image.dtype}")
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    factor = side / max(grey.shape)
    size = (max(1, round(grey.shape[1] * factor)), max(1, round(grey.shape[0] * factor)))
    return np.asarray(cv2.cvtColor(resize_image(grey, size[::-1]), cv2.COLOR_GRAY2RGB), dtype=np.uint8)


def _fit(values: NDArray[Any], picture: Image) -> NDArray[np.float32]:
    return np.asarray(
        resize_image(values.astype(np.float32), (picture.shape[0], picture.shape[1])), np.float32
    )


def plain(image: Image) -> Image:
    """The X-ray alone, as (h, w, 3) RGB uint8."""
    return _rgb(image)


def with_mask(image: Image, mask: Mask, colour: tuple[int, int, int] = TRUE_COLOUR) -> Image:
    """The X-ray with the mask as a light veil and its outline.

    Args:
        image: (H, W) uint8.
        mask: (H, W) bool, of the same shape or of another that covers the same field.
    """
    picture = _rgb(image)
    inside = _fit(mask, picture) > 0.5
    veil = picture.copy()
    veil[inside] = (0.62 * picture[inside] + 0.38 * np.array(colour)).astype(np.uint8)
    return _outline(veil, mask, colour)


def with_outlines(image: Image, truth: Mask | None, predicted: Mask | None) -> Image:
    """The X-ray with the true outline in sky blue and, dashed, the predicted one in orange."""
    picture = _rgb(image)
    if truth is not None:
        picture = _outline(picture, truth, TRUE_COLOUR)
    if predicted is not None:
        picture = _outline(picture, predicted, PREDICTED_COLOUR, dashed=truth is not None)
    return picture


def heat(probability: NDArray[np.floating[Any]], threshold: float, side: int = SIDE) -> Image:
    """A probability map in the cividis scale, with the outline that `threshold` cuts in orange."""
    values = np.clip(np.nan_to_num(probability), 0, 1)
    grey = _rgb((values * 255).round().astype(np.uint8), side)[..., 0]
    picture = cv2.cvtColor(cv2.applyColorMap(grey, cv2.COLORMAP_CIVIDIS), cv2.COLOR_BGR2RGB)
    return _outline(np.asarray(picture, dtype=np.uint8), probability > threshold, PREDICTED_COLOUR)


def _outline(picture: Image, mask: Mask, colour: tuple[int, int, int], *, dashed: bool = False) -> Image:
    inside = (_fit(mask, picture) > 0.5).astype(np.uint8)
    found, _ = cv2.findContours(inside, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    drawn = picture.copy()
    for contour in found:
        if not dashed:
            cv2.polylines(drawn, [contour], True, colour, 2, cv2.LINE_AA)
            continue
        for start in range(0, len(contour), 12):
            cv2.polylines(drawn, [contour[start : start + 8]], False, colour, 2, cv2.LINE_AA)
    return drawn


def crop_tiles(example: CropExample) -> list[Tile]:
    """Before, with the kept part framed and the rest dimmed, and after."""
    top, left, bottom, right = example.box
    kept = example.before[top:bottom, left:right]
    if not kept.size or min(top, left) < 0:
        raise DataError(f"the box {example.box} does not lie in an image of shape {example.before.shape}")
    height, width = example.before.shape[:2]
    before = _rgb(example.before)
    factor = before.shape[0] / height
    y0, x0, y1, x1 = (round(edge * factor) for edge in example.box)
    dim = (before * 0.45).astype(np.uint8)
    dim[y0:y1, x0:x1] = before[y0:y1, x0:x1]
    cv2.rectangle(dim, (x0, y0), (min(x1, dim.shape[1]) - 1, min(y1, dim.shape[0]) - 1), PREDICTED_COLOUR, 2)
    size = f"{height} x {width}"
    size_after = f"{kept.shape[0]} x {kept.shape[1]}"
    about = f"{example.caption}, " if example.caption else ""
    return [
        Tile(
            dim, f"X-ray with the part kept for diagnosis framed. {example.caption}", f"{about}before: {size}"
        ),
        Tile(_rgb(kept), f"The same X-ray cropped. {example.caption}", f"{about}after: {size_after}"),
    ]


def mask_tiles(example: MaskExample) -> list[Tile]:
    """The image alone and with its true mask (the paper's figure 4)."""
    return [
        Tile(plain(example.image), f"X-ray. {example.caption}", example.caption),
        Tile(with_mask(example.image, example.truth), "The same X-ray with its true lung mask.", "true mask"),
    ]


def prediction_tiles(example: MaskExample, threshold: float) -> list[Tile]:
    """Image, true outline, both outlines with the Dice, probability (the paper's figure 5).

    Raises:
        DataError: the example has no probability.
    """
    if example.probability is None:
        raise DataError("an example of a prediction needs its probability map", where=example.caption or None)
    score = "" if example.dice is None else f"Dice {example.dice:.4f}"
    both = with_outlines(example.image, example.truth, example.probability > threshold)
    return [
        Tile(plain(example.image), f"X-ray. {example.caption}", example.caption),
        Tile(with_outlines(example.image, example.truth, None), "True lung outline.", "true outline"),
        Tile(both, f"True and predicted outline. {score}", f"predicted (dashed). {score}".rstrip(". ")),
        Tile(
            heat(example.probability, threshold), "Probability of lung.", f"probability, cut at {threshold:g}"
        ),
    ]
