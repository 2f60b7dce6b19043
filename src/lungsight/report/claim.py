"""Two reporting checklists, filled in as far as a run knows, the rest marked open.

CLAIM: Tejani et al., Radiology: Artificial Intelligence 2024, doi:10.1148/ryai.240300 (44 items). TRIPOD+AI: Collins
et al., BMJ 2024, doi:10.1136/bmj-2023-078378 (27 items with their parts). The topics stand in `checklists.toml`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from lungsight.records import Record, from_toml

CLAIM = "CLAIM 2024"
TRIPOD = "TRIPOD+AI"
OPEN = "open: for the authors"


class Checklist(Record, frozen=True):
    """One published checklist: the topic of each item by its number."""

    name: str
    source: str
    items: dict[str, str]


class _File(Record, frozen=True):
    checklist: tuple[Checklist, ...]


@cache
def checklists() -> tuple[Checklist, ...]:
    """Both checklists, from `checklists.toml`."""
    text = resources.files("lungsight.report").joinpath("checklists.toml").read_text("utf-8")
    return from_toml(_File, text, where="checklists.toml").checklist


@dataclass(frozen=True)
class Item:
    """One item of a checklist; `answer` is '' where it is open."""

    checklist: str
    number: str
    topic: str
    answer: str

    @property
    def filled(self) -> bool:
        """Whether the run could answer it, at least in part."""
        return bool(self.answer)


def checklist(answers: Mapping[str, Mapping[str, str]]) -> list[Item]:
    """Every item of both checklists.

    Args:
        answers: checklist -> number -> what the run knows; '' counts as open.

    Raises:
        KeyError: an answer to an item that does not exist.
    """
    found = []
    for name, items in ((one.name, one.items) for one in checklists()):
        given = answers.get(name, {})
        if unknown := set(given) - set(items):
            raise KeyError(f"{name} has no item {sorted(unknown)}")
        found += [Item(name, number, topic, given.get(number, "")) for number, topic in items.items()]
    return found


def to_markdown(items: list[Item]) -> str:
    """Both checklists as two tables."""
    lines = [
        "# Reporting checklists",
        "",
        "What the run knows is filled in; an open item is the authors' to answer.",
    ]
    for name in (CLAIM, TRIPOD):
        own = [item for item in items if item.checklist == name]
        lines += ["", f"## {name}: {sum(item.filled for item in own)} of {len(own)} items filled in", ""]
        lines += ["| Item | Topic | Answer |", "| --- | --- | --- |"]
        for item in own:
            answer = item.answer.replace("|", "\\|").replace("\n", " ") or f"**{OPEN}**"
            lines.append(f"| {item.number} | {item.topic} | {answer} |")
    return "\n".join(lines) + "\n"


def to_dict(items: list[Item]) -> dict[str, Any]:
    """For JSON."""
    return {
        name: [
            {
                "item": item.number,
                "topic": item.topic,
                "status": "filled in" if item.filled else "open",
                "answer": item.answer,
            }
            for item in items
            if item.checklist == name
        ]
        for name in (CLAIM, TRIPOD)
    }
