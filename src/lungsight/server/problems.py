"""Errors as problem details, application/problem+json (RFC 9457)."""

from __future__ import annotations

import re
from typing import Any

from fastapi.responses import JSONResponse

from lungsight.errors import InputError, LungsightError, ModelError

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


class Problem(Exception):
    """An error that ends a request.

    Args:
        status: HTTP status.
        detail: what is wrong and what to do, in plain words; nothing of an upload.
        headers: of the answer.
        more: further members of the body.
    """

    def __init__(
        self, status: int, detail: str = "", *, headers: dict[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers, self.more = status, detail, headers, more

    @property
    def body(self) -> dict[str, Any]:
        """As RFC 9457 has it."""
        title = TITLES.get(self.status, "An error")
        return {
            "type": "about:blank",
            "title": title,
            "status": self.status,
            "detail": self.detail,
            **self.more,
        }

    def response(self) -> JSONResponse:
        """The answer."""
        return JSONResponse(
            self.body, self.status, headers=self.headers, media_type="application/problem+json"
        )


class Busy(Problem):
    """There is no room for the request now."""

    def __init__(self, detail: str, seconds: float) -> None:
        super().__init__(503, detail, headers={"Retry-After": str(max(1, min(120, round(seconds))))})


def of_error(error: BaseException) -> Problem:
    """An error of lungsight, or any other, as a problem that repeats nothing that the file says."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, InputError):
        # A decoder's own words may quote what stands in the file.
        what = re.sub(r"(damaged|cut short|must repeat) \(.*\)$", r"\1", error.message, flags=re.DOTALL)
        hint = "" if error.hint is None or "Limits(" in error.hint else f" {error.hint}."
        return Problem(422, f"{what[:1].upper()}{what[1:]}.{hint}")
    if isinstance(error, ModelError):
        return Problem(500, f"The network cannot be used: {error.message}.")
    if isinstance(error, LungsightError):
        return Problem(500, f"{error.message}.")
    if isinstance(error, MemoryError):
        return Problem(422, "There is not enough memory to read it.")
    return Problem(500, "The X-ray could not be worked on.")
