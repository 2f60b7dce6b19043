"""From `lungsight cross-validate` to a file that scores without PyTorch."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from command import lungsight
from lungsight.dataset import Dataset, read_dataset
from lungsight.evaluation.predictions import trained_on
from lungsight.model import Bundle, load

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

FOLDS, REPEATS = 3, 2
SMALL = (
    *("--set", "data.size=[32,32]", "--set", "data.resize_to=[64,64]", "--set", "network.width=0.25"),
    *("--set", "training.epochs=1", "--set", f"split.folds={FOLDS}", "--set", 'split.only_source=""'),
    *("--repeats", str(REPEATS)),
)


@pytest.fixture(scope="module")
def done(
    two_hospitals: Dataset, few_trees: None, undrawn_charts: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """The data set and the cross-validated folder."""
    folder, data = tmp_path_factory.mktemp("cross-validated"), two_hospitals.root
    result = lungsight("cross-validate", "diagnosis", *SMALL, "--data", data, "--out", folder / "cv")
    assert result.code == 0, result.err
    assert "repeat 2 of 2, fold 3 of 3" in result.err and "same-source" in result.out
    return data, folder / "cv"


def test_every_image_is_scored_by_a_network_that_did_not_see_its_patient(done: tuple[Path, Path]) -> None:
    data, folder = done
    rows = list(csv.DictReader((folder / "predictions.csv").open()))
    manifest = list(csv.DictReader((data / "manifest.csv").open()))
    patient = {row["id"]: row["patient"] for row in manifest}
    assert sorted(row["id"] for row in rows) == sorted(patient)
    for fold in range(1, FOLDS + 1):
        split = list(csv.DictReader((folder / f"fold-{fold}" / "split.csv").open()))
        learned = {patient[row["id"]] for row in split if row["part"] != "test"}
        tested = {row["patient"] for row in rows if row["fold"] == str(fold)}
        assert tested and not tested & learned


def test_stopped_and_started_again_it_keeps_what_is_done(done: tuple[Path, Path]) -> None:
    data, folder = done
    before = {path: path.stat().st_mtime_ns for path in folder.glob("fold-*/weights.safetensors")}
    scores = (folder / "predictions.csv").read_text()
    assert lungsight("cross-validate", "diagnosis", *SMALL, "--data", data, "--out", folder).code == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (folder / "predictions.csv").read_text() == scores


def test_the_exported_file_is_a_mean_of_one_network_a_repeat_for_balanced_classes(
    done: tuple[Path, Path], tmp_path: Path
) -> None:
    import onnxruntime
    import torch

    from lungsight.training import load_run

    _, folder = done
    predictions = folder / "predictions.csv"
    result = lungsight("export", folder, "--out", tmp_path, "--licence", "test")
    assert result.code == 0, result.err
    model = load(tmp_path / "diagnosis.json")
    inputs = np.random.default_rng(0).random((4, 1, 32, 32), np.float32)
    session = onnxruntime.InferenceSession(model.onnx, providers=["CPUExecutionProvider"])
    logits, evidence = session.run(["logit", "cam"], {"lungs": inputs})
    with torch.inference_mode():
        runs = (folder / "fold-1", folder / "repeat-2" / "fold-1")
        members = [load_run(run)[1](torch.from_numpy(inputs)) for run in runs]
    assert np.allclose(logits, torch.stack(members).mean(dim=0).numpy(), atol=1e-4)
    assert np.allclose(evidence.mean(axis=(2, 3)), logits, atol=1e-5)

    assert model.card.trained_on[0].images == 60
    assert model.card.trained_on[0].patients == len(
        {row["patient"] for row in csv.DictReader(predictions.open())}
    )
    stored = json.loads((folder / "metrics.json").read_text())["calibration"]
    # Fitted to means of as many networks, each of which did not see the image's patient.
    table = list(csv.DictReader(predictions.open()))
    for row in table:
        assert float(row["logit"]) == pytest.approx(
            (float(row["logit_1"]) + float(row["logit_2"])) / 2, abs=2e-6
        )
    share = stored["prevalence"]
    calibration = model.card.calibration
    assert calibration is not None and calibration.prevalence == 0.5
    # By Bayes' rule: the odds at the data set's prevalence are those of a balanced one, times its own odds.
    found = calibration.probability(0.7)
    there = 1 / (1 + np.exp(-(stored["slope"] * 0.7 + stored["intercept"])))
    assert there / (1 - there) == pytest.approx(found / (1 - found) * share / (1 - share))
    sets, rows = calibration.conformal, list(csv.DictReader(predictions.open()))
    people = [{row["patient"] for row in rows if row["covid"] == covid} for covid in "10"]
    assert sets is not None and [sets.covid_patients, sets.not_covid_patients] == [
        len(each) for each in people
    ]
    interval = calibration.interval(0.7)
    assert interval is not None and interval[0] <= interval[1]


def test_whoever_judges_it_on_what_it_learned_from_is_told(done: tuple[Path, Path], tmp_path: Path) -> None:
    data, folder = done
    lungsight("export", folder, "--out", tmp_path / "model", "--licence", "test")
    bundle = Bundle(lungs=load(tmp_path / "model" / "diagnosis.json"))
    table = read_dataset(data)
    moved = data.parent / "elsewhere"
    data.rename(moved)
    try:
        same, other = read_dataset(moved), table.where(lambda row: row.id > table.rows[30].id)
        assert trained_on(bundle, same) == ["diagnosis"], "by its fingerprint"
        assert trained_on(bundle, other) == ["diagnosis"], "by its name"
        rest = dataclasses.replace(other, root=moved)
        assert trained_on(bundle, rest) == []
    finally:
        moved.rename(data)
