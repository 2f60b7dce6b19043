"""More files of the kinds of tests/test_xray_attacks.py: small, and made to cost a decoder seconds or gigabytes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np
import pydicom.uid as uid
from pydicom.encaps import encapsulate

from xray_files import RAMP, dicom, element, encode, png_chunk, raw

MIB = 2**20


def stream(kind: str) -> bytes:
    """An honest compressed image of the size of `RAMP`."""
    return encode(RAMP, kind)


def zeros(mib: int, wbits: int = 15) -> bytes:
    """Zeros, packed; the same block again and again, as packing gigabytes takes a while (the checksum is wrong)."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    first, block = (packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + block * (mib - 1) + packer.flush()


def boxed(data: bytes, syntax: uid.UID = uid.JPEG2000Lossless) -> bytes:
    return dicom(RAMP, syntax, PixelData=encapsulate([data]))


def j2k_with(marker: int, body: bytes, count: int) -> bytes:
    """A real codestream with marker segments that repeat, after its size."""
    data = codestream()
    after = 4 + struct.unpack(">H", data[4:6])[0]
    return data[:after] + (struct.pack(">HH", marker, len(body) + 2) + body) * count + data[after:]


def codestream() -> bytes:
    data = stream("JPEG2000")
    return data[data.index(b"\xff\x4f\xff\x51") :]


def tile_parts(count: int) -> bytes:
    """A codestream whose tile comes in very many empty parts."""
    data = codestream()
    at = data.index(b"\xff\x90")
    part = struct.pack(">HHHIBB", 0xFF90, 10, 0, 14, 0, 0) + b"\xff\x93"
    return data[:at] + part * count + data[at:]


def layers(count: int) -> bytes:
    """A codestream that says it has very many quality layers."""
    data = bytearray(codestream())
    at = data.index(b"\xff\x52")
    data[at + 6 : at + 8] = struct.pack(">H", count)
    return bytes(data)


def tiff(entries: list[tuple[int, int, int, int]], tail: bytes = b"", following: int = 0) -> bytes:
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *one) for one in entries)
    return struct.pack("<2sHI", b"II", 42, 8) + body + struct.pack("<I", following) + tail


def plain_tags(
    width: int, height: int, compression: int, offset: int, size: int
) -> list[tuple[int, int, int, int]]:
    return [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, 8),
        (259, 3, 1, compression),
        (262, 3, 1, 1),
        (273, 4, 1, offset),
        (277, 3, 1, 1),
        (278, 4, 1, height),
        (279, 4, 1, size),
    ]


def tiff_bomb(mib: int) -> bytes:
    """One strip that unpacks to far more than its image."""
    packed = zeros(mib)
    return tiff(plain_tags(64, 48, 8, 8 + 2 + 9 * 12 + 4, len(packed)), packed)


def tiff_of_strips(count: int) -> bytes:
    """A strip for each row, and far more of them than rows."""
    tags = plain_tags(64, 48, 1, 0, 0)
    start = 8 + 2 + 9 * 12 + 4
    tags[5] = (273, 4, count, start)
    tags[7] = (278, 4, 1, 1)
    tags[8] = (279, 4, count, start)
    return tiff(tags, struct.pack("<I", 8) * count)


def png(
    *more: bytes, idat: bytes | None = None, width: int = 64, height: int = 48, interlaced: int = 0
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, interlaced)
    rows = zlib.compress(b"".join(b"\0" + bytes(row) for row in RAMP)) if idat is None else idat
    parts = [png_chunk(b"IHDR", header), *more, png_chunk(b"IDAT", rows), png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def jpeg_with(segment: bytes, count: int) -> bytes:
    data = stream("JPEG")
    return data[:2] + segment * count + data[2:]


def jpeg_of_size(height: int, width: int) -> bytes:
    data = bytearray(stream("JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def restarts(count: int) -> bytes:
    data = stream("JPEG")
    at = data.rindex(b"\xff\xda")
    return data[:at] + b"\xff\xdd\x00\x04\x00\x01" + data[at:-2] + b"\xff\xd0\xff\xd1" * count + b"\xff\xd9"


def bmp4(runs: bytes) -> bytes:
    """RLE of 4 bits."""
    header = struct.pack("<IiiHHIIiiII", 40, 64, 48, 1, 4, 2, len(runs), 0, 0, 16, 0)
    palette = b"".join(bytes((n, n, n, 0)) for n in range(0, 256, 16))
    start = 14 + len(header) + len(palette)
    return struct.pack("<2sIHHI", b"BM", start + len(runs), 0, 0, start) + header + palette + runs


def with_element(tag: int, vr: bytes, value: bytes) -> bytes:
    """A healthy file in which one element before the pixels is large."""
    data = dicom(RAMP)
    at = data.index(b"\xe0\x7f\x10\x00")
    return data[:at] + element(tag, vr, value) + data[at:]


def tables(count: int) -> bytes:
    """VOI lookup tables, each of 65,536 entries."""
    one = element(0x00283002, b"US", struct.pack("<HHH", 0, 0, 16)) + element(
        0x00283006, b"OW", bytes(131072)
    )
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(one)) + one
    return with_element(0x00283010, b"SQ", item * count)


def rle(segments: int, size: int) -> bytes:
    head = struct.pack("<16I", segments, *[64] * 15)
    return dicom(RAMP, uid.RLELossless, PixelData=encapsulate([head + b"\x81\x00" * size]))


def one_in_fragments(count: int) -> bytes:
    data = codestream()
    pieces = [data[n : n + 2] for n in range(0, len(data), 2)] + [b"\0\0"] * count
    body = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(one)) + one for one in pieces)
    data = boxed(b"x" * 8)
    return data[: data.rindex(b"\xfe\xff\x00\xe0")] + body + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def deflated(mib: int) -> bytes:
    return raw(syntax=uid.DeflatedExplicitVRLittleEndian) + zeros(mib, -15)


def icc_bomb() -> bytes:
    return png(png_chunk(b"iCCP", b"x\0\0" + zeros(400)))


def lossless_of_size(side: int) -> bytes:
    """JPEG lossless that says it is larger than the DICOM file does."""
    data = bytearray(dicom(np.tile(RAMP.astype(np.uint16), (1, 1)), uid.JPEGLosslessSV1))
    at = data.index(b"\xff\xc3")
    data[at + 5 : at + 9] = struct.pack(">HH", side, side)
    return bytes(data)


MORE: dict[str, Callable[[], bytes]] = {
    "JPEG 2000, 500,000 comments": lambda: boxed(j2k_with(0xFF64, b"\0\1", 500_000)),
    "JPEG 2000, 200,000 parts of a tile": lambda: boxed(tile_parts(200_000)),
    "JPEG 2000, 65,535 layers": lambda: boxed(layers(65535)),
    "TIFF, a directory that follows itself": lambda: tiff(
        plain_tags(64, 48, 1, 8, 3072), bytes(4096), following=8
    ),
    "TIFF, 65,535 entries": lambda: tiff([(256, 4, 1, 64)] * 65535),
    "TIFF, a strip that unpacks to 1 GB": lambda: tiff_bomb(1024),
    "TIFF, a million strips": lambda: tiff_of_strips(1_000_000),
    "JPEG, 100,000 Huffman tables": lambda: jpeg_with(b"\xff\xc4\x00\x14\x00\x01" + bytes(16), 100_000),
    "JPEG, 65,500 x 65,500": lambda: jpeg_of_size(65500, 65500),
    "JPEG, a million restarts": lambda: restarts(500_000),
    "PNG, data that unpack to 1 GB": lambda: png(idat=zeros(1024)),
    "PNG, a colour profile of 400 MB": icc_bomb,
    "PNG, text of 400 MB": lambda: png(png_chunk(b"zTXt", b"x\0\0" + zeros(400))),
    "PNG, 40,000 frames": lambda: png(
        png_chunk(b"acTL", struct.pack(">II", 40000, 0)),
        *[png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", n, 64, 48, 0, 0, 0, 0, 0, 0)) for n in range(40000)],
    ),
    "BMP of 4 bits, newlines": lambda: bmp4(b"\0\0" * 2_000_000),
    "BMP of 4 bits, jumps": lambda: bmp4(b"\0\2\xff\xff" * 1_000_000),
    "DICOM, 4 million window centres": lambda: with_element(0x00281050, b"UT", b"1\\" * 2_000_000),
    "DICOM, 40 tables": lambda: tables(40),
    "DICOM, RLE that unpacks without end": lambda: rle(1, 500_000),
    "DICOM, 45,000 fragments": lambda: one_in_fragments(45_000),
    "DICOM, deflated zeros of 2 GB": lambda: deflated(2048),
    "DICOM, JPEG lossless of 60,000 x 60,000": lambda: lossless_of_size(60_000),
}
"""Name -> the file; a few of them are healthy apart from what is too much, and are read."""
