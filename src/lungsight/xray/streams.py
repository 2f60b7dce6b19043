"""What the headers of JPEG, JPEG-LS and JPEG 2000 streams say, found in a bounded number of steps, before decoding."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from lungsight.errors import InputError

MAX_SEGMENTS = 2_000
"""Marker segments before the first scan; a picture with a long colour profile has some 300."""
MAX_SCANS = 100
"""A progressive colour JPEG has 10; each costs as much as the whole image."""
MAX_TILES = 4_096
_FILL = re.compile(rb"\xff+")


@dataclass(frozen=True, slots=True)
class Stream:
    """What a compressed stream says of its image."""

    rows: int
    columns: int
    components: int
    precision: int
    """Bits of a sample."""
    process: int
    """The frame's marker of JPEG (0xC0 baseline, 0xC1 extended, 0xC2 progressive, 0xC3 lossless), 0xF7 of JPEG-LS,
    0x51 of JPEG 2000."""
    signed: bool = False


def read_jpeg(data: bytes, what: str) -> Stream:
    """The frame of a JPEG or JPEG-LS stream (ITU-T T.81 annex B); `what` is what messages call it.

    Raises:
        InputError: no frame, too many marker segments or scans, or the stream ends before its image.
    """
    at, found = 2, None
    for _ in range(MAX_SEGMENTS):
        fill = _FILL.match(data, at)
        if fill is None or fill.end() >= len(data):
            raise _damaged(what)
        at = fill.end()
        if at - fill.start() > 64:
            raise InputError("the JPEG has long runs of fill bytes, which no X-ray needs", code="too_large")
        marker = data[at]
        at += 1
        if marker in (0x01, 0xD8) or 0xD0 <= marker <= 0xD7:
            continue
        if at + 2 > len(data):
            raise _damaged(what)
        (length,) = struct.unpack_from(">H", data, at)
        if marker == 0xDA:
            _count_scans(data, at)
            if found is None:
                raise _damaged(what)
            return found
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            if found is not None or at + 8 > len(data):
                raise _damaged(what)
            precision, rows, columns, components = struct.unpack_from(">BHHB", data, at + 2)
            found = Stream(rows, columns, components, precision, marker)
        at += max(length, 2)
    raise InputError(
        f"the JPEG has more than {MAX_SEGMENTS:,} marker segments, which no X-ray needs", code="too_large"
    )


def _count_scans(data: bytes, at: int) -> None:
    end = data.find(b"\xff\xd9", at)
    scans = 1 + data.count(b"\xff\xda", at, end if end >= 0 else len(data))
    between = data.count(b"\xff\xfe", at, end if end >= 0 else len(data))
    if scans > MAX_SCANS or between > MAX_SEGMENTS:
        raise InputError(f"the JPEG has more than {MAX_SCANS} scans, which no X-ray needs", code="too_large")


def codestream(data: bytes) -> bytes:
    """A JPEG 2000 codestream, taken out of its JP2 boxes where it has some (ISO/IEC 15444-1 annex I).

    Raises:
        InputError: there is none.
    """
    if data[:4] == b"\xff\x4f\xff\x51":
        return data
    at = 0
    for _ in range(64):
        if at + 8 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, at)
        begin = at + 8
        if length == 1 and at + 16 <= len(data):
            (length,) = struct.unpack_from(">Q", data, at + 8)
            begin = at + 16
        end = len(data) if length == 0 else at + length
        if kind == b"jp2c" and data[begin : begin + 4] == b"\xff\x4f\xff\x51":
            return data[begin:end]
        if end <= at:
            break
        at = end
    raise _damaged()


def read_jpeg2000(data: bytes) -> Stream:
    """The size segment of a codestream, which must be the first and the only one (ISO/IEC 15444-1 A.5.1).

    Raises:
        InputError: it is damaged, or has components or tiles that no X-ray needs.
    """
    if data[:4] != b"\xff\x4f\xff\x51" or len(data) < 45:
        raise _damaged()
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top, components = struct.unpack_from(
        ">8IH", data, 8
    )
    if not 1 <= components <= 4:
        raise InputError("the JPEG 2000 image has more components than an X-ray", code="too_large")
    if len(data) < 42 + 3 * components or right <= left or bottom <= top or not tile_width or not tile_height:
        raise _damaged()
    depths = {data[42 + 3 * one] for one in range(components)}
    # A component that is sampled more sparsely has other pixels than the image says.
    if (
        any(data[42 + 3 * one + part] != 1 for one in range(components) for part in (1, 2))
        or len(depths) != 1
    ):
        raise InputError(
            "not supported: JPEG 2000 with components of different size or depth", code="unsupported"
        )
    tiles = -(-(right - tile_left) // tile_width) * -(-(bottom - tile_top) // tile_height)
    if tiles > MAX_TILES:
        raise InputError(f"the JPEG 2000 image has more than {MAX_TILES:,} tiles", code="too_large")
    at = 2
    for index in range(MAX_SEGMENTS):
        if at + 4 > len(data):
            break
        marker, length = struct.unpack_from(">HH", data, at)
        if marker in (0xFF90, 0xFFD9):  # the first tile, or the end
            break
        if marker >> 8 != 0xFF or length < 2 or (marker == 0xFF51) != (index == 0):
            raise _damaged()
        at += 2 + length
    (depth,) = depths
    return Stream(bottom - top, right - left, components, (depth & 0x7F) + 1, 0x51, bool(depth & 0x80))


def _damaged(what: str = "compressed image") -> InputError:
    return InputError(f"the {what} is damaged or cut short", code="damaged")
