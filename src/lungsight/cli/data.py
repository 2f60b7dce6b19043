"""`lungsight data`: describe, convert, draw."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lungsight.cli.target import TargetOption, UncertainOption, read_target
from lungsight.wording import Uncertain, say

if TYPE_CHECKING:
    from rich.table import Table

    from lungsight.dataset import Dataset
    from lungsight.dataset.description import Classes, Description, Labelled
    from lungsight.duplicates import Duplicates

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
LISTED = 25
"""Lines of a table of counts; `--json` has all."""

ColumnsOption = Annotated[
    str | None,
    typer.Option(metavar="OURS=THEIRS,...", help="Other column names: finding=diagnosis,patient=subject."),
]
PathArgument = Annotated[Path, typer.Argument(help="Folder of a data set, or its CSV or JSON file.")]


@app.command()
def describe(
    paths: Annotated[list[Path], typer.Argument(help="Folders of data sets, or their CSV or JSON files.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    columns: ColumnsOption = None,
    target: TargetOption = None,
    uncertain: UncertainOption = Uncertain.DROP,
    duplicates: Annotated[
        bool | None,
        typer.Option(
            "--duplicates/--no-duplicates",
            help="Look for films that occur more than once; default: where several data sets are given.",
        ),
    ] = None,
) -> None:
    """Count images, masks, classes, sources and patients, and list what is wrong.

    Exit code 0: all rows can be used; 1: some cannot; 2: none can, or there is no data set.
    """
    from lungsight.dataset import describe as count
    from lungsight.records import plain

    datasets = [read_target(path, columns, target, uncertain) for path in paths]
    with progress_bar("Opening files") as progress:
        descriptions = [count(dataset, progress) for dataset in datasets]
    copies = _find_copies(datasets) if duplicates or (duplicates is None and len(paths) > 1) else None
    if as_json:
        listed: dict[str, Any] = descriptions[0].to_dict()
        if len(paths) > 1:
            listed = {"datasets": [one.to_dict() for one in descriptions]}
        if copies is not None:
            listed["duplicates"] = plain(copies)
        print(json.dumps(listed, indent=2, ensure_ascii=False))
    else:
        for description in descriptions:
            _print(description)
        if copies is not None:
            _print_copies(copies, [str(path) for path in paths])
    problems = [problem for description in descriptions for problem in description.problems]
    for problem in problems:
        print(f"{problem.id}: {problem.reason}", file=sys.stderr)
    if problems:
        raise typer.Exit(1 if any(description.all.total for description in descriptions) else 2)


@app.command()
def convert(
    path: PathArgument,
    out: Annotated[Path, typer.Argument(help="New folder for images, masks and manifest.csv.")],
    size: Annotated[
        int | None,
        typer.Option(min=16, max=8192, help="Resize to a square of this side; default: as they are."),
    ] = None,
    columns: ColumnsOption = None,
    target: TargetOption = None,
    uncertain: UncertainOption = Uncertain.DROP,
    duplicates: Annotated[
        bool,
        typer.Option(
            "--duplicates",
            help="Write the column 'group', so that copies of a film stay on one side of a split.",
        ),
    ] = False,
) -> None:
    """Write any data set as images, 1-bit PNG masks and a manifest.

    Exit code 1: some rows could not be read and were left out.
    """
    from lungsight.dataset import write_manifest

    dataset = read_target(path, columns, target, uncertain)
    if duplicates:
        from lungsight.duplicates import keep_together

        dataset = keep_together(dataset, _find_copies([dataset]).ids())
    with progress_bar("Converting") as progress:
        written = write_manifest(dataset, out, size=(size, size) if size else None, progress=progress)
    broken = [item for item in written.excluded if item.broken]
    by_rule = len(written.excluded) - len(broken)
    print(f"{len(written)} images in {out}; {by_rule} excluded by rule, {len(broken)} unusable")
    for item in broken:
        print(f"{item.id}: {item.reason}", file=sys.stderr)
    if broken:
        raise typer.Exit(1)


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(help="Folder for images, masks and manifest.csv.")],
    count: Annotated[int, typer.Option(min=1, max=100_000, help="Images.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Names the set: the same seed draws the same images.")] = 0,
    shortcut: Annotated[
        float,
        typer.Option(min=0, max=1, help="How far the hospital gives COVID-19 away: 0 not at all, 1 wholly."),
    ] = 1.0,
    size: Annotated[int, typer.Option(min=64, max=2048, help="Side in pixels.")] = 256,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Remove the phantoms of another set that lie in the folder.")
    ] = False,
) -> None:
    """Draw chest X-rays with exact lung masks, to try every command with no download."""
    from lungsight.phantom import write_phantoms

    with progress_bar("Drawing") as progress:
        dataset = write_phantoms(
            out, count=count, seed=seed, shortcut=shortcut, size=size, overwrite=overwrite, progress=progress
        )
    covid = sum(row.covid is True for row in dataset.rows)
    print(f"{len(dataset)} drawn X-rays in {out}, {covid} with COVID-19")


@app.command("audit")
def audit_command(
    path: PathArgument,
    out: Annotated[
        Path, typer.Option("--out", help="Folder for data-audit.html, data-audit.json and tables/.")
    ] = Path("data-audit"),
    seed: Annotated[int, typer.Option(min=0, help="Of folds and choices.")] = 0,
    cache: Annotated[Path | None, typer.Option(help="Keep decoded pixels in this folder.")] = None,
    columns: ColumnsOption = None,
    target: TargetOption = None,
    uncertain: UncertainOption = Uncertain.DROP,
) -> None:
    """How much of the target is told without a lung: by source, header, age, border; the figure to beat.

    Needs lungsight[train] and patient ids. Exit code 1: some images could not be used.
    """
    from lungsight.cli.train import command_line, name_left_out, need_training

    need_training()
    import msgspec

    from lungsight.audit import audit_data
    from lungsight.audit.data_audit import DATA
    from lungsight.report.audit_report import write_data_audit
    from lungsight.report.audit_tables import probe_words

    dataset = read_target(path, columns, target, uncertain)
    settings = msgspec.structs.replace(DATA, seed=seed)
    found = audit_data(dataset, out, settings=settings, cache=cache, command=command_line())
    report = write_data_audit(out, found)
    print(
        f"Best AUROC that knows nothing about lungs: {found.best.pooled}, within source {found.best.same_source}"
    )
    for probe in (*found.no_pixels, *found.retraining):
        print(f"  {probe_words(probe.key)}: {probe.pooled}, within source {probe.same_source}")
    print(f"{report}. Research use only, not for diagnosis.")
    if name_left_out(dataset, found.failures):
        raise typer.Exit(1)


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A callback (done, total) that moves a bar on standard error; silent where that is no terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _find_copies(datasets: list[Dataset]) -> Duplicates:
    from lungsight.duplicates import in_datasets

    with progress_bar("Looking for copies") as progress:
        return in_datasets(datasets, progress)


def _print_copies(found: Duplicates, names: list[str]) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    table = _table("Films that occur more than once", "", "films")
    groups = found.groups
    for words, count in (
        ("in all", len(groups)),
        ("in several of the data sets", sum(one.across_datasets for one in groups)),
        ("under several patients", sum(one.across_patients for one in groups)),
        ("with conflicting labels", sum(one.conflicting for one in groups)),
    ):
        table.add_row(words, f"{count:,}")
    console.print(table)
    if found.unreadable:
        console.print(f"{found.unreadable:,} images could not be read and were not compared")
    # The gravest first.
    for one in sorted(groups, key=lambda one: (not one.conflicting, not one.across_patients))[:LISTED]:
        ids = "  ".join(f"{names[row.dataset]}:{row.id}" if len(names) > 1 else row.id for row in one.rows)
        remarks = [
            text
            for text, so in (
                ("conflicting labels", one.conflicting),
                ("several patients", one.across_patients),
            )
            if so
        ]
        console.print(f"  {ids}{'  (' + ', '.join(remarks) + ')' if remarks else ''}", soft_wrap=True)
    if len(groups) > LISTED:
        console.print(f"  and {len(groups) - LISTED:,} more; --json has all")


def _print(description: Description) -> None:
    from rich.console import Console

    # Names come from files: a bracket in them is no markup.
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(f"{description.root} ({description.layout}, {description.fingerprint})", soft_wrap=True)
    console.print(_table_1(description))
    if len(description.source) > 1 or "not given" not in description.source:
        console.print(_by_source(description.by_source, description.target.name))
    if description.labels:
        console.print(_labels(description.labels))
    for title, counts in (
        ("Sub-source", description.subsource),
        ("Finding", description.finding),
        ("View", description.view),
        ("Sex", description.sex),
        ("Excluded because of", description.excluded),
    ):
        if counts:
            console.print(_counts(title, counts))
    patients = description.patients
    if patients.count:
        console.print(
            f"Patients: {patients.count}, {patients.positive} of them with {description.target.name}; "
            f"images per patient: {patients.images_min} to {patients.images_max}, mean {patients.images_mean:.2f}",
            soft_wrap=True,
        )
    if patients.images_without_patient:
        console.print(f"Images without a patient id: {patients.images_without_patient}")
    for note in description.notes:
        console.print(f"Note: {note.count:,} {say(note.code)}", soft_wrap=True)
    chosen = description.target
    if chosen.rows_uncertain or chosen.rows_unmentioned:
        console.print(
            f"Target {chosen.name}: {chosen.rows_uncertain:,} uncertain labels were taken as "
            f"'{chosen.uncertain}', {chosen.rows_unmentioned:,} images that name other findings only as "
            f"'{chosen.unmentioned}'",
            soft_wrap=True,
        )
    if description.problems:
        console.print(f"Unusable: {len(description.problems)} (not counted above, listed on standard error)")


def _table_1(description: Description) -> Table:
    """The paper's table 1."""
    every, masked, bare = description.all, description.with_mask, description.without_mask
    title = (
        f"total, {_size(description.smallest)} to {_size(description.largest)}" if every.total else "total"
    )
    table = _table("Images", "", "images")
    target = description.target.name
    for name, count in (
        (title, every.total),
        (target, every.positive),
        (f"not {target}", every.negative),
        ("not labelled", every.unlabelled),
        ("with a lung mask", masked.total),
        (f"with a lung mask, {target}", masked.positive),
        (f"with a lung mask, not {target}", masked.negative),
        ("without a lung mask, in the table", bare.total),
        ("excluded by rule", sum(description.excluded.values())),
    ):
        optional = name.startswith(("not labelled", "without"))
        if count or not optional:
            table.add_row(name, f"{count:,}")
    return table


def _by_source(sources: Mapping[str, Classes], target: str) -> Table:
    table = _table("Source", "", "images", target, f"not {target}", "not labelled")
    for name, classes in sources.items():
        counts = (classes.total, classes.positive, classes.negative, classes.unlabelled)
        table.add_row(name, *(f"{count:,}" for count in counts))
    return table


def _labels(labels: Mapping[str, Labelled]) -> Table:
    table = _table("Labels", "", "positive", "negative", "uncertain")
    for name, one in labels.items():
        table.add_row(name, f"{one.positive:,}", f"{one.negative:,}", f"{one.uncertain:,}")
    return table


def _counts(title: str, counts: Mapping[str, int]) -> Table:
    table = _table(title, "", "images")
    for name, count in list(counts.items())[:LISTED]:
        table.add_row(name, f"{count:,}")
    if len(counts) > LISTED:
        table.add_row(f"{len(counts) - LISTED:,} others", f"{sum(list(counts.values())[LISTED:]):,}")
    return table


def _table(title: str, first: str, *headings: str) -> Table:
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE)
    table.add_column(first)
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def _size(size: tuple[int, int] | None) -> str:
    return f"{size[1]} x {size[0]}" if size else "?"
