"""DICOMweb against Orthanc: X-rays by QIDO and WADO, results by STOW."""

from __future__ import annotations

import io
import json
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pydicom.uid as uid
import pytest

from command import lungsight
from lungsight.errors import ConfigError, InputError, RefusedError
from lungsight.inference import load_model
from lungsight.pacs.dicomweb import DicomWeb, Reference, exchange
from lungsight.xray import read_xray
from programs import running_orthanc
from tiny_networks import draw_chest, write_bundle
from xray_files import dicom

pytest.importorskip("dicomweb_client")
pytest.importorskip("highdicom")
CHEST = draw_chest()


def xray(number: int, syntax: Any = uid.ExplicitVRLittleEndian, **more: Any) -> bytes:
    uids = {"SeriesInstanceUID": f"1.2.3.{number}", "SOPInstanceUID": f"1.2.3.{number}.1"}
    return dicom(CHEST, syntax, **{"StudyInstanceUID": "1.2.3", "StudyDate": "20260102", **uids, **more})


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    """With three objects of one study: two X-rays, of them one compressed, and a mammogram."""
    with running_orthanc(tmp_path_factory.mktemp("orthanc"), dicomweb=True) as ports:
        mammogram = {"Modality": "MG", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.2"}
        for data in (xray(1), xray(2, uid.JPEG2000Lossless), xray(3, **mammogram)):
            ask(ports, "/instances", data)
        yield ports


def ask(ports: dict[str, int], path: str, body: bytes | None = None) -> Any:
    request = urllib.request.Request(f"http://127.0.0.1:{ports['http']}{path}", data=body)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def root(ports: dict[str, int]) -> str:
    return f"http://127.0.0.1:{ports['http']}/dicom-web"


def test_finds_xrays_by_study_series_or_date_and_fetches_them(orthanc: dict[str, int]) -> None:
    server = DicomWeb(root(orthanc))
    both = {Reference("1.2.3", f"1.2.3.{n}", f"1.2.3.{n}.1") for n in (1, 2)}
    assert set(server.find(["1.2.3"])) == both == set(server.find(date="20260101-20260103"))
    assert server.find(["1.2.3"], series=["1.2.3.2"]) == [Reference("1.2.3", "1.2.3.2", "1.2.3.2.1")]
    assert server.find(["1.2.9"]) == [] == server.find(date="20250101")
    for reference in both:
        read = read_xray(server.fetch(reference))
        assert np.array_equal(read.pixels, CHEST) and read.sop_uid == reference.instance
    with pytest.raises(InputError, match="status 404"):
        server.fetch(Reference("1.2.3", "1.2.3.1", "1.2.99"))


def test_round_trip_from_the_command_line(orthanc: dict[str, int], tmp_path: Path) -> None:
    """SEG and overlay come to lie in the study; a second run predicts no result of the first and doubles none."""
    networks = write_bundle(tmp_path / "networks", "lungs")
    out = tmp_path / "out"
    options = ("--model", networks, "--threads", "1", "--result", "seg", "--result", "sc", "-o", out)
    first = lungsight("dicom-web", root(orthanc), "--study", "1.2.3", "--series", "1.2.3.1", *options)
    assert first.code == 0 and "1 found, 1 predicted, 0 refused, 2 results stored" in first.out, first.err
    kept = {tags["Modality"]: tags for tags in series_of(orthanc)}
    assert {"SEG", "OT"} <= set(kept) and len(series_of(orthanc)) == 5
    (path,) = (path for path in out.iterdir() if pydicom.dcmread(path).Modality == "SEG")
    stored = ask_file(orthanc, pydicom.dcmread(path).SOPInstanceUID)
    expected = load_model(networks, threads=1)(xray(1)).labels
    assert (stored.pixel_array[0] > 0).sum() == (expected == 1).sum() > 0
    assert np.array_equal(stored.pixel_array > 0, [expected == 1, expected == 2])
    assert (stored.PatientName, stored.StudyInstanceUID) == ("Doe^Jane", "1.2.3")
    again = lungsight("dicom-web", root(orthanc), "--study", "1.2.3", *options)
    assert again.code == 0 and "3 found, 2 predicted, 1 refused, 4 results stored" in again.out, again.err
    assert len(series_of(orthanc)) == 7 and len(ask(orthanc, "/instances")) == 7


def series_of(ports: dict[str, int]) -> list[dict[str, Any]]:
    return [one["MainDicomTags"] for one in ask(ports, "/series?expand")]


def ask_file(ports: dict[str, int], sop_uid: str) -> pydicom.Dataset:
    (found,) = ask(ports, "/tools/lookup", sop_uid.encode())
    with urllib.request.urlopen(
        f"http://127.0.0.1:{ports['http']}{found['Path']}/file", timeout=60
    ) as answer:
        return pydicom.dcmread(io.BytesIO(answer.read()))


@pytest.mark.parametrize(
    ("status", "kind", "body", "code"),
    [
        (401, "application/json", b"{}", "dicomweb_status"),
        (200, "text/html", b"<html>Doe^Jane</html>", "no_dicomweb"),
        (200, "application/dicom+json", b"{'Doe^Jane", "no_dicomweb"),
        (200, "application/dicom+json", b'["Doe^Jane"]', "no_dicomweb"),
        (
            200,
            "application/dicom+json",
            b'[%s{"0020000E": {"Value": ["1.2"]}}]' % (b'"x",' * 300),
            "no_dicomweb",
        ),
    ],
)
def test_answers_that_are_none_are_told_without_their_words(
    status: int, kind: str, body: bytes, code: str
) -> None:
    with answering(status, kind, body) as url, pytest.raises(InputError) as caught:
        server = DicomWeb(url, token="secret-token")
        server.find(["1.2.3"])
        server.fetch(Reference("1.2.3", "1.2.3.4", "1.2.3.4.5"))
    assert caught.value.code == code and "Doe" not in str(caught.value) and "secret" not in str(caught.value)


class answering:
    """A server that gives one answer to everything."""

    def __init__(self, status: int, kind: str, body: bytes) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> str:
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def test_what_is_asked_for_is_checked_before_anything_is_sent() -> None:
    with pytest.raises(ConfigError, match="http"):
        DicomWeb("ftp://pacs")
    server = DicomWeb("http://127.0.0.1:9")
    for asked in (
        {},
        {"studies": ["Doe^Jane"]},
        {"studies": ["1.2"], "series": ["x/../y"]},
        {"date": "soon"},
    ):
        with pytest.raises(ConfigError) as caught:
            server.find(**asked)  # type: ignore[arg-type]
        assert "Doe" not in str(caught.value)
    with pytest.raises(InputError, match="cannot be reached"):
        server.find(["1.2.3"])


def test_one_that_fails_costs_no_other(tmp_path: Path) -> None:
    class Kept(DicomWeb):
        def __init__(self) -> None:
            self.stored: list[bytes] = []

        def fetch(self, one: Reference) -> bytes:
            return one.instance.encode()

        def store(self, objects: Any) -> None:
            self.stored += objects

    def make(data: bytes) -> list[tuple[str, bytes]]:
        if data == b"1.1":
            raise RefusedError("a side view")
        if data == b"1.2":
            raise InputError("damaged")
        return [("1.9", b"result of " + data)]

    server = Kept()
    done = exchange(server, [Reference("1", "1", f"1.{n}") for n in range(4)], make, out=tmp_path)
    assert (done.found, done.predicted, done.refused, done.stored, done.failed) == (4, 2, 1, 2, 1)
    assert server.stored == [b"result of 1.0", b"result of 1.3"] and (tmp_path / "1.9.dcm").is_file()
