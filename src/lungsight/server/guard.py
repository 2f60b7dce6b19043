"""What stands before the application: who may ask, what every answer carries, what is logged."""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import secrets
import time
import traceback

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lungsight.server.problems import Problem
from lungsight.server.settings import Settings
from lungsight.server.telemetry import Telemetry
from lungsight.server.uploads import Body

log = logging.getLogger("lungsight.server")

ROUTES = frozenset(
    {"/", "/docs", "/healthz", "/readyz", "/metrics", "/openapi.json"}
    | {"/v1/corrected", "/v1/models", "/v1/predictions", "/v1/sample", "/v1/wording"}
)
OPEN = frozenset({"/", "/docs", "/healthz", "/readyz", "/static", "/v1/wording"})
"""Asked without a token: what holds nothing but the program's own text, and whether the server lives."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}


CHUNK = 65536
"""Bytes of an answer that are given to the transport at a time."""
LEAST_RATE = 65536
"""Bytes a second, over the whole answer, below which a client is cut off."""

_REQUEST_ID = re.compile(r"[0-9a-fA-F]{8}[0-9a-fA-F-]{0,56}")
"""What a client may call its own request: hexadecimal digits, as of a UUID or a trace, which spell no name."""


class _TooSlow(Exception):
    """The client does not take its answer."""


class Guard:
    """ASGI middleware around everything."""

    def __init__(self, app: ASGIApp, settings: Settings, telemetry: Telemetry) -> None:
        self.app, self.settings, self.telemetry = app, settings, telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or refuse."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in METHODS else "other"
        start, status = time.perf_counter(), 0
        route = route_of(scope["path"])
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(6)
        if method == "HEAD":
            # The answer of GET without its body; uvicorn keeps the body back by the scope that it gave.
            scope = {**scope, "method": "GET"}

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in {**HEADERS, "X-Request-ID": request_id}.items():
                    headers.setdefault(name, value)
                await send(message)
            else:
                await self._send_slowly(message, send)

        try:
            refusal = self._refusal(scope, method, route)
            if refusal is not None:
                await Body(receive).discard()
                await refusal.response()(scope, receive, send_with_headers)
            else:
                await self.app(scope, receive, send_with_headers)
        except ClientDisconnect:
            status = 499
        except _TooSlow:
            # Nothing can be said any more; the server closes what was not finished.
            status = 499
        except Exception as error:
            # Where it happened, but not its words, which may quote an upload.
            places = traceback.extract_tb(error.__traceback__)[-4:]
            where = " < ".join(f"{place.name}:{place.lineno}" for place in reversed(places))
            log.error("request %s: %s at %s", request_id, type(error).__name__, where)
            if status:
                raise ConnectionError("the answer was broken off") from None
            problem = Problem(500, "internal", f"Request {request_id} is in the log.")
            await problem.response()(scope, receive, send_with_headers)
        finally:
            self.telemetry.request(route, method, status or 499, time.perf_counter() - start, request_id)

    async def _send_slowly(self, message: Message, send: Send) -> None:
        """A piece at a time, as the client takes it, and not for ever."""
        body = memoryview(message.get("body", b""))
        more = message.get("more_body", False)
        try:
            async with asyncio.timeout(self.settings.upload_seconds + len(body) / LEAST_RATE):
                for at in range(0, max(1, len(body)), CHUNK):
                    piece = bytes(body[at : at + CHUNK])
                    last = at + CHUNK >= len(body)
                    await send({"type": message["type"], "body": piece, "more_body": more or not last})
        except TimeoutError:
            raise _TooSlow from None

    def _refusal(self, scope: Scope, method: str, route: str) -> Problem | None:
        headers = Headers(scope=scope)
        allowed = self.settings.hosts
        if allowed and _without_port(headers.get("host", "")) not in allowed:
            # A page of another site that lets its own name point here (DNS rebinding).
            return Problem(421, "wrong_host", f"This server is called {' or '.join(allowed)}.")
        if method not in ("GET", "HEAD") and headers.get("sec-fetch-site", "none") not in (
            "same-origin",
            "none",
        ):
            return Problem(403, "other_site", "Requests from pages of other sites are not taken.")
        if self.settings.token is not None and route not in OPEN:
            scheme, _, token = headers.get("authorization", "").partition(" ")
            right = hmac.compare_digest(token.strip().encode("latin-1"), self.settings.token.encode())
            if scheme.lower() != "bearer" or not right:
                wrong = scheme.lower() == "bearer" and bool(token.strip())
                return Problem(
                    401,
                    "wrong_token" if wrong else "no_token",
                    "This is not the server's token."
                    if wrong
                    else "Send the server's token as 'Authorization: Bearer TOKEN'.",
                    headers={
                        "WWW-Authenticate": 'Bearer realm="lungsight"'
                        + (', error="invalid_token"' if wrong else "")
                    },
                )
        return None


def route_of(path: str) -> str:
    """One of the server's own paths; 'other' for anything else, which may hold a name."""
    if path in ROUTES:
        return path
    return "/static" if path.startswith("/static/") else "other"


def _without_port(host: str) -> str:
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdecimal() else host.lower()
