"""Opacities: lung air replaced by fluid, in the patterns that the literature gives for each finding."""

from __future__ import annotations

import numpy as np

from lungsight.phantom.anatomy import AIR, Chest
from lungsight.phantom.canvas import Floats, clouds

FINDINGS = ("normal", "COVID-19", "bacterial pneumonia", "viral pneumonia")


def opacity(rng: np.random.Generator, chest: Chest, finding: str) -> Floats:
    """The attenuation that a finding adds, (H, W); zero outside the lungs.

    COVID-19: several patchy areas, mostly in both lungs, peripheral and in the lower zones (Wong et al., Radiology
    2020). Bacterial pneumonia: one dense lobe with a sharp edge at the fissure. Viral pneumonia: a faint haze and
    streaks around the hila.
    """
    filled = _PATTERNS[finding](rng, chest) if finding in _PATTERNS else None
    if filled is None:
        return np.zeros_like(chest.depth)
    return np.asarray(AIR * chest.depth * np.clip(filled, 0, 0.85), np.float32)


def _edges(chest: Chest, side: int, height: float) -> tuple[float, float]:
    """The medial and lateral |u| of a lung at one height."""
    outline = chest.outlines[side > 0]
    near = np.abs(outline[np.abs(outline[:, 1] - height) < 0.08, 0])
    return (float(near.min()), float(near.max())) if len(near) else (0.2, 0.7)


def _patches(rng: np.random.Generator, chest: Chest) -> Floats:
    canvas = chest.canvas
    ragged = clouds(rng, canvas.size, cells=7, octaves=4)
    grain = clouds(rng, canvas.size, cells=14, octaves=3)
    clear = np.ones_like(chest.depth)
    strength = rng.uniform(0.28, 0.55)
    sides = [-1, 1] if rng.random() < 0.88 else [int(rng.choice([-1, 1]))]
    for side in sides:
        for _ in range(int(rng.integers(2, 6))):
            height = 0.42 - 0.95 * rng.beta(1.2, 2.2)
            medial, lateral = _edges(chest, side, height)
            across = medial + (lateral - medial) * (0.45 + 0.5 * rng.beta(2.2, 1.2))
            radii = rng.uniform(0.12, 0.26), rng.uniform(0.12, 0.30)
            du = (canvas.u - side * across) / radii[0]
            dv = (canvas.v - height) / radii[1]
            inside = 1.1 - np.sqrt(du * du + dv * dv) + 0.42 * ragged
            patch = np.clip(inside / 1.1, 0, 1)
            clear *= 1 - strength * rng.uniform(0.6, 1.1) * patch * patch * (3 - 2 * patch)
    return np.asarray((1 - clear) * (1 + 0.16 * grain))


def _lobe(rng: np.random.Generator, chest: Chest) -> Floats:
    canvas = chest.canvas
    side = int(rng.choice([-1, 1]))
    fissure = rng.uniform(-0.2, 0.05) + rng.uniform(-0.15, 0.15) * (canvas.u * side - 0.4)
    below = rng.random() < 0.6
    reach = (canvas.v - fissure) * (1 if below else -1) + 0.012 * clouds(rng, canvas.size, cells=6)
    lobe = np.clip(reach / 0.05, 0, 1) * np.exp(-np.maximum(reach - rng.uniform(0.25, 0.6), 0) * 3)
    lobe *= chest.lungs[side > 0]
    return np.asarray(
        lobe * rng.uniform(0.5, 0.8) * (1 + 0.10 * clouds(rng, canvas.size, cells=10)), np.float32
    )


def _haze(rng: np.random.Generator, chest: Chest) -> Floats:
    canvas = chest.canvas
    total = np.zeros_like(chest.depth)
    streaks = np.abs(clouds(rng, canvas.size, cells=26, octaves=2))
    for side in (-1, 1):
        du = (canvas.u - side * 0.22) / rng.uniform(0.2, 0.3)
        dv = (canvas.v - rng.uniform(-0.1, 0.1)) / rng.uniform(0.28, 0.42)
        total += np.exp(-(du * du + dv * dv)) * rng.uniform(0.14, 0.3)
    return np.asarray(total * (0.75 + 0.3 * streaks), np.float32)


_PATTERNS = {"COVID-19": _patches, "bacterial pneumonia": _lobe, "viral pneumonia": _haze}
