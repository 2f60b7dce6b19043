"""The steps of the audit: the score as it is, on changed images, with another image's properties."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsight.audit import perturb, transplant
from lungsight.audit.audited import Audited
from lungsight.audit.compare import two_sources, within_finding
from lungsight.audit.probe import subsample
from lungsight.audit.records import Change, Score, Settings, Transplant
from lungsight.audit.statistics import Bools, Floats, estimate, patients_of, rank_correlation, truth_of
from lungsight.audit.store import Store
from lungsight.dataset.table import Row
from lungsight.errors import DataError
from lungsight.progress import ProgressCallback
from lungsight.records import Record
from lungsight.wording import ImageChange, Property

CHUNK = 32


class Values(Record, frozen=True):
    """(N,) the score of every row, NaN where there is none."""

    values: tuple[float, ...]


def score_all(audited: Audited, progress: ProgressCallback) -> Floats:
    """(N,) scores of the rows that are held out, NaN elsewhere and where the model gives none."""
    if audited.values is not None:
        return audited.values
    values = np.full(len(audited.rows), np.nan)
    for start in range(0, len(audited.held_out), CHUNK):
        chosen = audited.held_out[start : start + CHUNK]
        values[chosen] = _ask(audited, audited.images[chosen], audited.masks[chosen], chosen)
        progress(min(start + CHUNK, len(audited.held_out)), len(audited.held_out))
    return values


def _ask(audited: Audited, images: NDArray[np.uint8], masks: Bools, indices: NDArray[np.intp]) -> Floats:
    if audited.score is None:
        raise DataError("only scores were given: there is no model to ask")
    score = audited.score
    return np.concatenate(
        [
            score(images[i : i + CHUNK], masks[i : i + CHUNK], indices[i : i + CHUNK])
            for i in range(0, len(images), CHUNK)
        ]
    )


def describe_score(audited: Audited, values: Floats, settings: Settings) -> Score:
    """The score as it is: pooled, within sources and sub-sources, within findings.

    Raises:
        DataError: nothing is scored, or one class only.
    """
    scored = np.flatnonzero(np.isfinite(values))
    rows = [audited.rows[i] for i in scored]
    truth, patients, score = truth_of(rows), patients_of(rows), values[scored]
    if not truth.any() or truth.all():
        raise DataError(
            f"{int(truth.sum())} images of the one class and {int((~truth).sum())} of the other have a score; "
            "the audit needs both",
            hint="Use more data, or --part all",
        )
    sources = [row.source for row in rows]
    hosts = [f"{row.source}\x1f{row.subsource}" for row in rows]
    apart = two_sources(rows)
    return Score(
        part=audited.part,
        images=len(audited.held_out),
        patients=len({audited.rows[i].patient or audited.rows[i].id for i in audited.held_out}),
        scored=len(scored),
        pooled=estimate(score, truth, patients),
        same_source=estimate(score, truth, patients, sources),
        same_subsource=estimate(score, truth, patients, hosts),
        within_finding=within_finding(score, rows, settings.seed),
        source_auroc=estimate(score[apart.indices], apart.first, patients[apart.indices]) if apart else None,
    )


def chosen_for_changes(audited: Audited, values: Floats, settings: Settings) -> NDArray[np.intp]:
    """Indices of the scored images that are changed."""
    scored = np.flatnonzero(np.isfinite(values))
    return scored[subsample([audited.rows[i] for i in scored], settings.perturbed, settings.seed)]


def perturbation(
    audited: Audited, values: Floats, settings: Settings, store: Store, progress: ProgressCallback
) -> tuple[Change, ...]:
    """The score on images as they are and after every change of `perturb.CHANGES`."""
    chosen = chosen_for_changes(audited, values, settings)
    rows = [audited.rows[i] for i in chosen]
    images, masks, before = audited.images[chosen], audited.masks[chosen], values[chosen]
    found = [change_record(ImageChange.NONE, rows, before, before, audited.threshold)]

    def make(key: ImageChange) -> Change:
        change = perturb.CHANGES[key]
        pairs = [change(image, mask) for image, mask in zip(images, masks, strict=True)]
        after = _ask(
            audited, np.stack([one for one, _ in pairs]), np.stack([two for _, two in pairs]), chosen
        )
        return change_record(key, rows, before, after, audited.threshold)

    for done, key in enumerate(perturb.CHANGES):
        found.append(store.get(Change, f"change-{key}", lambda key=key: make(key)))  # type: ignore[misc]
        progress(done + 1, len(perturb.CHANGES))
    return tuple(found)


def change_record(
    key: ImageChange, rows: Sequence[Row], before: Floats, after: Floats, threshold: float
) -> Change:
    good = np.isfinite(after)
    kept = [row for row, ok in zip(rows, good, strict=True) if ok]
    truth, patients, change = truth_of(kept), patients_of(kept), (after - before)[good]
    flipped = (after >= threshold)[good] != (before >= threshold)[good]
    return Change(
        key=key,
        images=len(rows),
        scored=float(good.mean()),
        pooled=estimate(after[good], truth, patients),
        same_source=estimate(after[good], truth, patients, [row.source for row in kept]),
        deviation=_mean(np.abs(change)),
        flipped=float("nan") if np.isnan(threshold) else _mean(flipped),
        positive_shift=_mean(change[truth]),
        negative_shift=_mean(change[~truth]),
    )


def _mean(values: NDArray[Any]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def transplants(
    audited: Audited, values: Floats, settings: Settings, store: Store, progress: ProgressCallback
) -> tuple[Transplant, ...]:
    """The score of images that were given a property of another image, drawn by lot."""
    chosen = chosen_for_changes(audited, values, settings)
    rows = [audited.rows[i] for i in chosen]
    images, masks, before = audited.images[chosen], audited.masks[chosen], values[chosen]
    donors = transplant.draw_donors(truth_of(rows), patients_of(rows), settings.seed)

    def make(key: Property) -> Transplant:
        changed, lungs = transplant.transplanted(key, images, masks, donors)
        return transplant_record(key, rows, before, _ask(audited, changed, lungs, chosen), donors)

    found = []
    for done, key in enumerate(transplant.PROPERTIES):
        found.append(store.get(Transplant, f"transplant-{key}", lambda key=key: make(key)))  # type: ignore[misc]
        progress(done + 1, len(transplant.PROPERTIES))
    return tuple(found)


def transplant_record(
    key: Property, rows: Sequence[Row], before: Floats, after: Floats, donors: NDArray[np.intp]
) -> Transplant:
    """What a transplant did: scores (N,) before and after it, and the index (N,) of each image's donor."""
    good = np.isfinite(after)
    truth, patients = truth_of(rows), patients_of(rows)
    return Transplant(
        key=key,
        images=len(rows),
        scored=float(good.mean()),
        donor_auroc=estimate(after[good], truth[donors][good], patients[donors][good]),
        own_auroc=estimate(after[good], truth[good], patients[good]),
        background_dependence=rank_correlation(after[good], before[donors][good]),
        own_dependence=rank_correlation(after[good], before[good]),
    )
