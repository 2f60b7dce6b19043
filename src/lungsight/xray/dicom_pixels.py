"""The stored values of a DICOM image, uncompressed or compressed (PS3.5 section 8)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsight.errors import InputError
from lungsight.xray.dicom_elements import DOUBLE_PIXEL_DATA, FLOAT_PIXEL_DATA, Elements
from lungsight.xray.display import palette_grey
from lungsight.xray.streams import Stream, codestream, read_jpeg, read_jpeg2000

_JPEG = "1.2.840.10008.1.2.4."
RLE = "1.2.840.10008.1.2.5"
DECODERS: dict[str, str] = {
    _JPEG + "50": "pillow",
    _JPEG + "51": "pillow",
    _JPEG + "57": "gdcm",
    _JPEG + "70": "gdcm",
    _JPEG + "80": "gdcm",
    _JPEG + "81": "gdcm",
    _JPEG + "90": "pylibjpeg",
    _JPEG + "91": "pylibjpeg",
    _JPEG + "201": "pylibjpeg",
    _JPEG + "202": "pylibjpeg",
    _JPEG + "203": "pylibjpeg",
    RLE: "pydicom",
}
"""Not left to pydicom's choice: on a damaged stream the others fill up without a word, or crash."""
NAMES: dict[str, str] = {
    "1.2.840.10008.1.2.1.98": "encapsulated uncompressed",
    _JPEG + "52": "JPEG extended, process 3 and 5",
    _JPEG + "53": "JPEG spectral selection",
    _JPEG + "54": "JPEG spectral selection",
    _JPEG + "55": "JPEG progressive",
    _JPEG + "56": "JPEG progressive",
    _JPEG + "58": "JPEG lossless, process 15",
    _JPEG + "92": "JPEG 2000 multi-component",
    _JPEG + "93": "JPEG 2000 multi-component",
    _JPEG + "94": "JPIP (pixels on a server)",
    _JPEG + "95": "JPIP (pixels on a server)",
    _JPEG + "100": "MPEG-2 video",
    _JPEG + "101": "MPEG-2 video",
    _JPEG + "102": "MPEG-4 video",
    _JPEG + "103": "MPEG-4 video",
    _JPEG + "104": "MPEG-4 video",
    _JPEG + "105": "MPEG-4 video",
    _JPEG + "106": "MPEG-4 video",
    _JPEG + "107": "HEVC video",
    _JPEG + "108": "HEVC video",
    _JPEG + "110": "JPEG XL",
    _JPEG + "111": "JPEG XL",
    _JPEG + "112": "JPEG XL",
    _JPEG + "204": "JPIP (pixels on a server)",
    _JPEG + "205": "JPIP (pixels on a server)",
}
"""Transfer syntaxes that are not read, in words."""
NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")
PROCESSES: dict[str, tuple[int, ...]] = {
    _JPEG + "50": (0xC0, 0xC1, 0xC2),
    _JPEG + "51": (0xC0, 0xC1, 0xC2),
    _JPEG + "57": (0xC3,),
    _JPEG + "70": (0xC3,),
    _JPEG + "80": (0xF7,),
    _JPEG + "81": (0xF7,),
}
GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT")


@dataclass(frozen=True, slots=True)
class Image:
    """How the pixels of a file are stored."""

    syntax: str
    keyword: int
    rows: int
    columns: int
    samples: int
    photometric: str
    planar: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    little: bool


def decode_pixels(image: Image, elements: Elements) -> NDArray[Any]:
    """The values of an image.

    Returns:
        Grey: (H, W) of the stored bits, integers or floats; with a palette already looked up, as `uint8`.
        Colour: (H, W, 3) `uint8`.

    Raises:
        InputError: damaged, contradictory or not supported.
    """
    wanted = (*GREY, "PALETTE COLOR") if image.samples == 1 else COLOUR
    if image.photometric not in wanted:
        raise InputError("not supported: this photometric interpretation in DICOM", code="unsupported")
    if image.syntax in NATIVE and elements.fragments is None:
        values = _native(image, elements)
    elif image.syntax in DECODERS:
        values = _compressed(image, elements)
    else:
        what = NAMES.get(image.syntax, "a transfer syntax that is unknown or private")
        raise InputError(
            f"not supported: {what} in DICOM",
            code="unsupported",
            hint="Save it uncompressed, for example with: gdcmconv --raw IN OUT",
        )
    if image.photometric == "PALETTE COLOR":
        return palette_grey(values, elements, signed=image.signed)
    if values.ndim == 3 and values.dtype != np.uint8:
        # Eight bits are enough for luma; in place, as this is the largest array of all.
        return (values >> max(image.bits_stored - 8, 0)).clip(0, 255).astype(np.uint8)
    return values


def _native(image: Image, elements: Elements) -> NDArray[Any]:
    """Pixels as they lie in the file."""
    data = elements.values[image.keyword]
    count = image.rows * image.columns * image.samples
    subsampled = image.photometric == "YBR_FULL_422"
    if subsampled:
        count = count * 2 // 3
    expected = -(-count * image.bits_allocated // 8)
    _check_length(expected, len(data), image)
    if image.bits_allocated == 1:
        bits = np.unpackbits(np.frombuffer(data[:expected], np.uint8), bitorder="little")[:count]
        return bits.reshape(image.rows, image.columns)
    floats = image.keyword in (FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA)
    kind = "f" if floats else "i" if image.signed else "u"
    order = "<" if image.little else ">"
    values = np.frombuffer(data[:expected], f"{order}{kind}{image.bits_allocated // 8}")
    if image.bits_allocated == 8 and not image.little and _is_word(elements):
        values = _swap_pairs(data, expected)
    if kind == "f":
        # Nothing of an X-ray needs more than single precision.
        with np.errstate(over="ignore"):
            return values.astype(np.float32).reshape(image.rows, image.columns)
    if subsampled:
        return _grey_of_422(values, image)
    if image.samples == 3 and image.photometric.startswith("YBR"):
        # The first component is the luma that is asked for.
        plane = values.reshape(3, -1)[0] if image.planar else values.reshape(-1, 3)[:, 0]
        return np.repeat(plane.reshape(image.rows, image.columns, 1), 3, axis=2)
    if image.samples == 3 and image.planar:
        return np.ascontiguousarray(values.reshape(3, image.rows, image.columns).transpose(1, 2, 0))
    shape = (image.rows, image.columns, 3) if image.samples == 3 else (image.rows, image.columns)
    return used_bits(values.reshape(shape), image.bits_allocated, image)


def _is_word(elements: Elements) -> bool:
    """Whether 8-bit pixels of a big-endian file are written as 16-bit words; implicit VR has no big endian."""
    return elements.pixel_vr == b"OW"


def _swap_pairs(data: memoryview, count: int) -> NDArray[np.uint8]:
    padded = np.frombuffer(data[: count + count % 2], np.uint8)
    if len(padded) % 2:
        padded = np.append(padded, np.uint8(0))
    return np.ascontiguousarray(padded.reshape(-1, 2)[:, ::-1]).reshape(-1)[:count]


def _grey_of_422(values: NDArray[Any], image: Image) -> NDArray[Any]:
    """The luma of Y1 Y2 Cb Cr for each two pixels (PS3.3 C.7.6.3.1.2)."""
    if image.columns % 2:
        raise InputError("the DICOM file contradicts itself: pairs of pixels in odd columns", code="damaged")
    luma = values.reshape(-1, 4)[:, :2].reshape(image.rows, image.columns, 1)
    return np.repeat(luma, 3, axis=2)


def _check_length(expected: int, actual: int, image: Image) -> None:
    if actual < expected:
        raise InputError(
            f"the DICOM file is cut short: {image.columns} x {image.rows} pixels need {expected:,} bytes, "
            f"it holds {actual:,}",
            code="damaged",
        )
    # Some writers fill up; more than a row over is another image than the header says.
    if actual - expected >= max(2, expected // image.rows):
        raise InputError(
            f"the DICOM file contradicts itself: {image.columns} x {image.rows} pixels need {expected:,} bytes, "
            f"it holds {actual:,}",
            code="damaged",
        )


def used_bits(values: NDArray[Any], width: int, image: Image) -> NDArray[Any]:
    """The stored bits of each value, wherever they lie in its `width` bits; what lies beside them is dropped."""
    bits, high = image.bits_stored, min(image.high_bit, width - 1)
    if values.dtype.kind not in "iu" or not 0 < bits < width or high < bits - 1:
        return values
    native = values.astype(values.dtype.newbyteorder("="), copy=False)
    size = native.dtype.itemsize * 8
    # Up against the top bit and back: the right shift of a signed type restores the sign.
    up = native << native.dtype.type(size - 1 - high)
    shifted: NDArray[Any] = up >> native.dtype.type(size - bits)
    return shifted


def _compressed(image: Image, elements: Elements) -> NDArray[Any]:
    """Decode one frame, after its own header was compared with that of the file."""
    if not elements.fragments:
        raise InputError("the DICOM file has no pixels, or ends before them", code="damaged")
    data = b"".join(elements.fragments)
    if image.syntax == RLE:
        needed = image.rows * image.columns * image.samples * image.bits_allocated // 8
        if _rle_length(data) > 2 * needed:
            raise InputError(
                "the DICOM file contradicts itself: its RLE data are longer than its image", code="damaged"
            )
        return used_bits(_by_pydicom(data, image, image.bits_allocated), image.bits_allocated, image)
    if image.syntax in PROCESSES:
        stream = read_jpeg(data, "compressed image")
        if stream.process not in PROCESSES[image.syntax]:
            raise InputError(
                "the DICOM file contradicts itself: its pixels are compressed otherwise",
                code="damaged",
            )
        if b"\xff\xd9" not in data[-64:]:  # without its end mark; GDCM would not tell
            raise InputError("the DICOM file is damaged: its compressed image is cut short", code="damaged")
    else:
        data = codestream(data)
        stream = read_jpeg2000(data)
    _compare(stream, image)
    if image.samples == 1 and stream.precision > 8 and image.bits_allocated == 8:
        raise InputError(
            "the DICOM file contradicts itself: its compressed image has more bits",
            code="damaged",
        )
    if stream.process in (0xC0, 0xC1, 0xC2) and stream.precision > 8:
        values = _by_gdcm(data, image, stream)
    else:
        values = _by_pydicom(data, image, stream.precision)
    if image.photometric == "RGB" and stream.process in (0xC0, 0xC1, 0xC2):
        values = _luma_called_rgb(values)
    return used_bits(values, max(stream.precision, image.bits_stored), image)


def _luma_called_rgb(values: NDArray[Any]) -> NDArray[Any]:
    """A JPEG without a marker of its colours may hold YCbCr where the header says RGB (GDCM writes so).

    Both differences of a grey picture then are 128 everywhere, which grey RGB is only where it is middle grey.
    """
    step = max(1, min(values.shape[:2]) // 256)
    sample = values[::step, ::step].astype(np.int16)
    flat = (np.abs(sample[..., 1:] - 128) <= 2).all(axis=2)
    if flat.mean() < 0.99 or (np.abs(sample[..., 0] - 128) <= 2).mean() > 0.9:
        return values
    return np.repeat(values[..., :1], 3, axis=2)


def _compare(stream: Stream, image: Image) -> None:
    """A decoder believes the stream; so it must be as large as the file says."""
    if (stream.rows, stream.columns) != (image.rows, image.columns):
        raise InputError(
            f"the DICOM file contradicts itself: it says {image.columns} x {image.rows} pixels, "
            f"its compressed image {stream.columns} x {stream.rows}",
            code="damaged",
        )
    if stream.components != image.samples:
        raise InputError(
            "the DICOM file contradicts itself: its compressed image has other colours than it says",
            code="damaged",
        )
    if not 2 <= stream.precision <= 16:
        raise InputError("not supported: a compressed image of more than 16 bits", code="unsupported")


def _rle_length(stream: bytes) -> int:
    """Bytes that an RLE frame unpacks to (PS3.5 annex G), found without unpacking it."""
    if len(stream) < 64:
        raise InputError("the DICOM file is damaged: its compressed image is cut short", code="damaged")
    count, *offsets = struct.unpack_from("<16L", stream)
    ends = [*offsets[1:count], len(stream)]
    total = 0
    for at, end in zip(offsets[:count], ends, strict=False):
        while at < min(end, len(stream)):
            head = stream[at]
            total += head + 1 if head < 128 else 257 - head
            at += head + 2 if head < 128 else 2
    return total


def _by_pydicom(data: bytes, image: Image, precision: int) -> NDArray[Any]:
    """By the plugin of pydicom that `DECODERS` names; colour as RGB."""
    from pydicom.encaps import encapsulate
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    try:
        decoder = get_decoder(UID(image.syntax))
        allocated = image.bits_allocated if image.syntax == RLE else 16 if precision > 8 else 8
        values, _ = decoder.as_array(
            encapsulate([data]),
            raw=False,
            decoding_plugin=DECODERS[image.syntax],
            rows=image.rows,
            columns=image.columns,
            samples_per_pixel=image.samples,
            photometric_interpretation=image.photometric,
            pixel_representation=int(image.signed),
            planar_configuration=image.planar,
            bits_allocated=allocated,
            bits_stored=precision,
            number_of_frames=1,
            pixel_keyword="PixelData",
        )
    except MemoryError:
        raise
    except Exception as error:
        raise _undecodable(error) from error
    found: NDArray[Any] = np.asarray(values)
    shape = (image.rows, image.columns) + ((3,) if image.samples == 3 else ())
    if found.shape != shape:
        raise _undecodable(None)
    return found


def _by_gdcm(data: bytes, image: Image, stream: Stream) -> NDArray[Any]:
    """JPEG of 12 bits (process 4), which pydicom does not let GDCM decode."""
    import gdcm

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(data)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    picture = gdcm.Image()
    picture.SetNumberOfDimensions(2)
    picture.SetDimensions((image.columns, image.rows, 1))
    picture.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType(image.photometric)
    picture.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    picture.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(image.syntax)))
    picture.SetPixelFormat(
        gdcm.PixelFormat(image.samples, 16, stream.precision, stream.precision - 1, int(image.signed))
    )
    try:
        raw = picture.GetBuffer().encode("utf-8", "surrogateescape")  # it gives char* as text
    except (UnicodeError, TypeError, RuntimeError) as error:
        raise _undecodable(error) from error
    count = image.rows * image.columns * image.samples
    if image.samples != 1 or len(raw) < 2 * count:
        raise _undecodable(None)
    return np.frombuffer(raw, "<i2" if image.signed else "<u2", count).reshape(image.rows, image.columns)


def _undecodable(error: Exception | None) -> InputError:
    return InputError(
        "the DICOM file is damaged: its compressed image cannot be decoded",
        code="damaged",
        detail=str(error) if error else None,
    )
