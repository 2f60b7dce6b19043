"""The six zones of the Brixia score: A, B, C of the right lung from apex to base, D, E, F of the left.

Brixia's lines lie at the lower wall of the aortic arch and of the right inferior pulmonary vein (Borghesi and Maroldi,
La radiologia medica 125, 2020), which a lung mask does not show. Here each lung is cut into three parts of equal
height between its own apex and base: on upright frontal films the two landmarks lie near a third and two thirds.
"""

from __future__ import annotations

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
    for side, first in ((RIGHT, 1), (LEFT, 4)):
        lung = labels == side
        lines = zone_lines(lung)
        if lines is None:
            continue
        rows = np.arange(labels.shape[0])
        number = first + (rows >= lines[1]).astype(np.uint8) + (rows >= lines[2]).astype(np.uint8)
        out[lung] = np.broadcast_to(number[:, None], labels.shape)[lung]
    return out


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


def zone_areas(zone_map: NDArray[np.uint8]) -> tuple[int, ...]:
    """Pixels of each of the six zones of a (H, W) zone map."""
    return tuple(int(count) for count in np.bincount(zone_map.ravel(), minlength=7)[1:7])
