"""What a DICOM header says counts: kind, projection, sides, size of a pixel, and how the grey values are stored."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pydicom.uid as uid
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

from lungsight.errors import InputError, PassedOverError, RefusedError
from lungsight.wording import XRayNote
from lungsight.xray import find_inputs, read_xray
from xray_files import RAMP, RAMP12, UNIT, close, dicom, element, encode, png_chunk, raw

# kind


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"Modality": "MR"}, "an MR image"),
        ({"Modality": "CT", "SOPClassUID": uid.SecondaryCaptureImageStorage}, "a CT image"),
        ({"SOPClassUID": uid.CTImageStorage, "Modality": "OT"}, "a CT image"),
        ({"SOPClassUID": uid.EnhancedMRImageStorage}, "an MR image"),
        ({"Modality": "RF"}, "a fluoroscopy image"),
        ({"Modality": "US"}, "an ultrasound image"),
        ({"Modality": "NM"}, "a nuclear medicine image"),
        ({"Modality": "MG"}, "a mammogram"),
        ({"SOPClassUID": uid.DigitalMammographyXRayImageStorageForPresentation}, "a mammogram"),
        ({"Modality": "mr "}, "an MR image"),
    ],
)
def test_images_of_other_kinds_are_refused_by_name(elements: dict[str, Any], words: str) -> None:
    with pytest.raises(RefusedError, match=words) as caught:
        read_xray(dicom(**elements), name="a")
    assert caught.value.code == "not_a_radiograph"


@pytest.mark.parametrize("modality", ["CR", "DX", "DR", "RG", "OT", ""])
def test_radiographs_are_read(modality: str) -> None:
    assert read_xray(dicom(Modality=modality)).modality == modality


def test_modality_that_is_no_word_of_the_standard_is_not_repeated() -> None:
    assert read_xray(dicom(Modality="DOE")).modality == ""


@pytest.mark.parametrize(
    ("sop_class", "words"),
    [
        (uid.GrayscaleSoftcopyPresentationStateStorage, "presentation state"),
        (uid.BasicTextSRStorage, "structured report"),
        (uid.MediaStorageDirectoryStorage, "DICOMDIR"),
        (uid.SegmentationStorage, "segmentation"),
    ],
)
def test_objects_without_an_image_are_passed_over(sop_class: uid.UID, words: str, tmp_path: Path) -> None:
    data = dicom(SOPClassUID=sop_class)
    with pytest.raises(PassedOverError, match=words):
        read_xray(data)
    (tmp_path / "x").write_bytes(data)
    (tmp_path / "y.png").write_bytes(encode(RAMP))
    passed: list[PassedOverError] = []
    assert [found.path.name for found in find_inputs([tmp_path], passed_over=passed)] == ["y.png"]
    assert words in passed[0].message and passed[0].where == str(tmp_path / "x")


# projection and sides


def view(**elements: Any) -> str:
    return str(read_xray(dicom(**elements)).view)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        *(("PA", "PA"), ("AP", "AP"), ("LLD", "decubitus"), ("LLO", "oblique"), ("rlo", "oblique")),
        *((word, "lateral") for word in ("LL", "RL", "LATERAL", "LAT", "Lateral", "lat")),
        *(("", ""), ("Doe, Jane", "")),
    ],
)
def test_view_position(text: str, code: str) -> None:
    assert view(ViewPosition=text) == code


def code_item(value: str) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", "Doe^Jane"
    return Sequence([item])


def test_view_codes_where_the_position_is_empty() -> None:
    assert view(ViewPosition="", ViewCodeSequence=code_item("399173006")) == "lateral"
    assert view(ViewPosition="", ViewCodeSequence=code_item("R-10206")) == "AP"
    assert view(ViewPosition="PA", ViewCodeSequence=code_item("399348003")) == "PA"
    assert view(ViewCodeSequence=code_item("Doe")) == ""
    implicit = dicom(syntax=uid.ImplicitVRLittleEndian, ViewCodeSequence=code_item("399173006"))
    assert read_xray(implicit).view == "lateral"


def test_orientation_tells_sides_and_lateral_views() -> None:
    assert not read_xray(dicom(PatientOrientation=["L", "F"])).mirrored
    mirrored = read_xray(dicom(PatientOrientation=["R", "F"]))
    assert mirrored.mirrored and mirrored.notes[0] is XRayNote.MIRRORED
    assert view(PatientOrientation=["A", "F"]) == "lateral"
    assert view(PatientOrientation=["P", "F"], ViewPosition="PA") == "PA"
    assert read_xray(dicom(PatientOrientation=["L", "H"])).notes[0] is XRayNote.UPSIDE_DOWN
    assert read_xray(dicom(PatientOrientation=["F", "L"])).notes[0] is XRayNote.ON_ITS_SIDE
    assert not read_xray(dicom(PatientOrientation=["DOE", "JANE"])).mirrored


# size of a pixel: the ramp has 48 rows and 64 columns


@pytest.mark.parametrize(
    ("elements", "spacing", "kind"),
    [
        ({"PixelSpacing": [5, 4]}, (5, 4), "stated"),
        ({"PixelSpacing": [5, 4], "ImagerPixelSpacing": [6, 4.8]}, (5, 4), "calibrated"),
        ({"PixelSpacing": [5, 4], "ImagerPixelSpacing": [5, 4]}, (5, 4), "detector"),
        ({"PixelSpacing": [5, 4], "PixelSpacingCalibrationType": "FIDUCIAL"}, (5, 4), "calibrated"),
        ({"ImagerPixelSpacing": [5, 4]}, (5, 4), "detector"),
        (
            {"ImagerPixelSpacing": [6, 4.8], "EstimatedRadiographicMagnificationFactor": 1.2},
            (5, 4),
            "corrected",
        ),
        ({"ImagerPixelSpacing": [5, 4], "EstimatedRadiographicMagnificationFactor": 12}, (5, 4), "detector"),
        ({"NominalScannedPixelSpacing": [5, 4]}, (5, 4), "detector"),
    ],
)
def test_spacing_and_what_it_is_of(elements: dict[str, Any], spacing: tuple[float, float], kind: str) -> None:
    xray = read_xray(dicom(**elements))
    assert xray.spacing == pytest.approx(spacing) and xray.spacing_kind == kind


@pytest.mark.parametrize(
    "spacing", [[0.1, 0.1], [50, 50], [0, 4], [5, -4], [5, 1], [5], ["nan", 4], ["Doe", 4], [1e9, 1e9]]
)
def test_absurd_spacing_is_not_used(spacing: list[Any]) -> None:
    data = with_text(dicom(PixelSpacing=[5, 4]), 0x00280030, "\\".join(map(str, spacing)))
    xray = read_xray(data)
    assert (xray.spacing, xray.spacing_kind) == (None, "")


def with_text(data: bytes, tag: int, text: str) -> bytes:
    """Another value, unchecked, for an element of an explicit little-endian file."""
    start = data.index((tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little"), 132)
    length = struct.unpack_from("<H", data, start + 6)[0]
    value = text.encode() + b" " * (len(text) % 2)
    return data[:start] + element(tag, data[start + 4 : start + 6], value) + data[start + 8 + length :]


def test_decimal_comma() -> None:
    assert read_xray(with_text(dicom(PixelSpacing=[5, 4]), 0x00280030, "5,5\\4,5")).spacing == (5.5, 4.5)
    data = dicom(WindowCenter=1000.5, WindowWidth=1001)
    expected = read_xray(data).pixels
    assert np.array_equal(read_xray(with_text(data, 0x00281050, "1000,5")).pixels, expected)


def test_uids_only_if_they_are_uids() -> None:
    xray = read_xray(dicom(StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.4"))
    assert (xray.study_uid, xray.series_uid) == ("1.2.3", "1.2.4") and xray.sop_uid.startswith("1.2.826.")
    for wrong in ("Doe^Jane", "1..2", "1.02", "1." * 40):
        assert read_xray(with_text(dicom(StudyInstanceUID="1.2"), 0x0020000D, wrong)).study_uid == ""


# how grey values are stored


def test_jpeg_extended_of_12_bits() -> None:
    levels = np.linspace(0, 4095, 48).astype(np.uint16).reshape(6, 8)
    image = np.kron(levels, np.ones((8, 8), np.uint16))
    data = dicom(image, uid.JPEGExtended12Bit, PixelData=encapsulate([jpeg12(levels)]))
    xray = read_xray(data)
    assert xray.bits == 12 and close(xray.pixels, image / 4095, 0.01)


def jpeg12(levels: np.ndarray[Any, Any]) -> bytes:
    """A JPEG of 12 bits (process 4) whose 8 x 8 blocks are flat: T.81 with codes of 5 bits, and no AC coefficients."""
    bits, before = "", 0
    for level in levels.ravel().tolist():
        difference = 8 * (level - 2048) - before
        before += difference
        size = abs(difference).bit_length()
        value = difference if difference >= 0 else difference + 2**size - 1
        bits += f"{size:05b}" + (f"{value:0{size}b}" if size else "") + "0"
    bits += "1" * (-len(bits) % 8)
    scan = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)).replace(b"\xff", b"\xff\0")
    rows, columns = (8 * side for side in levels.shape)

    def segment(marker: int, body: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body

    tables = segment(0xDB, b"\0" + b"\1" * 64)
    tables += segment(0xC4, b"\0" + bytes([0, 0, 0, 0, 16] + [0] * 11) + bytes(range(16)))
    tables += segment(0xC4, b"\x10" + bytes([1] + [0] * 15) + b"\0")
    frame = segment(0xC1, struct.pack(">BHHB", 12, rows, columns, 1) + b"\1\x11\0")
    return b"\xff\xd8" + tables + frame + segment(0xDA, b"\1\1\0\0\x3f\0") + scan + b"\xff\xd9"


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.RLELossless])
def test_stored_bits_may_lie_at_the_top(syntax: uid.UID) -> None:
    top = (RAMP12 << 4) | 0x5
    assert close(read_xray(dicom(top, syntax, BitsStored=12, HighBit=15)).pixels, UNIT)
    middle = (RAMP12 << 2) | 0xC003
    assert close(read_xray(dicom(middle, syntax, BitsStored=12, HighBit=13)).pixels, UNIT)


def test_signed_bits_at_the_top() -> None:
    top = ((RAMP12.astype(np.int16) - 2048) << 4).astype(np.int16)
    assert close(read_xray(dicom(top, BitsStored=12, HighBit=15)).pixels, UNIT)


def test_bytes_after_the_pixels() -> None:
    for tail in (
        b"\0" * 100,
        b"Doe^Jane" * 9,
        b"\xff" * 7,
        struct.pack("<HH2sHI", 0xFFFC, 0xFFFC, b"OB", 0, 2**31),
    ):
        assert close(read_xray(dicom() + tail).pixels, UNIT)
    assert close(read_xray(dicom(PixelData=RAMP12.tobytes() + bytes(64))).pixels, UNIT)


@pytest.mark.parametrize(
    "syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian]
)
def test_modality_table_of_12_bits(syntax: uid.UID) -> None:
    item = Dataset()
    item.add_new(0x00283002, "US", [4096, 0, 12])
    table = np.arange(4096)[::-1].astype(np.uint16)
    item.add_new(0x00283006, "OW", table.astype("<u2" if syntax.is_little_endian else ">u2").tobytes())
    item.ModalityLUTType = "US"
    assert close(read_xray(dicom(RAMP12, syntax, ModalityLUTSequence=Sequence([item]))).pixels, 1 - UNIT)


def test_voi_table_packed_into_bytes() -> None:
    item = Dataset()
    item.add_new(0x00283002, "US", [4096, 0, 8])
    item.add_new(0x00283006, "OW", (255 - np.arange(4096) // 16).astype(np.uint8).tobytes())
    assert close(read_xray(dicom(VOILUTSequence=Sequence([item]))).pixels, 1 - UNIT, 0.02)


def test_table_that_begins_below_zero() -> None:
    item = Dataset()
    item.add_new(0x00283002, "SS", [4096, -2048, 16])
    item.add_new(0x00283006, "OW", np.arange(4096).astype(np.uint16).tobytes())
    signed = (RAMP12.astype(np.int16) - 2048).astype(np.int16)
    assert close(read_xray(dicom(signed, VOILUTSequence=Sequence([item]))).pixels, UNIT, 1e-3)


def test_presentation_shape_inverse() -> None:
    assert close(read_xray(dicom(PresentationLUTShape="INVERSE")).pixels, 1 - UNIT)
    assert close(read_xray(dicom(PresentationLUTShape="IDENTITY")).pixels, UNIT)
    once = dicom(PresentationLUTShape="INVERSE", PhotometricInterpretation="MONOCHROME1")
    assert close(read_xray(once).pixels, 1 - UNIT)


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian])
@pytest.mark.parametrize("bits", [8, 16])
def test_palette_in_either_byte_order(syntax: uid.UID, bits: int) -> None:
    order = "<" if syntax.is_little_endian else ">"
    steps = np.arange(256) * (257 if bits == 16 else 1)
    palette: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name in ("Red", "Green", "Blue"):
        palette[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
        palette[f"{name}PaletteColorLookupTableData"] = steps.astype(f"{order}u2").tobytes()
    assert np.array_equal(read_xray(dicom(RAMP, syntax, **palette)).pixels, RAMP)


def test_native_colour_in_every_layout() -> None:
    rgb = np.dstack([RAMP] * 3)
    planar = dicom(rgb, PlanarConfiguration=1, PixelData=rgb.transpose(2, 0, 1).tobytes())
    assert np.array_equal(read_xray(planar).pixels, RAMP)
    ybr = np.dstack([RAMP, np.full_like(RAMP, 128), np.full_like(RAMP, 128)])
    assert np.array_equal(read_xray(dicom(ybr, PhotometricInterpretation="YBR_FULL")).pixels, RAMP)
    pairs = RAMP.reshape(48, 32, 2)
    packed = np.concatenate([pairs, np.full((48, 32, 2), 128, np.uint8)], axis=2)
    half = dicom(rgb, PhotometricInterpretation="YBR_FULL_422", PixelData=packed.tobytes())
    assert np.array_equal(read_xray(half).pixels, RAMP)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: compressed_as("1.2.840.10008.1.2.4.102"), "MPEG-4 video"),
        (lambda: compressed_as("1.2.840.10008.1.2.4.110"), "JPEG XL"),
        (lambda: compressed_as("1.3.46.670589.33.1.4.17"), "unknown or private"),
        (lambda: dicom(PhotometricInterpretation="DOE"), "photometric interpretation"),
        (lambda: jpeg_with(12), "JPEG of 12 bits"),
        (lambda: tiff(np.zeros((48, 64), np.float16), t339=3), "TIFF of 16-bit floats"),
        (lambda: dicom(RAMP, BitsAllocated=12), "DICOM pixels of other than"),
    ],
)
def test_healthy_but_not_supported_is_not_called_damaged(make: Any, what: str) -> None:
    with pytest.raises(InputError, match=f"not supported: .*{what}") as caught:
        read_xray(make())
    assert caught.value.code == "unsupported"


def compressed_as(syntax: str) -> bytes:
    data = dicom(RAMP, uid.MPEG4HP41, PixelData=encapsulate([b"x" * 100]))
    return data.replace(uid.MPEG4HP41.encode(), syntax.encode())


def jpeg_with(bits: int) -> bytes:
    data = bytearray(encode(RAMP, "JPEG"))
    data[data.index(b"\xff\xc0") + 4] = bits
    return bytes(data)


# raster


def tiff(pixels: np.ndarray[Any, Any], **tags: int) -> bytes:
    """An uncompressed grey TIFF, little endian, with any photometric interpretation and sample format."""
    height, width = pixels.shape
    entries = {
        256: width,
        257: height,
        258: pixels.dtype.itemsize * 8,
        259: 1,
        262: 1,
        273: 0,
        277: 1,
        278: height,
    }
    entries |= {279: pixels.nbytes, **{int(tag[1:]): value for tag, value in tags.items()}}
    entries[273] = 8 + 2 + 12 * len(entries) + 4
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries.items()))
    return struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + body + bytes(4) + pixels.tobytes()


def test_tiff_variants() -> None:
    wide = RAMP12
    assert close(read_xray(tiff(wide)).pixels, UNIT)
    assert close(read_xray(tiff(wide, t262=0)).pixels, 1 - UNIT)
    assert close(read_xray(tiff(RAMP, t262=0)).pixels, 1 - RAMP / 255)
    signed = (RAMP.astype(np.int16) - 128).astype(np.int8)
    assert close(read_xray(tiff(signed, t339=2)).pixels, RAMP / 252)
    signed16 = (wide.astype(np.int32) - 2048).astype(np.int16)
    assert close(read_xray(tiff(signed16, t339=2)).pixels, UNIT)


def test_tiff_thumbnails_do_not_count() -> None:
    full, small = RAMP, 255 - RAMP[:24, :32]
    for pages in ([(full, 0), (small, 1)], [(small, 1), (full, 0)], [(small, 1), (small, 1), (full, 0)]):
        assert np.array_equal(read_xray(tiff_pages(pages)).pixels, RAMP)
    with pytest.raises(InputError, match="holds 2 images"):
        read_xray(tiff_pages([(full, 0), (small, 0)]))


def tiff_pages(pages: list[tuple[np.ndarray[Any, Any], int]]) -> bytes:
    """Grey pages of 8 bits, each with its NewSubfileType."""
    data = struct.pack("<2sHI", b"II", 42, 8)
    for index, (pixels, kind) in enumerate(pages):
        one = tiff(pixels, t254=kind)[8:]
        directory = len(one) - pixels.nbytes
        entries = bytearray(one[:directory])
        for at in range(2, directory - 4, 12):
            if struct.unpack_from("<H", entries, at)[0] == 273:
                struct.pack_into("<I", entries, at + 8, len(data) + directory)
        following = len(data) + len(one) if index + 1 < len(pages) else 0
        struct.pack_into("<I", entries, directory - 4, following)
        data += bytes(entries) + pixels.tobytes()
    return data


def test_colour_png_of_16_bits_that_uses_12() -> None:
    rows = b"".join(b"\0" + np.repeat(row[:, None], 3, 1).astype(">u2").tobytes() for row in RAMP12)
    import zlib

    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 48, 16, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    xray = read_xray(data)
    assert xray.bits == 16 and close(xray.pixels, UNIT) and len(np.unique(xray.pixels)) > 60


# nobody's name

SECRET = "Zzyzx^Qwertz  "


def secret_file() -> bytes:
    """A DX file with the same name in every element that can hold text, those that we read too."""
    secret = SECRET.encode()
    texts = (
        *(
            (0x00080016, b"UI"),
            (0x00080018, b"UI"),
            (0x00080060, b"CS"),
            (0x00080080, b"LO"),
            (0x00081030, b"LO"),
        ),
        *(
            (0x00100010, b"PN"),
            (0x00100020, b"LO"),
            (0x00100030, b"DA"),
            (0x00181114, b"DS"),
            (0x00181164, b"DS"),
        ),
        *(
            (0x00185101, b"CS"),
            (0x0020000D, b"UI"),
            (0x0020000E, b"UI"),
            (0x00200020, b"CS"),
            (0x00280004, b"CS"),
        ),
        *(
            (0x00280008, b"IS"),
            (0x00280030, b"DS"),
            (0x00280A02, b"CS"),
            (0x00281050, b"DS"),
            (0x00281051, b"DS"),
        ),
        *((0x00281053, b"DS"), (0x00281056, b"CS"), (0x20500020, b"CS")),
    )
    numbers = {0x00280002: 1, 0x00280010: 48, 0x00280011: 64, 0x00280100: 16, 0x00280101: 12, 0x00280102: 11}
    elements = [(tag, vr, b"MONOCHROME2 " if tag == 0x00280004 else secret) for tag, vr in texts]
    elements += [(tag, b"US", struct.pack("<H", value)) for tag, value in numbers.items()]
    return raw(*sorted(elements), (0x7FE00010, b"OW", RAMP12.tobytes()))


def test_a_name_in_every_element_never_comes_out() -> None:
    data = secret_file()
    assert data.count(SECRET.encode()) >= 20
    rng = np.random.default_rng(5)
    head = data.index(b"\xe0\x7f\x10\x00")
    shown = 0
    for _ in range(300):
        broken = bytearray(data)
        for at in rng.integers(132, head + 12, rng.integers(0, 4)):
            broken[at] = rng.integers(0, 256)
        try:
            xray = read_xray(bytes(broken), name="x")
            said, shown = repr(xray), shown + 1
        except InputError as error:
            said = f"{error} {error.message} {error.hint} {error.detail} {error.code}"
        assert "zzyzx" not in said.lower() and "qwertz" not in said.lower(), said
    assert 0 < shown < 300
