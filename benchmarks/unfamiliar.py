"""How many images are flagged as unfamiliar or refused by the gate: other hospitals' X-rays, and what is none.

    python benchmarks/unfamiliar.py --model weights --frontal shenzhen=/data/shenzhen --frontal jsrt=/data/jsrt-fold1 \
        --changed /data/shenzhen --files darwin=/data/darwin-export-sample --count 200

Nothing is tuned here, and no image of `--data` of `fit-outliers` should be among these. Changed: each image turned by a
quarter or a half, and inverted. Drawn: the gate's lateral views, CT slices and photographs, with a seed that no
training uses. Files: rows that have no lung mask (CT slices and laterals in a Darwin export).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lungsight.dataset import read_dataset
from lungsight.dataset.table import is_image_file
from lungsight.inference import Lungsight
from lungsight.inference.result import Failure
from lungsight.metrics import wilson
from lungsight.model import load_bundle
from lungsight.phantom import negatives
from lungsight.preprocess import to_uint8, to_unit
from lungsight.wording import Flag
from lungsight.xray import read_xray

Pixels = NDArray[np.uint8]
TURNS: dict[str, Callable[[Pixels], Pixels]] = {
    "turned by a quarter": lambda pixels: np.ascontiguousarray(np.rot90(pixels)),
    "turned by a half": lambda pixels: np.ascontiguousarray(pixels[::-1, ::-1]),
    "inverted": lambda pixels: np.asarray(255 - pixels, np.uint8),
}
DRAWN = ("lateral view", "coronal CT", "axial CT", "photograph")
SEED = 987


def images_of(folder: Path, count: int, seed: int) -> list[Pixels]:
    """Up to `count` images of a data set, drawn by the seed."""
    rows = list(read_dataset(folder))
    order = np.random.default_rng(seed).permutation(len(rows))[:count]
    return [to_uint8(to_unit(read_xray(rows[i].image).pixels)) for i in sorted(order)]


def count(model: Lungsight, images: Iterable[Pixels | Path]) -> dict[str, object]:
    """Fractions flagged, refused by the gate, and either, with Wilson's intervals."""
    flagged, refused, either, total = 0, 0, 0, 0
    for result in model.stream(images, batch=8):
        if isinstance(result, Failure):
            continue
        strange = Flag.UNFAMILIAR in result.flags
        total, flagged, refused = total + 1, flagged + strange, refused + (not result.gate.frontal)
        either += strange or not result.gate.frontal
    return {"images": total} | {
        name: str(wilson(number, total)) if total else "n/a"
        for name, number in (("flagged", flagged), ("refused", refused), ("either", either))
    }


def main() -> None:
    """Print a table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="folder of networks; default: those that ship")
    parser.add_argument("--frontal", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--changed", type=Path, help="X-rays that are turned and inverted")
    parser.add_argument("--files", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    model = Lungsight(load_bundle(options.model), threads=1)
    found: dict[str, dict[str, object]] = {}

    def note(name: str, images: Iterable[Pixels | Path]) -> None:
        found[name] = count(model, images)
        print(f"{name:40} " + "  ".join(f"{key} {value}" for key, value in found[name].items()), flush=True)

    for text in options.frontal:
        name, _, path = text.partition("=")
        note(f"frontal: {name}", images_of(Path(path), options.count, options.seed))
    if options.changed:
        images = images_of(options.changed, options.count, options.seed)
        for name, change in TURNS.items():
            note(name, [change(pixels) for pixels in images])
    for kind in DRAWN:
        rng = np.random.default_rng((SEED, DRAWN.index(kind)))
        blank = np.zeros((256, 256), np.uint8)
        note(f"drawn: {kind}", [negatives.draw(kind, blank, rng) for _ in range(max(options.count // 4, 10))])
    for text in options.files:
        name, _, path = text.partition("=")
        frontal = {row.image.name for row in read_dataset(Path(path)) if row.mask is not None}
        others = [
            item for item in sorted(Path(path).rglob("*")) if is_image_file(item) and item.name not in frontal
        ]
        note(f"no frontal X-ray: {name}", [item for item in others if "masks" not in str(item.parent)])
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), "utf-8")


if __name__ == "__main__":
    main()
