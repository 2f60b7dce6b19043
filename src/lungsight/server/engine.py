"""One worker that takes what waits, many requests at once, through the networks together."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from lungsight.errors import LungsightError
from lungsight.inference import Failure, Lungsight, Result
from lungsight.server.problems import Busy
from lungsight.xray import XRay, read_xray
from lungsight.xray.base import Limits

log = logging.getLogger("lungsight.server")

PIXELS = 64_000_000
"""Decoded pixels that are held at a time."""


class Listener(Protocol):
    """Is told of every batch."""

    def batch(self, size: int, seconds: float) -> None:
        """X-rays that went through the networks together, and how long it took."""


@dataclass(slots=True)
class Job:
    """One X-ray, from its bytes to whatever `finish` makes of the result."""

    data: bytes
    finish: Callable[[Result], Any]
    """Runs in a thread of the engine."""
    future: Future[Any] = field(default_factory=Future)


class Engine:
    """A bounded queue before the networks.

    Decoding, prediction and the making of answers happen here, a batch at a time, so that the memory in use depends
    on the batch and not on the number of clients.
    """

    def __init__(
        self, model: Lungsight, *, limits: Limits, batch: int, room: int, listener: Listener | None = None
    ) -> None:
        """Start the worker.

        Args:
            model: predicts.
            limits: of one X-ray.
            batch: X-rays that go through the networks together.
            room: X-rays that may wait or be worked on.
            listener: told of every batch.
        """
        self.model = model
        self._limits, self._batch, self._room, self._listener = limits, batch, room, listener
        self._threads = model.threads or os.cpu_count() or 1
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._held = 0
        self._pace = 0.1
        """Seconds an X-ray, lately."""
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="lungsight-serve")
        self._worker = threading.Thread(target=self._work, name="lungsight-engine", daemon=True)
        self._worker.start()

    @property
    def held(self) -> int:
        """X-rays that wait or are worked on."""
        return self._held

    @property
    def alive(self) -> bool:
        """The worker runs."""
        return self._worker.is_alive()

    def submit(self, jobs: Sequence[Job]) -> list[Future[Any]]:
        """Queue all of them, or none.

        Raises:
            Busy: there is no room.
        """
        with self._lock:
            if self._held + len(jobs) > self._room:
                raise Busy("The server is working at its limit. Try again shortly.", self._held * self._pace)
            self._held += len(jobs)
        for job in jobs:
            job.future.add_done_callback(self._release)
            self._jobs.put(job)
        return [job.future for job in jobs]

    def close(self) -> None:
        """Finish what is queued, then end."""
        self._jobs.put(None)
        self._worker.join()
        self._pool.shutdown()

    def _release(self, _: Future[Any]) -> None:
        with self._lock:
            self._held -= 1

    def _work(self) -> None:
        job = self._jobs.get()
        while job is not None:
            jobs: list[Job | None] = [job]
            while len(jobs) < self._batch and jobs[-1] is not None:
                try:
                    jobs.append(self._jobs.get_nowait())
                except queue.Empty:
                    break
            # Given up on while it waited: not worth the work.
            wanted = [one for one in jobs if one is not None and one.future.set_running_or_notify_cancel()]
            self._take(wanted)
            del wanted, job
            job = None if jobs[-1] is None else self._jobs.get()

    def _take(self, jobs: Sequence[Job]) -> None:
        waiting, reading = deque(jobs), deque[tuple[Job, Future[XRay]]]()
        ready: list[tuple[Job, XRay]] = []
        while waiting or reading:
            while waiting and len(reading) < self._threads:
                job = waiting.popleft()
                reading.append((job, self._pool.submit(self._read, job.data)))
            job, future = reading.popleft()
            try:
                ready.append((job, future.result()))
            except Exception as error:
                self._fail(job, error)
            if sum(xray.pixels.size for _, xray in ready) > PIXELS:
                self._predict(ready)
                ready = []
        if ready:
            self._predict(ready)

    def _read(self, data: bytes) -> XRay:
        return read_xray(data, limits=self._limits, name="the upload")

    def _predict(self, ready: Sequence[tuple[Job, XRay]]) -> None:
        start = time.perf_counter()
        try:
            results = list(self.model.predict_many([xray for _, xray in ready], batch=len(ready)))
        except Exception as error:
            if len(ready) == 1:
                self._fail(ready[0][0], error)
            else:
                # Whichever it was must not take the others with it.
                for one in ready:
                    self._predict([one])
            return
        list(self._pool.map(self._answer, [job for job, _ in ready], results))
        seconds = time.perf_counter() - start
        self._pace = 0.8 * self._pace + 0.2 * seconds / len(ready)
        if self._listener:
            self._listener.batch(len(ready), seconds)

    def _answer(self, job: Job, result: Result | Failure) -> None:
        if isinstance(result, Failure):
            self._fail(job, result.error)
            return
        try:
            answer = job.finish(result)
        except Exception as error:
            self._fail(job, error)
        else:
            job.data = b""
            job.future.set_result(answer)

    def _fail(self, job: Job, error: Exception) -> None:
        job.data = b""
        if not isinstance(error, LungsightError | MemoryError):
            # The kind alone: its words may quote the file.
            log.error("an X-ray could not be worked on: %s", type(error).__name__)
        job.future.set_exception(error)
