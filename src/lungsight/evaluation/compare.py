"""Two models on the images that both predicted: paired tests, first less second."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lungsight.errors import DataError
from lungsight.evaluation.cohort import patients, truth_of
from lungsight.evaluation.predictions import Predictions
from lungsight.evaluation.records import ComparisonMetrics
from lungsight.metrics import Comparison, Overlap, compare_auprc, compare_delong, compare_means


def compare(first: Predictions, second: Predictions) -> ComparisonMetrics:
    """Paired tests: AUROC pooled and within one source by DeLong, AUPRC, Brier score and Dice by t over patients.

    Raises:
        DataError: the two share no image, or one gives masks and the other a score.
    """
    place = {row.id: index for index, row in enumerate(second.rows)}
    pairs = [(i, place[row.id]) for i, row in enumerate(first.rows) if row.id in place]
    tests: dict[str, Comparison] = {}
    images = len(pairs)
    if first.probability is not None and second.probability is not None:
        both = set(scorable(first).tolist()), set(scorable(second).tolist())
        kept = [(i, j) for i, j in pairs if i in both[0] and j in both[1]]
        if kept:
            images = len(kept)
            one, other = np.array(kept).T
            rows = [first.rows[i] for i in one]
            truth, who = truth_of(rows), patients(rows)
            scores = first.probability[one], second.probability[other]
            tests["auroc"] = compare_delong(*scores, truth, patients=who)
            sources = np.array([row.source for row in rows], np.str_)
            same = compare_delong(*scores, truth, patients=who, groups=sources)
            if same.difference.n:
                tests["same_source_auroc"] = same
            tests["auprc"] = compare_auprc(*scores, truth, patients=who)
            tests["brier"] = compare_means(*((score - truth) ** 2 for score in scores), patients=who)
    if first.masks is not None and second.masks is not None and pairs:
        one, other = np.array(pairs).T
        dice = [_dice(model, at) for model, at in ((first, one), (second, other))]
        if dice[0] is not None and dice[1] is not None:
            who = patients([first.rows[i] for i in one])
            tests["dice"] = compare_means(dice[0], dice[1], patients=who)
    if not tests:
        raise DataError(
            f"{first.name} and {second.name} cannot be compared: no image in common, or not the same kind",
            hint="Both must give masks, or both a score, for the same ids",
        )
    return ComparisonMetrics(first.name, second.name, images, tests)


def scorable(predictions: Predictions) -> NDArray[np.intp]:
    """Indices of the images that have a probability and a known class."""
    if predictions.probability is None:
        return np.empty(0, np.intp)
    known = np.array([row.covid is not None for row in predictions.rows], dtype=bool)
    return np.flatnonzero(known & np.isfinite(predictions.probability))


def _dice(model: Predictions, at: NDArray[np.intp]) -> NDArray[np.float64] | None:
    if model.masks is None or model.truth is None:
        return None
    return Overlap.of(model.masks[at], model.truth[at]).per_image()["dice"]
