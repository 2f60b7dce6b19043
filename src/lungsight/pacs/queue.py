"""What a node has received, has to predict, and has to send: in SQLite, so that nothing is lost or doubled.

Every step is one transaction that is on the disk when it returns. Files are written whole and synced before the row
that names them; a file without a row is made again under the same name.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lungsight.errors import OutputError

_TABLES = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS received (
    sop_uid TEXT PRIMARY KEY, sop_class TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'waiting',
    reason TEXT NOT NULL DEFAULT '', attempts INTEGER NOT NULL DEFAULT 0, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS outgoing (
    id INTEGER PRIMARY KEY, source TEXT NOT NULL, peer TEXT NOT NULL, sop_uid TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting', attempts INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL DEFAULT 0,
    UNIQUE (peer, sop_uid));
CREATE TABLE IF NOT EXISTS commitments (
    transaction_uid TEXT NOT NULL, peer TEXT NOT NULL, sop_class TEXT NOT NULL, sop_uid TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting', attempts INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL DEFAULT 0,
    UNIQUE (transaction_uid, peer, sop_uid));
CREATE INDEX IF NOT EXISTS received_state ON received (state, at);
CREATE INDEX IF NOT EXISTS outgoing_state ON outgoing (state, due);
"""
LONGEST_WAIT = 3600.0
"""Seconds between two attempts, at most; they double from 2."""
MAX_CRASHES = 3
"""An X-ray with which the node ended so many times is given up, so that it does not end it for ever."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One object that one peer is still to get."""

    id: int
    peer: str
    sop_uid: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Commitment:
    """A peer's question whether we keep what it sent."""

    transaction_uid: str
    peer: str
    kept: tuple[tuple[str, str], ...]
    """(SOP class, SOP instance)."""
    missing: tuple[tuple[str, str], ...]
    attempts: int


class Queue:
    """The state of a node in a folder: `queue.sqlite`, `inbox/` and `outbox/`. Safe to use from threads.

    Raises:
        OutputError: the folder cannot be written, or holds another file of that name.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._lock = threading.RLock()
        try:
            for name in ("inbox", "outbox"):
                (self.folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = sqlite3.connect(
                self.folder / "queue.sqlite", isolation_level=None, check_same_thread=False, timeout=30
            )
            (self.folder / "queue.sqlite").chmod(0o600)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_TABLES)
        except (OSError, sqlite3.Error) as error:
            raise OutputError("the queue cannot be opened", where=self.folder, detail=str(error)) from error

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()

    def setting(self, name: str) -> str:
        """A random text that stays the same for this folder."""
        with self._lock:
            self._db.execute("INSERT OR IGNORE INTO settings VALUES (?, ?)", (name, secrets.token_hex(16)))
            return str(self._db.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()[0])

    def inbox(self, sop_uid: str) -> Path:
        """Where a received object lies."""
        return self.folder / "inbox" / f"{sop_uid}.dcm"

    def outbox(self, sop_uid: str) -> Path:
        """Where a result lies."""
        return self.folder / "outbox" / f"{sop_uid}.dcm"

    def has_received(self, sop_uid: str) -> bool:
        """Whether an object was received before."""
        with self._lock:
            return (
                self._db.execute("SELECT 1 FROM received WHERE sop_uid = ?", (sop_uid,)).fetchone()
                is not None
            )

    def receive(self, sop_uid: str, sop_class: str, data: bytes) -> bool:
        """Keep an object for good before its sender is told so; False where it was there already.

        Raises:
            OutputError: it cannot be kept.
        """
        if self.has_received(sop_uid):
            return False
        try:
            write_synced(self.inbox(sop_uid), data)
            with self._lock:
                done = self._db.execute(
                    "INSERT OR IGNORE INTO received (sop_uid, sop_class, at) VALUES (?, ?, ?)",
                    (sop_uid, sop_class, time.time()),
                )
                return done.rowcount == 1
        except (OSError, sqlite3.Error) as error:
            raise OutputError("the object cannot be kept", where=self.folder, detail=str(error)) from error

    def next_received(self) -> str | None:
        """The UID of the object that has waited longest for its prediction; it stays waiting until `predicted`."""
        with self._lock:
            self._db.execute(
                "UPDATE received SET state = 'failed', reason = 'crashed' WHERE state = 'waiting' AND attempts >= ?",
                (MAX_CRASHES,),
            )
            row = self._db.execute(
                "SELECT sop_uid FROM received WHERE state = 'waiting' ORDER BY at, sop_uid LIMIT 1"
            ).fetchone()
            if row is None:
                return None
            self._db.execute("UPDATE received SET attempts = attempts + 1 WHERE sop_uid = ?", row)
            return str(row[0])

    def predicted(self, sop_uid: str, results: Sequence[tuple[str, bytes]], peers: Sequence[str]) -> None:
        """Keep results (their UIDs and bytes), owe them to every peer, and be done with the object, all at once."""
        for uid, data in results:
            write_synced(self.outbox(uid), data)
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany(
                    "INSERT OR IGNORE INTO outgoing (source, peer, sop_uid) VALUES (?, ?, ?)",
                    [(sop_uid, peer, uid) for uid, _ in results for peer in peers],
                )
                self._db.execute("UPDATE received SET state = 'done' WHERE sop_uid = ?", (sop_uid,))
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise

    def failed(self, sop_uid: str, code: str) -> None:
        """There is no result for the object; `code` says why."""
        with self._lock:
            self._db.execute(
                "UPDATE received SET state = 'failed', reason = ? WHERE sop_uid = ?", (code, sop_uid)
            )

    def due(self, now: float | None = None) -> list[Outgoing]:
        """What may be sent now, oldest first."""
        with self._lock:
            rows = self._db.execute(
                "SELECT id, peer, sop_uid, attempts FROM outgoing WHERE state = 'waiting' AND due <= ? ORDER BY id "
                "LIMIT 100",
                (time.time() if now is None else now,),
            ).fetchall()
        return [Outgoing(*row) for row in rows]

    def sent(self, one: Outgoing) -> None:
        """The peer has it."""
        with self._lock:
            self._db.execute("UPDATE outgoing SET state = 'sent' WHERE id = ?", (one.id,))

    def postpone(self, one: Outgoing) -> float:
        """The peer does not have it: try again later, in twice the time. Returns the seconds."""
        wait = min(2.0 ** (one.attempts + 1), LONGEST_WAIT)
        with self._lock:
            self._db.execute(
                "UPDATE outgoing SET attempts = attempts + 1, due = ? WHERE id = ?",
                (time.time() + wait, one.id),
            )
        return wait

    def ask_commitment(self, transaction_uid: str, peer: str, asked: Sequence[tuple[str, str]]) -> None:
        """Note a peer's question for good."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(
                "INSERT OR IGNORE INTO commitments (transaction_uid, peer, sop_class, sop_uid) VALUES (?, ?, ?, ?)",
                [(transaction_uid, peer, *one) for one in asked],
            )
            self._db.execute("COMMIT")

    def commitments(self) -> list[Commitment]:
        """The questions that may be answered now."""
        with self._lock:
            keys = self._db.execute(
                "SELECT transaction_uid, peer, MAX(attempts) FROM commitments WHERE state = 'waiting' AND due <= ? "
                "GROUP BY transaction_uid, peer LIMIT 100",
                (time.time(),),
            ).fetchall()
            found = []
            for transaction, peer, attempts in keys:
                rows = self._db.execute(
                    "SELECT c.sop_class, c.sop_uid, r.sop_uid IS NOT NULL FROM commitments c LEFT JOIN received r "
                    "ON r.sop_uid = c.sop_uid AND r.sop_class = c.sop_class "
                    "WHERE c.transaction_uid = ? AND c.peer = ?",
                    (transaction, peer),
                ).fetchall()
                kept, missing = (
                    [(a, b) for a, b, there in rows if bool(there) is side] for side in (True, False)
                )
                found.append(Commitment(transaction, peer, tuple(kept), tuple(missing), attempts))
        return found

    def answered(self, one: Commitment, *, ok: bool) -> None:
        """The peer has the answer, or is asked again later."""
        wait = min(2.0 ** (one.attempts + 1), LONGEST_WAIT)
        with self._lock:
            self._db.execute(
                "UPDATE commitments SET state = ?, attempts = attempts + 1, due = ? "
                "WHERE transaction_uid = ? AND peer = ?",
                ("done" if ok else "waiting", time.time() + wait, one.transaction_uid, one.peer),
            )

    def counts(self) -> dict[str, int]:
        """Received, done, failed; waiting and sent results."""
        with self._lock:
            found = dict(self._db.execute("SELECT state, COUNT(*) FROM received GROUP BY state").fetchall())
            out = dict(self._db.execute("SELECT state, COUNT(*) FROM outgoing GROUP BY state").fetchall())
        return {
            "received": sum(found.values()),
            "predicted": found.get("done", 0),
            "failed": found.get("failed", 0),
            "to_send": out.get("waiting", 0),
            "sent": out.get("sent", 0),
        }


def write_synced(path: Path, data: bytes) -> None:
    """Write a file whole, 0600, and see it on the disk before returning."""
    temporary = path.with_suffix(f".{secrets.token_hex(4)}.part")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
