"""`lungsight evaluate`: three kinds of models, the report, and exit codes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from lungsight.cli import app
from lungsight.dataset import Dataset
from lungsight.errors import LungsightError
from lungsight.report.claim import CLAIM, TRIPOD, checklists
from small_runs import phantoms, train_diagnosis, write_found_audit, write_table
from tiny_networks import draw_chest, write_bundle

pytest.importorskip("lightning")
pytestmark = pytest.mark.usefixtures("few_trees", "undrawn_charts")


@pytest.fixture
def table(tmp_path: Path) -> Dataset:
    return write_table(tmp_path / "data", [True, False] * 12, sources=["a", "a", "b", "b"] * 6)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def write_scores(path: Path, table: Dataset, **changes: str) -> Path:
    values = {row.id: "0.9" if row.covid else "0.2" for row in table} | changes
    path.write_text("id,probability\n" + "".join(f"{name},{value}\n" for name, value in values.items()))
    return path


def check_report(folder: Path) -> str:
    page = (folder / "report.html").read_text()
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page)
    return page


def test_scores_of_anybody(table: Dataset, tmp_path: Path) -> None:
    csv, out = write_scores(tmp_path / "scores.csv", table), tmp_path / "out"
    result = run("--predictions", csv, "--data", table.root, "--out", out, "--compare", csv)
    assert result.exit_code == 0, result.output
    page = check_report(out)
    # First the table that matters, in its order.
    order = [page.index(f">{name}<") for name in ("Pooled", "Same source", "Border only", "External")]
    assert order == sorted(order) and page.index("The table that matters") < page.index("Reliability")
    for words in ("Reliability diagram", "Decision curve", "Forest plot", "Two models on the same patients"):
        assert words in page, words
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["score"]["metrics"]["auroc"]["value"] == 1 and metrics["score"]["threshold"] == 0.5
    assert metrics["score"]["confusion"] == {"tp": 12, "fp": 0, "fn": 0, "tn": 12}
    assert metrics["comparison"]["tests"]["auroc"]["difference"]["value"] == 0
    assert [one["what"] for one in metrics["first_table"]][:2] == ["Pooled", "Same source"]
    assert (out / "predictions.csv").read_text().splitlines()[1].startswith("x00,p0,a,COVID-19,1,0.9")
    assert "Pooled" in (out / "tables" / "first.csv").read_text()


def test_a_perfect_score_of_few_patients_is_nowhere_without_its_note(tmp_path: Path) -> None:
    """In the terminal, the page, the tables, the checklist, and as a code in the JSON."""
    table, out = write_table(tmp_path / "data", [True, False] * 3), tmp_path / "out"
    csv = write_scores(tmp_path / "s.csv", table)
    result = run("--predictions", csv, "--data", table.root, "--out", out)
    assert result.exit_code == 0, result.output
    words = "too few: 3 patients in the rarer class"
    first = (out / "tables" / "first.csv").read_text().splitlines()[1]
    assert first.startswith("Pooled,1.0,,,") and words in first
    for text in (result.output, (out / "report.html").read_text(), (out / "claim.md").read_text()):
        assert f"1.000 ({words}" in text
        assert "1.000 (1.000" not in text
    metrics = json.loads((out / "metrics.json").read_text())
    area = metrics["score"]["metrics"]["auroc"]
    assert area["low"] is None and {"few_in_class", "few_patients"} <= {
        note["code"] for note in area["notes"]
    }


def test_checklists_have_every_item_once(table: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert (
        run(
            "--predictions", write_scores(tmp_path / "s.csv", table), "--data", table.root, "--out", out
        ).exit_code
        == 0
    )
    found = json.loads((out / "claim.json").read_text())
    topics = {one.name: one.items for one in checklists()}
    assert set(topics) == {CLAIM, TRIPOD}
    assert len(topics[CLAIM]) == 44 and len({re.match(r"\d+", key)[0] for key in topics[TRIPOD]}) == 27  # type: ignore[index]
    for name, items in topics.items():
        assert [one["item"] for one in found[name]] == list(items)
        assert all((one["status"] == "open") == (not one["answer"]) for one in found[name])
    by_number = {one["item"]: one for one in found[CLAIM]}
    assert "AUROC 1.000" in by_number["37"]["answer"] and by_number["44"]["status"] == "open"
    # What only a run knows is open for a stranger's CSV.
    assert by_number["25"]["status"] == "open"
    assert "**open" in (out / "claim.md").read_text()


def test_masks_of_anybody(table: Dataset, tmp_path: Path) -> None:
    folder, out = tmp_path / "masks", tmp_path / "out"
    folder.mkdir()
    for row in table.rows[:-1]:
        assert row.mask is not None
        cv2.imwrite(str(folder / f"{row.image.stem}.png"), row.mask.load().astype(np.uint8) * 255)
    result = run("--masks", folder, "--data", table.root, "--out", out)
    assert result.exit_code == 1, result.output
    assert "x23: has no prediction" in result.output
    page = check_report(out)
    assert "Bland-Altman" in page and "Worst masks" in page
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["masks"]["per_image"]["dice"]["value"] == 1 and metrics["images"] == 23


@pytest.fixture
def tiny_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lungsight.inference import load_model

    nets = write_bundle(tmp_path / "nets", "lungs", "diagnosis")
    monkeypatch.setattr(
        "lungsight.evaluation.models.load_model", lambda _, **options: load_model(nets, **options)
    )


@pytest.mark.usefixtures("tiny_shipped")
def test_networks_that_come_along(table: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for place, row in enumerate(table):
        cv2.imwrite(str(row.image), draw_chest(lung=90 if row.covid else 60, seed=place))
    result = run("--shipped", "--data", table.root, "--out", out, "--external", table.root)
    assert result.exit_code == 0, result.output
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["model"] == "the shipped networks" and "dice" in metrics["masks"]["per_image"]
    external = next(one for one in metrics["first_table"] if one["what"] == "External")
    assert external["auroc"]["value"] == metrics["score"]["metrics"]["auroc"]["value"]


@pytest.mark.usefixtures("tiny_shipped")
def test_a_second_data_set_of_which_no_image_is_scored_costs_no_report(
    table: Dataset, tmp_path: Path
) -> None:
    """Grey squares have no lungs that anybody would believe: none is scored."""
    out = tmp_path / "out"
    result = run("--shipped", "--data", table.root, "--out", out, "--external", table.root)
    assert result.exit_code == 0, result.output
    words = "data: none of its 24 images has both a score and a known class"
    assert f"no external AUROC: {words}" in result.output
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["score"] is None and "dice" in metrics["masks"]["per_image"]


@pytest.fixture(scope="module")
def fold(two_hospitals: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first of three folds, trained for one epoch."""
    run = tmp_path_factory.mktemp("folds") / "fold-1"
    return train_diagnosis(run, two_hospitals, 1, "split.fold=0", "split.folds=3")


def test_a_run_with_its_audit(fold: Path, two_hospitals: Dataset, tmp_path: Path) -> None:
    dataset, folder = two_hospitals, tmp_path / "run"
    shutil.copytree(fold, folder)
    write_found_audit(folder)
    result = run(folder, "--data", dataset.root, "--part", "all")
    assert result.exit_code == 0, result.output
    page = check_report(folder)
    assert "it cannot be told whether the score takes a shortcut" in page and "0.990" in page
    items = {one["item"]: one for one in json.loads((folder / "claim.json").read_text())[CLAIM]}
    assert items["20"]["answer"] == "patient" and "learning rate" in items["25"]["answer"]
    assert json.loads((folder / "metrics.json").read_text())["images"] == 60


class TestBadInput:
    def refused(self, *arguments: object) -> str:
        result = run(*arguments)
        # `main` prints the error and exits with its code; the runner sees the error itself.
        assert isinstance(result.exception, LungsightError), result.output
        assert result.exception.exit_code == 2
        return str(result.exception)

    def test_one_model_is_needed(self, table: Dataset, tmp_path: Path) -> None:
        assert "give one model" in self.refused("--data", table.root)
        csv = write_scores(tmp_path / "s.csv", table)
        assert "give one model" in self.refused("--data", table.root, "--predictions", csv, "--shipped")
        assert "--out is needed" in self.refused("--data", table.root, "--predictions", csv)

    def test_probabilities_out_of_range_and_strange_ids(self, table: Dataset, tmp_path: Path) -> None:
        out = ("--data", table.root, "--out", tmp_path / "out")
        csv = write_scores(tmp_path / "s.csv", table, x05="1.5")
        result = run("--predictions", csv, *out)
        assert result.exit_code == 1 and "left out x05: line 7: the probability is no number" in result.output
        (tmp_path / "s.csv").write_text("id,probability\nnobody,0.5\n")
        assert "no id matches" in self.refused(
            "--predictions", tmp_path / "s.csv", "--data", table.root, "--out", tmp_path / "other"
        )
        assert not (tmp_path / "other").exists()

    def test_few_patients_warn_and_one_class_too(self, tmp_path: Path) -> None:
        table = write_table(tmp_path / "data", [False] * 6)
        csv = write_scores(tmp_path / "s.csv", table)
        result = run("--predictions", csv, "--data", table.root, "--out", tmp_path / "out")
        assert result.exit_code == 0, result.output
        assert "one class only" in result.output and "too few: 6 patients" in result.output
        check_report(tmp_path / "out")

    def test_many_of_one_kind_are_counted(self, tmp_path: Path) -> None:
        table = write_table(tmp_path / "data", [n % 2 == 0 for n in range(40)])
        some = table.where(lambda row: row.id < table.rows[15].id)
        csv = write_scores(tmp_path / "s.csv", some)
        result = run("--predictions", csv, "--data", table.root, "--out", tmp_path / "out")
        assert result.exit_code == 1
        assert result.output.count("left out") == 20 and "... and 5 more: has no prediction" in result.output

    def test_a_run_that_is_none(self, table: Dataset, tmp_path: Path) -> None:
        assert "holds no finished run" in self.refused(tmp_path, "--data", table.root)


def test_a_cross_validated_folder_keeps_its_own_figures(
    fold: Path, two_hospitals: Dataset, tmp_path: Path
) -> None:
    dataset, folder = two_hospitals, tmp_path / "cv"
    for number in (1, 2, 3):  # one network is as good as three here
        shutil.copytree(fold, folder / f"fold-{number}")
    (folder / "config.toml").write_text((folder / "fold-1" / "config.toml").read_text())
    # A recipe that learns from one source tests no image of another: that is no failure.
    lines = [f"{row.id},{0.8 if row.covid else 0.1}" for row in dataset.rows[:50]]
    (folder / "predictions.csv").write_text("\n".join(["id,probability", *lines]) + "\n")
    (folder / "metrics.json").write_text('{"threshold": 0.4, "calibration": {}}')
    other = phantoms(tmp_path / "other", 24, shortcut=0.5, seed=11)
    result = run(folder, "--data", dataset.root, "--external", other.root)
    assert result.exit_code == 0, result.output
    assert "calibration" in json.loads((folder / "metrics.json").read_text())
    found = json.loads((folder / "evaluation" / "metrics.json").read_text())
    assert (
        found["part"] == "out of fold"
        and found["score"]["threshold"] == 0.4
        and found["score"]["metrics"]["auroc"]["value"] == pytest.approx(1)
    )
    assert found["images"] == 50 and "has no prediction" not in result.output
    external = next(one for one in found["first_table"] if one["what"] == "External")
    # Another table is scored by the networks, not by the file.
    assert 0 < external["auroc"]["value"] < 1 and external["auroc"]["n"] == 24


def test_lungs_are_judged_by_the_convention_behind_the_path(tmp_path: Path) -> None:
    """A run with an output for each convention, started, evaluated and exported as the how-to says."""
    table = phantoms(tmp_path / "mine", 20, 0.0)
    out = tmp_path / "run"
    small = ["network.width=0.05", "data.size=[32,32]", "training.epochs=1", "training.start="]
    changes = [word for one in small for word in ("--set", one)]
    trained = CliRunner().invoke(
        app, ["train", "lungs", "--data", f"{table.root}:visible", "--out", str(out), *changes]
    )
    assert trained.exit_code == 0, trained.output
    hint = next(line for line in trained.output.splitlines() if line.startswith("next:"))
    assert hint.endswith(":visible")
    found = {}
    for kind in ("full", "visible"):
        assert run(out, "--data", f"{table.root}:{kind}", "--threshold", 0.5).exit_code == 0
        found[kind] = json.loads((out / "metrics.json").read_text())["masks"]
    assert found["full"] != found["visible"]
    exported = CliRunner().invoke(app, ["export", str(out), "--out", str(tmp_path / "networks")])
    assert exported.exit_code == 0, exported.output
