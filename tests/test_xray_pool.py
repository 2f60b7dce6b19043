"""Decoding processes: what they may not do, and what happens when one is stuck, too large or gone."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lungsight.errors import InputError
from lungsight.xray import Limits, read_xray, shared_memory
from lungsight.xray import pool as pool_module
from lungsight.xray.pool import Pool, shared_pool

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks the Linux kernel")
RAMP = np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))


def png(pixels: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


SMALL = png(RAMP)
SLOW = png(np.zeros((7000, 7000), np.uint8))
"""An honest image that takes more than 0.01 s to decode."""


@pytest.fixture
def pool() -> Iterator[Pool]:
    made = Pool(2)
    yield made
    made.stop()


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def gone(pid: int, seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not alive(pid):
            return True
        time.sleep(0.02)
    return False


def test_processes_live_on_and_are_no_more_than_asked_for(pool: Pool) -> None:
    with ThreadPoolExecutor(8) as threads:
        xrays = list(threads.map(lambda n: pool.decode(SMALL, str(n), Limits()), range(40)))
    assert all(np.array_equal(xray.pixels, RAMP) and xray.name == str(n) for n, xray in enumerate(xrays))
    assert 1 <= len(pool._all) <= 2 and sum(worker.files for worker in pool._all) == 40
    xrays[0].pixels[:] = 0  # its own, and writable


def test_file_that_takes_too_long_is_answered_and_the_next_is_read(pool: Pool) -> None:
    pool.decode(SMALL, "a", Limits())
    with pytest.raises(InputError, match=r"longer than 0\.01 seconds") as caught:
        pool.decode(SLOW, "slow", Limits(max_seconds=0.01))
    assert (caught.value.code, caught.value.where) == ("too_slow", "slow")
    assert pool.decode(SMALL, "b", Limits()).shape == RAMP.shape


class Held:
    """A file that is being decoded by a process which stands still, so that nothing here depends on speed."""

    def __init__(self, pool: Pool, limits: Limits | None = None) -> None:
        (self.worker,) = pool._free
        self.pid = self.worker.process.pid
        os.kill(self.pid, signal.SIGSTOP)
        self.outcome: list[Any] = []
        self.thread = threading.Thread(target=self._decode, args=(pool, limits or Limits()))
        self.thread.start()
        while pool._free:
            time.sleep(0.001)

    def _decode(self, pool: Pool, limits: Limits) -> None:
        try:
            self.outcome.append(pool.decode(SMALL, "held", limits))
        except InputError as error:
            self.outcome.append(error)

    def end(self) -> Any:
        self.thread.join(60)
        return self.outcome[0]

    def crash(self) -> Any:
        os.kill(self.pid, signal.SIGSEGV)
        os.kill(self.pid, signal.SIGCONT)
        return self.end()


@linux
def test_process_that_crashes_harms_no_other_file(pool: Pool) -> None:
    pool.decode(SMALL, "a", Limits())
    held = Held(pool)
    other = pool.decode(SMALL, "b", Limits())
    # A process that had read other files may have been harmed by them: the file is tried once more.
    assert held.crash().shape == other.shape == RAMP.shape
    assert held.worker not in pool._all and not alive(held.pid)


@linux
def test_file_that_crashes_a_new_process_is_refused(pool: Pool) -> None:
    pool.warm()
    error = Held(pool).crash()
    assert (error.code, error.where) == ("damaged", "held") and "its decoder crashed" in error.message
    assert pool.decode(SMALL, "b", Limits()).shape == RAMP.shape


@linux
def test_process_that_stands_still_is_ended(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lungsight.xray.pool.GRACE_SECONDS", 0.1)
    pool.decode(SMALL, "a", Limits())
    held = Held(pool, Limits(max_seconds=0.1))
    assert held.end().code == "too_slow" and not alive(held.pid)


@linux
@linux
def test_pixels_come_through_shared_memory_and_larger_ones_through_the_pipe(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same answer either way, with and without the memory."""
    through_pipe: list[int] = []
    read = pool_module._read
    monkeypatch.setattr(
        pool_module, "_read", lambda pipe, count: (through_pipe.append(count), read(pipe, count))[1]
    )
    whole = np.random.default_rng(0).integers(0, 256, (300, 200), np.uint8)
    first = pool.decode(png(whole), "a", Limits()).pixels
    assert np.array_equal(first, whole) and whole.size not in through_pipe
    second = pool.decode(png(255 - whole), "b", Limits()).pixels
    assert np.array_equal(second, 255 - whole) and np.array_equal(first, whole)  # a copy each
    monkeypatch.setattr(shared_memory, "make", lambda: None)
    alone = Pool(1)
    try:
        assert np.array_equal(alone.decode(png(whole), "c", Limits()).pixels, whole)
    finally:
        alone.stop()
    assert whole.size in through_pipe
    monkeypatch.undo()
    size = shared_memory.SIZE
    large = np.zeros((size // 4096 + 1, 4096), np.uint8)
    large[-1] = 7
    found = pool.decode(png(large), "d", Limits(max_pixels=2 * size)).pixels
    assert found.nbytes > size and np.array_equal(found, large)


@linux
def test_a_process_that_says_more_than_the_shared_memory_holds_is_ended(pool: Pool) -> None:
    worker = pool._take()
    code = """
import json, struct, sys
words = json.dumps({"shared": True}).encode()
sys.stdout.buffer.write(struct.pack("<II", len(words), %d) + words); sys.stdout.flush(); sys.stdin.read()
"""
    worker.end()
    worker.shared, number = shared_memory.make() or (None, -1)
    os.close(number)
    worker.process = subprocess.Popen(
        [sys.executable, "-c", code % (shared_memory.SIZE + 1)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    with pytest.raises(pool_module._Gone):
        worker.ask("pixels", b"", Limits())
    worker.end()


@linux
def test_the_shared_memory_cannot_be_made_smaller() -> None:
    made = shared_memory.make()
    assert made is not None
    memory, number = made
    try:
        with pytest.raises(OSError):
            os.ftruncate(number, 4096)
        memory[-1] = 1
    finally:
        memory.close()
        os.close(number)


def test_stop_ends_what_is_at_work(pool: Pool) -> None:
    pool.decode(SMALL, "a", Limits())
    held = Held(pool)
    pool.stop()
    assert held.end().code == "stopped" and not alive(held.pid)
    assert pool.decode(SMALL, "b", Limits()).shape == RAMP.shape


GUARDED = """
import sys
sys.path[:0] = [{source!r}]
from lungsight.xray.sandbox import confine, limit_memory, limit_time
guard = confine()
{code}
"""


def guarded(code: str) -> subprocess.CompletedProcess[str]:
    source = str(Path(__file__).resolve().parents[1] / "src")
    program = GUARDED.format(source=source, code=code)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)


@linux
def test_network_programs_and_files_are_out_of_reach(tmp_path: Path) -> None:
    done = guarded(f"""
import os, socket, subprocess, threading
tries = dict(
    socket=lambda: socket.socket(),
    pair=lambda: socket.socketpair(),
    fork=os.fork,
    program=lambda: os.execv("/bin/true", ["true"]),
    child=lambda: subprocess.run(["/bin/true"]),
    new=lambda: open({str(tmp_path / "new")!r}, "w"),
    remove=lambda: os.unlink(__file__ if "__file__" in globals() else "/etc/hostname"),
    signal=lambda: os.kill(os.getppid(), 15),
    folder=lambda: os.mkdir({str(tmp_path / "folder")!r}),
)
for name, attempt in tries.items():
    try:
        attempt()
        print(name)
    except OSError:
        pass
thread = threading.Thread(target=lambda: print("thread"))
thread.start(); thread.join()
open("/etc/hostname").close()
print(guard)
""")
    assert done.returncode == 0, done.stderr
    guard = done.stdout.split()[-1]
    if guard != "seccomp":
        pytest.skip(f"no seccomp here, but {guard!r}")
    assert done.stdout.split() == ["thread", "seccomp"] and not list(tmp_path.iterdir())


@linux
def test_memory_and_time_are_bounded_by_the_system() -> None:
    done = guarded("""
assert limit_memory(100 * 2**20)
try:
    bytearray(200 * 2**20)
    print("taken")
except MemoryError:
    print("refused", len(bytearray(50 * 2**20)))
""")
    assert done.stdout.split() == ["refused", str(50 * 2**20)]
    assert guarded("limit_time(0.05)\nwhile True: pass").returncode == -signal.SIGALRM


@linux
def test_the_processes_say_that_they_are_guarded(pool: Pool) -> None:
    pool.decode(SMALL, "a", Limits())
    assert pool.guards["memory"] is True and pool.guards["network"] in ("seccomp", "namespace")


# where they must work

PROGRAM = """
import sys
from lungsight.xray import read_xray
from lungsight.xray.pool import shared_pool
print(read_xray(sys.argv[1]).shape, *[worker.process.pid for worker in shared_pool()._all], flush=True)
{more}
"""


def run(path: Path, more: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
    """Without a standard input."""
    command = [
        "/bin/sh",
        "-c",
        'exec "$@" <&-',
        "sh",
        sys.executable,
        "-c",
        PROGRAM.format(more=more),
        str(path),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)


@linux
def test_in_an_empty_environment_with_no_home_no_input_and_in_the_c_locale(tmp_path: Path) -> None:
    path = tmp_path / "ü.png"
    path.write_bytes(SMALL)
    home = tmp_path / "home"
    home.mkdir(mode=0o500)
    done = run(path, env={"LC_ALL": "C", "HOME": str(home)}, cwd=home)
    assert done.stdout.startswith("(48, 64) "), done.stderr
    assert done.stderr == "" and gone(int(done.stdout.split()[-1]))
    assert not list(home.iterdir())


@linux
@pytest.mark.parametrize(
    "end", ["os._exit(0)", "os.kill(os.getpid(), 9)", "os.kill(os.getpid(), 15)", "raise ValueError"]
)
def test_no_process_outlives_the_program(tmp_path: Path, end: str) -> None:
    (tmp_path / "a.png").write_bytes(SMALL)
    done = run(tmp_path / "a.png", f"import os\n{end}")
    assert gone(int(done.stdout.split()[-1]))


@linux
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # it is what is tried
def test_in_forked_children_and_in_daemons() -> None:
    assert read_xray(SMALL).shape == RAMP.shape
    before = shared_pool()
    pid = os.fork()
    if not pid:
        ok = read_xray(SMALL).shape == RAMP.shape and shared_pool() is not before
        os._exit(0 if ok else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert read_xray(SMALL).shape == RAMP.shape and shared_pool() is before
    child = multiprocessing.get_context("spawn").Process(target=read_xray, args=(SMALL,), daemon=True)
    child.start()
    child.join(60)
    assert child.exitcode == 0


STREAM = (
    "c-rk#&1w`u5dLPe;ILW4tbt_@9{RW!o9h3bTjI`QRx+88Nx*}MLUPqd5X=ks2)>IRd;}GQJb{nkSUm<oS;<8Z#2SY0>#CZsx{4a$"
    "?^?ZHHaX+j;Rs(Cb7W}mCuGZV#<TTZD5+(%Boz@w>7<gD-{IkmEza5do}<0wENOfsvPMQ}tH@rbtgcAM7`+e18KuZt?>#xrOh-#P"
    "N69*~Uuvb3m4R~H;V5maq9qF${vhzn7bE7%$rSK8cF`S-@t|Hd;@UIA{%SOM3g$QUS781}`YRw%?-$Udy;6n>5KfyNP|%zvl?&Pi"
    "QQ(;G3$FSU%PvR#sK9F+AAzS+G8U*`Ts(RB?D<8>dWY>8-D-KVI=vTyC|NO8P*osOq)P0u2KfHx)4Cf$Jyt^C_HVnno}+g*+Tdcv"
    "9Yk`$c@tGsnkZORS!XCX64<#(#}SXj*brIJ=`@*2QB=kon>r>=CMCG5)UUu4>n`E$fQz(wUE0P4M%={&O?%WX4^G-<rNtuc3P<N0"
    "o&I3R5-XWy1Dhn3fo(I}8W?c(vK%(NXZzaYDlK}#a}M?&`nT9FS#6$WQ}n>>U6y4({V}&t_McF&m;LV-8%>Wl+T_(nyA*FW+JEtX"
    "OuR?`k$3I$uyfx4azap}"
)
"""zlib, base 85: a DICOM file with a damaged JPEG stream, for which GDCM throws where nothing catches it."""


def test_a_decoder_that_ends_its_process_costs_one_file() -> None:
    """Found by benchmarks/fuzz.py, where it showed as an error of the fuzzer, since decoders run in its process."""
    import base64
    import zlib

    with pytest.raises(InputError) as caught:
        read_xray(zlib.decompress(base64.b85decode("".join(STREAM))))
    assert caught.value.code == "damaged"
    assert read_xray(SMALL).pixels.shape == RAMP.shape
