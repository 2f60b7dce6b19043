"""uvicorn's connection, with an end to every wait for the client: for a request's headers, and for its reading."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


def http_protocol(seconds: float) -> type[asyncio.Protocol]:
    """A protocol class for `uvicorn.Config(http=...)`.

    A request's headers must be complete in `seconds`; a client that takes nothing of its answer for as long is cut off,
    whether the answer is under way, done or left over when the connection closes.
    """

    class HeaderTimeoutProtocol(H11Protocol):
        waiting_for_head: asyncio.TimerHandle | None = None
        watching: asyncio.TimerHandle | None = None
        unsent = 0
        """Bytes that wait in the transport, when last looked at."""
        since = 0.0
        """When the client last took some of them."""

        closing = 0.0
        """When its end was first noticed; what is left over is not waited for however slowly it is taken."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._wait()
            self.since = self.loop.time()
            self._watch()

        def data_received(self, data: bytes) -> None:
            self._wait()
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE or not self.conn.trailing_data[0]:
                self._stop_waiting()

        def resume_writing(self) -> None:
            self.since = self.loop.time()
            super().resume_writing()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            if self.watching is not None:
                self.watching.cancel()
            super().connection_lost(exc)

        def _wait(self) -> None:
            if self.waiting_for_head is None:
                self.waiting_for_head = self.loop.call_later(seconds, self.transport.abort)

        def _stop_waiting(self) -> None:
            if self.waiting_for_head is not None:
                self.waiting_for_head.cancel()
                self.waiting_for_head = None

        def _watch(self) -> None:
            left, now = self.transport.get_write_buffer_size(), self.loop.time()
            if left == 0 or left < self.unsent:
                self.since = now
            self.unsent = left
            if self.closing == 0.0 and self.transport.is_closing():
                self.closing = now
            if now - self.since > seconds or (self.closing and now - self.closing > seconds):
                self.transport.abort()
            else:
                self.watching = self.loop.call_later(min(1.0, seconds / 4), self._watch)

    return HeaderTimeoutProtocol
