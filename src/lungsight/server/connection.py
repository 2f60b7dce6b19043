"""uvicorn's connection, with an end to every wait for the client: for a request's headers, and for its reading.

Nor may one client keep the event loop from all others by a body in chunks of a byte, each of which costs as much as one
of 64 KiB.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

SLICE = 16_384
"""Bytes that are parsed before anything else gets its turn to stop it."""
CHUNKS, CHUNK = 2_000, 64
"""After so many chunks of a body they have to have so many bytes in the mean. Clients send some thousand each."""


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

        chunks, held = 0, 0
        """How many chunks of this body there were, and its bytes."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            following = self.conn.next_event

            def counted() -> Any:
                event = following()
                if isinstance(event, h11.Data):
                    self.chunks += event.chunk_start
                    self.held += len(event.data)
                elif isinstance(event, h11.Request):
                    self.chunks = self.held = 0
                return event

            self.conn.next_event = counted  # type: ignore[method-assign]
            self._wait()
            self.since = self.loop.time()
            self._watch()

        def data_received(self, data: bytes) -> None:
            self._wait()
            for start in range(0, len(data), SLICE):
                super().data_received(data[start : start + SLICE])
                if self.chunks > CHUNKS and self.held < CHUNK * self.chunks:
                    self._refuse()
                if self.transport.is_closing():
                    break
            if self.conn.their_state is not h11.IDLE or not self.conn.trailing_data[0]:
                self._stop_waiting()

        def _refuse(self) -> None:
            if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                self.cycle.disconnected = True
                self.cycle.message_event.set()
                self.send_400_response("The body comes in too small chunks.")
            else:
                self.transport.abort()

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
