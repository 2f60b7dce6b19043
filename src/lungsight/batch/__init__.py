"""Files and folders in, a folder of masks, overlays and tables out: what `lungsight predict` does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path

from lungsight.batch.folder import TABLE, Mode, RunSettings, locked, prepare
from lungsight.batch.index import RunIndex
from lungsight.batch.outputs import Outputs, Sinks
from lungsight.batch.run import Run, Summary, Told
from lungsight.errors import ConfigError
from lungsight.inference import Lungsight, ResultRecord, load_model
from lungsight.progress import ProgressCallback, silent
from lungsight.writers.dicom_source import Identity
from lungsight.writers.results import ResultsTable
from lungsight.xray import Limits
from lungsight.xray.pool import shared_pool

__all__ = ["Summary", "Told", "predict"]


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
    shared_pool().warm()  # it starts while the networks load
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
            ResultsTable(
                folder / TABLE, resume=earlier, keep=outputs.are_whole, first=index.set_done
            ) as rows,
        ):
            run = Run(engine, outputs, index, rows, progress, on_row)
            with closing(Sinks(folder, table=table, formats=outputs.formats)) as run.sinks:
                run.take_over(earlier)
                run.gather(given, recursive)
                run.work(batch)
    return run.summary(folder, time.perf_counter() - start)
