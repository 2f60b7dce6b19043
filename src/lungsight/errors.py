"""Every error that a user can cause, in one tree.

An error has a `code` for programs, a `message` that says what is wrong in plain words, a `hint` that says how to mend
it, and `where`: the file, row or setting. What a decoder or a file says of itself may hold a patient's name: it
stands in `detail` alone, which is for a debugger and is never logged, written or sent.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import ClassVar


class LungsightError(Exception):
    """Base of all errors that lungsight raises on purpose.

    Args:
        message: what is wrong, in plain words, without a full stop and without any value of a file.
        code: a short name of the kind of error, e.g. 'too_large'; the class's own where None.
        where: the file, row or setting at fault, as the user named it.
        hint: what to do about it.
        detail: words of a decoder or a file; never shown, logged, written or sent.
    """

    exit_code = 2
    default_code: ClassVar[str] = "error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        where: str | Path | None = None,
        hint: str | None = None,
        detail: str | None = None,
    ) -> None:
        self.message = message
        self.code = code or self.default_code
        self.where = str(where) if where is not None else None
        self.hint = hint
        self.detail = detail
        super().__init__(message)

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}. {self.hint}" if self.hint else text

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders; the detail stays where it arose.
        return _rebuild, (type(self), self.message, self.code, self.where, self.hint)


def _rebuild(
    kind: type[LungsightError], message: str, code: str, where: str | None, hint: str | None
) -> LungsightError:
    return kind(message, code=code, where=where, hint=hint)


class InputError(LungsightError):
    """An image file that cannot be read, or is refused."""

    default_code = "unreadable"


class RefusedError(InputError):
    """An input that was read and is no frontal chest X-ray (a CT, a lateral view): no score, and no failure."""

    default_code = "refused"


class PassedOverError(InputError):
    """A file that holds no image (a DICOMDIR, a report, an archive): nothing to do, and no failure."""

    default_code = "passed_over"


class DataError(LungsightError):
    """A data set that cannot be read, or does not hold what is asked of it."""

    default_code = "data"


class ConfigError(LungsightError):
    """A recipe or setting that is unknown or out of range."""

    default_code = "setting"


class ModelError(LungsightError):
    """A network file or run folder that cannot be used."""

    default_code = "network"


class OutputError(LungsightError):
    """A result that cannot be written."""

    default_code = "output"


class MissingExtraError(LungsightError):
    """A feature whose optional dependencies are not installed."""

    default_code = "missing_extra"


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
