"""A chest as the sum of what its parts absorb, in the order in which a beam meets them.

Attenuations are in the natural logarithm's units at about chest-film energies, rounded to what looks right.
Body coordinates: see `Canvas`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lungsight.phantom.bones import ribs, shoulders, spine
from lungsight.phantom.canvas import (
    SIDES,
    Canvas,
    Floats,
    Points,
    clouds,
    mirrored,
    moved,
    oval,
    ribbon,
    ribbons,
    spline,
)
from lungsight.phantom.person import Body, Pose

TRUNK = 1.55  # soft tissue, front to back
AIR = 1.0  # what the lungs take away from it where they are deepest


@dataclass(frozen=True, slots=True)
class Chest:
    """A chest on a canvas: its lungs, exactly, and its attenuation."""

    canvas: Canvas
    body: Body
    pose: Pose
    lungs: tuple[Floats, Floats]
    """Coverage in [0, 1] of the patient's right and left lung."""
    depth: Floats
    """(H, W) in [0, 1]: how much of the lungs a beam meets."""
    outlines: tuple[Points, Points]
    attenuation: Floats

    @property
    def masks(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """The right and left lung, (H, W) bool: pixels at least half inside the outline."""
        return self.lungs[0] >= 0.5, self.lungs[1] >= 0.5


def lung_outline(rng: np.random.Generator, body: Body, pose: Pose, side: int) -> Points:
    """The closed outline of one lung, behind the heart too, down to the diaphragm."""
    dome = body.domes[side > 0] + pose.breath
    corner = dome + rng.uniform(0.2, 0.3)
    wide = 1 + rng.normal(0, 0.012)
    lateral = spline(
        [
            (0.33 * body.waist, -0.85 + rng.normal(0, 0.01)),
            (0.47 * body.waist, -0.79),
            (0.615 * body.waist, -0.61),
            (0.72 * body.waist, -0.34),
            (0.775 * wide, -0.02),
            (0.80 * wide, 0.28),
            (0.81 * wide, corner),
        ]
    )
    peak = rng.uniform(0.36, 0.46)
    base = spline(
        [
            (0.81 * wide, corner),
            (0.725 * wide, dome + 0.115),
            (0.60, dome + 0.03),
            (peak, dome),
            (0.27, dome + 0.025),
            (0.15, dome + rng.uniform(0.07, 0.1)),
        ]
    )
    medial = spline(
        [
            (0.15, base[-1, 1]),
            (0.115, dome - 0.02),
            (0.105 + rng.normal(0, 0.006), 0.1),
            (0.115, -0.2),
            (0.125 + rng.normal(0, 0.006), -0.45),
            (0.14, -0.65),
            (0.20, -0.80),
            (0.33 * body.waist, lateral[0, 1]),
        ]
    )
    outline = np.concatenate([lateral[:-1], base[:-1], medial[:-1]])
    outline[:, 0] = outline[:, 0] * side * body.broad + pose.turn * 0.3
    return outline


def _place(outlines: tuple[Points, Points], pose: Pose, size: int) -> Canvas:
    """A canvas in which both lungs fit with a margin."""
    cos, sin = np.cos(pose.tilt), np.sin(pose.tilt)
    turn = np.array([[cos, -sin], [sin, cos]])
    points = np.concatenate(outlines) @ turn.T
    low, high = points.min(0), points.max(0)
    across = pose.span / (high[0] - low[0])
    down = min(across * pose.stretch, 0.9 / (high[1] - low[1]))
    scale = np.array([across, down])
    room = np.maximum((1 - scale * (high - low)) / 2 - 0.025, 0)
    shift = 0.5 - scale * (low + high) / 2 + np.asarray(pose.offset) * room
    return Canvas(size, np.concatenate([turn * scale[:, None], shift[:, None]], axis=1))


def draw_chest(rng: np.random.Generator, body: Body, pose: Pose, size: int) -> Chest:
    """Draw a healthy chest, `size` pixels square."""
    outlines = (lung_outline(rng, body, pose, -1), lung_outline(rng, body, pose, 1))
    canvas = _place(outlines, pose, size)
    lungs = (canvas.exact(outlines[0]), canvas.exact(outlines[1]))
    depth = canvas.inward(np.maximum(*lungs), 0.22)
    depth *= 0.9 + 0.1 * np.clip(-canvas.v, -1, 1)
    total = _trunk(canvas, body)
    total -= AIR * depth
    total += depth * _vessels(rng, canvas, pose) * 0.30
    total += depth * 0.018 * clouds(rng, size, cells=22, octaves=3)
    total += _middle(rng, canvas, body, pose)
    total += _belly(rng, canvas, body, pose)
    total += spine(canvas, body, pose)
    total += ribs(rng, canvas, body, pose)
    total += shoulders(rng, canvas, body, pose)
    total += 0.02 * clouds(rng, size, cells=5, octaves=3)
    return Chest(canvas, body, pose, lungs, depth, outlines, np.maximum(total, 0))


def _trunk(canvas: Canvas, body: Body) -> Floats:
    fat = 0.10 * body.stout
    half = spline(
        [
            (0.20 + fat / 2, -1.9),
            (0.19 + fat / 2, -1.25),
            (0.30 + fat, -1.06),
            (0.62 + fat, -0.99),
            (0.98 + fat, -0.90),
            (1.10 + fat, -0.68),
            (0.99 + fat, -0.36),
            (0.92 + fat, 0.0),
            (0.92 + fat, 0.5),
            (0.94 + fat, 1.6),
        ]
    )
    half[:, 0] *= body.broad
    trunk = canvas.layer([np.concatenate([half, mirrored(half, -1)[::-1]])], soft=0.008)
    total = canvas.inward(trunk, 0.42) * (TRUNK + 0.45 * body.stout)
    arm = spline([(1.06 + fat, -0.78), (1.22 + fat, -0.3), (1.27 + fat, 0.2), (1.30 + fat, 2.0)])
    arm[:, 0] *= body.broad
    arms = canvas.layer([ribbon(mirrored(arm, side), 0.25 + fat) for side in SIDES], soft=0.008)
    return np.asarray(np.maximum(total, canvas.inward(arms, 0.14) * 1.2))


def _vessels(rng: np.random.Generator, canvas: Canvas, pose: Pose) -> Floats:
    """Arteries and veins that leave the hila, halve and thin out; drawn thin ones first."""
    levels: list[Points] = []
    shades: list[int] = []
    for side in SIDES:
        count = 8
        start = np.array([0.155, -0.08 if side > 0 else -0.03]) + rng.normal(0, 0.02, (count, 2))
        start[:, 1] += np.linspace(-0.08, 0.10, count)
        angle = np.linspace(-1.35, 1.40, count) + rng.normal(0, 0.1, count)
        width = np.full(count, 0.030) * rng.uniform(0.6, 1.2, count)
        length = rng.uniform(0.08, 0.19, count)
        for level in range(5):
            bend = rng.normal(0, 0.45, len(angle))
            steps = np.linspace(0, 1, 6)
            heading = angle[:, None] + bend[:, None] * steps
            stride = np.stack([np.cos(heading), np.sin(heading)], -1) * (length / 5)[:, None, None]
            line = start[:, None] + np.cumsum(stride, axis=1) - stride[:, :1]
            taper = width[:, None] * (1 - 0.28 * steps)
            outline = ribbons(line, taper)
            levels[:0] = list(outline * np.array([side, 1]))
            shades[:0] = [int(235 * 0.72**level)] * len(outline)
            start = np.repeat(line[:, -1], 2, axis=0)
            fork = np.tile([-1.0, 1.0], len(angle)) * rng.uniform(0.1, 0.65, 2 * len(angle))
            angle = np.repeat(heading[:, -1], 2) + fork
            width = np.repeat(width * 0.7, 2)
            length = np.repeat(length * 0.85, 2) * rng.uniform(0.7, 1.2, 2 * len(length))
            width = np.maximum(width, 0.007)
    tree = canvas.layer(levels, soft=0.004, levels=shades)
    shift = pose.turn * 0.3
    hila = canvas.layer(
        [
            oval((-0.165 + shift, -0.02), (0.05, 0.13), 0.25),
            oval((0.165 + shift, -0.08), (0.05, 0.11), -0.25),
        ],
        soft=0.03,
    )
    return tree + 0.75 * hila


def _middle(rng: np.random.Generator, canvas: Canvas, body: Body, pose: Pose) -> Floats:
    """Heart, great vessels, sternum, and the air in the trachea and main bronchi."""
    front = pose.turn
    big = body.heart * (1.1 if pose.view == "AP" else 1.0)
    low = max(body.domes) + pose.breath
    right, left = 0.185 * big, 0.43 * big
    heart = spline(
        [
            (-0.10, -0.22),
            (-right * 0.93, -0.06),
            (-right, low - 0.26),
            (-right * 0.82, low - 0.02),
            (0.02, low + 0.09),
            (left * 0.75, low + 0.09),
            (left * 1.0, low - 0.02),
            (left * 0.93, low - 0.18),
            (left * 0.62, low - 0.38),
            (0.165 * big, -0.14),
            (0.13, -0.26),
        ],
        closed=True,
    ) + np.array([front, 0])
    muscle = canvas.layer([heart], soft=0.012)
    total = (0.35 + 0.65 * canvas.inward(muscle, 0.3)) * muscle * 0.70
    total *= np.clip((canvas.v + 0.42) / 0.35, 0, 1)  # the great vessels' root is thin
    total *= 1 - np.clip((canvas.v - low + 0.06) / 0.16, 0, 1)  # below the dome it lies on the liver
    knob = 0.075 + 0.045 * body.knob
    great = [
        ribbon(spline([(-0.075, -1.0), (-0.085, -0.6), (-0.095, -0.3), (-0.10, 0.0)]), 0.11),
        ribbon(spline([(0.06, -1.0), (0.07, -0.7), (0.075, -0.4), (0.09, -0.1)]), 0.12),
        oval((0.155 - knob / 2 + 0.02 * body.knob, -0.44), (knob, 0.085)),
        ribbon(spline([(0.12, -0.42), (0.125, -0.1), (0.11, 0.3), (0.07, 0.8)]), 0.06 + 0.02 * body.knob),
        oval((0.145, -0.26), (0.055, 0.075)),
    ]
    total += canvas.layer([moved(part, front * 0.5) for part in great], soft=0.012) * 0.32
    sternum = ribbon(
        np.array([(front * 1.5, -0.66), (front * 1.5, -0.2), (front * 1.5, 0.3)]), [0.13, 0.08, 0.06]
    )
    total += canvas.layer([sternum], soft=0.012) * 0.07
    bend = rng.normal(0, 0.008)
    carina = (0.005 + bend, -0.36)
    air = [
        ribbon(spline([(0.0, -1.9), (0.0, -1.1), (bend, -0.7), carina]), 0.075),
        ribbon(spline([carina, (-0.07, -0.26), (-0.13, -0.17)]), [0.06] * 20 + [0.05]),
        ribbon(spline([carina, (0.08, -0.25), (0.16, -0.16)]), [0.055] * 20 + [0.045]),
    ]
    total -= canvas.layer(air, soft=0.010) * 0.34
    return np.asarray(total)


def _belly(rng: np.random.Generator, canvas: Canvas, body: Body, pose: Pose) -> Floats:
    """Liver, spleen, stomach and its bubble, below the domes; a breast shadow or none."""
    below = np.clip((canvas.v - min(body.domes) - pose.breath) / 0.35, 0, 1)
    inner = canvas.layer(
        [
            spline(
                [(-0.80, 0.55), (-0.4, 0.40), (0, 0.45), (0.4, 0.45), (0.80, 0.6), (0.85, 1.8), (-0.85, 1.8)],
                closed=True,
            )
        ],
        soft=0.05,
    )
    total = 0.30 * below * inner
    dome = body.domes[1] + pose.breath
    gas = [
        oval(
            (rng.uniform(0.32, 0.45), dome + 0.13), (rng.uniform(0.07, 0.14), rng.uniform(0.035, 0.065)), 0.2
        )
    ]
    loops = int(rng.integers(0, 4))
    gas += [
        oval(
            (rng.uniform(0.15, 0.7), dome + rng.uniform(0.3, 0.6)),
            rng.uniform(0.03, 0.08, 2),
            rng.uniform(0, 3),
        )
        for _ in range(loops)
    ]
    total -= canvas.layer(gas, soft=0.018) * rng.uniform(0.15, 0.5)
    if body.sex == "F" and not body.child:
        drop = rng.uniform(0.28, 0.5)
        size = rng.uniform(0.2, 0.3)
        breasts = [
            oval((side * rng.uniform(0.46, 0.54), drop - size), (size * 1.15, size * 1.2)) for side in SIDES
        ]
        shape = canvas.layer(breasts, soft=0.012)
        # A breast hangs: its lower edge is thick and sharp, its upper part fades into the chest wall.
        total += (
            shape
            * np.clip((canvas.v - drop + 1.6 * size) / (1.6 * size), 0, 1) ** 1.5
            * rng.uniform(0.1, 0.26)
        )
    return np.asarray(total)
