"""`lungsight predict`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from lungsight.batch import Progress, Summary

NOTICE = "Research use only, not for diagnosis."
LISTED = 20
"""Failures that are named on the terminal; of more than these the number is told."""


def predict(
    inputs: Annotated[
        list[str],
        typer.Argument(help="X-rays, folders or patterns: PNG, JPEG, BMP, TIFF, DICOM.", metavar="INPUTS..."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for masks, overlays and tables.")],
    recursive: Annotated[bool, typer.Option(help="Go into the folders of a folder.")] = True,
    resume: Annotated[
        bool, typer.Option("--resume", help="Leave out what is done in --out already.")
    ] = False,
    labels: Annotated[
        bool,
        typer.Option(
            "--labels", help="Masks with 1 for the right and 2 for the left lung, not 255 for both."
        ),
    ] = False,
    overlay: Annotated[bool, typer.Option(help="Write pictures with the lungs outlined.")] = True,
    threshold: Annotated[
        float | None, typer.Option(help="Probability above which it says 'covid'; default: the network's.")
    ] = None,
    mask_threshold: Annotated[
        float | None, typer.Option(help="Probability above which a pixel is lung; default: the network's.")
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
    batch: Annotated[
        int, typer.Option(min=1, max=1024, help="X-rays that go through the networks together.")
    ] = 8,
    threads: Annotated[int | None, typer.Option(min=1, help="Cores to use; default: all.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON on standard output.")
    ] = False,
) -> None:
    """Lung masks and a COVID-19 score for X-rays. Research use only, not for diagnosis.

    Writes masks/, overlays/, results.csv, results.json and contact.html into --out.
    Exit code 0: all done; 1: some inputs failed; 2: nothing could be done.
    """
    print(NOTICE, file=sys.stderr)
    from lungsight.batch import predict as run
    from lungsight.inference import load_model

    engine = load_model(
        model, threads=threads, threshold=threshold, mask_threshold=mask_threshold, lungs=lungs
    )
    try:
        with _progress() as listener:
            summary = run(
                inputs,
                out,
                model=engine,
                recursive=recursive,
                resume=resume,
                labels=labels,
                overlays=overlay,
                batch=batch,
                listener=listener,
            )
    except KeyboardInterrupt:
        print(
            f"\nlungsight: stopped; what is done is in {out}. Go on with the same command and --resume",
            file=sys.stderr,
        )
        raise typer.Exit(130) from None
    if as_json:
        print(json.dumps(_plain(summary), indent=2, ensure_ascii=False))
    else:
        _print(summary)
    if summary.failures or not summary.predicted + summary.skipped:
        raise typer.Exit(1 if summary.predicted + summary.skipped else 2)


@contextmanager
def _progress() -> Iterator[Callable[[Progress], None]]:
    """A bar with rate and time left on a terminal; silent elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]}"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("Predicting", total=None, rate="", failed="")
        failed = 0

        def listen(progress: Any) -> None:
            nonlocal failed
            failed += progress.row.status == "failed"
            speed = bar.tasks[0].speed
            bar.update(
                task,
                completed=progress.done,
                total=progress.total,
                rate=f"{speed:.1f}/s" if speed else "",
                failed=f"{failed} failed" if failed else "",
            )

        yield listen


def _plain(summary: Summary) -> dict[str, Any]:
    return {
        "out": str(summary.out),
        "predicted": summary.predicted,
        "skipped": summary.skipped,
        "failed": [{"input": name, "error": reason} for name, reason in summary.failures],
        "not_scored": summary.not_scored,
        "flagged": summary.flagged,
        "seconds": round(summary.seconds, 3),
    }


def _print(summary: Summary) -> None:
    rate = summary.predicted / summary.seconds if summary.seconds else 0.0
    parts = [f"{summary.predicted} predicted in {summary.seconds:.1f} s ({rate:.1f}/s)"]
    parts += [f"{summary.skipped} done before"] if summary.skipped else []
    parts += [f"{summary.not_scored} not scored"] if summary.not_scored else []
    parts += [f"{summary.flagged} flagged"] if summary.flagged else []
    parts += [f"{len(summary.failures)} failed"] if summary.failures else []
    print(", ".join(parts))
    print(f"look at: {summary.out / 'contact.html'}")
    for name, reason in summary.failures[:LISTED]:
        print(f"failed {name}: {reason}", file=sys.stderr)
    if len(summary.failures) > LISTED:
        print(
            f"... and {len(summary.failures) - LISTED} more, in {summary.out / 'results.csv'}",
            file=sys.stderr,
        )
