"""A Ray cluster of several nodes on this machine: a head without cores and workers, each a process group of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # A node that is gone is noticed within two seconds, not half a minute.
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
PORTS = (
    *("--min-worker-port=0", "--max-worker-port=0", "--metrics-export-port=0"),
    *("--dashboard-agent-listen-port=0", "--include-log-monitor=false"),
)
"""The system chooses ports: Ray's own numbers are for one node a machine."""
STARTED = "Ray runtime started"


class NoCluster(Exception):
    """Ray does not start here."""


class RayCluster:
    """A context: starts a head and `workers` nodes of one core; everything ends with it.

    Raises:
        NoCluster: they are not up within `seconds`; the reason is the end of what Ray printed.
    """

    def __init__(
        self,
        workers: int,
        *,
        cores: int = 1,
        seconds: float = 180.0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._count, self._cores, self._deadline = workers, cores, time.monotonic() + seconds
        # A short path: the names of Ray's sockets may have 107 bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="lsray-", dir="/tmp"))
        self._head: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []
        self.environment = {**os.environ, **ENVIRONMENT, **(environment or {})}

    def __enter__(self) -> Self:
        try:
            head = ("--head", "--port=0", "--num-cpus=0", "--include-dashboard=false", "--no-monitor")
            self._head = self._start("head", *head)
            # Port 0: the system chooses one, and Ray writes it down.
            note = self._folder / "head" / "ray_current_cluster"
            self._wait(lambda: note.is_file() and note.read_text().strip() != "", self._head)
            self.address = note.read_text().strip()
            for number in range(self._count):
                words = (f"--address={self.address}", f"--num-cpus={self._cores}")
                self.workers.append(self._start(f"w{number}", *words))
            for number, worker in enumerate(self.workers):
                self._wait(lambda name=f"w{number}": STARTED in self._told(name), worker)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*self.workers, *filter(None, [self._head])):
            self.kill(process)
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def pids(self) -> list[int]:
        """Of the processes from which all others of the cluster descend."""
        return [process.pid for process in (*self.workers, *filter(None, [self._head]))]

    @staticmethod
    def kill(process: subprocess.Popen[bytes]) -> None:
        """End a node and all of its processes at once, as a machine that loses its power."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _start(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{name}.txt").open("wb") as told:
            return subprocess.Popen(
                [
                    *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *PORTS),
                    # A folder for each: two nodes that start at once in one choose the same names of sockets.
                    *("--object-store-memory=80000000", f"--temp-dir={self._folder / name}", *words),
                ],
                env=self.environment,
                stdout=told,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _wait(self, until: Callable[[], Any], process: subprocess.Popen[bytes]) -> None:
        while not until():
            if process.poll() is not None or time.monotonic() > self._deadline:
                told = "\n".join(self._told(file.stem)[-400:] for file in self._folder.glob("*.txt"))
                raise NoCluster(f"Ray does not start here: {told}")
            time.sleep(0.05)

    def _told(self, name: str) -> str:
        return (self._folder / f"{name}.txt").read_text(errors="replace")
