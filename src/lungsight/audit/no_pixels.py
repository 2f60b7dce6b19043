"""Models that see no pixel: source, sub-source, file header, age, sex and view. Scores out of fold, patients apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsight.audit.statistics import Bools, Floats, patients_of, truth_of
from lungsight.dataset.table import Row

Values = NDArray[Any]

TREES = 100
LEAF = 8
"""Images in a leaf at least: a forest that may single out an image learns nothing that carries over."""
MOST_TRAINING = 20_000
"""Images that a forest is trained on; more are drawn from at random."""
PRIOR = 1.0
"""Images' worth of the overall fraction that is mixed into each category's own."""


def folds_by_patient(rows: Sequence[Row], folds: int, seed: int) -> NDArray[np.int64]:
    """(N,) number of the fold of each image; patients wholly in one, each fold with its fraction of either class.

    Folds are not stratified by source: that would give a held-out fold the same class fraction for every source as
    the training folds have, and a source that says nothing would seem to say something.
    """
    rng = np.random.default_rng((seed, 13))
    patients = patients_of(rows)
    members: dict[str, list[int]] = defaultdict(list)
    for index in range(len(rows)):
        members[patients[index]].append(index)
    truth = truth_of(rows)
    groups: dict[bool, list[list[int]]] = {True: [], False: []}
    for images in members.values():
        groups[bool(truth[images].any())].append(images)
    found = np.empty(len(rows), np.int64)
    for clusters in groups.values():
        held = np.zeros(folds)
        for position in rng.permutation(len(clusters)):
            fold = int(rng.choice(np.flatnonzero(held == held.min())))
            found[clusters[position]] = fold
            held[fold] += len(clusters[position])
    return found


def fractions_of(values: Values, truth: Bools, folds: NDArray[np.int64]) -> Floats:
    """(N,) each image's score: the fraction of positives among training images of the same category.

    A category that was not seen in training counts as the mean.
    """
    score = np.empty(len(values))
    names, codes = np.unique(values, return_inverse=True)
    for fold in np.unique(folds):
        train, test = folds != fold, folds == fold
        overall = float(truth[train].mean()) if train.any() else 0.5
        count = np.bincount(codes[train], minlength=len(names))
        positive = np.bincount(codes[train], weights=truth[train], minlength=len(names))
        score[test] = ((positive + PRIOR * overall) / (count + PRIOR))[codes[test]]
    return score


def forest(features: Floats, truth: Bools, folds: NDArray[np.int64], seed: int) -> Floats:
    """(N,) scores of a random forest on (N, K) features; NaN is a value of its own."""
    from sklearn.ensemble import RandomForestClassifier

    filled = np.where(np.isfinite(features), features, -1.0)
    score = np.full(len(features), 0.5)
    for fold in np.unique(folds):
        train, test = np.flatnonzero(folds != fold), folds == fold
        if len(train) > MOST_TRAINING:
            train = np.random.default_rng((seed, 19)).choice(train, MOST_TRAINING, replace=False)
        if truth[train].all() or not truth[train].any():
            continue
        model = RandomForestClassifier(
            TREES, min_samples_leaf=LEAF, class_weight="balanced", random_state=seed, n_jobs=1
        )
        score[test] = model.fit(filled[train], truth[train]).predict_proba(filled[test])[:, 1]
    return score


def _numbers(rows: Sequence[Row], names: Sequence[str]) -> Floats:
    columns = [[_number(getattr(row, name, None)) for row in rows] for name in names]
    return np.array(columns, np.float64).T


def _number(value: Any) -> float:
    try:
        return float(value) if value not in (None, "") else float("nan")
    except (TypeError, ValueError):
        return float("nan")


def _codes(rows: Sequence[Row], name: str) -> Values:
    return np.array([str(getattr(row, name, "") or "") for row in rows])


def _indexed(values: Values) -> Floats:
    return np.unique(values, return_inverse=True)[1].astype(np.float64)


HEADER = ("original_width", "original_height", "original_bytes")


def no_pixel_scores(
    rows: Sequence[Row], folds: NDArray[np.int64], seed: int
) -> dict[str, tuple[str, Floats]]:
    """key -> (method, (N,) scores out of fold) of every model that the table has values for."""
    truth = truth_of(rows)
    found: dict[str, tuple[str, Floats]] = {}
    for key in ("source", "subsource", "view"):
        values = _codes(rows, key)
        if len(np.unique(values)) > 1:
            found[key] = ("fraction", fractions_of(values, truth, folds))
    header = _numbers(rows, HEADER)
    mode = _codes(rows, "original_mode")
    if np.isfinite(header).any() or len(np.unique(mode)) > 1:
        features = np.column_stack([header, header[:, 0] / np.maximum(header[:, 1], 1), _indexed(mode)])
        found["header"] = ("forest", forest(features, truth, folds, seed))
    age, sex, view = _numbers(rows, ["age"]), _codes(rows, "sex"), _codes(rows, "view")
    if np.isfinite(age).any() or len(np.unique(sex)) > 1:
        features = np.column_stack([age, _indexed(sex), _indexed(view)])
        found["person"] = ("forest", forest(features, truth, folds, seed))
    return found
