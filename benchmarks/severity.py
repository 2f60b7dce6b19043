"""What else was tried for the severity network, each by the same ten folds over patients, all choices within the fold.

    python benchmarks/severity.py --data $DATA --scores $DATA/brixia.csv --cache runs/severity-features

Every variant predicts each film from films of other patients; penalties and calibration are chosen by five folds
within the training part. The last line chooses among the variants within each fold, which is what picking the best of
a table is worth. Features are computed once and kept in `--cache`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch.nn import functional as F

from lungsight.config import load_recipe
from lungsight.dataset.read import read_dataset
from lungsight.evaluation.severity import agreement
from lungsight.inference.lung_masks import find
from lungsight.inference.severity import severity_input
from lungsight.inference.zones import ZONES
from lungsight.networks import LungHeartUNet
from lungsight.networks.efficientnet_lite import imagenet_weights
from lungsight.networks.severity import ZoneFeatures
from lungsight.preprocess import to_unit
from lungsight.training.severity import MIRRORED, Scored, folds_of, read_scores
from lungsight.xray import read_xray

Floats = NDArray[np.float64]
SIZES = (224, 320)
PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0)
CELLS = (2, 4, 8, 16, 32)


def main() -> None:
    """Compute features, cross-validate every variant, print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--lungs", type=Path, help="safetensors, as wide as the recipe 'lungs'")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    scored = read_scores(arguments.scores, read_dataset(arguments.data))
    arguments.cache.mkdir(parents=True, exist_ok=True)
    features = {
        name: cached(arguments.cache / f"{name}.npy", lambda make=make: make(scored))
        for name, make in makers(arguments.lungs).items()
    }
    target = np.mean(list(scored.readers.values()), axis=0)
    senior = scored.readers["senior"]
    patients = scored.patients
    variants = build(features, target, senior)
    fold = folds_of(patients, 10, arguments.seed)
    inner_errors = np.full((10, len(variants)), np.nan)
    table = {name: np.zeros(len(patients)) for name in variants}
    for number in range(10):
        inside = fold != number
        for column, (name, variant) in enumerate(variants.items()):
            within = folds_of(patients[inside], 5, arguments.seed)
            total, error = variant(np.flatnonzero(inside), np.flatnonzero(~inside), within)
            table[name][~inside] = total
            inner_errors[number, column] = error
    chosen = inner_errors.argmin(axis=1)
    names = list(variants)
    table["the best within each fold"] = np.array(
        [table[names[chosen[number]]][index] for index, number in enumerate(fold)]
    )
    judged = senior.sum(axis=1)
    for name, totals in table.items():
        one = agreement(name, totals, judged, patients, seed=arguments.seed)
        print(
            f"{name:60} {one.mean_absolute_error:.2f} ({one.error_low:.2f} to {one.error_high:.2f}), "
            f"r {one.correlation:.2f}, bias {one.bias:+.2f}",
            flush=True,
        )


def cached(path: Path, make: Callable[[], Floats]) -> Floats:
    """What is kept, or what is made and kept."""
    if path.exists():
        return np.load(path)
    made = make()
    np.save(path, made)
    return made


def makers(lungs: Path | None) -> dict[str, Callable[[Scored], Floats]]:
    """Features by name: each (2, N, 6, F), films and their mirror images in the zones of the film."""
    made: dict[str, Callable[[Scored], Floats]] = {
        f"imagenet-{size}": lambda scored, size=size: imagenet(scored, size) for size in SIZES
    }
    made["opacity"] = opacity
    if lungs is not None:
        made["encoder"] = lambda scored: encoder(scored, lungs)
    return made


def each(scored: Scored, size: int):  # type: ignore[no-untyped-def]
    """Input of each film and of its mirror image: (7, size, size)."""
    for row in scored.rows:
        labels = find(row.mask.load().astype(np.float32), 0.5).small
        given = severity_input(read_xray(row.image).pixels, labels, (size, size))
        assert given is not None
        yield given, given[[0, *(1 + place for place in MIRRORED)], :, ::-1].copy()


def both(scored: Scored, size: int, work: Callable[[NDArray[np.float32]], Floats]) -> Floats:
    """Features of films and mirror images by a function of one input."""
    pairs = [(work(plain), work(mirrored)[list(MIRRORED)]) for plain, mirrored in each(scored, size)]
    return np.stack([np.stack(side) for side in zip(*pairs, strict=True)])


def imagenet(scored: Scored, size: int) -> Floats:
    """Frozen EfficientNet-Lite0, as the shipped network, at another size of the image."""
    network = ZoneFeatures()
    network.backbone.load_state_dict(imagenet_weights())
    network.eval()

    def work(given: NDArray[np.float32]) -> Floats:
        with torch.inference_mode():
            return network(torch.from_numpy(given[None]))[0].double().numpy()

    return both(scored, size, work)


def encoder(scored: Scored, weights: Path) -> Floats:
    """The five levels of the lung network's encoder, averaged over each zone."""
    network = LungHeartUNet(load_recipe("lungs").network.width)
    network.load_state_dict(load_file(weights))
    network.eval()

    def work(given: NDArray[np.float32]) -> Floats:
        zones = torch.from_numpy(given[None, 1:])
        found = []
        with torch.inference_mode():
            x = network.stem(network.standardise(torch.from_numpy(given[None, :1])))
            for level, block in enumerate(network.down):
                x = block(F.max_pool2d(x, 2) if level else x)
                weight = F.avg_pool2d(zones, CELLS[level])
                weight = weight / weight.sum(dim=(2, 3), keepdim=True).clamp_min(1e-6)
                found.append(weight.flatten(2) @ x.flatten(2).transpose(1, 2))
        return torch.cat(found, dim=2)[0].double().numpy()

    return both(scored, 256, work)


def opacity(scored: Scored) -> Floats:
    """Grey values of each zone against the lungs' own: quantiles, spread, differences from the clearest zone."""

    def work(given: NDArray[np.float32]) -> Floats:
        image, maps = to_unit(given[0]), given[1:]
        lungs = image[maps.sum(axis=0) > 0.5]
        middle, spread = np.median(lungs), lungs.std() + 1e-6
        quantiles = np.stack(
            [(np.quantile(image[one > 0.5], (0.1, 0.25, 0.5, 0.75, 0.9)) - middle) / spread for one in maps]
        )
        texture = np.stack([[image[one > 0.5].std() / spread] for one in maps])
        clearest = quantiles[:, 2].min()
        across = quantiles[[MIRRORED[zone] for zone in range(6)], 2]
        more = np.stack([quantiles[:, 2] - clearest, quantiles[:, 2] - across], axis=1)
        return np.concatenate([quantiles, texture, more], axis=1).astype(np.float64)

    return both(scored, 224, work)


Variant = Callable[[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]], tuple[Floats, float]]
"""(training films, films to predict, five folds of the training films) -> totals, and its error within."""


def regress(x: Floats, y: Floats, tests: list[Floats], width: float | None) -> list[Floats]:
    """Ridge regression, linear or with a Gaussian kernel of `width`: for each of `PENALTIES` the answers to `tests`."""
    mean, scale, level = x.mean(axis=0), x.std(axis=0) + 1e-6, y.mean()
    x, tests = (x - mean) / scale, [(test - mean) / scale for test in tests]
    if width is not None:
        square = (x**2).sum(axis=1)
        gaussian = [
            np.exp(-((test**2).sum(axis=1)[:, None] + square - 2 * test @ x.T) / (2 * width**2 * x.shape[1]))
            * x.shape[1]
            for test in (x, *tests)
        ]
        gram, right, tests = gaussian[0], y - level, gaussian[1:]
    else:
        gram, right = x.T @ x, x.T @ (y - level)
    out = []
    for penalty in PENALTIES:
        weights = np.linalg.solve(gram + penalty * len(y) * np.eye(len(gram)), right)
        out.append(np.clip(np.concatenate([test @ weights for test in tests]) + level, 0, 3))
    return out


def zonewise(
    features: Floats, target: Floats, *, width: float | None = None, mirror: bool = True
) -> Callable[[NDArray[np.int64], NDArray[np.int64]], Floats]:
    """Zone scores (penalties, N, 6) of films by one regression over all zones.

    A Gaussian kernel learns from the films alone, not from their mirror images, to stay small. `mirror`: the answer is
    the mean over the film and its mirror image.
    """

    def predict(train: NDArray[np.int64], test: NDArray[np.int64]) -> Floats:
        sides = (0,) if width is not None else (0, 1)
        x = np.concatenate([features[side, train].reshape(-1, features.shape[-1]) for side in sides])
        y = np.concatenate([target[train].ravel() for _ in sides])
        seen = [features[side, test].reshape(-1, features.shape[-1]) for side in ((0, 1) if mirror else (0,))]
        found = np.stack(regress(x, y, seen, width)).reshape(len(PENALTIES), len(seen), len(test), 6)
        return found.mean(axis=1)

    return predict


def build(features: dict[str, Floats], target: Floats, senior: Floats) -> dict[str, Variant]:
    """Every variant by its name."""
    small, large = features["imagenet-224"], features["imagenet-320"]
    wide = np.concatenate([small, large], axis=-1)
    grey = np.concatenate([small, np.repeat(features["opacity"], 3, axis=-1)], axis=-1)
    relative = np.concatenate([small, small - small.min(axis=2, keepdims=True)], axis=-1)
    place = np.broadcast_to(3 * np.eye(6), (*small.shape[:2], 6, 6))
    placed = np.concatenate([small, place], axis=-1)
    context = np.concatenate([small, np.repeat(small.mean(axis=2, keepdims=True), 6, axis=2)], axis=-1)
    simple = {
        "as shipped (ridge, 224)": zonewise(small, target, mirror=False),
        "the same, mean over film and mirror image": zonewise(small, target),
        "320": zonewise(large, target),
        "224 and 320 side by side": zonewise(wide, target),
        "Gaussian kernel, 224": zonewise(small, target, width=1.0),
        "Gaussian kernel, 224 and 320": zonewise(wide, target, width=1.0),
        "224 and which zone it is": zonewise(placed, target),
        "224 and opacity measures": zonewise(grey, target),
        "224 and the difference from the clearest zone": zonewise(relative, target),
        "224 and the mean over all zones": zonewise(context, target),
        "opacity measures alone": zonewise(features["opacity"], target),
    }
    if "encoder" in features:
        lungs = features["encoder"]
        simple["encoder of the lung network alone"] = zonewise(lungs, target)
        joined = np.concatenate([wide, lungs], axis=-1)
        simple["224, 320 and the lung network's encoder"] = zonewise(joined, target)
        simple["the same, Gaussian kernel"] = zonewise(joined, target, width=1.0)
    judged = senior.sum(axis=1)
    variants = {name: chosen(predict, judged) for name, predict in simple.items()}
    for name in ("224 and 320 side by side", "the same, Gaussian kernel", "Gaussian kernel, 224 and 320"):
        if name in simple:
            variants[f"{name}, total calibrated"] = chosen(simple[name], judged, calibrate=True)
    return variants


def chosen(predict, judged: Floats, *, calibrate: bool = False) -> Variant:  # type: ignore[no-untyped-def]
    """The penalty by five folds within the training films; with a line from total to the reader's, if asked."""

    def variant(
        train: NDArray[np.int64], test: NDArray[np.int64], within: NDArray[np.int64]
    ) -> tuple[Floats, float]:
        held = None
        for number in range(5):
            found = predict(train[within != number], train[within == number]).sum(axis=2)
            held = np.zeros((len(found), len(train))) if held is None else held
            held[:, within == number] = found
        assert held is not None
        lines = [np.polyfit(each, judged[train], 1) if calibrate else (1.0, 0.0) for each in held]
        errors = [
            np.abs(slope * each + shift - judged[train]).mean()
            for each, (slope, shift) in zip(held, lines, strict=True)
        ]
        best = int(np.argmin(errors))
        slope, shift = lines[best]
        totals = slope * predict(train, test)[best].sum(axis=1) + shift
        return np.clip(totals, 0, 3 * len(ZONES)), float(errors[best])

    return variant


if __name__ == "__main__":
    main()
