"""The structure of PNG, JPEG, BMP and TIFF files, walked in a bounded number of steps before anything is decoded."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from lungsight.errors import InputError
from lungsight.xray.base import Limits
from lungsight.xray.streams import read_jpeg

MAX_DATA_CHUNKS, MAX_CHUNKS = 65_536, 1_024
"""Of a PNG: IDAT, and all others. Encoders write 8 kB a chunk or more."""
MAX_DIRECTORIES, MAX_ENTRIES = 64, 1_024
"""Of a TIFF, and entries of one of them."""
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 6: 1, 8: 2, 9: 4, 11: 4}


@dataclass(frozen=True, slots=True)
class Layout:
    """What the structure says of the pixels; zeros where it does not matter."""

    bits: int = 0
    """Of a sample."""
    samples: int = 1
    signed: bool = False
    white_is_low: bool = False
    page: int = 0
    """Of a TIFF: the one that is no thumbnail."""


def inspect(data: bytes, kind: str, limits: Limits) -> Layout:
    """Check the structure of a file of the given kind.

    Raises:
        InputError: it has more parts than an X-ray needs, is damaged, or holds several images.
    """
    return {"PNG": _png, "JPEG": _jpeg, "BMP": _bmp, "TIFF": _tiff}[kind](data, limits)


def _png(data: bytes, limits: Limits) -> Layout:
    at, pixels, others = 8, 0, 0
    layout = Layout()
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IDAT":
            pixels += 1
        else:
            others += 1
        if pixels > MAX_DATA_CHUNKS or others > MAX_CHUNKS:
            raise InputError("the PNG has more chunks than any image needs", code="too_large")
        if kind == b"IHDR" and at + 18 <= len(data):
            width, height, bits, colour = struct.unpack_from(">IIBB", data, at + 8)
            if not width or not height or width > 2**31 - 1 or height > 2**31 - 1:
                raise _damaged("PNG")
            limits.check_size(height, width, "")
            layout = Layout(bits, {2: 3, 4: 2, 6: 4}.get(colour, 1))
        if kind == b"IEND":
            return layout
        at += 12 + length
    if not layout.bits:
        raise _damaged("PNG")
    return layout


def _jpeg(data: bytes, limits: Limits) -> Layout:
    stream = read_jpeg(data, "JPEG")
    if stream.rows:
        limits.check_size(stream.rows, stream.columns, "")
    if stream.precision != 8 or stream.process not in (0xC0, 0xC1, 0xC2, 0xC9, 0xCA):
        what = f"JPEG of {stream.precision} bits" if stream.process in (0xC0, 0xC1, 0xC2) else "lossless JPEG"
        raise InputError(f"not supported: {what} outside DICOM", code="unsupported")
    return Layout(8, stream.components)


def _bmp(data: bytes, limits: Limits) -> Layout:
    if len(data) < 34:
        raise _damaged("BMP")
    (start, header) = struct.unpack_from("<II", data, 10)
    if header < 40:
        return Layout()
    width, height = struct.unpack_from("<ii", data, 18)
    compression = struct.unpack_from("<I", data, 30)[0]
    limits.check_size(abs(height), abs(width), "")
    if compression in (1, 2):
        _bmp_runs(data, start, abs(width), abs(height), four=compression == 2)
    return Layout()


def _bmp_runs(data: bytes, at: int, width: int, height: int, *, four: bool) -> None:
    """Run lengths must make no more lines and pixels than the image has."""
    lines = pixels = 0
    while at + 2 <= len(data):
        count, value = data[at], data[at + 1]
        at += 2
        if count:
            pixels += count
        elif value == 0:
            lines += 1
        elif value == 1:
            return
        elif value == 2:
            if at + 2 > len(data):
                return
            pixels += data[at]
            lines += data[at + 1]
            at += 2
        else:
            pixels += value
            size = -(-value // 2) if four else value
            at += size + size % 2
        if lines > height or pixels > width * height + height:
            raise InputError("the BMP contradicts itself: its runs are longer than its image", code="damaged")


def _tiff(data: bytes, limits: Limits) -> Layout:
    """Directories as a chain (TIFF 6.0 section 2): exactly one that is no thumbnail."""
    order = "<" if data[:2] == b"II" else ">"
    if len(data) < 8:
        raise _damaged("TIFF")
    at = struct.unpack_from(order + "I", data, 4)[0]
    seen: set[int] = set()
    pages: list[tuple[int, dict[int, int]]] = []
    while at:
        if at in seen or at + 2 > len(data):
            raise _damaged("TIFF")
        if len(seen) >= MAX_DIRECTORIES:
            raise InputError(
                f"the TIFF holds more than {MAX_DIRECTORIES} images", code="several_images", hint=_ONE
            )
        (count,) = struct.unpack_from(order + "H", data, at)
        end = at + 2 + 12 * count
        if count > MAX_ENTRIES or end > len(data):
            raise _damaged("TIFF")
        entries = _entries(data, at + 2, count, order)
        _check_pieces(data, at + 2, count, order, entries)
        if not (entries.get(254, 0) & 1 or entries.get(255) == 2):
            pages.append((len(seen), entries))
        seen.add(at)
        at = struct.unpack_from(order + "I", data, end)[0] if end + 4 <= len(data) else 0
    if not pages:
        raise _damaged("TIFF")
    if len(pages) > 1:
        raise InputError(
            f"the TIFF holds {len(pages)} images; one X-ray a file is read", code="several_images", hint=_ONE
        )
    page, entries = pages[0]
    if entries.get(256) and entries.get(257):
        limits.check_size(entries[257], entries[256], "")
    samples = entries.get(277, 1)
    if samples > 4:
        raise InputError("not supported: TIFF of more than 4 samples a pixel", code="unsupported")
    wide = samples > 1 and entries.get(258, 1) == 16
    if entries.get(259, 1) not in (_WIDE_COMPRESSIONS if wide else _COMPRESSIONS):
        raise InputError("not supported: this compression of a TIFF", code="unsupported", hint=_PLAIN)
    if wide and (samples == 2 or entries.get(284, 1) == 2):
        what = "16-bit grey with transparency" if samples == 2 else "16-bit colours by plane"
        raise InputError(f"not supported: TIFF of {what}", code="unsupported", hint=_PLAIN)
    white = entries.get(262) == 0 and samples == 1
    return Layout(entries.get(258, 1), samples, entries.get(339) == 2, white, page)


def _check_pieces(data: bytes, at: int, count: int, order: str, entries: dict[int, int]) -> None:
    """No more strips than rows (of each sample), no more tiles than of 16 x 16: a million takes a decoder minutes."""
    height, width, samples = entries.get(257, 0), entries.get(256, 0), min(entries.get(277, 1), 4)
    most = {273: height, 279: height, 324: (height // 16 + 1) * (width // 16 + 1)}
    most[325] = most[324]
    for start in range(at, at + 12 * count, 12):
        tag, _, number = struct.unpack_from(order + "HHI", data, start)
        if tag in most and number > max(1, most[tag]) * samples:
            raise InputError(
                "the TIFF contradicts itself: it has more pieces than its image has rows", code="damaged"
            )


_COMPRESSIONS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34925, 50000})
"""What Pillow's libtiff unpacks: none, CCITT, LZW, JPEG, deflate, PackBits, LZMA, Zstandard."""
_WIDE_COMPRESSIONS = frozenset({1, 5, 8, 32773, 32946})
"""And OpenCV's."""
_PLAIN = "Save it as PNG, or as TIFF of 8 or 16 bits without compression"
_ONE = "Save the X-ray as a file of its own"


def _entries(data: bytes, at: int, count: int, order: str) -> dict[int, int]:
    """The first whole number of each entry that has one."""
    found: dict[int, int] = {}
    for start in range(at, at + 12 * count, 12):
        tag, kind, number = struct.unpack_from(order + "HHI", data, start)
        size = _SIZES.get(kind)
        if kind not in (3, 4) or size is None or not number:
            continue
        where = start + 8
        if size * number > 4:
            where = struct.unpack_from(order + "I", data, where)[0]
        if where + size <= len(data):
            found[tag] = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, where)[0]
    return found


def _damaged(kind: str) -> InputError:
    return InputError(f"the {kind} is damaged or cut short", code="damaged")
