"""What every command shares: --quiet and --verbose, and help that is never cut."""

from __future__ import annotations

import functools
import inspect
import sys
import traceback
from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lungsight.errors import ConfigError

if TYPE_CHECKING:
    from lungsight.inference import Lungsight


class Level(IntEnum):
    """How much a command says beside its result."""

    QUIET = 0
    """Results and what failed, nothing else."""
    NORMAL = 1
    VERBOSE = 2
    """Also where in lungsight an error arose."""


_level = Level.NORMAL


def level() -> Level:
    """How much is to be said."""
    return _level


def set_level(chosen: Level) -> None:
    """From here on say so much."""
    global _level
    _level = chosen


def tell(text: str, *, end: str = "\n") -> None:
    """Progress and hints, on standard error; nothing with --quiet."""
    if _level > Level.QUIET:
        print(text, end=end, file=sys.stderr, flush=True)


def tell_gate(model: Lungsight) -> None:
    """Once a run: the networks bring no gate, so that nothing is refused for what it looks like."""
    if model.bundle.gate is None:
        tell(
            "lungsight: these networks have no gate: only the file's header, its size and its contrast can refuse an "
            "image; a CT slice or a side view may get masks and a score ('gate' is 'none' in the table)"
        )


def trace(error: BaseException) -> str:
    """Where an error arose, file by file; without the words of the errors beneath it, which may quote a file."""
    lines = []
    cause: BaseException | None = error
    while cause is not None:
        lines.append(f"{type(cause).__name__}:")
        lines += [
            f"  {frame.filename}:{frame.lineno} in {frame.name}"
            for frame in traceback.extract_tb(cause.__traceback__)
        ]
        cause = cause.__cause__
    return "\n".join(lines)


def shared(command: Callable[..., None]) -> Callable[..., None]:
    """The command with --quiet and --verbose beside its own options."""

    @functools.wraps(command)
    def run(*arguments: Any, quiet: bool, verbose: bool, **options: Any) -> None:
        set_level(Level.QUIET if quiet else Level.VERBOSE if verbose else Level.NORMAL)
        command(*arguments, **options)

    own = inspect.signature(command, eval_str=True)
    more = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=False,
            annotation=Annotated[bool, typer.Option(f"--{name}", letter, help=words)],
        )
        for name, letter, words in (
            ("quiet", "-q", "Say only what was made and what failed."),
            ("verbose", "-v", "Also say where in lungsight an error arose."),
        )
    ]
    # Typer reads both.
    run.__signature__ = own.replace(parameters=[*own.parameters.values(), *more])  # type: ignore[attr-defined]
    run.__annotations__ = {name: one.annotation for name, one in run.__signature__.parameters.items()}  # type: ignore[attr-defined]
    return run


def first_sentence(command: Callable[..., None]) -> str:
    """What the list of commands says of one: the first sentence of its help, whole."""
    text = " ".join((inspect.getdoc(command) or "").split("\n\n")[0].split())
    return text.split(". ")[0].rstrip(".") + "."


def parse_columns(text: str | None) -> dict[str, str] | None:
    """`finding=diagnosis,patient=subject` -> a mapping; None where nothing is given.

    Raises:
        ConfigError: a part is not OURS=THEIRS, or a column is given twice.
    """
    if not text:
        return None
    columns: dict[str, str] = {}
    for part in text.split(","):
        ours, equals, theirs = (piece.strip() for piece in part.partition("="))
        if not (ours and equals and theirs):
            raise ConfigError(
                f"--columns: {part.strip()!r} is not OURS=THEIRS", hint="Write finding=diagnosis,..."
            )
        if ours in columns:
            raise ConfigError(f"--columns: {ours!r} is given twice")
        columns[ours] = theirs
    return columns
