"""Prediction sets: limits by hand, coverage over patients, and how the set decides."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from lungsight.card import Calibration, Card, Conformal, InputSettings
from lungsight.errors import DataError
from lungsight.inference.classifier import decide
from lungsight.metrics.conformal import conformal_limits
from lungsight.metrics.selective import risk_coverage
from lungsight.records import from_json, to_json
from lungsight.wording import Decision


def test_limits_by_hand() -> None:
    """Of 19 positives with coverage 0.9 the 18th of 20 places counts from the top: the second lowest score."""
    scores = [*range(19), -3.0, -2.0]
    found = conformal_limits(scores, [True] * 19 + [False] * 2, patients=None)
    assert found.positive_from == 1.0
    assert found.negative_to == math.inf, "two negatives rule nothing out"
    assert (found.positive_patients, found.negative_patients) == (19, 2)
    positive, negative = found.sets([0.5, 1.0])
    assert positive.tolist() == [False, True] and negative.tolist() == [True, True]


def test_a_patient_weighs_one_however_many_images() -> None:
    """Ten images of one patient at the bottom weigh 1/20 of all, as the next patient's single image does."""
    scores = np.array([*[-5.0] * 10, *range(18)])
    patients = ["a"] * 10 + [f"p{i}" for i in range(18)]
    truth = np.ones(28, bool)
    assert conformal_limits(scores, truth, patients=patients).positive_from == 0.0
    assert conformal_limits(scores, truth, patients=None).positive_from == -5.0


def test_the_coverage_holds_over_new_patients() -> None:
    """Patients differ in their mean and in their number of images; 0.9 is reached in the mean over draws."""
    rng = np.random.default_rng(0)

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        sizes = rng.integers(1, 6, count)
        who = np.repeat(np.arange(count), sizes)
        return rng.normal(rng.normal(0, 1, count)[who], 0.5), who

    covered = []
    for _ in range(150):
        scores, who = draw(60)
        limits = conformal_limits(scores, np.ones(len(scores), bool), patients=who)
        new, theirs = draw(60)
        inside = limits.sets(new)[0]
        covered.append(np.mean([inside[theirs == one].mean() for one in range(60)]))
    assert 0.89 <= np.mean(covered) <= 0.925


def test_bad_scores_are_refused() -> None:
    with pytest.raises(DataError, match="coverage"):
        conformal_limits([0.0], [True], patients=None, coverage=1.0)
    with pytest.raises(DataError, match="numbers"):
        conformal_limits([math.nan], [True], patients=None)


def card(conformal: Conformal | None) -> Card:
    calibration = Calibration(replicates=((1.0, -3.0), (1.0, 3.0)), conformal=conformal)
    settings = InputSettings(size=(32, 32))
    return Card("one", "diagnosis", settings, 0.5, calibration=calibration)


def test_the_set_decides_where_the_card_has_one() -> None:
    found = [decide(logit, card(Conformal(-1.0, 0.5))) for logit in (-2.0, -1.0, 0.5, 0.6)]
    both = (Decision.COVID, Decision.NOT_COVID)
    assert [one.answers for one in found] == [(Decision.NOT_COVID,), both, both, (Decision.COVID,)]
    assert [one.decision for one in found] == ["not_covid", "uncertain", "uncertain", "covid"]
    none = decide(0.0, card(Conformal(1.0, -1.0)))
    assert (none.decision, none.answers) == (Decision.UNCERTAIN, ()), "a score that fits neither"
    assert decide(9.0, card(Conformal(None, None))).answers == both, "too few patients rule nothing out"
    own = decide(2.0, card(Conformal(-1.0, 0.5)), threshold=0.99)
    assert own.answers == () and own.decision is Decision.UNCERTAIN, (
        "a set is not calibrated for another threshold"
    )
    assert decide(0.6, card(None)).decision is Decision.UNCERTAIN, (
        "cards without a set: the interval, as before"
    )


def test_the_set_does_not_depend_on_the_prevalence_and_comes_back() -> None:
    calibration = Calibration(conformal=Conformal(-1.0, 0.5, 0.9, 20, 30))
    moved = calibration.shifted(from_prevalence=0.8, to_prevalence=0.5)
    assert moved.conformal == calibration.conformal and moved.intercept != calibration.intercept
    assert from_json(Calibration, to_json(moved)) == moved


def test_limits_of_a_cross_validated_folder(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from lungsight.errors import ModelError
    from lungsight.evaluation.conformal import conformal_of

    lines = [f"i{n},p{n},{int(n < 19)},{n if n < 19 else -n}" for n in range(38)]
    (tmp_path / "predictions.csv").write_text("id,patient,covid,logit\n" + "\n".join(lines) + "\n")
    found = conformal_of(tmp_path)
    assert (found.covid_from, found.not_covid_to) == (1.0, -20.0)
    assert (found.covid_patients, found.not_covid_patients, found.coverage) == (19, 19, 0.9)
    (tmp_path / "predictions.csv").write_text("id,patient\n")
    assert conformal_of(tmp_path).covid_from is None
    (tmp_path / "predictions.csv").write_text("id,patient\na,b\n")
    with pytest.raises(ModelError, match="out-of-fold scores"):
        conformal_of(tmp_path)


def test_risk_and_coverage_by_hand() -> None:
    found = risk_coverage([0.4, 0.1, 0.2, 0.3], [True, False, True, False])
    assert found.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert found.risk.tolist() == [0.0, 0.5, pytest.approx(1 / 3), 0.5]
    assert found.area == pytest.approx((0 + 0.5 + 1 / 3 + 0.5) / 4)
    with pytest.raises(DataError):
        risk_coverage([], [])
