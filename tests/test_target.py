"""Any finding, several joined, or a column, as the question that is asked of each image."""

from __future__ import annotations

from pathlib import Path

import pytest

from lungsight.dataset import Dataset, Row, is_covid, with_target
from lungsight.dataset.cells import Cells
from lungsight.dataset.split import by_patient
from lungsight.errors import DataError
from lungsight.wording import Label


def rows(*findings: str) -> Dataset:
    return Dataset(
        Path("drawn"),
        "manifest",
        tuple(
            Row(str(n), Path("x"), finding=text, covid=is_covid(text), patient=str(n))
            for n, text in enumerate(findings)
        ),
    )


def labelled(*labels: dict[str, Label], **extra: str) -> Dataset:
    return Dataset(
        Path("drawn"),
        "chexpert",
        tuple(Row(str(n), Path("x"), labels=Cells.of(one), patient=str(n)) for n, one in enumerate(labels)),
    )


def truths(dataset: Dataset) -> list[bool | None]:
    return [row.positive for row in dataset]


@pytest.mark.parametrize(
    ("finding", "covid"),
    [
        ("ruled out COVID-19", False),
        ("COVID-19 ruled out", False),
        ("COVID-19 has been excluded", False),
        ("no evidence of COVID-19", False),
        ("COVID-19 RT-PCR negative", False),
        ("SARS-CoV-2: not detected", False),
        ("negative for COVID-19", False),
        ("COVID-19 (-)", False),
        ("noncovid", False),
        ("covid_negative", False),
        ("pneumonia w/o COVID-19", False),
        ("MERS coronavirus", False),
        ("COVID-19 without ARDS", True),
        ("not bacterial but COVID-19", True),
        ("COVID-19, bacterial pneumonia ruled out", True),
        ("Coronavirus disease 2019", True),
        ("2019-nCoV", True),
        ("suspected COVID-19", None),
        ("COVID-19?", None),
        ("rule out COVID-19", None),
        ("COVID-19 not excluded", None),
        ("not ruled out: COVID-19", None),
        ("ruled-out COVID-19", False),
        ("no influenza or COVID-19", False),
        ("neither tuberculosis nor COVID-19", False),
        ("pre-COVID", False),
        ("can't exclude COVID-19", None),
        ("COVID-19 can't be ruled out", None),
        ("COVID-19 not likely", None),
        ("COVID-19 vs influenza", None),
        ("influenza or COVID-19", None),
        ("history of COVID-19", None),
        ("post-COVID fibrosis", None),
        ("COVID-19, resolved", True),
    ],
)
def test_covid_denied_or_doubtful(finding: str, covid: bool | None) -> None:
    assert is_covid(finding) is covid


def test_a_finding_is_matched_whole() -> None:
    dataset = rows(
        "Pneumonia",
        "Effusion|Pneumonia",
        "Pneumonia/Viral/COVID-19",
        "bacterial pneumonia",
        "No Finding",
        "no pneumonia",
        "possible pneumonia",
        "['effusion', 'pneumonia']",
        "",
    )
    found = with_target(dataset, "pneumonia")
    assert truths(found) == [True, True, True, False, False, False, None, True, None]
    assert (found.target.name, found.target.rows_uncertain, found.target.rows_unmentioned) == (
        "pneumonia",
        1,
        1,
    )
    assert truths(with_target(dataset, "Pneumonia", "positive"))[6] is True
    assert truths(with_target(dataset, "Pneumonia", "negative"))[6] is False
    # 'No Finding' and 'no pneumonia' answer; 'bacterial pneumonia' only names something else.
    kept = truths(with_target(dataset, "Pneumonia", unmentioned="drop"))
    assert kept == [True, True, True, None, False, False, None, True, None]


def test_two_findings_of_which_one_is_meant() -> None:
    dataset = rows("pneumonia or edema", "edema vs. pneumonia", "no edema or pneumonia", "pneumonia")
    assert truths(with_target(dataset, "pneumonia")) == [None, None, False, True]
    assert truths(with_target(dataset, "edema", "positive")) == [True, True, False, False]


def test_several_joined_and_two_against_each_other() -> None:
    dataset = rows(
        "bacterial pneumonia", "viral pneumonia", "normal", "COVID-19", "COVID-19, bacterial pneumonia"
    )
    joined = with_target(dataset, "Bacterial_Pneumonia | viral pneumonia")
    assert truths(joined) == [True, True, False, False, True]
    against = with_target(dataset, "bacterial pneumonia vs viral pneumonia|COVID-19")
    assert truths(against) == [True, False, None, False, None]


def test_a_table_of_labels() -> None:
    positive, negative, unsure = Label.POSITIVE, Label.NEGATIVE, Label.UNCERTAIN
    dataset = labelled(
        {"Pneumonia": positive, "Edema": unsure},
        {"Pneumonia": negative},
        {"Pneumonia": unsure, "Edema": positive},
        {"Edema": positive},
        {"No Finding": positive},
        {},
    )
    assert truths(with_target(dataset, "Pneumonia")) == [True, False, None, False, False, None]
    assert truths(with_target(dataset, "Pneumonia", "positive")) == [True, False, True, False, False, None]
    assert truths(with_target(dataset, "Pneumonia", unmentioned="drop")) == [
        True,
        False,
        None,
        None,
        False,
        None,
    ]
    assert truths(with_target(dataset, "Edema|Pneumonia")) == [True, False, True, True, False, None]


def test_a_column_of_the_table_or_a_field_of_the_row() -> None:
    places = {"class": 0, "Score": 1}
    cells = [("A", "1.0"), ("b", "0"), ("", "nan"), ("C", "1")]
    dataset = Dataset(
        Path("drawn"),
        "manifest",
        tuple(
            Row(str(n), Path("x"), view=view, extra=Cells(places, values))
            for n, (values, view) in enumerate(zip(cells, ("AP_supine", "PA", "", "AP"), strict=True))
        ),
    )
    assert truths(with_target(dataset, "class=a|B")) == [True, True, None, False]
    assert truths(with_target(dataset, "score=1")) == [True, False, None, True]
    assert truths(with_target(dataset, "view=AP Supine")) == [True, False, None, False]


def test_the_default_is_covid_and_comes_back() -> None:
    dataset = rows("COVID-19", "normal", "suspected COVID-19")
    stated = Dataset(
        dataset.root,
        "manifest",
        (*dataset.rows, Row("s", Path("x"), covid=True), Row("t", Path("x"), covid=False)),
    )
    assert truths(with_target(stated)) == truths(stated) == [True, False, None, True, False]
    away = with_target(stated, "normal")
    assert truths(away) == [False, True, False, None, None]
    assert truths(with_target(away, "COVID-19")) == truths(stated)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("Fracture", "no image of the data set shows the target Fracture"),
        ("  ", "the target is empty"),
        ("colour=red", "the table has no column 'colour'"),
        ("sex=F", "shows the target"),
    ],
)
def test_a_target_that_no_row_has(spec: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        with_target(rows("Pneumonia", "normal"), spec)


def test_what_follows_goes_by_the_target() -> None:
    dataset = rows(*["Edema"] * 2, *["normal"] * 30)
    with pytest.raises(DataError, match="too few patients: 2 with Edema for 3 parts"):
        by_patient(with_target(dataset, "Edema"), seed=0)
    with pytest.raises(DataError, match="there is no COVID-19 image"):
        by_patient(dataset, seed=0)
