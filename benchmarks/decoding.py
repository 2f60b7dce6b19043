"""What it costs to decode in processes of their own: X-rays a second inside the pool and outside of it, in one run.

    python benchmarks/decoding.py [--repeats 5] [--side 2048]

Each format is decoded by as many threads as there are cores, alternately in this process (as before there was a pool)
and in the pool, so that other work on the machine meets both alike. The figure is the median of the repeats.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pydicom.uid as uid
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from lungsight.xray import Limits
from lungsight.xray.decode import decode
from lungsight.xray.pool import shared_pool
from xray_files import dicom


def files(side: int) -> dict[str, bytes]:
    """A smooth picture with noise, as an X-ray is, in each format."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] / side
    wide = (
        (np.sin(6 * x) * np.cos(5 * y) + 1) * 1900 + rng.normal(0, 12, (side, side)).clip(-60, 60) + 100
    ).astype(np.uint16)
    image, made = Image.fromarray((wide // 16).astype(np.uint8)), {}
    for kind in ("PNG", "JPEG"):
        buffer = io.BytesIO()
        image.save(buffer, kind)
        made[f"{kind}, 8 bits"] = buffer.getvalue()
    for syntax in (uid.ExplicitVRLittleEndian, uid.JPEG2000Lossless, uid.JPEGLSLossless, uid.JPEGLosslessSV1):
        made[f"DICOM, 12 bits, {syntax.keyword}"] = dicom(wide, syntax)
    return made


def seconds(work: Callable[[bytes], object], data: bytes, count: int, threads: ThreadPoolExecutor) -> float:
    """Wall time of `count` times the same file."""
    start = time.perf_counter()
    list(threads.map(work, [data] * count))
    return time.perf_counter() - start


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--side", type=int, default=2048)
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits, pool = Limits(), shared_pool()
    print(
        f"{options.side} x {options.side}, {cores} cores; X-rays a second in this process, in the pool, and pool / this"
    )
    with ThreadPoolExecutor(cores) as threads:
        for name, data in files(options.side).items():
            ways: tuple[Callable[[bytes], object], ...] = (
                lambda one: decode(one, limits),
                lambda one: pool.decode(one, "a", limits),
            )
            for way in ways:
                seconds(way, data, 2 * cores, threads)
            times = [[seconds(way, data, 4 * cores, threads) for way in ways] for _ in range(options.repeats)]
            here, there = (4 * cores / statistics.median(column) for column in zip(*times, strict=True))
            ratio = statistics.median(one / other for one, other in times)
            print(f"{name:45} {here:7.1f} {there:7.1f} {ratio:6.2f}", flush=True)


if __name__ == "__main__":
    main()
