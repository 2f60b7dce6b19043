"""`lungsight train`."""

from __future__ import annotations

import shlex
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lungsight.cli.console import tell
from lungsight.cli.predict import LISTED
from lungsight.cli.target import TargetOption, UncertainOption, target_settings
from lungsight.errors import require
from lungsight.wording import Uncertain

if TYPE_CHECKING:
    from lungsight.dataset import Dataset
    from lungsight.training import Progress

DeviceOption = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps; auto: a GPU where there is one.")
]
DataOption = Annotated[
    Path, typer.Option("--data", help="A data set: manifest, Darwin export, masks beside images.")
]


def need_training() -> None:
    """Say plainly what to install where the train extra is missing."""
    # Lightning's, about its own use of PyTorch: nothing that a user or lungsight can mend.
    warnings.filterwarnings(
        "ignore", message=r".*treespec, LeafSpec", module=r"lightning\.pytorch\.utilities\._pytree"
    )
    for module in ("torch", "lightning", "sklearn", "matplotlib"):
        require(module, feature="Training and evaluation", extra="train")


def clock(seconds: float) -> str:
    """Seconds as a person says them: '45 s', '12 min', '3 h 05 min'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


class Reporter:
    """Prints training progress: a line that renews itself on a terminal, a line an epoch elsewhere."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()

    def __call__(self, progress: Progress) -> None:
        head = f"epoch {progress.epoch}/{progress.epochs}"
        metrics = f"loss {progress.loss:.4f}  accuracy {progress.accuracy:.4f}"
        if progress.validation:
            found = {name: value for name, value in progress.validation.items() if name.startswith("val_")}
            tail = "  ".join(f"{name.removeprefix('val_')} {value:.4f}" for name, value in found.items())
            end = f"  validation: {tail}  {clock(progress.seconds_left)} left"
            start = "\r\033[K" if self._live else ""
            tell(f"{start}{head}  {metrics}{end}")
        elif self._live:
            step = f"step {progress.step}/{progress.steps}"
            line = f"\r\033[K{head}  {step}  {metrics}  {clock(progress.seconds_left)} left"
            tell(line, end="")


def name_left_out(dataset: Dataset, failures: Iterable[tuple[str, str]]) -> bool:
    """Name the images whose files are missing or damaged on standard error; True where there is one."""
    broken = [(item.id, item.reason) for item in dataset.excluded if item.broken]
    names: dict[str, list[str]] = {}
    for name, reason in (*broken, *failures):
        names.setdefault(reason, []).append(name)
    for reason, alike in names.items():
        for name in alike[:LISTED]:
            print(f"left out {name}: {reason}", file=sys.stderr)
        if len(alike) > LISTED:
            print(f"... and {len(alike) - LISTED:,} more: {reason}", file=sys.stderr)
    return bool(names)


def command_line() -> str:
    """The command as a reader types it."""
    return shlex.join(["lungsight", *sys.argv[1:]])


def read_joined(paths: Sequence[str], columns: Mapping[str, str] | None = None) -> Dataset:
    """The data sets of `--data`, as one table; raises DataError."""
    from lungsight.dataset.join import DataPath, join

    return join([DataPath.parse(path).read(columns) for path in paths])


def train(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe's name, or a TOML file.")],
    data: Annotated[
        list[str],
        typer.Option(
            "--data",
            help="A data set: manifest, Darwin export, masks beside images. Repeat it to learn lungs from several; "
            "PATH:visible where lungs stop at heart and diaphragm.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the run.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting: --set training.epochs=3 (repeatable)."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="paper (by image) or patient (patients apart).")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of split, weights and augmentation.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last whole epoch, also where --minutes ended it.")
    ] = False,
    masks: Annotated[
        Path | None,
        typer.Option(help="A lung run whose masks are applied, or 'shipped', instead of the data set's own."),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Stop before the epoch that would end later than this.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--start",
            "--weights",
            help="First weights: 'shipped', a run's folder, or a file (.safetensors, .pth) matched by name.",
        ),
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Keep decoded pixels in this folder.")] = None,
    columns: Annotated[
        str | None, typer.Option(help="Other column names: finding=diagnosis,patient=subject.")
    ] = None,
    target: TargetOption = None,
    uncertain: UncertainOption = Uncertain.DROP,
    device: DeviceOption = "auto",
) -> None:
    """Train a network by a recipe; `--resume` continues after any interruption.

    Exit code 1: some images could not be used.
    """
    from lungsight.cli.console import parse_columns
    from lungsight.config import load_recipe

    changes = list(settings or [])
    changes += [f'split.kind="{split}"'] if split else []
    changes += [f"training.seed={seed}"] if seed is not None else []
    changes += target_settings(target, uncertain)
    resolved = load_recipe(recipe, changes)
    if start is not None:
        resolved = resolved.with_settings(**{"training.start": start})
    need_training()
    dataset = read_joined(data, parse_columns(columns))
    from lungsight.training import train as run_training
    from lungsight.training.processes import Processes

    try:
        run = run_training(
            resolved,
            dataset,
            out,
            resume=resume,
            more_time=resume,
            listener=Reporter(),
            minutes=minutes,
            mask_run=masks,
            cache=cache,
            command=command_line(),
            device=device,
        )
    except KeyboardInterrupt:
        tell("\nthe same command with --resume continues from the last whole epoch")
        raise
    if Processes.of_environment().rank:
        return  # the first process tells
    left_out = name_left_out(dataset, run.failures)
    epochs = f"{len(run.history)} epoch{'s' if len(run.history) != 1 else ''}"
    if run.out_of_time and minutes is not None:
        tell(f"stopped after {epochs} to keep to {minutes:g} minutes")
    print(f"{epochs} in {clock(run.seconds)}, in {out}")
    print(f"next: lungsight evaluate {shlex.quote(str(out))} --data {shlex.quote(data[0])}")
    if left_out:
        raise typer.Exit(1)
