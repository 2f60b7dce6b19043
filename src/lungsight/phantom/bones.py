"""Spine, ribs and the bones of the shoulders, as attenuations on a canvas."""

from __future__ import annotations

import numpy as np

from lungsight.phantom.canvas import (
    SIDES,
    Canvas,
    Floats,
    Points,
    mirrored,
    moved,
    oval,
    ribbon,
    ribbons,
    spline,
)
from lungsight.phantom.person import Body, Pose


def spine(canvas: Canvas, body: Body, pose: Pose) -> Floats:
    """Vertebrae: plates brighter than the discs, two pedicles and a spinous process each."""
    back = -pose.turn
    step = 0.138
    heights = np.arange(-1.9, 1.7, step)
    grow = np.interp(heights, [-1.2, 1.2], [0.062, 0.105])
    bodies, discs, pedicles, holes, spines = [], [], [], [], []
    for height, half in zip(heights, grow, strict=True):
        centre = np.array([back, height])
        wings = [
            (-half, -0.05),
            (0, -0.045),
            (half, -0.05),
            (half * 0.86, 0),
            (half, 0.05),
            (0, 0.045),
            (-half, 0.05),
        ]
        bodies.append(spline([*wings, (-half * 0.86, 0)], closed=True, steps=4) + centre)
        discs.append(ribbon(np.array([(-half, -0.05), (0, -0.046), (half, -0.05)]) + centre, 0.012))
        discs.append(ribbon(np.array([(-half, 0.05), (0, 0.046), (half, 0.05)]) + centre, 0.012))
        for side in SIDES:
            pedicles.append(oval((back + side * half * 0.62, height - 0.014), (0.020, 0.028)))
            holes.append(oval((back + side * half * 0.62, height - 0.014), (0.011, 0.018)))
        spines.append(oval((back * 1.5, height + 0.035), (0.012, 0.032)))
    total = canvas.layer(bodies, soft=0.006) * 0.20
    total += canvas.layer(discs, soft=0.004) * 0.13
    total += canvas.layer(pedicles, soft=0.003) * 0.18
    total -= canvas.layer(holes, soft=0.003) * 0.13
    total += canvas.layer(spines, soft=0.005) * 0.13
    column = canvas.layer(
        [ribbon(np.array([(back, -2.0), (back, 0.0), (back, 1.8)]), [0.15, 0.19, 0.24])], soft=0.015
    )
    return np.asarray((total + column * 0.10) * body.bone)


def ribs(rng: np.random.Generator, canvas: Canvas, body: Body, pose: Pose) -> Floats:
    """Twelve pairs. A rib is a tilted hoop: seen from the front, its far half is nearly level and its near half
    falls towards the breastbone, ending where cartilage, which hardly shows, begins."""
    tops = np.linspace(-0.99, 0.66, 12)
    back: list[tuple[Points, Points]] = []
    front: list[tuple[Points, Points]] = []
    for side in SIDES:
        for number, top in enumerate(tops):
            fall = (0.26 + 0.022 * number) * body.slope + rng.normal(0, 0.006)
            middle = top + 0.55 * fall
            wide = float(
                np.interp(
                    middle,
                    [-0.95, -0.86, -0.74, -0.61, -0.34, 0, 0.3, 0.7, 1.0],
                    [0.35, 0.45, 0.535, 0.615, 0.715, 0.768, 0.79, 0.79, 0.77],
                )
            )
            wide *= body.broad
            thick = 0.047 + 0.004 * rng.standard_normal() - (0.012 if number == 11 else 0)
            # The hoop's angle: 0 at the spine, a quarter turn at the flank, a half turn at the breastbone.
            ends = {0: 0.72, 1: 0.78, 9: 0.62, 10: 0.53, 11: 0.35}.get(number, 0.80 - 0.012 * number)
            for part, begin, end in ((back, 0.045, min(0.52, ends)), (front, 0.49, ends)):
                if end <= begin:
                    continue
                turn = np.linspace(begin, end, 24) * np.pi
                line = np.stack([wide * np.sin(turn) ** 0.92, top + fall * (1 - np.cos(turn)) * 0.55], -1)
                line[:, 1] -= 0.035 * np.sin(turn * 2) * (turn < np.pi / 2)
                near = np.cos(turn)  # 1 at the back, -1 at the front
                line[:, 0] += side * pose.turn * -near
                widths = thick * (1 - 0.12 * near)
                part.append((mirrored(line, side), widths))
    total = _hollow(canvas, back, soft=0.004) * 0.29
    total += _hollow(canvas, front, soft=0.005) * 0.20
    return np.asarray(total * body.bone)


def _hollow(canvas: Canvas, bones: list[tuple[Points, Points]], *, soft: float) -> Floats:
    """Bones whose rims absorb more than their marrow: a band along each curve, and a paler one within."""
    lines, widths = np.stack([line for line, _ in bones]), np.stack([width for _, width in bones])
    outlines = np.stack([ribbons(lines, widths), ribbons(lines, widths * 0.52)], axis=1)
    return canvas.layer(outlines.reshape(-1, *outlines.shape[2:]), soft=soft, levels=[255, 165] * len(bones))


def shoulders(rng: np.random.Generator, canvas: Canvas, body: Body, pose: Pose) -> Floats:
    """Clavicles, scapulae and upper arms; the scapulae lie over the lungs unless the arms are forward (PA)."""
    outward = rng.uniform(0.0, 0.06) if pose.view == "AP" else rng.uniform(0.12, 0.22)
    rise = rng.uniform(-0.02, 0.10) if pose.view == "AP" else rng.uniform(-0.10, -0.02)
    clavicles, blades, ridges, arms = [], [], [], []
    for side in SIDES:
        tip = -0.86 - rise * 0.6 + rng.normal(0, 0.012)
        collar = spline(
            [
                (0.075, -0.62 - rise),
                (0.16, -0.68 - rise),
                (0.36, -0.74 - rise),
                (0.56, -0.85 - rise),
                (0.78, tip - 0.05),
                (0.95, tip),
            ]
        )
        widths = np.interp(
            np.linspace(0, 1, len(collar)), [0, 0.08, 0.3, 0.8, 1], [0.085, 0.07, 0.05, 0.05, 0.065]
        )
        for share in (1.0, 0.5):
            clavicles.append(moved(mirrored(ribbon(collar, widths * share), side), pose.turn))
        blade = np.array(
            [
                (0.62, -0.78),
                (0.80, -0.74),
                (0.96, -0.66),
                (0.86, -0.42),
                (0.74, -0.10),
                (0.66, -0.16),
                (0.61, -0.5),
            ]
        )
        blade = moved(blade * (body.broad, 1), outward)
        blades.append(moved(mirrored(spline(blade, closed=True), side), -pose.turn))
        ridges.append(moved(mirrored(ribbon(spline(blade[2:5]), 0.035), side), -pose.turn))
        ridges.append(
            mirrored(
                moved(ribbon(spline([(0.62, -0.66), (0.8, -0.78), (0.99, -0.89)]), 0.03), outward),
                side,
            )
        )
        head = (1.03 * body.broad + outward * 0.3, -0.75)
        shaft = moved(spline([(0, 0), (0.10, 0.28), (0.16, 0.62), (0.21, 2.6)]), *head)
        arms += [mirrored(oval(head, (0.095, 0.10)), side), mirrored(ribbon(shaft, 0.10), side)]
        arms.append(mirrored(ribbon(shaft[6:], 0.045), side))
    total = canvas.layer(clavicles, soft=0.006, levels=[255, 165] * 2) * 0.38
    total += canvas.layer(blades, soft=0.008) * 0.17
    total += canvas.layer(ridges, soft=0.008) * 0.16
    total += canvas.layer(arms, soft=0.008, levels=[230, 255, 150] * 2) * 0.42
    if body.child:  # the jaw is in the picture
        jaw = spline(
            [(-0.27, -1.5), (-0.22, -1.27), (-0.1, -1.17), (0.1, -1.17), (0.22, -1.27), (0.27, -1.5)]
        )
        total += canvas.layer([ribbon(moved(jaw, pose.turn), 0.09)], soft=0.012) * 0.55
    return np.asarray(total * body.bone)
