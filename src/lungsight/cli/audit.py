"""`lungsight audit`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from lungsight.cli.console import parse_columns
from lungsight.cli.target import TargetOption, UncertainOption, asked
from lungsight.cli.train import DataOption, clock, command_line, name_left_out, need_training
from lungsight.errors import ConfigError
from lungsight.progress import ProgressCallback
from lungsight.wording import Uncertain


def audit(
    data: DataOption,
    run: Annotated[
        str | None,
        typer.Argument(
            help="Folder of a run (or of ONNX networks), or 'shipped'.", metavar="RUN", show_default=False
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option("--model", help="Instead of RUN: anybody's ONNX network.", metavar="FILE.onnx"),
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Instead of RUN: scores alone, a CSV with id and probability.")
    ] = None,
    size: Annotated[str, typer.Option("--input", help="--model: HEIGHTxWIDTH of its input.")] = "224x224",
    normalize: Annotated[
        str, typer.Option(help="--model: imagenet, torchxrayvision, 0-1, or MEAN,STD of values in [0, 1].")
    ] = "0-1",
    output: Annotated[
        str,
        typer.Option(
            help="--model: NAME[INDEX] of the value; default: its first output.", show_default=False
        ),
    ] = "",
    sigmoid: Annotated[bool, typer.Option("--sigmoid", help="--model: the value is a logit.")] = False,
    threshold: Annotated[
        float | None, typer.Option(help="--model, --predictions: a score at or above it is a positive.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the report; default: RUN/audit, or audit.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer and smaller images: ten minutes on two cores.")
    ] = False,
    part: Annotated[
        str | None, typer.Option(help="train, validation, test or all; default: what was held out.")
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(help="The lung run whose masks the audited run is given, or 'shipped'.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of folds, probes and choices.")] = 0,
    cache: Annotated[Path | None, typer.Option(help="Keep decoded pixels in this folder.")] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Other column names: finding=diagnosis,patient=subject; probability=score."),
    ] = None,
    target: TargetOption = None,
    uncertain: UncertainOption = Uncertain.DROP,
) -> None:
    """Is the score about lungs? Two answers: whether the data offer a shortcut, and whether the score takes it.

    Needs a table with patient ids. Writes audit.html, audit.json and tables/. After an interruption the same command
    does the rest. Exit code 0: all done; 1: some images could not be used; 2: no audit.
    """
    if sum(one is not None for one in (run, model, predictions)) != 1:
        raise ConfigError("give one model: a RUN, --model FILE.onnx or --predictions CSV")
    folder = out or (Path(run) / "audit" if run not in (None, "shipped") else Path("audit"))
    need_training()
    import msgspec

    from lungsight.audit import FULL, QUICK, audit_onnx, audit_predictions
    from lungsight.audit import audit as run_audit
    from lungsight.dataset import read_dataset
    from lungsight.evaluation.predictions import split_columns
    from lungsight.report.audit_report import write_audit
    from lungsight.report.audit_tables import answers, caveats, probe_words

    begun = time.monotonic()
    named, of_scores = parse_columns(columns), None
    if predictions is not None:
        named, of_scores = split_columns(named, predictions)
    dataset = asked(read_dataset(data, columns=named or None), target, uncertain)
    settings = msgspec.structs.replace(QUICK if quick else FULL, seed=seed)
    with _progress() as progress:
        same: dict[str, Any] = {
            "settings": settings, "cache": cache, "progress": progress, "command": command_line(),
        }  # fmt: skip
        if model is not None:
            found = audit_onnx(
                model, dataset, folder, size=size, normalize=normalize, output=output, sigmoid=sigmoid,
                threshold=threshold, **same,
            )  # fmt: skip
        elif predictions is not None:
            found = audit_predictions(
                predictions, dataset, folder, columns=of_scores, threshold=threshold, **same
            )
        else:
            found = run_audit(run or "", dataset, folder, part=part, mask_run=masks, **same)
    report = write_audit(folder, found)
    score = found.found.score
    for sentence in answers(found.found):
        print(sentence)
    print(
        f"AUROC pooled {score.pooled}, within source {score.same_source}, within sub-source {score.same_subsource}"
    )
    for probe in (*found.found.no_pixels, *found.found.retraining):
        print(f"  {probe_words(probe.key)}: {probe.pooled}, within source {probe.same_source}")
    for caveat in caveats(found.found):
        print(f"note: {caveat}", file=sys.stderr)
    print(f"{report} after {clock(time.monotonic() - begun)}. Research use only, not for diagnosis.")
    if name_left_out(dataset, found.found.failures):
        raise typer.Exit(1)


@contextmanager
def _progress() -> Iterator[ProgressCallback]:
    """A bar a step on a terminal; a line as a step ends elsewhere."""
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from lungsight.audit import STEPS

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}
        ended: set[str] = set()

        def show(done: int, total: int, what: str = "") -> None:
            if what not in tasks:
                number = f"[{STEPS.index(what) + 1}/{len(STEPS)}] " if what in STEPS else ""
                tasks[what] = bars.add_task(f"{number}{what}".replace("[", "\\["), total=total)
            bars.update(tasks[what], completed=done, total=total)
            if done >= total and what not in ended:
                ended.add(what)
                if not console.is_terminal:
                    print(f"{what}: done", file=sys.stderr, flush=True)

        yield show
