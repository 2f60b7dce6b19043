"""The six zones of the Brixia score: A, B, C of the right lung from apex to base, D, E, F of the left.

Brixia's lines lie at the lower wall of the aortic arch and of the right inferior pulmonary vein (Borghesi and Maroldi,
La radiologia medica 125, 2020), which a lung mask does not show. Here each lung is cut into three parts of equal
height between its own apex and base: on upright frontal films the two landmarks lie near a third and two thirds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lungsight.inference.lung_masks import LEFT, RIGHT

ZONES = ("A", "B", "C", "D", "E", "F")
"""In the order of the labels 1 to 6: right upper, right middle, right lower, left upper, left middle, left lower."""
MIN_ROWS = 6
"""A lung of fewer rows cannot be cut into three parts that mean anything."""


def zones(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Zones of a label map.

    Args:
        labels: (H, W) 0, 1 right lung, 2 left lung (the patient's).

    Returns:
        (H, W) uint8: 0 outside, 1 to 6 for `ZONES`. A lung that is absent or too small gives none.
    """
    out = np.zeros(labels.shape, np.uint8)
    for number, place, inside in zone_parts(labels):
        out[place] |= inside * np.uint8(number)
    return out


def zone_parts(
    labels: NDArray[np.uint8],
) -> Iterator[tuple[int, tuple[slice, slice], NDArray[np.uint8]]]:
    """The zones of a label map (H, W), one after the other, each in the smallest rows and columns of its lung.

    Yields:
        Its number, 1 to 6; where it lies; and 1 where that part of the image belongs to it, else 0.
    """
    for side, first in ((RIGHT, 1), (LEFT, 4)):
        lung = labels == side
        lines = zone_lines(lung)
        if lines is None:
            continue
        columns = np.flatnonzero(lung.any(axis=0))
        across = slice(int(columns[0]), int(columns[-1]) + 1)
        rows = [math.ceil(line) for line in lines]
        for number, (top, bottom) in enumerate(pairwise(rows), start=first):
            place = slice(top, bottom), across
            yield number, place, lung[place].view(np.uint8)


def zone_lines(lung: NDArray[np.bool_]) -> tuple[float, float, float, float] | None:
    """Rows of the apex, of the two lines and of the base of one lung (H, W); None where it is absent or too small.

    The row of a line is the first that belongs to the zone below it.
    """
    found = np.flatnonzero(lung.any(axis=1))
    if len(found) < MIN_ROWS:
        return None
    apex, base = float(found[0]), float(found[-1] + 1)
    third = (base - apex) / 3
    return apex, apex + third, apex + 2 * third, base


def zone_areas(labels: NDArray[np.uint8]) -> tuple[int, ...]:
    """Pixels of each of the six zones of a (H, W) label map."""
    areas = [0] * len(ZONES)
    for number, _, inside in zone_parts(labels):
        areas[number - 1] = int(np.count_nonzero(inside))
    return tuple(areas)
