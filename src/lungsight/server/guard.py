"""What stands before the application: who may ask, what every answer carries, what is logged."""

from __future__ import annotations

import hmac
import logging
import secrets
import time
import traceback
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lungsight.server.problems import Problem
from lungsight.server.settings import Settings
from lungsight.server.telemetry import Telemetry
from lungsight.server.uploads import Body

log = logging.getLogger("lungsight.server")

ROUTES = frozenset(
    {"/", "/healthz", "/readyz", "/metrics", "/openapi.json", "/v1/models", "/v1/predictions", "/v1/sample"}
)
OPEN = frozenset({"/", "/healthz", "/readyz", "/static"})
"""Asked without a token: a page that holds nothing, and whether the server lives."""

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


class Guard:
    """ASGI middleware around everything."""

    def __init__(self, app: ASGIApp, settings: Settings, telemetry: Telemetry) -> None:
        self.app, self.settings, self.telemetry = app, settings, telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or refuse."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, mark, status = time.perf_counter(), secrets.token_hex(6), 0
        route = route_of(scope["path"])

        async def dressed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in {**HEADERS, "X-Request-ID": mark}.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            refusal = self._refusal(scope, route)
            if refusal is not None:
                await Body(receive).discard()
                await refusal.response()(scope, receive, dressed)
            else:
                await self.app(scope, receive, dressed)
        except ClientDisconnect:
            status = 499
        except Exception as error:
            # Where it happened, but not its words, which may quote an upload.
            places = traceback.extract_tb(error.__traceback__)[-4:]
            where = " < ".join(f"{place.name}:{place.lineno}" for place in reversed(places))
            log.error("request %s: %s at %s", mark, type(error).__name__, where)
            if status:
                raise ConnectionError("the answer was broken off") from None
            await Problem(500, f"Request {mark} is in the log.").response()(scope, receive, dressed)
        finally:
            method = scope["method"] if scope["method"] in METHODS else "other"
            self.telemetry.request(route, method, status or 499, time.perf_counter() - start, mark)

    def _refusal(self, scope: Scope, route: str) -> Problem | None:
        headers = Headers(scope=scope)
        allowed = self.settings.hosts
        if allowed and _without_port(headers.get("host", "")) not in allowed:
            # A page of another site that lets its own name point here (DNS rebinding).
            return Problem(421, f"This server is called {' or '.join(allowed)}.")
        if scope["method"] not in ("GET", "HEAD") and headers.get("sec-fetch-site", "none") not in (
            "same-origin",
            "none",
        ):
            return Problem(403, "Requests from pages of other sites are not taken.")
        if self.settings.token is not None and route not in OPEN:
            scheme, _, given = headers.get("authorization", "").partition(" ")
            right = hmac.compare_digest(given.strip().encode("latin-1"), self.settings.token.encode())
            if scheme.lower() != "bearer" or not right:
                challenge: dict[str, Any] = {"WWW-Authenticate": 'Bearer realm="lungsight"'}
                return Problem(
                    401, "Send the server's token as 'Authorization: Bearer TOKEN'.", headers=challenge
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
