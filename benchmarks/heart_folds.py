"""The cardiothoracic ratio of every film out of fold: five lung networks, each trained without a fifth of the films.

    python benchmarks/heart_folds.py --start start.safetensors --data JSRT --out runs/folds --figure heart-folds.png

The films, one a patient, are dealt out in the order of ids. `--start` must not have seen any of them; the networks are
trained on the films alone, unless `--beside` names more, by a shorter form of the recipe of what ships, the first
epochs at half the side. The heart's threshold is chosen on the films of each run's own validation part. Stopped, the
same command goes on. `heart_ratio.py` measures what ships.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from heart_ratio import SEED, draw, heart, ratio
from lungsight.dataset.cache import load_arrays
from lungsight.dataset.join import DataPath
from lungsight.dataset.table import Dataset
from lungsight.evaluation.bland_altman import bland_altman
from lungsight.evaluation.runs import best_threshold
from lungsight.files import write_bytes
from lungsight.inference.lung_masks import find
from lungsight.inference.sessions import Session
from lungsight.model import load_bundle
from lungsight.records import to_json

SHORTER = ("training.epochs=6", "training.half_size_epochs=4", "training.images_per_epoch=800")


def main() -> None:
    """Train what is not there, measure, print, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="a manifest with visible lungs and hearts")
    parser.add_argument(
        "--beside", action="append", default=[], help="trains too, as `lungsight train --data`"
    )
    parser.add_argument("--start", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--figure", type=Path, help="write the Bland-Altman plot here (PNG)")
    given = parser.parse_args()
    dataset = DataPath(given.data, "visible").read()
    rows = sorted((row for row in dataset if row.mask and row.heart), key=lambda row: row.id)
    found: list[tuple[str, float | None, float | None]] = []
    for fold in range(given.folds):
        held = rows[fold :: given.folds]
        model = trained(given, fold, {row.id for row in rows} - {row.id for row in held})
        at = threshold(given.out / f"run-{fold}", model, dataset)
        print(f"fold {fold}: {len(held)} films, heart from {at:.2f} on", flush=True)
        found += measured(replace(dataset, rows=tuple(held)), model, at)
    with (given.out / "heart-ratio.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("id", "people", "network"), *found])
    by_people = [pair for pair in found if pair[1] is not None]
    people, network = np.array([pair[1:] for pair in by_people if pair[2] is not None], np.float64).T
    agreed = bland_altman(network, people, seed=SEED)
    write_bytes(given.out / "heart-ratio.json", to_json(agreed) + b"\n")
    error, low, high = agreed.mean_error, agreed.error_low, agreed.error_high
    print(
        f"{len(found)} films, {len(by_people)} with a ratio by people, {len(people)} by the network; "
        f"mean error {error:+.4f} ({low:+.4f} to {high:+.4f}), limits {agreed.lower:+.4f} to {agreed.upper:+.4f}, "
        f"mean absolute {agreed.mean_absolute_error:.4f}, largest {agreed.largest:.3f}, "
        f"correlation {np.corrcoef(network, people)[0, 1]:.2f}"
    )
    if given.figure:
        draw(given.figure, network, people, agreed)


def trained(given: argparse.Namespace, fold: int, kept: set[str]) -> Path:
    """A folder with the network that saw only the films of these ids, beside the other data."""
    model, run = given.out / f"model-{fold}", given.out / f"run-{fold}"
    if (model / "lungs.onnx").is_file():
        return model
    given.out.mkdir(parents=True, exist_ok=True)
    part = given.out / f"films-{fold}.csv"
    with given.data.joinpath("manifest.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    with part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        for line in table:
            if line["id"] in kept:
                paths = {key: str((given.data / line[key]).resolve()) for key in ("image", "mask", "heart")}
                writer.writerow(line | paths)
    settings = [word for one in (*SHORTER, *given.settings) for word in ("--set", one)]
    data = [word for one in (*given.beside, f"{part}:visible") for word in ("--data", one)]
    again = ["--resume"] if run.is_dir() else []
    lungsight("train", "lungs", "--start", str(given.start), *data, "--out", str(run), *again, *settings)
    lungsight("evaluate", str(run), "--data", f"{part}:visible", "--threshold", "0.5")
    lungsight("export", str(run), "--out", str(model))
    return model


def lungsight(*words: str) -> None:
    """Run a command; stop where it fails."""
    if subprocess.run([sys.executable, "-m", "lungsight", *words, "--quiet"]).returncode:
        raise SystemExit(f"lungsight {words[0]} failed")


def maps_of(
    dataset: Dataset, model: Path
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """The network's maps (N, 3, 256, 256), and people's lungs and hearts (N, 256, 256)."""
    arrays = load_arrays(dataset, (256, 256))
    network = Session(load_bundle(model).lungs, 1)
    hearts = np.stack([heart(row) for row in dataset]).astype(bool)
    return np.stack([*network.maps(np.asarray(arrays.images))]), np.asarray(arrays.masks), hearts


def threshold(run: Path, model: Path, dataset: Dataset) -> float:
    """From which probability on the heart is drawn: the highest mean Dice on the films of the validation part."""
    with (run / "split.csv").open(encoding="utf-8", newline="") as file:
        validation = {line["id"] for line in csv.DictReader(file) if line["part"] == "validation"}
    maps, _, hearts = maps_of(
        dataset.where(lambda row: row.id in validation and row.heart is not None), model
    )
    return float(best_threshold(maps[:, 2], hearts))


def measured(dataset: Dataset, model: Path, at: float) -> list[tuple[str, float | None, float | None]]:
    """Id, ratio by people and ratio by the network of each film; the chest by visible lungs, as people drew them."""
    maps, masks, hearts = maps_of(dataset, model)
    return [
        (row.id, ratio(drawn, mask), ratio(each[2] >= at, find(each[1], 0.5).mask))
        for row, each, mask, drawn in zip(dataset, maps, masks, hearts, strict=True)
    ]


if __name__ == "__main__":
    main()
