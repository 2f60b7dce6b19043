"""Draw docs/images/phantom.png, the README's picture of the phantoms: python benchmarks/phantom_figure.py"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from lungsight.phantom import draw

OUT = Path(__file__).resolve().parents[1] / "docs" / "images" / "phantom.png"
SIZE = 224
OUTLINE = (255, 176, 32)
# Seed, hospital, finding: the upper row is from the one hospital, the lower from the other.
PICKS = (
    *(
        (60, "north", "normal"),
        (64, "north", "bacterial pneumonia"),
        (69, "north", "COVID-19"),
        (9, "north", "normal"),
    ),
    *(
        (67, "south", "COVID-19"),
        (36, "south", "normal"),
        (37, "south", "COVID-19"),
        (71, "south", "viral pneumonia"),
    ),
)


def main() -> None:
    """Draw eight phantoms; every other one shows the outline of its lungs."""
    tiles = []
    for place, (seed, hospital, finding) in enumerate(PICKS):
        rng = np.random.default_rng(seed)
        phantom = draw(rng, hospital=hospital, covid=finding == "COVID-19", finding=finding, size=SIZE)
        tile = cv2.cvtColor(phantom.pixels, cv2.COLOR_GRAY2RGB)
        if place % 2:
            outlines, _ = cv2.findContours(
                phantom.mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
            )
            cv2.drawContours(tile, outlines, -1, OUTLINE, 1, cv2.LINE_AA)
        tiles.append(tile)
    sheet = np.vstack([np.hstack(tiles[:4]), np.hstack(tiles[4:])])
    OUT.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).quantize(96, dither=Image.Dither.NONE).save(OUT, optimize=True)
    print(f"{OUT}: {OUT.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
