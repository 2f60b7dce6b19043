"""Counts and times for Prometheus, and one line of log a request. Neither holds anything of an upload."""

from __future__ import annotations

import logging
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

log = logging.getLogger("lungsight.server")

TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Telemetry:
    """The metrics of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        registry = self.registry
        self._requests = Counter(
            "lungsight_requests", "Requests answered", ["route", "method", "status"], registry=registry
        )
        self._seconds = Histogram(
            "lungsight_request_seconds",
            "Time from the first byte of a request to the end of its answer",
            ["route"],
            buckets=(0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60),
            registry=registry,
        )
        self._xrays = Counter(
            "lungsight_xrays", "X-rays by what came of them", ["outcome"], registry=registry
        )
        self._batches = Histogram(
            "lungsight_batch_xrays",
            "X-rays that went through the networks together",
            buckets=(1, 2, 4, 8, 16, 32),
            registry=registry,
        )
        self._networks = Counter("lungsight_batch_seconds", "Time spent on batches", registry=registry)
        self._bytes = Counter("lungsight_upload_bytes", "Bytes of uploaded files", registry=registry)
        self._queue = Gauge("lungsight_queue_xrays", "X-rays waiting or worked on", registry=registry)
        self._held = Gauge("lungsight_held_bytes", "Bytes of uploads in memory", registry=registry)

    def watch(self, queue: Callable[[], float], held: Callable[[], float]) -> None:
        """Where to look for what changes by itself."""
        self._queue.set_function(queue)
        self._held.set_function(held)

    def request(self, route: str, method: str, status: int, seconds: float, mark: str) -> None:
        """One answered request; `route` is one of the server's own paths, never what was sent."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        log.info("%s %s %d in %.3f s, request %s", method, route, status, seconds, mark)

    def xray(self, outcome: str, size: int) -> None:
        """One file of `size` bytes: 'covid', 'not_covid', 'uncertain', 'not_scored', 'failed'."""
        self._xrays.labels(outcome).inc()
        self._bytes.inc(size)

    def batch(self, size: int, seconds: float) -> None:
        """One batch."""
        self._batches.observe(size)
        self._networks.inc(seconds)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)
