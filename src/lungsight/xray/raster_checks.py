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
_SIZES = {3: "H", 4: "I", 16: "Q"}
"""How whole numbers of a TIFF's entry are stored, by their type."""


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
    opencv: bool = False
    """A TIFF that OpenCV reads rightly."""
    big: bool = False
    """A BigTIFF, of which Pillow reads one byte order alone."""


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


@dataclass(frozen=True, slots=True)
class _Form:
    """How a TIFF stores its directories: byte order, and the longer fields of BigTIFF."""

    order: str
    big: bool

    def number(self, data: bytes, at: int, *, short: bool = False) -> int:
        """An offset or a number of values; with `short` the number of a directory's entries."""
        kind = "Q" if self.big else "H" if short else "I"
        return int(struct.unpack_from(self.order + kind, data, at)[0])

    @property
    def entries_at(self) -> int:
        """From the start of a directory to its entries."""
        return 8 if self.big else 2

    @property
    def entry(self) -> int:
        """Bytes of an entry: tag, type, number of values, and the value or where it is."""
        return 20 if self.big else 12

    @property
    def slot(self) -> int:
        """Bytes of an offset."""
        return 8 if self.big else 4


def _tiff(data: bytes, limits: Limits) -> Layout:
    """Directories as a chain (TIFF 6.0 section 2, and BigTIFF): exactly one that is no thumbnail."""
    order = "<" if data[:2] == b"II" else ">"
    form = _Form(order, data[2:4] in (b"+\x00", b"\x00+"))
    if len(data) < (16 if form.big else 8):
        raise _damaged("TIFF")
    if form.big and struct.unpack_from(order + "HH", data, 4) != (8, 0):
        raise _damaged("TIFF")
    at = form.number(data, 8 if form.big else 4)
    seen: set[int] = set()
    pages: list[tuple[int, dict[int, int]]] = []
    while at:
        if at in seen or at + form.entries_at > len(data):
            raise _damaged("TIFF")
        if len(seen) >= MAX_DIRECTORIES:
            raise InputError(
                f"the TIFF holds more than {MAX_DIRECTORIES} images", code="several_images", hint=_ONE
            )
        count = form.number(data, at, short=True)
        first = at + form.entries_at
        end = first + form.entry * count
        if count > MAX_ENTRIES or end > len(data):
            raise _damaged("TIFF")
        entries = _entries(data, range(first, end, form.entry), form)
        _check_pieces(data, range(first, end, form.entry), form, entries)
        if not (entries.get(254, 0) & 1 or entries.get(255) == 2):
            pages.append((len(seen), entries))
        seen.add(at)
        at = form.number(data, end) if end + form.slot <= len(data) else 0
    if not pages:
        raise _damaged("TIFF")
    if len(pages) > 1:
        raise InputError(
            f"the TIFF holds {len(pages)} images; one X-ray a file is read", code="several_images", hint=_ONE
        )
    page, entries = pages[0]
    if entries.get(256) and entries.get(257):
        limits.check_size(entries[257], entries[256], "")
    return _tiff_layout(page, entries, form)


def _tiff_layout(page: int, entries: dict[int, int], form: _Form) -> Layout:
    """What the entries of the one image say of its pixels; refuses what neither Pillow nor OpenCV reads rightly."""
    samples, bits, floats = entries.get(277, 1), entries.get(258, 1), entries.get(339) == 3
    if samples > 4:
        raise InputError("not supported: TIFF of more than 4 samples a pixel", code="unsupported")
    if floats and bits == 16:
        raise InputError("not supported: TIFF of 16-bit floats", code="unsupported", hint=_PLAIN)
    wide = samples > 1 and bits == 16
    compression, white = entries.get(259, 1), entries.get(262) == 0 and samples == 1
    if compression not in (_WIDE_COMPRESSIONS if wide else _COMPRESSIONS):
        raise InputError("not supported: this compression of a TIFF", code="unsupported", hint=_PLAIN)
    if wide and (samples == 2 or entries.get(284, 1) == 2):
        what = "16-bit grey with transparency" if samples == 2 else "16-bit colours by plane"
        raise InputError(f"not supported: TIFF of {what}", code="unsupported", hint=_PLAIN)
    opencv = (
        (samples, bits, floats) in _BY_OPENCV
        and compression in _WIDE_COMPRESSIONS
        and entries.get(262) in ((0, 1) if samples == 1 else (2,))
        and (samples == 1 or entries.get(284, 1) == 1)
        and entries.get(266, 1) == 1
        and not page
    )
    if form.big and not opencv:
        raise InputError("not supported: this kind of BigTIFF", code="unsupported", hint=_PLAIN)
    return Layout(bits, samples, entries.get(339) == 2, white, page, opencv, form.big)


def _check_pieces(data: bytes, places: range, form: _Form, entries: dict[int, int]) -> None:
    """No more strips than rows (of each sample), no more tiles than of 16 x 16: a million takes a decoder minutes."""
    height, width, samples = entries.get(257, 0), entries.get(256, 0), min(entries.get(277, 1), 4)
    most = {273: height, 279: height, 324: (height // 16 + 1) * (width // 16 + 1)}
    most[325] = most[324]
    for start in places:
        tag, number = struct.unpack_from(form.order + "H", data, start)[0], form.number(data, start + 4)
        if tag in most and number > max(1, most[tag]) * samples:
            raise InputError(
                "the TIFF contradicts itself: it has more pieces than its image has rows", code="damaged"
            )


_BY_OPENCV = frozenset((1, bits, False) for bits in (8, 10, 12, 14, 16, 32)) | {
    (1, 32, True),
    (1, 64, True),
    (3, 8, False),
    (3, 16, False),
}
"""Samples, their bits, and whether they are floats, of what OpenCV is asked to read."""
_COMPRESSIONS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34925, 50000})
"""What Pillow's libtiff unpacks: none, CCITT, LZW, JPEG, deflate, PackBits, LZMA, Zstandard."""
_WIDE_COMPRESSIONS = frozenset({1, 5, 8, 32773, 32946})
"""And OpenCV's."""
_PLAIN = "Save it as PNG, or as TIFF of 8 or 16 bits without compression"
_ONE = "Save the X-ray as a file of its own"


def _entries(data: bytes, places: range, form: _Form) -> dict[int, int]:
    """The first whole number of each entry that has one."""
    found: dict[int, int] = {}
    for start in places:
        tag, kind = struct.unpack_from(form.order + "HH", data, start)
        number, letter = form.number(data, start + 4), _SIZES.get(kind)
        if letter is None or not number:
            continue
        where = start + form.entry - form.slot
        size = struct.calcsize(letter)
        if size * number > form.slot:
            where = form.number(data, where)
        if where + size <= len(data):
            found[tag] = struct.unpack_from(form.order + letter, data, where)[0]
    return found


def _damaged(kind: str) -> InputError:
    return InputError(f"the {kind} is damaged or cut short", code="damaged")
