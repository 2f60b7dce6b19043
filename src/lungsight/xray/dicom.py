"""DICOM files (CR, DX, secondary capture ...) -> grey pixels.

Only the elements named in `WANTED` are taken from a file; nothing about the patient is ever held.
"""

from __future__ import annotations

import io
import math
import re
import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import generate_frames
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import data_element_generator, read_dataset
from pydicom.pixels import apply_color_lut, get_decoder, pixel_array
from pydicom.pixels.utils import get_expected_length
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from lungsight.errors import InputError
from lungsight.xray.base import Limits, XRay, luma
from lungsight.xray.display import display

WANTED = (
    "SOPClassUID",
    "Modality",
    "ViewPosition",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "NominalScannedPixelSpacing",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "VOILUTSequence",
    "RescaleIntercept",
    "RescaleSlope",
    "ModalityLUTSequence",
    "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData",
    "PixelData",
    "FloatPixelData",
    "DoubleFloatPixelData",
)

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")

RADIOGRAPHS = {"", "CR", "DX", "DR", "RG", "RF", "OT", "SC"}
"""Modalities under which chest X-rays are found."""

DECODERS = {
    JPEGBaseline8Bit: "pillow",
    JPEG2000: "pylibjpeg",
    JPEG2000Lossless: "pylibjpeg",
    RLELossless: "pydicom",
}
"""Not left to pydicom's choice: on a damaged stream the others fill up without a word, or crash."""

PARSE_ERRORS = (
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    EOFError,
    NotImplementedError,
    OverflowError,
    MemoryError,
    RuntimeError,  # pydicom's word for a decoder that gave up; RecursionError is one too
    struct.error,
    zlib.error,
    BytesLengthException,
    InvalidDicomError,
)
"""What pydicom and its decoders raise on damaged data."""


def read_dicom(data: bytes, name: str, limits: Limits, *, sure: bool) -> XRay:
    """Decode a single-frame DICOM image, with or without preamble, in any transfer syntax that is installed.

    Grey values are made ready for display by `display`; colour becomes luma. Source: DICOM PS3.3 C.7.6.3.

    Args:
        data: the file.
        name: what messages call it.
        limits: how large it may be.
        sure: the DICM mark is there; otherwise it may be another kind of file after all.

    Raises:
        InputError: damaged, no pixels, several frames, too large, or a transfer syntax that is not installed.
    """
    try:
        dataset = _parse(data, name, limits)
        known = "SOPClassUID" in dataset or any(word in dataset for word in PIXELS)
    except PARSE_ERRORS as error:
        if sure:
            raise _damaged(error, name) from error
        known = False
    if not known and not sure:
        raise InputError(
            "not an image that can be read: the file is of no known kind",
            where=name,
            hint="PNG, JPEG, BMP, TIFF and DICOM are read",
        )
    try:
        _check(dataset, name, limits)
        return _decode(dataset, name)
    except PARSE_ERRORS as error:
        raise _damaged(error, name) from error


def _parse(data: bytes, name: str, limits: Limits) -> Dataset:
    """The wanted elements, with a transfer syntax in any case."""
    wanted: list[BaseTag | int] = [Tag(word) for word in WANTED]
    start = 132 if data[128:132] == b"DICM" else 0
    syntax, end = _transfer_syntax(data, start)
    if syntax == DeflatedExplicitVRLittleEndian:
        plain = _inflate(memoryview(data)[end:], name, limits)
        dataset: Dataset = read_dataset(io.BytesIO(plain), False, True, specific_tags=wanted)
        syntax = str(ExplicitVRLittleEndian)
    else:
        dataset = dcmread(io.BytesIO(data), force=True, specific_tags=wanted)
        if not syntax:
            implicit, little = dataset.original_encoding
            explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
            syntax = str(ImplicitVRLittleEndian if implicit else explicit)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def _transfer_syntax(data: bytes, start: int) -> tuple[str, int]:
    """(transfer syntax UID or '', where the data set begins), from the always explicit file meta group."""
    file = io.BytesIO(data)
    file.seek(start)
    syntax = ""
    for element in data_element_generator(
        file, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2
    ):
        if element.tag == 0x00020010 and isinstance(element.value, bytes):
            syntax = element.value.rstrip(b"\0 ").decode("ascii", "replace")
    return syntax, file.tell()


def _inflate(packed: memoryview, name: str, limits: Limits) -> bytes:
    """Unpack a deflated data set; pydicom's own way has no bound."""
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = unpacker.decompress(packed, limits.max_bytes + 1)
    if len(plain) > limits.max_bytes:
        raise InputError(
            f"the deflated DICOM unpacks to more than {limits.max_bytes / 2**20:,.0f} MiB", where=name
        )
    if not unpacker.eof:
        raise InputError("the DICOM file is cut short: its deflated data end too early", where=name)
    return plain


def _check(dataset: Dataset, name: str, limits: Limits) -> None:
    """Everything that can be told before decoding: pixels, frames, size, length."""
    keyword = next((word for word in PIXELS if word in dataset), None)
    if keyword is None or not dataset[keyword].value:
        kind = UID(str(dataset.get("SOPClassUID") or "")).name
        raise InputError(
            f"the DICOM file has no pixels, or ends before them{f' ({kind})' if kind else ''}", where=name
        )
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise InputError(
            f"the DICOM file holds {frames} frames; one X-ray a file is read",
            where=name,
            hint="Save the X-ray as a file of its own",
        )
    if not dataset.get("Rows") or not dataset.get("Columns"):
        raise InputError("the DICOM file does not say how large its image is (Rows, Columns)", where=name)
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    limits.check_size(rows, columns, name)
    _fill_in(dataset)
    syntax = dataset.file_meta.TransferSyntaxUID
    if keyword == "PixelData" and syntax.is_private is False and syntax.is_compressed:
        _check_stream(dataset, rows, columns, name)
    else:
        _check_length(dataset, keyword, name)


def _fill_in(dataset: Dataset) -> None:
    """What old files leave out and decoders ask for."""
    dataset.setdefault("SamplesPerPixel", 1)
    dataset.setdefault("PhotometricInterpretation", "RGB" if dataset.SamplesPerPixel == 3 else "MONOCHROME2")
    dataset.setdefault("BitsAllocated", 16)
    dataset.setdefault("BitsStored", dataset.BitsAllocated)
    dataset.setdefault("HighBit", dataset.BitsStored - 1)
    dataset.setdefault("PixelRepresentation", 0)
    if dataset.SamplesPerPixel > 1:
        dataset.setdefault("PlanarConfiguration", 0)
    if "NumberOfFrames" in dataset:
        dataset.NumberOfFrames = 1


def _check_length(dataset: Dataset, keyword: str, name: str) -> None:
    expected, actual = get_expected_length(dataset), len(dataset[keyword].value)
    if actual not in (expected, expected + 1):  # an odd length is padded by one byte
        verb = "is cut short" if actual < expected else "contradicts itself"
        raise InputError(
            f"the DICOM file {verb}: {dataset.Columns} x {dataset.Rows} pixels need {expected:,} bytes, "
            f"it holds {actual:,}",
            where=name,
        )


def _check_stream(dataset: Dataset, rows: int, columns: int, name: str) -> None:
    """The compressed stream must be as large as the file says, as a decoder believes the stream."""
    stream = next(generate_frames(dataset.PixelData, number_of_frames=1))
    if dataset.file_meta.TransferSyntaxUID == RLELossless:
        if _rle_length(stream) > 2 * get_expected_length(dataset):
            raise InputError(
                "the DICOM file contradicts itself: its RLE data are longer than its image", where=name
            )
        return
    if (
        stream[:2] == b"\xff\xd8" and b"\xff\xd9" not in stream[-64:]
    ):  # without its end mark; GDCM would not tell
        raise InputError("the DICOM file is damaged: its compressed image is cut short", where=name)
    size = stream_size(stream)
    if size is not None and size != (rows, columns):
        raise InputError(
            f"the DICOM file contradicts itself: it says {columns} x {rows} pixels, "
            f"its compressed image {size[1]} x {size[0]}",
            where=name,
        )


def _rle_length(stream: bytes) -> int:
    """Bytes that an RLE frame unpacks to (DICOM PS3.5 annex G), found without unpacking it."""
    count, *offsets = struct.unpack_from("<16L", stream)
    ends = [*offsets[1:count], len(stream)]
    total = 0
    for at, end in zip(offsets[:count], ends, strict=False):
        while at < min(end, len(stream)):
            head = stream[at]
            total += head + 1 if head < 128 else 257 - head
            at += head + 2 if head < 128 else 2
    return total


def stream_size(stream: bytes) -> tuple[int, int] | None:
    """(rows, columns) in the header of a JPEG, JPEG-LS or JPEG 2000 stream; None where there is none."""
    start = stream.find(b"\xff\x4f\xff\x51", 0, 4096)
    if start >= 0:  # JPEG 2000, ISO/IEC 15444-1 A.5.1
        right, bottom, left, top = struct.unpack_from(">4I", stream, start + 8)
        return bottom - top, right - left
    at = 2
    while stream[:2] == b"\xff\xd8" and at + 9 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            rows, columns = struct.unpack_from(">HH", stream, at + 5)
            return rows, columns
        else:
            at += 2 + int(struct.unpack_from(">H", stream, at + 2)[0])
    return None


def _decode(dataset: Dataset, name: str) -> XRay:
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        raise InputError(
            f"the DICOM file is compressed in a way that is not read ({syntax.name})",
            where=name,
            hint="Save it uncompressed, for example with: gdcmconv --raw IN OUT",
        )
    values = pixel_array(dataset, decoding_plugin=DECODERS.get(syntax, ""))
    kind = str(dataset.PhotometricInterpretation)
    notes: tuple[str, ...] = ()
    modality = str(dataset.get("Modality") or "")
    if modality not in RADIOGRAPHS:
        notes += (f"DICOM modality {modality[:16]}, not a radiograph",)
    if kind == "PALETTE COLOR":
        values = apply_color_lut(values, dataset)
    if values.ndim == 3:
        pixels, more = luma(_eight_bits(values, dataset))
        return XRay(pixels, name, "DICOM", 8, _spacing(dataset), _view(dataset), notes + more)
    shown, more = display(values, dataset)
    return XRay(
        shown, name, "DICOM", int(dataset.BitsStored), _spacing(dataset), _view(dataset), notes + more
    )


def _eight_bits(colour: NDArray[np.generic], dataset: Dataset) -> NDArray[np.uint8]:
    if colour.dtype == np.uint8:
        return np.ascontiguousarray(colour, np.uint8)
    bits = 16 if dataset.PhotometricInterpretation == "PALETTE COLOR" else int(dataset.BitsStored)
    shifted: NDArray[np.int64] = colour.astype(np.int64) >> max(bits - 8, 0)
    return np.clip(shifted, 0, 255).astype(np.uint8)


def _spacing(dataset: Dataset) -> tuple[float, float] | None:
    """Size of a pixel (row, column) in mm; at the detector where the file does not say it for the patient."""
    for word in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        try:
            row, column = (float(value) for value in dataset.get(word) or ())
        except (ValueError, TypeError):
            continue
        if 0 < row < math.inf and 0 < column < math.inf:
            return row, column
    return None


def _view(dataset: Dataset) -> str:
    view = str(dataset.get("ViewPosition") or "").strip().upper()
    return view if re.fullmatch(r"[A-Z]{1,4}", view) else ""


def _damaged(error: Exception, name: str) -> InputError:
    reason = str(error).split("\n")[0][:120].rstrip(".") or type(error).__name__
    return InputError(f"the DICOM file is damaged ({reason})", where=name)
