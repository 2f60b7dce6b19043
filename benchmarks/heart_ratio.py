"""Agreement of the cardiothoracic ratio with the ratio from masks that people drew, out of fold.

    git show 6722682:src/lungsight/weights/lungs.onnx > lungs-1.onnx
    python benchmarks/lungs_start.py lungs-1.onnx lungs-1.safetensors
    python benchmarks/heart_ratio.py --data $DATA/jsrt-fold1 --start lungs-1.safetensors --out runs/heart

The network that ships learned from most of these films, so that it cannot be judged by them. Here five networks of its
kind and recipe learn from four fifths of the films each, from a start that saw none of them (V7's lungs alone), and
each measures the fifth that it did not see. That is less data and training than the shipped network had. `--shipped`
measures the shipped network on the same films too: most of them it was trained on. A finished fold is not repeated.
Beside the whole image stand the outer eighth of it alone, and the image with black lungs: of the first nothing may be
left, of the second the heart's border is still there to be seen.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import torch

from lungsight.config import load_recipe
from lungsight.dataset.cache import load_arrays
from lungsight.dataset.join import DataPath
from lungsight.dataset.table import Dataset
from lungsight.evaluation.bland_altman import BlandAltman, bland_altman
from lungsight.files import write_bytes
from lungsight.inference.heart import cardiothoracic
from lungsight.inference.lung_masks import find
from lungsight.inference.sessions import Session
from lungsight.model import load_bundle
from lungsight.networks import OUTPUTS
from lungsight.preprocess import resize_mask, to_unit
from lungsight.records import to_json
from lungsight.training.predict import load_run
from lungsight.training.severity import VIEWS, seen_in
from lungsight.training.train import train

FOLDS, SEED = 5, 0
VALIDATION = 8
"""Films of each fold's training part that choose nothing: training keeps its last weights, and wants a validation."""


def main() -> None:
    """Train what is not trained, measure, print, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="a manifest with lung masks and hearts")
    parser.add_argument(
        "--start",
        type=Path,
        help="weights that saw none of the films; without them only folds that are there are measured",
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=220, help="an epoch's images")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument(
        "--shipped", action="store_true", help="the shipped network on its own training films"
    )
    parser.add_argument("--figure", type=Path, help="write the Bland-Altman plot here (PNG)")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    dataset = (
        DataPath(arguments.data, "visible")
        .read()
        .where(lambda row: row.mask is not None and row.heart is not None)
    )
    arrays = load_arrays(dataset, (256, 256))
    images, masks = np.asarray(arrays.images), np.asarray(arrays.masks)
    people = [ratio(heart(row), mask) for row, mask in zip(dataset, masks, strict=True)]
    seen = {
        view: np.stack([seen_in(image, mask, view) for image, mask in zip(images, masks, strict=True)])
        for view in VIEWS
    }
    if arguments.shipped:
        network = Session(load_bundle(None).lungs, 1)
        answers = {view: shipped(network, given) for view, given in seen.items()}
    else:
        answers = out_of_fold(dataset, seen, arguments)
    for view, maps in answers.items():
        found = [ratio(each[2] >= 0.5, find(each[0], 0.5).mask) for each in maps]
        report(view, dataset, people, found, arguments)


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


def shipped(network: Session, images: np.ndarray) -> np.ndarray:
    """(N, 3, 256, 256) probabilities of the network that ships."""
    parts = [
        network.run(to_unit(images[start : start + 8])[:, None].astype(np.float32))["probability"]
        for start in range(0, len(images), 8)
    ]
    return np.concatenate(parts)


def heart(row):  # type: ignore[no-untyped-def]
    """(256, 256) the heart that a person drew."""
    return resize_mask(row.heart.load(), (256, 256))


def ratio(heart_mask, lungs) -> float | None:  # type: ignore[no-untyped-def]
    """As `lungsight predict` measures it, from masks at the size of the network."""
    found = cardiothoracic(heart_mask, find(np.asarray(lungs, np.float32), 0.5).small)
    return found.ratio if found else None


def out_of_fold(
    dataset: Dataset, seen: dict[str, np.ndarray], arguments: argparse.Namespace
) -> dict[str, np.ndarray]:
    """(N, 3, 256, 256) probabilities of each film by the network of its fold, for each view."""
    fold = np.random.default_rng(SEED).permutation(len(dataset)) % FOLDS
    maps = {view: np.zeros((len(dataset), len(OUTPUTS), 256, 256), np.float32) for view in seen}
    for number in range(FOLDS):
        folder = arguments.out / f"fold-{number}"
        if not (folder / "weights.safetensors").exists():
            if arguments.start is None:
                print(f"fold {number} was not trained, and is left out")
                continue
            parts = arguments.out / f"parts-{number}.csv"
            inside = np.flatnonzero(fold != number)
            held = set(inside[:VALIDATION].tolist())
            lines = ["id,part"]
            for index, row in enumerate(dataset):
                part = "test" if fold[index] == number else "validation" if index in held else "train"
                lines.append(f"{row.id},{part}")
            parts.write_text("\n".join(lines) + "\n")
            recipe = load_recipe(
                "lungs",
                [
                    f"training.start={arguments.start}",
                    f"training.images_per_epoch={arguments.images}",
                    f"training.epochs={arguments.epochs}",
                    "training.batch=4",
                    "training.learning_rate=1e-3",
                    "training.checkpoint=last",
                    f"split.parts={parts}",
                ],
            )
            train(recipe, dataset, folder, device="cpu", resume=folder.exists())
        network = load_run(folder)[1].eval()
        for view, images in seen.items():
            for index in np.flatnonzero(fold == number):
                with torch.inference_mode():
                    given = torch.from_numpy(to_unit(images[index])[None, None].astype(np.float32))
                    maps[view][index] = torch.sigmoid(network(given))[0].numpy()
        print(f"fold {number} done", flush=True)
    return maps


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
    axes.set_title(f"{agreed.items} JSRT films, out of fold", fontsize=10)
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    main()
