"""Models that see no pixels: source, sub-source, file header, age, sex and view, scored out of fold.

The table of an evaluation (`no_pixel_scores`) and the audit (`score_by`) share them.

A category scores the fraction of positives among the training images of the same category; one that was not seen in
training counts as the mean (a sub-source as its source's). The file header (width, height, their ratio, bytes, mode)
and age go through a random forest. Patients, and what the table marks as one film, are wholly in one fold.

A pair of images is compared only where both were scored by the same model, that is within one fold: pooled over folds
the scores would be biased downwards, because a fold with more positives leaves fewer to train on. The folds are dealt
several times, so that most pairs take part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lungsight.dataset.split import clusters
from lungsight.dataset.table import Row
from lungsight.evaluation.cohort import truth_of
from lungsight.wording import NoPixels

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Codes = NDArray[np.int64]

TREES, LEAF, SAMPLE = 40, 8, 2000
"""Trees of a forest, images in a leaf at least, and images a tree is grown on at most."""
REPEATS = 3
"""Deals of the folds: with five folds half of the pairs are compared at least once."""
REPORTED = (
    NoPixels.SOURCE,
    NoPixels.SUBSOURCE,
    NoPixels.HEADER,
    NoPixels.AGE,
    NoPixels.SEX,
    NoPixels.VIEW,
)
"""The models of an evaluation."""
FORESTS = (NoPixels.HEADER, NoPixels.AGE, NoPixels.PERSON)
"""Numbers go through a random forest, categories through the fraction of the target."""
PRIOR = 1.0
"""Images' worth of the overall fraction that is mixed into each category's own."""
HEADER_NAMES = ("original_width", "original_height", "original_bytes")


@dataclass(frozen=True)
class NoPixelScore:
    """One model.

    Attributes:
        images: for which the table has its values.
        score: (R, N) out of fold, the higher the likelier the target, for R deals of the folds.
        folds: (R, N) numbers; scores of different numbers come from different models and are not to be compared.
    """

    model: NoPixels
    images: int
    score: Floats
    folds: Codes


def no_pixel_scores(rows: Sequence[Row], *, folds: int = 5, seed: int = 0) -> tuple[NoPixelScore, ...]:
    """Every model that the N rows have at least two values for, with patients apart.

    Args:
        rows: of a known class.
        folds: how many.
        seed: of folds and forests.
    """
    deals = _deals(clusters(rows).astype(np.int64), truth_of(rows), folds, seed)
    return tuple(
        _scored(model, values, rows, deals, folds, seed)
        for model in REPORTED
        if (values := _values(model, rows)) is not None
    )


def subsource_left_out(
    models: Iterable[NoPixels], rows: Sequence[Row], *, folds: int = 5, seed: int = 0
) -> dict[NoPixels, NoPixelScore]:
    """Scores of models that saw no image of the row's sub-source, nor of its patient.

    Returns:
        Empty where the table has fewer than two sub-sources; without the models of sources.
    """
    names = [f"{row.source}\x1f{row.subsource}" if row.subsource else "" for row in rows]
    if len(set(names) - {""}) < 2:
        return {}
    members: dict[str, list[str]] = {}
    for row, name in zip(rows, names, strict=True):
        if name:
            members.setdefault(name, []).append(row.id)
    together = clusters(rows, members.values()).astype(np.int64)
    deals = _deals(together, truth_of(rows), folds, seed)
    return {
        model: _scored(model, values, rows, deals, folds, seed)
        for model in models
        if model not in (NoPixels.SOURCE, NoPixels.SUBSOURCE) and (values := _values(model, rows)) is not None
    }


def score_by(model: NoPixels, rows: Sequence[Row], folds: Codes, *, seed: int = 0) -> Floats | None:
    """(N,) scores of one model out of the given folds; that the table does not say is a value like any other.

    Args:
        folds: (N,) numbers, as `deal_folds` gives them.

    Returns:
        None where the table has fewer than two different values.
    """
    values = _values(model, rows, missing=-1.0)
    return None if values is None else _score(model, values, truth_of(rows), folds, seed)


def _scored(
    model: NoPixels, values: Floats, rows: Sequence[Row], deals: Sequence[Codes], folds: int, seed: int
) -> NoPixelScore:
    truth = truth_of(rows)
    scores = [_score(model, values, truth, deal, seed + repeat) for repeat, deal in enumerate(deals)]
    numbers = [deal + folds * repeat for repeat, deal in enumerate(deals)]
    known = int(np.isfinite(values).any(axis=1).sum())
    return NoPixelScore(model, known, np.stack(scores), np.stack(numbers))


def _deals(together: Codes, truth: Bools, folds: int, seed: int) -> list[Codes]:
    return [deal_folds(together, truth, folds, seed + repeat) for repeat in range(REPEATS)]


def deal_folds(groups: Codes, truth: Bools, folds: int, seed: int) -> Codes:
    """(N,) number of the fold of each row; groups wholly in one, each fold with its part of either class.

    Folds are not stratified by source: that would give a held-out fold the class fraction that every source has in
    training, and a source that says nothing would seem to say something.
    """
    rng = np.random.default_rng((seed, 13))
    sizes = np.bincount(groups)
    positive = np.bincount(groups, weights=truth) > 0
    fold_of = np.empty(sizes.size, np.int64)
    for which in (positive, ~positive):
        # Plain numbers: hundreds of thousands of groups go through here.
        held = [0] * folds
        dealt = rng.permutation(np.flatnonzero(which))
        for group, size in zip(dealt.tolist(), sizes[dealt].tolist(), strict=True):
            least = min(held)
            emptiest = [fold for fold, count in enumerate(held) if count == least]
            fold = emptiest[int(rng.integers(len(emptiest)))] if len(emptiest) > 1 else emptiest[0]
            fold_of[group] = fold
            held[fold] += size
    return fold_of[groups]


def _score(model: NoPixels, values: Floats, truth: Bools, folds: Codes, seed: int) -> Floats:
    learner = _LEARNERS[model]
    score = np.full(len(truth), float(truth.mean()))
    for fold in np.unique(folds):
        train, test = folds != fold, folds == fold
        if train.any():
            score[test] = learner(values[train], truth[train], values[test], seed)
    return score


def _fractions(train: Floats, truth: Bools, test: Floats, seed: int) -> Floats:
    """The last column is the category itself, those before it what it lies in, from wide to narrow."""
    score, trained = np.full(len(test), truth.mean()), np.full(len(train), truth.mean())
    for column in range(train.shape[1]):
        names, codes = np.unique(train[:, column], return_inverse=True)
        count = np.bincount(codes)
        around = np.bincount(codes, weights=trained) / count
        fraction = (np.bincount(codes, weights=truth) + PRIOR * around) / (count + PRIOR)
        at = np.minimum(np.searchsorted(names, test[:, column]), names.size - 1)
        seen = (names[at] == test[:, column]) & np.isfinite(test[:, column])
        score, trained = np.where(seen, fraction[at], score), fraction[codes]
    return score


def _forest(train: Floats, truth: Bools, test: Floats, seed: int) -> Floats:
    from sklearn.ensemble import RandomForestClassifier

    known = np.isfinite(train).any(axis=1)
    overall = float(truth.mean())
    score = np.full(len(test), overall)
    if truth[known].all() or not truth[known].any():
        return score
    forest = RandomForestClassifier(
        TREES,
        min_samples_leaf=LEAF,
        max_samples=min(SAMPLE, int(known.sum())),
        random_state=seed,
        n_jobs=1,
    )
    forest.fit(np.where(np.isfinite(train[known]), train[known], -1.0), truth[known])
    there = np.isfinite(test).any(axis=1)
    if there.any():
        score[there] = forest.predict_proba(np.where(np.isfinite(test[there]), test[there], -1.0))[:, 1]
    return score


_LEARNERS: dict[NoPixels, Callable[[Floats, Bools, Floats, int], Floats]] = {
    NoPixels.SOURCE: _fractions,
    NoPixels.SUBSOURCE: _fractions,
    NoPixels.HEADER: _forest,
    NoPixels.AGE: _forest,
    NoPixels.SEX: _fractions,
    NoPixels.PERSON: _forest,
    NoPixels.VIEW: _fractions,
}


def _values(model: NoPixels, rows: Sequence[Row], *, missing: float = math.nan) -> Floats | None:
    """(N, K), `missing` where the table does not say; None where it has fewer than two different values."""
    sources = [row.source for row in rows]
    if model is NoPixels.HEADER:
        numbers = np.array([[_number(getattr(row, name)) for name in HEADER_NAMES] for row in rows])
        modes = _indexed([row.original_mode for row in rows])
        values = np.column_stack([numbers, numbers[:, 0] / np.maximum(numbers[:, 1], 1), modes])
    elif model is NoPixels.AGE:
        values = np.array([[_number(row.age)] for row in rows])
    elif model is NoPixels.PERSON:
        named = [_indexed([str(getattr(row, name)) for row in rows]) for name in ("sex", "view")]
        values = np.column_stack([[_number(row.age) for row in rows], *named])
    elif model is NoPixels.SUBSOURCE:
        names = [f"{row.source}\x1f{row.subsource}" if row.subsource else "" for row in rows]
        values = np.column_stack([_indexed(sources), _indexed(names)])
        if len(set(names) - {""}) < 2:
            return None
    else:
        values = _indexed([str(getattr(row, model.value)) for row in rows])[:, np.newaxis]
    values = np.where(np.isfinite(values), values, missing)
    known = values[np.isfinite(values).any(axis=1)]
    return values if len(known) and len(np.unique(known, axis=0)) > 1 else None


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _indexed(names: Sequence[str]) -> Floats:
    array = np.array(names, np.str_)
    codes = np.unique(array, return_inverse=True)[1].astype(np.float64)
    codes[array == ""] = np.nan
    return codes
