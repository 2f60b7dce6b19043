"""Files and folders in, a folder of masks, overlays and tables out: what `lungsight predict` does."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import msgspec

from lungsight.batch.folder import TABLE, Mode, RunSettings, locked, prepare
from lungsight.batch.index import RunIndex
from lungsight.batch.inputs import gather
from lungsight.batch.outputs import Outputs, Sinks, Written
from lungsight.batch.sources import Place
from lungsight.errors import ConfigError
from lungsight.inference import Failure, Lungsight, Result, ResultRecord, load_model
from lungsight.inference.reader import Duplicate
from lungsight.inference.worth import worth
from lungsight.progress import ProgressCallback, silent
from lungsight.records import Record
from lungsight.wording import Decision, Status
from lungsight.writers.dicom_source import Identity
from lungsight.writers.results import ResultsTable
from lungsight.xray import Limits

__all__ = ["Summary", "Told", "predict"]

LISTED = 100
FIRST = 20
"""So many inputs that failed, and that were passed over, are named in a summary; all of them are in the table."""


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


def predict(
    inputs: Iterable[str | Path] | str | Path,
    out: str | Path,
    *,
    model: Lungsight | str | Path | None = None,
    recursive: bool = True,
    resume: bool = False,
    overwrite: bool = False,
    labels: bool = False,
    overlays: bool = True,
    outline: bool = False,
    formats: Sequence[str] = (),
    table: str = "csv",
    anonymous: bool = False,
    new_uids: bool = False,
    include_score: bool = False,
    batch: int = 8,
    limits: Limits | None = None,
    progress: ProgressCallback = silent,
    on_row: Callable[[ResultRecord], None] | None = None,
) -> Summary:
    """Predict every X-ray in files, folders and patterns, and write what was found into a folder.

    `out` gets `masks/` (PNG at the size of the file), `overlays/` (JPEG), `results.csv` (a row as each X-ray
    is done), `results.json`, `contact.html` and `run.json`. An input that cannot be read is a row with its
    reason. What is done is kept whatever ends the run, and `resume` goes on from there. A file whose bytes came up
    before gets a row of its own and no second prediction.

    Args:
        inputs: files, folders, glob patterns; archives (zip, tar) by name, whose members are inputs; addresses that
            fsspec opens (`s3://`, `gs://`, `https://` ...).
        out: folder for the results; made where absent, never read as an input.
        model: of `load_model`, or the folder of networks; None: those that ship.
        recursive: go into the folders of a folder.
        resume: leave out what the table in `out` has as done; what is gone or cut is made again.
        overwrite: throw away what an earlier run left in `out`.
        labels: masks with 1 for the patient's right and 2 for the left lung instead of 255 for both.
        overlays: write overlays.
        outline: overlays with the outline alone, without a tint.
        formats: further forms of the masks, of `outputs.FORMATS`.
        table: 'csv', or 'parquet' for `results.parquet/` beside it (needs pyarrow).
        anonymous: DICOM results name no patient, and the tables no UIDs.
        new_uids: the same, and DICOM results have new UIDs, alike in all of this run.
        include_score: the DICOM report (`sr`) says the research score too.
        batch: X-rays that go through the networks together.
        limits: how large a file is accepted; those of `model` where None.
        progress: told how many inputs are done, and of how many.
        on_row: gets each row as it is written.

    Returns:
        Counts, and the first failures.

    Raises:
        OutputError: nothing can be written, `out` holds other results, was made with other networks or settings
            (`resume`), or another run writes there.
        ModelError: the networks cannot be used.
        ConfigError: a setting is out of range.
    """
    if resume and overwrite:
        raise ConfigError("resume and overwrite exclude each other")
    start = time.perf_counter()
    engine = model if isinstance(model, Lungsight) else load_model(model)
    if limits is not None:
        engine = engine.with_limits(limits)
    given = [inputs] if isinstance(inputs, str | Path) else inputs
    folder = Path(out)
    outputs = Outputs(
        folder,
        labels=labels,
        overlays=overlays,
        outline=outline,
        formats=tuple(formats),
        table=table,
        identity=Identity(anonymous or new_uids, new_uids),
        include_score=include_score,
    )
    settings = RunSettings.of(engine, labels=labels, outputs=outputs.kinds)
    mode: Mode = "resume" if resume else "overwrite" if overwrite else "new"
    with locked(folder):
        earlier = prepare(folder, settings, mode)
        with (
            closing(RunIndex()) as index,
            ResultsTable(folder / TABLE, resume=earlier, keep=outputs.are_whole) as rows,
        ):
            run = _Run(engine, outputs, index, rows, progress, on_row)
            with closing(Sinks(folder, table=table, formats=outputs.formats)) as run.sinks:
                run.take_over(earlier)
                run.gather(given, recursive)
                run.work(batch)
    return run.summary(folder, time.perf_counter() - start)


class _Run:
    """One run: counts, and the way of each input from the queue to its row."""

    sinks: Sinks

    def __init__(
        self,
        engine: Lungsight,
        outputs: Outputs,
        index: RunIndex,
        table: ResultsTable,
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
        """What an earlier run left goes into the tables of this one."""
        for row in self.table.kept() if earlier else ():
            self.index.set_done(row.input)
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
        with ThreadPoolExecutor(workers, thread_name_prefix="lungsight-write") as pool:
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
        return Written(one.record) if isinstance(one, Failure) else self.outputs.write(one, stem)

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
