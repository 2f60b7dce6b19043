"""The whole experiment of the paper in one call. Needs `lungsight[train]`."""

from lungsight.reproduce.run import reproduce

__all__ = ["reproduce"]
