"""The same prediction on many machines, by Ray Data: what `lungsight predict --cluster` does."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, redirect_stdout
from pathlib import Path
from typing import Any

from lungsight import __version__
from lungsight.batch.folder import Mode, RunSettings, locked, prepare
from lungsight.batch.index import RunIndex
from lungsight.batch.inputs import gather
from lungsight.batch.outputs import Outputs
from lungsight.batch.run import FIRST, LISTED, Summary, Told
from lungsight.cluster.actor import Predictor
from lungsight.cluster.head import connected, while_head_answers
from lungsight.cluster.units import (
    INPUTS,
    drop_strays,
    part_path,
    parts_of,
    take_over,
    unit_size,
    write_part,
    write_units,
)
from lungsight.errors import ConfigError, LungsightError, require
from lungsight.inference import Failure, Lungsight, ResultRecord, load_model
from lungsight.inference.worth import worth
from lungsight.progress import ProgressCallback, silent
from lungsight.records import from_json
from lungsight.wording import Status
from lungsight.writers.dicom_source import Identity
from lungsight.writers.parquet import PART_ROWS
from lungsight.xray import Limits

__all__ = ["predict"]

BLOCKS = 10_000
"""Tasks at most; with more units than that a task takes several, so that the head of the cluster stays fast."""
_SUMMED = ("predicted", "refused", "passed_over", "failed", "duplicates", "not_scored", "flagged")


def predict(
    inputs: Iterable[str | Path] | str | Path,
    out: str | Path,
    *,
    address: str,
    model: Lungsight | str | Path | None = None,
    actors: int | None = None,
    recursive: bool = True,
    resume: bool = False,
    overwrite: bool = False,
    labels: bool = False,
    overlays: bool = True,
    outline: bool = False,
    formats: Sequence[str] = (),
    anonymous: bool = False,
    new_uids: bool = False,
    include_score: bool = False,
    batch: int = 8,
    limits: Limits | None = None,
    progress: ProgressCallback = silent,
) -> Summary:
    """Predict every X-ray in files, folders, archives and addresses on a Ray cluster.

    Every actor takes one core, holds the networks, and reads, predicts and writes one unit of inputs after the other.
    The folder of results, and inputs that are no addresses, must be seen by every machine under the same name.
    `out` gets the files of each X-ray as `batch.predict` writes them, and the table as `results.parquet/`; there is
    no CSV, JSON or contact sheet. An input that cannot be read is a row with its reason. A machine that is lost costs
    no row and doubles none: its units are done again elsewhere, under the same names. A run that is killed is gone on
    with by `resume`. Equal bytes within a unit are predicted once.

    Args:
        inputs: as `batch.predict` takes them; listed on the machine that calls this.
        out: folder for the results.
        address: of the cluster, as `ray.init` takes it: 'auto', 'HOST:PORT' or 'ray://HOST:PORT'. Where Ray is
            connected already, that cluster is used.
        model: of `load_model`, or the folder of networks; None: those that ship.
        actors: at most; None: the CPUs that the cluster has.
        recursive, resume, overwrite, labels, overlays, outline, formats, anonymous, new_uids, include_score, batch,
            limits: as for `batch.predict`. Of the format 'coco' only the file of each X-ray is written.
        progress: told how many inputs are done, and of how many.

    Returns:
        Counts, and the first failures.

    Raises:
        MissingExtraError: Ray or pyarrow is not installed.
        ConfigError: no cluster answers at the address, it has no CPU, its machines have another version of
            lungsight, or a setting is out of range.
        OutputError: nothing can be written, a machine does not see `out`, `out` holds other results, or another run
            writes there.
        ModelError: the networks cannot be used.
    """
    if resume and overwrite:
        raise ConfigError("resume and overwrite exclude each other")
    if batch < 1 or (actors is not None and actors < 1):
        raise ConfigError("a batch needs at least one X-ray, and a run at least one actor")
    start = time.perf_counter()
    engine = model if isinstance(model, Lungsight) else load_model(model)
    engine = engine.with_limits(limits or engine.limits, threads=1)
    given = [inputs] if isinstance(inputs, str | Path) else inputs
    folder = Path(out).absolute()
    outputs = Outputs(
        folder,
        labels=labels,
        overlays=overlays,
        outline=outline,
        formats=tuple(formats),
        table="parquet",
        identity=Identity(anonymous or new_uids, new_uids),
        include_score=include_score,
    )
    settings = RunSettings.of(engine, labels=labels, outputs=(*outputs.kinds, "cluster"))
    mode: Mode = "resume" if resume else "overwrite" if overwrite else "new"
    # Ray prints of a lost machine where `--json` prints its answer.
    with redirect_stdout(sys.stderr), connected(address) as cpus, locked(folder):
        prepare(folder, settings, mode)
        work = _Work(engine, outputs, folder, actors or cpus, min(cpus, actors or cpus), batch, progress)
        try:
            with closing(RunIndex()) as index:
                work.take_over(index)
                work.gather(index, given, recursive)
                units = write_units(folder, index, unit_size(index.count(), work.actors))
            if units:
                with while_head_answers(address):
                    work.go(units)
            drop_strays(folder, work.known, work.run)
        finally:
            (folder / INPUTS).unlink(missing_ok=True)
    return work.summary(time.perf_counter() - start)


class _Work:
    """One run, as the machine sees it that started it."""

    def __init__(
        self,
        engine: Lungsight,
        outputs: Outputs,
        folder: Path,
        actors: int,
        at_once: int,
        batch: int,
        progress: ProgressCallback,
    ) -> None:
        self.engine, self.outputs, self.folder = engine, outputs, folder
        self.actors, self.at_once, self.batch, self.progress = actors, at_once, batch, progress
        self.counts = dict.fromkeys(_SUMMED, 0)
        self.failures: list[Told] = []
        self.skipped: list[Told] = []
        self.first: list[ResultRecord] = []
        self.known: set[Path] = set()
        self.run = self.total = self.done_before = 0

    def take_over(self, index: RunIndex) -> None:
        """What earlier runs left."""
        self.run = take_over(self.folder, index, self.outputs.are_whole)
        self.known = set(parts_of(self.folder))

    def gather(self, index: RunIndex, given: Iterable[str | Path], recursive: bool) -> None:
        """Find the inputs; what cannot be found or is no image is a row at once."""
        rows: list[ResultRecord] = []
        parts = 0

        def flush() -> None:
            nonlocal parts
            if rows:
                write_part(part_path(self.folder, self.run, f"found{parts:05}"), rows)
                parts += 1
                rows.clear()

        def told(failure: Failure) -> None:
            row = failure.record
            rows.append(row)
            passed_over = row.status is Status.PASSED_OVER
            self.counts["passed_over" if passed_over else "failed"] += 1
            listed = self.skipped if passed_over else self.failures
            if len(listed) < LISTED:
                listed.append(Told(row.input, row.error, row.message))
            if len(rows) >= PART_ROWS:
                flush()

        self.progress(0, 0, "finding")
        self.done_before = gather(
            given,
            index,
            out=self.folder,
            recursive=recursive,
            told=told,
            progress=lambda found: self.progress(0, found, "finding"),
        )
        flush()
        self.total = index.count() + sum(self._seen())
        self.progress(sum(self._seen()), self.total, "predicting")

    def go(self, units: int) -> None:
        """Let the cluster predict, and add up what it says of each unit."""
        ray = require("ray", feature="Predicting on a cluster", extra="cluster")
        data = require("ray.data", feature="Predicting on a cluster", extra="cluster")
        # Blocks of numbers, made here: tasks that read would wait for a core, and actors hold them all.
        numbers = data.from_items(
            [{"unit": unit} for unit in range(units)], override_num_blocks=min(units, BLOCKS)
        )
        summaries = numbers.map_batches(
            Predictor,
            fn_constructor_args=(
                self.engine,
                self.outputs,
                str(self.folder),
                self.run,
                self.batch,
                __version__,
            ),
            batch_size=None,
            # One is enough to go on: machines may leave.
            compute=data.ActorPoolStrategy(
                min_size=1, max_size=self.actors, initial_size=self.at_once, max_tasks_in_flight_per_actor=2
            ),
            num_cpus=1,
        )
        try:
            for row in summaries.iter_rows():
                self._add(from_json(Summary, row["summary"]))
        except (ray.exceptions.RayError, LungsightError) as error:
            raise _known(error) from error

    def _add(self, one: Summary) -> None:
        for name in _SUMMED:
            self.counts[name] += getattr(one, name)
        self.failures += one.failures[: LISTED - len(self.failures)]
        self.skipped += one.skipped[: LISTED - len(self.skipped)]
        self.first += one.first[: FIRST - len(self.first)]
        self.progress(sum(self._seen()), self.total, "predicting")

    def _seen(self) -> Iterator[int]:
        return (self.counts[name] for name in ("predicted", "refused", "passed_over", "failed"))

    def summary(self, seconds: float) -> Summary:
        """What it came to."""
        return Summary(
            out=str(self.folder),
            predicted=self.counts["predicted"],
            refused=self.counts["refused"],
            passed_over=self.counts["passed_over"],
            failed=self.counts["failed"],
            duplicates=self.counts["duplicates"],
            not_scored=self.counts["not_scored"],
            flagged=self.counts["flagged"],
            done_before=self.done_before,
            seconds=round(seconds, 3),
            failures=tuple(self.failures),
            skipped=tuple(self.skipped),
            first=tuple(self.first),
            worth=worth(self.engine.bundle),
        )


def _known(error: BaseException) -> LungsightError:
    """The error of ours that stopped an actor, wherever Ray put it."""
    seen: list[Callable[[BaseException], Any]] = [
        lambda one: getattr(one, "cause", None),
        lambda one: one.__cause__,
    ]
    waiting: list[BaseException] = [error]
    passed: set[int] = set()
    while waiting:
        one = waiting.pop()
        if isinstance(one, LungsightError):
            return one
        passed.add(id(one))
        for look in seen:
            inner = look(one)
            if isinstance(inner, BaseException) and id(inner) not in passed:
                waiting.append(inner)
    return LungsightError(
        "the cluster stopped the run",
        code="cluster",
        hint="What is done is kept: go on with --resume. Ray's logs on the head say why",
        detail=str(error),
    )
