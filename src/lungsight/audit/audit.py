"""The shortcut audit from end to end; what is done is read from its file and not done again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsight import provenance
from lungsight.audit import beside, retraining, steps
from lungsight.audit import leakage as leaks
from lungsight.audit.anybody import BatchScore, from_function, from_onnx, from_scores
from lungsight.audit.audited import Audited, ask_as, load_audited
from lungsight.audit.records import (
    FULL,
    Caveat,
    Change,
    Found,
    Leakage,
    Probe,
    Settings,
    SourceStep,
    Transplant,
)
from lungsight.audit.statistics import patients_of, truth_of
from lungsight.audit.store import Store
from lungsight.audit.verdict import decide
from lungsight.dataset.table import Dataset
from lungsight.errors import ConfigError, DataError
from lungsight.metrics import FEW_PATIENTS
from lungsight.progress import ProgressCallback, silent
from lungsight.records import from_json
from lungsight.wording import AuditCaveat

MISSING = 0.1
"""Fraction of the images that may have no patient id."""
STEPS = ("images", "score", "perturbation", "transplants", "retraining", "source", "leakage")
"""What progress is reported on, in order."""


@dataclass(frozen=True)
class Audit:
    """What was found, and what it was found on.

    Attributes:
        found: the record, as in `audit.json`.
        audited: the model, with the images.
        values: (N,) the score of every row, NaN where there is none.
    """

    found: Found
    audited: Audited
    values: NDArray[np.float64]


def audit(
    target: str | Path,
    dataset: Dataset,
    out: str | Path,
    *,
    settings: Settings = FULL,
    part: str | None = None,
    mask_run: Path | None = None,
    cache: Path | None = None,
    progress: ProgressCallback = silent,
    command: str = "",
) -> Audit:
    """Ask whether a score is about lungs.

    Args:
        target: a run's folder, a cross-validated folder, a folder of ONNX networks, or 'shipped'.
        dataset: with lung masks, patient ids and both classes.
        out: what is done is kept in its folder `steps`; the same call does the rest after an interruption.
        settings: `FULL` or `QUICK`.
        part: of the run's split; None: what was held out.
        mask_run: a lung run whose masks the audited run is given.
        progress: called with the step's name in `what`.
        command: what a reader types to get the same.

    Raises:
        DataError: masks, patient ids or a class are missing, or there are fewer than ten patients with or without
            the target.
        ModelError: there is no model, or it gives no score.
    """
    dataset = ask_as(target, dataset)
    check_patients(dataset)
    audited = load_audited(
        target,
        dataset,
        part=part,
        mask_run=mask_run,
        cache=cache,
        progress=_named(progress, "images"),
    )
    made_of = str(mask_run or "")
    return run_audit(
        audited, Path(out), settings=settings, progress=progress, command=command, made_of=made_of
    )


def audit_score(
    score: BatchScore,
    dataset: Dataset,
    out: str | Path | None = None,
    *,
    size: tuple[int, int] = (224, 224),
    name: str = "the function",
    threshold: float | None = None,
    settings: Settings = FULL,
    cache: Path | None = None,
    progress: ProgressCallback = silent,
    command: str = "",
) -> Audit:
    """Audit any function from a batch of images to numbers: PyTorch, Keras, scikit-learn, a web service.

    Args:
        score: called with (N, 1, h, w) float32 in [0, 1], bone bright; returns N numbers, higher for the target.
        dataset: rows with patient ids and both classes; the shipped lung network makes the masks that are missing.
        out: what is done is kept there; `lungsight.report.audit_report.write_audit` writes a report. None: nothing.
        size: (h, w) of the images.
        name: for the report.
        threshold: a score at or above it is a positive; None: decisions are not counted.

    Returns:
        `.found.verdict` has the two answers, `.found` everything.

    Raises:
        DataError: the table cannot be used, or the function gives not one finite number for each image.

    Example:
        >>> import lungsight                                             # doctest: +SKIP
        >>> data = lungsight.read_dataset("V7")                          # doctest: +SKIP
        >>> found = lungsight.audit_score(
        ...     lambda x: forest.predict_proba(x.reshape(len(x), -1))[:, 1], data, size=(32, 32)
        ... ).found                                                      # doctest: +SKIP
        >>> found.verdict.data, found.verdict.score                      # doctest: +SKIP
    """
    check_patients(dataset, need_masks=False)
    audited = from_function(
        score, dataset, size=size, name=name, threshold=threshold, cache=cache,
        progress=_named(progress, "images"),
    )  # fmt: skip
    folder = Path(out) if out is not None else None
    return run_audit(
        audited, folder, settings=settings, progress=progress, command=command, made_of=str(size)
    )


def audit_onnx(
    path: Path,
    dataset: Dataset,
    out: str | Path,
    *,
    size: str = "224x224",
    normalize: str = "0-1",
    output: str = "",
    sigmoid: bool = False,
    threshold: float | None = None,
    settings: Settings = FULL,
    cache: Path | None = None,
    progress: ProgressCallback = silent,
    command: str = "",
) -> Audit:
    """Audit an ONNX network of anybody's; `size` is 'HEIGHTxWIDTH', the rest as `anybody.from_onnx`.

    Raises:
        ModelError: it is no network, or its input or output does not fit.
        DataError: the table cannot be used, or the network gives NaN.
        ConfigError: a setting cannot be read.
    """
    check_patients(dataset, need_masks=False)
    audited = from_onnx(
        path, dataset, size=_size(size), normalize=normalize, output=output, sigmoid=sigmoid,
        threshold=threshold, cache=cache, progress=_named(progress, "images"),
    )  # fmt: skip
    made_of = f"{size} {normalize} {output} {sigmoid}"
    return run_audit(
        audited, Path(out), settings=settings, progress=progress, command=command, made_of=made_of
    )


def audit_predictions(
    path: Path,
    dataset: Dataset,
    out: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    threshold: float | None = None,
    settings: Settings = FULL,
    cache: Path | None = None,
    progress: ProgressCallback = silent,
    command: str = "",
) -> Audit:
    """Audit scores without a model, a CSV with id and probability: everything that needs no changed image.

    Args:
        columns: 'id' and 'probability' -> the CSV's own names.

    Raises:
        DataError: the CSV or the table cannot be used.
    """
    check_patients(dataset, need_masks=False)
    audited = from_scores(
        path, dataset, columns=columns, threshold=threshold, cache=cache, progress=_named(progress, "images")
    )
    return run_audit(audited, Path(out), settings=settings, progress=progress, command=command)


def _size(text: str) -> tuple[int, int]:
    height, cross, width = text.lower().partition("x")
    if not (
        cross
        and height.isdigit()
        and width.isdigit()
        and 16 <= int(height) <= 4096
        and 16 <= int(width) <= 4096
    ):
        raise ConfigError("must be HEIGHTxWIDTH, such as 224x224, each 16 to 4096", where="--input")
    return int(height), int(width)


def run_audit(
    audited: Audited,
    out: Path | None,
    *,
    settings: Settings,
    progress: ProgressCallback = silent,
    command: str = "",
    made_of: str = "",
) -> Audit:
    """All steps on a model that is open.

    Args:
        out: as for `audit`; None keeps nothing.
        made_of: what the scores depend on beside model, data, part and settings.
    """
    data = audited.dataset.fingerprint()
    store = Store(out / "steps" if out else None, audited.model_hash, audited.part, data, settings, made_of)
    say = {name: _named(progress, name) for name in STEPS}
    scored = store.get(
        steps.Values, "score", lambda: steps.Values(tuple(steps.score_all(audited, say["score"]).tolist()))
    )
    values = np.array(scored.values, np.float64)
    score = steps.describe_score(audited, values, settings)
    say["score"](1, 1)
    changes: tuple[Change, ...] = ()
    given: tuple[Transplant, ...] = ()
    probes: tuple[Probe, ...] = ()
    source = SourceStep((), (), ())
    notes = list(audited.notes)
    if audited.has_masks:
        if audited.score is not None:
            changes = steps.perturbation(audited, values, settings, store, say["perturbation"])
            given = steps.transplants(audited, values, settings, store, say["transplants"])
        probes = retraining.retrain(
            audited.rows, audited.images, audited.masks, settings, store, say["retraining"]
        )
        source = retraining.source_step(audited, settings, store, say["source"])
    else:
        notes.append(Caveat(AuditCaveat.NO_MASKS))
    if audited.score is None:
        notes.append(Caveat(AuditCaveat.SCORES_ONLY))
    if missing := sum(not row.patient for row in audited.rows):
        notes.append(Caveat(AuditCaveat.PATIENTS_MISSING, {"images": missing}))
    no_pixels = retraining.without_pixels(audited.rows, settings)
    leakage = store.get(Leakage, "leakage", lambda: leaks.find_leakage(audited))
    say["leakage"](1, 1)
    found = Found(
        model=audited.name,
        model_hash=audited.model_hash,
        data=data,
        target=audited.dataset.target.name,
        verdict=decide(score, changes, given, (*probes, *no_pixels), source, leakage),
        score=score,
        perturbation=changes,
        transplants=given,
        retraining=probes,
        no_pixels=no_pixels,
        source=source,
        leakage=leakage,
        notes=tuple(notes),
        failures=audited.failures,
        settings=settings,
        provenance=_plain(provenance.describe(seed=settings.seed, data=data, command=command)),
        calibration=beside.calibration_of(audited, values),
        subgroups=beside.subgroups_of(audited, values),
    )
    return Audit(found, audited, values)


def read_audit(folder: str | Path, model: str) -> Found:
    """The audit in a folder, of this model and no other.

    Args:
        folder: that an audit was written to.
        model: `model_hash` of the model at hand.

    Raises:
        DataError: there is no audit, it is not whole, or it is of another model (code 'other_model').
    """
    path = Path(folder) / "audit.json"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError("holds no audit", where=folder, hint="Run lungsight audit first") from error
    hint = "Run lungsight audit again"
    try:
        found = from_json(Found, data, where=path, error=DataError)
    except DataError as error:
        raise DataError(
            "holds no audit that can be read", where=folder, hint=hint, detail=error.message
        ) from error
    if found.model_hash != model:
        raise DataError(
            "is the audit of another model", code="other_model", where=folder, hint="Audit this model itself"
        )
    return found


def check_patients(dataset: Dataset, *, need_masks: bool = True) -> None:
    """Raise DataError where there are too few patients, or ids are missing, before anything is computed."""
    usable = [row for row in dataset if row.positive is not None and (row.mask is not None or not need_masks)]
    missing = [row.id for row in usable if not row.patient]
    # As for a split: a few rows without an id are patients of their own, many make 'by patient' a word only.
    if len(missing) > len(usable) * MISSING:
        raise DataError(
            f"{len(missing)} images have no patient id (the first: {missing[0]})",
            where=dataset.root,
            hint="The audit keeps patients apart; name the column with --columns patient=",
        )
    truth, patients = truth_of(usable), patients_of(usable)
    mask = " have a lung mask" if need_masks else ""
    for known, words in ((True, "with"), (False, "without")):
        count = len(set(patients[truth == known])) if usable else 0
        if 0 < count < FEW_PATIENTS:
            raise DataError(
                f"only {count} patients {words} {dataset.target.name}{mask}: too few to say anything",
                where=dataset.root,
                hint=f"The audit needs {FEW_PATIENTS} or more of either class",
            )


def _named(progress: ProgressCallback, name: str) -> ProgressCallback:
    return lambda done, total, what="": progress(done, total, name)


def _plain(facts: dict[str, Any]) -> dict[str, Any]:
    return {str(key): value for key, value in facts.items()}
