"""The same film under another name, in one data set or across several."""

from lungsight.duplicates.finder import Match, find_duplicates, groups
from lungsight.duplicates.looks import Prepared, prepare
from lungsight.duplicates.tables import Copies, Copy, Duplicates, in_datasets, keep_together

__all__ = [
    "Copies",
    "Copy",
    "Duplicates",
    "Match",
    "Prepared",
    "find_duplicates",
    "groups",
    "in_datasets",
    "keep_together",
    "prepare",
]
