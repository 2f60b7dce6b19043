"""Which row of the table a name in somebody's file means: found by what it says, never by guess."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath
from urllib.parse import unquote

from lungsight.dataset.table import IMAGE_SUFFIXES, Dataset, Row
from lungsight.errors import DataError

SHOWN = 5
"""Ids that a message names."""
NOT_IN_TABLE = "is in no row of the table"
AMBIGUOUS = "is the name of several images of the table: use the table's ids"
TWICE = "is predicted twice, with different values"
MISSING = "has no prediction"
_WORD = r"(?:lungs?[-_]?)?(?:masks?|lungs?|seg(?:mentation)?|pred(?:iction|icted)?|labels?|out(?:put)?)"
_AFTER = re.compile(rf"(?<=.)[-_. ]{_WORD}$", re.IGNORECASE)
_BEFORE = re.compile(rf"^{_WORD}[-_ ](?=.)", re.IGNORECASE)
"""What programs add to the name of an image for its mask."""


class RowNames:
    """Every name by which a row can be meant.

    A row's id counts first, then its image's path inside the data set (or the end of it), the name it had originally,
    its image's file name, and these without their suffix. At the first of these steps that knows the name, one row is
    the answer; several are an ambiguity. Unicode forms and `%20` make no difference.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._rows = dataset.rows
        self._indices: list[dict[str, tuple[int, ...]]] = []

    def find(self, name: str, *, mask: bool = False) -> tuple[int, ...]:
        """Indices of the rows that a name means: one, several where it is ambiguous, none.

        Args:
            mask: the name is a mask's: '_mask' and the like at its end may be the mask's own.
        """
        plain = _plain(name)
        wanted = [plain, PurePosixPath(plain).name]
        wanted += [_stem(one) for one in wanted]
        if mask:
            wanted += _without_words(wanted[-1])
        for one in dict.fromkeys(wanted):
            for step in self._steps():
                if one in step:
                    return step[one]
        return ()

    def _steps(self) -> Iterator[dict[str, tuple[int, ...]]]:
        """The index of each step, made when it is first asked: most tables use ids, and the first is enough."""
        for number, names in enumerate(_STEPS):
            if number == len(self._indices):
                self._indices.append(_index([names(row) for row in self._rows]))
            yield self._indices[number]


def pair(
    names: Sequence[str],
    values: Sequence[object],
    known: Dataset,
    dataset: Dataset,
    where: object,
    *,
    mask: bool = False,
) -> tuple[dict[int, int], list[tuple[str, str]]]:
    """Place in `names` -> index of its row in `known`, and (name, why) of those that pair with none.

    Args:
        values: what each name comes with: two names of one row are one prediction where these agree.
        known: the rows that take part; a name of another row of `dataset` is passed over.
        where: the file or folder, for the message.
        mask: as for `RowNames.find`.

    Raises:
        DataError: nothing pairs.
    """
    all_rows = RowNames(dataset)
    index_of = {row.id: index for index, row in enumerate(known.rows)}
    claims: dict[int, list[int]] = defaultdict(list)
    problems: list[tuple[str, str]] = []
    for place, name in enumerate(names):
        found = all_rows.find(name, mask=mask)
        if len(found) > 1:
            problems.append((name, AMBIGUOUS))
        elif not found:
            problems.append((name, NOT_IN_TABLE))
        elif (index := index_of.get(dataset.rows[found[0]].id)) is not None:
            claims[index].append(place)
    chosen: dict[int, int] = {}
    for index, places in claims.items():
        if len({str(values[place]) for place in places}) > 1:
            problems += [(names[place], TWICE) for place in places]
        else:
            chosen[places[0]] = index
    if not chosen:
        unknown = [name for name, reason in problems if reason == NOT_IN_TABLE]
        given = ", ".join(map(repr, (unknown or [name for name, _ in problems])[:SHOWN])) or "none"
        raise DataError(
            f"no id matches a row of {dataset.root}: given are {given}; the table has "
            + ", ".join(repr(row.id) for row in known.rows[:SHOWN]),
            where=str(where),
            hint="Use the ids of the table, or the images' file names",
        )
    taken = set(chosen.values())
    conflicting = {index for index in claims if index not in taken}
    problems += [
        (row.id, MISSING)
        for index, row in enumerate(known.rows)
        if index not in taken and index not in conflicting
    ]
    return chosen, problems


def _index(names: Sequence[Sequence[str]]) -> dict[str, tuple[int, ...]]:
    found: dict[str, list[int]] = defaultdict(list)
    for row, own in enumerate(names):
        for name in dict.fromkeys(map(_plain, own)):
            if name:
                found[name].append(row)
    return {name: tuple(rows) for name, rows in found.items()}


def _ends(row: Row) -> list[str]:
    """The image's path and every shorter end of it that has a folder."""
    parts = row.image.parts[-6:]
    return ["/".join(parts[start:]) for start in range(len(parts) - 1)]


def _original(row: Row) -> list[str]:
    name = row.original_filename.replace("\\", "/")
    return [name, PurePosixPath(name).name] if name else []


_STEPS: tuple[Callable[[Row], list[str]], ...] = (
    lambda row: [row.id],
    _ends,
    _original,
    lambda row: [row.image.name],
    lambda row: [_stem(row.id)],
    lambda row: [_stem(name) for name in _original(row)],
    lambda row: [row.image.stem],
)
"""Names of a row, in the order in which they count."""


def _without_words(stem: str) -> list[str]:
    """The name less what a program put before or behind it, once and twice: `x_lung_mask.png.png`, `mask_x`."""
    found: list[str] = []
    queue = [stem]
    for one in queue:
        shorter = [_AFTER.sub("", one), _BEFORE.sub("", one), _stem(one)]
        for name in shorter:
            if name != one and name not in found and len(found) < 8:
                found.append(name)
                queue.append(name)
    return found


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", unquote(name.strip()).replace("\\", "/"))


def _stem(name: str) -> str:
    """Without the suffix of an image: a patient '1.2' keeps its number."""
    suffix = PurePosixPath(name).suffix
    return name[: -len(suffix)] if suffix.lower() in IMAGE_SUFFIXES else name
