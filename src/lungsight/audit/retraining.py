"""What small models learn from a region of the images, or from no pixel at all; each fold is kept when done."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsight.audit import probe, regions
from lungsight.audit.audited import Audited
from lungsight.audit.compare import two_sources
from lungsight.audit.records import LeftOut, Probe, Settings, SourceStep, SourceTest
from lungsight.audit.statistics import Bools, Floats, estimate, patients_of, truth_of
from lungsight.audit.steps import Values
from lungsight.audit.store import Store
from lungsight.dataset.split import clusters
from lungsight.dataset.table import Row
from lungsight.evaluation.no_pixels import FORESTS, deal_folds, score_by
from lungsight.metrics import FEW_PATIENTS
from lungsight.progress import ProgressCallback
from lungsight.wording import AuditCaveat, NoPixels, Region

Inputs = NDArray[Any]
TRAINED = (Region.WHOLE, Region.BORDER, Region.BACKGROUND, Region.LUNGS_BLACK, Region.LUNGS)
WITHOUT_PIXELS = (
    NoPixels.SOURCE,
    NoPixels.SUBSOURCE,
    NoPixels.VIEW,
    NoPixels.HEADER,
    NoPixels.PERSON,
)
NO_SUBSOURCE_LEFT_OUT = (Region.WHOLE, Region.BORDER, Region.LUNGS)


def _inputs(region: Region, images: NDArray[np.uint8], masks: Bools, settings: Settings) -> Inputs:
    if region == Region.HISTOGRAM:
        return probe.histograms(images)
    if region == Region.THUMBNAIL:
        return probe.thumbnails(images)
    shown = regions.render(region, images, masks, settings.px)
    return probe.thumbnails(shown) if settings.probe == "linear" else shown


def _fit(region: Region, settings: Settings) -> tuple[probe.Fit, str]:
    if region in (Region.HISTOGRAM, Region.THUMBNAIL):
        return probe.logistic_fit, "logistic"
    if settings.probe == "linear":
        return probe.ridge_fit, "ridge"
    return probe.network_fit(settings), "network"


def out_of_fold(
    fit: probe.Fit,
    inputs: Inputs,
    labels: Bools,
    folds: NDArray[np.int64],
    settings: Settings,
    store: Store,
    name: str,
    step: Callable[[], None] = lambda: None,
) -> Floats:
    """(N,) ranks within their fold, in (0, 1), by models that were trained on the other folds.

    A fold whose training part has one class only gives NaN. Each fold is kept in `store` under `name`.
    """
    found = np.full(len(labels), np.nan)
    for fold in np.unique(folds):
        train, test = folds != fold, folds == fold
        if labels[train].all() or not labels[train].any():
            step()
            continue

        def make(train: Bools = train, test: Bools = test, fold: int = int(fold)) -> Values:
            return Values(
                tuple(fit(inputs[train], labels[train], inputs[test], settings.seed + fold).tolist())
            )

        scores = np.array(store.get(Values, f"{name}-fold-{int(fold) + 1}", make).values, np.float64)
        found[test] = probe.standardised_ranks(scores)
        step()
    return found


def as_probe(key: str, method: str, scores: Floats, rows: Sequence[Row], folds: NDArray[np.int64]) -> Probe:
    """The record of scores out of fold: only images of one fold are compared, then of one source."""
    good = np.isfinite(scores)
    kept = [row for row, ok in zip(rows, good, strict=True) if ok]
    truth, patients, fold = truth_of(kept), patients_of(kept), folds[good]
    count = len(np.unique(folds))
    strata = [
        [str(k) for k in fold],
        [f"{k}\x1f{row.source}" for k, row in zip(fold, kept, strict=True)],
        [f"{k}\x1f{row.source}\x1f{row.subsource}" for k, row in zip(fold, kept, strict=True)],
    ]
    pooled, same, host = (estimate(scores[good], truth, patients, one, folds=count) for one in strata)
    return Probe(key, method, len(kept), pooled, same, host)


def retrain(
    rows: Sequence[Row],
    images: NDArray[np.uint8],
    masks: Bools,
    settings: Settings,
    store: Store,
    progress: ProgressCallback,
    wanted: Sequence[Region] | None = None,
) -> tuple[Probe, ...]:
    """A probe for every region.

    Args:
        rows: the N rows.
        images: (N, h, w) uint8.
        masks: (N, h, w).
        wanted: None: all regions.
    """
    chosen = probe.subsample(rows, settings.images, settings.seed)
    part = [rows[i] for i in chosen]
    folds = folds_by_patient(part, settings.folds, settings.seed)
    keys = wanted if wanted is not None else (*TRAINED, Region.THUMBNAIL, Region.HISTOGRAM)
    total, done, found = len(keys) * settings.folds, 0, []

    def step() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    for key in keys:
        found.append(one_probe(key, part, images[chosen], masks[chosen], folds, settings, store, step=step))
    return tuple(found)


def one_probe(
    region: Region,
    rows: Sequence[Row],
    images: NDArray[np.uint8],
    masks: Bools,
    folds: NDArray[np.int64],
    settings: Settings,
    store: Store,
    scores: dict[str, Floats] | None = None,
    step: Callable[[], None] = lambda: None,
) -> Probe:
    """A model of one region; its scores out of fold are put into `scores`, if given, under the region's name."""
    fit, method = _fit(region, settings)
    inputs = _inputs(region, images, masks, settings)
    found = out_of_fold(fit, inputs, truth_of(rows), folds, settings, store, f"retraining-{region}", step)
    if scores is not None:
        scores[str(region)] = found
    return as_probe(region, method, found, rows, folds)


def folds_by_patient(rows: Sequence[Row], folds: int, seed: int) -> NDArray[np.int64]:
    """(N,) number of the fold of each image; patients, and images of one film, wholly in one."""
    return deal_folds(clusters(rows).astype(np.int64), truth_of(rows), folds, seed)


def no_pixel_scores(rows: Sequence[Row], folds: NDArray[np.int64], seed: int) -> dict[NoPixels, Floats]:
    """(N,) scores out of fold of every model without pixels that the table has values for."""
    found = {key: score_by(key, rows, folds, seed=seed) for key in WITHOUT_PIXELS}
    return {key: scores for key, scores in found.items() if scores is not None}


def without_pixels(rows: Sequence[Row], settings: Settings) -> tuple[Probe, ...]:
    """The models that see no pixel, on all rows."""
    folds = folds_by_patient(rows, settings.folds, settings.seed)
    scores = no_pixel_scores(rows, folds, settings.seed)
    return tuple(
        as_probe(key, "forest" if key in FORESTS else "fraction", found, rows, folds)
        for key, found in scores.items()
    )


def source_step(audited: Audited, settings: Settings, store: Store, progress: ProgressCallback) -> SourceStep:
    """How well sources are told apart within one finding, and probes on sources that they were not trained on."""
    missing: list[str] = []
    tests = _source_tests(audited, settings, store)
    progress(1, 3)
    if not tests:
        missing.append(AuditCaveat.ONE_SOURCE)
    left = _sources_left_out(audited, settings, store)
    progress(2, 3)
    if not left:
        missing.append(AuditCaveat.NO_SOURCE_LEFT_OUT)
    hosts = subsources_left_out(audited.rows, audited.images, audited.masks, settings, store)
    if not hosts:
        missing.append(AuditCaveat.NO_SUBSOURCE)
    progress(3, 3)
    return SourceStep(tests, (*left, *hosts), tuple(missing))


def _source_tests(audited: Audited, settings: Settings, store: Store) -> tuple[SourceTest, ...]:
    found = two_sources(audited.rows)
    if found is None:
        return ()
    # Folds hold either class apart: here the source takes its place.
    every = [
        dataclasses.replace(audited.rows[i], covid=bool(one))
        for i, one in zip(found.indices, found.first, strict=True)
    ]
    chosen = probe.subsample(every, settings.images, settings.seed)
    rows, indices, label = [every[i] for i in chosen], found.indices[chosen], found.first[chosen]
    folds = folds_by_patient(rows, settings.folds, settings.seed)
    tests = []
    for region in (Region.WHOLE, Region.BORDER, Region.LUNGS):
        fit, _ = _fit(region, settings)
        inputs = _inputs(region, audited.images[indices], audited.masks[indices], settings)
        scores = out_of_fold(fit, inputs, label, folds, settings, store, f"source-{region}")
        auroc = estimate(scores, label, patients_of(rows), folds, folds=settings.folds)
        tests.append(SourceTest(*found.names, found.finding, region, len(rows), auroc))
    return tuple(tests)


def _sources_left_out(audited: Audited, settings: Settings, store: Store) -> tuple[LeftOut, ...]:
    chosen = probe.subsample(audited.rows, settings.images, settings.seed)
    rows = [audited.rows[i] for i in chosen]
    truth, patients = truth_of(rows), patients_of(rows)
    sources = np.array([row.source for row in rows])
    found: list[LeftOut] = []
    for name in np.unique(sources):
        inside = sources == name
        counts = [
            len(set(patients[which & known])) for which in (inside, ~inside) for known in (truth, ~truth)
        ]
        if min(counts) < FEW_PATIENTS:
            continue
        fit, _ = _fit(Region.WHOLE, settings)
        inputs = _inputs(Region.WHOLE, audited.images[chosen], audited.masks[chosen], settings)
        # One fold is the source, the other all else: only the source's images are scored.
        folds = np.where(inside, 0, 1)

        def make(inputs: Inputs = inputs, inside: Bools = inside, fit: probe.Fit = fit) -> Values:
            return Values(tuple(fit(inputs[~inside], truth[~inside], inputs[inside], settings.seed).tolist()))

        scores = np.array(
            store.get(Values, f"without-source-{len(found)}-{folds.sum()}", make).values, np.float64
        )
        auroc = estimate(scores, truth[inside], patients[inside])
        found.append(LeftOut("source", str(name), Region.WHOLE, int(inside.sum()), auroc))
    return tuple(found)


def subsources_left_out(
    rows: Sequence[Row],
    images: NDArray[np.uint8],
    masks: Bools,
    settings: Settings,
    store: Store,
) -> tuple[LeftOut, ...]:
    """Probes that were never trained on the sub-source that they score; pairs of one source are compared.

    Sub-sources are dealt into folds. Empty where no source has both classes and two sub-sources or more.
    """
    hosts = np.array([f"{row.source}\x1f{row.subsource}" for row in rows])
    sources, truth = np.array([row.source for row in rows]), truth_of(rows)
    found = []
    for source in np.unique(sources):
        here = np.flatnonzero(sources == source)
        names = np.unique(hosts[here])
        if len(names) < 2 or truth[here].all() or not truth[here].any():
            continue
        here = here[probe.subsample([rows[int(i)] for i in here], settings.images, settings.seed)]
        part = [rows[int(i)] for i in here]
        folds = _folds_by_group(hosts[here], settings)
        for region in NO_SUBSOURCE_LEFT_OUT:
            fit, _ = _fit(region, settings)
            inputs = _inputs(region, images[here], masks[here], settings)
            name = f"without-subsource-{int(np.flatnonzero(np.unique(sources) == source)[0])}-{region}"
            scores = out_of_fold(fit, inputs, truth[here], folds, settings, store, name)
            good = np.isfinite(scores)
            patients, count = patients_of(part)[good], len(np.unique(folds))
            auroc = estimate(scores[good], truth[here][good], patients, folds[good], folds=count)
            found.append(LeftOut("subsource", str(source), region, int(good.sum()), auroc))
    return tuple(found)


def _folds_by_group(groups: NDArray[np.str_], settings: Settings) -> NDArray[np.int64]:
    """(N,) folds of about equal size, each group wholly in one: the largest are dealt first."""
    names, codes, counts = np.unique(groups, return_inverse=True, return_counts=True)
    held = np.zeros(min(settings.folds, len(names)))
    fold_of = np.empty(len(names), np.int64)
    for index in np.argsort(-counts, kind="stable"):
        fold_of[index] = held.argmin()
        held[held.argmin()] += counts[index]
    return fold_of[codes]
