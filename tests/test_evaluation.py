"""Figures against hand counts, and the evaluation of a run."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from lungsight.config import load_recipe  # noqa: E402
from lungsight.dataset import Dataset, Row, read_dataset  # noqa: E402
from lungsight.errors import DataError, ModelError  # noqa: E402
from lungsight.evaluation import (  # noqa: E402
    Evaluation,
    evaluate_run,
    mask_metrics,
    same_source_auroc,
    score_metrics,
)
from lungsight.evaluation.runs import best_threshold, load_metrics, read_split  # noqa: E402
from lungsight.records import plain  # noqa: E402
from lungsight.training import train  # noqa: E402


def rows(covid: list[bool], patients: list[str] | None = None, sources: list[str] | None = None) -> list[Row]:
    return [
        Row(
            str(i),
            Path("x.png"),
            covid=value,
            patient=patients[i] if patients else "",
            source=sources[i] if sources else "",
        )
        for i, value in enumerate(covid)
    ]


def test_mask_metrics_by_hand() -> None:
    truth, predicted = np.zeros((2, 4, 4), bool), np.zeros((2, 4, 4), bool)
    truth[0, :2] = True  # 8 pixels
    predicted[0, :2, :2] = True  # 4 of them
    truth[1, 0, :2] = True  # 2 pixels
    predicted[1, 0] = True  # those and 2 more
    found, each = mask_metrics(predicted, truth, rows([True, True], ["a", "b"]), 0.2)
    assert each.values["accuracy"].tolist() == [12 / 16, 14 / 16]
    assert each.values["iou"].tolist() == [4 / 8, 2 / 4]
    assert each.values["dice"].tolist() == pytest.approx([8 / 12, 4 / 6])
    assert found.per_image["dice"].value == pytest.approx(2 / 3)
    assert found.pooled["accuracy"].value == pytest.approx(26 / 32)
    assert found.pooled["iou"].value == pytest.approx(6 / 12)
    assert found.pooled["dice"].value == pytest.approx(12 / 18)
    written = plain(found)
    assert written["threshold"] == 0.2
    assert written["pooled"]["iou"]["value"] == pytest.approx(0.5)


def test_score_metrics_by_hand() -> None:
    score = np.array([0.9, 0.6, 0.4, 0.8, 0.3, 0.2, 0.1, 0.55])
    covid = [True, True, True, False, False, False, False, False]
    found, curves = score_metrics(score, rows(covid, sources=["s"] * 8), 0.5)
    # Of 15 pairs: 0.9 beats 5, 0.6 beats 4, 0.4 beats 3.
    assert found.metrics["auroc"].value == pytest.approx(12 / 15)
    assert found.metrics["accuracy"].value == pytest.approx(5 / 8)
    counts = found.confusion
    assert (counts.tp, counts.fn, counts.fp, counts.tn) == (2, 1, 2, 3)
    assert found.metrics["sensitivity"].value == pytest.approx(2 / 3)
    assert found.metrics["specificity"].value == pytest.approx(3 / 5)
    assert found.majority_accuracy == pytest.approx(5 / 8)
    wanted = np.mean((score - np.array(covid)) ** 2)
    assert found.metrics["brier"].value == pytest.approx(wanted)
    same = found.sources.same_source
    assert same is not None
    assert (same.auroc.value, same.pairs) == (pytest.approx(12 / 15), 15)
    assert same.images == 8
    assert found.metrics["precision"].value == pytest.approx(2 / 4)
    assert found.metrics["negative_predictive_value"].value == pytest.approx(3 / 4)
    assert curves.roc.at(np.array([0.0, 1.0])).tolist() == [pytest.approx(1 / 3), 1.0]


def test_same_source_auroc_by_hand() -> None:
    score = [0.9, 0.8, 0.1, 0.7, 0.6, 0.2, 0.05]
    covid = [True, True, False, True, False, False, False]
    source = ["a", "a", "b", "c", "c", "c", "c"]
    # Only c has both: 0.7 beats all of 0.6, 0.2, 0.05.
    assert same_source_auroc(score, covid, source) == 1.0
    # A second source with both, of one losing pair, counts as its one pair of four.
    assert same_source_auroc([*score, 0.3, 0.4], [*covid, True, False], [*source, "d", "d"]) == 0.75
    assert np.isnan(same_source_auroc(score[:3], covid[:3], source[:3]))


def test_a_score_that_is_only_the_source_is_worth_nothing_within_one() -> None:
    sources = ["a"] * 20 + ["b"] * 20
    covid = [True] * 16 + [False] * 4 + [True] * 4 + [False] * 16
    score = np.array([0.9] * 20 + [0.1] * 20)
    found, _ = score_metrics(score, rows(covid, sources=sources))
    assert found.metrics["auroc"].value == pytest.approx(0.8)
    assert found.sources.same_source is not None
    assert found.sources.same_source.auroc.value == pytest.approx(0.5)


def test_images_of_one_source_are_counted_only_where_it_has_both_classes() -> None:
    found, _ = score_metrics(
        np.array([0.1, 0.2, 0.7, 0.8]), rows([False, True, False, False], sources=["a", "a", "b", "b"])
    )
    assert found.sources.same_source is not None and found.sources.same_source.images == 2
    alone, _ = score_metrics(np.array([0.1, 0.9]), rows([False, True], sources=["a", "b"]))
    assert alone.sources.same_source is None


def test_the_best_threshold_is_that_of_the_highest_dice() -> None:
    truth = np.zeros((2, 8, 8), bool)
    truth[:, :4] = True
    probability = np.where(truth, 0.42, 0.28).astype(np.float32)
    assert 0.28 < best_threshold(probability, truth) <= 0.42


# ------------------------------------------------------------------------------------------- of a run

SMALL: dict[str, Any] = {
    "network.width": 0.1,
    "data.size": [64, 64],
    "training.batch": 4,
    "training.epochs": 6,
    "training.learning_rate": 5e-3,
    "training.ema_decay": 0.0,
    "training.augmentation": "none",
}


@pytest.fixture(scope="module")
def dataset(phantoms: Path) -> Dataset:
    return read_dataset(phantoms)


@pytest.fixture(scope="module")
def lung_run(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = load_recipe("lungs-scratch").with_settings(**SMALL)
    return train(recipe, dataset, tmp_path_factory.mktemp("runs") / "lungs").folder


@pytest.fixture(scope="module")
def diagnosis_run(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = SMALL | {"data.crop": [4, 4, 0, 4], "training.learning_rate": 1e-3}
    recipe = load_recipe("paper-diagnosis").with_settings(**settings)
    return train(recipe, dataset, tmp_path_factory.mktemp("runs") / "diagnosis").folder


def predictions(run: Path) -> list[dict[str, str]]:
    with (run / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_files_of_a_lung_evaluation(dataset: Dataset, lung_run: Path) -> None:
    result = evaluate_run(lung_run, dataset)
    assert result.record.part == "test"
    parts = read_split(lung_run)
    said = result.predictions
    assert [row.id for row in said.rows] == [row.id for row in dataset if parts[row.id] == "test"]
    assert said.truth is not None and said.maps is not None and result.masks is not None
    table = predictions(lung_run)
    for place, line in enumerate(table):
        predicted, true = said.maps[place] >= result.masks.threshold, said.truth[place]
        assert line["id"] == said.rows[place].id
        dice = 2 * (predicted & true).sum() / (predicted.sum() + true.sum())
        assert float(line["dice"]) == pytest.approx(dice, abs=1e-6)
    written = load_metrics(lung_run)
    assert written["images"] == len(table)
    mean = np.mean([float(line["dice"]) for line in table])
    assert written["per_image"]["dice"]["value"] == pytest.approx(mean, abs=1e-6)
    assert written["patients"] == len({row.patient for row in said.rows})


def test_the_threshold_is_chosen_on_the_validation_part_alone(
    dataset: Dataset, lung_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[NDArray[np.bool_]] = []

    def choose(probability: NDArray[np.float32], truth: NDArray[np.bool_]) -> float:
        seen.append(truth)
        assert probability.shape == truth.shape
        return 0.35

    monkeypatch.setattr("lungsight.evaluation.runs.best_threshold", choose)
    result = evaluate_run(lung_run, dataset, write=False)
    assert result.masks is not None and result.masks.threshold == 0.35
    parts = read_split(lung_run)
    everything = evaluate_run(lung_run, dataset, part="validation", threshold=0.4, write=False)
    assert len(seen) == 1, "a given threshold is not chosen"
    assert everything.masks is not None and everything.masks.threshold == 0.4
    assert np.array_equal(seen[0], everything.predictions.truth)
    assert len(seen[0]) == sum(part == "validation" for part in parts.values())


def test_files_of_a_diagnosis_evaluation(dataset: Dataset, diagnosis_run: Path) -> None:
    result = evaluate_run(diagnosis_run, dataset)
    assert result.record.part == "validation", "the paper's split has no test part"
    assert result.score is not None
    table = predictions(diagnosis_run)
    score = np.array([float(line["probability"]) for line in table])
    covid = np.array([line["covid"] == "1" for line in table])
    pairs = [(a > b) + (a == b) / 2 for a in score[covid] for b in score[~covid]]
    assert load_metrics(diagnosis_run)["auroc"]["value"] == pytest.approx(np.mean(pairs), abs=1e-6)
    assert load_metrics(diagnosis_run)["accuracy"]["value"] == pytest.approx(((score >= 0.5) == covid).mean())
    assert load_metrics(diagnosis_run)["threshold"] == 0.5


def test_parts(dataset: Dataset, lung_run: Path, tmp_path: Path) -> None:
    def size(found: Evaluation) -> int:
        return found.record.images

    parts = [
        size(evaluate_run(lung_run, dataset, part=p, write=False)) for p in ("train", "validation", "test")
    ]
    assert sum(parts) == len(dataset)
    assert size(evaluate_run(lung_run, dataset, part="all", write=False)) == len(dataset)
    with pytest.raises(DataError, match=r"there is no part 'tset'\. Parts: train"):
        evaluate_run(lung_run, dataset, part="tset", write=False)
    renamed = tmp_path / "manifest.csv"
    text = (dataset.root / "manifest.csv").read_text()
    renamed.write_text(
        text.replace("\nphantom-3", "\nother-3")
        .replace(",images/", f",{dataset.root}/images/")
        .replace(",masks/", f",{dataset.root}/masks/")
    )
    other = read_dataset(tmp_path)
    outside = evaluate_run(lung_run, other, threshold=0.5, write=False)
    assert (outside.record.part, size(outside)) == ("all", len(dataset))
    with pytest.raises(DataError, match="none of its images is in the test part"):
        evaluate_run(lung_run, other, part="test", write=False)


def test_evaluating_is_repeatable(dataset: Dataset, lung_run: Path) -> None:
    first, second = (plain(evaluate_run(lung_run, dataset, write=False).record) for _ in range(2))
    assert json.dumps(first) == json.dumps(second)


def test_damaged_runs_are_named(dataset: Dataset, lung_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no finished run"):
        evaluate_run(tmp_path, dataset)
    with pytest.raises(ModelError, match="was not evaluated yet"):
        load_metrics(tmp_path)
    folder = tmp_path / "run"
    shutil.copytree(lung_run, folder)
    (folder / "split.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ModelError, match=r"split\.csv is missing or damaged"):
        evaluate_run(folder, dataset)
    (folder / "weights.safetensors").write_bytes(b"no")
    with pytest.raises(ModelError, match="are damaged"):
        evaluate_run(folder, dataset)
    wide = load_recipe(lung_run / "config.toml").with_settings(**{"network.width": 0.2})
    from lungsight.records import to_toml

    shutil.copy(lung_run / "weights.safetensors", folder)
    (folder / "config.toml").write_text(to_toml(wide))
    with pytest.raises(ModelError, match=r"or not those of config\.toml"):
        evaluate_run(folder, dataset)
