"""What a budget can buy: the paper's networks trained for the same seconds of one core, in different ways.

    python benchmarks/budget.py --data $DATA --out runs/budget.jsonl --seconds 240
    python benchmarks/budget.py --data $DATA --out runs/budget.jsonl --seconds 240 --only half-8,full-16
    python benchmarks/budget.py --costs          # seconds of a training image, by width, side, batch and memory format
    python benchmarks/budget.py --wide           # the same for wide networks, on all cores, in kept memory too

The U-Net trains on the paper's smaller training set (500 others and 70 % of the COVID-19 images), the CNN on the larger
one, both without the images that judge them: those of a quarter of the patients with COVID-19 (and, for the CNN, of a
quarter of the others), taken out of the paper's **training** part. The part that the paper reports on is never opened.
Seconds are of the processor, on one thread, so that other work on the machine counts little. One JSON line a run is
appended to `--out`; runs that it holds are passed over, so that the same command continues.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from lungsight.config import Recipe, load_recipe
from lungsight.dataset import Dataset, read_dataset
from lungsight.metrics import auroc
from lungsight.training import make_split, prepare
from lungsight.training.data import Batches, Examples
from lungsight.training.memory import kept_memory
from lungsight.training.module import TrainingModule, overlap_counts

Indices = NDArray[np.int64]
ALIVE_BY, EMA_DECAY, JUDGED = 320, 0.99, 80


@dataclass(frozen=True)
class Arm:
    """One way to spend the time."""

    name: str
    width: float
    half: float = 0.0
    """Share of the time at half the side, at the beginning."""
    batch: int = 8
    rate: float = 1e-3
    schedule: str = "cosine"
    recipe: str = "paper-segmentation-500"


CNN = "paper-diagnosis"
ARMS = (
    Arm("full-16", 1 / 16),
    Arm("half-8", 1 / 8, half=0.75),
    Arm("full-8", 1 / 8),
    Arm("half-8-batch-2", 1 / 8, half=0.75, batch=2),
    Arm("half-8-batch-4", 1 / 8, half=0.75, batch=4),
    Arm("less-half-8-batch-4", 1 / 8, half=0.5, batch=4),
    Arm("half-4", 1 / 4, half=0.85),
    Arm("half-16", 1 / 16, half=0.75),
    Arm("half-16-batch-2", 1 / 16, half=0.75, batch=2),
    Arm("half-16-batch-4", 1 / 16, half=0.75, batch=4),
    Arm("half-16-batch-1", 1 / 16, half=0.75, batch=1),
    Arm("half-16-rate-3", 1 / 16, half=0.75, rate=3e-3),
    Arm("half-8-rate-3", 1 / 8, half=0.75, rate=3e-3),
    Arm("full-16-batch-2", 1 / 16, batch=2),
    Arm("full-16-constant", 1 / 16, schedule="constant"),
    Arm("half-8-constant", 1 / 8, half=0.75, schedule="constant"),
    Arm("full-4", 1 / 4),
    Arm("cnn-1", 1.0, recipe=CNN, batch=32, schedule="constant"),
    Arm("cnn-1-cosine", 1.0, recipe=CNN, batch=32),
    Arm("cnn-4", 1 / 4, recipe=CNN, batch=32, schedule="constant"),
    Arm("cnn-4-cosine", 1 / 4, recipe=CNN, batch=32),
    Arm("cnn-2-cosine", 1 / 2, recipe=CNN, batch=32),
    Arm("cnn-8-cosine", 1 / 8, recipe=CNN, batch=32),
)


def main() -> None:
    """Run what is not in the file yet, one line a run."""
    arguments = parse()
    if arguments.wide:
        wide_costs()
        return
    torch.set_num_threads(1)
    if arguments.costs:
        costs()
        return
    if arguments.data is None or arguments.out is None:
        raise SystemExit("--data and --out are needed, or --costs")
    done = read_lines(arguments.out)
    names = arguments.only.split(",") if arguments.only else [arm.name for arm in ARMS]
    wanted = [{arm.name: arm for arm in ARMS}[name] for name in names]
    dataset = read_dataset(arguments.data)
    ready: dict[str, tuple[Recipe, Examples, Indices, Indices]] = {}
    for arm in wanted:
        key = {"arm": asdict(arm), "seed": arguments.seed, "seconds": arguments.seconds}
        if any(all(line.get(name) == value for name, value in key.items()) for line in done):
            continue
        if arm.recipe not in ready:
            ready[arm.recipe] = load(dataset, arm.recipe, arguments.seed, arguments.out.parent / "cache")
        line = key | spend(arm, *ready[arm.recipe], arguments.seconds)
        with arguments.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)


def costs() -> None:
    """Print what a training image of the U-Net takes: processor time, the best of two steps after one to warm up."""
    print(f"{'width':>7}{'side':>6}{'batch':>7}{'channels':>10}{'ms an image':>13}")
    for width in (1 / 16, 1 / 8, 1 / 4):
        for side, batch, last in (
            (256, 8, True),
            (256, 8, False),
            (256, 2, True),
            (128, 8, True),
            (128, 2, True),
        ):
            taken = steps(width, side, batch, last, count=2)
            words = "last" if last else "first"
            print(f"{width:7g}{side:6}{batch:7}{words:>10}{1000 * taken.processor / batch:13.1f}", flush=True)


def wide_costs(batch: int = 4) -> None:
    """The same at 256 x 256 in batches of four, in seconds that pass: the better of two steps after one to warm up."""
    print(f"{'width':>7}{'channels':>10}{'memory':>12}{'s an image':>12}")
    for width in (1.0, 0.5, 0.25):
        for last in (True, False):
            for device, words in (("another", "given back"), ("cpu", "kept")):
                with kept_memory(device):
                    taken = steps(width, 256, batch, last, count=2)
                row = f"{width:7g}{'last' if last else 'first':>10}{words:>12}{taken.passed / batch:12.2f}"
                print(row, flush=True)


class Taken(NamedTuple):
    """Seconds of the quickest training step."""

    passed: float
    processor: float


def steps(width: float, side: int, batch: int, last: bool, count: int) -> Taken:
    """Time `count` training steps after one to warm up."""
    torch.manual_seed(0)
    kind = torch.channels_last if last else torch.contiguous_format
    recipe = load_recipe("paper-segmentation", [f"network.width={width}"])
    network = TrainingModule(recipe, steps=1).network.to(memory_format=kind)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(network.parameters())
    images = torch.rand(batch, 3, side, side).contiguous(memory_format=kind)
    target = (torch.rand(batch, 1, side, side) > 0.5).float()
    taken = []
    for _ in range(count + 1):
        begun, worked = time.monotonic(), time.process_time()
        loss = F.binary_cross_entropy_with_logits(network(images), target)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        taken.append(Taken(time.monotonic() - begun, time.process_time() - worked))
    return min(taken[1:])


def load(dataset: Dataset, name: str, seed: int, cache: Path) -> tuple[Recipe, Examples, Indices, Indices]:
    """A recipe, its images, and which of its training part train and judge here."""
    recipe = load_recipe(name, [f"training.seed={seed}"])
    rows, examples, _ = prepare(dataset, recipe, cache=cache)
    part = make_split(rows, recipe).train
    rng = np.random.default_rng(seed)
    taken: set[str] = set()
    for covid in (True, False):
        people = sorted({rows.rows[i].patient for i in part if bool(rows.rows[i].covid) == covid})
        taken |= set(rng.permutation(people)[: len(people) // 4].tolist())
    judge = [
        i for i in part if rows.rows[i].patient in taken and (recipe.task != "lungs" or rows.rows[i].covid)
    ]
    train = [i for i in part if rows.rows[i].patient not in taken]
    if recipe.task == "lungs":
        judge = judge[:JUDGED]
    return recipe, examples, np.array(train), np.array(judge)


def spend(
    arm: Arm, recipe: Recipe, examples: Examples, train: Indices, judge: Indices, seconds: float
) -> dict[str, Any]:
    """Train one arm, from the first seed that lives, and judge its weights and their moving average."""
    for seed in range(recipe.training.seed, recipe.training.seed + 10):
        changes = {"network.width": arm.width, "training.batch": arm.batch, "training.seed": seed}
        network = fit(arm, recipe.with_settings(**changes), examples, train, seconds)
        if network is not None:
            last, mean, facts = network
            judged = Batches(examples, judge, recipe.with_settings(**{"training.batch": 8}), training=False)
            found = {"weights": evaluate(last, judged, recipe), "average": evaluate(mean, judged, recipe)}
            return facts | {"network_seed": seed, "train": len(train), "judge": len(judge)} | found
    raise SystemExit(f"{arm.name}: no seed of ten lives")


def fit(
    arm: Arm, recipe: Recipe, examples: Examples, train: Indices, seconds: float
) -> tuple[nn.Module, nn.Module, dict[str, Any]] | None:
    """Last weights, their average, and what was done; None for a dead start."""
    torch.manual_seed(recipe.training.seed)
    module = TrainingModule(recipe, steps=1)
    network, mean = module.network, copy.deepcopy(module.network)
    optimiser = torch.optim.Adam(network.parameters(), lr=arm.rate, eps=1e-7)
    begun, images, steps = time.process_time(), 0, 0
    losses: list[float] = []
    shares: list[float] = []
    for inputs, target in endless(examples, train, recipe):
        spent = (time.process_time() - begun) / seconds
        if spent >= 1:
            break
        if arm.schedule == "cosine":
            rate = arm.rate * min(1, spent * 25 + 0.01) * (0.5 * (1 + math.cos(math.pi * spent)) + 1e-3)
            optimiser.param_groups[0]["lr"] = rate
        if spent < arm.half:
            inputs, target = F.avg_pool2d(inputs, 2), (F.avg_pool2d(target, 2) >= 0.5).float()
        loss = F.binary_cross_entropy_with_logits(network(inputs), target)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        with torch.no_grad():
            for old, new in zip(mean.parameters(), network.parameters(), strict=True):
                old.lerp_(new, 1 - min(EMA_DECAY, (1 + steps) / (10 + steps)))
        images, steps = images + len(inputs), steps + 1
        losses.append(loss.item())
        shares.append(float(target.mean()))
        late = images - len(inputs) < ALIVE_BY <= images
        if late and recipe.task == "lungs" and dead(losses[3 * steps // 4 :], shares[3 * steps // 4 :]):
            return None
    facts = {"images": images, "steps": steps, "loss": round(float(np.mean(losses[-20:])), 4)}
    return network.eval(), mean.eval(), facts


def endless(examples: Examples, train: Indices, recipe: Recipe) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of one epoch after the other."""
    epoch = 0
    while True:
        batches = Batches(examples, train, recipe, training=True, epoch=epoch)
        yield from (batches[number] for number in range(len(batches)))
        epoch += 1


def dead(losses: list[float], shares: list[float]) -> bool:
    """Whether the loss is that of the best constant, as `lungsight.paper.budget.first_live_seed` tells."""
    share = float(np.mean(shares))
    constant = -share * math.log(share) - (1 - share) * math.log(1 - share)
    return float(np.mean(losses)) >= 0.93 * constant


@torch.no_grad()
def evaluate(network: nn.Module, batches: Batches, recipe: Recipe) -> dict[str, float]:
    """Mean Dice and IoU of images at the recipe's threshold, or the AUROC."""
    shown = [batches[number] for number in range(len(batches))]
    if recipe.task == "lungs":
        counts = torch.cat([overlap_counts(network(x), y, recipe.evaluation.threshold) for x, y in shown])
        both, predicted, true = counts.T
        dice = (2 * both / (predicted + true)).mean()
        return {
            "dice": round(float(dice), 4),
            "iou": round(float((both / (predicted + true - both)).mean()), 4),
        }
    scores = torch.cat([network(x) for x, _ in shown]).flatten().double().numpy()
    truth = torch.cat([y for _, y in shown]).flatten().numpy() > 0.5
    return {"auroc": round(float(auroc(scores, truth)), 4)}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The runs that a file holds; none where there is no file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, help="one JSON line a run")
    parser.add_argument("--costs", action="store_true", help="time steps, train nothing")
    parser.add_argument("--wide", action="store_true", help="time steps of wide networks, train nothing")
    parser.add_argument("--seconds", type=float, default=600, help="of the processor, a run")
    parser.add_argument("--only", default="", help="names of runs, with commas between")
    parser.add_argument("--seed", type=int, default=2020)
    return parser.parse_args()


if __name__ == "__main__":
    main()
