"""What uncertainty is worth: signals, sets by source, another hospital, the command and its report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from lungsight.errors import DataError
from lungsight.evaluation.uncertainty import (
    Scores,
    age_groups,
    conformal_sets,
    evaluate_uncertainty,
    read_members,
    uncertainties,
)
from lungsight.report.uncertainty_report import write_uncertainty


def drawn(count: int, spread: float, seed: int = 0) -> Scores:
    """Scores of two sources; in 'b' half of the images of either class are scored as the other."""
    rng = np.random.default_rng(seed)
    truth = rng.random(count) < 0.5
    sources = np.where(rng.random(count) < 0.3, "b", "a")
    wrong = (sources == "b") & (rng.random(count) < 0.5)
    logits = np.where(truth ^ wrong, 2.0, -2.0) + rng.normal(0, spread, count)
    members = 1 / (1 + np.exp(-(logits + rng.normal(0, 0.3, (3, count)))))
    ids = tuple(f"i{n}" for n in range(count))
    return Scores(ids, np.array(ids), sources, truth, np.arange(count) % 4, members)


def test_sets_cover_over_all_and_not_within_the_source_that_the_score_fails_in() -> None:
    scores = drawn(1200, 1.5)
    found = evaluate_uncertainty(scores, groups={"sex": ["F", ""] * 600})
    parts = {one.name: one for one in found.sets}
    for name in ("all", "COVID-19", "without COVID-19"):
        assert 0.87 <= parts[name].covered.value <= 0.94
    assert parts["source b"].covered.value < 0.85 < 0.92 < parts["source a"].covered.value
    assert parts["sex F"].images == 600 and "sex " not in parts
    assert found.members == 3 and [one.name for one in found.signals][-1] == "disagreement (BALD)"


def test_an_uncertainty_that_knows_of_the_errors_and_one_that_does_not() -> None:
    rng = np.random.default_rng(1)
    truth = rng.random(400) < 0.5
    probability = np.clip(np.where(truth, 0.7, 0.3) + rng.normal(0, 0.25, 400), 0.01, 0.99)
    ids = tuple(map(str, range(400)))
    scores = Scores(ids, np.array(ids), np.full(400, "a"), truth, np.arange(400) % 4, probability[None])
    elsewhere = np.full((1, 50), 0.5)
    found = evaluate_uncertainty(scores, elsewhere=elsewhere, elsewhere_name="there")
    entropy = next(one for one in found.signals if one.name == "entropy")
    assert entropy.error_auroc.value > 0.7 and entropy.area < entropy.risk
    assert entropy.curve[-1] == pytest.approx(entropy.risk) and entropy.coverage[-1] == 1
    assert entropy.elsewhere_auroc is not None and entropy.elsewhere_auroc > 0.98, "0.5 is the least certain"
    assert (found.elsewhere_images, found.members) == (50, 1)


def test_limits_of_a_fold_come_from_the_others() -> None:
    """All scores of fold 0 are shifted: its own limits would cover, those of the others do not."""
    scores = drawn(800, 0.5)
    moved = scores.members.copy()
    moved[:, scores.fold == 0] = 0.999
    positive, negative = conformal_sets(replace(scores, members=moved))
    assert positive[scores.fold == 0].all() and not negative[scores.fold == 0].any()


def test_tables_of_scores_that_can_be_read(tmp_path: Path) -> None:
    head = "id,patient,source,covid,fold,"
    path = tmp_path / "t.csv"
    path.write_text(f"{head}logit,probability,logit_1,logit_2\na,p,s,1,1,0,0.5,0,2\nb,q,s,0,2,0,0.5,-2,0\n")
    found = read_members(path)
    assert found.members == pytest.approx(np.array([[0.5, 0.1192], [0.8808, 0.5]]), abs=1e-4)
    path.write_text(f"{head}whole,border\na,,s,1,1,0.25,0.9\n")
    found = read_members(path)
    assert found.members.tolist() == [[0.25]] and found.patients.tolist() == ["a"]
    path.write_text(f"{head}pass_1,pass_2\na,p,s,1,1,0.25,0.75\n")
    assert read_members(path).members.tolist() == [[0.25], [0.75]]
    for text in ("id,patient\na,p\n", f"{head}whole\na,p,s,1,1,x\n", ""):
        path.write_text(text)
        with pytest.raises(DataError):
            read_members(path)
    with pytest.raises(DataError, match="one class"):
        evaluate_uncertainty(replace(drawn(20, 1.0), truth=np.ones(20, bool)))


def test_ages_and_signals() -> None:
    assert age_groups([3, 18, 64.9, 65, None]) == ["under 18", "18 to 64", "18 to 64", "65 on", ""]
    found = uncertainties(np.array([[0.5, 1.0]]))
    assert list(found) == ["distance from the threshold", "entropy"]
    assert found["distance from the threshold"].tolist() == [1.0, 0.0]


def test_the_report(tmp_path: Path) -> None:
    found = evaluate_uncertainty(drawn(200, 1.0))
    page = write_uncertainty(tmp_path, found).read_text()
    assert "covid or not" in page and "<svg" in page and "source b" in page
    assert json.loads((tmp_path / "uncertainty.json").read_text())["images"] == 200
    assert (tmp_path / "tables" / "coverage.csv").read_text().count("\n") == 1 + len(found.sets)
