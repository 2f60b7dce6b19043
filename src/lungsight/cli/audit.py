"""`lungsight audit`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from lungsight.cli.train import DataOption, clock, command_line, name_left_out, need_training

STAGES = ("images", "score", "perturbation", "retraining", "source", "leakage")


def audit(
    target: Annotated[
        str, typer.Argument(help="Folder of a run (or of ONNX networks), or 'shipped'.", metavar="TARGET")
    ],
    data: DataOption,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the report; default: TARGET/audit.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer and smaller images: ten minutes on two cores.")
    ] = False,
    part: Annotated[
        str | None, typer.Option(help="train, validation, test or all; default: what was held out.")
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(help="The lung run whose masks the audited run is given.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of folds, probes and choices.")] = 0,
    cache: Annotated[Path | None, typer.Option(help="Keep decoded pixels in this folder.")] = None,
    columns: Annotated[
        str | None, typer.Option(help="Other column names: finding=diagnosis,patient=subject.")
    ] = None,
) -> None:
    """Is the COVID-19 score about lungs? Perturbation, retraining, sources, leakage, and a verdict in four steps.

    Needs a table with lung masks and patient ids. Writes audit.html, audit.json and tables/. Stopped, the same
    command goes on. Exit code 0: all done; 1: some images could not be used; 2: no audit.
    """
    folder = out or (Path("audit") if target == "shipped" else Path(target) / "audit")
    need_training()
    import dataclasses

    from lungsight.audit import FULL, QUICK
    from lungsight.audit import audit as run_audit
    from lungsight.cli.data import parse_columns
    from lungsight.dataset import read_dataset
    from lungsight.report.audit_report import write_audit

    begun = time.monotonic()
    dataset = read_dataset(data, columns=parse_columns(columns))
    with _progress() as progress:
        found = run_audit(
            target,
            dataset,
            folder,
            settings=dataclasses.replace(QUICK if quick else FULL, seed=seed),
            part=part,
            mask_run=masks,
            cache=cache,
            progress=progress,
            command=command_line(),
        )
    report = write_audit(folder, found)
    score = found.score
    print(f"Verdict, step {found.verdict.step} of 4: {found.verdict.words}.")
    print(f"AUROC pooled {score.pooled}, same source {score.same_source or 'not measurable'}")
    for probe in found.probes:
        print(f"  {probe.words}: {probe.pooled}, same source {probe.same_source or 'not measurable'}")
    for caveat in (*found.target.notes, *found.verdict.caveats):
        print(f"note: {caveat}", file=sys.stderr)
    print(f"{report} after {clock(time.monotonic() - begun)}. Research use only, not for diagnosis.")
    if name_left_out(dataset, found.target.failures):
        raise typer.Exit(1)


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar a stage on a terminal; a line as a stage ends elsewhere."""
    from rich.console import Console
    from rich.progress import Progress, TaskID

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}
        ended: set[str] = set()

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                number = f"[{STAGES.index(stage) + 1}/{len(STAGES)}] " if stage in STAGES else ""
                tasks[stage] = bars.add_task(f"{number}{stage}".replace("[", "\\["), total=total)
            bars.update(tasks[stage], completed=done, total=total)
            if done >= total and stage not in ended:
                ended.add(stage)
                if not console.is_terminal:
                    print(f"{stage}: done", file=sys.stderr, flush=True)

        yield show
