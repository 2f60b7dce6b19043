"""A row of a table with its column names, small enough to keep hundreds of thousands of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

V = TypeVar("V")


class Cells(Mapping[str, V], Generic[V]):
    """Column name -> cell; all rows of a table share the names. Cannot be changed."""

    __slots__ = ("_places", "_values")

    def __init__(self, places: Mapping[str, int], values: tuple[V, ...]) -> None:
        """`places` says at which index of `values` each column is."""
        self._places, self._values = places, values

    @classmethod
    def of(cls, mapping: Mapping[str, V]) -> Cells[V]:
        """The same names and values as a mapping's."""
        return cls({name: index for index, name in enumerate(mapping)}, tuple(mapping.values()))

    def __getitem__(self, name: str) -> V:
        return self._values[self._places[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __hash__(self) -> int:
        return hash(self._values)

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (dict(self._places), self._values)
