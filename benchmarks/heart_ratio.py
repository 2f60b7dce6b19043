"""Agreement of the cardiothoracic ratio with the ratio from masks that people drew, on films that did not train it.

    python benchmarks/heart_ratio.py --data $DATA/other-hospitals/jsrt-fold1 --out runs/heart

    python benchmarks/heart_ratio.py --data $DATA/other-hospitals/jsrt-fold1 --out runs/heart --choose weights

The network is the one that ships, or that of `--model`. The films are the test part of the lung recipe's split, which
keeps patients apart and draws each collection by itself, so that it is the same beside other collections. `--choose`
sets `heart_threshold` in the card of a folder of networks: that of 0.10, 0.15 ... 0.90 with the highest mean Dice of
the heart on the validation part. Beside the whole image stand the outer eighth of it alone, and the image with black
lungs: of the first nothing may be left, of the second the heart's border is still there to be seen.
`--all` measures all films, most of which the network was trained on.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
from msgspec import structs

from lungsight.config import load_recipe
from lungsight.dataset.cache import load_arrays
from lungsight.dataset.join import DataPath
from lungsight.evaluation.bland_altman import BlandAltman, bland_altman
from lungsight.evaluation.runs import best_threshold
from lungsight.files import write_bytes
from lungsight.inference.heart import cardiothoracic
from lungsight.inference.lung_masks import find
from lungsight.inference.sessions import Session
from lungsight.model import load_bundle, save
from lungsight.preprocess import resize_mask
from lungsight.records import to_json
from lungsight.training.prepare import make_split
from lungsight.training.severity import VIEWS, seen_in

SEED = 0


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="a manifest with lung masks and hearts")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", type=Path, help="a folder of networks; default: what ships")
    parser.add_argument("--all", action="store_true", help="all films: those that it was trained on too")
    parser.add_argument(
        "--choose", type=Path, help="set the heart's threshold of the networks in this folder"
    )
    parser.add_argument("--figure", type=Path, help="write the Bland-Altman plot here (PNG)")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    dataset = DataPath(arguments.data, "visible").read()
    dataset = dataset.where(lambda row: row.mask is not None and row.heart is not None)
    if not arguments.all:
        split = make_split(dataset, load_recipe("lungs"))
        kept = sorted(split.validation if arguments.choose else split.test)
        dataset = replace(dataset, rows=tuple(dataset.rows[index] for index in kept))
        print(f"{len(kept)} films of the {'validation' if arguments.choose else 'test'} part")
    arrays = load_arrays(dataset, (256, 256))
    images, masks = np.asarray(arrays.images), np.asarray(arrays.masks)
    hearts = np.stack([heart(row) for row in dataset])
    model = load_bundle(arguments.choose or arguments.model).lungs
    network = Session(model, 1)
    if arguments.choose:
        chosen = best_threshold(np.stack([*network.maps(images)])[:, 2], hearts.astype(bool))
        save(arguments.choose, structs.replace(model.card, heart_threshold=round(chosen, 2)), model.onnx)
        print(f"heart_threshold {chosen:.2f} in {arguments.choose}")
        return
    at = model.card.heart_threshold
    people = [ratio(drawn, mask) for drawn, mask in zip(hearts, masks, strict=True)]
    for view in VIEWS:
        seen = np.stack([seen_in(image, mask, view) for image, mask in zip(images, masks, strict=True)])
        maps = np.stack([*network.maps(seen)])
        found = [ratio(each[2] >= at, find(each[0], 0.5).mask) for each in maps]
        report(view, dataset, people, found, arguments)


def heart(row):  # type: ignore[no-untyped-def]
    """(256, 256) the heart that a person drew."""
    return resize_mask(row.heart.load(), (256, 256))


def ratio(heart_mask, lungs) -> float | None:  # type: ignore[no-untyped-def]
    """As `lungsight predict` measures it, from masks at the size of the network."""
    found = cardiothoracic(heart_mask, find(np.asarray(lungs, np.float32), 0.5).small)
    return found.ratio if found else None


def report(view, dataset, people, found, arguments) -> None:  # type: ignore[no-untyped-def]
    """Agreement of what was found in one view; the table and the figure are of the whole image."""
    rows = [
        (row.id, person, network)
        for row, person, network in zip(dataset, people, found, strict=True)
        if person is not None
    ]
    usable = [(person, network) for _, person, network in rows if network is not None]
    print(
        f"{view}: {len(dataset)} films, {len(rows)} with a ratio by people, {len(usable)} by the network",
        end="",
    )
    if len(usable) < 2:
        print()
        return
    reference, measured = np.array(usable).T
    agreed = bland_altman(measured, reference, seed=SEED)
    print(
        f"; mean error {agreed.mean_error:+.4f} ({agreed.error_low:+.4f} to {agreed.error_high:+.4f}), limits"
        f" {agreed.lower:+.4f} to {agreed.upper:+.4f}, mean absolute {agreed.mean_absolute_error:.4f}, largest"
        f" {agreed.largest:.3f}, correlation {np.corrcoef(measured, reference)[0, 1]:.2f}"
    )
    write_bytes(arguments.out / f"heart-ratio-{view}.json", to_json(agreed) + b"\n")
    with (arguments.out / f"heart-ratio-{view}.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("id", "people", "network"), *rows])
    if arguments.figure and view == "whole":
        draw(arguments.figure, measured, reference, agreed)


def draw(path: Path, measured: np.ndarray, reference: np.ndarray, agreed: BlandAltman) -> None:
    """Difference over mean of both, with mean error and limits."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), dpi=150)
    axes.scatter((measured + reference) / 2, measured - reference, s=14, alpha=0.7)
    for value, style in ((agreed.mean_error, "-"), (agreed.lower, "--"), (agreed.upper, "--")):
        axes.axhline(value, color="0.3", linestyle=style, linewidth=1)
        axes.annotate(f"{value:+.3f}", (axes.get_xlim()[1], value), ha="right", va="bottom", fontsize=8)
    axes.set_xlabel("Cardiothoracic ratio, mean of network and people")
    axes.set_ylabel("Network less people")
    axes.set_title(f"{agreed.items} JSRT films, each by a network that was not trained on it", fontsize=10)
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    main()
