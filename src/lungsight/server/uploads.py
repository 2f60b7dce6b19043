"""Reading an upload into memory, never onto the disk, within limits of size and time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from lungsight.server.problems import Busy, Problem
from lungsight.server.settings import MIB, Settings

FIELDS = ("files", "file")
"""Names under which files may be sent."""
PATIENCE = 2.0
"""Seconds for which the rest of a refused upload is thrown away, so that its sender gets to read the answer."""


class UploadBudget:
    """Bytes of uploads in memory, over all requests."""

    def __init__(self, limit: int) -> None:
        self.limit, self.held = limit, 0

    @contextlib.contextmanager
    def account(self) -> Iterator[Reservation]:
        """For one request; what it took is given back at the end."""
        account = Reservation(self)
        try:
            yield account
        finally:
            self.held -= account.taken


class Reservation:
    """What one request holds."""

    def __init__(self, ledger: UploadBudget) -> None:
        self._ledger, self.taken = ledger, 0

    def take(self, count: int) -> None:
        """Raises Busy where there is no room for `count` more bytes."""
        if self._ledger.held + count > self._ledger.limit:
            raise Busy("The server holds as many uploads as it can. Try again shortly.", 2)
        self._ledger.held += count
        self.taken += count


async def read_files(request: Request, settings: Settings, account: Reservation) -> list[bytes]:
    """The files of a multipart upload, in their order. Their names are not looked at.

    Raises:
        Problem: not multipart, damaged, no file, too many, too large, too slow.
        Busy: the server holds too much already.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise Problem(415, "Send the X-rays as multipart/form-data, each in a part named 'files'.")
    length = request.headers.get("content-length", "")
    body = Body(request.receive)
    try:
        if length.isdecimal() and int(length) > settings.max_request_bytes:
            raise _too_large(settings)
        parser = _InMemory(
            request.headers,
            _counted(body, settings, account),
            max_files=settings.max_files,
            max_fields=16,
            max_part_size=MIB,
        )
        async with asyncio.timeout(settings.upload_seconds):
            form = await parser.parse()
    except TimeoutError:
        raise Problem(
            408,
            f"The upload was not complete after {settings.upload_seconds:g} seconds.",
            headers={"Connection": "close"},
        ) from None
    except MultiPartException as error:
        await body.discard()
        if error.message.startswith("Too many files"):
            raise Problem(413, f"At most {settings.max_files} files go into one request.") from None
        raise Problem(400, "The multipart body is damaged.") from None
    except Problem:
        await body.discard()
        raise
    files = []
    for name, item in form.multi_items():
        if isinstance(item, UploadFile):
            if name in FIELDS:
                files.append(item.file.read())
            item.file.close()
    if not files:
        raise Problem(422, "There is no file in the upload. Send each X-ray in a part named 'files'.")
    return files


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


class _InMemory(MultiPartParser):
    spool_max_size = 2**62


async def _counted(body: Body, settings: Settings, account: Reservation) -> AsyncGenerator[bytes, None]:
    count = 0
    async for chunk in body.chunks():
        count += len(chunk)
        if count > settings.max_request_bytes:
            raise _too_large(settings)
        account.take(len(chunk))
        yield chunk


def _too_large(settings: Settings) -> Problem:
    return Problem(413, f"At most {settings.max_request_bytes / MIB:,.0f} MiB go into one request.")
