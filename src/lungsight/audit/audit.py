"""The shortcut audit from end to end; a stage that is done is read from its file and not done again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lungsight import provenance
from lungsight.audit import leakage as leaks
from lungsight.audit import stages
from lungsight.audit.records import (
    FULL,
    Leakage,
    Perturbed,
    Probe,
    Score,
    Settings,
    SourceStage,
    Verdict,
    decode,
    encode,
)
from lungsight.audit.target import Target, load_target
from lungsight.audit.verdict import judge
from lungsight.dataset.table import Dataset
from lungsight.errors import DataError
from lungsight.files import write_json
from lungsight.metrics import FEW_PATIENTS

T = TypeVar("T")
Progress = Callable[[str, int, int], None]
"""Called with a stage's name and its steps done and in all."""


@dataclass(frozen=True, slots=True)
class _Baseline:
    score: Score
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Perturbation:
    changes: tuple[Perturbed, ...]


@dataclass(frozen=True, slots=True)
class _Retraining:
    probes: tuple[Probe, ...]


@dataclass(frozen=True)
class Audit:
    """All that the audit found.

    Attributes:
        values: (N,) the score of every row of the target, NaN where there is none.
    """

    target: Target
    settings: Settings
    score: Score
    values: NDArray[np.float64]
    perturbed: tuple[Perturbed, ...]
    probes: tuple[Probe, ...]
    source: SourceStage
    leakage: Leakage
    verdict: Verdict
    provenance: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "model": self.target.name,
            "verdict": encode(self.verdict),
            "score": encode(self.score),
            "perturbation": encode(self.perturbed),
            "retraining": encode(self.probes),
            "source": encode(self.source),
            "leakage": encode(self.leakage),
            "notes": list(self.target.notes),
            "failures": [{"id": name, "reason": reason} for name, reason in self.target.failures],
            "settings": encode(self.settings),
            "provenance": self.provenance,
        }


def audit(
    target: str | Path,
    dataset: Dataset,
    out: str | Path,
    *,
    settings: Settings = FULL,
    part: str | None = None,
    mask_run: Path | None = None,
    cache: Path | None = None,
    progress: Progress = lambda stage, done, total: None,
    command: str = "",
) -> Audit:
    """Ask whether a COVID-19 score is about lungs.

    Args:
        target: a run's folder, a cross-validated folder, a folder of ONNX networks, or 'shipped'.
        dataset: with lung masks, patient ids and both classes.
        out: stages are kept in its folder `stages`; the same call goes on where it was stopped.
        settings: `FULL` or `QUICK`.
        part: of the run's split; None: what was held out.
        mask_run: a lung run whose masks the audited run is given.
        progress: called as the stages go on.
        command: what a reader types to get the same.

    Raises:
        DataError: masks, patient ids or a class are missing, or there are fewer than ten patients with or without
            COVID-19.
        ModelError: there is no model, or it gives no COVID-19 score.
    """
    _enough(dataset)
    opened = load_target(
        target,
        dataset,
        part=part,
        mask_run=mask_run,
        cache=cache,
        progress=lambda done, total: progress("images", done, total),
    )
    key = {"model": opened.identity, "data": opened.dataset.fingerprint(), "settings": encode(settings)}
    folder = Path(out) / "stages"

    def stage(kind: type[T], name: str, make: Callable[[stages.ProgressCallback], T]) -> T:
        path = folder / f"{name}.json"
        stored = _stored(kind, path, key)
        if stored is None:
            stored = make(lambda done, total: progress(name, done, total))
            write_json(path, {"key": key, "found": encode(stored)})
        progress(name, 1, 1)
        return stored

    def make_baseline(tick: stages.ProgressCallback) -> _Baseline:
        score, values = stages.baseline(opened, settings, tick)
        return _Baseline(score, tuple(values.tolist()))

    first = stage(_Baseline, "score", make_baseline)
    values = np.array(first.values, np.float64)
    changes = stage(
        _Perturbation,
        "perturbation",
        lambda tick: _Perturbation(stages.perturbation(opened, values, settings, tick)),
    ).changes
    probes = stage(
        _Retraining, "retraining", lambda tick: _Retraining(stages.retraining(opened, settings, tick))
    ).probes
    source = stage(SourceStage, "source", lambda tick: stages.source(opened, settings, tick))
    leakage = stage(Leakage, "leakage", lambda tick: leaks.leakage(opened))
    return Audit(
        target=opened,
        settings=settings,
        score=first.score,
        values=values,
        perturbed=changes,
        probes=probes,
        source=source,
        leakage=leakage,
        verdict=judge(first.score, changes, probes, source, leakage),
        provenance=provenance.describe(seed=settings.seed, data=dataset.fingerprint(), command=command),
    )


def _enough(dataset: Dataset) -> None:
    """Raise DataError where there are too few patients, or ids are missing, before anything is computed."""
    usable = [row for row in dataset if row.mask is not None and row.covid is not None]
    if missing := [row.id for row in usable if not row.patient]:
        raise DataError(
            f"{len(missing)} images have no patient id (the first: {missing[0]})",
            where=dataset.root,
            hint="The audit keeps patients apart and needs one for each image; name the column with --columns patient=",
        )
    for covid, words in ((True, "with"), (False, "without")):
        count = len({row.patient for row in usable if row.covid is covid})
        if usable and 0 < count < FEW_PATIENTS:
            raise DataError(
                f"only {count} patients {words} COVID-19 have a lung mask: too few to say anything",
                where=dataset.root,
                hint=f"The audit needs {FEW_PATIENTS} or more of either class",
            )


def _stored(kind: type[T], path: Path, key: dict[str, Any]) -> T | None:
    """What the stage found before, of the same model, data and settings; None otherwise."""
    try:
        found = json.loads(path.read_text("utf-8"))
        if found["key"] != json.loads(json.dumps(key)):
            return None
        return decode(kind, found["found"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
