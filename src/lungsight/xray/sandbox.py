"""What a decoding process may do: little memory, little time, no network, no other program, no writing of files.

Only `lungsight.xray.worker` calls this, in a process of its own, before it reads its first byte. Linux on x86-64 and
ARM64 get all of it without any rights, by seccomp (man 2 seccomp); elsewhere what the system has is used.
"""

from __future__ import annotations

import os
import signal
import struct
import sys

_MIB = 2**20
_THREAD = 0x10000
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_EPERM, _EACCES, _ENOSYS = 1, 13, 38
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_LOAD, _EQUAL, _ABOVE, _BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06

# System calls of: network, starting programs, reaching into other processes, changing files, changing the system.
_X86_64: tuple[int, ...] = (
    *(41, 42, 43, 44, 46, 49, 50, 53, 288, 307),
    *(57, 58, 59, 322),
    *(62, 101, 129, 200, 234, 297, 310, 311, 424, 434, 438),
    *(
        76,
        77,
        82,
        83,
        84,
        85,
        86,
        87,
        88,
        90,
        91,
        92,
        93,
        94,
        132,
        133,
        188,
        189,
        190,
        235,
        258,
        259,
        260,
        261,
    ),
    *(263, 264, 265, 266, 268, 280, 285, 316, 319, 452),
    *(
        155,
        161,
        165,
        166,
        248,
        249,
        250,
        272,
        298,
        308,
        321,
        323,
        425,
        426,
        427,
        428,
        429,
        430,
        431,
        432,
        442,
    ),
)
_ARM64: tuple[int, ...] = (
    *(198, 199, 200, 201, 202, 203, 206, 211, 242, 269),
    *(221, 281),
    *(117, 129, 130, 131, 138, 240, 270, 271, 424, 434, 438),
    *(5, 6, 7, 33, 34, 35, 36, 37, 38, 45, 46, 47, 52, 53, 54, 55, 88, 276, 279, 452),
    *(39, 40, 41, 51, 97, 217, 218, 219, 241, 268, 280, 282, 425, 426, 427, 428, 429, 430, 431, 432, 442),
)


def confine() -> str:
    """Give up what decoding does not need; returns what keeps it off the network: 'seccomp', 'namespace' or ''."""
    if not sys.platform.startswith("linux"):
        return ""
    try:
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
        libc.prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE off: no core file with a patient's pixels
        program = _program()
        if program is not None:
            buffer = ctypes.create_string_buffer(program, len(program))
            # struct sock_fprog: a count, then (aligned) a pointer.
            fprog = struct.pack("@HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
            if libc.prctl(22, 2, ctypes.create_string_buffer(fprog, len(fprog)), 0, 0) == 0:
                return "seccomp"
        if libc.unshare(0x10000000 | 0x40000000) == 0:  # CLONE_NEWUSER, CLONE_NEWNET
            return "namespace"
    except (ImportError, OSError, AttributeError):
        pass
    return ""


def _program() -> bytes | None:
    """The filter as classic BPF; None for a machine whose system calls are not listed."""
    machine = os.uname().machine
    if sys.byteorder != "little" or sys.maxsize < 2**32:
        return None
    if machine == "x86_64":
        arch, denied, openat, clone, limits, old_open = 0xC000003E, _X86_64, 257, 56, 302, 2
    elif machine == "aarch64":
        arch, denied, openat, clone, limits, old_open = 0xC00000B7, _ARM64, 56, 220, 261, -1
    else:
        return None

    def step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("<HBBI", code, yes, no, value)

    refuse = step(_RETURN, _ERRNO | _EPERM)
    steps = [step(_LOAD, 4), step(_EQUAL, arch, 1, 0), step(_RETURN, _KILL), step(_LOAD, 0)]
    steps += [step(_ABOVE, 0x40000000, 0, 1), refuse]  # the x32 numbers of x86-64
    for number in denied:
        steps += [step(_EQUAL, number, 0, 1), refuse]
    for number in (
        435,
        437,
    ):  # clone3 and openat2 pass their flags by pointer: 'unknown' makes libc use the old ones
        steps += [step(_EQUAL, number, 0, 1), step(_RETURN, _ERRNO | _ENOSYS)]
    for number, argument in ((openat, 2), (old_open, 1)):
        if number >= 0:
            steps += [step(_EQUAL, number, 0, 4), step(_LOAD, 16 + 8 * argument)]
            steps += [step(_BITS, _WRITING, 0, 1), step(_RETURN, _ERRNO | _EACCES), step(_RETURN, _ALLOW)]
    steps += [
        step(_EQUAL, clone, 0, 4),
        step(_LOAD, 16),
        step(_BITS, _THREAD, 1, 0),
        refuse,
        step(_RETURN, _ALLOW),
    ]
    steps += [
        step(_EQUAL, limits, 0, 4),
        step(_LOAD, 16),
        step(_EQUAL, 0, 1, 0),
        refuse,
        step(_RETURN, _ALLOW),
    ]
    return b"".join([*steps, step(_RETURN, _ALLOW)])


def limit_time(seconds: float) -> None:
    """From now on: so many seconds until the system ends this process, whatever it is doing; 0 for no limit."""
    if hasattr(signal, "setitimer"):
        # No Python code has to run for this: the default action of the signal ends the process.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)


def limit_memory(room: int) -> bool:
    """Let the process grow by `room` bytes of address space and no further; whether the system can do that."""
    try:
        import resource

        with open("/proc/self/statm") as file:  # noqa: PTH123  pathlib is not worth its import here
            now = int(file.read().split()[0]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        wanted = now + room
        resource.setrlimit(
            resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )
    except (ImportError, OSError, ValueError):
        return False
    return True
