"""Running the application with uvicorn: loopback by default, slow clients cut off, a stop that loses nothing."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import logging.config
import signal
import socket
import warnings
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from lungsight.errors import LungsightError
from lungsight.inference import Lungsight
from lungsight.server.app import State, create_app
from lungsight.server.settings import Settings

log = logging.getLogger("lungsight.server")

CONNECTIONS = 512
"""Open at a time; uvicorn answers more with 503."""


def serve(
    model: Lungsight,
    settings: Settings,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    fd: int | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; then finish what is open and return.

    Args:
        model: of `load_model`.
        settings: limits, token, allowed names.
        host: address to listen on.
        port: 0 takes a free one.
        fd: an open listening socket to use instead (systemd's socket activation, restarts without a gap).

    Raises:
        LungsightError: the address cannot be listened on, or the networks do not run.
    """
    _quiet()
    app = create_app(model, settings)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=_patient(settings.upload_seconds),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        # What a client says of other addresses is not believed.
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=settings.stop_seconds,
    )
    server = _Server(config, app.state.lungsight)
    try:
        # The socket of a file descriptor knows whether it is IPv4, IPv6 or a path; uvicorn's own `fd` does not.
        server.run(sockets=None if fd is None else [socket.socket(fileno=fd)])
    except OSError as error:
        raise LungsightError(f"the file descriptor {fd} is no listening socket") from error
    except SystemExit as error:  # uvicorn's way to say that the address is taken
        raise LungsightError(
            f"{host}:{port} cannot be listened on", hint="Choose another with --host and --port"
        ) from error
    if not server.started:
        raise LungsightError("the server did not start", hint="The lines above say why")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, state: State) -> None:
        super().__init__(config)
        self.shared = state

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listening in (one for server in self.servers for one in server.sockets):
            if listening.family == socket.AF_UNIX:
                log.info("open socket %s", listening.getsockname())
            else:
                host, port = listening.getsockname()[:2]
                log.info("open http://%s:%d", f"[{host}]" if ":" in host else host, port)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Not uvicorn's own, which ends the process by the same signal once more after the graceful stop.
        self.shared.draining = True
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True


def _patient(seconds: float) -> type[asyncio.Protocol]:
    """uvicorn's protocol, but a request's headers must be complete in `seconds`."""

    class Patient(H11Protocol):
        late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._wait()

        def data_received(self, data: bytes) -> None:
            self._wait()
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE or not self.conn.trailing_data[0]:
                self._stop_waiting()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            super().connection_lost(exc)

        def _wait(self) -> None:
            if self.late is None:
                self.late = self.loop.call_later(seconds, self._cut)

        def _stop_waiting(self) -> None:
            if self.late is not None:
                self.late.cancel()
                self.late = None

        def _cut(self) -> None:
            if not self.transport.is_closing():
                self.transport.close()

    return Patient


def _quiet() -> None:
    """Log to standard error, and keep out of it what libraries quote from files."""
    logging.config.dictConfig(_LOGGING)
    # pydicom warns in the words of the file: "Invalid value for VR UI: ...".
    warnings.filterwarnings("ignore", module=r"pydicom|PIL|highdicom")


_LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {
        "lungsight": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        "uvicorn": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
        "pydicom": {"handlers": [], "level": "CRITICAL", "propagate": False},
        "highdicom": {"handlers": [], "level": "CRITICAL", "propagate": False},
    },
}
