"""Files that are odd and legal: each is read as it is meant, or refused as not supported, never as something else."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import pydicom.uid as uid
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from lungsight.errors import InputError
from lungsight.xray import read_xray
from xray_files import RAMP12, UNIT, close, dicom, png_chunk

RAMP16 = np.rint(UNIT * 65535).astype(np.uint16)
GREY = np.rint(UNIT * 255).astype(np.uint8)
MONOCHROME1 = {"PhotometricInterpretation": "MONOCHROME1"}
WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.RLELossless])
@pytest.mark.parametrize("high", [11, 13, 15])
def test_stored_bits_of_colours_may_lie_at_the_top(syntax: uid.UID, high: int) -> None:
    """They came out scrambled: only grey values were shifted."""
    rgb = np.dstack([RAMP12 << (high - 11)] * 3)
    assert close(read_xray(dicom(rgb, syntax, BitsStored=12, HighBit=high)).pixels, UNIT)


def palette(entries: np.ndarray, bits: int) -> bytes:
    """Grey values through a table."""
    given: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name in ("Red", "Green", "Blue"):
        given[f"{name}PaletteColorLookupTableDescriptor"] = [len(entries), 0, bits]
        given[f"{name}PaletteColorLookupTableData"] = entries.astype("<u2").tobytes()
    return dicom(GREY, **given)


@pytest.mark.parametrize(
    ("factor", "bits"),
    [(257, 16), (1, 8), (1, 16), (256, 8), (257, 8)],
    ids=["16", "8", "8, called 16", "8, in the upper byte", "8, in both bytes"],
)
def test_palettes_of_words(factor: int, bits: int) -> None:
    """The third was black, the fourth and fifth scrambled."""
    assert close(read_xray(palette(np.arange(256) * factor, bits)).pixels, UNIT)


def test_a_segmented_palette_is_not_supported() -> None:
    given: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name in ("Red", "Green", "Blue"):
        given[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        given[f"Segmented{name}PaletteColorLookupTableData"] = struct.pack("<6H", 0, 1, 0, 1, 255, 65535)
    with pytest.raises(InputError, match="not supported: segmented palettes") as caught:
        read_xray(dicom(GREY, **given))
    assert caught.value.code == "unsupported"


def test_a_voi_table_of_values_that_rescaling_makes_negative() -> None:
    """Stored without a sign its first value was read without one, and the table not used."""
    item = Dataset()
    item.add_new(0x00283002, "SS", [4096, -2048, 16])
    item.add_new(0x00283006, "OW", (np.arange(4096) ** 2 // 256).astype(np.uint16).tobytes())
    data = dicom(RescaleIntercept=-2048, RescaleSlope=1, VOILUTSequence=[item])
    assert close(read_xray(data).pixels, UNIT**2, 0.01)


SHOWN = [
    ({**MONOCHROME1, "PresentationLUTShape": "INVERSE"}, 1 - UNIT),  # one inversion, said twice
    ({"RescaleSlope": -1, "RescaleIntercept": 4095, **WINDOW}, 1 - UNIT),
    ({"RescaleSlope": -1, "RescaleIntercept": 4095, **WINDOW, **MONOCHROME1}, UNIT),
    ({"WindowCenter": [2048, 500], "WindowWidth": [4096, 100]}, UNIT),
    ({"WindowCenter": "2.048E+3", "WindowWidth": " +4096 "}, UNIT),
    ({"WindowCenter": 2048, "WindowWidth": 1}, UNIT),
    ({"WindowCenter": 2048, "WindowWidth": -4096}, UNIT),
]


@pytest.mark.parametrize(("elements", "expected"), SHOWN, ids=range(len(SHOWN)))
def test_how_grey_values_are_meant(elements: dict[str, Any], expected: np.ndarray) -> None:
    assert close(read_xray(dicom(**elements)).pixels, expected)


@pytest.mark.parametrize(("stored", "high"), [(32, 31), (20, 19), (20, 31)])
def test_thirty_two_bits(stored: int, high: int) -> None:
    values = np.rint(UNIT * (2**stored - 1)).astype(np.uint32) << np.uint32(high + 1 - stored)
    assert close(read_xray(dicom(values, BitsStored=stored, HighBit=high)).pixels, UNIT)


# Pictures


def tiff_head(**tags: int) -> bytes:
    """The directory of a TIFF of 64 x 48, and room for its pixels."""
    entries = {256: 64, 257: 48, 258: 16, 259: 1, 262: 1, 273: 400, 277: 1, 278: 48, 279: 24000}
    entries |= {int(tag[1:]): value for tag, value in tags.items()}
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries.items()))
    return (struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + body + bytes(4)).ljust(400, b"\0") + bytes(
        24000
    )


@pytest.mark.parametrize(
    ("tags", "what"),
    [
        ({"t262": 2, "t277": 3, "t284": 2}, "16-bit colours by plane"),  # came out scrambled
        ({"t277": 2, "t338": 2}, "16-bit grey with transparency"),
        ({"t259": 34712}, "this compression of a TIFF"),  # JPEG 2000
        ({"t259": 50001, "t258": 8, "t262": 2, "t277": 3}, "this compression of a TIFF"),  # WebP
        ({"t259": 50000, "t262": 2, "t277": 3}, "this compression of a TIFF"),  # Zstandard of 16-bit colours
    ],
    ids=str,
)
def test_a_healthy_tiff_is_not_called_damaged(tags: dict[str, int], what: str) -> None:
    with pytest.raises(InputError, match=f"not supported: .*{what}") as caught:
        read_xray(tiff_head(**tags))
    assert caught.value.code == "unsupported"


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_png_of_16_bit_colours_is_turned_too(turn: int) -> None:
    # Brighter below, so that up and down differ.
    slope = np.linspace(0.5, 1, 48)[:, None]
    values = np.rint(UNIT * slope * 65535).astype(np.uint16)
    rows = b"".join(b"\0" + np.repeat(row[:, None], 3, 1).astype(">u2").tobytes() for row in values)
    exif = Image.Exif()
    exif[274] = turn
    parts = (
        png_chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 48, 16, 2, 0, 0, 0)),
        png_chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")),
        png_chunk(b"IDAT", zlib.compress(rows)),
        png_chunk(b"IEND", b""),
    )
    plain = UNIT * slope
    wanted = {
        1: plain,
        2: plain[:, ::-1],
        3: plain[::-1, ::-1],
        4: plain[::-1],
        5: plain.T,
        6: np.rot90(plain, -1),
        7: plain[::-1, ::-1].T,
        8: np.rot90(plain),
    }[turn]
    low, high = np.percentile(wanted, (0.5, 99.5))
    found = read_xray(b"\x89PNG\r\n\x1a\n" + b"".join(parts)).pixels
    assert close(found, np.clip((wanted - low) / (high - low), 0, 1), 0.01)


def test_interlaced_16_bits_and_their_notes() -> None:
    """Adam7 of 16 grey bits, of which a note (sBIT) says that 12 count."""
    rows = b""
    for top, left, down, right in (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ):
        for row in RAMP16[top::down, left::right]:
            rows += b"\0" + row.astype(">u2").tobytes()
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            png_chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 48, 16, 0, 0, 0, 1)),
            png_chunk(b"sBIT", b"\x0c"),
            png_chunk(b"IDAT", zlib.compress(rows)),
            png_chunk(b"IEND", b""),
        )
    )
    assert close(read_xray(data).pixels, UNIT)
