"""Dice of lung networks on several data sets, by image and by patient, and the paired difference of two networks.

    python benchmarks/lungs.py --data /data/v7-cxr-224 --data /data/shenzhen:visible --split runs/lungs/split.csv \\
        --model before --model after

Of each data set the images of the split's test part are used (`--all`: every image with a mask). A network that marks
one kind of lungs is judged by it on data sets of either convention. Masks are compared at the size of the network.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lungsight.dataset.cache import load_arrays
from lungsight.dataset.join import DataPath
from lungsight.dataset.split import given_parts
from lungsight.dataset.table import Dataset
from lungsight.inference.sessions import Session
from lungsight.metrics import bootstrap, compare_means
from lungsight.model import load_bundle
from lungsight.preprocess import resize_mask

Values = NDArray[np.float64]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", action="append", required=True, type=DataPath.parse, metavar="PATH[:visible]"
    )
    parser.add_argument("--model", action="append", type=Path, help="folders of networks; default: shipped")
    parser.add_argument("--split", type=Path, help="split.csv of a run")
    parser.add_argument("--all", action="store_true", help="every image, not the test part")
    parser.add_argument("--threshold", type=float, help="default: the card's")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--json", type=Path, help="write Dice of each image here")
    parser.add_argument("--worst", type=Path, help="folder for a picture of the twenty worst of each source")
    arguments = parser.parse_args()
    parts = given_parts(str(arguments.split or "lungs-parts.csv"))
    models = arguments.model or [None]
    report = {}
    for where in arguments.data:
        dataset = where.read().where(lambda row: row.mask is not None)
        if not arguments.all:
            dataset = dataset.where(lambda row: parts.get(row.id) == "test")
        if not len(dataset):
            print(f"{where.path.name}: none of its images is in the test part")
            continue
        measured = [dice(dataset, folder, arguments.cache, arguments.threshold) for folder in models]
        for kind in measured[-1]:
            for source in sorted({row.source for row in dataset}):
                chosen = np.array([row.source == source for row in dataset])
                patients = [row.patient or row.id for row in dataset if row.source == source]
                for folder, found in zip(models, measured, strict=True):
                    name = f"{where.path.name} {source}, {kind}, {folder.name if folder else 'shipped'}"
                    if kind in found:
                        line(name, found[kind][chosen], patients)
                        ids = [row.id for row in dataset if row.source == source]
                        report[name] = dict(zip(ids, found[kind][chosen].tolist(), strict=True))
                        if arguments.worst and kind == "lungs":
                            worst = {ids[n] for n in np.argsort(found[kind][chosen])[:20]}
                            sheet(
                                dataset.where(lambda row, some=worst: row.id in some), folder, arguments, name
                            )
                if len(models) == 2 and all(kind in found for found in measured):
                    before, after = (found[kind][chosen] for found in measured)
                    test = compare_means(after, before, patients=patients)
                    change = test.difference
                    print(f"    difference {change.value:+.4f} ({change.low:+.4f} to {change.high:+.4f})")
    if arguments.json:
        arguments.json.write_text(json.dumps(report) + "\n")


def dice(
    dataset: Dataset, folder: Path | None, cache: Path | None, threshold: float | None
) -> dict[str, Values]:
    """(N,) of the lungs, and of the heart where the network marks it and the data set has it; NaN where it has not."""
    model = load_bundle(folder).lungs
    card = model.card
    arrays = load_arrays(dataset, card.input.size, cache_dir=cache)
    limit = threshold or card.threshold
    found: dict[str, Values] = {"lungs": np.empty(len(arrays))}
    hearts = "heart" in card.classes and any(row.heart is not None for row in arrays.rows)
    if hearts:
        found["heart"] = np.full(len(arrays), np.nan)
    answers = Session(model).maps(arrays.images)
    for index, (row, maps) in enumerate(zip(arrays.rows, answers, strict=True)):
        kind = row.convention or "full"
        lungs = maps[card.channel(kind) if kind in card.classes else 0]
        found["lungs"][index] = overlap(lungs >= limit, np.asarray(arrays.masks[index]))
        if hearts and row.heart is not None:
            heart = resize_mask(row.heart.load(), card.input.size)
            found["heart"][index] = overlap(maps[card.channel("heart")] >= limit, heart)
    return found


def sheet(dataset: Dataset, folder: Path | None, arguments: argparse.Namespace, name: str) -> None:
    """A picture of X-rays with the lungs that people drew (green) and those of the network (red), Dice beside each."""
    bundle = load_bundle(folder).lungs
    arrays = load_arrays(dataset, bundle.card.input.size)
    tiles = []
    for row, image, mask, maps in zip(
        arrays.rows, arrays.images, arrays.masks, Session(bundle).maps(arrays.images), strict=True
    ):
        kind = row.convention or "full"
        channel = bundle.card.channel(kind) if kind in bundle.card.classes else 0
        lungs = maps[channel] >= (arguments.threshold or bundle.card.threshold)
        tile = cv2.cvtColor(np.asarray(image, np.uint8), cv2.COLOR_GRAY2BGR)
        for drawn, colour in ((np.asarray(mask), (80, 220, 80)), (lungs, (60, 60, 255))):
            lines, _ = cv2.findContours(drawn.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(tile, lines, -1, colour, 1)
        words = f"{overlap(lungs, np.asarray(mask)):.3f}"
        cv2.putText(tile, words, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
        tiles.append(tile)
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % 5)
    rows = [np.hstack(tiles[start : start + 5]) for start in range(0, len(tiles), 5)]
    arguments.worst.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(arguments.worst / f"{name.replace(', ', '-').replace(' ', '-')}.png"), np.vstack(rows))


def overlap(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Dice of two masks."""
    return float(2 * (one & other).sum() / max(int(one.sum() + other.sum()), 1))


def line(name: str, values: Values, patients: list[str]) -> None:
    """One line of the table: by image, by patient, the worst."""
    usable = np.isfinite(values)
    values = values[usable]
    who = [patient for patient, taken in zip(patients, usable, strict=True) if taken]
    mean = bootstrap(lambda some: float(some.mean()), values, patients=who)
    of: dict[str, list[float]] = defaultdict(list)
    for patient, value in zip(who, values, strict=True):
        of[patient].append(float(value))
    each = np.array([np.mean(some) for some in of.values()])
    by = bootstrap(lambda some: float(some.mean()), each, patients=list(of))
    print(
        f"{name}: {len(values)} images {mean.value:.4f} ({mean.low:.4f} to {mean.high:.4f}), "
        f"{len(each)} patients {by.value:.4f} ({by.low:.4f} to {by.high:.4f}), worst {values.min():.3f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
