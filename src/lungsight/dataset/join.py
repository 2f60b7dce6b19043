"""Several data sets as one table, for a network that learns from all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lungsight.dataset.read import read_dataset
from lungsight.dataset.table import Dataset
from lungsight.errors import DataError

WORDS = ("full", "visible", "no-heart")


@dataclass(frozen=True, slots=True)
class DataPath:
    """A data set as a user names it: `PATH`, or `PATH:visible`, `PATH:full,no-heart`."""

    path: Path
    convention: str = ""
    """By which its lungs were drawn, where its table does not say."""
    hearts: bool = True
    """False: its column `heart` holds something else than hearts."""

    @classmethod
    def parse(cls, text: str) -> DataPath:
        """From the command line; what follows the last colon counts where it is made of `WORDS`."""
        path, colon, words = text.rpartition(":")
        said = words.split(",")
        if not colon or not all(word in WORDS for word in said):
            return cls(Path(text))
        conventions = [word for word in said if word != "no-heart"]
        if len(conventions) > 1:
            raise DataError("lungs are drawn by one convention, 'full' or 'visible'", where=path)
        return cls(Path(path), "".join(conventions), "no-heart" not in said)

    def read(self, columns: Mapping[str, str] | None = None) -> Dataset:
        """The data set; raises DataError as `read_dataset`."""
        found = read_dataset(self.path, columns=columns)
        rows = tuple(
            replace(
                row,
                convention=row.convention or self.convention,
                heart=row.heart if self.hearts else None,
            )
            for row in found.rows
        )
        return replace(found, rows=rows)


def join(datasets: Sequence[Dataset]) -> Dataset:
    """One table of all rows, in order; each row says which data set it came from.

    One data set is returned as it is.

    Raises:
        DataError: there is none, two have one name, or an id occurs in two of them.
    """
    if not datasets:
        raise DataError("no data set is given")
    if len(datasets) == 1:
        return datasets[0]
    names = [dataset.root.resolve().name for dataset in datasets]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"two data sets are called {name!r}", hint="Rename one of the folders")
    rows = tuple(
        replace(row, collection=name)
        for name, dataset in zip(names, datasets, strict=True)
        for row in dataset
    )
    seen: dict[str, str] = {}
    for row in rows:
        if seen.setdefault(row.id, row.collection) != row.collection:
            raise DataError(
                f"the id {row.id!r} occurs in {seen[row.id]} and in {row.collection}",
                hint="Give each row its own id",
            )
    excluded = tuple(item for dataset in datasets for item in dataset.excluded)
    notes = tuple(note for dataset in datasets for note in dataset.notes)
    return replace(
        datasets[0],
        root=datasets[0].root.parent,
        layout="joined",
        rows=rows,
        excluded=excluded,
        notes=notes,
    )
