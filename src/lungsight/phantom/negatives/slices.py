"""Drawn CT slices of a chest, axial and coronal, in Hounsfield units and then in a window."""

from __future__ import annotations

import cv2
import numpy as np

from lungsight.phantom.anatomy import lung_outline
from lungsight.phantom.canvas import (
    SIDES,
    Canvas,
    Floats,
    Points,
    clouds,
    moved,
    oval,
    ribbon,
    ribbons,
    spline,
)
from lungsight.phantom.negatives.films import Pixels, canvas
from lungsight.phantom.person import Body, Pose

AIR, LUNG, FAT, MUSCLE, BONE = -1000.0, -860.0, -100.0, 50.0, 500.0


def _paint(units: Floats, place: Canvas, outlines: list[Points], value: float, soft: float = 0.004) -> None:
    """Put a tissue of `value` Hounsfield units where the outlines are."""
    if outlines:
        cover = place.layer(outlines, soft=soft)
        units += cover * (np.float32(value) - units)


def _window(rng: np.random.Generator, units: Floats) -> Pixels:
    """Noise, and the lung, the mediastinal or a wide window; (H, W) uint8."""
    noise = rng.standard_normal(units.shape, np.float32) * np.float32(rng.uniform(5, 60))
    centre, width = ((-600.0, 1500.0), (-500.0, 1000.0), (40.0, 400.0), (-100.0, 1800.0))[
        int(rng.integers(0, 4))
    ]
    centre, width = centre + rng.normal(0, 80), width * rng.uniform(0.8, 1.3)
    return np.clip((units + noise - centre + width / 2) / width * 255, 0, 255).astype(np.uint8)


def _branches(rng: np.random.Generator, side: int, count: int) -> list[Points]:
    """Vessels that leave one hilum and get thinner, with the dots of those that cross the slice."""
    angle = rng.uniform(-1.5, 1.5, count)
    steps = np.linspace(0, 1, 6)
    heading = angle[:, None] + rng.normal(0, 0.5, count)[:, None] * steps
    stride = (
        np.stack([np.cos(heading), np.sin(heading)], -1) * (rng.uniform(0.1, 0.5, count) / 5)[:, None, None]
    )
    start = np.array([rng.uniform(0.15, 0.5, count), rng.uniform(-0.5, 0.4, count)]).T
    start[: count // 2] = moved(rng.normal(0, 0.05, (count // 2, 2)), 0.2, -0.05)
    lines = (start[:, None] + np.cumsum(stride, axis=1)) * (side, 1)
    found = list(ribbons(lines, rng.uniform(0.008, 0.04, count)[:, None] * (1 - 0.6 * steps)))
    for _ in range(count):
        radius = rng.uniform(0.006, 0.022)
        found.append(
            oval(
                (side * rng.uniform(0.2, 0.7), rng.uniform(-0.6, 0.5)),
                (radius, radius * rng.uniform(0.7, 1.5)),
            )
        )
    return found


def coronal(rng: np.random.Generator, size: int) -> Pixels:
    """A slice seen from the front: dark lungs with sharp edges, ribs cut across as dots along them."""
    body = Body.sample(rng)
    pose = Pose.sample(rng, body, "AP")
    place = canvas(rng, size, turn=2, scale=(0.85, 1.25))
    units = np.full((size, size), AIR if rng.random() < 0.85 else FAT, np.float32)
    wall = rng.uniform(0.08, 0.3)
    trunk = spline(
        [
            (0.14, -1.6),
            (0.2, -1.08),
            (0.75, -0.95 - wall / 2),
            (0.98 + wall / 2, -0.7),
            (0.9 + wall, -0.2),
            (0.9 + wall, 0.5),
            (0.9 + wall, 1.6),
        ]
    )
    if rng.random() < 0.4:  # arms beside or above
        arm = (
            spline([(0.9, -0.8), (1.1, -1.2), (1.2, -1.7)])
            if rng.random() < 0.5
            else spline([(1.0, -0.7), (1.25, 0), (1.3, 1.6)])
        )
        for side in SIDES:
            _paint(units, place, [ribbon(arm * (side, 1), 0.3)], MUSCLE)
            _paint(units, place, [ribbon(arm * (side, 1), 0.08)], BONE)
    skin = np.concatenate([trunk, (trunk * (-1, 1))[::-1]])
    _paint(units, place, [skin], FAT)
    _paint(units, place, [skin * (1 - wall / 3, 1)], MUSCLE)
    outlines = [lung_outline(rng, body, pose, side) * (1, rng.uniform(0.95, 1.05)) for side in SIDES]
    if rng.random() < 0.5:  # towards the front or the back the lungs are smaller or further apart
        apart, narrow = rng.uniform(-0.02, 0.1), rng.uniform(0.75, 1)
        outlines = [
            (line - (side * 0.8, 0)) * (narrow, rng.uniform(0.8, 1)) + (side * (0.8 + apart), 0)
            for line, side in zip(outlines, SIDES, strict=True)
        ]
    _paint(units, place, outlines, LUNG, soft=0.003)
    lungs = place.layer(outlines, soft=0.003)
    vessels = place.layer([line for side in SIDES for line in _branches(rng, side, 22)], soft=0.003)
    patches = np.clip(clouds(rng, size, cells=int(rng.integers(3, 9))) - rng.uniform(0.3, 2), 0, 1)
    units += lungs * (vessels * np.float32(rng.uniform(500, 950)) + patches * np.float32(rng.uniform(0, 700)))
    low = max(body.domes)
    if rng.random() < 0.75:
        heart = oval(
            (rng.uniform(0, 0.2), low - rng.uniform(0.2, 0.35)),
            (rng.uniform(0.25, 0.45), rng.uniform(0.25, 0.4)),
            rng.uniform(-0.5, 0.5),
        )
        blood = rng.uniform(50, 250)
        _paint(units, place, [heart], blood, soft=0.01)
        _paint(
            units,
            place,
            [ribbon(spline([(0.02, low - 0.3), (-0.03, -0.3), (0.04, -0.6), (0.0, -1.0)]), 0.2)],
            blood,
        )
        _paint(units, place, [oval((0.1, -0.42), (0.1, 0.11))], blood)
    if rng.random() < 0.6:
        _paint(units, place, [ribbon(spline([(0, -1.7), (0, -0.8), (0.01, -0.4)]), 0.08)], AIR)
        for side in SIDES:
            _paint(
                units,
                place,
                [ribbon(spline([(0.0, -0.4), (side * 0.1, -0.25), (side * 0.2, -0.15)]), 0.06)],
                AIR,
            )
    else:  # far enough behind for the spine
        column = [
            moved(np.array([(-0.09, -0.055), (0.09, -0.055), (0.09, 0.055), (-0.09, 0.055)]), 0, y)
            for y in np.arange(-1.5, 1.5, 0.14)
        ]
        shown = (
            column
            if rng.random() < 0.5
            else column[: int(rng.integers(3, 9))] + column[-int(rng.integers(3, 9)) :]
        )
        _paint(units, place, shown, BONE * rng.uniform(0.5, 1))
        _paint(
            units,
            place,
            [ribbon(spline([(0.12, -0.4), (0.13, 0.3), (0.08, 1.6)]), 0.14)],
            rng.uniform(50, 250),
        )
    _paint(units, place, [oval((-0.45, low + 0.55), (0.42, rng.uniform(0.35, 0.5)))], rng.uniform(60, 130))
    _paint(
        units,
        place,
        [oval((rng.uniform(0.3, 0.6), low + rng.uniform(0.2, 0.5)), rng.uniform(0.1, 0.3, 2))],
        float(rng.choice([AIR, 20, 90])),
    )
    _paint(
        units,
        place,
        [
            oval((side * rng.uniform(0.3, 0.5), low + rng.uniform(0.4, 0.8)), (0.13, 0.2), side * 0.3)
            for side in SIDES
        ],
        rng.uniform(30, 200),
    )
    _paint(units, place, _cut_ribs(rng, outlines, low), BONE * rng.uniform(0.6, 1.6), soft=0.003)
    if rng.random() < 0.6:
        tilt = rng.uniform(0.05, 0.3)
        _paint(
            units,
            place,
            [
                ribbon(
                    np.array([(side * rng.uniform(0.08, 0.4), -0.82), (side * 0.8, -0.92 - tilt)]),
                    rng.uniform(0.07, 0.13),
                )
                for side in SIDES
            ],
            BONE,
        )
    return _window(rng, units)


def _cut_ribs(rng: np.random.Generator, outlines: list[Points], low: float) -> list[Points]:
    """Short ovals along the outer edge of both lungs, as the slice cuts the ribs."""
    found = []
    wide, long, step = rng.uniform(0.02, 0.035), rng.uniform(0.045, 0.09), rng.uniform(0.13, 0.22)
    for line, side in zip(outlines, SIDES, strict=True):
        for height in np.arange(-0.78 + rng.uniform(0, step), low + 0.6, step):
            level = line[np.abs(line[:, 1] - min(height, low + 0.1)) < 0.08]
            if len(level):
                edge = float((level[:, 0] * side).max())
                found.append(oval((side * (edge + 0.05), height), (wide, long), side * -0.3))
    return found


def axial(rng: np.random.Generator, size: int) -> Pixels:
    """A slice across: the body's oval, two dark lungs, spine below, a ring of ribs, the table."""
    place = canvas(rng, size, turn=3, scale=(0.75, 1.05))
    units = np.full((size, size), AIR, np.float32)
    tall = rng.uniform(0.58, 0.8)
    fat, muscle = rng.uniform(0.02, 0.12), rng.uniform(0.06, 0.14)
    skin = oval((0, 0), (1, tall))
    if rng.random() < 0.4:
        for side in SIDES:
            _paint(units, place, [oval((side * 1.12, rng.uniform(-0.2, 0.2)), (0.18, 0.22))], MUSCLE)
            _paint(units, place, [oval((side * 1.12, 0), (0.05, 0.05))], BONE)
    _paint(units, place, [skin], FAT)
    _paint(units, place, [skin * (1 - fat, 1 - fat)], MUSCLE)
    across, down = 1 - fat - muscle, tall - fat - muscle
    grown = rng.uniform(0.6, 1)
    lungs = []
    for side in SIDES:
        notch = rng.uniform(0.2, 0.42) if side > 0 else rng.uniform(0.12, 0.25)
        lungs.append(
            spline(
                [
                    (0.10, -0.82 * down),
                    (0.45 * across, -0.86 * down),
                    (0.86 * across, -0.35 * down),
                    (0.95 * across, 0.2 * down),
                    (0.75 * across, 0.78 * down),
                    (0.35 * across, 0.86 * down),
                    (0.16, 0.55 * down),
                    (notch * 0.6, 0.15 * down),
                    (notch * across, -0.3 * down),
                ],
                closed=True,
            )
            * (side, 1)
        )
    lungs = [
        (line - (side * 0.55, 0.1)) * grown + (side * 0.55, 0.1)
        for line, side in zip(lungs, SIDES, strict=True)
    ]
    _paint(units, place, lungs, LUNG, soft=0.003)
    inside = place.layer(lungs, soft=0.003)
    vessels = place.layer([line for side in SIDES for line in _branches(rng, side, 18)], soft=0.003)
    patches = np.clip(clouds(rng, size, cells=int(rng.integers(3, 9))) - rng.uniform(0.3, 2), 0, 1)
    units += inside * (
        vessels * np.float32(rng.uniform(500, 950)) + patches * np.float32(rng.uniform(0, 750))
    )
    blood = rng.uniform(40, 260)
    heart = oval(
        (rng.uniform(0.02, 0.2), -0.25 * down),
        (rng.uniform(0.2, 0.38), rng.uniform(0.15, 0.32)),
        rng.uniform(-0.3, 0.6),
    )
    _paint(units, place, [heart], blood, soft=0.008)
    if rng.random() < 0.3:
        _paint(units, place, [oval((-0.45, -0.05), (0.36, 0.36 * tall))], rng.uniform(60, 130), soft=0.01)
    spine_at = 0.58 * down + 0.06
    vertebra = [
        oval((0, spine_at), (0.13, 0.1)),
        ribbon(np.array([(-0.22, spine_at + 0.17), (0, spine_at + 0.13), (0.22, spine_at + 0.17)]), 0.05),
        ribbon(np.array([(0, spine_at + 0.13), (0, spine_at + 0.28)]), 0.05),
    ]
    _paint(units, place, vertebra, BONE * rng.uniform(0.6, 1.4))
    _paint(units, place, [oval((0, spine_at + 0.11), (0.045, 0.035))], 30)
    _paint(units, place, [oval((0.14, spine_at - 0.13), (0.07, 0.07))], blood)
    if rng.random() < 0.6:
        _paint(units, place, [oval((0, spine_at - 0.24), (0.05, 0.045))], AIR)
    ring = oval((0, 0), (across + 0.03, down + 0.03))
    ribs = []
    for start in np.arange(0, 24, rng.uniform(2, 3.5)):
        arc = np.interp(start + np.linspace(0, rng.uniform(0.6, 1.8), 5), np.arange(25), np.arange(25)) % 24
        points = np.stack(
            [np.interp(arc, np.arange(25), np.append(ring[:, axis], ring[0, axis])) for axis in (0, 1)], -1
        )
        ribs.append(ribbon(points, rng.uniform(0.04, 0.06)))
    _paint(units, place, ribs, BONE * rng.uniform(0.8, 1.6))
    _paint(units, place, [ribbon(np.array([(-0.1, -down - 0.02), (0.1, -down - 0.02)]), 0.06)], BONE * 0.6)
    if rng.random() < 0.7:
        table = spline([(-1.1, tall - 0.02), (0, tall + 0.1), (1.1, tall - 0.02)])
        units = np.maximum(
            units, place.layer([ribbon(table, 0.02)]) * np.float32(rng.uniform(300, 900)) + np.float32(AIR)
        )
    pixels = _window(rng, units)
    if rng.random() < 0.4:
        cv2.circle(
            mask := np.zeros_like(pixels),
            (size // 2, size // 2),
            int(size * rng.uniform(0.48, 0.55)),
            255,
            -1,
        )
        pixels = pixels & mask
    if rng.random() < 0.3:
        pixels = np.ascontiguousarray(pixels[::-1])
    if rng.random() < 0.5:
        for x, y in ((0.02, 0.06), (0.7, 0.06), (0.02, 0.97)):
            text = "".join(chr(rng.integers(48, 91)) for _ in range(int(rng.integers(3, 10))))
            cv2.putText(
                pixels,
                text,
                (int(x * size), int(y * size)),
                cv2.FONT_HERSHEY_PLAIN,
                size / 256,
                255,
                1,
                cv2.LINE_AA,
            )
    return pixels
