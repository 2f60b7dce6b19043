"""The program of a decoding process: files in, grey pixels out, one after the other, until its input ends.

`lungsight.xray.pool` starts it and speaks with it over two pipes. A message is two lengths, JSON of the first and raw
bytes of the second; the bytes lie in the memory that both share where the JSON says 'shared'. Nothing that a file says
of itself goes back but what `XRay` holds.
"""

from __future__ import annotations

import io
import json
import mmap
import os
import struct
from typing import Any

from lungsight.xray.sandbox import confine, limit_memory, limit_time
from lungsight.xray.shared_memory import take

ROOM = 256 * 2**20
"""Bytes for programs that are loaded when first needed, and for what does not depend on the file."""
PER_BYTE, PER_PIXEL = 3, 24
"""Bytes of memory for a byte of the file and for a pixel of the largest image that is accepted."""


def serve(source: io.RawIOBase, sink: io.RawIOBase, shared: mmap.mmap | None = None) -> None:
    """Answer requests until the input ends."""
    guarded = confine()
    import numpy as np

    from lungsight.errors import InputError
    from lungsight.xray.base import Limits
    from lungsight.xray.decode import decode

    while (request := _receive(source, shared)) is not None:
        header, data = request
        limits = Limits(**header["limits"])
        limit_time(limits.max_seconds)
        limited = limit_memory(ROOM + PER_BYTE * len(data) + PER_PIXEL * limits.max_pixels)
        answer: dict[str, Any] = {"network": guarded, "memory": limited}
        pixels: memoryview | bytes = b""
        last = False
        try:
            if header["want"] == "header":
                from lungsight.xray.dicom_header import source_header

                pixels = source_header(bytes(data), limits)
            elif header["want"] == "values":
                from lungsight.xray.dicom_values import packed_values

                pixels = packed_values(bytes(data), limits)
            else:
                xray = decode(data, limits)
                array = np.ascontiguousarray(xray.pixels)
                pixels = array.data.cast("B")
                answer |= {"shape": array.shape, "dtype": array.dtype.name, "fields": fields(xray)}
        except InputError as error:
            answer["error"] = [type(error).__name__, error.message, error.code, error.hint]
        except MemoryError:
            answer["stopped"], last = "memory", True
        except BaseException as error:  # the next file gets a process that is whole
            answer["stopped"], last = type(error).__name__, True
        limit_time(0)
        if shared is not None and 0 < len(pixels) <= len(shared):
            shared[: len(pixels)] = pixels
            answer["shared"] = True
        _send(sink, answer, pixels)
        if last:
            return
        del data, request, pixels


def fields(xray: Any) -> dict[str, Any]:
    """What an `XRay` holds beside its pixels and its name, as plain values."""
    import dataclasses

    return {
        field.name: getattr(xray, field.name)
        for field in dataclasses.fields(xray)
        if field.name not in ("pixels", "name")
    }


def _receive(
    source: io.RawIOBase, shared: mmap.mmap | None
) -> tuple[dict[str, Any], bytes | bytearray] | None:
    head = _exactly(source, 8)
    if len(head) < 8:
        return None
    words, count = struct.unpack("<II", head)
    header: dict[str, Any] = json.loads(bytes(_exactly(source, words)))
    if shared is not None and header["shared"]:
        return header, shared[:count]
    data = _exactly(source, count)
    return (header, data) if len(data) == count else None


def _exactly(source: io.RawIOBase, count: int) -> bytearray:
    """So many bytes, fewer where the input ends."""
    buffer = bytearray(count)
    view, at = memoryview(buffer), 0
    while at < count:
        got = source.readinto(view[at:])
        if not got:
            return buffer[:at]
        at += got
    return buffer


def _send(sink: io.RawIOBase, header: dict[str, Any], data: Any) -> None:
    words = json.dumps(header).encode()
    for part in (struct.pack("<II", len(words), len(data)), words, b"" if "shared" in header else data):
        view = memoryview(part)
        while view:
            view = view[sink.write(view) or 0 :]


def main(shared: str = "") -> None:
    """Take the two pipes and the shared memory, and let whatever else prints print into nothing.

    Args:
        shared: number of the memory's open file; '' for none.
    """
    import warnings

    warnings.simplefilter("ignore")
    memory = take(int(shared)) if shared else None
    source, sink = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    try:
        serve(io.FileIO(source, "rb"), io.FileIO(sink, "wb"), memory)
    except (BrokenPipeError, KeyboardInterrupt):
        pass
    finally:
        # Without the interpreter's own ending: nothing is left to save, and a damaged heap must not hold it up.
        os._exit(0)


if __name__ == "__main__":
    main()
