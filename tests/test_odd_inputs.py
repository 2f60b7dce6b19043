"""Headers and uploads that no one should write and someone does: each gets a picture or a plain answer."""

from __future__ import annotations

import base64
import io
import struct
from collections.abc import Iterator

import httpx
import numpy as np
import pydicom
import pydicom.uid as uid
import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.encaps import encapsulate

from lungsight.errors import LungsightError
from lungsight.xray import XRay, read_xray
from xray_files import RAMP, UNIT, close, dicom, element, encode


def with_raw(word: str, value: bytes) -> bytes:
    """The ramp, with the bytes of one element as given: pydicom would not write them."""
    dataset = pydicom.dcmread(io.BytesIO(dicom()))
    tag = tag_for_keyword(word)
    assert tag is not None
    if tag in dataset:
        del dataset[tag]
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    data, at = buffer.getvalue(), 132
    while at < len(data):
        group, number, kind = struct.unpack_from("<HH2s", data, at)
        if (group << 16 | number) > tag:
            break
        long = kind in (b"OB", b"OW", b"SQ", b"UN", b"UT")
        length = struct.unpack_from("<L" if long else "<H", data, at + (8 if long else 6))[0]
        at += length + (12 if long else 8)
    added = element(tag, dictionary_VR(tag).split()[0].encode(), value + b" " * (len(value) % 2))
    return data[:at] + added + data[at:]


READ = [
    *(
        ("WindowWidth", value)
        for value in (b"NaN", b"0", b"-5", b"1e400", b"inf", b"0x10", b"1_000", b"1\\2\\3")
    ),
    *(("WindowCenter", value) for value in (b"nan", b"1e308", b"a b")),
    *(("RescaleSlope", value) for value in (b"0", b"nan", b"inf", b"1e308")),
    *(("RescaleIntercept", value) for value in (b"--1", b"nan", b"1e308")),
    *(("PixelSpacing", value) for value in (b"0\\0", b"nan\\1", b"1e-300\\1e-300", b"1e300\\1e300", b"0.1")),
    *(("PatientOrientation", value) for value in (b"R", b"\\", b"R\\R", b"XX\\YY")),
    *(("NumberOfFrames", value) for value in (b"0", b"-1", b"one")),
    *(("ViewPosition", value) for value in (b"P" * 16, b"\xff\xfe")),
    *(("HighBit", value) for value in (b"\x1f\0", b"\xff\xff", b"\0\0")),
    *(("BitsStored", value) for value in (b"\x11\0", b"\0\0", b"\xff\xff")),
    *(("SpecificCharacterSet", value) for value in (b"ISO_IR 9999", b"..\\..\\etc")),
    *(("SOPInstanceUID", value) for value in (b"../../x", b"1" * 70, b"1.2.\0.3")),
    *(("EstimatedRadiographicMagnificationFactor", value) for value in (b"0", b"-1", b"nan", b"1e9")),
    ("PhotometricInterpretation", b"monochrome2"),
    ("PixelPaddingValue", b"\1"),
    ("VOILUTFunction", b"EVIL"),
]


@pytest.mark.parametrize(("word", "value"), READ, ids=str)
def test_an_odd_element_is_not_used(word: str, value: bytes) -> None:
    xray = read_xray(with_raw(word, value))
    assert close(xray.pixels, UNIT) and xray.spacing is None and not xray.view and not xray.mirrored
    assert xray.sop_uid == "" if word == "SOPInstanceUID" else uid.UID(xray.sop_uid).is_valid


REFUSED = [
    ("NumberOfFrames", b"99999999999999999999", "several_images"),
    ("PhotometricInterpretation", b"MONOCHROME3", "unsupported"),
    ("SamplesPerPixel", b"\2\0", "unsupported"),
    ("SamplesPerPixel", b"\4\0", "unsupported"),
    ("BitsAllocated", b"\x18\0", "unsupported"),
    ("BitsAllocated", b"\x20\0", "damaged"),
    ("Rows", b"\0\0", "damaged"),
    ("Rows", b"\xff\xff", "damaged"),
]


@pytest.mark.parametrize(("word", "value", "code"), REFUSED, ids=str)
def test_what_leaves_no_picture_is_said(word: str, value: bytes, code: str) -> None:
    with pytest.raises(LungsightError) as caught:
        read_xray(with_raw(word, value))
    assert caught.value.code == code and "Doe" not in str(caught.value)


def test_files_within_and_before_files() -> None:
    whole = dicom()
    for data in (b"MZ" + whole[2:], b"II*\0\x08\0\0\0" + whole[8:], whole + whole):
        assert close(read_xray(data).pixels, UNIT)


@pytest.mark.parametrize(
    ("syntax", "kind"),
    [(uid.JPEGBaseline8Bit, "PNG"), (uid.JPEG2000, "JPEG"), (uid.JPEGLSLossless, "JPEG")],
    ids=str,
)
def test_a_stream_of_another_kind_is_damaged(syntax: uid.UID, kind: str) -> None:
    with pytest.raises(LungsightError) as caught:
        read_xray(dicom(RAMP, syntax, PixelData=encapsulate([encode(RAMP, kind)])))
    assert caught.value.code == "damaged"


def test_a_stream_in_twenty_fragments_is_one_image() -> None:
    stream = encode(RAMP, "JPEG", quality=95)
    data = dicom(RAMP, uid.JPEGBaseline8Bit, PixelData=encapsulate([stream], fragments_per_frame=20))
    assert close(read_xray(data).pixels, RAMP / 255)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_one_pixel_that_is_no_number_does_not_take_the_contrast(value: float) -> None:
    pixels = UNIT.astype(np.float32)
    pixels[0, 0] = value
    dataset = pydicom.dcmread(io.BytesIO(dicom()))
    del dataset.PixelData
    dataset.FloatPixelData = pixels.tobytes()
    dataset.BitsAllocated = dataset.BitsStored = 32
    dataset.HighBit = 31
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    found: XRay = read_xray(buffer.getvalue())
    assert np.isfinite(found.pixels).all() and close(found.pixels[1:], UNIT[1:])


# uploads


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    pytest.importorskip("fastapi")
    from lungsight.inference import load_model
    from lungsight.server.app import create_app
    from server_process import running
    from tiny_networks import write_bundle

    networks = write_bundle(tmp_path_factory.mktemp("networks"))
    with running(create_app(load_model(networks, threads=1))) as client:
        yield client


FILE = encode(np.kron(RAMP, np.ones((2, 2), np.uint8)))
NAMED = b'name="files"; filename="a"'


def part(
    boundary: bytes = b"B", named: bytes = NAMED, data: bytes = FILE, more: bytes = b"", eol: bytes = b"\r\n"
) -> bytes:
    return (
        b"--" + boundary + eol + b"Content-Disposition: form-data; " + named + eol + more + eol + data + eol
    )


def body(boundary: bytes = b"B", **given: bytes) -> bytes:
    return part(boundary, **given) + b"--" + boundary + b"--\r\n"


MULTIPART = "multipart/form-data; boundary="
UPLOADS: dict[str, tuple[str, bytes, int, str | None]] = {
    "quoted": (MULTIPART + '"B"', body(), 200, None),
    "capitals": ("Multipart/Form-Data; Boundary=B", body(), 200, None),
    "70 long": (MULTIPART + "b" * 70, body(b"b" * 70), 200, None),
    "71 long": (MULTIPART + "b" * 71, body(b"b" * 71), 400, "damaged_upload"),
    "a space": (MULTIPART + '"a b"', body(b"a b"), 200, None),
    "no ASCII": (MULTIPART + '"\xe4"', body(b"\xe4"), 400, "damaged_upload"),
    "none": ("multipart/form-data", body(), 400, "damaged_upload"),
    "empty": (MULTIPART, body(), 400, "damaged_upload"),
    "two": (MULTIPART + "B; boundary=C", body(), 200, None),
    "lines end in LF": (MULTIPART + "B", body(eol=b"\n"), 400, "damaged_upload"),
    "preamble": (MULTIPART + "B", b"x" * 100_000 + b"\r\n" + body(), 200, None),
    "epilogue": (MULTIPART + "B", body() + b"junk" * 1000, 200, None),
    "no end": (MULTIPART + "B", part(), 400, "cut_upload"),
    "nothing": (MULTIPART + "B", b"", 400, "cut_upload"),
    "only the end": (MULTIPART + "B", b"--B--\r\n", 422, "no_file"),
    "no name": (MULTIPART + "B", body(named=b'filename="a"'), 422, "no_file"),
    "no file name": (MULTIPART + "B", body(named=b'name="files"'), 422, "no_file"),
    "name twice": (MULTIPART + "B", body(named=b'name="files"; name="x"; filename="a"'), 422, "no_file"),
    "other charset": (
        MULTIPART + "B",
        body(named=b"name=\"files\"; filename*=UTF-8''%e4%00%0d%0aX"),
        200,
        None,
    ),
    "quotes": (MULTIPART + "B", body(named=b'name="files"; filename="a\\"b;c"'), 200, None),
    "base64": (
        MULTIPART + "B",
        body(more=b"Content-Transfer-Encoding: base64\r\n", data=base64.b64encode(FILE)),
        422,
        "other_kind",
    ),
    "nested": (MULTIPART + "B", body(data=body(b"C")), 422, "other_kind"),
    "large header": (MULTIPART + "B", body(more=b"X: " + b"y" * 70_000 + b"\r\n"), 400, "damaged_upload"),
    "20,000 headers": (MULTIPART + "B", body(more=b"X: y\r\n" * 20_000), 400, "damaged_upload"),
    "folded header": (MULTIPART + "B", body(more=b"X: a\r\n b\r\n"), 400, "damaged_upload"),
    "no colon": (MULTIPART + "B", body(more=b"nonsense\r\n"), 400, "damaged_upload"),
    "a boundary in the data": (MULTIPART + "B", body(data=FILE + b"\r\n--Bx"), 400, "damaged_upload"),
    "empty file": (MULTIPART + "B", body(data=b""), 422, "empty"),
    "17 files": (MULTIPART + "B", part() * 17 + b"--B--\r\n", 413, "too_many_files"),
    "form": ("application/x-www-form-urlencoded", b"a=b", 415, "not_multipart"),
    "JSON": ("application/json", b"{}", 415, "not_multipart"),
}


@pytest.mark.parametrize("kind", UPLOADS)
def test_an_odd_upload_gets_a_plain_answer(client: httpx.Client, kind: str) -> None:
    said, content, status, code = UPLOADS[kind]
    answer = client.post(
        "/v1/predictions", content=content, headers={b"content-type": said.encode("latin-1")}
    )
    assert answer.status_code == status, answer.text
    assert answer.json().get("code") == code
    # The next request finds the server as it was.
    assert client.get("/healthz").status_code == 200
