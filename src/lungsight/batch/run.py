"""The way of each input from the queue to its row, and what a run came to."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Protocol

import msgspec

from lungsight.batch.index import RunIndex
from lungsight.batch.inputs import gather
from lungsight.batch.outputs import Outputs, Written
from lungsight.batch.sources import Place
from lungsight.inference import Failure, Lungsight, Result, ResultRecord
from lungsight.inference.reader import Duplicate
from lungsight.inference.worth import worth
from lungsight.progress import ProgressCallback
from lungsight.records import Record
from lungsight.wording import Decision, Status

LISTED = 100
"""So many inputs that failed, and that were passed over, are named in a summary; all of them are in the table."""
FIRST = 20
"""So many results are in a summary."""


class Told(Record, frozen=True):
    """An input of which there is something to say."""

    input: str
    code: str
    message: str


class Summary(Record, frozen=True, kw_only=True):
    """What a batch came to. Counts are of inputs."""

    out: str
    predicted: int
    """Read in this run and found to be frontal chest X-rays."""
    refused: int
    """Read, and no frontal chest X-rays."""
    passed_over: int
    """No images."""
    failed: int
    done_before: int
    """Done by an earlier run."""
    duplicates: int
    """Of those predicted or refused: the same bytes came up before, and no network was asked again."""
    not_scored: int
    flagged: int
    seconds: float
    failures: tuple[Told, ...] = ()
    """The first that failed."""
    skipped: tuple[Told, ...] = ()
    """The first that were passed over."""
    first: tuple[ResultRecord, ...] = ()
    """The first results of this run."""
    worth: tuple[str, ...] = ()
    """What severity and score are worth, from the networks' cards."""

    @property
    def exit_code(self) -> int:
        """0: nothing failed; 1: some inputs failed; 2: nothing could be done."""
        some = self.predicted + self.refused + self.done_before
        return 0 if not self.failed else 1 if some else 2


class RowTable(Protocol):
    """Takes rows as they come, and keeps them whatever ends the run."""

    def append(self, row: ResultRecord) -> None:
        """One row."""

    def kept(self) -> Iterator[ResultRecord]:
        """The rows of an earlier run."""


class RowSink(Protocol):
    """What is made of all rows beside the table."""

    @property
    def wants_thumbnail(self) -> bool:
        """Whether it has a use for pictures."""

    def add(self, row: ResultRecord, picture: bytes | None) -> None:
        """One row, and its thumbnail as JPEG."""


class Run:
    """One run: counts, and the way of each input from the queue to its row."""

    sinks: RowSink

    def __init__(
        self,
        engine: Lungsight,
        outputs: Outputs,
        index: RunIndex,
        table: RowTable,
        progress: ProgressCallback,
        on_row: Callable[[ResultRecord], None] | None,
    ) -> None:
        self.engine, self.outputs, self.index, self.table = engine, outputs, index, table
        self.progress, self.on_row = progress, on_row
        self.counts = dict.fromkeys(Status, 0)
        self.done_before = self.duplicates = self.not_scored = self.flagged = self.total = 0
        self.failures: list[Told] = []
        self.skipped: list[Told] = []
        self.first: list[ResultRecord] = []
        self.waiting: dict[str, list[str]] = {}
        """Names by the digest of their bytes, until the row of the first with these bytes is there."""

    def take_over(self, earlier: bool) -> None:
        """What an earlier run left goes into the tables of this one; the index knows its inputs already."""
        for row in self.table.kept() if earlier else ():
            if row.sha256:
                self.index.set_row(row.sha256, row)
            self.sinks.add(row, self._thumbnail(row))

    def gather(self, given: Iterable[str | Path], recursive: bool) -> None:
        """Find the inputs; what cannot be found or is no image is a row at once."""
        self.progress(0, 0, "finding")
        self.done_before = gather(
            given,
            self.index,
            out=self.outputs.folder,
            recursive=recursive,
            told=lambda failure: self.note(Written(failure.record)),
            progress=lambda found: self.progress(0, found, "finding"),
        )
        self.total = self.index.count() + sum(self.counts.values())
        self.progress(sum(self.counts.values()), self.total, "predicting")

    def work(self, batch: int) -> None:
        """Predict, write and note everything that is queued."""
        writing: deque[Future[Written]] = deque()
        workers = self.engine.threads or os.cpu_count() or 1
        with (
            self.engine.opened_ahead(alone=self.total == 1),
            ThreadPoolExecutor(workers, thread_name_prefix="lungsight-write") as pool,
        ):
            stream = self.engine.stream_tagged(self._queued(), batch=batch, claim=self.index.claim)
            try:
                with closing(stream):
                    for one, (name, stem) in stream:
                        writing.append(pool.submit(self._write, one, name, stem))
                        # A bounded queue, so that a slow disk does not fill the memory.
                        while len(writing) > batch or (writing and writing[0].done()):
                            self.note(writing.popleft().result())
            finally:
                # Also after Ctrl-C or a full disk: what is done is noted.
                while writing:
                    self.note(writing.popleft().result())

    def _queued(self) -> Iterator[tuple[Path | Place, tuple[str, str]]]:
        for place, stem in self.index.inputs():
            # A file is opened by the reader, which knows of pipes and devices.
            yield Path(place.where) if place.kind == "file" else place, (place.name, stem)

    def _write(self, one: Result | Failure | Duplicate, name: str, stem: str) -> Written:
        if isinstance(one, Duplicate):
            return Written(ResultRecord(input=name, status=Status.OK, sha256=one.sha256), duplicate=True)
        if isinstance(one, Failure):
            return Written(one.record)
        return self.outputs.write(one, stem, with_thumbnail=self.sinks.wants_thumbnail)

    def note(self, written: Written) -> None:
        """One row into every table, in the order of the inputs."""
        row = written.row
        if written.duplicate:
            first = self.index.row(row.sha256)
            if first is None:
                # Its bytes came first in another thread, for an input that is still on its way.
                self.waiting.setdefault(row.sha256, []).append(row.input)
            else:
                self._note_duplicate(first, row.input)
            return
        self._note(row, written.thumbnail)
        if row.sha256:
            self.index.set_row(row.sha256, row)
            for name in self.waiting.pop(row.sha256, ()):
                self._note_duplicate(row, name)

    def _note_duplicate(self, first: ResultRecord, name: str) -> None:
        self.duplicates += 1
        self._note(msgspec.structs.replace(first, input=name, seconds=0.0), None)

    def _note(self, row: ResultRecord, thumbnail: bytes | None) -> None:
        self.table.append(row)
        self.sinks.add(row, thumbnail or self._thumbnail(row))
        self.counts[row.status] += 1
        if row.status is Status.FAILED and len(self.failures) < LISTED:
            self.failures.append(Told(row.input, row.error, row.message))
        if row.status is Status.PASSED_OVER and len(self.skipped) < LISTED:
            self.skipped.append(Told(row.input, row.error, row.message))
        if row.status in (Status.OK, Status.REFUSED) and len(self.first) < FIRST:
            self.first.append(row)
        self.not_scored += row.status is Status.OK and row.decision is Decision.NOT_SCORED
        self.flagged += bool(row.flags)
        if self.on_row:
            self.on_row(row)
        if self.total:
            self.progress(sum(self.counts.values()), self.total, "predicting")

    def _thumbnail(self, row: ResultRecord) -> bytes | None:
        return self.outputs.thumbnail_of(row) if self.sinks.wants_thumbnail else None

    def summary(self, folder: Path, seconds: float) -> Summary:
        """What it came to."""
        return Summary(
            out=str(folder),
            predicted=self.counts[Status.OK],
            refused=self.counts[Status.REFUSED],
            passed_over=self.counts[Status.PASSED_OVER],
            failed=self.counts[Status.FAILED],
            done_before=self.done_before,
            duplicates=self.duplicates,
            not_scored=self.not_scored,
            flagged=self.flagged,
            seconds=round(seconds, 3),
            failures=tuple(self.failures),
            skipped=tuple(self.skipped),
            first=tuple(self.first),
            worth=worth(self.engine.bundle),
        )
