"""What a file that is made to hurt does: time, memory, the answer, and what another file gets meanwhile.

    python benchmarks/attacks.py                               # through the pool of decoding processes
    git worktree add /tmp/before a46b22c^                       # the last commit without the pool
    python benchmarks/attacks.py --before /tmp/before/src      # and the reader of then, in a process of its own

The files are those of tests/test_xray_attacks.py and tests/more_attacks.py, made here. Before, a file was decoded in
the program's own process: its time and memory were the server's, and no other file was answered meanwhile.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from lungsight.errors import InputError  # noqa: E402
from lungsight.xray import read_xray  # noqa: E402
from lungsight.xray.pool import shared_pool  # noqa: E402
from more_attacks import MORE  # noqa: E402
from test_xray_attacks import ATTACKS  # noqa: E402
from xray_files import RAMP, encode  # noqa: E402

SECONDS, GIB = 60, 6
"""Limits of the reader of then, so that this machine lives on."""
CHILD = """
import resource, sys, time, warnings
warnings.simplefilter("ignore")
from pathlib import Path
from lungsight.xray import read_xray
data = Path(sys.argv[1]).read_bytes()
start = time.perf_counter()
try:
    said = "read, %d x %d" % read_xray(data).pixels.shape[:2]
except MemoryError:
    said = "no memory left"
except Exception as error:
    said = type(error).__name__
seconds = time.perf_counter() - start
print("%.2f|%d|%s" % (seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, said))
"""


def now(data: bytes) -> tuple[float, int, str, float]:
    """Seconds, MiB of the decoding process at most, the answer, and seconds that another file took meanwhile."""
    pool = shared_pool()
    pool.stop()
    small, other = encode(RAMP), [0.0]
    # Two processes are there, as in a server that runs.
    waiting = [threading.Thread(target=read_xray, args=(small,)) for _ in range(2)]
    for one in waiting:
        one.start()
    for one in waiting:
        one.join()

    def neighbour() -> None:
        start = time.perf_counter()
        read_xray(small)
        other[0] = time.perf_counter() - start

    beside = threading.Timer(0.05, neighbour)
    start = time.perf_counter()
    beside.start()
    try:
        said = "read, {} x {}".format(*read_xray(data, name="x").shape)
    except InputError as error:
        said = error.code
    seconds = time.perf_counter() - start
    beside.join()
    return seconds, max((_peak(one.process.pid) for one in pool._all), default=0), said, other[0]


def _peak(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")), 0)


def before(data: bytes, source: Path) -> tuple[str, str, str]:
    """The same by the reader of another commit, in a process of its own."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (GIB * 2**30, GIB * 2**30))

    with tempfile.NamedTemporaryFile(suffix=".bin") as file:
        file.write(data)
        file.flush()
        program = [
            sys.executable,
            "-c",
            f"import sys; sys.path.insert(0, {str(source)!r})\n{CHILD}",
            file.name,
        ]
        try:
            done = subprocess.run(program, capture_output=True, text=True, timeout=SECONDS, preexec_fn=limit)
        except subprocess.TimeoutExpired:
            return f"over {SECONDS}", "", "went on"
    parts = done.stdout.strip().split("|")
    return (parts[0], parts[1], parts[2]) if len(parts) == 3 else ("", "", f"ended by {done.returncode}")


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--before", type=Path, help="`src` folder of another commit")
    parser.add_argument("--only", nargs="*", default=[], help="parts of names")
    arguments = parser.parse_args()
    files = {name: make for name, (make, _) in ATTACKS.items()} | dict(MORE)
    then = bool(arguments.before)
    print("| attack | bytes | s | MiB | answer | another file, s |" + " before: s | MiB | answer |" * then)
    print("|---|---|---|---|---|---|" + "---|---|---|" * then)
    for name, make in files.items():
        if arguments.only and not any(part in name for part in arguments.only):
            continue
        data = make()
        seconds, mib, said, other = now(data)
        row = f"| {name} | {len(data):,} | {seconds:.2f} | {mib} | {said} | {other:.2f} |"
        if arguments.before:
            row += " {} | {} | {} |".format(*before(data, arguments.before))
        print(row, flush=True)
    shared_pool().stop()


if __name__ == "__main__":
    main()
