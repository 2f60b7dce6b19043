"""DICOM results of the server: which, whose, without an error of the standard's own checker."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pydicom
import pytest

from command import lungsight
from lungsight.inference import Lungsight, load_model
from lungsight.server.app import create_app
from lungsight.server.settings import Settings
from server_process import PATIENT, dicom, png, running
from tiny_networks import draw_chest, write_bundle

pytest.importorskip("highdicom")
URL = "/v1/predictions"
DICOM = {"Accept": "application/dicom"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Lungsight:
    return load_model(write_bundle(tmp_path_factory.mktemp("networks")), threads=1)


@pytest.fixture(scope="module")
def client(model: Lungsight) -> Iterator[httpx.Client]:
    with running(create_app(model)) as client:
        yield client


@pytest.fixture(scope="module")
def identified(model: Lungsight) -> Iterator[httpx.Client]:
    with running(create_app(model, Settings(identified=True))) as client:
        yield client


def ask(client: httpx.Client, data: bytes, kind: str = "seg") -> bytes:
    answer = client.post(URL, files={"files": ("a", data)}, params={"dicom": kind}, headers=DICOM)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/dicom"
    return answer.content


@pytest.mark.parametrize(
    ("kind", "modality"), [("seg", "SEG"), ("seg-zones", "SEG"), ("sc", "OT"), ("sr", "SR")]
)
def test_objects_name_nobody_unless_the_server_was_started_so(
    client: httpx.Client, identified: httpx.Client, kind: str, modality: str, tmp_path: Path
) -> None:
    data = dicom()
    made = {"hidden": ask(client, data, kind), "named": ask(identified, data, kind)}
    hidden, named = (pydicom.dcmread(io.BytesIO(one)) for one in made.values())
    assert hidden.Modality == named.Modality == modality
    assert hidden.PatientName == "" and hidden.PatientIdentityRemoved == "YES"
    assert named.PatientName == PATIENT["PatientName"] and named.PatientID == PATIENT["PatientID"]
    for value in PATIENT.values():
        assert value.encode() not in made["hidden"]
    asked = pydicom.dcmread(io.BytesIO(data))
    assert hidden.StudyInstanceUID == named.StudyInstanceUID == asked.StudyInstanceUID
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian: dicom3tools)")
    for name, content in made.items():
        path = tmp_path / f"{name}.dcm"
        path.write_bytes(content)
        said = subprocess.run(["dciodvfy", path], capture_output=True).stderr.decode("latin-1")
        assert not [line for line in said.splitlines() if line.startswith("Error")], (name, said)


def test_a_seg_keeps_the_size_of_a_pixel(client: httpx.Client) -> None:
    found = pydicom.dcmread(io.BytesIO(ask(client, dicom())))
    shared = found.SharedFunctionalGroupsSequence[0]
    assert list(shared.PixelMeasuresSequence[0].PixelSpacing) == [2, 1.5]


def test_a_corrected_mask_is_named_where_the_server_was_started_so(
    client: httpx.Client, identified: httpx.Client
) -> None:
    data, mask = dicom(), np.zeros(draw_chest().shape, np.uint8)
    mask[40:150, 20:70], mask[50:140, 95:140] = 1, 2
    parts = [("files", ("a", data)), ("files", ("m", png(mask)))]
    for one, name in ((client, ""), (identified, PATIENT["PatientName"])):
        answer = one.post("/v1/corrected", files=parts, headers=DICOM)
        assert answer.status_code == 200, answer.text
        found = pydicom.dcmread(io.BytesIO(answer.content))
        assert found.PatientName == name
        assert np.array_equal(found.pixel_array > 0, [mask == 1, mask == 2])


def test_another_kind_of_object_is_refused_by_name(client: httpx.Client) -> None:
    answer = client.post(URL, files={"files": ("a", dicom())}, params={"dicom": "rtstruct"}, headers=DICOM)
    assert answer.status_code == 422 and answer.headers["content-type"] == "application/problem+json"
    assert (
        client.post(URL, files={"files": ("a", png())}, params={"dicom": "sr"}, headers=DICOM).status_code
        == 406
    )


def test_the_command_line_has_the_switch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Settings] = []
    monkeypatch.setattr("lungsight.server.serve.serve", lambda model, settings, **_: seen.append(settings))
    networks = write_bundle(tmp_path)
    for more in ((), ("--identified",)):
        assert lungsight("serve", "--model", networks, "--threads", "1", *more).code == 0
    assert [one.identified for one in seen] == [False, True]
