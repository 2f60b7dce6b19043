"""What the gate must not let through: pictures made on the fly, all from one source of chance.

Some are the table's own X-rays, turned or cut; the others are drawn. No file from elsewhere is needed, but for
scikit-learn's two sample photographs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lungsight.phantom.negatives import films, scenes, slices
from lungsight.preprocess import resample
from lungsight.wording import GateClass

Pixels = NDArray[np.uint8]

__all__ = ["KINDS", "SHARES", "draw", "label"]


def _upside_down(rng: np.random.Generator, xray: Pixels) -> Pixels:
    return xray[::-1, ::-1] if rng.random() < 0.5 else xray[::-1]


def _on_its_side(rng: np.random.Generator, xray: Pixels) -> Pixels:
    turned = np.rot90(xray, 1 if rng.random() < 0.5 else 3)
    return np.asarray(turned if rng.random() < 0.5 else turned[:, ::-1])


def _part(rng: np.random.Generator, xray: Pixels) -> Pixels:
    """A cut so close that no pair of lungs fits in; any way up."""
    size = xray.shape[0]
    high, wide = (int(v) for v in rng.uniform(0.22, 0.45, 2) * size)
    y, x = int(rng.integers(0, size - high + 1)), int(rng.integers(0, size - wide + 1))
    part = np.rot90(xray[y : y + high, x : x + wide], int(rng.integers(0, 4)))
    return resample(part, (size, size), "cubic")


def _drawn(
    maker: Callable[[np.random.Generator, int], Pixels],
) -> Callable[[np.random.Generator, Pixels], Pixels]:
    return lambda rng, xray: maker(rng, xray.shape[0])


_MAKERS: dict[str, tuple[GateClass, float, Callable[[np.random.Generator, Pixels], Pixels]]] = {
    "upside down": (GateClass.UPSIDE_DOWN, 0.17, _upside_down),
    "on its side": (GateClass.ON_ITS_SIDE, 0.08, _on_its_side),
    "lateral view": (GateClass.LATERAL_VIEW, 0.16, _drawn(films.lateral)),
    "coronal CT": (GateClass.CT_SLICE, 0.14, _drawn(slices.coronal)),
    "axial CT": (GateClass.CT_SLICE, 0.07, _drawn(slices.axial)),
    "part of an X-ray": (GateClass.NOT_A_CHEST_XRAY, 0.10, _part),
    "other bones": (GateClass.NOT_A_CHEST_XRAY, 0.06, _drawn(films.bones)),
    "page of text": (GateClass.NOT_A_CHEST_XRAY, 0.03, _drawn(scenes.page)),
    "photograph": (GateClass.NOT_A_CHEST_XRAY, 0.10, _drawn(scenes.photograph)),
    "chart": (GateClass.NOT_A_CHEST_XRAY, 0.02, _drawn(scenes.chart)),
    "pattern": (GateClass.NOT_A_CHEST_XRAY, 0.04, _drawn(scenes.pattern)),
    "X-ray within a screen": (GateClass.NOT_A_CHEST_XRAY, 0.03, scenes.screen),
}

KINDS = tuple(_MAKERS)
"""Names of the kinds of picture."""
SHARES = np.array([share for _, share, _ in _MAKERS.values()])
"""(K,), how often each is drawn; they add up to 1."""


def label(kind: str) -> int:
    """Place in `GateClass` of a kind of picture."""
    return list(GateClass).index(_MAKERS[kind][0])


def draw(kind: str, xray: Pixels, rng: np.random.Generator) -> Pixels:
    """Make one picture.

    Args:
        kind: one of `KINDS`.
        xray: (h, w) uint8, an upright frontal chest X-ray, for the kinds that are made of one.
        rng: the source of chance; equal states give equal pictures.

    Returns:
        (h, w) uint8.
    """
    height, width = xray.shape
    side = max(height, width)
    square = xray if height == width else resample(xray, (side, side), "linear")
    made = np.ascontiguousarray(_MAKERS[kind][2](rng, square))
    if made.shape != xray.shape:
        made = resample(made, (height, width), "area")
    return np.asarray(made, np.uint8)
