"""The table, one row an X-ray, from whichever layout is on disk."""

from lungsight.dataset.read import read_dataset
from lungsight.dataset.table import Dataset, Excluded, MaskSource, Row, is_covid

__all__ = ["Dataset", "Excluded", "MaskSource", "Row", "is_covid", "read_dataset"]
