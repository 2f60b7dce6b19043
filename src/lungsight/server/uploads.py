"""Reading an upload into memory, never onto the disk, within limits of size and time."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from lungsight.server.multipart import Damaged, MultipartReader, TooMany, boundary_of
from lungsight.server.problems import Busy, Problem
from lungsight.server.settings import MIB, Settings

FIELDS = (b"files", b"file")
"""Names under which files may be sent."""
PATIENCE = 2.0
"""Seconds for which the rest of a refused upload is thrown away, so that its sender gets to read the answer."""


class UploadBudget:
    """Bytes of uploads and of answers in memory, over all requests. May be used from any thread."""

    def __init__(self, limit: int) -> None:
        self.limit, self.held = limit, 0
        self._lock = threading.Lock()

    def reserve(self) -> Reservation:
        """An empty reservation, for one request."""
        return Reservation(self)

    def change(self, count: int) -> bool:
        """Take `count` bytes, or give them back where it is below 0; False where there is no room."""
        with self._lock:
            if count > 0 and self.held + count > self.limit:
                return False
            self.held += count
            return True


class Reservation:
    """What one request holds; `release` gives all of it back."""

    def __init__(self, budget: UploadBudget) -> None:
        self._budget, self.taken = budget, 0
        self._lock = threading.Lock()
        self._released = False

    def take(self, count: int) -> None:
        """Raises Busy where there is no room for `count` more bytes."""
        with self._lock:
            # A request that is over holds nothing, however late one of its files is done.
            if self._released or count <= 0:
                return
            if not self._budget.change(count):
                raise Busy("busy_memory", "The server holds as much as it can. Try again shortly.", 2)
            self.taken += count

    def release(self) -> None:
        """At the end of the request."""
        with self._lock:
            self._released = True
            self._budget.change(-self.taken)
            self.taken = 0


async def read_files(request: Request, settings: Settings, reservation: Reservation) -> list[bytearray]:
    """The files of a multipart upload, in their order. Their names are not looked at.

    Memory is reserved before the body is read, by its Content-Length; where there is none, as it comes.

    Raises:
        Problem: not multipart, damaged, cut short, no file, too many, too large, too slow.
        Busy: the server holds too much already.
        ClientDisconnect: the client went away.
    """
    body = Body(request.receive)
    try:
        return await _read(request, body, settings, reservation)
    except Problem:
        await body.discard()
        raise


async def _read(
    request: Request, body: Body, settings: Settings, reservation: Reservation
) -> list[bytearray]:
    content_type = request.headers.get("content-type", "").encode("latin-1")
    if content_type.partition(b";")[0].strip().lower() != b"multipart/form-data":
        raise Problem(415, "not_multipart", "Send the X-rays as multipart/form-data, in parts named 'files'.")
    boundary = boundary_of(content_type)
    if boundary is None:
        raise Problem(400, "damaged_upload", "The multipart body has no usable boundary.")
    length = request.headers.get("content-length", "")
    expected = int(length) if length.isdecimal() and len(length) < 20 else 0
    if expected > settings.max_request_bytes:
        raise _too_large(settings)
    reservation.take(expected)
    reader = MultipartReader(boundary, FIELDS, settings.max_files)
    count = 0
    try:
        async with asyncio.timeout(settings.upload_seconds):
            async for chunk in body.chunks():
                count += len(chunk)
                if count > settings.max_request_bytes:
                    raise _too_large(settings)
                reservation.take(count - max(expected, count - len(chunk)))
                reader.feed(chunk)
    except TimeoutError:
        raise Problem(
            408,
            "slow_upload",
            f"The upload was not complete after {settings.upload_seconds:g} seconds.",
            headers={"Connection": "close"},
        ) from None
    except Damaged:
        raise Problem(400, "damaged_upload", "The multipart body is damaged.") from None
    except TooMany:
        raise Problem(
            413, "too_many_files", f"At most {settings.max_files} files go into one request."
        ) from None
    if not reader.ended:
        raise Problem(400, "cut_upload", "The multipart body is cut short: its last boundary is missing.")
    if not reader.files:
        raise Problem(
            422, "no_file", "There is no file in the upload. Send each X-ray in a part named 'files'."
        )
    return reader.files


class Body:
    """The body of a request as it comes, which knows when it has come to its end."""

    def __init__(self, receive: Receive) -> None:
        self._receive, self.ended = receive, False

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The rest of it; raises ClientDisconnect."""
        while not self.ended:
            message = await self._receive()
            if message["type"] != "http.request":
                self.ended = True
                raise ClientDisconnect
            self.ended = not message.get("more_body", False)
            yield message.get("body", b"")

    async def discard(self) -> None:
        """Throw the rest away, for a short while."""
        with contextlib.suppress(TimeoutError, ClientDisconnect):
            async with asyncio.timeout(PATIENCE):
                async for _ in self.chunks():
                    pass


async def gone(receive: Receive) -> None:
    """Return when the client has gone away; its body was read before."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _too_large(settings: Settings) -> Problem:
    return Problem(
        413, "too_large", f"At most {settings.max_request_bytes / MIB:,.0f} MiB go into one request."
    )
