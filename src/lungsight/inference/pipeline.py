"""Many X-rays in flat memory: decoding in threads ahead of the networks, each core with its own part of a batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from lungsight.inference.reader import Duplicate, Item, Source
from lungsight.inference.result import Failure, Result

Tag = TypeVar("Tag")
Read = Item | Failure | Duplicate
Done = Result | Failure | Duplicate

_PIXELS_AHEAD = 64_000_000
"""Decoded pixels that may wait, so that large files do not fill the memory."""


def pipeline(
    sources: Iterable[tuple[Source, Tag]],
    read: Callable[[Source], Read],
    run: Callable[[list[Read], bool], list[Done]],
    *,
    workers: int,
    batch: int,
) -> Generator[tuple[Done, Tag], None, None]:
    """Read and predict X-rays, and give their results in their order.

    Args:
        sources: pairs of a source and its tag; taken only as far as needed.
        read: decodes one; called in `workers` threads, and must not raise.
        run: the networks on some that were read; called in `workers` other threads. Its second argument is true
            where nothing else runs beside it, and one X-ray may have all cores.
        workers: threads of each kind.
        batch: X-rays that are in the networks together, over all workers.
    """
    given = iter(sources)
    share = max(1, batch // workers)
    reading: deque[tuple[Future[Read], Tag]] = deque()
    running: deque[tuple[Future[list[Done]], list[Tag]]] = deque()
    ready: list[Read] = []
    tags: list[Tag] = []
    pixels = largest = 0
    decoding, networks = (
        ThreadPoolExecutor(workers, thread_name_prefix=f"lungsight-{name}") for name in ("decode", "networks")
    )
    try:
        more = True
        while more or reading or ready or running:
            ahead = max(workers, min(batch // 2, _PIXELS_AHEAD // max(largest, 1)))
            while more and len(reading) < ahead:
                try:
                    source, tag = next(given)
                    reading.append((decoding.submit(read, source), tag))
                except StopIteration:
                    more = False
            if reading:
                future, tag = reading.popleft()
                item = future.result()
                ready.append(item)
                tags.append(tag)
                if isinstance(item, Item):
                    pixels += item.xray.pixels.size
                    largest = max(largest, item.xray.pixels.size)
            last = not (more or reading)
            if ready and (len(ready) >= share or pixels > _PIXELS_AHEAD // workers or last):
                alone = last and not running and len(ready) == 1
                running.append((networks.submit(run, ready, alone), tags))
                ready, tags, pixels = [], [], 0
            while running and (last or len(running) >= workers or running[0][0].done()):
                done, theirs = running.popleft()
                yield from zip(done.result(), theirs, strict=True)
    finally:
        for pool in (decoding, networks):
            pool.shutdown(wait=True, cancel_futures=True)
