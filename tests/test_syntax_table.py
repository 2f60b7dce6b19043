"""Transfer syntax x photometric interpretation x bits: each row a file that must give the same picture.

`docs/dicom.md` holds this table; the last test compares them.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydicom.uid as uid
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.encaps import encapsulate

from htj2k_streams import STREAMS
from lungsight.xray import read_xray
from xray_files import by_gdcm, close, dicom, encode

DOCS = Path(__file__).resolve().parents[1] / "docs" / "dicom.md"
NATIVE = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
)
LOSSLESS = (uid.RLELossless, uid.JPEGLossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEG2000Lossless)
LOSSY = (uid.JPEGLSNearLossless, uid.JPEG2000)
HTJ2K = (uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)
BITS = ("8", "8 in 16", "10 in 16", "12 in 16", "14 in 16", "16", "16 signed", "12 in 16 signed")
HIGH = ("12 in 16, high bit 13", "12 in 16, high bit 15")
DECODERS = {
    **dict.fromkeys(NATIVE, "own"),
    uid.RLELossless: "pydicom",
    uid.JPEGBaseline8Bit: "Pillow",
    uid.JPEGExtended12Bit: "Pillow (8 bits), GDCM (12 bits)",
    **dict.fromkeys(
        (uid.JPEGLossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEGLSNearLossless), "GDCM"
    ),
    **dict.fromkeys((uid.JPEG2000Lossless, uid.JPEG2000, *HTJ2K), "OpenJPEG"),
}
NAMES = {
    uid.ImplicitVRLittleEndian: "implicit little endian",
    uid.ExplicitVRLittleEndian: "explicit little endian",
    uid.ExplicitVRBigEndian: "explicit big endian",
    uid.DeflatedExplicitVRLittleEndian: "deflated",
    uid.RLELossless: "RLE lossless",
    uid.JPEGBaseline8Bit: "JPEG baseline",
    uid.JPEGExtended12Bit: "JPEG extended (process 2 and 4)",
    uid.JPEGLossless: "JPEG lossless (process 14)",
    uid.JPEGLosslessSV1: "JPEG lossless, first-order",
    uid.JPEGLSLossless: "JPEG-LS lossless",
    uid.JPEGLSNearLossless: "JPEG-LS near-lossless",
    uid.JPEG2000Lossless: "JPEG 2000 lossless",
    uid.JPEG2000: "JPEG 2000 lossy",
    uid.HTJ2KLossless: "HTJ2K lossless",
    uid.HTJ2KLosslessRPCL: "HTJ2K lossless, RPCL",
    uid.HTJ2K: "HTJ2K lossy",
}


class Row(NamedTuple):
    """One combination."""

    syntax: uid.UID
    photometric: str
    bits: str

    def __str__(self) -> str:
        return f"{self.syntax.keyword} {self.photometric} {self.bits}"


ROWS = [
    *(
        Row(syntax, photometric, bits)
        for syntax in (*NATIVE, *LOSSLESS)
        for photometric in ("MONOCHROME2", "MONOCHROME1")
        for bits in BITS
        # pydicom's encoder makes half an image of 8 bits in 16.
        if (syntax, bits) != (uid.RLELossless, "8 in 16")
    ),
    *(Row(syntax, "MONOCHROME2", bits) for syntax in (*NATIVE, uid.RLELossless) for bits in HIGH),
    *(Row(syntax, "RGB", "8") for syntax in (*NATIVE, *LOSSLESS, *LOSSY)),
    *(Row(syntax, "RGB, by plane", "8") for syntax in NATIVE),
    *(Row(syntax, "RGB", "16") for syntax in NATIVE),
    *(Row(syntax, photometric, "8") for syntax in NATIVE for photometric in ("YBR_FULL", "YBR_FULL_422")),
    Row(uid.RLELossless, "YBR_FULL", "8"),
    *(
        Row(syntax, "PALETTE COLOR", bits)
        for syntax in (*NATIVE, uid.RLELossless)
        for bits in ("8, table of 8", "8, table of 16", "16, table of 16")
    ),
    *(
        Row(uid.JPEGBaseline8Bit, photometric, "8")
        for photometric in ("MONOCHROME1", "MONOCHROME2", "YBR_FULL_422")
    ),
    *(Row(uid.JPEGBaseline8Bit, photometric, "8") for photometric in ("RGB", "RGB that holds YCbCr")),
    *(
        Row(uid.JPEGExtended12Bit, photometric, bits)
        for photometric in ("MONOCHROME1", "MONOCHROME2")
        for bits in ("8", "12 in 16")
    ),
    *(
        Row(syntax, photometric, bits)
        for syntax in LOSSY
        for photometric in ("MONOCHROME1", "MONOCHROME2")
        for bits in ("8", "12 in 16", "16")
    ),
    Row(uid.JPEG2000Lossless, "YBR_RCT", "8"),
    Row(uid.JPEG2000, "YBR_ICT", "8"),
    *(
        Row(syntax, photometric, bits)
        for syntax in HTJ2K
        for photometric, bits, reversible in STREAMS
        if reversible == (syntax != uid.HTJ2K)
    ),
]
UNIT = np.tile(np.linspace(0, 1, 64), (48, 1))


def stored(bits: str) -> tuple[NDArray[Any], dict[str, int]]:
    """The ramp in so many bits, and what the header says of them."""
    size = int(bits.split()[0].strip(","))
    kind = np.uint8 if bits == "8" else np.uint16
    values = np.rint(UNIT * (2**size - 1)).astype(kind)
    high = int(bits.rpartition(" ")[2]) if "high bit" in bits else size - 1
    values = values << kind(high - size + 1)
    if "signed" in bits:
        values = (values.astype(np.int32) - 2 ** (size - 1)).astype(np.int16)
    return values, {"BitsStored": size, "HighBit": high}


def palette(syntax: uid.UID, bits: str) -> bytes:
    """Values run backwards through a table that runs backwards."""
    wide, deep = bits.startswith("16"), bits.endswith("16")
    table = np.arange(256)[::-1] * (257 if deep else 1)
    order = "<" if syntax.is_little_endian else ">"
    elements: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name in ("Red", "Green", "Blue"):
        elements[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16 if deep else 8]
        elements[f"{name}PaletteColorLookupTableData"] = table.astype(f"{order}u2").tobytes()
    values = (255 - np.rint(UNIT * 255)).astype(np.uint16 if wide else np.uint8)
    return dicom(values, syntax, BitsStored=16 if wide else 8, HighBit=15 if wide else 7, **elements)


def colour(row: Row) -> bytes:
    """Three samples, all of them grey."""
    grey = np.rint(UNIT * 255).astype(np.uint8)
    middle = np.full_like(grey, 128)
    if row.bits == "16":
        wide = np.rint(UNIT * 65535).astype(np.uint16)
        return dicom(np.dstack([wide] * 3), row.syntax, BitsStored=16, HighBit=15)
    rgb = np.dstack([grey] * 3)
    if row.photometric == "RGB, by plane":
        return dicom(rgb, row.syntax, PlanarConfiguration=1, PixelData=rgb.transpose(2, 0, 1).tobytes())
    if row.photometric == "YBR_FULL":
        ybr = np.dstack([grey, middle, middle])
        return dicom(ybr, row.syntax, PhotometricInterpretation="YBR_FULL")
    if row.photometric == "YBR_FULL_422":
        packed = np.concatenate([grey.reshape(48, 32, 2), np.full((48, 32, 2), 128, np.uint8)], axis=2)
        return dicom(rgb, row.syntax, PhotometricInterpretation="YBR_FULL_422", PixelData=packed.tobytes())
    return dicom(rgb, row.syntax)


def jpeg(row: Row) -> bytes:
    grey, _ = stored("8")
    image = Image.fromarray(grey)
    if row.bits == "12 in 16":
        return by_gdcm(grey_file(row, uid.ExplicitVRLittleEndian), "JPEGExtendedProcess2_4")
    if row.photometric.startswith("MONOCHROME"):
        stream = encode(image, "JPEG", quality=95)
        return dicom(
            grey, row.syntax, PhotometricInterpretation=row.photometric, PixelData=encapsulate([stream])
        )
    rgb = np.dstack([grey] * 3)
    if row.photometric == "RGB that holds YCbCr":
        return by_gdcm(dicom(rgb), "JPEGBaselineProcess1")
    options = {"keep_rgb": True} if row.photometric == "RGB" else {}
    stream = encode(image.convert("RGB"), "JPEG", quality=95, **options)
    return dicom(rgb, row.syntax, PhotometricInterpretation=row.photometric, PixelData=encapsulate([stream]))


def jpeg2000(row: Row) -> bytes:
    if row.photometric in ("RGB", "YBR_RCT", "YBR_ICT"):
        grey, _ = stored("8")
        stream = encode(
            Image.fromarray(grey).convert("RGB"),
            "JPEG2000",
            no_jp2=True,
            irreversible=row.syntax == uid.JPEG2000,
            mct=int(row.photometric != "RGB"),
        )
        given = {"PhotometricInterpretation": row.photometric, "PixelData": encapsulate([stream])}
        return dicom(np.dstack([grey] * 3), row.syntax, **given)
    values, header = stored(row.bits)
    if row.bits == "12 in 16":
        return by_gdcm(grey_file(row, uid.ExplicitVRLittleEndian), "JPEG2000")
    stream = encode(Image.fromarray(values), "JPEG2000", no_jp2=True, irreversible=True)
    return dicom(
        values,
        row.syntax,
        PhotometricInterpretation=row.photometric,
        PixelData=encapsulate([stream]),
        **header,
    )


def htj2k(row: Row) -> bytes:
    values, header = stored(row.bits)
    values = values if row.photometric.startswith("MONOCHROME") else np.dstack([values] * 3)
    stream = base64.b64decode(STREAMS[row.photometric, row.bits, row.syntax != uid.HTJ2K])
    given = {"PhotometricInterpretation": row.photometric, "PixelData": encapsulate([stream])}
    return dicom(values, row.syntax, **given, **header)


def grey_file(row: Row, syntax: uid.UID | None = None) -> bytes:
    values, header = stored(row.bits)
    return dicom(values, syntax or row.syntax, PhotometricInterpretation=row.photometric, **header)


def make(row: Row) -> bytes:
    """The file of a row."""
    if row.photometric == "PALETTE COLOR":
        return palette(row.syntax, row.bits)
    if row.syntax in (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit):
        return jpeg(row)
    if row.syntax in HTJ2K:
        return htj2k(row)
    if row.syntax == uid.JPEG2000 or row.photometric == "YBR_RCT":
        return jpeg2000(row)
    writer: Callable[[Row], bytes] = grey_file if row.photometric.startswith("MONOCHROME") else colour
    return writer(row)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_every_row_gives_the_same_picture(row: Row) -> None:
    xray = read_xray(make(row))
    assert xray.format == "DICOM"
    if row.photometric.startswith("MONOCHROME"):
        assert xray.bits == int(row.bits.split()[0].strip(","))
    wanted = 1 - UNIT if row.photometric == "MONOCHROME1" else UNIT
    assert close(xray.pixels, wanted, 0.02)


def table() -> list[str]:
    """The rows as docs/dicom.md has them: syntaxes by photometric interpretations that share their bits."""
    lines = []
    for syntax, name in NAMES.items():
        by_bits: dict[tuple[str, ...], list[str]] = {}
        for photometric in dict.fromkeys(row.photometric for row in ROWS if row.syntax == syntax):
            found = tuple(row.bits for row in ROWS if (row.syntax, row.photometric) == (syntax, photometric))
            by_bits.setdefault(found, []).append(photometric)
        lines += [
            f"| {name} | {', '.join(photometric)} | {'; '.join(bits)} | {DECODERS[syntax]} |"
            for bits, photometric in by_bits.items()
        ]
    return lines


def test_the_table_of_the_docs_is_the_table_that_is_tested() -> None:
    text = DOCS.read_text("utf-8").splitlines()
    start = text.index("| transfer syntax | photometric interpretation | bits | decoder |") + 2
    stop = next(at for at in range(start, len(text)) if not text[at].startswith("|"))
    assert text[start:stop] == table()
