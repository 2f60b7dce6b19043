"""What a score is worth where the source is of no help: within one source, within one sub-source, by view."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lungsight.dataset.table import Row
from lungsight.evaluation.cohort import patients, truth_of
from lungsight.evaluation.no_pixels import NoPixelScore, no_pixel_scores, subsource_left_out
from lungsight.evaluation.records import GroupAuroc, NamedAuroc, NoPixelModel, SourceMetrics
from lungsight.metrics import Interval, Note, Patients, auroc, delong, pair_count
from lungsight.wording import Caution

SHOWN = 8
"""Sub-sources that are left out one at a time: those with the most comparable pairs."""


def source_of(row: Row) -> str:
    """The collection."""
    return row.source


def subsource_of(row: Row) -> str:
    """The hospital or page within the collection, with the collection before it; '' where the table does not say."""
    return f"{row.source}\x1f{row.subsource}" if row.subsource else ""


def group_auroc(
    score: ArrayLike, rows: Sequence[Row], group: Callable[[Row], str] = source_of
) -> GroupAuroc | None:
    """AUROC of a score (N,) over the pairs within one group, by DeLong clustered by patient.

    Returns:
        None where no group has both classes.
    """
    names, truth = _names(rows, group), truth_of(rows)
    pairs = pair_count(truth, names) if len(rows) else 0
    if not pairs:
        return None
    found = delong(np.asarray(score, np.float64), truth, patients=patients(rows), groups=names)
    return GroupAuroc(found, *_mixed(names, truth), pairs)


def same_source_auroc(score: ArrayLike, truth: ArrayLike, source: ArrayLike) -> float:
    """AUROC over the pairs (positive, negative) whose two images come from one source.

    A score that is the source and nothing else has 0.5 here. What lies within a source, such as the page's host, can
    still give the class away: see `group_auroc` with `subsource_of`.

    Args:
        score: (N,) any real numbers.
        truth: (N,) bool.
        source: (N,) names.

    Returns:
        A value in [0, 1]; NaN where no source has both classes.
    """
    values, known, names = np.asarray(score), np.asarray(truth, bool), np.asarray(source)
    total, pairs = 0.0, 0
    for name in np.unique(names):
        here = names == name
        count = int(known[here].sum()) * int((~known[here]).sum())
        if count:
            total += count * auroc(values[here], known[here])
            pairs += count
    return total / pairs if pairs else float("nan")


def source_metrics(
    probability: NDArray[np.floating[Any]], rows: Sequence[Row], pooled: Interval, *, no_pixels: bool = True
) -> SourceMetrics:
    """Everything of `SourceMetrics` for a score (N,) of the N rows."""
    score = np.asarray(probability, np.float64)
    notes: tuple[Note, ...] = ()
    without, left = _without(score, rows)
    if left:
        notes = (Note(Caution.SUBSOURCES_LEFT_OUT, len(without), len(without) + left),)
    return SourceMetrics(
        pooled=pooled,
        same_source=group_auroc(score, rows),
        same_subsource=group_auroc(score, rows, subsource_of),
        by_view=_by_view(score, rows),
        without=without,
        no_pixels=no_pixel_models(rows) if no_pixels else (),
        notes=notes,
    )


def no_pixel_models(rows: Sequence[Row], *, seed: int = 0) -> tuple[NoPixelModel, ...]:
    """Models that see no pixels, out of fold by patient, on the same rows; none with one class only.

    Only pairs that one model scored are compared; `pairs` counts those of the table.
    """
    truth = truth_of(rows)
    if not len(rows) or truth.all() or not truth.any():
        return ()
    found = []
    scores = no_pixel_scores(rows, seed=seed)
    left_out = subsource_left_out([one.model for one in scores], rows, seed=seed)
    for one in scores:
        pooled = _within_folds(one, rows, lambda _: "all")
        if pooled is None:
            continue
        apart = left_out.get(one.model)
        found.append(
            NoPixelModel(
                one.model,
                one.images,
                pooled.auroc,
                _within_folds(one, rows, source_of),
                _within_folds(one, rows, subsource_of),
                group_auroc(one.score.mean(axis=0), rows),
                None if apart is None else _within_folds(apart, rows, source_of),
            )
        )
    return tuple(found)


def _within_folds(one: NoPixelScore, rows: Sequence[Row], group: Callable[[Row], str]) -> GroupAuroc | None:
    names = _names(rows, group)
    truth, who = truth_of(rows), patients(rows)
    pairs = pair_count(truth, names)
    repeats = len(one.score)
    found_names, codes = np.unique(names, return_inverse=True)
    within = one.folds * len(found_names) + codes[np.newaxis]
    within[:, names == ""] = -1
    spread = Patients(np.tile(who.codes, repeats), who.count, who.known, who.notes)
    found = delong(one.score.ravel(), np.tile(truth, repeats), patients=spread, groups=within.ravel())
    if not pairs or found.n == 0:
        return None
    mixed, images = _mixed(names, truth)
    return GroupAuroc(msgspec.structs.replace(found, n=images), mixed, images, pairs)


def _names(rows: Sequence[Row], group: Callable[[Row], str]) -> NDArray[np.str_]:
    names = np.array([group(row) for row in rows], dtype=np.str_)
    if group is source_of and len(names) and (names == "").all():
        # A table without sources is one source, as far as anybody can tell.
        return np.full(len(rows), "all", dtype=np.str_)
    return names


def _mixed(names: NDArray[np.str_], truth: NDArray[np.bool_]) -> tuple[int, int]:
    """How many groups have both classes, and their images."""
    both = (set(names[truth].tolist()) & set(names[~truth].tolist())) - {""}
    return len(both), int(np.isin(names, sorted(both)).sum())


def _by_view(score: NDArray[np.float64], rows: Sequence[Row]) -> tuple[NamedAuroc, ...]:
    views = np.array([str(row.view) for row in rows], dtype=np.str_)
    found = []
    for name in sorted(set(views.tolist()) - {""}):
        at = np.flatnonzero(views == name)
        here = [rows[i] for i in at.tolist()]
        area = group_auroc(score[at], here)
        if area is not None:
            found.append(NamedAuroc(name, len(here), sum(bool(row.covid) for row in here), area.auroc))
    return tuple(found) if len(found) > 1 else ()


def _without(score: NDArray[np.float64], rows: Sequence[Row]) -> tuple[tuple[NamedAuroc, ...], int]:
    """AUROC within one source without each of the sub-sources that matter most, and how many are not shown."""
    names = np.array([subsource_of(row) for row in rows], dtype=np.str_)
    truth = truth_of(rows)
    mixed = {row.source for row in rows if row.covid} & {row.source for row in rows if not row.covid}
    inside = np.array([row.source in mixed for row in rows], dtype=bool)
    sizes = {name: int((names == name).sum()) for name in set(names[inside].tolist()) if name}
    # A source that is one sub-source has nothing to leave out.
    if len(sizes) < 2:
        return (), 0
    order = sorted(sizes, key=lambda name: (-sizes[name], name))
    found = []
    for name in order[:SHOWN]:
        kept = np.flatnonzero(names != name)
        area = group_auroc(score[kept], [rows[i] for i in kept.tolist()])
        if area is not None:
            away = names == name
            title = name.split("\x1f", 1)[1]
            found.append(NamedAuroc(title, int(away.sum()), int(truth[away].sum()), area.auroc))
    return tuple(found), len(order) - len(found)
