"""How fast training is, and how much of it the network waits for its images.

    python benchmarks/training.py                              # drawn X-rays
    python benchmarks/training.py --data FOLDER --width 0.25   # a data set; the paper's U-Net at a quarter width

Run it on a machine with nothing else to do. Images are decoded before the clock starts, as in any training run; what
is waited for is shuffling, augmenting and stacking them. The goal is a share under 5 %.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import torch

from lungsight.config import Recipe, load_recipe
from lungsight.dataset import Dataset, read_dataset
from lungsight.phantom import write_phantoms
from lungsight.training import make_split, train

GOAL = 0.05


def main() -> None:
    """Measure and print a table."""
    arguments = parse()
    with tempfile.TemporaryDirectory(prefix="lungsight-benchmark-") as name:
        scratch = Path(name)
        data = arguments.data
        if data is None:
            data = scratch / "phantoms"
            write_phantoms(data, count=arguments.count, seed=1, shortcut=0.5, size=256)
        dataset = read_dataset(data)
        if arguments.data is not None and arguments.count < len(dataset):
            # Evenly over the table, which is often sorted by source.
            step = len(dataset) / arguments.count
            dataset = Dataset(
                dataset.root,
                dataset.layout,
                tuple(dataset.rows[int(place * step)] for place in range(arguments.count)),
            )
        threads = f"{torch.get_num_threads()} threads of {os.cpu_count()} cores"
        print(f"{len(dataset)} images of {dataset.root.name}; {threads}")
        print(f"{'recipe':24}{'width':>7}{'batch':>7}{'images/s':>10}{'waiting':>10}")
        for recipe in (
            chosen("paper-segmentation", arguments.width, arguments.epochs),
            chosen("lungs", 1.0, arguments.epochs),
        ):
            speed, waiting = measure(recipe, dataset, scratch / recipe.name)
            verdict = "" if waiting < GOAL else f"  over {GOAL:.0%}"
            print(
                f"{recipe.name:24}{recipe.network.width:7g}{recipe.training.batch:7d}{speed:10.1f}{waiting:10.2%}{verdict}"
            )


def chosen(name: str, width: float, epochs: int) -> Recipe:
    """A shipped recipe at a width, for some epochs."""
    return load_recipe(name).with_settings(**{"network.width": width, "training.epochs": epochs})


def measure(recipe: Recipe, dataset: Dataset, out: Path) -> tuple[float, float]:
    """Training images a second (validation and checkpoints included), and the share of time spent waiting."""
    run = train(recipe, dataset, out)
    images = len(make_split(dataset, recipe).train) * len(run.history)
    return images / run.seconds, run.data_wait_fraction


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="a data set; default: drawn X-rays")
    parser.add_argument("--count", type=int, default=120, help="at most so many images")
    parser.add_argument("--width", type=float, default=0.125, help="of the paper's U-Net")
    parser.add_argument("--epochs", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
