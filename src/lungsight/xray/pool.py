"""Decoding processes that live on, and what to do with one that is stuck, too large or gone.

Decoders are C code that reads what strangers wrote. Here they run in plain child processes (so that a daemon, a worker
of joblib or a fork may hold a model), started when first needed, at most one for each core. A process that exceeds its
time or memory, or crashes, is ended and replaced; its file is answered in plain words, and no other file notices.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import json
import os
import signal
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

from lungsight.errors import InputError, LungsightError, PassedOverError, RefusedError
from lungsight.xray import shared_memory
from lungsight.xray.base import Limits, Pixels, XRay
from lungsight.xray.dicom_values import StoredValues

START_SECONDS = 60.0
"""For a new process to load its libraries on a busy machine, on top of the file's own time."""
GRACE_SECONDS = 2.0
"""The process ends itself first; this one steps in where the system has no timer for it."""
FILES_EACH = 2000
"""A process is replaced after so many files, so that what a decoder leaks does not add up."""
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from lungsight.xray.worker import main; main(*sys.argv[2:])"
)
_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR")


_ERRORS: dict[str, type[InputError]] = {one.__name__: one for one in (RefusedError, PassedOverError)}


class _Gone(Exception):
    """The process ended before it answered; `why` is 'time', 'memory', 'crash' or 'stop'."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class _Worker:
    """One decoding process."""

    def __init__(self) -> None:
        self.files = 0
        self.stopped = False
        self.guards: dict[str, Any] = {}
        package = str(Path(__file__).resolve().parents[2])
        path = [package, *(os.path.abspath(one) for one in sys.path if one)]  # noqa: PTH100  as text, for JSON
        environment = {word: os.environ[word] for word in _PASSED_ON if word in os.environ}
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        made = shared_memory.make()
        self.shared = made[0] if made else None
        number = [made[1]] if made else []
        try:
            self.process = subprocess.Popen(
                [_python(), "-I", "-S", "-X", "utf8", "-c", _BOOT, json.dumps(path), *map(str, number)],
                pass_fds=number,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env=environment,
                cwd=os.path.abspath(os.sep),  # noqa: PTH100
                start_new_session=True,  # Ctrl-C is for the program that the user sees
            )
        except OSError as error:
            raise LungsightError(
                "the process that decodes images cannot be started", code="no_decoder", detail=str(error)
            ) from error
        finally:
            for one in number:
                os.close(one)
        _widen(self.process.stdin)
        _widen(self.process.stdout)

    def ask(self, want: str, data: bytes, limits: Limits) -> tuple[dict[str, Any], Any]:
        """Send a file, wait for the answer: its header, and the pixels' bytes as a flat array.

        Args:
            want: 'pixels', or 'header': see `lungsight.xray.dicom_header`.
            data: the file.
            limits: how large it may be and how long decoding may take.

        Raises:
            _Gone: no answer came; the process is no more.
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        late = threading.Event()

        def stop() -> None:
            late.set()
            self.process.kill()

        seconds = limits.max_seconds + GRACE_SECONDS + (0 if self.files else START_SECONDS)
        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timer.start()
        try:
            shares = self.shared is not None and len(data) <= shared_memory.SIZE
            request = {"want": want, "limits": dataclasses.asdict(limits), "shared": shares}
            words = json.dumps(request).encode()
            if self.shared is not None and shares:
                self.shared[: len(data)] = data
            _write(self.process.stdin, struct.pack("<II", len(words), len(data)) + words)
            if not shares:
                _write(self.process.stdin, data)
            size, count = struct.unpack("<II", _read(self.process.stdout, 8))
            if size > 2**20 or count > 4 * limits.max_pixels:
                raise _Gone("crash")
            header: dict[str, Any] = json.loads(bytes(_read(self.process.stdout, size)))
            if header.get("shared") is not True:
                pixels = _read(self.process.stdout, count)
            elif self.shared is not None and count <= shared_memory.SIZE:
                # A copy: the process could still write there.
                pixels = np.frombuffer(self.shared, np.uint8, count).copy()
            else:
                raise _Gone("crash")
            self.files += 1
            self.guards = {word: header.get(word) for word in ("network", "memory")}
            return header, pixels
        except (EOFError, OSError, ValueError) as error:
            raise _Gone("time" if late.is_set() else self._reason()) from error
        finally:
            timer.cancel()

    def _reason(self) -> str:
        if self.stopped:
            return "stop"
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self.process.wait(1.0)
            if os.name == "posix" and code in (-signal.SIGALRM, -signal.SIGXCPU):
                return "time"
            if os.name == "posix" and code == -signal.SIGKILL:
                return "memory"  # not ours: the system ends so what takes too much
        return "crash"

    def end(self) -> None:
        """End the process, at once; it holds nothing."""
        with contextlib.suppress(OSError):
            self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._let_go()
        self.process.wait()

    def forget(self) -> None:
        """In a forked child: the process belongs to the parent; only the copies of its pipes are ours."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._let_go()
        self.process.returncode = 0

    def _let_go(self) -> None:
        if self.shared is not None:
            with contextlib.suppress(BufferError):  # another thread is reading; it ends with that
                self.shared.close()


class Pool:
    """At most `size` decoding processes, each started when no other is free. Safe to use from threads."""

    def __init__(self, size: int | None = None) -> None:
        self.size = size or _cores()
        self._free: list[_Worker] = []
        self._all: set[_Worker] = set()
        self._starting = 0
        self._changed = threading.Condition()

    def decode(self, data: bytes, name: str, limits: Limits) -> XRay:
        """Decode the bytes of a file in one of the processes.

        Raises:
            InputError: as `lungsight.xray.decode.decode`; also where it took too long or too much memory, or the
                decoder crashed.
        """
        answer = self._ask("pixels", data, name, limits)
        assert isinstance(answer, XRay)
        return answer

    def header(self, data: bytes, name: str, limits: Limits) -> bytes:
        """The elements of a DICOM file that its results repeat; see `lungsight.xray.dicom_header`.

        Raises:
            InputError: it is no DICOM file, or is damaged.
        """
        answer = self._ask("header", data, name, limits)
        assert isinstance(answer, bytes)
        return answer

    def values(self, data: bytes, name: str, limits: Limits) -> StoredValues | None:
        """Grey values of a file with all bits; None where no window shows them. Raises as `decode`."""
        answer = self._ask("values", data, name, limits)
        assert isinstance(answer, bytes)
        try:
            return StoredValues.unpack(answer, limits) if answer else None
        except ValueError:
            raise _refusal("crash", name, limits) from None

    def _ask(self, want: str, data: bytes, name: str, limits: Limits) -> XRay | bytes:
        while True:
            worker = self._take()
            used = worker.files > 0
            try:
                header, body = worker.ask(want, data, limits)
                stopped = header.get("stopped")
                if stopped:
                    raise _Gone("memory" if stopped == "memory" else "crash")
                answer = _answer(header, body, name, limits)
            except _Gone as gone:
                self._drop(worker)
                # What an earlier file did to the process must not be this one's fault: it gets a new one, once.
                if used and gone.why in ("memory", "crash"):
                    continue
                raise _refusal(gone.why, name, limits) from None
            except BaseException:  # also Ctrl-C: the process is in the middle of an answer
                self._drop(worker)
                raise
            self._give_back(worker)
            if isinstance(answer, InputError):
                raise answer
            return answer

    def warm(self) -> None:
        """Start a process now, unless there is one, so that it loads while the caller does something else."""
        with self._changed:
            if self._all or self._starting:
                return
        self._give_back(self._take())

    @property
    def guards(self) -> dict[str, Any]:
        """What holds the processes that have answered: 'network' ('seccomp', 'namespace' or '') and 'memory'."""
        with self._changed:
            return next((dict(worker.guards) for worker in self._all if worker.guards), {})

    def stop(self) -> None:
        """End all processes at once, also those at work: their files are answered as failed."""
        with self._changed:
            idle, busy = list(self._free), self._all - set(self._free)
            self._all.clear()
            self._free.clear()
            self._changed.notify_all()
        for worker in idle:
            worker.end()
        for worker in busy:  # the thread that waits for it clears up
            worker.stopped = True
            worker.process.kill()
            worker.process.wait()

    def forget(self) -> None:
        """After a fork, in the child."""
        for worker in self._all:
            worker.forget()

    def _take(self) -> _Worker:
        with self._changed:
            while not self._free and len(self._all) + self._starting >= self.size:
                self._changed.wait()
            if self._free:
                return self._free.pop()
            self._starting += 1
        try:
            worker = _Worker()
        except BaseException:
            with self._changed:
                self._starting -= 1
                self._changed.notify()
            raise
        with self._changed:
            self._starting -= 1
            self._all.add(worker)
        return worker

    def _give_back(self, worker: _Worker) -> None:
        if worker.files >= FILES_EACH:
            self._drop(worker)
            return
        with self._changed:
            if worker in self._all:
                self._free.append(worker)
                self._changed.notify()
                return
        worker.end()  # everything was stopped meanwhile

    def _drop(self, worker: _Worker) -> None:
        worker.end()
        with self._changed:
            self._all.discard(worker)
            self._changed.notify()


def _answer(header: dict[str, Any], pixels: Any, name: str, limits: Limits) -> XRay | bytes | InputError:
    """What a process said, taken as said by a stranger.

    Raises:
        _Gone: it makes no sense.
    """
    try:
        if "error" in header:
            kind_of_error, message, code, hint = header["error"]
            return _ERRORS.get(kind_of_error, InputError)(
                str(message), code=str(code), where=name, hint=hint and str(hint)
            )
        if "shape" not in header:
            return bytes(pixels)
        height, width = (int(side) for side in header["shape"])
        kind = {"uint8": np.uint8, "float32": np.float32}[header["dtype"]]
        if height * width > limits.max_pixels:
            raise ValueError
        array: Pixels = np.frombuffer(pixels, kind).reshape(height, width)
        return XRay.from_fields(array, name, header["fields"])
    except (KeyError, ValueError, TypeError) as error:
        raise _Gone("crash") from error


def _refusal(why: str, name: str, limits: Limits) -> InputError:
    if why == "time":
        return InputError(
            f"decoding takes longer than {limits.max_seconds:g} seconds, which no X-ray needs",
            code="too_slow",
            where=name,
            hint="Allow more with Limits(max_seconds=...), or --max-seconds, if the machine is that slow",
        )
    if why == "memory":
        return InputError("decoding takes more memory than an X-ray may", code="too_large", where=name)
    if why == "stop":
        return InputError("decoding was stopped", code="stopped", where=name)
    return InputError("the file is damaged: its decoder crashed", code="damaged", where=name)


def _python() -> str:
    """A Python that runs what this one runs, also where this one is built into another program."""
    program = Path(sys.executable or "python3")
    if "python" in program.name.lower() or "pypy" in program.name.lower():
        return str(program)
    inner = Path(sys.prefix) / ("python.exe" if os.name == "nt" else "bin/python3")
    return str(inner if inner.exists() else program)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return max(1, os.cpu_count() or 1)


def _widen(pipe: Any) -> None:
    """A larger buffer means fewer changes between the two processes."""
    try:
        import fcntl

        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, 2**20)
    except (ImportError, AttributeError, OSError):
        pass


def _write(pipe: Any, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[pipe.write(view) or 0 :]


def _read(pipe: Any, count: int) -> Any:
    """So many bytes.

    Raises:
        EOFError: the process ended before.
    """
    buffer = np.empty(count, np.uint8)
    view, at = buffer.data, 0
    while at < count:
        got = pipe.readinto(view[at:])
        if not got:
            raise EOFError
        at += got
    return buffer


_pool: Pool | None = None
_lock = threading.Lock()


def shared_pool() -> Pool:
    """The pool of this process; made when first asked for."""
    global _pool
    with _lock:
        if _pool is None:
            _pool = Pool()
        return _pool


def stop_decoding() -> None:
    """End the decoding processes of this program; the next file starts new ones."""
    if _pool is not None:
        _pool.stop()


def _after_fork() -> None:
    global _pool, _lock
    if _pool is not None:
        _pool.forget()
    _pool, _lock = None, threading.Lock()


atexit.register(stop_decoding)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
