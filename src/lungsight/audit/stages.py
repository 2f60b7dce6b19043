"""The stages of the audit: how the score moves, what a probe can have, what the sources give away."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsight.audit import perturb, probe, views
from lungsight.audit.records import (
    LeftOut,
    Perturbed,
    Probe,
    Score,
    Settings,
    SourceStage,
    SourceTest,
)
from lungsight.audit.target import Target
from lungsight.dataset.table import Dataset, Row
from lungsight.errors import DataError
from lungsight.evaluation.compute import patients_of, same_source
from lungsight.metrics import FEW_PATIENTS, Interval, auroc, bootstrap

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
ProgressCallback = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""
CHUNK = 32


def truth_of(rows: Sequence[Row]) -> Bools:
    """(N,) True for COVID-19."""
    return np.array([bool(row.covid) for row in rows])


def area(score: Floats, truth: Bools, rows: Sequence[Row], settings: Settings) -> Interval:
    """AUROC with its interval over patients."""
    return bootstrap(
        auroc,
        score,
        truth,
        patients=patients_of(rows),
        labels=truth if truth.size else None,
        replicates=settings.replicates,
        seed=settings.seed,
    )


def _ask(target: Target, images: NDArray[np.uint8], masks: Bools, places: NDArray[np.intp]) -> Floats:
    parts = [
        target.score(images[i : i + CHUNK], masks[i : i + CHUNK], places[i : i + CHUNK])
        for i in range(0, len(images), CHUNK)
    ]
    return np.concatenate(parts)


def baseline(target: Target, settings: Settings, tick: ProgressCallback) -> tuple[Score, Floats]:
    """The score as it is, and (N,) its values, NaN for images that are not held out or not scored.

    Raises:
        DataError: nothing is scored, or one class only is.
    """
    values = np.full(len(target.rows), np.nan)
    for start in range(0, len(target.held_out), CHUNK):
        places = target.held_out[start : start + CHUNK]
        values[places] = target.score(target.images[places], target.masks[places], places)
        tick(min(start + CHUNK, len(target.held_out)), len(target.held_out))
    scored = np.flatnonzero(np.isfinite(values))
    rows = [target.rows[i] for i in scored]
    truth = truth_of(rows)
    if not truth.any() or truth.all():
        raise DataError(
            f"{target.name} scores {truth.sum()} images with COVID-19 and {(~truth).sum()} without; "
            "the audit needs both",
            hint="Use more data, or --part all",
        )
    score = values[scored]
    same, images = same_source(score, rows, replicates=settings.replicates)
    tells, words = _tells_source(score, rows, settings)
    facts = Score(
        model=target.name,
        part=target.part,
        images=len(target.held_out),
        patients=len({target.rows[i].patient for i in target.held_out}),
        scored=len(scored),
        pooled=area(score, truth, rows, settings),
        same_source=same,
        same_source_images=images,
        source_alone=source_alone(target.rows),
        source_auroc=tells,
        tells_source_words=words,
    )
    return facts, values


def source_alone(rows: Sequence[Row]) -> float:
    """AUROC of a rule that knows nothing but the source: each image scores its source's share of COVID-19."""
    sources, truth = np.array([row.source for row in rows]), truth_of(rows)
    share = {name: truth[sources == name].mean() for name in np.unique(sources)}
    return auroc(np.array([share[name] for name in sources]), truth)


def two_sources(rows: Sequence[Row], least: int = FEW_PATIENTS) -> tuple[NDArray[np.intp], Bools, str] | None:
    """Images of one class from two sources with `least` patients each: places, True for the one, words.

    The source with the larger share of COVID-19 is True. None where no class has two such sources.
    """
    sources, truth = np.array([row.source for row in rows]), truth_of(rows)
    patients = np.array([row.patient or row.id for row in rows])
    best: tuple[int, tuple[NDArray[np.intp], Bools, str]] | None = None
    for positive, words in ((False, "without COVID-19"), (True, "with COVID-19")):
        here = truth == positive
        counts = {
            str(name): len(set(patients[here & (sources == name)])) for name in np.unique(sources[here])
        }
        big = sorted((name for name, count in counts.items() if count >= least), key=lambda n: -counts[n])[:2]
        if len(big) < 2:
            continue
        share = {name: truth[sources == name].mean() for name in big}
        first, second = sorted(big, key=lambda name: -share[name])
        places = np.flatnonzero(here & np.isin(sources, big))
        smaller = min(counts[first], counts[second])
        found = places, sources[places] == first, f"{first} against {second}, images {words}"
        if best is None or smaller > best[0]:
            best = smaller, found
    return best[1] if best else None


def _tells_source(score: Floats, rows: Sequence[Row], settings: Settings) -> tuple[Interval | None, str]:
    found = two_sources(rows)
    if found is None:
        return None, "no class comes from two sources with ten patients each"
    places, label, words = found
    return area(score[places], label, [rows[i] for i in places], settings), words


def perturbation(
    target: Target, values: Floats, settings: Settings, tick: ProgressCallback
) -> tuple[Perturbed, ...]:
    """The score on images as they are, after every change of `perturb.CHANGES`, and with another source's outside."""
    scored = np.flatnonzero(np.isfinite(values))
    chosen = scored[probe.thin([target.rows[i] for i in scored], settings.perturbed, settings.seed)]
    rows = [target.rows[i] for i in chosen]
    images, masks, before = target.images[chosen], target.masks[chosen], values[chosen]
    total = len(perturb.CHANGES) + 1
    found = [_moved("none", "as they are", target, rows, before, before, settings)]
    for done, (key, (words, change)) in enumerate(perturb.CHANGES.items()):
        changed = [change(image, mask) for image, mask in zip(images, masks, strict=True)]
        after = _ask(
            target, np.stack([one for one, _ in changed]), np.stack([two for _, two in changed]), chosen
        )
        found.append(_moved(key, words, target, rows, before, after, settings))
        tick(done + 1, total)
    donor, words = perturb.donors(rows, settings.seed)
    swapped = np.stack(
        [
            perturb.swap_outside(images[i], masks[i], images[donor[i]], masks[donor[i]])
            for i in range(len(rows))
        ]
    )
    after = _ask(target, swapped, masks, chosen)
    moved = _moved(perturb.SWAP, words, target, rows, before, after, settings)
    found.insert(
        1, dataclasses.replace(moved, follows=_follows(after, before, before[donor], rows, settings))
    )
    tick(total, total)
    return tuple(found)


def _moved(
    key: str,
    words: str,
    target: Target,
    rows: Sequence[Row],
    before: Floats,
    after: Floats,
    settings: Settings,
) -> Perturbed:
    good = np.isfinite(after)
    truth = truth_of(rows)
    kept = [row for row, ok in zip(rows, good, strict=True) if ok]
    change = (after - before)[good]
    same, _ = same_source(after[good], kept, replicates=settings.replicates) if kept else (None, 0)
    cut = target.threshold
    return Perturbed(
        key=key,
        words=words,
        images=len(rows),
        scored=float(good.mean()),
        pooled=area(after[good], truth[good], kept, settings),
        same_source=same,
        change=_mean(np.abs(change)),
        flipped=_mean((after >= cut)[good] != (before >= cut)[good]),
        covid_shift=_mean(change[truth[good]]),
        other_shift=_mean(change[~truth[good]]),
    )


def _mean(values: NDArray[Any]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _follows(
    after: Floats, own: Floats, donor: Floats, rows: Sequence[Row], settings: Settings
) -> Interval | None:
    good = np.isfinite(after)
    if good.sum() < FEW_PATIENTS:
        return None
    kept = [row for row, ok in zip(rows, good, strict=True) if ok]

    def difference(new: Floats, lungs: Floats, outside: Floats) -> float:
        return rank_correlation(new, outside) - rank_correlation(new, lungs)

    return bootstrap(
        difference,
        after[good],
        own[good],
        donor[good],
        patients=patients_of(kept),
        replicates=settings.replicates,
        seed=settings.seed,
    )


def rank_correlation(first: Floats, second: Floats) -> float:
    """Spearman's correlation of two (N,), in [-1, 1]; 0 where one of them does not vary."""
    from scipy.stats import rankdata

    one, two = rankdata(first), rankdata(second)
    if one.std() == 0 or two.std() == 0:
        return 0.0
    return float(np.corrcoef(one, two)[0, 1])


def retraining(target: Target, settings: Settings, tick: ProgressCallback) -> tuple[Probe, ...]:
    """A probe network for every view, and logistic regression on thumbnails and grey levels.

    Raises:
        DataError: patient ids are missing, or there are too few patients.
    """
    chosen = probe.thin(target.rows, settings.images, settings.seed)
    part = Dataset(target.dataset.root, target.dataset.layout, tuple(target.rows[i] for i in chosen))
    folds = probe.folds_of(part, settings)
    truth = truth_of(part.rows)
    network = probe.network_fit(settings)
    images, masks = target.images[chosen], target.masks[chosen]
    jobs: list[tuple[str, str, str, probe.Fit, Callable[[], NDArray[Any]]]] = [
        (key, words, "probe network", network, lambda key=key: views.render(key, images, masks, settings.px))  # type: ignore[misc]
        for key, (words, _) in views.VIEWS.items()
    ]
    jobs += [
        (
            "thumbnail",
            "32 x 32 thumbnail",
            "logistic regression",
            probe.logistic_fit,
            lambda: probe.thumbnails(images),
        ),
        (
            "greys",
            "grey histogram",
            "logistic regression",
            probe.logistic_fit,
            lambda: probe.histograms(images),
        ),
    ]
    total, done, found = len(jobs) * len(folds), 0, []

    def step() -> None:
        nonlocal done
        done += 1
        tick(done, total)

    for key, words, method, fit, make in jobs:
        scores = probe.out_of_fold(fit, make(), truth, folds, settings.seed, step)
        same, count = same_source(scores, part.rows, replicates=settings.replicates)
        pooled = area(scores, truth, part.rows, settings)
        found.append(Probe(key, words, method, len(part), pooled, same, count))
    return tuple(found)


def source(target: Target, settings: Settings, tick: ProgressCallback) -> SourceStage:
    """How well the source is told within one class, and a probe on a source that it was not trained on."""
    why_not: list[str] = []
    tests: list[SourceTest] = []
    network = probe.network_fit(settings)
    found = two_sources(target.rows)
    left = _sources_to_leave(target.rows)
    total, done = (3 * settings.folds if found else 0) + len(left) or 1, 0

    def step() -> None:
        nonlocal done
        done += 1
        tick(done, total)

    if found is None:
        why_not.append(
            "No class comes from two sources with ten patients each: the source cannot be told within one."
        )
    else:
        places, label, words = found
        # Folds are stratified by class: the source takes its place.
        every = [
            dataclasses.replace(target.rows[i], covid=bool(one)) for i, one in zip(places, label, strict=True)
        ]
        thinned = probe.thin(every, settings.images, settings.seed)
        places, label = places[thinned], label[thinned]
        part = Dataset(target.dataset.root, target.dataset.layout, tuple(every[i] for i in thinned))
        folds = probe.folds_of(part, settings)
        images, masks = target.images[places], target.masks[places]
        inputs: dict[str, tuple[probe.Fit, NDArray[Any]]] = {
            "whole image": (network, views.render("whole", images, masks, settings.px)),
            "border only (outer 12 %)": (network, views.render("border", images, masks, settings.px)),
            "32 x 32 thumbnail": (probe.logistic_fit, probe.thumbnails(images)),
        }
        for name, (fit, values) in inputs.items():
            scores = probe.out_of_fold(fit, values, label, folds, settings.seed, step)
            tests.append(SourceTest(words, name, len(part), area(scores, label, part.rows, settings)))
    if not left:
        why_not.append(
            "No source can be left out: that needs a source with both classes, ten patients each, and both "
            "classes among the others."
        )
    out = []
    for name in left:
        out.append(_leave_out(target, name, network, settings))
        step()
    return SourceStage(tuple(tests), tuple(out), tuple(why_not))


def _sources_to_leave(rows: Sequence[Row]) -> list[str]:
    found = []
    for name in sorted({row.source for row in rows}):
        counts = [
            len({row.patient for row in rows if (row.source == name) is inside and bool(row.covid) is covid})
            for inside in (True, False)
            for covid in (True, False)
        ]
        if min(counts) >= FEW_PATIENTS:
            found.append(name)
    return found


def _leave_out(target: Target, name: str, network: probe.Fit, settings: Settings) -> LeftOut:
    chosen = probe.thin(target.rows, settings.images, settings.seed)
    rows = [target.rows[i] for i in chosen]
    inside = np.array([row.source == name for row in rows])
    truth = truth_of(rows)
    inputs = views.render("whole", target.images[chosen], target.masks[chosen], settings.px)
    scores = network(inputs[~inside], truth[~inside], inputs[inside], settings.seed)
    here = [row for row, ok in zip(rows, inside, strict=True) if ok]
    return LeftOut(name, len(here), area(scores, truth[inside], here, settings))
