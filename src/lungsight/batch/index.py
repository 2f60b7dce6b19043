"""What a run must remember of every input, on disk, so that memory stays flat over any number of them."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, MutableMapping
from typing import Any

from lungsight.batch.sources import Place
from lungsight.inference import ResultRecord
from lungsight.records import from_json, to_json

_SCHEMA = """
CREATE TABLE inputs (number INTEGER PRIMARY KEY, name BLOB, kind TEXT, place BLOB, member BLOB, stem BLOB);
CREATE TABLE done (source BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE names (key BLOB PRIMARY KEY, owner BLOB) WITHOUT ROWID;
CREATE TABLE seen (digest TEXT PRIMARY KEY, row BLOB) WITHOUT ROWID;
"""


class RunIndex:
    """Inputs with the names of their outputs, what is done, and which bytes came up before.

    It is a private SQLite file that the system takes away with the process; what must outlive a run is in the table.
    May be used by several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-8000;"
        )
        self._database.executescript(_SCHEMA)
        # One transaction that never ends: nobody reads the file, and a commit a statement would write it each time.
        self._database.execute("BEGIN")

    def close(self) -> None:
        """Let the file go."""
        self._database.close()

    def add(self, place: Place, stem: str) -> None:
        """Queue an input."""
        values = (_raw(place.name), place.kind, _raw(place.where), _raw(place.member), _raw(stem))
        self._do("INSERT INTO inputs (name, kind, place, member, stem) VALUES (?, ?, ?, ?, ?)", *values)

    def count(self) -> int:
        """Inputs that were queued."""
        return int(self._do("SELECT COUNT(*) FROM inputs")[0][0])

    def inputs(self) -> Iterator[tuple[Place, str]]:
        """Each input with the stem of its outputs, in the order of `add`."""
        last = 0
        while page := self._do("SELECT * FROM inputs WHERE number > ? ORDER BY number LIMIT 256", last):
            for _, name, kind, place, member, stem in page:
                yield Place(_text(name), kind, _text(place), _text(member)), _text(stem)
            last = page[-1][0]

    def set_done(self, source: str) -> bool:
        """Note that an input is done; False where it was already."""
        return self._is_new("INSERT OR IGNORE INTO done VALUES (?)", _raw(source))

    def is_done(self, source: str) -> bool:
        """Whether an earlier run did it."""
        return bool(self._do("SELECT 1 FROM done WHERE source = ?", _raw(source)))

    def claim(self, digest: str) -> bool:
        """True for the first that comes with these bytes; the others wait for its row."""
        return self._is_new("INSERT OR IGNORE INTO seen VALUES (?, NULL)", digest)

    def set_row(self, digest: str, row: ResultRecord) -> None:
        """The row of a file with these bytes."""
        self._do("INSERT OR REPLACE INTO seen VALUES (?, ?)", digest, to_json(row, indent=0))

    def row(self, digest: str) -> ResultRecord | None:
        """The row of the file that came first with these bytes."""
        found = self._do("SELECT row FROM seen WHERE digest = ?", digest)
        return from_json(ResultRecord, found[0][0]) if found and found[0][0] is not None else None

    @property
    def names(self) -> MutableMapping[bytes, bytes]:
        """For `OutputNames`."""
        return _Table(self)

    def _do(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._database.execute(sql, values).fetchall()

    def _is_new(self, sql: str, *values: object) -> bool:
        """Whether an INSERT OR IGNORE found its key free."""
        with self._lock:
            return self._database.execute(sql, values).rowcount > 0


class _Table(MutableMapping[bytes, bytes]):
    def __init__(self, index: RunIndex) -> None:
        self._index = index

    def __getitem__(self, key: bytes) -> bytes:
        found = self._index._do("SELECT owner FROM names WHERE key = ?", key)
        if not found:
            raise KeyError(key)
        return bytes(found[0][0])

    def __setitem__(self, key: bytes, owner: bytes) -> None:
        self._index._do("INSERT OR REPLACE INTO names VALUES (?, ?)", key, owner)

    def setdefault(self, key: bytes, default: bytes = b"") -> bytes:
        # One statement for a new key, which most are.
        is_new = self._index._is_new("INSERT OR IGNORE INTO names VALUES (?, ?)", key, default)
        return default if is_new else self[key]

    def __delitem__(self, key: bytes) -> None:
        self._index._do("DELETE FROM names WHERE key = ?", key)

    def __iter__(self) -> Iterator[bytes]:
        return (bytes(row[0]) for row in self._index._do("SELECT key FROM names"))

    def __len__(self) -> int:
        return len(self._index._do("SELECT key FROM names"))


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
