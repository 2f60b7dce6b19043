"""Drawn X-rays that are no frontal chest: lateral views, limbs, hands, bellies.

As the phantoms, each is the sum of what its parts absorb, and then exposed as a film. Coordinates run from -1 to 1
across and down the picture.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lungsight.phantom.canvas import (
    Canvas,
    Floats,
    Points,
    blur,
    clouds,
    moved,
    oval,
    ribbon,
    ribbons,
    spline,
)

Pixels = NDArray[np.uint8]


def canvas(rng: np.random.Generator, size: int, *, turn: float = 6, scale: tuple[float, float]) -> Canvas:
    """A canvas with the middle of the body about in the middle; `turn` in degrees, `scale` of the whole."""
    angle, zoom = np.deg2rad(rng.normal(0, turn)), rng.uniform(*scale) / 2
    stretch = np.exp(rng.uniform(-0.12, 0.12))
    across, down = zoom * stretch, zoom / stretch
    cos, sin = np.cos(angle), np.sin(angle)
    shift = 0.5 + rng.uniform(-0.06, 0.06, 2)
    return Canvas(
        size,
        np.array([[across * cos, -across * sin, shift[0]], [down * sin, down * cos, shift[1]]]),
    )


def expose(rng: np.random.Generator, attenuation: Floats) -> Pixels:
    """(H, W) attenuation -> (H, W) uint8, bone bright: scatter, noise, and a film's response about its median."""
    side = attenuation.shape[0]
    through = np.exp(-attenuation)
    share = np.float32(rng.uniform(0.08, 0.4))
    through = (1 - share) * through + share * blur(through, 0.06 * side)
    noise = rng.standard_normal(attenuation.shape, np.float32) * np.float32(rng.uniform(0.004, 0.02))
    density = -np.log(np.maximum(through * (1 + noise / np.sqrt(np.maximum(through, 0.05))), 1e-4))
    inside = density[attenuation > 0.3]
    low, middle, high = np.percentile(inside, (3, 50, 97)) if inside.size > 50 else (0.0, 1.0, 2.0)
    steep = rng.uniform(3, 7) / max(float(high - low), 0.3)
    film = 1 / (1 + np.exp(-np.float32(steep) * (density - np.float32(middle + rng.normal(0, 0.12)))))
    black = rng.uniform(0, 0.15)
    return np.asarray(np.clip((black + (1 - black) * film) * 255, 0, 255), np.uint8)


def lateral(rng: np.random.Generator, size: int) -> Pixels:
    """A chest from the side: spine behind, breastbone in front, both lungs over each other; (size, size)."""
    place = canvas(rng, size, scale=(0.85, 1.2))
    wobble = rng.normal(0, 0.04, 40)
    deep, stout = rng.uniform(0.82, 1.2), rng.uniform(0, 0.15)
    front = [
        (-0.22, -1.7),
        (-0.26 + wobble[0], -1.1),
        (-0.50 + wobble[1], -0.72),
        (-0.74 + wobble[2], -0.25),
        (-0.84 + wobble[3] - stout, 0.2),
        (-0.80 + 2 * wobble[4] - stout, 0.7),
        (-0.78 + 3 * wobble[5] - stout, 1.7),
    ]
    back = [
        (0.74, 1.7),
        (0.74 + wobble[6], 0.9),
        (0.88 + wobble[7] + stout, 0.3),
        (0.90 + wobble[8] + stout, -0.2),
        (0.78 + wobble[9], -0.68),
        (0.52, -1.05),
        (0.34, -1.7),
    ]
    body = spline(np.array(front + back), closed=True) * (deep, 1)
    trunk = place.layer([body], soft=0.01)
    total = place.inward(trunk, 0.5) * rng.uniform(1.5, 2.0)
    top = rng.uniform(-0.92, -0.78)
    domes = []
    for shift in rng.normal(0, 0.045, 2):  # the two halves of the diaphragm, and the two lungs above them
        low = rng.uniform(0.25, 0.5) + shift
        lung = [
            (0.10, top),
            (0.42, top + 0.16),
            (0.66, -0.22),
            (0.72, 0.25),
            (0.62 + wobble[10], low + rng.uniform(0.28, 0.5)),
            (0.42, low + 0.18),
            (0.02, low),
            (-0.36, low + 0.02),
            (-0.64, low + rng.uniform(0.05, 0.25)),
            (-0.72, 0.15),
            (-0.62, -0.22),
            (-0.42 + wobble[11], -0.56),
            (-0.14, top + 0.12),
        ]
        air = place.layer([spline(np.array(lung), closed=True) * (deep, 1)], soft=0.012)
        total = total - place.inward(air, 0.4) * rng.uniform(0.42, 0.75)
        domes.append(low)
    below = np.clip((place.v - np.float32(min(domes) + 0.12)) / np.float32(0.3), 0, 1)
    total = total + below * trunk * rng.uniform(0.2, 0.6)
    total = total + _heart_from_the_side(rng, place, domes, deep)
    total = total + _spine_from_the_side(rng, place, deep)
    total = total + _ribs_from_the_side(rng, place, deep)
    total = total + place.layer(_vessels(rng, (0.02 * deep, -0.12), 34), soft=0.004) * rng.uniform(0.06, 0.22)
    total = total + _arms(rng, place)
    if rng.random() < 0.6:
        bubble = oval((rng.uniform(-0.4, 0.3) * deep, max(domes) + rng.uniform(0.15, 0.5)), (0.2, 0.08), 0.2)
        total = total - place.layer([bubble], soft=0.02) * rng.uniform(0.2, 0.5)
    return expose(rng, np.asarray(np.maximum(total, 0), np.float32))


def _heart_from_the_side(rng: np.random.Generator, place: Canvas, domes: list[float], deep: float) -> Floats:
    low = max(domes)
    heart = oval(
        ((-0.32 + rng.normal(0, 0.05)) * deep, low - 0.22), (0.34 * deep, rng.uniform(0.28, 0.4)), 0.5
    )
    muscle = place.layer([heart], soft=0.03)
    arch = spline([(-0.18, -0.1), (-0.14, -0.42), (0.06, -0.56), (0.28, -0.46), (0.44, -0.1), (0.52, 0.7)])
    windpipe = spline([(0.02, -1.4), (0.08, -0.9), (0.12, -0.3)])
    total = place.inward(muscle, 0.3) * rng.uniform(0.3, 0.55)
    total = total + place.layer([ribbon(arch * (deep, 1), 0.14)], soft=0.03) * rng.uniform(0.05, 0.2)
    total = total - place.layer([ribbon(windpipe * (deep, 1), 0.09)], soft=0.012) * rng.uniform(0.15, 0.35)
    breastbone = spline([(-0.46, -0.62), (-0.68, -0.2), (-0.78, 0.22)])
    return np.asarray(
        total + place.layer([ribbon(breastbone * (deep, 1), 0.07)], soft=0.01) * rng.uniform(0.1, 0.35)
    )


def _spine_from_the_side(rng: np.random.Generator, place: Canvas, deep: float) -> Floats:
    bend = rng.normal(0, 0.03, 3)
    course = spline(
        [(0.36, -1.6), (0.50 + bend[0], -0.85), (0.68 + bend[1], -0.1), (0.66 + bend[2], 0.5), (0.50, 1.5)]
    ) * (deep, 1)
    heights = np.arange(-1.5, 1.5, rng.uniform(0.15, 0.19))
    middles = np.interp(heights, course[:, 1], course[:, 0])
    blocks, processes = [], []
    for x, y in zip(middles, heights, strict=True):
        half = 0.075 + 0.025 * (y + 1) / 2
        corners = np.array([(-half, -0.062), (half, -0.062), (half, 0.062), (-half, 0.062)])
        blocks.append(moved(corners, x, y))
        processes.append(ribbon(np.array([(x + half, y), (x + 0.17, y + 0.1)]), 0.035))
    total = place.layer(blocks, soft=0.008) * rng.uniform(0.2, 0.45)
    total += place.layer(processes, soft=0.01) * rng.uniform(0.05, 0.2)
    # Shoulders lie over its upper end, which is therefore the whitest.
    shoulders = np.clip((-0.35 - place.v) / 0.5, 0, 1) * np.exp(-(((place.u - 0.35) / 0.5) ** 2))
    return np.asarray(total + shoulders * rng.uniform(0.2, 0.9))


def _ribs_from_the_side(rng: np.random.Generator, place: Canvas, deep: float) -> Floats:
    lines = []
    for shift in (rng.normal(0, 0.02), rng.normal(0.05, 0.03)):
        for number, top in enumerate(np.arange(-0.75, 0.62, rng.uniform(0.13, 0.17))):
            reach = rng.uniform(-0.6, -0.3) if number < 8 else rng.uniform(-0.1, 0.3)
            fall = rng.uniform(0.3, 0.5)
            lines.append(
                spline(
                    [
                        (0.72, top + shift),
                        (0.80, top + shift + 0.1),
                        (0.45, top + shift + 0.3 * fall + 0.1),
                        (reach, top + shift + fall + 0.1),
                    ]
                )
                * (deep, 1)
            )
    return place.layer(list(ribbons(np.stack(lines), 0.045)), soft=0.006) * np.float32(
        rng.uniform(0.05, 0.17)
    )


def _arms(rng: np.random.Generator, place: Canvas) -> Floats:
    """Arms held up or forward: soft shadows with a bone, over the upper edge of the picture."""
    total = np.zeros_like(place.u)
    for _ in range(2):
        start = (rng.uniform(-0.05, 0.35), rng.uniform(-0.75, -0.5))
        end = (rng.uniform(-1.1, 0.2), rng.uniform(-1.7, -1.3))
        line = np.array([start, end])
        total += place.layer([ribbon(line, rng.uniform(0.3, 0.45))], soft=0.03) * rng.uniform(0.15, 0.5)
        total += place.layer([ribbon(line, rng.uniform(0.09, 0.13))], soft=0.01) * rng.uniform(0.1, 0.4)
    return np.asarray(total, np.float32)


def _vessels(rng: np.random.Generator, hilum: tuple[float, float], count: int) -> list[Points]:
    angle = rng.uniform(0, 2 * np.pi, count)
    steps = np.linspace(0, 1, 6)
    heading = angle[:, None] + rng.normal(0, 0.5, count)[:, None] * steps
    stride = (
        np.stack([np.cos(heading), np.sin(heading)], -1) * (rng.uniform(0.2, 0.5, count) / 5)[:, None, None]
    )
    lines = np.asarray(hilum) + rng.normal(0, 0.05, (count, 1, 2)) + np.cumsum(stride, axis=1)
    return list(ribbons(lines, rng.uniform(0.012, 0.04, count)[:, None] * (1 - 0.6 * steps)))


def bones(rng: np.random.Generator, size: int) -> Pixels:
    """A hand, a long bone with a joint, a skull or a belly; (size, size)."""
    place = canvas(rng, size, turn=40 if rng.random() < 0.5 else 8, scale=(0.7, 1.3))
    kind = rng.integers(0, 4)
    total = (_hand, _limb, _skull, _belly)[kind](rng, place)
    return expose(rng, np.asarray(np.maximum(total, 0), np.float32))


def _hand(rng: np.random.Generator, place: Canvas) -> Floats:
    flesh, bony = [], []
    for angle in np.linspace(-0.55, 0.6, 5) + rng.normal(0, 0.05, 5):
        way = np.array([np.sin(angle), -np.cos(angle)])
        long = rng.uniform(0.95, 1.25) if abs(angle) < 0.5 else rng.uniform(0.7, 0.9)
        cuts = np.array([0.15, 0.5, 0.74, 0.9, 1.0]) * long
        flesh.append(ribbon(np.array([way * 0.1 + (0, 0.4), way * long + (0, 0.4)]), 0.2))
        for start, end in zip(cuts[:-1], cuts[1:] - 0.025, strict=True):
            waist = np.array([0.1, 0.065, 0.06, 0.075, 0.1]) * rng.uniform(0.9, 1.1)
            line = moved(np.linspace(way * start, way * end, 5), 0, 0.4)
            bony.append(ribbon(line, waist))
    flesh += [oval((0, 0.35), (0.45, 0.42)), ribbon(np.array([(0, 0.5), (0, 1.8)]), 0.5)]
    bony += [oval((x, y), (0.09, 0.08)) for x in (-0.22, -0.07, 0.08, 0.22) for y in (0.42, 0.58)]
    bony += [ribbon(np.array([(x, 0.7), (x, 1.8)]), 0.17) for x in (-0.14, 0.14)]
    soft = place.layer(flesh, soft=0.01)
    return np.asarray(place.inward(soft, 0.2) * 0.8 + _bone(rng, place, bony))


def _limb(rng: np.random.Generator, place: Canvas) -> Floats:
    wide = rng.uniform(0.5, 1.0)
    flesh = [ribbon(spline([(0, -1.9), (rng.normal(0, 0.1), 0), (rng.normal(0, 0.2), 1.9)]), wide)]
    gap, thick = rng.uniform(0.02, 0.06), rng.uniform(0.16, 0.32)
    ends = np.array([1, 0.95, 0.95, 1.1, 1.7, 1.8]) * thick
    bony = [ribbon(np.stack([np.zeros(6), np.linspace(-1.9, -gap, 6)], -1), ends)]
    if rng.random() < 0.5:
        bony.append(ribbon(np.stack([np.zeros(6), np.linspace(1.9, gap, 6)], -1), ends))
    else:
        for side, share in ((-1, 0.8), (1, 0.6)):
            line = np.stack([np.full(6, side * thick * 0.55), np.linspace(1.9, gap, 6)], -1)
            bony.append(ribbon(line, ends * share))
    soft = place.layer(flesh, soft=0.01)
    return np.asarray(place.inward(soft, 0.4) * 1.2 + _bone(rng, place, bony))


def _bone(rng: np.random.Generator, place: Canvas, outlines: list[Points]) -> Floats:
    """Bones with a dense shell and a fainter marrow."""
    solid = place.layer(outlines, soft=0.005)
    marrow = place.inward(solid, 0.05)
    grain = clouds(rng, place.size, cells=24) * np.float32(0.06)
    return np.asarray(solid * (0.75 - 0.35 * marrow + grain) * rng.uniform(0.8, 1.3), np.float32)


def _skull(rng: np.random.Generator, place: Canvas) -> Floats:
    vault = oval((0, -0.25), (rng.uniform(0.6, 0.75), 0.75))
    inner = oval((0, -0.25), (0.55, 0.66))
    jaw = spline([(-0.5, 0.1), (-0.45, 0.7), (0, 0.95), (0.45, 0.7), (0.5, 0.1)])
    total = place.layer([vault], soft=0.01) * 1.0 - place.layer([inner], soft=0.03) * 0.45
    total += place.layer([ribbon(jaw, 0.16)], soft=0.01) * 0.6
    total += place.layer([ribbon(np.array([(0, 0.4), (0, 1.8)]), 0.9)], soft=0.02) * 0.7
    holes = [oval((side * 0.27, -0.02), (0.19, 0.15)) for side in (-1, 1)] + [oval((0, 0.3), (0.1, 0.16))]
    total -= place.layer(holes, soft=0.02) * 0.4
    teeth = [oval((x, 0.62 + 0.02 * abs(x)), (0.03, 0.07)) for x in np.linspace(-0.3, 0.3, 9)]
    return np.asarray(total + place.layer(teeth, soft=0.006) * 0.5)


def _belly(rng: np.random.Generator, place: Canvas) -> Floats:
    sides = spline(
        [
            (-0.9, -1.9),
            (-0.85, 0.1),
            (-1.05, 0.9),
            (-1.0, 1.9),
            (1.0, 1.9),
            (1.05, 0.9),
            (0.85, 0.1),
            (0.9, -1.9),
        ]
    )
    trunk = place.layer([sides], soft=0.01)
    total = place.inward(trunk, 0.5) * 2.0
    blocks = [
        moved(np.array([(-0.13, -0.08), (0.13, -0.08), (0.13, 0.08), (-0.13, 0.08)]), rng.normal(0, 0.005), y)
        for y in np.arange(-1.6, 0.7, 0.2)
    ]
    total += place.layer(blocks, soft=0.01) * 0.4
    for side in (-1, 1):
        wing = spline([(0.15, 0.6), (0.6, 0.3), (0.82, 0.6), (0.55, 1.0), (0.2, 0.95)], closed=True) * (
            side,
            1,
        )
        hip = [
            oval((side * 0.68, 1.25), (0.15, 0.15)),
            ribbon(np.array([(side * 0.72, 1.3), (side * 0.8, 2)]), 0.2),
        ]
        total += place.layer([wing], soft=0.02) * 0.35 + place.layer(hip, soft=0.01) * 0.5
        ribs = [
            spline([(side * 0.15, y), (side * 0.6, y + 0.15), (side * 0.85, y + 0.4)])
            for y in (-1.3, -1.05, -0.8)
        ]
        total += place.layer(list(ribbons(np.stack(ribs), 0.06)), soft=0.008) * 0.2
    gas = [
        oval(rng.uniform((-0.7, -0.8), (0.7, 0.9)), rng.uniform(0.05, 0.22, 2), rng.uniform(0, 3))
        for _ in range(int(rng.integers(3, 14)))
    ]
    return np.asarray(total - place.layer(gas, soft=0.02) * rng.uniform(0.2, 0.7))
