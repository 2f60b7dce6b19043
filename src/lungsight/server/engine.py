"""A bounded queue before the networks: X-rays are decoded ahead, and go through the networks as many as are ready."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from lungsight.errors import LungsightError
from lungsight.inference import Failure, Lungsight, Result
from lungsight.server.problems import Busy, Problem
from lungsight.xray import XRay, read_xray
from lungsight.xray.base import Limits

log = logging.getLogger("lungsight.server")

PIXELS = 64_000_000
"""Decoded pixels that are held at a time."""


class Listener(Protocol):
    """Is told of every batch."""

    def batch(self, size: int, seconds: float) -> None:
        """X-rays that went through the networks together, and how long it took."""


@dataclass(slots=True, eq=False)
class Job:
    """One X-ray, from its bytes to whatever `finish` makes of the result."""

    data: bytes | bytearray
    finish: Callable[[Result], Any]
    """Runs in a thread of the engine."""
    future: Future[Any] = field(default_factory=Future)
    given_up: bool = False
    """Nobody waits for it any more."""

    def give_up(self) -> None:
        """What has not begun is not begun; the answer, if it is still made, goes nowhere."""
        self.given_up = True
        self.future.cancel()


class Engine:
    """Takes X-rays of all requests.

    Two decoders a core read ahead, so that one slow file does not hold up the others; one thread a core takes what is
    ready through networks of one thread; what is made of a result is made beside that. Decoded pixels are bounded, so
    that the memory in use depends on the batch and not on the number of clients.
    """

    def __init__(
        self, model: Lungsight, *, limits: Limits, batch: int, capacity: int, listener: Listener | None = None
    ) -> None:
        """Start the threads.

        Args:
            model: predicts.
            limits: of one X-ray.
            batch: X-rays that go through the networks together, at most.
            capacity: X-rays that may wait or be worked on.
            listener: told of every batch.
        """
        self.model = model
        self._limits, self._capacity, self._listener = limits, capacity, listener
        self._cores = model.threads or os.cpu_count() or 1
        self._per_core = model
        if model.threads != 1:
            self._per_core = Lungsight(
                model.bundle,
                threads=1,
                threshold=model.threshold,
                mask_threshold=model.mask_threshold,
                lungs=model.convention,
            )
        self._batch = max(1, batch // self._cores)
        self._lock = threading.Lock()
        self._in_flight = 0
        self._seconds_per_image = 0.1
        self._pixels = _Room(PIXELS)
        self._decoders = ThreadPoolExecutor(2 * self._cores, thread_name_prefix="lungsight-decode")
        self._answers = ThreadPoolExecutor(self._cores, thread_name_prefix="lungsight-answer")
        self._ready: queue.SimpleQueue[tuple[Job, XRay] | None] = queue.SimpleQueue()
        self._networks = [
            threading.Thread(target=self._work, name=f"lungsight-networks-{index}", daemon=True)
            for index in range(self._cores)
        ]
        for thread in self._networks:
            thread.start()

    @property
    def in_flight(self) -> int:
        """X-rays that wait or are worked on."""
        return self._in_flight

    @property
    def ready(self) -> int:
        """X-rays that are decoded and wait for the networks."""
        return self._ready.qsize()

    @property
    def alive(self) -> bool:
        """The threads run."""
        return all(thread.is_alive() for thread in self._networks)

    def submit(self, jobs: Sequence[Job]) -> list[Future[Any]]:
        """Queue all of them, or none.

        Raises:
            Busy: there is no room.
        """
        with self._lock:
            if self._in_flight + len(jobs) > self._capacity:
                raise Busy(
                    "busy",
                    "The server is working at its limit. Try again shortly.",
                    self._in_flight * self._seconds_per_image,
                )
            self._in_flight += len(jobs)
        for job in jobs:
            job.future.add_done_callback(self._release)
            self._decoders.submit(self._decode, job)
        return [job.future for job in jobs]

    def close(self, seconds: float | None = None) -> bool:
        """Finish what is queued, then end; False where that took longer than `seconds`, and it was left."""
        done = threading.Event()

        def finish() -> None:
            self._decoders.shutdown()
            self._ready.put(None)
            for thread in self._networks:
                thread.join()
            self._answers.shutdown()
            done.set()

        threading.Thread(target=finish, name="lungsight-close", daemon=True).start()
        return done.wait(seconds)

    def _release(self, _: Future[Any]) -> None:
        with self._lock:
            self._in_flight -= 1

    def _decode(self, job: Job) -> None:
        if not job.future.set_running_or_notify_cancel():
            job.data = b""
            return
        self._pixels.wait()
        try:
            xray = read_xray(bytes(job.data), limits=self._limits, name="the upload")
        except BaseException as error:
            self._fail(job, error)
            return
        size = xray.pixels.size
        self._pixels.take(size)
        job.future.add_done_callback(lambda _: self._pixels.give(size))
        self._ready.put((job, xray))

    def _work(self) -> None:
        while (item := self._ready.get()) is not None:
            items = [item]
            while len(items) < self._batch:
                try:
                    more = self._ready.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    self._ready.put(None)
                    break
                items.append(more)
            self._predict([one for one in items if not self._dropped(one[0])])
            del item, items
        self._ready.put(None)  # for the next thread

    def _dropped(self, job: Job) -> bool:
        if job.given_up:
            job.data = b""
            job.future.set_exception(CancelledError())
        return job.given_up

    def _predict(self, items: Sequence[tuple[Job, XRay]]) -> None:
        if not items:
            return
        start = time.perf_counter()
        try:
            results = self._run([xray for _, xray in items])
        except Exception as error:
            if len(items) == 1:
                self._fail(items[0][0], error)
            else:
                # Whichever it was must not take the others with it.
                for one in items:
                    self._predict([one])
            return
        for (job, _), result in zip(items, results, strict=True):
            self._answers.submit(self._answer, job, result)
        seconds = time.perf_counter() - start
        self._seconds_per_image = 0.8 * self._seconds_per_image + 0.2 * seconds / len(items) / self._cores
        if self._listener:
            self._listener.batch(len(items), seconds)

    def _run(self, xrays: Sequence[XRay]) -> list[Result | Failure]:
        # One X-ray alone gets all cores. Of many each core takes its own: cores that share one wait for each other.
        model = self.model if self._in_flight == 1 else self._per_core
        return list(model.predict_many(xrays, batch=len(xrays)))

    def _answer(self, job: Job, result: Result | Failure) -> None:
        if isinstance(result, Failure):
            self._fail(job, result.error)
            return
        try:
            answer = job.finish(result)
        except BaseException as error:
            self._fail(job, error)
        else:
            job.data = b""
            job.future.set_result(answer)

    def _fail(self, job: Job, error: BaseException) -> None:
        job.data = b""
        if not isinstance(error, LungsightError | Problem | MemoryError):
            # The kind alone: its words may quote the file.
            log.error("an X-ray could not be worked on: %s", type(error).__name__)
        job.future.set_exception(error)


class _Room:
    """Decoded pixels in memory. Who decodes waits while there are too many; a file that is decoded is always taken."""

    def __init__(self, limit: int) -> None:
        self._limit, self._held = limit, 0
        self._changed = threading.Condition()

    def wait(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._held < self._limit)

    def take(self, count: int) -> None:
        with self._changed:
            self._held += count

    def give(self, count: int) -> None:
        with self._changed:
            self._held -= count
            self._changed.notify_all()
