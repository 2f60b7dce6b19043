"""Running the application with uvicorn: loopback by default, slow clients cut off, a stop that loses nothing."""

from __future__ import annotations

import ipaddress
import logging
import logging.config
import os
import signal
import socket
import threading
import time
import warnings
from types import FrameType
from typing import Any

import uvicorn

from lungsight.errors import LungsightError
from lungsight.inference import Lungsight
from lungsight.server.app import create_app
from lungsight.server.connection import http_protocol
from lungsight.server.predictions import State
from lungsight.server.settings import Settings

log = logging.getLogger("lungsight.server")

CONNECTIONS = 512
"""Open at a time; uvicorn answers more with 503."""

REQUESTS = 0.8
"""Share of the time to stop that open requests may take; the rest is for what is worked on without them."""


def serve(
    model: Lungsight,
    settings: Settings,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    fd: int | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; then finish what is open and return.

    What is not finished after `settings.stop_seconds` is left, and the process ends with exit code 1, whatever it waits
    for. A second signal ends it at once.

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
        http=http_protocol(settings.upload_seconds),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        # What a client says of other addresses is not believed.
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=REQUESTS * settings.stop_seconds,  # type: ignore[arg-type]
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
    finally:
        state = app.state.lungsight
        state.close()  # done before, unless a second signal cut the stop short
        if state.finished:
            server.deadline.cancel()
        elif server.should_exit:
            # Not left to the interpreter, which would wait for the threads, or report success.
            _end()
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
        self.shared, self.deadline = state, Deadline()

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
        seconds = float(self.shared.settings.stop_seconds)
        if self.should_exit:
            self.force_exit = True
            seconds = min(seconds, AT_ONCE)
        self.shared.stop_at = time.monotonic() + seconds
        self.should_exit = True
        self.deadline.set(seconds)


AT_ONCE = 0.5
"""Seconds to the end after a second signal."""


class Deadline:
    """Ends the process at a time, whatever its threads do.

    A thread ends it with exit code 1. Where not even a thread can run, since foreign code holds the interpreter, the
    kernel does, a moment later.
    """

    def __init__(self) -> None:
        self._timers: list[threading.Timer] = []

    def set(self, seconds: float) -> None:
        """End in `seconds`, unless an earlier call said sooner."""
        timer = threading.Timer(max(0.0, seconds - 0.2), _end)
        timer.daemon = True
        timer.start()
        self._timers.append(timer)
        if hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, max(0.1, seconds))

    def cancel(self) -> None:
        """Take it back."""
        while self._timers:
            self._timers.pop().cancel()
            if hasattr(signal, "setitimer"):
                signal.setitimer(signal.ITIMER_REAL, 0)


def _end() -> None:
    log.error("stopped with work undone")
    os._exit(1)


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
