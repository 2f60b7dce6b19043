"""From attenuation to a film of one hospital: exposure, scatter, noise, devices, borders and letters."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lungsight.phantom.anatomy import Chest
from lungsight.phantom.canvas import Floats, Points, blur, moved, oval, ribbon, spline


@dataclass(frozen=True, slots=True)
class Hospital:
    """The habits by which a network can tell a hospital from its images. Ranges are uniform."""

    contrast: tuple[float, float]
    """Slope of the film's response."""
    middle: tuple[float, float]
    """Attenuation that becomes mid-grey: a higher one gives a darker film."""
    scatter: tuple[float, float]
    grain: float
    black: float
    """Grey of an unexposed edge."""
    white: float


HOSPITALS = {
    "north": Hospital((1.9, 2.4), (1.10, 1.30), (0.30, 0.42), 0.012, 0.06, 0.93),
    "south": Hospital((2.3, 2.9), (1.30, 1.5), (0.12, 0.22), 0.007, 0.0, 1.0),
}


def devices(rng: np.random.Generator, chest: Chest) -> Floats:
    """Electrodes with their wires, a breathing tube or a venous line, on some patients; (H, W) attenuation."""
    canvas = chest.canvas
    total = np.zeros_like(chest.depth)
    lying = chest.pose.view == "AP"
    if rng.random() < (0.45 if lying else 0.08):
        wires, pads, studs = [], [], []
        for _ in range(int(rng.integers(1, 4))):
            spot = np.array([rng.uniform(-0.7, 0.7), rng.uniform(-0.6, 0.5)])
            way = np.sign(spot[0] + 1e-6)
            swing = rng.uniform(-0.2, 0.2, 3)
            wire = [
                spot,
                moved(spot, 0.2 * way, 0.1 + swing[0]),
                moved(spot, 0.45 * way, 0.3 + swing[1]),
                np.array([1.2 * way, 0.9 + swing[2]]),
            ]
            wires.append(ribbon(spline(wire), 0.010))
            pads.append(oval(spot, (0.042, 0.042)))
            studs.append(oval(spot, (0.016, 0.016)))
        total += 0.35 * canvas.layer(wires) + 0.10 * canvas.layer(pads) + 0.8 * canvas.layer(studs)
    if lying and rng.random() < 0.22:
        tip = rng.uniform(-0.62, -0.48)
        total += 0.28 * canvas.layer(_tube([(0.0, -1.9), (0.005, -1.0), (0.0, tip)], 0.045), soft=0.002)
    if lying and rng.random() < 0.25:
        line = spline([(-0.2, -1.5), (-0.16, -1.0), (-0.10, -0.6), (-0.09, rng.uniform(-0.3, -0.1))])
        total += 0.4 * canvas.layer([ribbon(line, 0.013)])
    return np.asarray(total)


def _tube(path: list[tuple[float, float]], width: float) -> list[Points]:
    line = spline(path)
    return [ribbon(moved(line, side * width / 2), 0.009) for side in (-1, 1)]


def expose(rng: np.random.Generator, attenuation: Floats, hospital: Hospital) -> Floats:
    """Beam, scatter, quantum noise and the film's sigmoid response: (H, W) in [0, 1], bone bright."""
    size = attenuation.shape[0]
    ramp = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    beam = rng.normal(0, 0.10) * ramp[:, None] + rng.normal(0, 0.08) * ramp[None, :]
    through = np.exp(-attenuation - beam)
    share = np.float32(rng.uniform(*hospital.scatter))
    through = (1 - share) * through + share * blur(through, 0.06 * size)
    # Finer pixels catch fewer quanta each, but the eye sees the film at one size: noise is set per picture.
    noise = rng.standard_normal((size, size), np.float32) * np.float32(hospital.grain)
    through *= 1 + blur(noise, 0.0022 * size) / np.sqrt(np.maximum(through, 0.05)) * np.float32(1.6)
    density = -np.log(np.maximum(through, 1e-4))
    contrast, middle = rng.uniform(*hospital.contrast), rng.uniform(*hospital.middle)
    film = 1 / (1 + np.exp(-np.float32(contrast) * (density - np.float32(middle))))
    return np.asarray(blur(film, 0.0016 * size), np.float32)


def finish(
    rng: np.random.Generator, film: Floats, lungs: NDArray[np.bool_], name: str, view: str
) -> NDArray[np.uint8]:
    """Scale to grey levels and add the hospital's borders and letters, all outside the lungs; (H, W) uint8."""
    hospital = HOSPITALS[name]
    size = film.shape[0]
    film = hospital.black + film * (hospital.white - hospital.black)
    rows, columns = np.flatnonzero(lungs.any(1)), np.flatnonzero(lungs.any(0))
    room = np.array([rows[0], size - 1 - rows[-1], columns[0], size - 1 - columns[-1]])
    if name == "south":
        film *= _shutter(rng, size, room)
    pixels = np.asarray(np.clip(film * 255 + 0.5, 0, 255), np.uint8)
    for text, x, y, height, ringed in _letters(rng, name, view):
        _print(pixels, lungs, text, x * size, y * size, height * size, ringed=ringed)
    return pixels


def _shutter(rng: np.random.Generator, size: int, room: NDArray[np.int_]) -> Floats:
    """Collimator blades: a soft-edged dark frame that leaves the lungs free."""
    cut = np.minimum(rng.uniform(-0.02, 0.09, 4) * size, np.maximum(room - 0.012 * size, 0))
    places = np.arange(size, dtype=np.float32) + 0.5
    soft = 0.006 * size
    down = np.clip((places - cut[0]) / soft, 0, 1) * np.clip((size - cut[1] - places) / soft, 0, 1)
    across = np.clip((places - cut[2]) / soft, 0, 1) * np.clip((size - cut[3] - places) / soft, 0, 1)
    return np.asarray(0.03 + 0.97 * down[:, None] * across[None, :], np.float32)


def _letters(rng: np.random.Generator, name: str, view: str) -> list[tuple[str, float, float, float, bool]]:
    """Text, place of its middle and height as shares of the side, and whether a ring is drawn around it."""
    jitter = rng.normal(0, 0.008, 4)
    if name == "north":
        letters = [("L", 0.94 + jitter[0], 0.07 + jitter[1], 0.042, True)]
        if view == "AP":
            letters.append(("AP PORTABLE", 0.17 + jitter[2], 0.045 + jitter[3], 0.024, False))
        else:
            letters.append(("PA ERECT", 0.13 + jitter[2], 0.045 + jitter[3], 0.024, False))
        return letters
    letters = [("R", 0.055 + jitter[0], 0.16 + 6 * abs(jitter[1]), 0.05, False)]
    if view == "AP" and rng.random() < 0.5:
        letters.append(("AP", 0.07 + jitter[2], 0.07 + jitter[3], 0.032, False))
    return letters


def _print(
    pixels: NDArray[np.uint8],
    lungs: NDArray[np.bool_],
    text: str,
    x: float,
    y: float,
    height: float,
    *,
    ringed: bool,
) -> None:
    """Burn a text in, moved to the nearest free place along the edge where the lungs would lie under it."""
    size = pixels.shape[0]
    face = cv2.FONT_HERSHEY_SIMPLEX if height > 0.03 * size else cv2.FONT_HERSHEY_PLAIN
    thick = max(1, round(height / 7))
    (width, _), _ = cv2.getTextSize(text, face, 1.0, 1)
    scale = height / cv2.getTextSize("A", face, 1.0, 1)[0][1]
    wide = width * scale
    reach_x, reach_y = (height * 0.95,) * 2 if ringed else (wide / 2 + 1, height / 2 + 1)
    x = float(np.clip(x, reach_x, size - 1 - reach_x))
    for step in (0.0, -0.03, -0.06, -0.09, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8):
        middle = float(np.clip(y + step * size, reach_y, size - 1 - reach_y))
        top, bottom = int(middle - reach_y - 1), int(middle + reach_y + 2)
        left, right = int(x - reach_x - 1), int(x + reach_x + 2)
        if not lungs[max(top, 0) : bottom, max(left, 0) : right].any():
            break
    else:
        return
    origin = (round(x - wide / 2), round(middle + height / 2))
    cv2.putText(pixels, text, origin, face, scale, 250, thick, cv2.LINE_AA)
    if ringed:
        cv2.circle(
            pixels, (round(x), round(middle)), round(height * 0.9), 250, max(1, thick // 2), cv2.LINE_AA
        )
