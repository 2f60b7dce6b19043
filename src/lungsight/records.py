"""The one base of all records: typed, checked when read, the same in Python, JSON and TOML.

A record is a frozen `msgspec.Struct`: `class Card(Record, frozen=True)` (the last word is for the type checker). Its
limits stand beside its fields (`Annotated[float, Meta(gt=0, le=4)]`), what concerns several fields in `__post_init__`,
which raises ValueError with a sentence that begins with the name of a field ('crop must be smaller than size'). `build`
says which field is wrong by its path, and never repeats a value of the file.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import re
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec

from lungsight.errors import ConfigError, LungsightError

_LIST = re.compile(r'\[\n((?: {4}[-+\w."]+,\n)+)\]')
T = TypeVar("T")
Finite = Annotated[float, msgspec.Meta(ge=-1e300, le=1e300)]
"""A number that is neither NaN nor infinite."""


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every record. Fields that had another name before are still read: `old_names` gives old -> new."""

    old_names: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def upgrade(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Plain values, under today's names, as an older version may have written them -> as they are today.

        Records whose values changed override it; it must leave today's values alone and take values of any kind.
        """
        return values


class Invalid(ValueError):
    """A value that is not what a record asks for: `path` of the field, what is `needed` there, and a hint."""

    def __init__(self, path: str, needed: str, hint: str = "") -> None:
        super().__init__(f"{path or 'the record'} {needed}")
        self.path, self.needed, self.hint = path, needed, hint


def build(
    kind: type[T], values: Any, *, where: str | Path = "", error: type[LungsightError] = ConfigError
) -> T:
    """Check plain values (as JSON or TOML gives them) and make a record of them.

    Args:
        kind: the record's class.
        values: mappings, lists, text, numbers, booleans, None. None stands for NaN where a number is asked for.
        where: the file, for the message.
        error: raised where the values do not fit.

    Raises:
        LungsightError: of the class `error`; names the path of the field at fault and what is needed there.
    """
    try:
        return typing.cast(T, _convert(kind, values, ""))
    except Invalid as wrong:
        raise error(str(wrong), where=where or None, hint=wrong.hint or None) from wrong


def plain(record: Any) -> Any:
    """A record as mappings, lists, text, numbers, booleans and None, ready for JSON; NaN stays NaN."""
    return msgspec.to_builtins(record, enc_hook=_encode)


def to_json(record: Any, *, indent: int = 2) -> bytes:
    """UTF-8 JSON; NaN becomes null. `indent` 0 gives one line."""
    data = msgspec.json.encode(record, enc_hook=_encode)
    return msgspec.json.format(data, indent=indent) if indent else data


def from_json(
    kind: type[T], data: bytes | str, *, where: str | Path = "", error: type[LungsightError] = ConfigError
) -> T:
    """Read a record from JSON; raises `error` where it is no JSON or does not fit."""
    try:
        values = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise error("is not JSON", code="not_json", where=where or None) from wrong
    return build(kind, values, where=where, error=error)


def to_toml(record: Any) -> str:
    """TOML text; fields that are None are left out."""
    import tomli_w

    text = tomli_w.dumps(_without_none(plain(record)))
    # Short lists on one line. No text spans lines here, so these are always the items of a list.
    return _LIST.sub(lambda found: f"[{', '.join(found[1].replace(',', ' ').split())}]", text)


def from_toml(
    kind: type[T], text: str, *, where: str | Path = "", error: type[LungsightError] = ConfigError
) -> T:
    """Read a record from TOML; raises `error` where it is no TOML or does not fit."""
    import tomllib

    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as wrong:
        raise error("is not TOML", code="not_toml", where=where or None, detail=str(wrong)) from wrong
    return build(kind, values, where=where, error=error)


def _encode(value: Any) -> Any:
    if hasattr(value, "tolist"):  # NumPy's scalars and arrays
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no place in a record")


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value


def _convert(hint: Any, value: Any, path: str) -> Any:
    """`value` as the type `hint`; walks itself, so that what is wrong is named by path and not by the value."""
    base = _base(hint)
    origin, parts = typing.get_origin(base), typing.get_args(base)
    if isinstance(base, type) and issubclass(base, Record):
        return _build(base, value, path)
    if dataclasses.is_dataclass(base) and isinstance(base, type) and isinstance(value, Mapping):
        hints = typing.get_type_hints(base)
        known = {item.name: item for item in dataclasses.fields(base)}
        given = {
            key: _convert(hints[key], item, _join(path, key)) for key, item in value.items() if key in known
        }
        return base(**given)
    if origin in (types.UnionType, typing.Union):
        kinds = [part for part in parts if part is not types.NoneType]
        if value is None and len(kinds) < len(parts):
            return None
        if len(kinds) == 1:
            return _convert(kinds[0], value, path)
    if origin is tuple and isinstance(value, list | tuple):
        if parts[-1] is not ... and len(parts) != len(value):
            raise Invalid(path, f"must be a list of {len(parts)}")
        kinds = [parts[0]] * len(value) if parts[-1] is ... else list(parts)
        return tuple(
            _convert(kind, item, f"{path}[{index}]")
            for index, (kind, item) in enumerate(zip(kinds, value, strict=True))
        )
    if origin is dict and isinstance(value, Mapping):
        return {
            str(key): _convert(parts[1], item, f"{path}.{key}" if path else str(key))
            for key, item in value.items()
        }
    # A field with limits is always a number.
    if base is float and hint is base:
        if value is None:
            return math.nan
        if isinstance(value, float) and math.isnan(value):
            return value
    try:
        return msgspec.convert(value, hint, strict=True)
    except msgspec.ValidationError as wrong:
        raise Invalid(path, f"must be {_needed(hint)}") from wrong


def _build(kind: type[Record], value: Any, path: str) -> Record:
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping):
        raise Invalid(path, "must be a table of settings")
    hints, fields = _layout(kind)
    named = {kind.old_names.get(str(key), str(key)): item for key, item in value.items()}
    given: dict[str, Any] = {}
    for name, item in kind.upgrade(named).items():
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            hint = f"Did you mean {_join(path, near[0])}?" if near else f"Known: {', '.join(fields)}"
            raise Invalid(_join(path, name[:60]), "is not known", hint)
        given[name] = _convert(hints[name], item, _join(path, name))
    for name, field in fields.items():
        if name not in given and field.required:
            raise Invalid(_join(path, name), "is missing")
    try:
        return kind(**given)
    except ValueError as wrong:
        name, _, needed = str(wrong).partition(" ")
        raise Invalid(_join(path, name), needed) from wrong


@functools.cache
def _layout(kind: type[Record]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Types and fields of a record by name."""
    fields = {item.name: item for item in msgspec.structs.fields(kind)}
    return typing.get_type_hints(kind, include_extras=True), fields


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _base(hint: Any) -> Any:
    while typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    return hint


_WORDS: dict[Any, str] = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
_LIMITS = (("gt", "above"), ("ge", "at least"), ("lt", "below"), ("le", "at most"))


def _needed(hint: Any) -> str:
    """What a field needs, in words, from its type and limits."""
    base = _base(hint)
    limits = [part for part in getattr(hint, "__metadata__", ()) if isinstance(part, msgspec.Meta)]
    if typing.get_origin(base) is typing.Literal:
        return f"one of {', '.join(map(repr, typing.get_args(base)))}"
    if isinstance(base, type) and issubclass(base, str) and hasattr(base, "__members__"):
        return f"one of {', '.join(repr(str(item.value)) for item in base)}"  # type: ignore[attr-defined]
    words = _WORDS.get(base) or {tuple: "a list", dict: "a table"}.get(
        typing.get_origin(base) or base, "of another kind"
    )
    if hint is Finite or hint == Finite:
        return "a number"
    bounds = [
        f"{name} {getattr(limit, key):.10g}"
        for limit in limits
        for key, name in _LIMITS
        if getattr(limit, key) is not None
    ]
    bounds += [f"like {limit.description}" for limit in limits if limit.description]
    return f"{words} {', '.join(bounds)}" if bounds else words
