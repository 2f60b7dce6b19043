"""Files and folders in, a folder of masks, overlays and tables out: what `lungsight predict` does."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePath

import msgspec

from lungsight import __version__
from lungsight.errors import InputError, OutputError
from lungsight.files import write_json
from lungsight.inference import TABLE_VERSION, Failure, Lungsight, Result, ResultRecord, load_model
from lungsight.preprocess import resize_image
from lungsight.wording import LungLabels, Status
from lungsight.writers.contact import entries_of, write_contact_sheet
from lungsight.writers.images import overlay, write_mask, write_picture
from lungsight.writers.naming import OutputNames
from lungsight.writers.results import ResultsTable, read_results, write_results_json
from lungsight.xray import find_inputs

TABLE, RECORDS, SHEET, SETTINGS = "results.csv", "results.json", "contact.html", "run.json"

OVERLAY_SIDE = 2048
"""Larger X-rays get a smaller overlay: it is there to be looked at. Masks keep the size of the file."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a batch is, after each input."""

    done: int
    """Inputs predicted or failed in this run."""
    total: int
    """Inputs to go through, without those that an earlier run did."""
    row: ResultRecord
    """The newest row of the table."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a batch came to."""

    out: Path
    predicted: int
    skipped: int
    """Done by an earlier run."""
    failures: tuple[tuple[str, str], ...]
    """Input and reason."""
    not_scored: int
    flagged: int
    seconds: float


def predict(
    inputs: Sequence[str | Path] | str | Path,
    out: str | Path,
    *,
    model: Lungsight | str | Path | None = None,
    recursive: bool = True,
    resume: bool = False,
    labels: bool = False,
    overlays: bool = True,
    batch: int = 8,
    listener: Callable[[Progress], None] | None = None,
) -> Summary:
    """Predict every X-ray in files, folders and patterns, and write what was found into a folder.

    `out` gets `masks/` (PNG at the size of the file), `overlays/` (JPEG), `results.csv` (a row as each X-ray
    is done), `results.json`, `contact.html` and `run.json`. An input that cannot be read is a row with its
    reason. What is done is kept whatever ends the run, and `resume` goes on from there.

    Args:
        inputs: files, folders, glob patterns.
        out: folder for the results; made where absent, never read as an input.
        model: of `load_model`, or the folder of networks; None: those that ship.
        recursive: go into the folders of a folder.
        resume: leave out what the table in `out` has as done.
        labels: masks with 1 for the patient's right and 2 for the left lung instead of 255 for both.
        overlays: write overlays.
        batch: X-rays that go through the networks together.
        listener: told after each input.

    Raises:
        OutputError: nothing can be written, or `out` was made with other networks or settings (`resume`).
        ModelError: the networks cannot be used.
    """
    start = time.perf_counter()
    engine = model if isinstance(model, Lungsight) else load_model(model)
    paths = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    folder = Path(out)
    _check_run_settings(folder, engine, labels, resume)
    with ResultsTable(folder / TABLE, resume=resume) as table:
        run = _Run(folder, table, paths, recursive, labels, overlays, listener)
        try:
            run.go(engine, batch)
        finally:
            # Also after Ctrl-C or a full disk: what is done can be looked at.
            write_results_json(folder / RECORDS, read_results(folder / TABLE))
            write_contact_sheet(folder / SHEET, entries_of(folder / TABLE))
    return Summary(
        folder,
        run.predicted,
        run.skipped,
        tuple(run.failures),
        run.not_scored,
        run.flagged,
        time.perf_counter() - start,
    )


class _Run:
    def __init__(
        self,
        folder: Path,
        table: ResultsTable,
        paths: Sequence[str | Path],
        recursive: bool,
        labels: bool,
        overlays: bool,
        listener: Callable[[Progress], None] | None,
    ) -> None:
        self.folder, self.table, self.paths, self.recursive = folder, table, paths, recursive
        self.labels, self.overlays, self.listener = labels, overlays, listener
        self.predicted = self.skipped = self.not_scored = self.flagged = self.total = 0
        self.failures: list[tuple[str, str]] = []

    def go(self, engine: Lungsight, batch: int) -> None:
        """Predict, write and note everything."""
        problems: list[InputError] = []
        found = [0, 0]
        for path, _ in self._inputs(problems):
            found[str(path) in self.table.done] += 1
        self.total, self.skipped = found[0] + len(problems), found[1]
        for problem in problems:
            self._note(Failure(problem.where or "", problem).record)
        stems: deque[PurePath] = deque()
        writing: deque[Future[ResultRecord]] = deque()
        workers = engine.threads or os.cpu_count() or 1
        with ThreadPoolExecutor(workers, thread_name_prefix="lungsight-write") as pool:
            try:
                with closing(engine.predict_many(self._sources(stems), batch=batch)) as stream:
                    for one in stream:
                        writing.append(pool.submit(self._write, one, stems.popleft()))
                        # A bounded queue, so that a slow disk does not fill the memory.
                        while len(writing) > batch or (writing and writing[0].done()):
                            self._note(writing.popleft().result())
            finally:
                while writing:
                    self._note(writing.popleft().result())

    def _inputs(self, problems: list[InputError]) -> Iterator[tuple[Path, PurePath]]:
        own = [self.folder.resolve() / name for name in ("masks", "overlays")]
        for found in find_inputs(self.paths, recursive=self.recursive, problems=problems):
            if not any(map(found.path.resolve().is_relative_to, own)):
                yield found.path, found.relative

    def _sources(self, stems: deque[PurePath]) -> Iterator[Path]:
        names = OutputNames()
        for path, relative in self._inputs([]):
            # Names are given to those already done too, so that they are the same in every run.
            stem = names.stem(path, relative)
            if str(path) not in self.table.done:
                stems.append(stem)
                yield path

    def _write(self, one: Result | Failure, stem: PurePath) -> ResultRecord:
        if isinstance(one, Failure):
            return one.record
        mask = PurePath("masks") / f"{stem}.png"
        write_mask(self.folder / mask, one.labels if self.labels else one.mask)
        picture = ""
        if self.overlays:
            picture = (PurePath("overlays") / f"{stem}.jpg").as_posix()
            step = -(-max(one.xray.shape) // OVERLAY_SIDE)
            small = one.labels[::step, ::step]
            height, width = small.shape
            write_picture(
                self.folder / picture, overlay(resize_image(one.xray.pixels, (height, width)), small)
            )
        return msgspec.structs.replace(one.record, mask=mask.as_posix(), overlay=picture)

    def _note(self, row: ResultRecord) -> None:
        self.table.append(row)
        if row.status is not Status.FAILED:
            self.predicted += 1
            self.not_scored += row.probability is None
            self.flagged += bool(row.flags)
        else:
            self.failures.append((row.input, row.message))
        if self.listener:
            self.listener(Progress(self.predicted + len(self.failures), self.total, row))


def _check_run_settings(folder: Path, engine: Lungsight, labels: bool, resume: bool) -> None:
    """Note with what the results are made; refuse to mix two ways in one folder."""
    import json

    settings = {
        "lungsight": __version__,
        "networks": engine.bundle.fingerprint(),
        "names": {item.card.task: f"{item.card.name} {item.card.version}" for item in engine.bundle.models},
        "threshold": engine.threshold,
        "mask_threshold": engine.mask_threshold,
        "lungs": engine.convention.value,
        "labels": labels,
        "lung_labels": LungLabels.RIGHT1_LEFT2,
        "table": TABLE_VERSION,
    }
    path = folder / SETTINGS
    if resume and path.exists():
        try:
            earlier = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            earlier = None
        if earlier != settings:
            raise OutputError(
                "was made with other networks or settings, or is damaged",
                where=path,
                hint="Resume with the same ones, or choose another folder",
            )
    write_json(path, settings)
