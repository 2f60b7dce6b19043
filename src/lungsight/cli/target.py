"""The options that say what is asked of each image, and the data set with that question."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lungsight.cli.console import parse_columns
from lungsight.wording import Uncertain

if TYPE_CHECKING:
    from lungsight.dataset import Dataset

TargetOption = Annotated[
    str | None,
    typer.Option(
        metavar="FINDING|A\\|B|COLUMN=VALUE",
        help="What is asked of each image; default COVID-19, or what the run was trained on. Also 'A vs B'.",
    ),
]
UncertainOption = Annotated[
    Uncertain, typer.Option(help="What 'possible X', and -1 in a table of labels, count as.")
]


def read_target(
    path: Path, columns: str | None, target: str | None, uncertain: Uncertain = Uncertain.DROP
) -> Dataset:
    """A data set with the columns and the target that a command was given."""
    from lungsight.dataset import read_dataset

    return asked(read_dataset(path, columns=parse_columns(columns)), target, uncertain)


def asked(dataset: Dataset, target: str | None, uncertain: Uncertain = Uncertain.DROP) -> Dataset:
    """The data set with the target that a command was given, if it was given one."""
    from lungsight.dataset import with_target
    from lungsight.dataset.table import COVID

    if target is None and uncertain is Uncertain.DROP:
        return dataset
    return with_target(dataset, COVID if target is None else target, uncertain.value)


def target_settings(target: str | None, uncertain: Uncertain) -> list[str]:
    """The same as settings of a recipe."""
    found = [] if target is None else [f"data.target={json.dumps(target, ensure_ascii=False)}"]
    return found if uncertain is Uncertain.DROP else [*found, f'data.uncertain="{uncertain.value}"']
