"""Reading one X-ray: every format, and every way in which a file can be bad."""

from __future__ import annotations

import io
import os
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom.uid as uid
import pytest
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sequence import Sequence

from lungsight.errors import InputError, PassedOverError
from lungsight.wording import XRayNote
from lungsight.xray import Limits, find_inputs, read_xray
from xray_files import NOISE, RAMP, RAMP12, UNIT, close, dicom, encode

# Pillow and pydicom warn about what is broken, beside what they raise.
# PNG, JPEG, BMP, TIFF


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_give_the_pixels_back(kind: str) -> None:
    xray = read_xray(encode(RAMP, kind))
    assert (xray.format, xray.bits, xray.pixels.dtype) == (kind, 8, np.uint8)
    assert np.array_equal(xray.pixels, RAMP)
    assert (xray.spacing, xray.view, xray.shape) == (None, "", (48, 64))


MODES = {
    "PNG": ("L", "RGB", "RGBA", "LA", "P", "I;16", "1"),
    "JPEG": ("L", "RGB", "CMYK", "YCbCr"),
    "TIFF": ("L", "RGB", "RGBA", "LA", "P", "I;16", "1", "CMYK", "YCbCr", "I", "F"),
    "BMP": ("L", "RGB", "RGBA", "P", "1"),
}


@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind, modes in MODES.items() for mode in modes])
def test_every_mode_becomes_the_same_grey_ramp(kind: str, mode: str) -> None:
    source = Image.fromarray(RAMP)
    if mode in ("I;16", "I"):
        wide = RAMP.astype(np.uint16 if mode == "I;16" else np.int32) * 100
        source = Image.fromarray(wide)
    elif mode == "F":
        source = Image.fromarray(RAMP.astype(np.float32) / 7 - 3)
    elif mode == "1":
        source = Image.fromarray(RAMP > 127)
    elif mode == "P":
        source.putpalette([level for level in range(256) for _ in range(3)])
    elif mode == "CMYK":
        source = source.convert("RGB").convert("CMYK")
    else:
        source = source.convert(mode)
    xray = read_xray(encode(source, kind))
    assert xray.pixels.ndim == 2 and xray.pixels.flags.c_contiguous
    assert xray.pixels.dtype == (np.float32 if mode in ("I;16", "F", "I") else np.uint8)
    expected = (RAMP > 127).astype(float) if mode == "1" else RAMP / 252 if mode[0] in "IF" else RAMP / 255
    assert close(xray.pixels, expected, 0.04)


def test_the_name_does_not_tell_the_format(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encode(RAMP, "JPEG", quality=95))
    assert read_xray(path).format == "JPEG"
    path.write_bytes(dicom())
    assert read_xray(path).format == "DICOM"


def test_exif_orientation_is_applied_and_broken_exif_is_not_fatal() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = read_xray(encode(RAMP, "JPEG", quality=95, exif=exif))
    assert turned.shape == (64, 48)
    assert turned.pixels[0, 0] < 20 and turned.pixels[-1, 0] > 230
    assert read_xray(encode(RAMP, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")).shape == (48, 64)


def test_transparent_parts_are_black_and_colour_is_noted() -> None:
    rgba = np.full((32, 32, 4), 255, np.uint8)
    rgba[:16, :, 3] = 0
    pixels = read_xray(encode(rgba)).pixels
    assert pixels[:16].max() == 0 and pixels[16:].min() == 255
    photo = np.zeros((32, 32, 3), np.uint8)
    photo[..., 0] = 200
    assert read_xray(encode(photo)).notes == (XRayNote.COLOUR,)
    assert read_xray(encode(np.dstack([RAMP] * 3))).notes == ()


def test_sixteen_bits_use_their_own_range_and_survive_hot_pixels() -> None:
    wide = RAMP12.copy() // 4 + 1000
    wide[0, 0] = 65535
    xray = read_xray(encode(wide))
    assert xray.bits == 16 and close(xray.pixels[1:], (wide[1:] - 1000.0) / 1023, 0.02)


def test_black_image_is_read() -> None:
    assert read_xray(encode(np.zeros((32, 32), np.uint8))).pixels.max() == 0
    assert read_xray(encode(np.full((32, 32), 500, np.uint16))).pixels.max() == 0


def test_colour_in_a_second_picture_of_a_phone_jpeg_is_ignored() -> None:
    buffer = io.BytesIO()
    Image.fromarray(RAMP).save(buffer, "MPO", save_all=True, append_images=[Image.fromarray(RAMP[:16])])
    assert read_xray(buffer.getvalue()).shape == (48, 64)


# arrays and other sources


def test_arrays() -> None:
    assert np.array_equal(read_xray(RAMP).pixels, RAMP)
    assert read_xray(RAMP / 255).pixels.dtype == np.float32
    assert close(read_xray(RAMP12).pixels, UNIT)
    assert np.array_equal(read_xray(np.dstack([RAMP] * 3)).pixels, RAMP)
    source = RAMP.copy()
    read_xray(source).pixels[:] = 0
    assert np.array_equal(source, RAMP)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.full((32, 32), 2.0), "must lie in"),
        (np.full((32, 32), np.nan), "must lie in"),
        (np.zeros((32, 32), np.int64), "int64"),
        (np.zeros((2, 3, 32, 32), np.uint8), "shape"),
        (np.zeros((32, 32, 2), np.uint8), "shape"),
        (np.zeros((1, 1), np.uint8), "1 x 1"),
        (np.zeros((0, 32), np.uint8), "32 x 0"),
    ],
)
def test_bad_arrays(array: NDArray[Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_xray(array)


def test_bad_sources(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_xray(tmp_path / "absent.png")
    with pytest.raises(InputError, match="is a folder"):
        read_xray(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        read_xray("a\0b.png")
    with pytest.raises(InputError, match="NoneType"):
        read_xray(None)  # type: ignore[arg-type]
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(InputError, match="not an ordinary file"):
        read_xray(tmp_path / "pipe.png")
    (tmp_path / "locked.png").write_bytes(encode(RAMP))
    (tmp_path / "locked.png").chmod(0)
    if os.geteuid():
        with pytest.raises(InputError, match="permission"):
            read_xray(tmp_path / "locked.png")


# bad files


def png_header(width: int, height: int, *, body: bytes = b"") -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + chunk(b"IDAT", body or zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


def animated(kind: str) -> bytes:
    frames = [Image.fromarray(RAMP), Image.fromarray(255 - RAMP)]
    return encode(frames[0], kind, save_all=True, append_images=frames[1:])


def huge_text() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "x" * (80 * 2**20), zip=True)
    return encode(RAMP, pnginfo=info)


BAD = {
    "empty": (lambda: b"", "empty"),
    "one byte": (lambda: b"\x89", "no known kind"),
    "1x1": (lambda: encode(np.zeros((1, 1), np.uint8)), "1 x 1 pixels"),
    "jpeg cut short": (lambda: encode(NOISE, "JPEG")[:-900], "JPEG is damaged or cut short"),
    "jpeg header only": (lambda: encode(RAMP, "JPEG")[:20], "JPEG is damaged"),
    "png cut short": (
        lambda: encode(NOISE)[:900],
        "PNG is",
    ),
    "png signature only": (lambda: b"\x89PNG\r\n\x1a\n", "PNG is damaged"),
    "png bad checksum": (lambda: encode(RAMP)[:60] + b"\xff\xff" + encode(RAMP)[62:], "PNG is damaged"),
    "png too few pixels": (lambda: png_header(64, 64), "PNG is damaged or cut short"),
    "bmp cut short": (lambda: encode(RAMP, "BMP")[:1500], "BMP is damaged"),
    "tiff cut short": (lambda: encode(RAMP, "TIFF")[:-1500], "TIFF is damaged"),
    "tiff header only": (lambda: b"II*\0\x08\0\0\0", "TIFF is damaged"),
    "tiff pages": (lambda: animated("TIFF"), "TIFF holds 2 images"),
    "animated png": (lambda: animated("PNG"), "PNG holds 2 images"),
    "huge text": (huge_text, "PNG is damaged"),
    "png with a long name": (lambda: encode(RAMP)[:33] + b"\xff" * 40, "PNG is damaged"),
    "bomb": (lambda: png_header(30000, 30000), "30,000 x 30,000"),
    "full bomb": (lambda: png_header(30000, 30000, body=zlib.compress(bytes(2**20) * 64)), "30,000 x 30,000"),
    "largest header": (lambda: png_header(2**31 - 1, 2**31 - 1), "more than the 64 million|damaged"),
    "float tiff nan": (lambda: encode(np.full((32, 32), np.nan, np.float32), "TIFF"), "not numbers"),
    "zip": (lambda: b"PK\x03\x04" + bytes(100), "ZIP archive"),
    "gif": (lambda: encode(RAMP, "GIF"), "GIF"),
    "webp": (lambda: encode(RAMP, "WEBP"), "WebP"),
    "jp2": (lambda: encode(RAMP, "JPEG2000"), "JPEG 2000"),
    "pdf": (lambda: b"%PDF-1.7\n", "PDF"),
    "html": (lambda: b"  <!DOCTYPE html><html>404</html>", "web page"),
    "json": (lambda: b'{"a": 1}', "JSON"),
    "text": (lambda: "plain words, also with ümlauts ".encode() * 40, "text file"),
    "lfs": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
    "noise": (lambda: np.random.default_rng(1).bytes(4000), "no known kind"),
    "zeros": (lambda: bytes(4000), "no known kind"),
    "looks like old dicom": (lambda: b"\x08\x00" + bytes(4000), "no known kind"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_refused_in_plain_words(kind: str, tmp_path: Path) -> None:
    make, words = BAD[kind]
    path = tmp_path / "right-name.png"
    path.write_bytes(make())
    with pytest.raises(InputError, match=words) as caught:
        read_xray(path)
    assert caught.value.where == str(path)
    assert len(caught.value.message) < 250 and "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["bomb", "full bomb", "huge text", "largest header"])
def test_bombs_are_refused_in_bounded_memory(kind: str) -> None:
    data = BAD[kind][0]()
    tracemalloc.start()
    try:
        with pytest.raises(InputError):
            read_xray(data)
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    finally:
        tracemalloc.stop()


def test_limits(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="64 x 48"):
        read_xray(encode(RAMP), limits=Limits(max_pixels=64 * 48 - 1))
    with pytest.raises(InputError, match="64 x 48"):
        read_xray(dicom(), limits=Limits(max_pixels=64 * 48 - 1))
    with pytest.raises(InputError, match="larger than an X-ray"):
        read_xray(encode(RAMP, "BMP"), limits=Limits(max_bytes=1000))
    with (tmp_path / "sparse.png").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(InputError, match="larger than an X-ray"):
        read_xray(tmp_path / "sparse.png")


def test_limits_below_a_million_are_said_in_full() -> None:
    for limits, words in (
        (Limits(max_pixels=1000), r"more than the 1,000 that are accepted"),
        (Limits(max_pixels=2_000_000), r"more than the 2 million that are accepted"),
    ):
        with pytest.raises(InputError, match=words):
            limits.check_size(2000, 2000, "")
    with pytest.raises(InputError, match=r"4,096 bytes is larger than an X-ray may be \(1,000 bytes\)"):
        Limits(max_bytes=1000).check_bytes(4096, "")
    with pytest.raises(InputError, match=r"3 MiB is larger than an X-ray may be \(2 MiB\)"):
        Limits(max_bytes=2 * 2**20).check_bytes(3 * 2**20, "")


@pytest.mark.parametrize(
    "make", [lambda: encode(RAMP), lambda: encode(RAMP, "JPEG"), lambda: encode(RAMP, "TIFF"), dicom]
)
def test_damage_anywhere_never_gives_another_error(make: Callable[[], bytes]) -> None:
    rng = np.random.default_rng(7)
    data = make()
    for _ in range(150):
        broken = bytearray(data)
        for at in rng.integers(0, min(len(data), 1500), 3):
            broken[at] = rng.integers(0, 256)
        try:
            read_xray(bytes(broken[: rng.integers(1, len(broken) + 1)]), name="x")
        except InputError as error:
            assert error.where == "x"


# DICOM

SYNTAXES = [
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.RLELossless,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
    uid.JPEGLSLossless,
    uid.JPEGLosslessSV1,
]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda s: s.keyword)
def test_dicom_transfer_syntaxes(syntax: uid.UID) -> None:
    if syntax == uid.JPEG2000:
        pixels = encode(RAMP, "JPEG2000", no_jp2=True, irreversible=True)
        data = dicom(RAMP, syntax, PixelData=encapsulate([pixels]))
        assert close(read_xray(data).pixels, RAMP / 255)
        return
    xray = read_xray(dicom(syntax=syntax))
    assert (xray.format, xray.bits, xray.pixels.dtype) == ("DICOM", 12, np.float32)
    assert close(xray.pixels, UNIT)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda s: s.keyword)
def test_dicom_cut_short(syntax: uid.UID) -> None:
    noise = np.random.default_rng(3).integers(0, 4096, (64, 64)).astype(np.uint16)
    if syntax == uid.JPEG2000:
        stream = encode((noise // 16).astype(np.uint8), "JPEG2000", no_jp2=True, irreversible=True)
        data = dicom((noise // 16).astype(np.uint8), syntax, PixelData=encapsulate([stream]))
    else:
        data = dicom(noise, syntax)
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(InputError, match=r"cut short|no pixels|damaged"):
            read_xray(data[: int(len(data) * share)])


@pytest.mark.parametrize(("kind", "mode"), [("L", "MONOCHROME2"), ("RGB", "YBR_FULL_422")])
def test_dicom_jpeg(kind: str, mode: str) -> None:
    stream = encode(Image.fromarray(RAMP).convert(kind), "JPEG", quality=95)
    pixels = RAMP if kind == "L" else np.dstack([RAMP] * 3)
    options = {"PhotometricInterpretation": mode, "PixelData": encapsulate([stream])}
    xray = read_xray(dicom(pixels, uid.JPEGBaseline8Bit, **options))
    assert xray.pixels.dtype == np.uint8 and close(xray.pixels, RAMP / 255, 0.03)
    options["PixelData"] = encapsulate([stream[: len(stream) * 2 // 3]])
    with pytest.raises(InputError, match="damaged"):
        read_xray(dicom(pixels, uid.JPEGBaseline8Bit, **options))


def test_dicom_compressed_image_larger_than_the_file_says() -> None:
    stream = encode(np.zeros((2000, 3000), np.uint8), "JPEG")
    with pytest.raises(InputError, match="says 64 x 48 pixels, its compressed image 3000 x 2000"):
        read_xray(dicom(RAMP, uid.JPEGBaseline8Bit, PixelData=encapsulate([stream])))
    stream = encode(np.zeros((200, 300), np.uint8), "JPEG2000", no_jp2=True)
    with pytest.raises(InputError, match="compressed image 300 x 200"):
        read_xray(dicom(RAMP, uid.JPEG2000Lossless, PixelData=encapsulate([stream])))


@pytest.mark.parametrize("syntax", [uid.JPEGLSLossless, uid.JPEGLosslessSV1], ids=lambda s: s.keyword)
def test_dicom_stream_cut_short_inside_a_whole_file(syntax: uid.UID) -> None:
    noise = np.random.default_rng(3).integers(0, 4096, (64, 64)).astype(np.uint16)
    dataset = dcmread(io.BytesIO(dicom(noise, syntax)))
    (stream,) = generate_frames(dataset.PixelData, number_of_frames=1)
    dataset.PixelData = encapsulate([stream[: len(stream) // 2]])
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    with pytest.raises(InputError, match="cut short"):
        read_xray(buffer.getvalue())


def test_dicom_rle_bomb_is_refused_before_it_unpacks() -> None:
    bomb = struct.pack("<16L", 1, 64, *[0] * 14) + b"\x81\x00" * 500_000
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="RLE data are longer"):
            read_xray(dicom(RAMP, uid.RLELossless, PixelData=encapsulate([bomb])))
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    finally:
        tracemalloc.stop()


def test_dicom_8_bit_stays_and_monochrome1_is_inverted() -> None:
    assert np.array_equal(read_xray(dicom(RAMP)).pixels, RAMP)
    xray = read_xray(dicom(RAMP, PhotometricInterpretation="MONOCHROME1"))
    assert np.array_equal(xray.pixels, 255 - RAMP) and XRayNote.MONOCHROME1 in xray.notes
    assert close(read_xray(dicom(PhotometricInterpretation="MONOCHROME1")).pixels, 1 - UNIT)


def test_dicom_window_rescale_and_their_fallback() -> None:
    window = {"WindowCenter": [1000.5, 7], "WindowWidth": [1001, 7]}
    expected = np.clip((RAMP12 - 1000.0) / 1000 + 0.5, 0, 1)
    assert close(read_xray(dicom(**window)).pixels, expected, 1e-6)
    scaled = dicom(RescaleSlope=2, RescaleIntercept=-100, WindowCenter=1900.5, WindowWidth=2001)
    assert close(read_xray(scaled).pixels, np.clip((RAMP12 * 2 - 2000.0) / 2000 + 0.5, 0, 1), 1e-6)
    exact = dicom(WindowCenter=1000, WindowWidth=1000, VOILUTFunction="LINEAR_EXACT")
    assert close(read_xray(exact).pixels, expected, 1e-6)
    sigmoid = read_xray(dicom(WindowCenter=1000, WindowWidth=1000, VOILUTFunction="SIGMOID"))
    assert close(sigmoid.pixels, 1 / (1 + np.exp(-4 * (RAMP12 - 1000.0) / 1000)), 1e-5)
    for center, width in ((-50000, 10), (100000, 100), (1000, 0), (1000, -5)):
        xray = read_xray(dicom(WindowCenter=center, WindowWidth=width))
        assert close(xray.pixels, UNIT), (center, width)


def test_dicom_lookup_tables() -> None:
    item = Dataset()
    item.LUTDescriptor = [4096, 0, 16]
    item.LUTData = (np.arange(4096)[::-1] * 3).astype(np.uint16).tobytes()
    xray = read_xray(dicom(VOILUTSequence=Sequence([item])))
    assert close(xray.pixels, 1 - UNIT, 1e-3)
    item.ModalityLUTType = "US"
    xray = read_xray(dicom(ModalityLUTSequence=Sequence([item])))
    assert close(xray.pixels, 1 - UNIT)


def test_dicom_signed_unused_bits_and_padding() -> None:
    signed = RAMP12.astype(np.int16) - 2048
    assert close(read_xray(dicom(signed)).pixels, UNIT)
    assert close(read_xray(dicom(RAMP12 | 0xF000)).pixels, UNIT)
    padded = RAMP12 // 2 + 1000
    padded[:10] = 4000
    xray = read_xray(dicom(padded, PixelPaddingValue=4000, PhotometricInterpretation="MONOCHROME1"))
    assert xray.pixels[:10].max() == 0 and close(xray.pixels[10:], 1 - UNIT[10:])


def test_dicom_colour() -> None:
    assert np.array_equal(read_xray(dicom(np.dstack([RAMP] * 3))).pixels, RAMP)
    palette: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name in ("Red", "Green", "Blue"):
        palette[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        palette[f"{name}PaletteColorLookupTableData"] = (np.arange(256) * 257).astype(np.uint16).tobytes()
    assert np.array_equal(read_xray(dicom(RAMP, **palette)).pixels, RAMP)


def test_dicom_keeps_nothing_about_the_patient() -> None:
    xray = read_xray(dicom(ViewPosition="PA"), name="a")
    fields = [str(getattr(xray, name)) for name in ("name", "format", "spacing", "view", "notes")]
    assert not any(secret in " ".join(fields) for secret in ("Doe", "SECRET", "1970"))


def test_dicom_without_preamble_and_without_meta() -> None:
    data = dicom()
    assert close(read_xray(data[132:]).pixels, UNIT)
    group_length = struct.unpack_from("<I", data, 140)[0]
    assert close(read_xray(data[144 + group_length :]).pixels, UNIT)
    implicit = dicom(syntax=uid.ImplicitVRLittleEndian)
    group_length = struct.unpack_from("<I", implicit, 140)[0]
    assert close(read_xray(implicit[144 + group_length :]).pixels, UNIT)


def test_dicom_left_out_elements() -> None:
    for word in (
        "PhotometricInterpretation",
        "PixelRepresentation",
        "SamplesPerPixel",
        "HighBit",
        "Modality",
    ):
        assert close(read_xray(dicom(**{word: None})).pixels, UNIT), word


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"NumberOfFrames": 2, "PixelData": RAMP12.tobytes() * 2}, "several frames"),
        ({"NumberOfFrames": 2**31 - 1}, "frames"),
        ({"PixelData": b""}, "no pixels"),
        ({"PixelData": RAMP12.tobytes()[:-2]}, "cut short: 64 x 48 pixels need 6,144 bytes, it holds 6,142"),
        ({"PixelData": RAMP12.tobytes() * 3}, "contradicts itself"),
        ({"Rows": 60000, "Columns": 60000}, "60,000 x 60,000"),
        ({"Rows": 0}, "how large"),
        ({"Rows": None}, "how large"),
        ({"BitsAllocated": 17}, "not supported"),
    ],
)
def test_bad_dicom(elements: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read_xray(dicom(**elements), name="bad.dcm")
    assert caught.value.where == "bad.dcm"


def test_one_frame_said_explicitly_is_fine() -> None:
    assert close(read_xray(dicom(NumberOfFrames=1)).pixels, UNIT)


def test_dicom_that_is_no_image() -> None:
    with pytest.raises(PassedOverError, match="a document in DICOM"):
        read_xray(dicom(SOPClassUID=uid.EncapsulatedPDFStorage, PixelData=b""))
    data = dicom(RAMP, uid.MPEG4HP41, PixelData=encapsulate([b"x" * 100]))
    with pytest.raises(InputError, match="MPEG"):
        read_xray(data)


def test_deflated_dicom_bomb_is_refused_in_bounded_memory() -> None:
    data = dicom(syntax=uid.DeflatedExplicitVRLittleEndian)
    end = 144 + struct.unpack_from("<I", data, 140)[0]
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = data[:end] + b"".join(packer.compress(bytes(2**20)) for _ in range(100)) + packer.flush()
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="unpacks to more than 8 MiB"):
            read_xray(bomb, limits=Limits(max_bytes=8 * 2**20))
        assert tracemalloc.get_traced_memory()[1] < 32 * 2**20
    finally:
        tracemalloc.stop()


def test_dicom_sequences_nested_without_end() -> None:
    data = dicom()
    end = 144 + struct.unpack_from("<I", data, 140)[0]
    opening = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    with pytest.raises(InputError):
        read_xray(data[:end] + opening * 20000)


# finding files


def names(*paths: Path | str, **options: Any) -> list[str]:
    return [str(found.relative) for found in find_inputs(paths, **options)]


def test_find_inputs_in_folders(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", ".hidden.png", "sub/c.tiff", "sub/.d/e.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(encode(RAMP))
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "sub" / "1.2.840.113").write_bytes(b"%PDF-1.7")
    (tmp_path / "sub" / "1.2.840.114").write_bytes(dicom())
    (tmp_path / "IM0001").write_bytes(dicom())
    assert names(tmp_path) == ["IM0001", "a.jpg", "b.PNG", "sub/1.2.840.114", "sub/c.tiff"]
    assert names(tmp_path, recursive=False) == ["IM0001", "a.jpg", "b.PNG"]
    assert names(tmp_path / "notes.txt", tmp_path / "a.jpg", tmp_path / "sub", tmp_path) == [
        "notes.txt",
        "a.jpg",
        "1.2.840.114",
        "c.tiff",
        "IM0001",
        "b.PNG",
    ]
    assert names(f"{tmp_path}/**/*.tiff", f"{tmp_path}/*.jpg") == ["c.tiff", "a.jpg"]


def test_find_inputs_survives_loops_and_links(tmp_path: Path) -> None:
    inner = tmp_path / "x" / "y"
    inner.mkdir(parents=True)
    (inner / "a.png").write_bytes(encode(RAMP))
    (inner / "up").symlink_to(tmp_path)
    (inner / "again.png").symlink_to(inner / "a.png")
    (inner / "self").symlink_to(inner / "self")
    assert len(names(tmp_path)) == 1


def test_find_inputs_reports_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "a[1].png").write_bytes(encode(RAMP))
    (tmp_path / "empty").mkdir()
    problems: list[InputError] = []
    given = [tmp_path / "absent.png", tmp_path / "a[1].png", tmp_path / "*.bmp", tmp_path / "empty"]
    assert [found.path.name for found in find_inputs(given, problems=problems)] == ["a[1].png"]
    assert [problem.message for problem in problems] == [
        "there is no such file or folder",
        "nothing matches this pattern",
        "the folder holds no X-rays",
    ]
    with pytest.raises(InputError, match="no such file"):
        names(tmp_path / "absent.png")


# real files


@pytest.mark.real_data
def test_every_image_of_the_darwin_sample_is_read(darwin_sample: Path) -> None:
    found = list(find_inputs([darwin_sample / "images"]))
    assert len(found) == 29
    for item in found:
        xray = read_xray(item.path)
        assert xray.pixels.dtype == np.uint8 and xray.pixels.std() > 5


def test_a_folder_is_searched_by_content(tmp_path: Path) -> None:
    whole = dicom()
    files = {
        "a.IMA": whole,
        "b.dic": whole,
        "c": whole[132:],
        "d.xyz": encode(RAMP),
        "e.png": b"<html>404</html>",
        "f.txt": b"words",
        "g.zip": b"PK\x03\x04" + bytes(40),
        "h.heic": bytes(4) + b"ftypheic" + bytes(40),
        "i.bin": b"",
        "DICOMDIR": dicom(SOPClassUID=uid.MediaStorageDirectoryStorage),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "nowhere.dcm").symlink_to(tmp_path / "absent")
    os.mkfifo(tmp_path / "pipe.png")
    passed: list[PassedOverError] = []
    problems: list[InputError] = []
    found = list(find_inputs([tmp_path], problems=problems, passed_over=passed))
    assert [one.path.name for one in found] == ["a.IMA", "b.dic", "c", "d.xyz", "e.png"] and not problems
    assert {Path(str(one.where)).name: one.message.split(": it is ")[-1] for one in passed} == {
        "DICOMDIR": "a DICOMDIR, the list of a medium's files",
        "f.txt": "a text file",
        "g.zip": "a ZIP archive (or an Office document)",
        "h.heic": "a HEIC, AVIF or video file",
        "i.bin": "the file is empty",
        "loop.png": "a link that leads nowhere",
        "nowhere.dcm": "a link that leads nowhere",
        "pipe.png": "not an ordinary file",
    }
    assert [read_xray(one.path).shape for one in found[:4]] == [(48, 64)] * 4
    with pytest.raises(InputError, match="HTML") as caught:  # by its name it should have been an image
        read_xray(tmp_path / "e.png")
    assert not isinstance(caught.value, PassedOverError)
