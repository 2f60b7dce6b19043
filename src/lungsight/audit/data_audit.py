"""The audit of a data set without a model: the best score that knows nothing about lungs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from lungsight import provenance
from lungsight.audit import retraining
from lungsight.audit.audit import check_patients
from lungsight.audit.audited import check_classes
from lungsight.audit.leakage import leakage_between, split_of
from lungsight.audit.masks import with_masks
from lungsight.audit.probe import subsample
from lungsight.audit.records import Caveat, Criterion, Leakage, LeftOut, Probe, Settings
from lungsight.audit.statistics import Bools, Estimate, Floats, estimate, patients_of, truth_of
from lungsight.audit.store import Store
from lungsight.audit.verdict import FAMILY_ERROR, data_answer, data_criteria_of
from lungsight.dataset.cache import load_arrays
from lungsight.dataset.table import Dataset, Row
from lungsight.progress import ProgressCallback, silent
from lungsight.records import Record
from lungsight.wording import DataAnswer, Region

DATA = Settings(probe="linear", px=64, images=2000)
SIZE = (224, 224)
SEEN = (Region.WHOLE, Region.BORDER, Region.BACKGROUND)


class Best(Record, frozen=True):
    """The best score that knows nothing about lungs.

    In each fold the model is taken that is best in the others, so that choosing among several does not flatter it.

    Attributes:
        chosen: key of a model -> folds in which it was the best of the others.
    """

    pooled: Estimate
    same_source: Estimate
    chosen: dict[str, int]


class FoundInData(Record, frozen=True):
    """All that the audit of a data set found: the content of `data-audit.json`."""

    data: str
    """Fingerprint of the table."""
    target: str
    images: int
    patients: int
    pixels: int
    """Images that were decoded, for the models that see a region and for the duplicates."""
    answer: DataAnswer
    best: Best
    criteria: tuple[Criterion, ...]
    retraining: tuple[Probe, ...]
    no_pixels: tuple[Probe, ...]
    left_out: tuple[LeftOut, ...]
    leakage: Leakage
    notes: tuple[Caveat, ...]
    failures: tuple[tuple[str, str], ...]
    settings: Settings
    family_error: float = FAMILY_ERROR
    provenance: dict[str, Any] = msgspec.field(default_factory=dict)


def audit_data(
    dataset: Dataset,
    out: str | Path | None = None,
    *,
    settings: Settings = DATA,
    cache: Path | None = None,
    progress: ProgressCallback = silent,
    command: str = "",
) -> FoundInData:
    """How much of the target is told by what is not a lung.

    Args:
        dataset: any, with patient ids and both classes; the shipped lung network makes the masks that are missing.
        out: what is done is kept in its folder `steps`; None keeps nothing.
        settings: the probes are linear by default; `probe="network"` takes small networks instead.

    Raises:
        DataError: a class or patient ids are missing, or there are fewer than ten patients of a class.
    """
    usable = check_classes(dataset, need_masks=False)
    check_patients(usable, need_masks=False)
    chosen = usable.with_rows(
        [usable.rows[i] for i in subsample(usable.rows, settings.images, settings.seed)]
    )
    arrays = load_arrays(chosen, SIZE, cache_dir=cache, progress=progress)
    known = with_masks(chosen, arrays)
    rows, data = known.rows, usable.fingerprint()
    store = Store(Path(out) / "steps" if out is not None else None, "data", data, settings)
    folds = retraining.folds_by_patient(rows, settings.folds, settings.seed)
    scores: dict[str, Floats] = {
        str(key): found for key, found in retraining.no_pixel_scores(rows, folds, settings.seed).items()
    }
    probes = []
    for region in SEEN:
        probes.append(
            retraining.one_probe(region, rows, known.images, known.masks, folds, settings, store, scores)
        )
        progress(len(probes), len(SEEN), "retraining")
    # On all rows, not only on those whose pixels were read.
    without = retraining.without_pixels(usable.rows, settings)
    criteria = data_criteria_of((*probes, *without))
    scores.pop(Region.WHOLE, None)
    parts = split_of(rows)
    return FoundInData(
        data=data,
        target=usable.target.name,
        images=len(usable),
        patients=len(set(patients_of(usable.rows))),
        pixels=len(rows),
        answer=data_answer(criteria, {probe.key: probe for probe in probes}),
        best=best_of(scores, rows, folds),
        criteria=criteria,
        retraining=tuple(probes),
        no_pixels=without,
        left_out=retraining.subsources_left_out(rows, known.images, known.masks, settings, store),
        leakage=leakage_between(rows, known.images, parts),
        notes=known.notes,
        failures=known.failures,
        settings=settings,
        provenance=provenance.describe(seed=settings.seed, data=data, command=command),
    )


def best_of(scores: dict[str, Floats], rows: Sequence[Row], folds: NDArray[np.int64]) -> Best:
    """One score out of several, chosen in each fold by the other folds.

    Args:
        scores: key -> (N,) out of fold; only images of one fold are compared.
    """
    truth, patients = truth_of(rows), patients_of(rows)
    taken = np.full(len(rows), 0.5)
    chosen: Counter[str] = Counter()
    for fold in np.unique(folds):
        here, others = folds == fold, folds != fold
        values = {key: _area(score, truth, folds, others) for key, score in scores.items()}
        usable = {key: value for key, value in values.items() if np.isfinite(value)}
        if not usable:
            continue
        key = max(usable, key=lambda name: usable[name])
        chosen[key] += 1
        taken[here] = np.nan_to_num(scores[key][here], nan=0.5)
    sources = [f"{fold}\x1f{row.source}" for fold, row in zip(folds, rows, strict=True)]
    count = len(np.unique(folds))
    pooled, same = (estimate(taken, truth, patients, one, folds=count) for one in (folds, sources))
    return Best(pooled, same, dict(chosen))


def _area(score: Floats, truth: Bools, folds: NDArray[np.int64], where: Bools) -> float:
    good = where & np.isfinite(score)
    return estimate(score[good], truth[good], None, folds[good]).auroc.value
