"""What a Ray cluster costs beside the plain path: the same X-rays, the same cores of this machine.

    python benchmarks/cluster.py WORK [--images 2000] [--shipped] [--workers 1 2 4] [--repeats 1]

For each number of workers (Ray nodes of one core, beside a head without cores) two runs with N and 2 N images of an
archive, and two of `lungsight predict --threads WORKERS`. The difference of the two is what N more images take, without
what a run costs once. Wall seconds, which other work on the machine lengthens, and CPU seconds of all processes that
take part (head, nodes, actors, decoders), which it hardly does. Of images and networks see benchmarks/archive.py. What
it found is printed, and added to WORK/cluster-*.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Self

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from archive import draw, machine
from lungsight.files import write_json
from ray_cluster import RayCluster
from tiny_networks import write_bundle

TICK = os.sysconf("SC_CLK_TCK")


class CpuMeter:
    """CPU seconds of some processes and all that descend from them, while the context lasts."""

    def __init__(self, *roots: int) -> None:
        self._roots, self._over = roots, threading.Event()
        self._first: dict[int, float] = {}
        self._last: dict[int, float] = {}
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._first = self._look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def add(self, root: int) -> None:
        """Another process, which has just begun."""
        self._roots += (root,)

    @property
    def seconds(self) -> float:
        """Up to the last look, a fifth of a second before a process ends."""
        return sum(used - self._first.get(pid, 0.0) for pid, used in self._last.items())

    def _watch(self) -> None:
        while not self._over.wait(0.2):
            self._last.update(self._look())

    def _look(self) -> dict[int, float]:
        parents, used = {}, {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            pid = int(path.parent.name)
            parents[pid], used[pid] = int(fields[1]), (int(fields[11]) + int(fields[12])) / TICK
        kept = {}
        for pid in used:
            above = pid
            while above in parents and above not in self._roots:
                above = parents[above]
            if above in self._roots:
                kept[pid] = used[pid]
        return kept


def run(words: list[str], meter: CpuMeter, environment: dict[str, str] | None = None) -> dict[str, Any]:
    """`lungsight predict`: what it said of itself, and its CPU seconds."""
    with meter:
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "lungsight", "predict", *words, "--json", "--quiet", "--overwrite"],
            stdout=subprocess.PIPE,
            env=environment,
        )
        meter.add(process.pid)
        told, _ = process.communicate()
        seconds = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"a run ended with {process.returncode}")
    return {"predicted": json.loads(told)["predicted"], "seconds": seconds, "cpu": meter.seconds}


def more(one: dict[str, Any], two: dict[str, Any]) -> dict[str, float]:
    """What the second run's further images took."""
    images = two["predicted"] - one["predicted"]
    return {
        "images_a_second": round(images / (two["seconds"] - one["seconds"]), 1),
        "cpu_ms_an_image": round(1000 * (two["cpu"] - one["cpu"]) / images, 2),
        "seconds_once": round(2 * one["seconds"] - two["seconds"], 1),
        "cpu_seconds_once": round(2 * one["cpu"] - two["cpu"], 1),
    }


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--shipped", action="store_true")
    told = parser.parse_args()
    # Nodes are processes that outlive this one: they must be ended whatever ends it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    inputs = [
        [str(path) for path in draw(told.work / f"in-{count}-{told.size}", count, told.size)]
        for count in (told.images, 2 * told.images)
    ]
    few = [str(path) for path in draw(told.work / f"in-50-{told.size}", 50, told.size)]
    common = ["--out", str(out := told.work / "out"), "--table", "parquet", "--no-overlay"]
    common += [] if told.shipped else ["--model", str(write_bundle(told.work / "networks"))]
    notes = told.work / f"cluster-{'shipped' if told.shipped else 'tiny'}-{told.size}.json"
    found: list[dict[str, Any]] = json.loads(notes.read_text()) if notes.exists() else []
    for workers in told.workers:
        for repeat in range(told.repeats):
            shutil.rmtree(out, ignore_errors=True)
            plain = [run([*given, *common, "--threads", str(workers)], CpuMeter()) for given in inputs]
            shutil.rmtree(out, ignore_errors=True)
            with RayCluster(workers) as cluster:
                address = ["--cluster", cluster.address]
                # The first run of a cluster starts what later ones find running.
                run([*few, *common, *address], CpuMeter(*cluster.pids), cluster.environment)
                ray = [
                    run([*given, *common, *address], CpuMeter(*cluster.pids), cluster.environment)
                    for given in inputs
                ]
            here, there = more(*plain), more(*ray)
            found.append(
                {
                    "workers": workers,
                    "repeat": repeat,
                    "plain": here,
                    "cluster": there,
                    "overhead_wall": round(here["images_a_second"] / there["images_a_second"] - 1, 3),
                    "overhead_cpu": round(there["cpu_ms_an_image"] / here["cpu_ms_an_image"] - 1, 3),
                    **machine(),
                }
            )
            print(json.dumps(found[-1]), flush=True)
            write_json(notes, found)


if __name__ == "__main__":
    main()
