"""Errors as problem details, application/problem+json (RFC 9457).

An error of lungsight gives its code, message and hint. Its `detail`, which may quote a file, never leaves it.
"""

from __future__ import annotations

from http import HTTPStatus

from starlette.responses import Response

from lungsight.errors import InputError, LungsightError, ModelError, PassedOverError, RefusedError
from lungsight.records import Record, to_json
from lungsight.wording import Status

PROBLEM_JSON = "application/problem+json"

TITLES = {
    400: "The request cannot be read",
    401: "A valid token is needed",
    403: "Not allowed from another site",
    404: "There is nothing here",
    405: "Not that method here",
    406: "No such form of answer",
    408: "The upload took too long",
    413: "Too much was sent",
    415: "Not a file upload",
    421: "Not the name of this server",
    422: "It cannot be used",
    500: "Something went wrong here",
    503: "Too busy",
}


class ProblemDetails(Record, frozen=True, kw_only=True):
    """What went wrong, as RFC 9457 has it, with a code for programs."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    """Short name of the kind of error, for programs."""
    detail: str
    """What is wrong, in plain words; nothing of an upload."""
    hint: str = ""
    """What to do about it."""
    errors: tuple[ProblemDetails, ...] = ()
    """Of each file, where none of several could be used."""


class Problem(Exception):
    """An error that ends a request.

    Args:
        status: HTTP status.
        code: short name of the kind of error.
        message: what is wrong, in plain words; nothing of an upload.
        hint: what to do about it.
        outcome: what became of the file, for its row among others.
        headers: of the answer.
        errors: of each file.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        hint: str = "",
        outcome: Status = Status.FAILED,
        headers: dict[str, str] | None = None,
        errors: tuple[ProblemDetails, ...] = (),
    ) -> None:
        super().__init__(code)
        self.status, self.outcome, self.headers = status, outcome, headers
        title = TITLES.get(status) or HTTPStatus(status).phrase
        self.details = ProblemDetails(
            title=title, status=status, code=code, detail=message, hint=hint, errors=errors
        )

    def response(self) -> Response:
        """The answer."""
        return Response(
            to_json(self.details, indent=0), self.status, headers=self.headers, media_type=PROBLEM_JSON
        )


class Busy(Problem):
    """There is no room for the request now."""

    def __init__(self, code: str, message: str, seconds: float) -> None:
        super().__init__(503, code, message, headers={"Retry-After": str(max(1, min(120, round(seconds))))})


def problem_of(error: BaseException) -> Problem:
    """Any error as a problem that repeats nothing that the file says."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, LungsightError):
        status = 422 if isinstance(error, InputError) else 500
        message = error.message
        if isinstance(error, ModelError):
            message = f"the network cannot be used: {message}"
        # Hints of other errors are for who runs the server; "Pass Limits(...)" is for who calls the package.
        wanted = isinstance(error, InputError) and error.code not in LIMITED
        hint = (error.hint or "") if wanted else ""
        return Problem(status, error.code, _sentence(message), hint=_sentence(hint), outcome=_outcome(error))
    if isinstance(error, MemoryError):
        return Problem(422, "memory", "There is not enough memory to read it.")
    return Problem(500, "internal", "The X-ray could not be worked on.")


LIMITED = ("too_large", "too_small", "too_slow")
"""Kinds of errors whose hint names a limit of the package, which the client of a server cannot change."""


def _outcome(error: LungsightError) -> Status:
    if isinstance(error, RefusedError):
        return Status.REFUSED
    return Status.PASSED_OVER if isinstance(error, PassedOverError) else Status.FAILED


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""
