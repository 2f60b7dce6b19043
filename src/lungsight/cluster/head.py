"""The head of a Ray cluster: whether it is there, and that it stays."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lungsight.errors import ConfigError, LungsightError, require

ANSWER_SECONDS = 10.0
"""For the head of the cluster to take a connection and greet back."""
LOST_SECONDS = 30.0
"""A head that has not answered for so long is lost; after 60 Ray would end the process without a word of ours."""
LOOK_SECONDS = 2.0
"""Between two questions whether the head is there."""
_SETTINGS = b"\x04"
_FRAME_HEAD = 9
"""Bytes: length (3), kind, flags, stream (4)."""
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + _SETTINGS + b"\0" + b"\0\0\0\0"


@contextmanager
def connected(address: str) -> Iterator[int]:
    """Connect to a cluster; gives its CPUs. Where Ray is connected already, that connection is used and kept."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # What Ray's core writes beside our own lines, of this process alone; machines keep their logs.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    ray = require("ray", feature="Predicting on a cluster", extra="cluster")
    data = require("ray.data", feature="Predicting on a cluster", extra="cluster")
    ours = not ray.is_initialized()
    loggers = [logging.getLogger(name) for name in ("ray", "ray.data")]
    levels = [one.level for one in loggers]
    if ours:
        _knock(address)
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (
            Exception
        ) as error:  # ConnectionError, RuntimeError, ValueError, gRPC's own, by the form of the address
            raise _no_cluster(address) from error
    try:
        for one in loggers:
            one.setLevel(logging.ERROR)
        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        cpus = int(ray.cluster_resources().get("CPU", 0))
        if not cpus:
            raise ConfigError("the cluster has no CPU", code="no_cluster", where=address)
        yield cpus
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)
        if ours:
            # Where the head is gone this waits for it; the daemon thread ends with the process.
            end = threading.Thread(target=ray.shutdown, daemon=True)
            end.start()
            end.join(ANSWER_SECONDS)


@contextmanager
def while_head_answers(address: str) -> Iterator[None]:
    """End what happens inside where the head of the cluster is gone; Ray's calls would wait for it.

    In the main thread alone, which is the only one that can be interrupted.

    Raises:
        LungsightError: the head has not answered for `LOST_SECONDS`.
    """
    number = getattr(signal, "SIGUSR1", None)  # Ctrl-C is ignored by what a shell runs in the background
    if threading.current_thread() is not threading.main_thread() or number is None:
        yield
        return
    main = threading.get_ident()
    ray = require("ray", feature="Predicting on a cluster", extra="cluster")
    if ray.is_initialized() and not address.startswith("ray://"):
        address = ray.get_runtime_context().gcs_address  # that of 'auto' too
    over, changing = threading.Event(), threading.Lock()

    def watch() -> None:
        answered = time.monotonic()
        while not over.wait(LOOK_SECONDS):
            try:
                _knock(address)
            except ConfigError:
                if time.monotonic() - answered > LOST_SECONDS:
                    with changing:
                        if not over.is_set():
                            signal.pthread_kill(main, number)
                    return
            else:
                answered = time.monotonic()

    before = signal.signal(number, _lose)
    threading.Thread(target=watch, name="lungsight-head", daemon=True).start()
    try:
        try:
            yield
        finally:
            with changing:
                over.set()
            signal.signal(number, before)
    except _Lost:
        raise _head_lost(address) from None


class _Lost(BaseException):
    """Raised by a signal, wherever the main thread is."""


def _lose(number: int, frame: object) -> None:
    raise _Lost


def _head_lost(address: str) -> LungsightError:
    return LungsightError(
        "the head of the cluster no longer answers",
        code="head_lost",
        where=address,
        hint="What is done is kept: go on with --resume, on a cluster that runs",
    )


def _knock(address: str) -> None:
    """Ray itself waits minutes for a head that is not there, or is no head.

    Both protocols of Ray's heads are HTTP/2 below (RFC 9113, 3.4): a server says its settings as soon as it is greeted.

    Raises:
        ConfigError: nobody answers at the host and port that the address names, or not in time, or not so.
    """
    host, _, port = address.removeprefix("ray://").partition("/")[0].rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        return  # 'auto', or a form that Ray judges
    deadline = time.monotonic() + ANSWER_SECONDS
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS) as head:
            if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
                return  # it speaks only when it is greeted with certificates, which Ray has
            head.sendall(_GREETING)
            answer = b""
            while len(answer) < _FRAME_HEAD:
                # The time is that of the whole answer: a byte now and then is none.
                head.settimeout(max(0.001, deadline - time.monotonic()))
                if not (more := head.recv(_FRAME_HEAD - len(answer))):
                    break
                answer += more
    except OSError as error:
        raise _no_cluster(address) from error
    if answer[3:4] != _SETTINGS:
        raise _no_cluster(address)


def _no_cluster(address: str) -> ConfigError:
    return ConfigError(
        "no Ray cluster answers there",
        code="no_cluster",
        where=address,
        hint="Start one with `ray start --head`, with the same versions of Python and Ray",
    )
