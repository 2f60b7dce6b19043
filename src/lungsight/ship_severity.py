"""From readers' scores to a severity network that ships: cross-validated, fitted on all, exported with its card."""

from __future__ import annotations

import datetime
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lungsight.card import Card, InputSettings, TrainedOn
from lungsight.dataset.table import Dataset
from lungsight.errors import DataError, ModelError, require
from lungsight.evaluation.severity import Agreement, agreement
from lungsight.files import write_bytes
from lungsight.inference.zones import ZONES
from lungsight.model import Model, save
from lungsight.networks.severity import SIZE, SeverityNetwork
from lungsight.progress import ProgressCallback, silent
from lungsight.provenance import commit
from lungsight.records import plain, to_json
from lungsight.training.export import folded
from lungsight.training.severity import (
    VIEWS,
    choose_penalty,
    features_of,
    fit,
    network_of,
    out_of_fold,
    read_scores,
    write_scores,
)

COVERAGE = 0.9
LIMITS = (
    "Research use only, not for diagnosis.",
    "Learned from 160 published films of adults with COVID-19 of early 2020: of other diseases, of children and of "
    "healthy lungs it has seen nothing.",
    "The zones are thirds of each lung's height, not the anatomical lines of the Brixia score.",
    "One network for all hospitals: within one hospital it was not tested.",
)
LICENCE = (
    "Non-commercial: fitted on the Brixia scores (Signoroni et al. 2021, CC BY-NC-SA 4.0). Its frozen features are "
    "EfficientNet-Lite0's, Apache-2.0."
)


@dataclass(frozen=True)
class SeverityFit:
    """What came of a fit: the model, and what each way agrees with the reader by."""

    model: Model
    agreements: tuple[Agreement, ...]
    half_width: float
    failures: tuple[str, ...]


def fit_severity(
    dataset: Dataset,
    scores: Path,
    out: Path,
    *,
    reader: str = "senior",
    seed: int = 0,
    command: str = "",
    progress: ProgressCallback = silent,
) -> SeverityFit:
    """Cross-validate and fit the severity network, and write it.

    `out` gets `severity.onnx` and its card `severity.json`, `severity-out-of-fold.csv` and `severity-metrics.json`.

    Args:
        dataset: with lung masks.
        scores: CSV of readers' scores, see `read_scores`. The mean of all readers is what is learned.
        reader: whose totals the figures are against.
        seed: of folds and bootstraps.

    Raises:
        DataError: the scores do not fit, no such reader, or fewer than 20 patients.
        ModelError: the exported network differs from the fit.
        MissingExtraError: ImageNet's weights are not installed.
    """
    scored = read_scores(scores, dataset)
    if reader not in scored.readers:
        raise DataError(
            f"has no reader of that name; it has {', '.join(scored.readers)}", where=scores, code="reader"
        )
    patients = scored.patients
    if len(set(patients.tolist())) < 20:
        raise DataError("has fewer than 20 patients, too few to fit and judge", where=scores, code="few")
    target = np.mean(list(scored.readers.values()), axis=0)
    judged = scored.readers[reader].sum(axis=1)
    found: list[Agreement] = []
    features, failed = features_of(scored.rows, progress=progress)
    if failed:
        raise DataError("an image with a score cannot be used", where=failed[0], code="unreadable")
    predicted = out_of_fold(features, target, patients, seed=seed)
    totals = predicted.sum(axis=1)
    found.append(agreement("out of fold", totals, judged, patients, seed=seed))
    for name, each in scored.readers.items():
        if name != reader:
            found.append(agreement(f"reader {name}", each.sum(axis=1), judged, patients, seed=seed))
    constant = np.full(len(judged), np.median(judged))
    found.append(agreement("a constant", constant, judged, patients, seed=seed))
    for view in VIEWS[1:]:
        seen, _ = features_of(scored.rows, view, progress=progress)
        blind = out_of_fold(seen, target, patients, seed=seed).sum(axis=1)
        found.append(agreement(f"retrained on {view}", blind, judged, patients, seed=seed))
    half_width = _half_width(np.abs(totals - judged), patients)
    network = network_of(fit(features, target, choose_penalty(features, target, patients, seed)))
    onnx = export_severity(network)
    card = Card(
        name="severity",
        task="severity",
        input=InputSettings(size=SIZE, channels=7),
        threshold=0.5,
        network="severity",
        outputs=("zones",),
        classes=ZONES,
        half_width=half_width,
        trained_on=(
            TrainedOn(
                name=dataset.root.name,
                fingerprint=dataset.fingerprint(),
                images=len(scored.rows),
                patients=len(set(patients.tolist())),
                sources=tuple(sorted({row.source for row in scored.rows})),
            ),
        ),
        start="EfficientNet-Lite0, ImageNet",
        recipe="fit-severity",
        command=command,
        commit=commit(),
        seed=seed,
        metrics={"agreement": [plain(one) for one in found], "against": reader, "coverage": COVERAGE},
        limits=LIMITS,
        licence=LICENCE,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    model = save(out, card, onnx)
    write_scores(out / "severity-out-of-fold.csv", scored, predicted)
    write_bytes(out / "severity-metrics.json", to_json(found) + b"\n")
    return SeverityFit(model, tuple(found), half_width, tuple(failed))


def _half_width(errors: NDArray[np.float64], patients: NDArray[np.str_]) -> float:
    """The conformal quantile of the absolute errors for `COVERAGE`, one film a patient: the worst of each patient's."""
    worst = np.sort([errors[patients == name].max() for name in np.unique(patients)])
    rank = min(len(worst), int(np.ceil((len(worst) + 1) * COVERAGE)))
    return float(worst[rank - 1])


def export_severity(network: SeverityNetwork) -> bytes:
    """The ONNX file; raises ModelError where it answers otherwise than PyTorch by more than 1e-3 of a point."""
    require("onnxscript", feature="Export to ONNX", extra="train")
    import onnxruntime

    example = torch.rand(2, 7, *SIZE)
    buffer = io.BytesIO()
    torch.onnx.export(
        network.grey(),
        (example,),
        buffer,  # type: ignore[arg-type]
        input_names=["image_and_zones"],
        output_names=["zones"],
        dynamic_axes={"image_and_zones": {0: "batch"}, "zones": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )
    code = folded(buffer.getvalue())
    session = onnxruntime.InferenceSession(code, providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        expected = network(example).numpy()
    difference = np.abs(session.run(None, {"image_and_zones": example.numpy()})[0] - expected).max()
    if not difference < 1e-3:
        raise ModelError(f"the exported network differs from the fit by {difference:.1e}", code="parity")
    return code


def rows_of(agreements: Sequence[Agreement]) -> list[tuple[str, str, str]]:
    """(name, error, correlation) in words, for a table on the terminal."""
    return [
        (
            one.name,
            f"{one.mean_absolute_error:.2f} ({one.error_low:.2f} to {one.error_high:.2f})",
            "-"
            if np.isnan(one.correlation)
            else f"{one.correlation:.2f} ({one.correlation_low:.2f} to {one.correlation_high:.2f})",
        )
        for one in agreements
    ]
