"""The page of the command line, from the commands themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from lungsight.cli import app

HEAD = """# Command line

Made from the commands themselves when this site is built; `lungsight COMMAND --help` says the same.

Exit codes: 0, all is done (what was passed over is listed); 1, some inputs failed; 2, wrong usage, or nothing could be
done; 130, stopped. Every command takes `--quiet` and `--verbose`.

"""
SHARED = {"--help", "--quiet", "--verbose"}


def page() -> str:
    """The whole page, Markdown."""
    root = typer.main.get_command(app)
    return HEAD + "\n".join(
        part for path, command in _walk("lungsight", root) for part in _command(path, command)
    )


def _walk(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    if hasattr(command, "commands"):
        for name in sorted(command.commands):
            yield from _walk(f"{path} {name}", command.commands[name])
    else:
        yield path, command


def _command(path: str, command: Any) -> Iterator[str]:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    words = " ".join(_metavar(one) for one in arguments)
    yield f"## {path}\n\n{inspect.cleandoc(command.help or '')}\n"
    yield f"```text\n{path} [OPTIONS] {words}".rstrip() + "\n```\n"
    rows = [_row(one) for one in command.params if not SHARED & set(one.opts) and not one.hidden]
    if rows:
        yield "| | | default |\n| --- | --- | --- |\n" + "\n".join(rows) + "\n"


def _metavar(one: Any) -> str:
    name = str(one.metavar or one.name).upper().replace("_", "-")
    name = name if one.required else f"[{name}]"
    return f"{name}..." if one.nargs == -1 else name


def _row(one: Any) -> str:
    if one.param_type_name == "argument":
        name = f"`{_metavar(one)}`"
    else:
        name = ", ".join(f"`{opt}`" for opt in (*one.opts, *one.secondary_opts))
        choices = _choices(one)
        if choices:
            name += " " + ", ".join(f"`{choice}`" for choice in choices)
        elif one.metavar:
            name += f" `{one.metavar}`"
    default = one.default
    shown = ""
    if one.required:
        shown = "needed"
    elif isinstance(default, (str, int, float)) and not isinstance(default, bool) and str(default):
        shown = f"`{getattr(default, 'value', default)}`"
    elif isinstance(default, Path):
        shown = f"`{default.as_posix()}`"
    return "| " + " | ".join(_escape(cell) for cell in (name, one.help or "", shown)) + " |"


def _choices(one: Any) -> tuple[str, ...]:
    """The words that an option takes, where they are a list."""
    return tuple(str(getattr(choice, "value", choice)) for choice in getattr(one.type, "choices", ()))


def _escape(text: str) -> str:
    return " ".join(text.replace("\\|", "|").split()).replace("|", "\\|")
