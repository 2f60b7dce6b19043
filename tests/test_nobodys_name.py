"""A patient's name in every element of a DICOM file, whole and damaged in a thousand ways, never comes out.

Searched are the answers of the reader and of the server, its log and metrics, what `predict` writes and prints, and
anonymous DICOM results.
"""

from __future__ import annotations

import base64
import struct
import warnings
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from pydicom.datadict import DicomDictionary

from command import lungsight
from lungsight.errors import InputError, LungsightError
from lungsight.inference import load_model
from lungsight.server.answers import MediaType
from lungsight.writers.dicom_results import KINDS, encode_results
from lungsight.writers.dicom_source import Identity
from lungsight.xray import read_xray
from server_process import Server
from tiny_networks import draw_chest, write_bundle
from xray_files import element

NAME = b"Zzyzx^Qwertz"
PARTS = (b"zzyz", b"yzx^", b"qwer", b"wertz")
"""Of the name, in small letters: damage may cut it."""
SHORT = ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UI")
LONG = ("UC", "UR", "UT", "UN", "OB")
CHEST = draw_chest()
NEEDED: dict[int, tuple[bytes, bytes]] = {
    0x00280002: (b"US", struct.pack("<H", 1)),
    0x00280004: (b"CS", b"MONOCHROME2 "),
    0x00280010: (b"US", struct.pack("<H", CHEST.shape[0])),
    0x00280011: (b"US", struct.pack("<H", CHEST.shape[1])),
    0x00280100: (b"US", struct.pack("<H", 8)),
    0x00280101: (b"US", struct.pack("<H", 8)),
    0x00280102: (b"US", struct.pack("<H", 7)),
    0x00280103: (b"US", struct.pack("<H", 0)),
}
"""Without these there is no picture."""
IDENTIFYING: dict[int, tuple[bytes, bytes]] = {
    0x00080016: (b"UI", b"1.2.840.10008.5.1.4.1.1.1\0"),
    0x00080018: (b"UI", b"1.2.3.4.5\0"),
    0x0020000D: (b"UI", b"1.2.3\0"),
    0x0020000E: (b"UI", b"1.2.3.4\0"),
}
"""Without these there is no DICOM result."""


@cache
def secret_file(referable: bool = True, syntax: bytes = b"1.2.840.10008.1.2.1") -> bytes:
    """A chest X-ray with the name in every 3rd text element of the dictionary and in all that we read."""
    name = NAME + b"  "
    found: dict[int, tuple[bytes, bytes]] = {}
    for tag, (vr, _, _, _, _) in DicomDictionary.items():
        group = tag >> 16
        read = group in (0x0008, 0x0010, 0x0020, 0x0028)
        if 8 <= group < 0x5000 and vr in SHORT + LONG and (read or tag % 3 == 0):
            found[tag] = vr.encode(), name
    for group in (0x0009, 0x0011, 0x0029, 0x7FE1):  # private, with and without a VR that is known
        found[(group << 16) | 0x0010] = b"LO", name
        found |= {
            (group << 16) | 0x1000 + number: (vr.encode(), name) for number, vr in enumerate(SHORT + LONG)
        }
    inner = b"".join(
        element(tag, vr.encode(), name)
        for tag, vr in ((0x00080100, "SH"), (0x00080102, "SH"), (0x00080104, "LO"))
    )
    for depth in range(3):
        inner += sequence(0x00081140 + depth, inner)
    for tag in (0x00081115, 0x00082218, 0x00281199, 0x00283000, 0x00283010, 0x00540220, 0x00400275):
        found[tag] = b"SQ", sequence(tag, inner)[12:]
    found |= NEEDED | (IDENTIFYING if referable else {})
    body = b"".join(element(tag, *value) for tag, value in sorted(found.items()) if tag < 0x7FE00010)
    meta = element(0x00020002, b"UI", name) + element(0x00020003, b"UI", name)
    meta += element(0x00020010, b"UI", syntax + b"\0" * (len(syntax) % 2))
    meta += element(0x00020013, b"SH", name) + element(0x00020016, b"AE", name)
    tail = element(0xFFFCFFFC, b"OB", name * 4)
    pixels = element(0x7FE00010, b"OB", CHEST.tobytes())
    data = body + pixels + tail
    if syntax.endswith(b".99"):
        packer = zlib.compressobj(9, wbits=-15)
        data = packer.compress(data) + packer.flush()
    return (NAME * 11)[:128] + b"DICM" + meta + data


def sequence(tag: int, items: bytes) -> bytes:
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(items)) + items
    return element(tag, b"SQ", item)


def damage(data: bytes, rng: np.random.Generator) -> bytes:
    """One of seven ways to spoil a file."""
    broken = bytearray(data)
    head = len(data) - CHEST.size
    at = int(rng.integers(132, head))
    match int(rng.integers(0, 7)):
        case 0:
            for place in rng.integers(0, head, rng.integers(1, 6)):
                broken[place] = rng.integers(0, 256)
        case 1:
            return data[: int(rng.integers(140, len(data)))]
        case 2:  # a length that is wrong: the next elements become part of a value
            places = [
                place for place in range(at, min(at + 60, head)) if data[place : place + 2] == b"\x0e\0"
            ]
            for place in places[:1]:
                broken[place : place + 2] = struct.pack("<H", int(rng.integers(0, 200)))
        case 3:  # bytes that are lost
            del broken[at : at + int(rng.integers(1, 40))]
        case 4:  # bytes that are too many, of the name
            broken[at:at] = (NAME * 9)[: int(rng.integers(1, 99))]
        case 5:  # another type
            place = data.find(NAME, at)
            broken[place - 4 : place - 2] = rng.choice([b"US", b"SQ", b"UN", b"FD", b"UI", b"DS", b"xx"])
        case _:  # a value that we read
            chosen = rng.choice([*NEEDED, *IDENTIFYING, 0x00080060, 0x00185101, 0x00280030, 0x00081140])
            place = data.find(struct.pack("<HH", int(chosen) >> 16, int(chosen) & 0xFFFF), 300)
            if place > 0:
                broken[place + 8 : place + 8 + len(NAME)] = NAME
    return bytes(broken)


def leaks(text: bytes | str) -> bool:
    raw = (text.encode("utf-8", "replace") if isinstance(text, str) else text).lower().replace(b"\0", b"")
    return any(part in raw for part in PARTS)


def test_the_file_holds_the_name_and_can_be_read() -> None:
    for syntax in (b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.1.99"):
        xray = read_xray(secret_file(syntax=syntax))
        assert np.array_equal(xray.pixels, CHEST) and xray.study_uid == "1.2.3" and not leaks(repr(xray))
    assert secret_file().count(NAME) > 800 and leaks(secret_file())
    assert read_xray(secret_file(False)).study_uid == ""


def test_reader_says_no_name_whatever_is_damaged(tmp_path: Path) -> None:
    """1,000 files; of those that can still be read, some become anonymous DICOM results."""
    rng = np.random.default_rng(16)
    model = load_model(write_bundle(tmp_path), threads=1)
    shown = failed = made = 0
    for number in range(1000):
        data = damage(secret_file(referable=number % 2 == 0), rng)
        try:
            xray = read_xray(data, name="x")
        except InputError as error:
            failed += 1
            said = f"{error!r} {error} {error.message} {error.hint} {error.code} {error.where} {error.detail}"
            assert not leaks(said), number
            continue
        shown += 1
        assert not leaks(repr([getattr(xray, field) for field in xray.__slots__ if field != "pixels"])), (
            number
        )
        if shown % 30 == 0:
            made += dicom_results(data, model, number)
    assert shown > 300 and failed > 300 and made > 5


def dicom_results(data: bytes, model: Any, number: int) -> int:
    """How many anonymous objects were made."""
    result = model(data, name="x")
    identity = Identity(anonymous=True, new_uids=number % 3 == 0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            made = encode_results(data, result, KINDS, identity, include_score=True)
        except LungsightError as error:
            assert not leaks(f"{error!r} {error} {error.hint}"), number
            made = []
    assert not [one for one in caught if leaks(str(one.message))], number
    assert not [kind for kind, (_, one) in zip(KINDS, made, strict=False) if leaks(one)], number
    return len(made)


def test_tables_pages_and_terminal_say_no_name(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(7)
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for number in range(40):
        data = secret_file(number % 2 == 0)
        (folder / f"{number}.dcm").write_bytes(data if number < 2 else damage(data, rng))
    model = write_bundle(tmp_path / "networks")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        done = lungsight(
            *("predict", folder, "-o", out, "--model", model, "--threads", "1", "--anonymous", "--verbose"),
            *("--format", "seg", "--format", "sr", "--format", "sc", "--format", "coco", "--include-score"),
        )
    assert done.code in (0, 1)
    written = [path for path in out.rglob("*") if path.is_file()]
    assert {"results.csv", "results.json", "contact.html"} <= {path.name for path in written}
    assert len([path for path in written if path.name.endswith(".dcm")]) > 5
    assert [path for path in written if leaks(path.read_bytes()) or leaks(path.name)] == []
    terminal = capfd.readouterr()
    assert not leaks(done.out + done.err + terminal.out + terminal.err + caplog.text)
    assert not [one for one in caught if leaks(str(one.message))]


def test_server_says_no_name(tmp_path: Path) -> None:
    """60 damaged files, in every form of an answer; answers, headers, log and metrics."""
    rng = np.random.default_rng(12)
    statuses = []
    with (
        Server(write_bundle(tmp_path)) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        for number in range(60):
            data = secret_file(number % 2 == 0)
            data = data if number < 5 else damage(data, rng)
            accept = list(MediaType)[number % 5]
            answer = client.post(
                "/v1/predictions", files={"files": ("a", data)}, headers={"Accept": str(accept)}
            )
            statuses.append(answer.status_code)
            assert not leaks(answer.content) and not leaks(str(answer.headers)), number
            if accept is MediaType.json and answer.status_code == 200:
                mask = answer.json()["predictions"][0].get("mask") or {}
                assert not leaks(base64.b64decode(mask.get("png", ""))), number
        assert not leaks(client.get("/metrics").content)
    assert not leaks(server.log) and "Traceback" not in server.log
    assert statuses.count(200) > 10 and statuses.count(422) > 10 and set(statuses) <= {200, 406, 422}
