"""Which question is asked of each X-ray: COVID-19, unless the user names another finding or a column."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from lungsight.dataset.cells import Cells
from lungsight.dataset.finding import (
    COVID_TERM,
    NORMAL,
    is_covid,
    mention,
    normalised,
    parts_of,
    says_nothing,
)
from lungsight.dataset.readers.delimited import given, number
from lungsight.dataset.table import COVID, COVID_TARGET, Dataset, Row, Target
from lungsight.errors import DataError
from lungsight.wording import Label
from lungsight.xray.views import view_code

UncertainAs = Literal["negative", "positive", "drop"]
Unmentioned = Literal["negative", "drop"]
_FIELDS = frozenset(
    {"id", "source", "subsource", "patient", "finding", "view", "sex", "age", "group", "original_mode"}
    | {"original_width", "original_height", "original_bytes"}
)


def with_target(
    dataset: Dataset,
    spec: str = COVID,
    uncertain: UncertainAs = "drop",
    *,
    unmentioned: Unmentioned = "negative",
) -> Dataset:
    """Ask another question of the same table: every row's `positive` becomes its answer.

    All that follows (splits, training, evaluation, audit) goes by `positive`, so that it needs to know nothing of
    the question. A row of which the answer is not known has None, and takes no part where a label is needed.

    Args:
        dataset: from any layout.
        spec: a finding (`Pneumonia`), several of which any counts (`Edema|Effusion`), two against each other
            (`bacterial pneumonia vs viral pneumonia`: rows with neither have no label), or `column=value` of
            the table or of a row (`sex=F`, `class=A|B`). Case, blanks and underscores do not matter. A finding is
            matched whole: 'bacterial pneumonia' is not 'Pneumonia', but the step of 'Pneumonia/Viral/COVID-19' is.
        uncertain: what 'possible X' and a -1 in a table of labels count as.
        unmentioned: what a row counts as that names other findings but not this one. A row that says nothing at
            all has no label in any case.

    Returns:
        The data set with `target` set; its counts say how many labels were decided by the two settings.

    Raises:
        DataError: the target is empty or has no such column, or no row shows it.
    """
    ask = _question(dataset, spec.strip())
    counts: Counter[Label | None] = Counter()
    rows = []
    for row in dataset.rows:
        answer, mentioned = ask(row)
        if answer is Label.UNCERTAIN or not mentioned:
            counts[answer if mentioned else None] += 1
        rows.append(
            replace(row, covid=_truth(answer, mentioned, uncertain, unmentioned), labels=_kept(dataset, row))
        )
    if not any(row.positive for row in rows):
        raise DataError(
            f"no image of the data set shows the target {spec.strip()}",
            code="target",
            where=dataset.root,
            hint="'lungsight data describe' lists the findings; join several with '|', or give COLUMN=VALUE",
        )
    target = Target(
        name=spec.strip(),
        uncertain=uncertain,
        unmentioned=unmentioned,
        rows_uncertain=counts[Label.UNCERTAIN],
        rows_unmentioned=counts[None],
    )
    return replace(dataset, rows=tuple(rows), target=target)


def with_question(dataset: Dataset, target: str, uncertain: UncertainAs) -> Dataset:
    """A network's own question asked of a table, unless another one was asked of it already; raises DataError."""
    asked = dataset.target
    if asked != COVID_TARGET or (asked.name, asked.uncertain) == (target, uncertain):
        return dataset
    return with_target(dataset, target, uncertain)


_Answer = tuple[Label | None, bool]
"""The label, None where nothing is known; and whether the finding is mentioned at all."""


def _question(dataset: Dataset, spec: str) -> Callable[[Row], _Answer]:
    if not spec:
        raise DataError("the target is empty", code="target", hint="Give a finding, or COLUMN=VALUE")
    default = dataset.target.name == COVID
    column, equals, values = spec.partition("=")
    if equals:
        return _of_column(dataset, column.strip(), [value.strip() for value in values.split("|")])
    sides = re.split(r"\s+(?:vs\.?|versus|against)\s+", spec, maxsplit=1, flags=re.IGNORECASE)
    if len(sides) == 2:
        first, second = (_of_findings(side, default) for side in sides)
        return lambda row: _against(first(row)[0], second(row)[0])
    return _of_findings(spec, default)


def _of_findings(spec: str, default: bool) -> Callable[[Row], _Answer]:
    """Whether any of several findings is there; `default`: the rows' `covid` is still COVID-19."""
    names = [normalised(name) for name in spec.split("|") if normalised(name)]
    covid = [is_covid(name) is True for name in names]

    def ask(row: Row) -> _Answer:
        answers = [
            _of_covid(row, default) if one else _of_one(row, name)
            for name, one in zip(names, covid, strict=True)
        ]
        for label in (Label.POSITIVE, Label.UNCERTAIN):
            if label in answers:
                return label, True
        if None in answers and not _is_normal(row):
            told = bool(row.labels) or not says_nothing(row.finding)
            return (Label.NEGATIVE if told else None), not told
        return Label.NEGATIVE, True

    return ask


def _is_normal(row: Row) -> bool:
    """Whether the row says that nothing was found, which answers every question."""
    if any(label is Label.POSITIVE and normalised(name) in NORMAL for name, label in row.labels.items()):
        return True
    return any(part in NORMAL for part in parts_of(row.finding))


def _of_covid(row: Row, default: bool) -> Label | None:
    """What the table says itself goes before what is read from the finding."""
    if (stated := row.labels.get(COVID)) is not None:
        return stated
    if default and row.covid is not None:
        return Label.POSITIVE if row.covid else Label.NEGATIVE
    return mention(row.finding, COVID_TERM)


def _of_one(row: Row, name: str) -> Label | None:
    for label_name, label in row.labels.items():
        if normalised(label_name) == name:
            return label
    return mention(row.finding, re.escape(name), whole=True)


def _against(first: Label | None, second: Label | None) -> _Answer:
    if Label.UNCERTAIN in (first, second):
        return Label.UNCERTAIN, True
    positive, negative = first is Label.POSITIVE, second is Label.POSITIVE
    # With both, or with neither, a row says nothing on the question.
    return (None if positive == negative else Label.POSITIVE if positive else Label.NEGATIVE), True


def _of_column(dataset: Dataset, column: str, values: list[str]) -> Callable[[Row], _Answer]:
    known = {name.lower(): name for row in dataset.rows[:1] for name in row.extra}
    name = known.get(column.lower(), "")
    field = column.lower() if column.lower() in _FIELDS else ""
    if not name and not field:
        listed = ", ".join(list(known.values())[:30]) or ", ".join(sorted(_FIELDS))
        raise DataError(
            f"the table has no column {column!r}", code="target", where=dataset.root, hint=f"It has: {listed}"
        )
    wanted = {_comparable(field, value) for value in values}

    def ask(row: Row) -> _Answer:
        cell = given(row.extra.get(name, "")) if name else ""
        if not cell and field:
            value = getattr(row, field)
            cell = "" if value is None else str(value)
        if not cell:
            return None, True
        return (Label.POSITIVE if _comparable(field, cell) in wanted else Label.NEGATIVE), True

    return ask


def _comparable(field: str, text: str) -> str:
    if field == "view":
        return view_code(text) or ""
    value = number(text)
    return f"{value:g}" if value is not None else normalised(text)


def _truth(
    answer: Label | None, mentioned: bool, uncertain: UncertainAs, unmentioned: Unmentioned
) -> bool | None:
    if answer is None or (not mentioned and unmentioned == "drop"):
        return None
    if answer is Label.UNCERTAIN:
        return {"negative": False, "positive": True, "drop": None}[uncertain]
    return answer is Label.POSITIVE


def _kept(dataset: Dataset, row: Row) -> Cells[Label]:
    """The row's labels, with the table's own word on COVID-19, which `covid` no longer holds."""
    labels = row.labels if isinstance(row.labels, Cells) else Cells.of(row.labels)
    same = row.covid is None or row.covid is is_covid(row.finding)
    if dataset.target.name != COVID or same or COVID in labels:
        return labels
    return Cells.of({**labels, COVID: Label.POSITIVE if row.covid else Label.NEGATIVE})
