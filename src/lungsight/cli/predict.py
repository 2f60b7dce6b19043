"""`lungsight predict`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lungsight.cli import console

if TYPE_CHECKING:
    from lungsight.batch import Summary
    from lungsight.progress import ProgressCallback
    from lungsight.xray import Limits

NOTICE = "Research use only, not for diagnosis."
LISTED = 20
"""Failures that are named on the terminal; of more than these the number is told."""
FORMATS = "nifti, coco, rle, darwin, labelme, transparent, zones, seg, seg-zones, sc, sr"


def start_ahead(words: list[str]) -> None:
    """The decoding process starts while Typer reads the command line, which takes as long.

    Args:
        words: what follows `predict`.
    """
    if words and not {"-h", "--help", "--cluster"} & set(words):
        from lungsight.xray.pool import shared_pool

        shared_pool().warm()


def predict(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for masks, overlays and tables.")],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            help="X-rays (PNG, JPEG, BMP, TIFF, DICOM), folders, patterns, zip and tar files, addresses (s3://, https://).",
            metavar="INPUTS...",
        ),
    ] = None,
    from_file: Annotated[
        str | None,
        typer.Option("--from-file", help="A text file with an input on each line; '-' for standard input."),
    ] = None,
    recursive: Annotated[bool, typer.Option(help="Go into the folders of a folder.")] = True,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the results in --out: do what is missing there.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Throw away the results in --out and begin again.")
    ] = False,
    labels: Annotated[
        bool,
        typer.Option(
            "--labels", help="Masks with 1 for the right and 2 for the left lung, not 255 for both."
        ),
    ] = False,
    overlay: Annotated[bool, typer.Option(help="Write pictures with the lungs outlined.")] = True,
    outline: Annotated[
        bool, typer.Option("--outline", help="Overlays with the outline alone, without a tint.")
    ] = False,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help=f"A further form of the masks, more than once: {FORMATS}."),
    ] = None,
    anonymous: Annotated[bool, typer.Option(help="DICOM results name no patient, tables no UIDs.")] = False,
    new_uids: Annotated[bool, typer.Option(help="The same, and DICOM results have new UIDs.")] = False,
    include_score: Annotated[bool, typer.Option(help="The DICOM report (sr) says the score too.")] = False,
    table: Annotated[str, typer.Option(help="csv, or parquet for results.parquet/ beside it.")] = "csv",
    threshold: Annotated[
        float | None, typer.Option(help="Probability from which it says 'covid'; default: the network's.")
    ] = None,
    mask_threshold: Annotated[
        float | None,
        typer.Option(
            help="Probability from which a pixel is lung in the masks; the score is not touched by it."
        ),
    ] = None,
    lungs: Annotated[
        str,
        typer.Option(
            help="What counts as lung: full (behind heart and diaphragm too) or visible (beside them)."
        ),
    ] = "full",
    model: Annotated[
        Path | None, typer.Option(help="Folder with other networks (NAME.onnx and NAME.json).")
    ] = None,
    device: Annotated[
        str,
        typer.Option(help="Where the networks run: cpu, cuda, openvino and others (see docs/devices.md)."),
    ] = "cpu",
    cluster: Annotated[
        str | None,
        typer.Option(
            help="Predict on this Ray cluster (auto, or HOST:PORT); every machine must see --out. The table is Parquet."
        ),
    ] = None,
    batch: Annotated[
        int, typer.Option(min=1, max=1024, help="X-rays that go through the networks together.")
    ] = 8,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Cores (of a cluster: actors) to use; default: all.")
    ] = None,
    max_pixels: Annotated[
        int | None, typer.Option(min=1, help="Largest X-ray that is read, in pixels.")
    ] = None,
    max_bytes: Annotated[int | None, typer.Option(min=1, help="Largest file that is read, in bytes.")] = None,
    min_side: Annotated[
        int | None, typer.Option(min=1, help="Smallest shorter side of an X-ray, in pixels.")
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Longest time for decoding one file.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON on standard output.")
    ] = False,
) -> None:
    """Lung masks, severity, cardiothoracic ratio and a COVID-19 score for X-rays. Research use only, not for diagnosis.

    Writes masks/, overlays/, results.csv, results.json and contact.html into --out; with --cluster masks/,
    overlays/ and results.parquet/. A run that was stopped goes on with --resume.
    Exit code 0: nothing failed (what was refused or passed over is listed); 1: some inputs failed;
    2: nothing could be done.
    """
    console.tell(NOTICE)
    from lungsight.xray.pool import shared_pool

    shared_pool().warm()  # it starts while the networks load
    from lungsight.inference import load_model

    given = _given(inputs or [], from_file)
    limits = _limits(max_pixels=max_pixels, max_bytes=max_bytes, min_side=min_side, max_seconds=max_seconds)
    engine = load_model(
        model,
        threads=threads,
        threshold=threshold,
        mask_threshold=mask_threshold,
        device=device,
        lungs=lungs,
        limits=limits,
    )
    console.tell_gate(engine)
    try:
        with _progress() as bar, _stoppable(bar, cluster) as progress:
            run, own = _runner(cluster, threads, table)
            summary = run(
                given,
                out,
                **own,
                model=engine,
                recursive=recursive,
                resume=resume,
                overwrite=overwrite,
                labels=labels,
                overlays=overlay,
                outline=outline,
                formats=formats or (),
                anonymous=anonymous,
                new_uids=new_uids,
                include_score=include_score,
                batch=batch,
                progress=progress,
            )
    except KeyboardInterrupt:
        print(
            f"\nlungsight: stopped; what is done is in {out}. Go on with the same command and --resume",
            file=sys.stderr,
        )
        raise typer.Exit(130) from None
    _tell(summary, as_json)
    raise typer.Exit(summary.exit_code)


def _stoppable(bar: ProgressCallback, cluster: str | None) -> AbstractContextManager[ProgressCallback]:
    from lungsight.progress import stopping_between_steps

    # A cluster is waited for; what it has under way is done again by --resume.
    return nullcontext(bar) if cluster is not None else stopping_between_steps(bar, "predicting")


def _runner(
    cluster: str | None, threads: int | None, table: str
) -> tuple[Callable[..., Summary], dict[str, Any]]:
    """What predicts, and the settings that it alone has."""
    if cluster is not None:
        from lungsight.cluster import predict as on_cluster

        return on_cluster, {"address": cluster, "actors": threads}
    from lungsight.batch import predict as here

    return here, {"table": table}


def _given(inputs: list[str], from_file: str | None) -> list[str]:
    """The inputs of the command line, and the lines of a file or of standard input."""
    from lungsight.errors import InputError

    given = list(inputs)
    if from_file is not None:
        try:
            text = (
                sys.stdin.read()
                if from_file == "-"
                else Path(from_file).read_text("utf-8", "surrogateescape")
            )
        except OSError as error:
            raise InputError("the list cannot be read", code="missing", where=from_file) from error
        given += [line for line in text.removeprefix("\ufeff").splitlines() if line.strip()]
    if not given:
        raise typer.BadParameter(
            "there are none; name files or folders, or use --from-file", param_hint="INPUTS"
        )
    return given


def _limits(**given: float | None) -> Limits | None:
    """The limits that were named; None where none was."""
    from lungsight.xray import Limits

    named: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return Limits(**named) if named else None


@contextmanager
def _progress() -> Iterator[ProgressCallback]:
    """A bar with rate and time left on a terminal; silent elsewhere, and with --quiet."""
    if not sys.stderr.isatty() or console.level() is console.Level.QUIET:
        from lungsight.progress import silent

        yield silent  # to load the bar takes longer than one X-ray
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    terminal = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=terminal, transient=True) as bar:
        task = bar.add_task("Finding", total=None, rate="")

        def listen(done: int, total: int, what: str = "") -> None:
            speed = bar.tasks[0].speed
            rate = f"{speed:.1f}/s" if speed and done else ""
            bar.update(task, description=what.capitalize(), completed=done, total=total or None, rate=rate)

        yield listen


def _tell(summary: Summary, as_json: bool) -> None:
    if as_json:
        from lungsight.records import to_json

        print(to_json(summary).decode())
        return
    from lungsight.inference.worth import line_of

    folder = Path(summary.out)
    # A cluster writes no CSV and no contact sheet.
    table = csv if (csv := folder / "results.csv").is_file() else folder / "results.parquet"
    for row in summary.first[:LISTED]:
        print(f"{row.input}: {line_of(row)}")
    if summary.predicted + summary.refused > LISTED:
        print(f"... and {summary.predicted + summary.refused - LISTED} more, in {table}")
    for sentence in summary.worth if summary.predicted else ():
        console.tell(sentence)
    done = summary.predicted + summary.refused
    rate = done / summary.seconds if summary.seconds else 0.0
    parts = [f"{summary.predicted} predicted in {summary.seconds:.1f} s ({rate:.1f}/s)"]
    counts = {
        "refused, no frontal chest X-ray": summary.refused,
        "passed over, no image": summary.passed_over,
        "done before": summary.done_before,
        "the same bytes as another": summary.duplicates,
        "not scored": summary.not_scored,
        "flagged": summary.flagged,
        "failed": summary.failed,
    }
    print(", ".join([*parts, *(f"{count} {words}" for words, count in counts.items() if count)]))
    print(f"look at: {sheet if (sheet := folder / 'contact.html').is_file() else table}")
    for one in summary.skipped[:LISTED]:
        console.tell(f"passed over {one.input}: {one.message}")
    for one in summary.failures[:LISTED]:
        print(f"failed {one.input}: {one.message}", file=sys.stderr)
    if summary.failed > LISTED:
        print(f"... and {summary.failed - LISTED} more, in {table}", file=sys.stderr)
