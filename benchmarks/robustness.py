"""What becomes of lung masks and of the gate when a file is inverted, turned, cropped, photographed or of another size.

    python benchmarks/robustness.py --data v7=/data/v7-cxr-224 --data jsrt=/data/jsrt-fold1:visible
    python benchmarks/robustness.py --data v7=/data/v7-cxr-224 --model before --model after

Each image is distorted, masked, and the mask compared with the annotation that went through the same distortion. Sizes
are resampled from the files as they are: a small file made large has no more in it than before.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lungsight.dataset import read_dataset
from lungsight.dataset.split import given_parts
from lungsight.inference import Lungsight
from lungsight.metrics import bootstrap
from lungsight.model import load_bundle
from lungsight.preprocess import resize_image, resize_mask, to_uint8
from lungsight.xray import read_xray

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
Mask = NDArray[np.bool_]
Change = Callable[[NDArray[np.uint8], Mask, np.random.Generator], tuple[Pixels, Mask]]
SIZE = (256, 256)


def both(turn: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> Change:
    """A change of geometry that image and mask share."""
    return lambda pixels, mask, _: (
        np.ascontiguousarray(turn(pixels)),
        np.ascontiguousarray(turn(mask.view(np.uint8))).astype(bool),
    )


def cropped(pixels: NDArray[np.uint8], mask: Mask, rng: np.random.Generator) -> tuple[Pixels, Mask]:
    """Up to 15 % off each side."""
    height, width = pixels.shape
    top, bottom = (int(height * rng.uniform(0, 0.15)) for _ in range(2))
    left, right = (int(width * rng.uniform(0, 0.15)) for _ in range(2))
    box = np.s_[top : height - bottom, left : width - right]
    return np.ascontiguousarray(pixels[box]), np.ascontiguousarray(mask[box])


def photographed(pixels: NDArray[np.uint8], mask: Mask, rng: np.random.Generator) -> tuple[Pixels, Mask]:
    """From a screen with a phone: tilted, uneven light, the screen's lines, a dark frame, blur, JPEG."""
    height, width = 768, 768
    image = cv2.resize(pixels, (width, height)).astype(np.float32)
    lung = cv2.resize(mask.astype(np.uint8) * 255, (width, height))
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    inside = corners * 0.86 + 0.07 * width
    moved = (inside + rng.uniform(-0.05, 0.05, (4, 2)) * width).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(corners, moved)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    image *= 0.92 + 0.08 * np.sin(columns * rng.uniform(1.8, 2.6)) * np.sin(rows * rng.uniform(1.8, 2.6))
    image = cv2.warpPerspective(image, matrix, (width, height), borderValue=float(rng.uniform(5, 60)))
    angle = rng.uniform(0, 2 * np.pi)
    light = 1 + 0.35 * (
        np.cos(angle) * (columns / width - 0.5) * 2 + np.sin(angle) * (rows / height - 0.5) * 2
    )
    image = image * light * 0.85 + 20 + rng.normal(0, 5, image.shape)
    image = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1.2)
    _, code = cv2.imencode(".jpg", np.clip(image, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 60])
    lung = cv2.warpPerspective(lung, matrix, (width, height))
    return np.asarray(cv2.imdecode(code, cv2.IMREAD_GRAYSCALE), np.uint8), np.asarray(lung > 127)


def sized(side: int) -> Change:
    """Resampled to `side` pixels."""
    return lambda pixels, mask, _: (np.asarray(resize_image(pixels, (side, side)), np.uint8), mask)


CHANGES: dict[str, Change] = {
    "as it is": lambda pixels, mask, _: (pixels, mask),
    "inverted": lambda pixels, mask, _: (255 - pixels, mask),
    "turned by 90 degrees": both(lambda pixels: np.rot90(pixels)),
    "turned by 180 degrees": both(lambda pixels: np.rot90(pixels, 2)),
    "mirrored": both(lambda pixels: pixels[:, ::-1]),
    "cropped": cropped,
    "photograph of a screen": photographed,
    "16 bits": lambda pixels, mask, _: (pixels.astype(np.uint16) * 257, mask),
    "12 of 16 bits": lambda pixels, mask, _: (pixels.astype(np.uint16) * 16 + 100, mask),
    "64 pixels": sized(64),
    "128 pixels": sized(128),
    "512 pixels": sized(512),
    "1,024 pixels": sized(1024),
    "4,000 pixels": sized(4000),
}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", action="append", required=True, metavar="NAME=PATH[:visible]", help="a data set with masks"
    )
    parser.add_argument("--model", action="append", type=Path, help="folders of networks; default: shipped")
    parser.add_argument("--count", type=int, default=40, help="images of each data set")
    parser.add_argument(
        "--parts", default="lungs-parts.csv", help="who is in the test part; others are not used"
    )
    parser.add_argument("--split", type=Path, help="split.csv of a run, instead of --parts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", help="some of the changes")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    parts = given_parts(str(arguments.split) if arguments.split else arguments.parts)
    report: dict[str, dict[str, dict[str, float]]] = {}
    for named in arguments.data:
        name, _, place = named.partition("=")
        path, colon, convention = place.rpartition(":")
        visible = bool(colon) and convention == "visible"
        dataset = read_dataset(path if visible else place)
        rows = [row for row in dataset if row.mask is not None and parts.get(row.id, "test") == "test"]
        rng = np.random.default_rng(arguments.seed)
        chosen = [rows[i] for i in sorted(rng.permutation(len(rows))[: arguments.count])]
        for folder in arguments.model or [None]:
            bundle = load_bundle(folder)
            marked = visible and "visible" in bundle.lungs.card.classes
            model = Lungsight(bundle, lungs="visible" if marked else None)
            key = f"{name}, {folder.name if folder else 'shipped'}"
            report[key] = {}
            for change, work in CHANGES.items():
                if arguments.only and change not in arguments.only:
                    continue
                dice: list[float] = []
                refused = 0
                for number, row in enumerate(chosen):
                    pixels = np.asarray(to_uint8(read_xray(row.image).pixels), np.uint8)
                    assert row.mask is not None
                    mask = resize_mask(row.mask.load(), (pixels.shape[0], pixels.shape[1]))
                    changed, truth = work(pixels, mask, np.random.default_rng((arguments.seed, number)))
                    result = model(changed)
                    found, wanted = resize_mask(result.mask, SIZE), resize_mask(truth, SIZE)
                    dice.append(2 * (found & wanted).sum() / max(int(found.sum() + wanted.sum()), 1))
                    refused += not result.gate.frontal
                patients = [row.patient or row.id for row in chosen]
                mean = bootstrap(lambda values: float(values.mean()), np.array(dice), patients=patients)
                report[key][change] = {
                    "images": len(chosen),
                    "dice": mean.value,
                    "low": mean.low,
                    "high": mean.high,
                    "worst": min(dice),
                    "refused": refused,
                }
                figures = f"{mean.value:.3f} ({mean.low:.3f} to {mean.high:.3f}), worst {min(dice):.3f}"
                print(f"{key:30} {change:24} {figures}, refused {refused} of {len(chosen)}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
