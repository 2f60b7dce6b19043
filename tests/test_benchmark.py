"""The bench of the cited systems: figures by hand, a small run that resumes, and bad input."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

torch = pytest.importorskip("torch")
pytest.importorskip("monai")

from command import lungsight  # noqa: E402
from lungsight.benchmark import SYSTEMS, choose_systems, read_bench, run_benchmark  # noqa: E402
from lungsight.benchmark.bench import network_cost  # noqa: E402
from lungsight.benchmark.figures import headline_estimate, holm, same_source_auroc  # noqa: E402
from lungsight.benchmark.plan import Plan, choose_images, keep_plan, recall_plan  # noqa: E402
from lungsight.benchmark.scores import external_rows  # noqa: E402
from lungsight.benchmark.systems import bench_recipe  # noqa: E402
from lungsight.config import load_recipe  # noqa: E402
from lungsight.dataset import read_dataset  # noqa: E402
from lungsight.dataset.table import Dataset, Row  # noqa: E402
from lungsight.errors import ConfigError, DataError  # noqa: E402
from lungsight.report.benchmark_report import write_benchmark  # noqa: E402
from lungsight.wording import Region  # noqa: E402

TWO = choose_systems(["paper-cnn", "zhang-anomaly"])
SMALL = {"side": 32, "width": 0.25, "folds": 3, "minutes": 0.02}


def elsewhere(dataset: Dataset) -> Dataset:
    """The same images as another hospital's, of patients with other names."""
    return replace(dataset, rows=tuple(replace(row, patient=f"other-{row.patient}") for row in dataset))


def test_a_small_run_that_continues(phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = read_dataset(phantoms)
    monkeypatch.setattr("lungsight.benchmark.bench.RETRAINED", (Region.BORDER,))
    second = elsewhere(dataset)
    bench = run_benchmark(dataset, tmp_path, systems=TWO, external=second, **SMALL)  # type: ignore[arg-type]
    assert bench == read_bench(tmp_path) or math.isnan(bench.systems[0].p_pooled)
    assert [one.name for one in bench.systems] == ["paper-cnn", "zhang-anomaly"]
    assert (bench.images, bench.folds, bench.reduced, bench.majority) == (24, 3, True, 0.75)
    tables = []
    for one in bench.systems:
        with (tmp_path / one.name / "predictions.csv").open() as file:
            tables.append(list(csv.DictReader(file)))
        assert 0 <= one.pooled.low <= one.pooled.value <= one.pooled.high <= 1
        own = one.name == "paper-cnn"
        assert (one.size, one.width, one.start) == (
            one.size if own else (32, 32),
            1 if own else 0.25,
            "noise",
        )
        assert one.seconds_predict > 0 and one.epochs >= 1
    folds = [{row["id"]: row["fold"] for row in table} for table in tables]
    assert folds[0] == folds[1] and len(folds[0]) == 24, "the same patients in the same folds"
    assert any(row["whole"] != row["border"] for row in tables[0])
    assert any(row["whole"] != row["lungs_black"] for row in tables[0])
    assert (bench.external_images, bench.external_patients) == (24, len({row.patient for row in dataset}))
    assert all(one.external is not None and 0 <= one.external.value <= 1 for one in bench.systems)
    page = write_benchmark(bench, tmp_path).read_text()
    text = (tmp_path / "benchmark.md").read_text()
    for shown in (page, text):
        assert "has an accuracy of 0.750" in shown and "noise" in shown
    assert "0.960 (0.902 to 0.984) | 100" in text, "Zhang's headline with Wilson's interval"
    assert [one.key for one in bench.retrained] == ["border"]
    assert (tmp_path / "pooled-vs-same-source.svg").read_text().startswith("<?xml")
    monkeypatch.setattr("lightning.Trainer.fit", lambda *_, **__: pytest.fail("it trained again"))
    again = run_benchmark(dataset, tmp_path, systems=TWO, external=second, **SMALL)  # type: ignore[arg-type]
    assert [one.pooled for one in again.systems] == [one.pooled for one in bench.systems]
    with pytest.raises(ConfigError, match="begun otherwise: the budget differs"):
        run_benchmark(dataset, tmp_path, systems=TWO, **(SMALL | {"minutes": 3}))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="begun with --budget 0"):
        run_benchmark(dataset, tmp_path, systems=TWO, folds=3)


def test_same_source_by_hand() -> None:
    """Two sources with both classes: three of four pairs in one, all two in the other; the third has one class."""
    scores = np.array([0.9, 0.4, 0.5, 0.1, 0.8, 0.3, 0.2, 0.99])
    truth = np.array([True, True, False, False, True, False, False, True])
    sources = ["a"] * 4 + ["b"] * 3 + ["c"]
    found = same_source_auroc(scores, truth, sources, [str(i) for i in range(8)])
    assert found.value == pytest.approx((3 + 2) / (4 + 2))
    assert (found.images, found.patients) == (7, 7)
    one = same_source_auroc(scores[[0, 1, 2, 3, 7]], truth[[0, 1, 2, 3, 7]], [*"aaaa", "c"], [*"12345"])
    assert (one.value, one.images) == (pytest.approx(0.75), 4)
    none = same_source_auroc(scores[:2], truth[:2], ["a", "a"], ["1", "2"])
    assert math.isnan(none.value) and str(none) == "n/a"


def test_headlines_get_the_interval_that_their_size_allows() -> None:
    """27 of 31 is 71 to 95 %, 9 of 10 is 60 to 98 %."""
    assert (headline_estimate(27, 31).low, headline_estimate(27, 31).high) == pytest.approx(
        (0.711, 0.949), abs=2e-3
    )
    assert (headline_estimate(9, 10).low, headline_estimate(9, 10).high) == pytest.approx(
        (0.596, 0.982), abs=2e-3
    )
    assert math.isnan(headline_estimate(0, 0).value)


def test_holm_by_hand() -> None:
    assert holm([0.02, math.nan, 0.01, 0.5]) == [0.04, pytest.approx(math.nan, nan_ok=True), 0.03, 0.5]
    assert holm([0.4, 0.5]) == [0.8, 0.8]
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_costs_of_a_network_by_hand() -> None:
    """The paper's CNN at 246 x 236: multiplications and additions of two convolutions and two dense layers."""
    parameters, gflop = network_cost(load_recipe("paper-diagnosis"))
    first, second = 244 * 234 * 32 * 27, 120 * 115 * 64 * 32 * 9
    flat = 60 * 57 * 64
    assert gflop == pytest.approx(2 * (first + second + flat * 64 + 64) / 1e9, rel=1e-6)
    assert parameters == 32 * 27 + 32 + 64 * 288 + 64 + flat * 64 + 64 + 65


def test_every_system_has_a_recipe_at_full_and_at_reduced_size() -> None:
    from lungsight.networks import check

    for system in SYSTEMS:
        for side in (None, 64, 96):
            recipe = bench_recipe(system, side=side, width=None, folds=5, seed=1)
            check(recipe.network.name, size=recipe.data.input_size, masks=False, answers=1)
            assert (recipe.split.kind, recipe.split.folds, recipe.split.only_source) == ("patient", 5, "")


def test_bad_input_is_named(phantoms: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no system 'covidnet'. Did you mean covid-net"):
        choose_systems(["covidnet"])
    dataset = read_dataset(phantoms)
    people = [next(row.patient for row in dataset if row.covid is covid) for covid in (True, False)]
    two = dataset.where(lambda row: row.patient in people)
    with pytest.raises(DataError, match="has 1 patient with COVID-19, too few for 3 folds"):
        run_benchmark(two, tmp_path, systems=TWO, **SMALL)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="one class only"):
        run_benchmark(dataset.where(lambda row: bool(row.covid)), tmp_path, systems=TWO, **SMALL)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no image with a lung mask"):
        run_benchmark(dataset.where(lambda row: False), tmp_path, systems=TWO, **SMALL)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="budget"):
        run_benchmark(dataset, tmp_path, systems=TWO, minutes=0)
    with pytest.raises(ConfigError, match="holds no benchmark"):
        read_bench(tmp_path)
    assert not list(tmp_path.iterdir())


def some_rows(dataset: Dataset, folder: Path, keep: Callable[[Row], bool]) -> Path:
    """The rows of a data set that are kept, as a table of its own with the same files."""
    with (dataset.root / "manifest.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    kept = {row.id for row in dataset if keep(row)}
    folder.mkdir()
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(lines[0]))
        table.writeheader()
        for line in lines:
            if line["id"] in kept:
                files = {name: str(dataset.root / line[name]) for name in ("image", "mask")}
                table.writerow(line | files)
    return folder


def test_bad_input_on_the_command_line(phantoms: Path, tmp_path: Path) -> None:
    """One line that says what is wrong, exit code 2, and nothing trained."""
    dataset = read_dataset(phantoms)
    people = [next(row.patient for row in dataset if row.covid is covid) for covid in (True, False)]
    two = some_rows(dataset, tmp_path / "two", lambda row: row.patient in people)
    one = some_rows(dataset, tmp_path / "one", lambda row: bool(row.covid))
    few = some_rows(dataset, tmp_path / "few", lambda row: not row.covid or row.patient in people)
    torch.save(
        {"conv1.weight": torch.zeros(64, 3, 7, 7), "fc.weight": torch.zeros(1000, 512)}, tmp_path / "w.pth"
    )
    out = ("--out", tmp_path / "out")
    short = ("--budget", "0.1", "--folds", "3", "--systems", "paper-cnn")
    asked: list[tuple[str, tuple[str | Path, ...]]] = [
        (
            "system 'covidnet'. Did you mean covid-net?",
            ("benchmark", "--data", phantoms, "--systems", "covidnet"),
        ),
        (
            "has 1 patient with COVID-19, too few for 3 folds. Use more data",
            ("benchmark", "--data", two, *short),
        ),
        (
            "has 1 patient with COVID-19, too few for 3 folds. Use more data",
            ("benchmark", "--data", few, *short),
        ),
        ("holds one class only", ("benchmark", "--data", one, *short)),
        ("too few patients", ("train", "narin-resnet50", "--data", two)),
        ("too few patients", ("cross-validate", "narin-resnet50", "--data", few)),
        ("is too small to split", ("reproduce", "--data", two, "--budget", "1")),
        ("needs both classes", ("train", "narin-resnet50", "--data", one)),
        ("recipe 'covidnet'. Did you mean covid-net?", ("train", "covidnet", "--data", one)),
        ("layers fits", ("train", "paper-diagnosis", "--data", phantoms, "--weights", tmp_path / "w.pth")),
    ]
    for words, arguments in asked:
        done = lungsight(*arguments, *out)
        assert (done.code, done.out) == (2, ""), arguments
        assert words in done.err and "Traceback" not in done.err
    assert not (tmp_path / "out" / "config.toml").exists(), "the folder is still free for a run"


def test_a_second_data_set_has_other_patients_and_both_classes(phantoms: Path) -> None:
    dataset = read_dataset(phantoms)
    assert len(external_rows(elsewhere(dataset), dataset)) == 24
    for other in (dataset, elsewhere(dataset).where(lambda row: bool(row.covid))):
        with pytest.raises(DataError, match="no two classes"):
            external_rows(other, dataset)


def test_images_of_a_source_with_both_classes_are_never_left_out(phantoms: Path) -> None:
    """Six images of one source with both classes, and 18 of another without COVID-19 of six patients of three each."""
    rows = [
        replace(
            row, source="mixed" if i < 6 else "one", covid=i < 3, patient=f"p{i if i < 6 else i // 3 + 100}"
        )
        for i, row in enumerate(read_dataset(phantoms))
    ]
    dataset = replace(read_dataset(phantoms), rows=tuple(rows))
    kept = choose_images(dataset, 10, seed=1)
    assert len(kept) == 12, "whole patients, until there are ten"
    assert sum(row.source == "mixed" for row in kept) == 6
    assert [row.id for row in kept] == [row.id for row in choose_images(dataset, 10, seed=1)]
    assert choose_images(dataset, 24, seed=1) is dataset


def test_a_plan_is_kept_and_held_to(tmp_path: Path) -> None:
    plan = Plan(5, 64, 0.25, 3, 1, ("a", "b"), "data", 900, 600, (0.01, 0.02), (0.001, 0.002))
    assert recall_plan(tmp_path, plan) is None
    assert recall_plan(tmp_path, keep_plan(tmp_path, plan)) == plan
    assert plan.minutes_of(1) == pytest.approx(2 * (600 * 0.02 + 300 * 2 * 0.002) / 60)
    for name, value in {"minutes": 6.0, "systems": ("a",), "fingerprint": "other", "folds": 5}.items():
        with pytest.raises(ConfigError, match="was begun otherwise"):
            recall_plan(tmp_path, structs.replace(plan, **{name: value}))
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(ConfigError, match="damaged"):
        recall_plan(tmp_path, plan)


def test_one_class_in_a_fold() -> None:
    """Its AUROC is left out of the mean, and the others' calibration still holds for its images."""
    from lungsight.evaluation.crossvalidation import calibrated_out_of_fold, corrected_t, fold_aurocs
    from lungsight.metrics import Patients

    logits = np.array([[2.0, 1.0, 0.5, 0.2, -1.0, 1.0]])
    truth, fold = np.array([True, False, True, True, False, True]), np.array([[1, 1, 2, 2, 3, 3]])
    found = fold_aurocs(logits, fold, truth)
    assert found[0] == 1 and math.isnan(found[1]) and found[2] == 1
    assert corrected_t(found, 3, 6, Patients.of(list("abcdef"), 6)).value == 1
    assert np.isfinite(calibrated_out_of_fold(logits[0], truth, fold[0])).all()
