"""What a hostile, careless or slow client can do to the server, and what of an upload it lets out: nothing."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from lungsight.cli import app as cli
from lungsight.errors import ConfigError
from lungsight.inference import Lungsight, load_model
from lungsight.server import answers
from lungsight.server import app as guarded
from lungsight.server.app import create_app
from lungsight.server.multipart import MultipartReader
from lungsight.server.serve import is_loopback
from lungsight.server.settings import LOOPBACK, MIB, Settings
from programs import listens, wait_for
from server_process import PATIENT, RUN, Server, dicom, png, running
from tiny_networks import write_bundle

URL = "/v1/predictions"


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("networks"))


@pytest.fixture(scope="module")
def model(networks: Path) -> Lungsight:
    return load_model(networks, threads=1)


@pytest.fixture(scope="module")
def client(model: Lungsight) -> Iterator[httpx.Client]:
    tight = Settings(
        hosts=LOOPBACK, max_files=3, queue=4, max_file_bytes=MIB, max_request_bytes=2 * MIB, max_pixels=10**6
    )
    with running(create_app(model, tight)) as client:
        yield client


@pytest.fixture(scope="module")
def server(networks: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A process of its own, with an empty folder for temporary files."""
    temporary = tmp_path_factory.mktemp("tmp")
    with Server(networks, temporary=temporary) as server:
        server.temporary = temporary  # type: ignore[attr-defined]
        yield server


@pytest.fixture(scope="module")
def impatient(networks: Path) -> Iterator[Server]:
    """One that waits a second where others wait 30."""
    with Server(networks, "--upload-seconds", "1") as server:
        yield server


def send(client: httpx.Client, *files: bytes, name: str = "a.png", **more: Any) -> httpx.Response:
    return client.post(URL, files=[("files", (name, data)) for data in files], **more)


def problem(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    return str(answer.json()["detail"])


def bomb(side: int) -> bytes:
    """A small PNG that says it is side x side."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(b"\0" * min((side + 1) * side, 4 * MIB), 9)
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


# Who may ask


def test_every_answer_is_dressed(client: httpx.Client) -> None:
    for answer in (
        client.get("/"),
        client.get("/static/app.js"),
        client.get("/healthz"),
        client.get("/nothing"),
        send(client, png()),
        send(client, b"junk"),
        client.get("/healthz", headers={"Host": "evil.example"}),
    ):
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in answer.headers


def test_another_name_for_this_machine(client: httpx.Client) -> None:
    problem(client.get("/v1/models", headers={"Host": "evil.example:8000"}), 421)
    assert client.get("/v1/models", headers={"Host": "LOCALHOST:99"}).status_code == 200


def test_a_page_of_another_site(client: httpx.Client) -> None:
    for site in ("cross-site", "same-site"):
        problem(send(client, png(), headers={"Sec-Fetch-Site": site}), 403)
    assert send(client, png(), headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200


def test_the_token(model: Lungsight) -> None:
    with running(create_app(model, Settings(token="correct-horse"))) as client:
        for headers in (
            {},
            {"Authorization": "Bearer wrong-horse"},
            {"Authorization": "Bearer"},
            {"Authorization": "Basic correct-horse"},
            {"Authorization": "Bearer correct-horse2"},
            {b"Authorization": b"Bearer corr\xe9ct-horse"},
        ):
            for path in ("/v1/models", "/metrics", "/openapi.json", "/v1/sample", "/nothing"):
                answer = client.get(path, headers=headers)  # type: ignore[arg-type]
                problem(answer, 401)
                assert answer.headers["www-authenticate"].startswith("Bearer")
            assert send(client, png(), headers=headers).status_code == 401
        assert client.get("/healthz").status_code == 200
        assert client.get("/").status_code == 200
        right = {"Authorization": "Bearer correct-horse"}
        assert client.get("/v1/models", headers=right).status_code == 200
        assert send(client, png(), headers=right).status_code == 200


def test_only_this_machine_by_default(server: Server) -> None:
    for address in {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}:
        if not str(address).startswith("127."):
            with pytest.raises(OSError):
                socket.create_connection((str(address), server.port), 2).close()
    assert is_loopback("127.0.0.1") and is_loopback("::1") and is_loopback("localhost")
    assert not is_loopback("0.0.0.0") and not is_loopback("example.org")


# How much


def test_a_bomb(client: httpx.Client) -> None:
    assert "30,000 x 30,000" in problem(send(client, bomb(30_000)), 422)
    assert "million" in problem(send(client, bomb(1100)), 422)
    assert "Limits(" not in send(client, bomb(30_000)).text


def test_a_file_too_large_harms_itself_alone(client: httpx.Client) -> None:
    rows = send(client, png() + b"\0" * (MIB + 1), png()).json()["predictions"]
    assert [row["result"]["status"] for row in rows] == ["failed", "ok"]
    assert "larger" in rows[0]["result"]["message"]


def test_a_request_too_large(client: httpx.Client) -> None:
    assert "2 MiB" in problem(send(client, b"\0" * (3 * MIB)), 413)

    def endless() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
        for _ in range(48):
            yield b"\0" * (64 * 1024)

    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    problem(client.post(URL, content=endless(), headers=kind), 413)
    assert client.get("/healthz").status_code == 200


def test_too_many_files(client: httpx.Client) -> None:
    assert "3 files" in problem(send(client, *[png()] * 4), 413)


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({"Content-Type": "application/json"}, b"{}", 415),
        ({}, b"hello", 415),
        ({"Content-Type": "multipart/form-data"}, b"hello", 400),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"hello there", 400),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x\r\n\r\n\r\n--x--\r\n", 400),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x--\r\n", 422),
        ({"Content-Type": "multipart/form-data; boundary=x; charset=utf-99"}, b"--x--\r\n", 422),
        ({"Content-Type": "multipart/form-data; boundary=x; charset=undefined"}, b"--x--\r\n", 422),
        ({"Content-Type": f"multipart/form-data; boundary={'x' * 71}"}, b"--x--\r\n", 400),
    ],
)
def test_bodies_that_are_no_upload(
    client: httpx.Client, headers: dict[str, str], content: bytes, status: int
) -> None:
    problem(client.post(URL, content=content, headers=headers), status)


def test_a_wrong_type_with_the_right_name(client: httpx.Client) -> None:
    told = problem(send(client, b"MZ" + b"\x90" * 300, name="chest.png"), 422)
    assert "program" in told
    assert send(client, png(), name="malware.exe").status_code == 200


def test_overload_is_told_and_does_not_grow(model: Lungsight) -> None:
    hold, entered = threading.Event(), threading.Event()

    class Held(Lungsight):
        def predict_many(self, sources: Any, *, batch: int = 8) -> Any:
            entered.set()
            hold.wait(120)
            return super().predict_many(sources, batch=batch)

    slow = Held(model.bundle, threads=1)
    with running(create_app(slow, Settings(max_files=2, queue=2, batch=1))) as client:
        found: list[int] = []
        threads = [
            threading.Thread(target=lambda: found.append(send(client, png()).status_code)) for _ in "ab"
        ]
        for thread in threads:
            thread.start()
        assert entered.wait(60)
        wait_for(lambda: metric(client, "lungsight_queue_xrays") == 2)
        for _ in range(5):
            answer = send(client, png())
            problem(answer, 503)
            assert 1 <= int(answer.headers["retry-after"]) <= 120
        assert "lungsight_queue_xrays 2.0" in client.get("/metrics").text
        assert client.get("/healthz").status_code == 200
        hold.set()
        for thread in threads:
            thread.join(60)
        assert found == [200, 200]
        assert send(client, png()).status_code == 200


def test_memory_for_uploads_is_bounded(model: Lungsight) -> None:
    settings = Settings(max_held_bytes=MIB, max_file_bytes=4 * MIB, max_request_bytes=4 * MIB)
    with running(create_app(model, settings)) as client:
        answer = send(client, b"\0" * (2 * MIB))
        problem(answer, 503)
        assert "retry-after" in answer.headers
        assert "lungsight_held_bytes 0.0" in client.get("/metrics").text
        assert send(client, png()).status_code == 200


def test_an_answer_that_takes_too_long(model: Lungsight, monkeypatch: pytest.MonkeyPatch) -> None:
    answered, hold = answers.payload, threading.Event()

    def slowly(*arguments: Any) -> Any:
        hold.wait(120)
        return answered(*arguments)

    with running(create_app(model, Settings(answer_seconds=0.2))) as client:
        monkeypatch.setattr(answers, "payload", slowly)
        answer = send(client, png())
        problem(answer, 503)
        assert "retry-after" in answer.headers
        monkeypatch.undo()
        hold.set()
        # On a busy machine this one may take too long as well.
        wait_for(lambda: send(client, png()).status_code == 200)


def part(data: bytes, name: str = "files", more: bytes = b"") -> bytes:
    head = b'--x\r\nContent-Disposition: form-data; name="%s"; filename="a"\r\n' % name.encode()
    return head + more + b"\r\n" + data + b"\r\n"


MULTIPART = {"Content-Type": "multipart/form-data; boundary=x"}


@pytest.mark.parametrize("charset", ["punycode", "undefined", "idna", "utf-7", "utf-16", "rot13", "zip"])
def test_the_clients_charset_is_not_used(client: httpx.Client, charset: str) -> None:
    """Decoding half a megabyte of name as punycode took 36 s, in which the server answered nobody."""
    head = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
    long = part(b"", name="\xe4-" + "a" * 8000) + part(png(), more=b"X-Long: " + b"a-" * 2000 + b"\r\n")
    start = time.process_time()  # the server's threads and the client's, not what else the machine does
    answer = client.post(URL, content=part(png()) + b"--x--\r\n", headers=head)
    assert answer.status_code == 200
    assert client.post(URL, content=long + b"--x--\r\n", headers=head).status_code in (200, 400)
    assert time.process_time() - start < 10


@pytest.mark.parametrize("cut", [3, 5, 9, 40, 200])
def test_a_body_that_is_cut_short(client: httpx.Client, cut: int) -> None:
    whole = part(png()) + part(png()) + b"--x--\r\n"
    assert client.post(URL, content=whole, headers=MULTIPART).status_code == 200
    assert "cut short" in problem(client.post(URL, content=whole[:-cut], headers=MULTIPART), 400)


@pytest.mark.parametrize(
    "body",
    [
        part(b"", name="other") * 200 + b"--x--\r\n",
        b"--x\r\n" + b"A: b\r\n" * 40_000,
        b"--x" + b" " * 100_000,
        b"\r\n--" * 100_000,
        part(b"\r\n--" * 100_000)[:-2],
    ],
    ids=[
        "many parts",
        "many headers",
        "no end of a boundary",
        "almost boundaries",
        "almost boundaries inside",
    ],
)
def test_bodies_made_to_be_slow(client: httpx.Client, body: bytes) -> None:
    start = time.process_time()
    assert client.post(URL, content=body, headers=MULTIPART).status_code in (400, 413)
    assert time.process_time() - start < 5


@given(
    files=st.lists(st.binary(max_size=60), max_size=3),
    cuts=st.lists(st.integers(0, 400), max_size=12),
    noise=st.sampled_from([b"", b"\r\n", b"\r\n--", b"\r\n--x", b"--x--"]),
)
@settings(max_examples=80, deadline=None)
def test_a_body_is_the_same_however_it_comes(files: list[bytes], cuts: list[int], noise: bytes) -> None:
    """In any pieces, with what looks like a boundary at the end of a file."""
    files = [data.replace(b"--x", b"") + (noise if b"--x" not in noise else b"") for data in files]
    body = (
        b"preamble\r\n" + b"".join(part(data) + part(b"1", name="other") for data in files) + b"--x--\r\nend"
    )
    reader = MultipartReader(b"x", (b"files",), 3)
    at = 0
    for cut in [*sorted({min(cut, len(body)) for cut in cuts}), len(body)]:
        reader.feed(body[at:cut])
        at = cut
    assert reader.ended and [bytes(data) for data in reader.files] == files


def test_memory_is_reserved_by_the_length_that_is_announced(model: Lungsight) -> None:
    """Else many uploads that each fit get in one another's way half-way, and none is ever whole."""
    limits = Settings(max_held_bytes=3 * MIB, max_file_bytes=2 * MIB, max_request_bytes=2 * MIB)
    with running(create_app(model, limits)) as client:
        address = (client.base_url.host, client.base_url.port)
        head = (
            f"POST {URL} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {2 * MIB}\r\n"
            "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        ).encode()
        with socket.create_connection(address, 60) as first:
            first.sendall(head + b"--x\r\n")
            wait_for(lambda: held(client) == 2 * MIB)
            with socket.create_connection(address, 60) as second:
                second.sendall(head)
                assert b" 503 " in second.recv(4096)
        # Who went away holds nothing.
        wait_for(lambda: held(client) == 0)
        assert send(client, png()).status_code == 200


def held(client: httpx.Client) -> float:
    return metric(client, "lungsight_held_bytes")


def metric(client: httpx.Client, name: str) -> float:
    text = client.get("/metrics").text
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} "))


def test_who_went_away_takes_what_waits_along(model: Lungsight) -> None:
    hold, worked_on = threading.Event(), []

    class Held(Lungsight):
        def predict_many(self, sources: Any, *, batch: int = 8) -> Any:
            worked_on.append(batch)
            hold.wait(120)
            return super().predict_many(sources, batch=batch)

    with running(
        create_app(Held(model.bundle, threads=1), Settings(max_files=8, queue=16, batch=1))
    ) as client:
        body = part(png()) * 8 + b"--x--\r\n"
        head = f"POST {URL} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        with socket.create_connection((client.base_url.host, client.base_url.port), 60) as connection:
            connection.sendall(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n".encode() + body)
            wait_for(lambda: metric(client, "lungsight_queue_xrays") == 8)
        # The one in the networks is finished, and those that were already decoded; nothing else.
        wait_for(lambda: held(client) == 0)
        hold.set()
        wait_for(lambda: metric(client, "lungsight_queue_xrays") == 0)
        assert len(worked_on) < 8
        assert send(client, png()).status_code == 200


# How fast


LESS_THAN_USUAL = 25
"""Seconds: an impatient server needs one, one that does not heed its setting 30."""


def test_a_slow_upload_is_cut_off(impatient: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", impatient.port, timeout=60)
    connection.putrequest("POST", URL)
    connection.putheader("Content-Type", "multipart/form-data; boundary=x")
    connection.putheader("Content-Length", "1000")
    connection.endheaders()
    connection.send(b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n')
    start = time.monotonic()
    answer = connection.getresponse()
    assert answer.status == 408
    assert json.loads(answer.read())["status"] == 408
    assert time.monotonic() - start < LESS_THAN_USUAL


@pytest.mark.parametrize("head", [b"", b"GET /healthz HTTP/1.1\r\nHost: loc"])
def test_a_slow_head_is_cut_off(impatient: Server, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", impatient.port), LESS_THAN_USUAL) as connection:
        connection.sendall(head)
        assert connection.recv(100) == b""
    # A second request on a connection has no longer time than the first.
    with socket.create_connection(("127.0.0.1", impatient.port), LESS_THAN_USUAL) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = b""
        while not received.endswith(b"ok\n"):
            received += connection.recv(4096)
        connection.sendall(b"GET /h")
        assert connection.recv(100) == b""


def chunked(size: int, count: int, kept: bytes = b"") -> bytes:
    """A request whose body comes in so many chunks of so many bytes; `kept` begins it in a chunk of its own."""
    chunk = b"%x\r\n%s\r\n" % (size, b"-" * size)
    return (
        b"POST /v1/predictions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\nConnection: close\r\n\r\n"
        + (b"%x\r\n%s\r\n" % (len(kept), kept) if kept else b"")
        + chunk * count
        + b"0\r\n\r\n"
    )


PART = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'


@pytest.mark.parametrize(
    ("size", "count", "refused"), [(1, 2_002, True), (1, 2_000, False), (63, 9_000, True), (64, 9_000, False)]
)
def test_a_body_in_chunks_of_a_byte_is_refused(server: Server, size: int, count: int, refused: bool) -> None:
    """One such body kept the event loop from everybody else for seconds."""
    answer = b"reset"  # as the system does where part of what was sent is not read
    with (
        contextlib.suppress(ConnectionError),
        socket.create_connection(("127.0.0.1", server.port), 60) as connection,
    ):
        connection.sendall(chunked(size, count))
        answer = connection.makefile("rb").read()
    assert (answer == b"reset" or b"too small chunks" in answer) == refused
    assert refused or answer.startswith(b"HTTP/1.1 400")


def test_others_are_answered_while_bodies_come_in_chunks_of_a_byte(server: Server) -> None:
    body, ended = chunked(1, 400_000, PART), threading.Event()

    def attack() -> None:
        while not ended.is_set():
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", server.port), 60) as one,
            ):
                one.sendall(body)
                one.recv(100)

    attackers = [threading.Thread(target=attack) for _ in range(3)]
    for attacker in attackers:
        attacker.start()
    try:
        for _ in range(10):
            start = time.monotonic()
            assert httpx.get(f"http://127.0.0.1:{server.port}/healthz", timeout=30).status_code == 200
            assert time.monotonic() - start < 2, "a second is the goal; the machine may be busy"
    finally:
        ended.set()
        for attacker in attackers:
            attacker.join()


def test_who_does_not_read_is_cut_off(networks: Path) -> None:
    """What it holds is counted, and given back when it is cut off."""
    at_once = "from lungsight.server import guard; guard.LEAST_RATE = 10**9\n" + RUN
    with (
        Server(networks, "--upload-seconds", "3", code=at_once) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        noise = np.random.default_rng(0).integers(0, 255, (1500, 1500), np.uint8)
        body = part(png(noise)) * 4 + b"--x--\r\n"
        head = f"POST {URL}?include=display HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(60)
            connection.connect(("127.0.0.1", server.port))
            connection.sendall(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n".encode() + body)
            wait_for(lambda: held(client) > len(body))
            wait_for(lambda: held(client) == 0)
            wait_for(lambda: open_connections(server) <= 1)
        assert client.get("/healthz").status_code == 200
        assert "Traceback" not in server.log


def open_connections(server: Server) -> int:
    """Sockets of the process that are connected to a client."""
    local = f":{server.port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(local) and row[3] == "01" for row in rows)


# What gets out


@pytest.mark.parametrize(
    "name",
    [
        "<img src=x onerror=alert(1)>.png",
        "../../../../tmp/escaped.png",
        "C:\\Windows\\x.png",
        "Quatermain.png",
    ],
)
def test_file_names_go_nowhere(server: Server, name: str) -> None:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for data in (png(), b"junk"):
            answer = send(client, data, name=name)
            text = answer.text + str(answer.headers)
            assert "onerror" not in text and "escaped" not in text and "Quatermain" not in text
        client.get(f"/{name.replace('/', '')}", params={"q": name})
    assert "onerror" not in server.log and "escaped" not in server.log and "Quatermain" not in server.log
    assert list(server.temporary.iterdir()) == []  # type: ignore[attr-defined]


def test_a_patient_goes_nowhere(server: Server) -> None:
    parts = [("include", part) for part in ("mask", "display", "grey", "probability", "evidence")]
    damaged = dicom()
    damaged = damaged[: len(damaged) - 5000]
    with warnings.catch_warnings(action="ignore"):
        odd = dicom(StudyInstanceUID="Quatermain^Zebediah", ViewPosition="PA")
    outputs = []
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for data in (dicom(), odd, damaged):
            for accept in answers.MediaType:
                answer = client.post(
                    URL, files={"files": ("x", data)}, params=parts, headers={"Accept": str(accept)}
                )
                assert answer.status_code in (200, 422)
                outputs.append(answer.content)
                if accept is answers.MediaType.json and answer.status_code == 200:
                    outputs += [base64.b64decode(text) for text in _strings(answer.json()) if is_base64(text)]
        outputs.append(client.get("/metrics").content)
    outputs.append(server.log.encode())
    assert sum(len(output) for output in outputs) > 50_000
    for value in PATIENT.values():
        for piece in value.split("^"):
            assert not any(piece.encode() in output for output in outputs), piece
    assert list(server.temporary.iterdir()) == []  # type: ignore[attr-defined]


def is_base64(text: str) -> bool:
    return len(text) > 60 and " " not in text and len(text) % 4 == 0


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def test_an_upload_does_not_touch_the_disk(model: Lungsight, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a temporary file was made")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    large = png(np.random.default_rng(0).integers(0, 255, (1300, 1300), np.uint8))
    assert len(large) > MIB
    with running(create_app(model)) as client:
        assert send(client, large).status_code == 200


def test_the_runtime_calls_nobody(tmp_path: Path) -> None:
    """ONNX Runtime notes a session for its telemetry in the folder of temporary files, unless told not to."""
    code = "import lungsight, onnxruntime; print(onnxruntime.__version__)"
    environment = {
        key: value for key, value in os.environ.items() if key not in ("ORT_DISABLE_TELEMETRY", "CI")
    }
    subprocess.run([sys.executable, "-c", code], env={**environment, "TMPDIR": str(tmp_path)}, check=True)
    assert list(tmp_path.iterdir()) == []


def test_keep_is_the_only_way_to_stay(model: Lungsight, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    data = dicom()
    with running(create_app(model, Settings(keep=kept))) as client:
        assert send(client, data, b"junk", name="../Quatermain").status_code == 200
    (folder,) = kept.iterdir()
    assert sorted(item.name for item in folder.iterdir()) == ["result.json", "upload.dicom"]
    assert {item.stat().st_mode & 0o777 for item in folder.iterdir()} == {0o600}
    assert {item.stat().st_mode & 0o777 for item in (folder, kept)} == {0o700}
    assert (folder / "upload.dicom").read_bytes() == data
    assert json.loads((folder / "result.json").read_text())["result"]["status"] == "ok"
    assert [item.name for item in tmp_path.iterdir()] == ["kept"]


def test_a_fault_of_ours_says_nothing_of_the_file(
    model: Lungsight, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("Quatermain^Zebediah")

    caplog.set_level(logging.DEBUG)
    with running(create_app(model)) as client:
        monkeypatch.setattr(answers, "payload", broken)
        problem(send(client, png()), 500)
        monkeypatch.setattr(guarded, "choose_media_type", broken)
        answer = send(client, png())
        problem(answer, 500)
        monkeypatch.undo()
        assert send(client, png()).status_code == 200
        assert answer.headers["x-request-id"] in caplog.text
    assert "RuntimeError" in caplog.text
    assert "Quatermain" not in caplog.text + answer.text


# Its end


GATED = """
import pathlib, time
from lungsight.inference import Lungsight
plain = Lungsight.predict_many
def gated(*arguments, **more):
    while not pathlib.Path({!r}).exists():
        time.sleep(0.01)
    return plain(*arguments, **more)
Lungsight.predict_many = gated
"""


def stop(server: Server) -> None:
    """Tell it to stop, and wait until it takes no more connections."""
    port = server.port
    server.process.send_signal(signal.SIGTERM)
    wait_for(lambda: not listens(port))


def test_stopping_finishes_what_is_open(networks: Path, tmp_path: Path) -> None:
    """Four requests of six X-rays are in, and none is answered, when it is told to stop."""
    with Server(networks, code=GATED.format(str(tmp_path / "go")) + RUN) as server:
        data = [("files", ("a", png()))] * 6
        found: list[int] = []

        def ask() -> None:
            found.append(httpx.post(server.url + URL, files=data, timeout=60).status_code)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        with httpx.Client(base_url=server.url, timeout=60) as client:
            wait_for(lambda: metric(client, "lungsight_queue_xrays") == 24)
        stop(server)
        (tmp_path / "go").touch()
        code = server.process.wait(60)
        for thread in threads:
            thread.join(60)
        assert found == [200] * 4
        assert code == 0
        assert "Traceback" not in server.log


HANG = """
import time
from lungsight.inference import Lungsight
from lungsight.server import answers, app, engine, predictions
def hang(*arguments, **more):
    print("it hangs", flush=True)
    while True:
        time.sleep(0.1)
{} = hang
from lungsight.cli import main
main()
"""


@pytest.mark.parametrize(
    ("place", "signals"),
    [
        ("Lungsight.predict_many", 1),
        ("Lungsight.predict_many", 2),
        ("engine.read_xray", 1),
        ("answers.payload", 1),
        ("app.choose_media_type", 1),
    ],
    ids=["networks", "networks, two signals", "decoder", "answer", "event loop"],
)
def test_a_stop_is_in_time_whatever_hangs(networks: Path, place: str, signals: int) -> None:
    """It lived on after two minutes, two SIGTERM and two SIGINT.

    One signal: it ends after `--stop-seconds`, not after the usual 30. Two: at once, whatever that says.
    """
    seconds = "1" if signals == 1 else "600"
    with Server(networks, "--stop-seconds", seconds, code=HANG.format(place)) as server:
        with socket.create_connection(("127.0.0.1", server.port), 60) as connection:
            body = part(png()) + b"--x--\r\n"
            head = f"POST {URL} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
            connection.sendall(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n".encode() + body)
            wait_for(lambda: "it hangs" in server.log)
            if signals == 2:
                stop(server)
            server.process.send_signal(signal.SIGTERM)
            server.process.wait(LESS_THAN_USUAL)
        assert server.process.returncode != 0


def test_what_the_command_refuses(networks: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> Any:
        return CliRunner().invoke(cli, ["serve", "--model", str(networks), *arguments])

    assert "at least 8" in str(run("--token", "short").exception)
    assert "queue" in str(run("--queue", "2").exception)
    assert isinstance(run("--keep", str(networks / "tiny-lungs.json")).exception, ConfigError)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(RuntimeError, match="cannot be listened on"):
            Server(networks, "--port", str(taken.getsockname()[1])).__enter__()


# What nobody thought of


def test_schemathesis_finds_no_server_error(model: Lungsight) -> None:
    import schemathesis
    from hypothesis import HealthCheck, Phase

    with running(create_app(model)) as client, warnings.catch_warnings():
        schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
        schema.config.update(base_url=str(client.base_url))
        operations = [found.ok() for found in schema.get_all_operations()]
        assert len(operations) == 8
        seen: list[int] = []
        for operation in operations:

            @given(case=operation.as_strategy())
            @settings(
                max_examples=20 if operation.method == "post" else 4,
                deadline=None,
                derandomize=True,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            def check(case: Any) -> None:
                answer = case.call()
                seen.append(answer.status_code)
                assert answer.status_code < 500, answer.text

            check()
        assert 200 in seen and 422 in seen
