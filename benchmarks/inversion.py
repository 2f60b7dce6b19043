"""Inverted X-rays: how many are undone, flagged or refused, and how many upright ones wrongly.

    python benchmarks/inversion.py fit --v7 /data/v7-cxr-224 --others /data/other-hospitals        # prints TEMPLATE
    python benchmarks/inversion.py limits --v7 /data/v7-cxr-224 --others /data/other-hospitals     # the fitted half
    python benchmarks/inversion.py report --v7 /data/v7-cxr-224 --others /data/other-hospitals     # the other half

`fit` and `limits` see the training part of the lung network and one half of Shenzhen, JSRT and NIH (by a checksum of
the patient). `report` sees the test part, the other half, and Hannover, each image as it is and inverted.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lungsight.dataset import read_dataset
from lungsight.dataset.split import given_parts
from lungsight.inference import load_model
from lungsight.inference.polarity import SIDE, polarity
from lungsight.metrics.linear import wilson_bounds
from lungsight.preprocess import to_uint8
from lungsight.wording import Flag, XRayNote
from lungsight.xray import read_xray

Small = NDArray[np.float32]
SMALL = 64
"""Side at which images are changed and fitted."""
OTHERS = ("shenzhen", "jsrt-fold1", "nih")
KEPT_BACK = "hannover"
RIDGE = 0.05


def rows(arguments: argparse.Namespace, *, fitted: bool) -> Iterator[tuple[str, Path]]:
    """Collection and image of the half that was fitted, or of the other."""
    parts = given_parts("lungs-parts.csv")
    for row in read_dataset(arguments.v7):
        if parts.get(row.id) == ("train" if fitted else "test"):
            yield row.source, Path(str(row.image))
    for name in (*OTHERS, KEPT_BACK):
        for row in read_dataset(arguments.others / name):
            half = zlib.crc32((row.patient or row.id).encode()) % 2 == 1
            if fitted == (half and name != KEPT_BACK) and (fitted or not half or name == KEPT_BACK):
                yield name, Path(str(row.image))


def read(image: Path) -> NDArray[np.uint8]:
    """(H, W)."""
    return np.asarray(to_uint8(read_xray(image).pixels), np.uint8)


def resized(image: Small, side: int = SMALL) -> Small:
    """(side, side) by area averaging."""
    return np.asarray(cv2.resize(np.ascontiguousarray(image), (side, side), interpolation=cv2.INTER_AREA))


def cropped(image: Small, rng: np.random.Generator) -> Small:
    """Up to 15 % off each side."""
    top, bottom, left, right = (rng.uniform(0, 0.15, 4) * SMALL).astype(int)
    return resized(image[top : SMALL - bottom, left : SMALL - right])


def framed(image: Small, rng: np.random.Generator, grey: float) -> Small:
    """Bars of one grey on two sides, up to 20 % each."""
    width = int(rng.uniform(0, 0.2) * SMALL)
    pad = [(width, width), (0, 0)] if rng.random() < 0.5 else [(0, 0), (width, width)]
    return resized(np.pad(image, pad, constant_values=grey))


def tilted(image: Small, rng: np.random.Generator) -> Small:
    """Turned by up to 15 degrees."""
    matrix = cv2.getRotationMatrix2D((SMALL / 2, SMALL / 2), rng.uniform(-15, 15), 1)
    return np.asarray(cv2.warpAffine(image, matrix, (SMALL, SMALL)))


CHANGES: dict[str, tuple[float, Callable[[Small, np.random.Generator], Small]]] = {
    "as it is": (1, lambda image, _: image),
    "cropped": (1, cropped),
    "black bars": (0.5, lambda image, rng: framed(image, rng, 0)),
    "white bars": (0.2, lambda image, rng: framed(image, rng, 1)),
    "brighter": (0.5, lambda image, _: np.asarray(image**0.5)),
    "darker": (0.5, lambda image, _: image**2),
    "tilted": (0.5, tilted),
    "upside down": (0.3, lambda image, _: image[::-1]),
    "on its side": (0.3, lambda image, _: np.rot90(image)),
}
"""Weight in the fit, and the change: none of them inverts an image."""


def changed(arguments: argparse.Namespace) -> tuple[NDArray[np.str_], dict[str, Small]]:
    """Collections (N,) and, for each change, images (N, SMALL, SMALL) in [0, 1] of the fitted half."""
    found = list(rows(arguments, fitted=True))
    images = [resized(read(image).astype(np.float32) / 255) for _, image in found]
    rng = np.random.default_rng(arguments.seed)
    pictures = {name: np.stack([change(one, rng) for one in images]) for name, (_, change) in CHANGES.items()}
    return np.array([name for name, _ in found]), pictures


def fit(arguments: argparse.Namespace) -> None:
    """Print the template: Fisher's direction between standardised images and their negatives, symmetric."""
    sources, pictures = changed(arguments)
    weight = sum((sources == one) / np.sqrt((sources == one).sum()) for one in set(sources))
    matrices, weights = [], []
    for name, images in pictures.items():
        x = np.stack([resized(one, SIDE) for one in images]).reshape(len(images), -1)
        x = (x - x.mean(axis=1, keepdims=True)) / (x.std(axis=1, keepdims=True) + 1e-6)
        for half in (x, x.reshape(-1, SIDE, SIDE)[:, :, ::-1].reshape(len(x), -1)):
            matrices.append(half)
            weights.append(np.asarray(weight) * CHANGES[name][0])
    x, w = np.concatenate(matrices), np.concatenate(weights)
    w = w / w.sum()
    mean = w @ x
    scatter = ((x - mean) * w[:, None]).T @ (x - mean) + RIDGE * np.eye(SIDE * SIDE)
    template = np.linalg.solve(scatter, mean).reshape(SIDE, SIDE)
    template = np.rint(template / np.abs(template).max() * 99).astype(int)
    scores = matrices[0] @ template.reshape(-1)
    print("TEMPLATE, left half of each row:")
    for row in template[:, : SIDE // 2]:
        print("   ", ", ".join(f"{value:3}" for value in row) + ",")
    print("SCALE =", round(float(np.median(scores))))


def limits(arguments: argparse.Namespace) -> None:
    """Print how low `polarity` comes, whatever is done to an image but inverting it."""
    _, pictures = changed(arguments)
    for name, images in pictures.items():
        scores = np.array([polarity(one) for one in images])
        low = np.quantile(scores, [0, 0.001, 0.01])
        below = [int((scores < limit).sum()) for limit in (0, -0.5)]
        print(f"{name:12} lowest, 0.1 %, 1 %: {low.round(2)}; below 0, below -0.5: {below} of {len(scores)}")


def report(arguments: argparse.Namespace) -> None:
    """Print what becomes of each image as it is and inverted."""
    model = load_model()
    outcomes: dict[tuple[str, bool], list[str]] = {}
    for name, image in rows(arguments, fitted=False):
        pixels = read(image)
        for inverted in (False, True):
            result = model(255 - pixels if inverted else pixels)
            if not result.gate.frontal:
                outcome = "flagged" if Flag.INVERTED in result.flags else "refused"
            else:
                outcome = "undone" if XRayNote.INVERSION_UNDONE in result.xray.notes else "scored as it is"
            outcomes.setdefault((name, inverted), []).append(outcome)
    for (name, inverted), found in outcomes.items():
        line = []
        for outcome in ("undone", "flagged", "refused", "scored as it is"):
            count = found.count(outcome)
            low, high = wilson_bounds(count, len(found))
            line.append(f"{outcome} {count} ({low:.4f} to {high:.4f})")
        print(
            f"{name:12} {'inverted' if inverted else 'as it is'} {len(found):5}: {', '.join(line)}",
            flush=True,
        )


def main() -> None:
    """Fit or measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["fit", "limits", "report"])
    parser.add_argument("--v7", type=Path, required=True)
    parser.add_argument("--others", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    {"fit": fit, "limits": limits, "report": report}[arguments.what](arguments)


if __name__ == "__main__":
    main()
