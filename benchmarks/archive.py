"""An archive of distinct drawn X-rays through `lungsight predict`: `kill -9` again and again, and every row compared.

    python benchmarks/archive.py WORK --count 100000 --kills 50 --seed 17
    python benchmarks/archive.py WORK --memory 1000 10000 100000
    python benchmarks/archive.py WORK --count 2000 --shipped [--size 1024]

The images (64-pixel PNG unless `--size` says otherwise, in tar files of 10,000, of which every tenth is a zip) go
through tiny networks, given with `--model`, or with `--shipped` through those that ship. Two runs: one undisturbed, one
that is killed at seeded moments and begun again by the same command. Of the kills a third come from outside after a
seeded time, a third in the middle of a line of `results.csv`, a third between writing a file and moving it to its
place. Then every column of every row of both Parquet tables but the seconds, and every byte of every mask, are
compared. What it found is in WORK/archive.json.
The benchmark itself may be stopped and begun again; a run that was undisturbed until then is made again.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as arrow
import pyarrow.compute as compute
import pyarrow.parquet as parquet

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from lungsight import phantom, provenance
from lungsight.files import write_bytes, write_json
from tiny_networks import draw_chest, write_bundle

PART = 10_000
DISTURBED = """
import os, pathlib, signal, sys
how, count = sys.argv[1], int(sys.argv[2])
del sys.argv[1:3]
def die():
    os.kill(os.getpid(), signal.SIGKILL)
if how == "move":
    move = pathlib.Path.replace
    def replace(self, target):
        global count
        count -= 1
        if count <= 0:
            die()
        return move(self, target)
    pathlib.Path.replace = replace
if how == "line":
    from lungsight.writers.results import ResultsTable
    write = ResultsTable._write
    def half(self, cells):
        global count
        count -= 1
        if count <= 0:
            text = ",".join(cells)
            self._file.write(text[: len(text) // 2])
            self._file.flush()
            die()
        write(self, cells)
    ResultsTable._write = half
from lungsight.cli import main
sys.argv[0] = "lungsight"
main()
"""
"""`lungsight`, which kills itself in the middle of the count-th line of its table, or before the count-th move."""


def draw(folder: Path, count: int, size: int = 64, *, frontal: bool = False) -> list[Path]:
    """Archives of drawn X-rays, of which no two are alike; those that are there are kept.

    `frontal`: such as the shipped gate takes for upright frontal ones, so that every network is asked.
    """
    folder.mkdir(parents=True, exist_ok=True)
    bases = [draw_chest(size, size)]
    if frontal:
        rngs = map(np.random.default_rng, range(12))
        bases = [phantom.draw(rng, hospital="north", covid=False, size=size).pixels for rng in rngs]
    made = []
    for first in range(0, count, PART):
        number, here = first // PART, min(PART, count - first)
        path = folder / f"{number:03}-{here}.{'zip' if number % 10 == 9 else 'tar'}"
        made.append(path)
        if path.exists():
            continue
        rng, buffer = np.random.default_rng(number), io.BytesIO()
        with (
            zipfile.ZipFile(buffer, "w")
            if path.suffix == ".zip"
            else tarfile.open(fileobj=buffer, mode="w") as file
        ):
            for index in range(first, first + here):
                base = bases[index % len(bases)].astype(np.int16)
                noise = rng.integers(-12, 13, base.shape, dtype=np.int16)
                image = np.clip(base + noise + rng.integers(-20, 21), 0, 255).astype(np.uint8)
                data, name = cv2.imencode(".png", image)[1].tobytes(), f"{index // 1000:04}/{index:07}.png"
                if isinstance(file, zipfile.ZipFile):
                    file.writestr(name, data)
                else:
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    file.addfile(info, io.BytesIO(data))
        write_bytes(path, buffer.getvalue())
    return made


class Bench:
    """A folder of work, and what was found in it so far."""

    def __init__(self, work: Path, shipped: bool, seed: int, threads: int, size: int = 64) -> None:
        self.work, self.shipped, self.seed, self.threads, self.size = work, shipped, seed, threads, size
        self.notes = work / "archive.json"
        self.found: dict[str, Any] = json.loads(self.notes.read_text()) if self.notes.exists() else {}
        self.model = [] if shipped else ["--model", str(write_bundle(work / "networks"))]

    def note(self, name: str, **values: Any) -> None:
        """Keep what was found, and print it."""
        self.found.setdefault(name, {}).update(values)
        write_json(self.notes, self.found)
        print(name, json.dumps(self.found[name]), flush=True)

    def inputs(self, count: int) -> list[Path]:
        """The archives of the images."""
        name = ("phantoms" if self.shipped else "in") + ("" if self.size == 64 else f"-{self.size}")
        return draw(self.work / name, count, self.size, frontal=self.shipped)

    def words(self, inputs: list[Path], out: Path) -> list[str]:
        """The arguments of `lungsight predict`."""
        return [
            *(
                "predict",
                *map(str, inputs),
                "--out",
                str(out),
                "--table",
                "parquet",
                "--resume",
                "--no-overlay",
            ),
            *("--threads", str(self.threads), "--json", "--quiet", *self.model),
        ]

    def whole(self, name: str, count: int) -> Path:
        """An undisturbed run: its time, CPU seconds of all its processes, and the most memory that the
        main one held (looked at five times a second)."""
        out, inputs = self.work / name, self.inputs(count)
        if "seconds" in self.found.get(name, {}) and out.exists():
            return out
        shutil.rmtree(out, ignore_errors=True)
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "lungsight", *self.words(inputs, out)], stdout=subprocess.DEVNULL
        )
        peak = 0
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
            # Not the peak of wait4: that begins with the memory of whoever started the process.
            peak = max(peak, high_water(process.pid))
            time.sleep(0.2)
        _, status, used = ended
        if status:
            raise SystemExit(f"the undisturbed run ended with {os.waitstatus_to_exitcode(status)}")
        seconds = time.perf_counter() - start
        self.note(
            name,
            images=count,
            seconds=round(seconds, 1),
            images_a_second=round(count / seconds, 1),
            cpu_seconds=round(used.ru_utime + used.ru_stime, 1),
            peak_mib=round(peak / 1024),
            **machine(),
        )
        return out

    def killed(self, name: str, count: int, kills: int, pace: float) -> Path:
        """A run that is killed `kills` times.

        Args:
            pace: images a second, of the undisturbed run: where the kills fall depends on the seed alone.
        """
        out, inputs = self.work / name, self.inputs(count)
        done = list(self.found.get(name, {}).get("kills", []))
        if not done:
            shutil.rmtree(out, ignore_errors=True)
        begun = time.perf_counter()
        for number in range(len(done), kills):
            chance = random.Random(f"{self.seed} {number}")
            how = ("outside", "line", "move")[number % 3]
            images = chance.randint(1, max(2, 2 * count // (kills + 1)))
            # Moves: the settings, the table that is taken over, then a mask for each image.
            process = subprocess.Popen(
                [sys.executable, "-c", DISTURBED, how, str(images + 2), *self.words(inputs, out)],
                stdout=subprocess.DEVNULL,
            )
            before = rows_of(out)
            if how == "outside":
                wait_for(out, before + 1, process)
                time.sleep(images / pace)
                process.send_signal(signal.SIGKILL)
            code = process.wait()
            if code not in (0, -signal.SIGKILL):
                raise SystemExit(f"a run ended with {code}")
            done.append([how, images, "killed" if code else "over before", rows_of(out)])
            self.note(name, kills=done)
        last = subprocess.run(
            [sys.executable, "-m", "lungsight", *self.words(inputs, out)], stdout=subprocess.PIPE, check=False
        )
        summary = json.loads(last.stdout)
        self.note(
            name,
            exit_code=last.returncode,
            last_predicted=summary["predicted"],
            last_done_before=summary["done_before"],
            seconds_of_this_sitting=round(time.perf_counter() - begun, 1),
            **machine(),
        )
        return out

    def compare(self, name: str, one: Path, other: Path) -> None:
        """Every row and every mask of two runs."""
        tables = []
        for out in (one, other):
            table = parquet.read_table(out / "results.parquet").drop_columns(["seconds"])
            tables.append(table.sort_by("input"))
        inputs = tables[1]["input"]
        temporary = [path for path in other.rglob(".*") if path.name != ".lungsight.lock"]
        masks = (digest(one / "masks"), digest(other / "masks"))
        self.note(
            name,
            rows=[table.num_rows for table in tables],
            distinct=len(compute.unique(inputs)),
            distinct_bytes=len(compute.unique(tables[1]["sha256"])),
            equal=bool(tables[0].equals(tables[1])),
            masks=[count for count, _ in masks],
            masks_equal=masks[0] == masks[1],
            left_over=len(temporary),
            csv_rows=rows_of(other),
            arrow=arrow.__version__,
        )


def high_water(pid: int) -> int:
    """The most memory that a process held so far, in KiB; 0 where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def digest(folder: Path) -> tuple[int, str]:
    """The number of files below a folder, and a hash over names and bytes."""
    files, total = sorted(path for path in folder.rglob("*") if path.is_file()), hashlib.sha256()
    for path in files:
        total.update(str(path.relative_to(folder)).encode() + hashlib.sha256(path.read_bytes()).digest())
    return len(files), total.hexdigest()


def rows_of(out: Path) -> int:
    """Whole lines of the table, less its head; names and messages of these runs have no line breaks."""
    table = out / "results.csv"
    return max(0, table.read_bytes().count(b"\n") - 1) if table.exists() else 0


def wait_for(out: Path, rows: int, process: subprocess.Popen[bytes]) -> None:
    """Until the table has so many rows, or the run is over."""
    size = -1
    while process.poll() is None:
        table = out / "results.csv"
        if table.exists() and table.stat().st_size != size:
            size = table.stat().st_size
            if rows_of(out) >= rows:
                return
        time.sleep(0.02)


def machine() -> dict[str, Any]:
    """Of whom the figures are."""
    load = os.getloadavg()[1]
    return {"commit": provenance.commit(), "cores": os.cpu_count(), "load_5_minutes": round(load, 1)}


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--memory", type=int, nargs="*", default=[])
    parser.add_argument("--shipped", action="store_true")
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    told = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    bench = Bench(told.work, told.shipped, told.seed, told.threads, told.size)
    kind = ("shipped" if told.shipped else "tiny") + ("" if told.size == 64 else f"-{told.size}px")
    for count in told.memory:
        bench.whole(f"{kind}-{count}", count)
    if not told.memory or told.kills:
        whole = bench.whole(name := f"{kind}-{told.count}", told.count)
        if told.kills:
            pace = bench.found[name]["images_a_second"]
            killed = bench.killed(f"{name}-killed", told.count, told.kills, pace)
            bench.compare(f"{name}-compared", whole, killed)


if __name__ == "__main__":
    main()
