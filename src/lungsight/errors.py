"""Every error that a user can cause, in one tree.

A message says what is wrong, where, and how to mend it. The command line prints it and exits with
`exit_code`; a batch catches it, names the input and goes on with the rest.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType


class LungsightError(Exception):
    """Base of all errors that lungsight raises on purpose.

    Args:
        what: what is wrong, in plain words, without a full stop.
        where: the file, row or setting at fault.
        hint: what to do about it.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str | Path | None = None, hint: str | None = None) -> None:
        self.what = what
        self.where = str(where) if where is not None else None
        self.hint = hint
        super().__init__(what)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}. {self.hint}" if self.hint else text


class InputError(LungsightError):
    """An image file that cannot be read, or is refused."""


class DataError(LungsightError):
    """A data set that cannot be read, or does not hold what is asked of it."""


class ConfigError(LungsightError):
    """A recipe or setting that is unknown or out of range."""


class ModelError(LungsightError):
    """A network file or run folder that cannot be used."""


class OutputError(LungsightError):
    """A result that cannot be written."""


class MissingExtraError(LungsightError):
    """A feature whose optional dependencies are not installed."""


def require(module: str, *, feature: str, extra: str) -> ModuleType:
    """Import an optional dependency.

    Raises:
        MissingExtraError: it is not installed; the message gives the feature and the install command.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{feature} needs {module.split('.')[0]}, which is not installed",
            hint=f"Install it with: pip install 'lungsight[{extra}]'",
        ) from error
