"""What an annotation says, and what it leaves open, of each thing that a lung network marks.

Collections draw lungs by two conventions. 'full' follows the lung behind the heart and the diaphragm (V7, the
radiologists of ieee8023); 'visible' stops where the heart and the diaphragm begin (JSRT, Shenzhen, Montgomery).
One says something of the other: what is seen belongs to the full lung, what lies outside the full lung is not
seen, and neither the heart nor what lies beside the chest is visible lung. The rest of a plane is left open, and no
loss is taken there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lungsight.networks import OUTPUTS
from lungsight.preprocess import bounding_box

FULL, VISIBLE, HEART = range(len(OUTPUTS))
HEART_BELOW = 12 / 256
"""How far, as a part of the height, a heart may reach below the lungs."""


class Targets(NamedTuple):
    """For each of `OUTPUTS`, (3, h, w) uint8."""

    values: NDArray[np.uint8]
    """0 or 255; between them where geometry was changed."""
    known: NDArray[np.uint8]
    """1 where the annotation says which, 0 where it leaves it open."""


def targets(mask: NDArray[np.bool_], *, visible: bool, heart: NDArray[np.bool_] | None = None) -> Targets:
    """What one annotation says.

    Args:
        mask: (h, w) lungs as drawn.
        visible: True: by the convention 'visible'; False: 'full'.
        heart: (h, w), where it was drawn too.
    """
    lung = mask.astype(np.uint8)
    values, known = (np.zeros((len(OUTPUTS), *mask.shape), np.uint8) for _ in range(2))
    if visible:
        values[VISIBLE] = values[FULL] = lung * 255
        known[VISIBLE], known[FULL], known[HEART] = 1, lung, lung
    else:
        values[FULL] = lung * 255
        known[FULL], known[VISIBLE] = 1, 1 - lung
        box = bounding_box(mask)
        if box is not None:
            top, left, bottom, right = box
            known[HEART] = 1
            known[HEART, top : bottom + round(HEART_BELOW * mask.shape[0]), left:right] = 0
    if heart is not None:
        values[HEART], known[HEART] = heart.astype(np.uint8) * 255, 1
    return Targets(values, known)


def with_teachers(given: Targets, answers: Mapping[str, NDArray[np.uint8]], weight: float) -> Targets:
    """What an annotation says, mixed with what other networks answer.

    Args:
        answers: for some of `OUTPUTS`, (h, w) uint8, probabilities times 255.
        weight: in [0, 1]: the answers' share where the annotation says something. Where it does not they are all.
    """
    values, known = given.values.copy(), given.known.copy()
    for name, answer in answers.items():
        plane = OUTPUTS.index(name)
        mixed = (1 - weight) * values[plane].astype(np.float32) + weight * answer.astype(np.float32)
        values[plane] = np.where(known[plane] > 0, np.rint(mixed), answer).astype(np.uint8)
        known[plane] = 1
    return Targets(values, known)
