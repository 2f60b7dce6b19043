"""The whole experiment of the paper in one call. Needs `lungsight[train]`."""

from lungsight.paper.reproduce import reproduce

__all__ = ["reproduce"]
