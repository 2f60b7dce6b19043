"""Small fixed models that show what can be had from a part of the images: scores out of fold, patients apart."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from lungsight.audit.records import Settings
from lungsight.dataset.table import Row
from lungsight.preprocess import resize_image

THUMBNAIL, GREYS = 32, 64
BATCH, RATE = 32, 3e-3
WEIGHT_LIMIT = 10.0
RIDGE = 0.3
"""Penalty of ridge regression, as a fraction of the mean squared length of a standardised image."""

Fit = Callable[[NDArray[Any], NDArray[np.bool_], NDArray[Any], int], NDArray[np.float64]]
"""Training inputs, their labels, test inputs and a seed -> scores of the test inputs.

Images are (N, h, w) uint8, features (N, K) float32."""


class ProbeNetwork(nn.Sequential):
    """Four strided 3x3 convolutions with batch normalisation, mean over positions, one linear unit.

    Shape: (N, 1, h, w) in [0, 1] -> (N, 1) logits.
    """

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        previous = 1
        for count in (16, 32, 64, 64):
            layers += [
                nn.Conv2d(previous, count, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(count),
                nn.ReLU(inplace=True),
            ]
            previous = count
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(previous, 1))


def network_fit(settings: Settings) -> Fit:
    """A `Fit` with the probe network: AdamW, one cycle of the learning rate, classes weighed alike."""

    def fit(
        inputs: NDArray[Any], labels: NDArray[np.bool_], test: NDArray[Any], seed: int
    ) -> NDArray[np.float64]:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = ProbeNetwork().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            steps = -(-len(inputs) // BATCH)
            epochs = max(settings.epochs, -(-settings.min_steps // steps))
            optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=1e-2)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=epochs * steps)
            weight = torch.tensor(min(WEIGHT_LIMIT, (~labels).sum() / max(labels.sum(), 1)))
            rng = np.random.default_rng(seed)
            for _ in range(epochs):
                order = rng.permutation(len(inputs))
                for start in range(0, len(order), BATCH):
                    chosen = order[start : start + BATCH]
                    target = torch.from_numpy(labels[chosen].astype(np.float32))
                    logits = network(_tensor(inputs[chosen])).squeeze(1)
                    loss = F.binary_cross_entropy_with_logits(logits, target, pos_weight=weight)
                    optimiser.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimiser.step()
                    schedule.step()
            network.eval()
            with torch.inference_mode():
                parts = [network(_tensor(test[i : i + 256])).squeeze(1) for i in range(0, len(test), 256)]
        return torch.cat(parts).double().numpy()

    return fit


def _tensor(images: NDArray[np.uint8]) -> torch.Tensor:
    batch = torch.from_numpy(np.array(images)).unsqueeze(1).float() / 255
    return batch.contiguous(memory_format=torch.channels_last)


def logistic_fit(
    inputs: NDArray[Any], labels: NDArray[np.bool_], test: NDArray[Any], seed: int
) -> NDArray[np.float64]:
    """A `Fit` by logistic regression on standardised values, strongly regularised, classes weighed alike."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=300))
    with warnings.catch_warnings():
        # A fit that stops after 300 steps ranks as well as one that goes on.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(inputs.reshape(len(inputs), -1), labels)
    return np.asarray(model.decision_function(test.reshape(len(test), -1)), np.float64)


def ridge_weights(inputs: NDArray[Any], labels: NDArray[np.bool_]) -> tuple[NDArray[np.float64], float]:
    """Ridge regression of the class, classes weighed alike, solved in the smaller of its two forms.

    Args:
        inputs: (N, K) features.
        labels: (N,).

    Returns:
        (K,) weights and the constant: a score is `inputs @ weights + constant`.
    """
    mean = inputs.mean(axis=0, dtype=np.float64)
    spread = inputs.std(axis=0, dtype=np.float64)
    scaled = (inputs - mean) / np.where(spread > 1e-6, spread, np.inf)
    balance = np.where(labels, 0.5 / max(labels.sum(), 1), 0.5 / max((~labels).sum(), 1)) * len(labels)
    target = np.where(labels, 1.0, -1.0) * balance
    target -= target.mean()
    wide = scaled.shape[1] > scaled.shape[0]
    kernel = scaled @ scaled.T if wide else scaled.T @ scaled
    # The two kernels have one trace: the penalty is a fraction of the mean over the images.
    kernel[np.diag_indices_from(kernel)] += RIDGE * kernel.trace() / len(scaled) + 1e-9
    solved = np.linalg.solve(kernel, target if wide else scaled.T @ target)
    weights = scaled.T @ solved if wide else solved
    weights = weights / np.where(spread > 1e-6, spread, np.inf)
    return weights, float(-(mean @ weights))


def ridge_fit(
    inputs: NDArray[Any], labels: NDArray[np.bool_], test: NDArray[Any], seed: int
) -> NDArray[np.float64]:
    """A `Fit` by ridge regression: a hundred times faster than a network, and enough for what is plain."""
    flat = inputs.reshape(len(inputs), -1)
    weights, constant = ridge_weights(flat, labels)
    return np.asarray(test.reshape(len(test), -1) @ weights + constant, np.float64)


def thumbnails(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, H, W) uint8 -> (N, 1024), the image at 32 x 32, in [0, 1]."""
    small = np.stack([resize_image(image, (THUMBNAIL, THUMBNAIL)) for image in images])
    return np.asarray(small.reshape(len(small), -1), np.float32) / np.float32(255)


def histograms(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, H, W) uint8 -> (N, 64), the share of pixels of each grey level."""
    counts = [np.bincount(image.ravel() // (256 // GREYS), minlength=GREYS) for image in images]
    return np.asarray(np.stack(counts) / images[0].size, np.float32)


def standardised_ranks(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """(K,) ranks in (0, 1), equal scores alike: models of two folds need not share a scale."""
    order = np.argsort(np.argsort(scores, kind="stable"), kind="stable")
    _, inverse = np.unique(scores, return_inverse=True)
    mean_rank = np.bincount(inverse, weights=order) / np.bincount(inverse)
    return np.asarray((mean_rank[inverse] + 0.5) / len(scores))


def subsample(rows: Sequence[Row], limit: int, seed: int) -> NDArray[np.intp]:
    """Indices of at most `limit` rows: the rarer (source, class) whole, the commonest drawn from at random."""
    names = np.array([f"{row.source}\x1f{row.positive}" for row in rows])
    if len(rows) <= limit:
        return np.arange(len(rows))
    rng = np.random.default_rng((seed, 11))
    kept: list[NDArray[np.intp]] = []
    left = limit
    groups = sorted(np.unique(names), key=lambda name: int((names == name).sum()))
    for number, name in enumerate(groups):
        here = np.flatnonzero(names == name)
        share = left // (len(groups) - number)
        taken = here if here.size <= share else rng.choice(here, share, replace=False)
        kept.append(taken)
        left -= taken.size
    return np.sort(np.concatenate(kept))
