"""What it costs to decode in processes of their own: X-rays a second inside the pool and outside of it, in one run.

    python benchmarks/decoding.py [--repeats 5] [--side 2048]
    python benchmarks/decoding.py --predict 100              # within `predict`, overlays and all

Each format is decoded by as many threads as there are cores, in turn in this process (as before there was a pool)
and in the pool, so that other work on the machine meets both alike; the figure is the median of the repeats.
`--predict` gives so many drawn X-rays of 1024 pixels, half of them PNG and half JPEG, to the shipped networks, decoding
either way.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom.uid as uid
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from lungsight.batch import predict
from lungsight.inference import load_model
from lungsight.phantom import draw
from lungsight.xray import Limits, XRay
from lungsight.xray.decode import decode
from lungsight.xray.pool import Pool, shared_pool
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


def within_predict(count: int, repeats: int) -> None:
    """X-rays a second of `predict` with either way to decode, in turn."""
    model, limits = load_model(), Limits()
    pooled = Pool.decode

    def here(pool: Pool, data: bytes, name: str, limits: Limits) -> XRay:
        return replace(decode(data, limits), name=name)

    with tempfile.TemporaryDirectory() as made:
        folder, rates = Path(made), dict[str, list[float]](here=[], pool=[])
        paths = [folder / f"{number}.{('png', 'jpg')[number % 2]}" for number in range(count)]
        for number, path in enumerate(paths):
            image = draw(np.random.default_rng(number), hospital="north", covid=False, size=1024)
            Image.fromarray(np.asarray(image.pixels)).save(path)
        model.predict(paths[:4])
        for repeat in range(repeats):
            for name, way in (("here", here), ("pool", pooled)):
                Pool.decode = way  # type: ignore[method-assign]
                begin = time.perf_counter()
                summary = predict(paths, folder / f"{name}{repeat}", model=model, limits=limits)
                rates[name].append(summary.predicted / (time.perf_counter() - begin))
    ratio = statistics.median(pool / one for one, pool in zip(rates["here"], rates["pool"], strict=True))
    print(
        f"predict, {count} X-rays of 1024 x 1024: {statistics.median(rates['here']):.1f} a second in this process, "
        f"{statistics.median(rates['pool']):.1f} in the pool, pool / this {ratio:.2f}"
    )


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--predict", type=int, default=0, metavar="COUNT")
    options = parser.parse_args()
    if options.predict:
        within_predict(options.predict, options.repeats)
        return
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
