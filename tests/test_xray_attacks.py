"""Small files that cost a decoder seconds or gigabytes: each is answered at once, in plain words."""

from __future__ import annotations

import io
import struct
import time
import zlib
from collections.abc import Callable

import numpy as np
import pydicom.uid as uid
import pytest
from pydicom.encaps import encapsulate

from lungsight.errors import InputError
from lungsight.xray import Limits, read_xray
from more_attacks import MORE
from xray_files import RAMP, dicom, element, encode, png_chunk, raw

MIB = 2**20


def j2k(components: int = 1, side: tuple[int, int] = (48, 64), tile: int = 2**31 - 1) -> bytes:
    """The header of a codestream that claims what it likes."""
    size = struct.pack(">HIIIIIIIIH", 0, side[1], side[0], 0, 0, tile, tile, 0, 0, components)
    size += b"\x07\x01\x01" * components
    return b"\xff\x4f\xff\x51" + struct.pack(">H", len(size) + 2) + size + b"\xff\xd9"


def in_dicom(stream: bytes, syntax: uid.UID = uid.JPEG2000Lossless) -> bytes:
    return dicom(RAMP, syntax, PixelData=encapsulate([stream]))


def fake_jp2() -> bytes:
    """A codestream of the size that the file says, before the real one of another size."""
    real = encode(np.zeros((400, 400), np.uint8), "JPEG2000")
    comment = struct.pack(">I4s", 8 + len(j2k()), b"free") + j2k()
    return real[:12] + comment + real[12:]


def tiff_of(directories: int) -> bytes:
    entry = struct.pack("<HHII", 256, 4, 1, 64)
    step = 2 + 12 + 4
    body = b"".join(
        struct.pack("<H", 1) + entry + struct.pack("<I", 8 + step * (n + 1) if n + 1 < directories else 0)
        for n in range(directories)
    )
    return struct.pack("<2sHI", b"II", 42, 8) + body


def progressive(scans: int) -> bytes:
    data = encode(RAMP, "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    scan = data[start:-2]
    return data[:start] + scan * scans + b"\xff\xd9"


def many_elements(count: int) -> bytes:
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = element(0x00080005, b"CS", b"") * count
    return raw(syntax=uid.DeflatedExplicitVRLittleEndian) + packed.compress(body) + packed.flush()


def meta_without_end(count: int) -> bytes:
    return bytes(128) + b"DICM" + element(0x00020010, b"UI", b"1.2.840.10008.1.2.1\0") * count


def commented(count: int, fill: int = 0) -> bytes:
    data = encode(RAMP, "JPEG")
    return data[:2] + b"\xff\xfe\x00\x02" * count + b"\xff" * fill + data[2:]


def chunks(count: int, kind: bytes) -> bytes:
    data = encode(RAMP)
    return data[:33] + png_chunk(kind, b"") * count + data[33:]


def bmp(runs: bytes) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, 64, 48, 1, 8, 1, len(runs), 0, 0, 256, 0)
    palette = b"".join(bytes((n, n, n, 0)) for n in range(256))
    start = 14 + len(header) + len(palette)
    return struct.pack("<2sIHHI", b"BM", start + len(runs), 0, 0, start) + header + palette + runs


def tiny_fragments(count: int) -> bytes:
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
    return in_dicom(b"x" * 8)[:-24] + item * count


def nested(count: int) -> bytes:
    opening = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    return raw(tail=opening * count)


def table_of_items(count: int) -> bytes:
    """A lookup table's sequence with very many items."""
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * count
    data = dicom(RAMP)
    at = data.index(b"\xe0\x7f\x10\x00")
    return data[:at] + element(0x00283010, b"SQ", items) + data[at:]


ATTACKS: dict[str, tuple[Callable[[], bytes], str]] = {
    "JPEG 2000, 20 components": (lambda: in_dicom(j2k(20)), "more components"),
    "JPEG 2000, 1000 components": (lambda: in_dicom(j2k(1000)), "more components"),
    "JPEG 2000, two sizes": (lambda: in_dicom(j2k()[:-2] + j2k(1, (20000, 20000))[2:]), "damaged"),
    "JPEG 2000, tiles of a pixel": (lambda: in_dicom(j2k(tile=1).replace(b"x", b"x")), "tiles|damaged"),
    "JP2, fake size": (lambda: in_dicom(fake_jp2()), "its compressed image 400 x 400"),
    "TIFF, 95,000 directories": (lambda: tiff_of(95_000), "more than 64 images"),
    "JPEG, 20,000 scans": (lambda: progressive(20_000), "scans"),
    "JPEG in DICOM, 20,000 scans": (lambda: in_dicom(progressive(20_000), uid.JPEGBaseline8Bit), "scans"),
    "DICOM, deflated, 6.6 million elements": (lambda: many_elements(6_600_000), "more than 50,000 elements"),
    "JPEG, a million comments": (lambda: commented(1_000_000), "marker segments"),
    "JPEG, a million fill bytes": (lambda: commented(0, 1_000_000), "fill bytes"),
    "PNG, half a million chunks": (lambda: chunks(500_000, b"tEXt"), "more chunks"),
    "PNG, half a million empty data": (lambda: chunks(500_000, b"IDAT"), "more chunks"),
    "BMP, newlines": (lambda: bmp(b"\0\0" * 2_000_000), "runs are longer"),
    "BMP, jumps": (lambda: bmp(b"\0\2\xff\xff" * 1_000_000), "runs are longer"),
    "BMP, long runs": (lambda: bmp(b"\xff\x01" * 1_000_000), "runs are longer"),
    "DICOM, endless group 2": (lambda: meta_without_end(200_000), "more than 50,000 elements"),
    "DICOM, fragments of nothing": (lambda: tiny_fragments(500_000), "more than 50,000 elements|no pixels"),
    "DICOM, sequences in sequences": (lambda: nested(200_000), "more than 50,000 elements"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_is_answered_at_once(attack: str) -> None:
    make, words = ATTACKS[attack]
    data = make()
    assert len(data) < 8 * MIB
    start = time.process_time()
    with pytest.raises(InputError, match=words) as caught:
        read_xray(data, name="attack")
    assert caught.value.code in ("too_large", "damaged", "several_images")
    assert time.process_time() - start < 5  # of this process; the other one would have said 'too_slow'


@pytest.mark.parametrize("attack", MORE)
def test_more_of_the_same_kinds(attack: str) -> None:
    """Read or refused, within a third of the time that a file has, and by a process that goes on."""
    data = MORE[attack]()
    assert len(data) < 8 * MIB
    try:
        read_xray(data, name="attack", limits=Limits(max_seconds=10))
    except InputError as error:
        assert error.code in ("too_large", "damaged", "several_images", "unsupported"), error
        assert "crashed" not in error.message


def test_many_items_of_a_table_cost_nothing() -> None:
    assert np.array_equal(read_xray(table_of_items(500_000)).pixels, RAMP)


def test_palette_of_31_megapixels_takes_little_memory() -> None:
    """1.9 GB before: the colours were looked up for each pixel, in 64 bits. Now the process may have 0.9 GB."""
    side = 5_600
    palette: dict[str, object] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name in ("Red", "Green", "Blue"):
        palette[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        palette[f"{name}PaletteColorLookupTableData"] = (np.arange(256) * 257).astype(np.uint16).tobytes()
    data = dicom(np.zeros((side, side), np.uint8), uid.DeflatedExplicitVRLittleEndian, **palette)
    assert len(data) < 127_000
    limits = Limits(max_pixels=side * side, max_bytes=64 * MIB)
    assert read_xray(data, limits=limits).shape == (side, side)


def test_honest_progressive_jpeg_and_runs_are_read() -> None:
    assert read_xray(encode(RAMP, "JPEG", progressive=True)).shape == RAMP.shape
    rows = b"".join(b"".join(bytes((1, level)) for level in row) + b"\0\0" for row in RAMP[::-1])
    assert np.array_equal(read_xray(bmp(rows + b"\0\1")).pixels, RAMP)
    buffer = io.BytesIO(encode(RAMP, "JPEG2000"))
    assert read_xray(in_dicom(buffer.getvalue())).shape == RAMP.shape
