"""What the gate learns from: frontal X-rays, and images that are none, drawn on the fly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lungsight.phantom import HOSPITALS, negatives
from lungsight.phantom import draw as draw_phantom
from lungsight.preprocess import resize_image
from lungsight.training import augment

HELD_OUT = 1
"""Goes into the seed of what is drawn for validation and test."""
PHANTOMS = 0.08
"""Fraction of drawn chests among the X-rays that a gate is shown: not everything that is drawn is refused."""
GATE_VIEWS = 2
"""Augmented views of each image in training: to draw one takes longer than to learn from it."""


def gate_images(
    images: NDArray[np.uint8], rng: np.random.Generator, *, views: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """For each frontal X-ray (N, h, w) itself and an image that is none.

    Args:
        views: augmented views of each; 0: each as it is.

    Returns:
        (M, h, w) uint8 and (M,) indices in `GATE_CLASSES`; M is 2 N, or 2 N times `views`.
    """
    found: list[NDArray[np.uint8]] = []
    classes: list[int] = []
    for image in images:
        if rng.random() < PHANTOMS:
            image = phantom(rng, image.shape)
        kind = str(rng.choice(negatives.KINDS, p=negatives.SHARES))
        for one, index in ((image, 0), (negatives.draw(kind, image, rng), negatives.label(kind))):
            shown = [augment.for_gate(one, rng) for _ in range(views)] or [one]
            found += shown
            classes += [index] * len(shown)
    return np.stack(found), np.array(classes, np.int64)


def phantom(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """A drawn frontal chest X-ray of `shape` (h, w)."""
    hospital = str(rng.choice(sorted(HOSPITALS)))
    drawn = draw_phantom(rng, hospital=hospital, covid=bool(rng.random() < 0.5), size=max(shape))
    return np.asarray(resize_image(drawn.pixels, shape), np.uint8)
