"""Another question than COVID-19 through every command that asks one; the words of its reports follow."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from lungsight.cli import app
from lungsight.config import load_recipe
from lungsight.dataset import Dataset, with_target
from lungsight.errors import DataError, LungsightError, ModelError
from small_runs import SETTINGS, write_table

pytest.importorskip("lightning")
pytestmark = pytest.mark.usefixtures("few_trees", "undrawn_charts")

PNEUMONIA = "bacterial pneumonia|viral pneumonia"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture
def table(tmp_path: Path) -> Dataset:
    """24 patients; the finding of every third is an effusion, told by the text alone; two are doubtful."""
    found = write_table(tmp_path / "data", [True, False] * 12, sources=["a", "a", "b", "b"] * 6)
    path = found.root / "manifest.csv"
    lines = list(csv.reader(path.open()))
    for place, line in enumerate(lines[1:]):
        line[5] = "possible effusion" if place in (4, 5) else "effusion" if place % 3 == 0 else line[5]
        line[6] = ""
    path.write_text("\n".join(map(",".join, lines)) + "\n")
    return found


def scores(path: Path, table: Dataset) -> Path:
    path.write_text("id,probability\n" + "".join(f"{row.id},0.{n % 9 + 1}\n" for n, row in enumerate(table)))
    return path


def test_scores_of_another_finding(table: Dataset, tmp_path: Path) -> None:
    given = scores(tmp_path / "s.csv", table)
    out = tmp_path / "out"
    result = run(
        "evaluate", "--predictions", given, "--data", table.root, "--out", out, "--target", "effusion"
    )
    assert result.exit_code == 0, result.output
    assert "target effusion, 2 uncertain labels left out" in result.output
    metrics = json.loads((out / "metrics.json").read_text())
    # Eight of 24 say it, two are doubtful and left out.
    assert metrics["scored"] == 22 and metrics["target"]["rows_uncertain"] == 2
    confusion = metrics["score"]["confusion"]
    assert confusion["tp"] + confusion["fn"] == 8
    assert {one["positive"] for one in metrics["subgroups"] if one["kind"] == "source"} == {4}
    assert (out / "predictions.csv").read_text().startswith("id,patient,source,finding,positive,")
    page, claim = (out / "report.html").read_text(), (out / "claim.md").read_text()
    for words in (
        "are eight in ten effusion?",
        "effusion with the lowest scores",
        "2 uncertain labels left out",
    ):
        assert words in page, words
    assert "22 images, 8 with effusion" in claim and "probability of effusion, cut at" in claim
    # COVID-19 is a finding of this table, and not what was asked.
    assert "with COVID-19" not in page and "with COVID-19" not in claim

    taken = run(
        *("evaluate", "--predictions", given, "--data", table.root, "--out", tmp_path / "b"),
        *("--target", "effusion", "--uncertain", "positive"),
    )
    assert taken.exit_code == 0, taken.output
    confusion = json.loads((tmp_path / "b" / "metrics.json").read_text())["score"]["confusion"]
    assert confusion["tp"] + confusion["fn"] == 10


def test_a_target_that_no_row_has(table: Dataset, tmp_path: Path) -> None:
    given = scores(tmp_path / "s.csv", table)
    for command in (
        ("evaluate", "--predictions", given, "--out", tmp_path / "out"),
        ("audit", "--predictions", given, "--out", tmp_path / "out"),
        ("train", "paper-diagnosis", "--out", tmp_path / "out"),
        ("cross-validate", "paper-diagnosis", "--out", tmp_path / "out"),
        ("benchmark", "--out", tmp_path / "out"),
    ):
        result = run(*command, "--data", table.root, "--target", "cardiomegaly")
        assert isinstance(result.exception, DataError), command
        assert "no image of the data set shows the target cardiomegaly" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_a_run_knows_what_it_was_trained_on(two_hospitals: Dataset, tmp_path: Path) -> None:
    dataset = two_hospitals
    folder = tmp_path / "run"
    settings = [part for one in (*SETTINGS, "training.epochs=1") for part in ("--set", one)]
    result = run(
        "train", "paper-diagnosis", "--data", dataset.root, "--out", folder, "--target", PNEUMONIA, *settings
    )
    assert result.exit_code == 0, result.output
    assert load_recipe(folder / "config.toml").data.target == PNEUMONIA
    wanted = {row.id for row in dataset if row.finding in PNEUMONIA.split("|")}
    assert 0 < len(wanted) < 30
    # The run's own question, without a word on it; and the same where the table was asked it before.
    result = run("evaluate", folder, "--data", dataset.root, "--part", "all")
    assert result.exit_code == 0, result.output
    assert f"target {PNEUMONIA}" in result.output
    written = csv.DictReader((folder / "predictions.csv").open())
    assert {line["id"] for line in written if line["positive"] == "1"} == wanted

    from lungsight.audit.audited import load_audited
    from lungsight.ship import export

    for asked in (dataset, with_target(dataset, PNEUMONIA)):
        audited = load_audited(folder, asked, part="all")
        assert audited.dataset.target.name == PNEUMONIA
        assert {row.id for row in audited.rows if row.positive} == wanted
    with pytest.raises(ModelError, match="was trained on bacterial"):
        export(folder, tmp_path / "shipped")


@pytest.mark.parametrize("command", ["benchmark", "cross-validate"])
def test_the_question_reaches_what_trains(
    command: str, table: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lungsight.training.prepare import ask, with_target_of

    class Stop(LungsightError):
        pass

    seen: list[Any] = []

    def train(recipe: Any, dataset: Dataset, *_: Any, **__: Any) -> None:
        asked = ask(dataset, recipe)
        seen.append((with_target_of(recipe, asked).data.target, sum(bool(row.positive) for row in asked)))
        raise Stop("enough")

    module = "lungsight.benchmark.bench" if command == "benchmark" else "lungsight.evaluation.crossvalidation"
    monkeypatch.setattr(f"{module}.train", train)
    first = ["paper-diagnosis"] if command == "cross-validate" else ["--systems", "paper-cnn"]
    result = run(command, *first, "--data", table.root, "--out", tmp_path / "o", "--target", "effusion")
    assert isinstance(result.exception, Stop), result.exception or result.output
    assert seen == [("effusion", 8)]


def test_the_papers_defaults_are_as_they_were() -> None:
    recipe = load_recipe("paper-diagnosis")
    assert (recipe.data.target, recipe.data.uncertain) == ("COVID-19", "drop")
