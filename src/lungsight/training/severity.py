"""Fit the severity network to readers' scores: features stay as ImageNet left them, ridge regression does the rest.

160 films cannot carry more. The penalty is chosen by cross-validation within the training part of each fold; what is
reported is out of fold, patients apart. The mirror image of a film, with its zones exchanged, is a second example.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lungsight.dataset.readers.delimited import read_table
from lungsight.dataset.table import Dataset, Row
from lungsight.errors import DataError
from lungsight.files import atomic_write
from lungsight.inference.lung_masks import find
from lungsight.inference.severity import MOST, severity_input
from lungsight.inference.zones import ZONES
from lungsight.networks.efficientnet_lite import imagenet_weights
from lungsight.networks.severity import SIZE, SeverityNetwork, ZoneFeatures
from lungsight.preprocess import Gray, apply_mask, resize_mask
from lungsight.progress import ProgressCallback, silent
from lungsight.xray import read_xray

Floats = NDArray[np.float64]

PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0)
MIRRORED = (3, 4, 5, 0, 1, 2)
"""Where the zones of an image stand in its mirror image."""
VIEWS = ("whole", "border", "lungs_black")
"""What the features are taken from: the image; its outer eighth alone; the image with black lungs."""
BORDER = 1 / 8
"""Width of the border on each side, as a fraction of that side."""


@dataclass(frozen=True)
class Scored:
    """Films with readers' scores.

    Attributes:
        rows: N rows of the data set.
        readers: name -> (N, 6) scores of zones A to F, 0 to 3.
    """

    rows: tuple[Row, ...]
    readers: Mapping[str, Floats]

    @property
    def patients(self) -> NDArray[np.str_]:
        """(N,) patient of each, or the image's own id where none is known."""
        return np.array([row.patient or row.id for row in self.rows])


def read_scores(path: Path, dataset: Dataset) -> Scored:
    """Readers' Brixia scores: a CSV with `id` and, for each reader, `READER_A` to `READER_F`.

    Raises:
        DataError: no reader has all six zones, a score is not 0, 1, 2 or 3, or no id is one of the data set's with
            a lung mask.
    """
    header, records = read_table(path)
    names = sorted({name[:-2] for name in header if name[-2:] in {f"_{zone}" for zone in ZONES}})
    names = [name for name in names if all(f"{name}_{zone}" in header for zone in ZONES)]
    if "id" not in header or not names:
        raise DataError(
            "needs the columns id and, for each reader, READER_A to READER_F", where=path, code="columns"
        )
    known = {row.id: row for row in dataset if row.mask is not None}
    rows: list[Row] = []
    scores: dict[str, list[list[float]]] = {name: [] for name in names}
    for line, record in records:
        row = known.get(record["id"].strip())
        if row is None:
            continue
        rows.append(row)
        for name in names:
            cells = [record[f"{name}_{zone}"].strip() for zone in ZONES]
            if any(cell not in ("0", "1", "2", "3") for cell in cells):
                raise DataError(
                    f"line {line}: a zone's score is 0, 1, 2 or 3", where=path, code="score_range"
                )
            scores[name].append([float(cell) for cell in cells])
    if not rows:
        raise DataError("no id is that of an image with a lung mask", where=path, code="no_match")
    return Scored(tuple(rows), {name: np.array(each) for name, each in scores.items()})


def features_of(
    rows: Sequence[Row], view: str = "whole", *, progress: ProgressCallback = silent
) -> tuple[Floats, list[str]]:
    """Features of every film and of its mirror image.

    Args:
        rows: N rows with lung masks.
        view: one of `VIEWS`.

    Returns:
        (2, N, 6, 472): as it is and mirrored, in the zones of the film; NaN where it could not be read. And the ids of
        these.
    """
    network = ZoneFeatures()
    network.backbone.load_state_dict(imagenet_weights())
    network.eval()
    out, failed = np.full((2, len(rows), len(ZONES), 472), np.nan), []
    for index, row in enumerate(rows):
        progress(index, len(rows), f"features, {view}")
        given = _input(row, view)
        if given is None:
            failed.append(row.id)
            continue
        mirrored = given[[0, *(1 + place for place in MIRRORED)], :, ::-1]
        with torch.inference_mode():
            found = network(torch.from_numpy(np.ascontiguousarray(np.stack([given, mirrored]))))
        out[0, index] = found[0].numpy()
        out[1, index] = found[1].numpy()[list(MIRRORED)]
    progress(len(rows), len(rows), f"features, {view}")
    return out, failed


def _input(row: Row, view: str) -> NDArray[np.float32] | None:
    if row.mask is None:
        return None
    pixels = read_xray(row.image).pixels
    mask = row.mask.load()
    labels = find(mask.astype(np.float32), 0.5).small
    return severity_input(seen_in(pixels, resize_mask(mask, pixels.shape), view), labels, SIZE)


def seen_in(pixels: Gray, mask: NDArray[np.bool_], view: str) -> Gray:
    """What is left of an image (H, W) with its lung mask (H, W) in one of `VIEWS`; the rest is black."""
    if view == "whole":
        return pixels
    if view == "lungs_black":
        return apply_mask(pixels, ~mask)
    height, width = pixels.shape
    rim = np.ones(pixels.shape, bool)
    top, left = round(BORDER * height), round(BORDER * width)
    rim[top : height - top, left : width - left] = False
    return apply_mask(pixels, rim)


@dataclass(frozen=True)
class Ridge:
    """A linear model of standardised features: score = (x - mean) / scale @ weights + intercept."""

    mean: Floats
    scale: Floats
    weights: Floats
    intercept: float

    def __call__(self, x: Floats) -> Floats:
        """(..., F) -> (...,), within 0 and 3."""
        return np.clip((x - self.mean) / self.scale @ self.weights + self.intercept, 0, MOST)


def ridge(x: Floats, y: Floats, penalty: float) -> Ridge:
    """Ridge regression of y (M,) on x (M, F), the penalty times M; Hoerl and Kennard, Technometrics 12, 1970."""
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-6
    standard = (x - mean) / scale
    gram = standard.T @ standard + penalty * len(y) * np.eye(x.shape[1])
    return Ridge(mean, scale, np.linalg.solve(gram, standard.T @ (y - y.mean())), float(y.mean()))


def fit(features: Floats, target: Floats, penalty: float) -> Ridge:
    """One model for all zones.

    Args:
        features: (2, N, 6, F), films and their mirror images.
        target: (N, 6).
    """
    x = features.reshape(-1, features.shape[-1])
    return ridge(x, np.concatenate([target.ravel(), target.ravel()]), penalty)


def folds_of(patients: NDArray[np.str_], folds: int, seed: int) -> NDArray[np.int64]:
    """(N,) fold of each film; a patient's films share one."""
    names = np.unique(patients)
    drawn = np.random.default_rng(seed).permutation(len(names)) % folds
    number = dict(zip(names.tolist(), drawn.tolist(), strict=True))
    return np.array([number[name] for name in patients.tolist()])


def choose_penalty(features: Floats, target: Floats, patients: NDArray[np.str_], seed: int) -> float:
    """The penalty with the least absolute error of the total, by five folds over patients."""
    fold = folds_of(patients, 5, seed)
    errors = []
    for penalty in PENALTIES:
        predicted = np.zeros_like(target)
        for number in range(5):
            inside = fold != number
            model = fit(features[:, inside], target[inside], penalty)
            predicted[~inside] = model(features[0, ~inside])
        errors.append(float(np.abs((predicted - target).sum(axis=1)).mean()))
    return PENALTIES[int(np.argmin(errors))]


def out_of_fold(
    features: Floats, target: Floats, patients: NDArray[np.str_], *, folds: int = 10, seed: int = 0
) -> Floats:
    """(N, 6) scores of each film by a model that saw no film of its patient; the penalty chosen within each fold."""
    fold, predicted = folds_of(patients, folds, seed), np.zeros_like(target)
    for number in range(folds):
        inside = fold != number
        penalty = choose_penalty(features[:, inside], target[inside], patients[inside], seed)
        predicted[~inside] = fit(features[:, inside], target[inside], penalty)(features[0, ~inside])
    return predicted


def network_of(model: Ridge) -> SeverityNetwork:
    """The network that computes what the model does, ImageNet's weights inside."""
    network = SeverityNetwork()
    network.features.backbone.load_state_dict(imagenet_weights())
    weights = model.weights / model.scale
    with torch.no_grad():
        network.linear.weight.copy_(torch.from_numpy(weights)[None].float())
        network.linear.bias.fill_(model.intercept - float(weights @ model.mean))
    return network.eval()


def write_scores(path: Path, scored: Scored, predicted: Floats) -> None:
    """A CSV of the out-of-fold scores beside the readers'."""
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        readers = list(scored.readers)
        writer.writerow(["id", "patient", *ZONES, "total", *readers])
        for index, row in enumerate(scored.rows):
            each = [f"{value:.3f}" for value in predicted[index]]
            totals = [f"{scored.readers[name][index].sum():g}" for name in readers]
            writer.writerow([row.id, row.patient, *each, f"{predicted[index].sum():.3f}", *totals])
