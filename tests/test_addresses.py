"""Inputs in an object store: a local S3 (moto), one that refuses, one that is not there, one that is silent or slow."""

from __future__ import annotations

import contextlib
import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from lungsight import load_model, predict
from lungsight.batch import addresses
from lungsight.errors import ConfigError, InputError
from lungsight.inference import Lungsight
from tiny_networks import draw_chest, write_bundle

s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed")
moto_server = pytest.importorskip("moto.server", reason="moto is not installed")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Lungsight:
    return load_model(write_bundle(tmp_path_factory.mktemp("networks")), threads=1)


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in (("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    yield
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_bucket_is_an_input(model: Lungsight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = moto_server.ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        files = s3fs.S3FileSystem()
        files.mkdir("films")
        for number in range(4):
            image = cv2.imencode(".png", draw_chest(64, 64, seed=number))[1].tobytes()
            files.pipe_file(f"films/deep/{number}.png", image if number else image[:300])
        summary = predict(["s3://films/deep", "s3://nowhere/at/all"], tmp_path / "out", model=model)
        assert (summary.predicted, summary.failed) == (3, 2)
        assert {one.code for one in summary.failures} == {"damaged", "missing"}
        again = predict("s3://films/deep/*.png", tmp_path / "out", model=model, resume=True)
        assert (again.predicted, again.done_before, again.failed) == (0, 3, 1)
    finally:
        server.stop()


class Refusing(http.server.BaseHTTPRequestHandler):
    """Answers as S3 does whoever has no rights."""

    def do_GET(self) -> None:
        body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *words: object) -> None:
        """Nothing."""


def test_a_bucket_without_rights_is_told(
    model: Lungsight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        summary = predict("s3://films/deep", tmp_path / "out", model=model)
        server.shutdown()
    assert (summary.failed, summary.exit_code) == (1, 2)
    assert summary.failures[0].code == "permission"


def test_an_address_that_does_not_answer_is_told(
    model: Lungsight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Bound and not listening: nobody else gets the port, and who knocks is turned away.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        summary = predict("s3://films/deep", tmp_path / "out", model=model)
    assert (summary.failed, summary.exit_code) == (1, 2)
    assert summary.failures[0].code == "unreachable"


@pytest.mark.parametrize("address", ["http://{}/films/1.png", "s3://films/1.png", "s3://films/*.png"])
def test_a_store_that_is_silent_is_told_in_time(
    model: Lungsight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("LUNGSIGHT_ADDRESS_SECONDS", "0.3")
    # The system takes the connection; nobody ever reads from it or writes to it.
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}")
        summary = predict(address.format(host), tmp_path / "out", model=model)
    assert (summary.failed, summary.exit_code) == (1, 2)
    assert summary.failures[0].code == "unreachable"
    assert "no answer within 0.3 seconds" in summary.failures[0].message


class Dripping(http.server.BaseHTTPRequestHandler):
    """Says that there are `body`'s bytes, and sends them one by one, `wait` seconds between two."""

    body = b""
    wait = 0.0
    length = True
    over: threading.Event

    def do_GET(self) -> None:
        self.send_response(200)
        if self.length:
            self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        if self.command == "GET":
            with contextlib.suppress(OSError):
                for byte in self.body:
                    if self.over.wait(self.wait):
                        break
                    self.wfile.write(bytes([byte]))

    do_HEAD = do_GET

    def log_message(self, format: str, *words: object) -> None:
        """Nothing."""


@contextlib.contextmanager
def dripping(**values: object) -> Iterator[str]:
    handler = type("Handler", (Dripping,), {"over": threading.Event(), **values})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/1.png"
        finally:
            handler.over.set()
            server.shutdown()


@pytest.mark.parametrize("length", [True, False])
def test_a_byte_now_and_then_is_no_answer(monkeypatch: pytest.MonkeyPatch, length: bool) -> None:
    monkeypatch.setenv("LUNGSIGHT_ADDRESS_SECONDS", "0.5")
    with (
        dripping(body=bytes(10_000), wait=0.05, length=length) as address,
        pytest.raises(InputError, match=r"no answer within 0\.5 seconds"),
    ):
        addresses.read_address(address, -1)


def test_a_file_of_unknown_length_is_read_whole() -> None:
    # Each read of such a file gives what came so far.
    with dripping(body=bytes(range(200)), wait=0.001, length=False) as address:
        assert addresses.read_address(address, -1) == bytes(range(200))
        assert addresses.read_address(address, 150) == bytes(range(150))


def test_what_lasts_longer_than_one_piece_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.setattr(addresses, "PIECE", 8)
    data = bytes(range(100))
    fsspec.filesystem("memory").pipe("/pieces/film", data)
    for size, length in ((-1, 100), (0, 0), (7, 7), (8, 8), (16, 16), (17, 17), (100, 100), (101, 100)):
        assert addresses.read_address("memory://pieces/film", size) == data[:length]


def test_what_does_not_end_is_not_asked_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        addresses, "_unended", []
    )  # those of other tests may still be waiting for their store
    go = threading.Event()
    try:
        for _ in range(addresses.MOST_UNENDED):
            with pytest.raises(InputError, match="no answer within"):
                addresses.in_time(go.wait, "s3://films", 0.001)
        with pytest.raises(InputError, match="too many requests") as error:
            addresses.in_time(lambda: 1, "s3://films", 60)
        assert error.value.code == "unreachable"
    finally:
        go.set()
        for thread in addresses._unended:
            thread.join(60)
    assert addresses.in_time(lambda: 1, "s3://films", 60) == 1


def test_an_error_of_the_store_is_its_own() -> None:
    def fails() -> None:
        raise TimeoutError("of the store, long before ours")

    with pytest.raises(TimeoutError, match="of the store"):
        addresses.in_time(fails, "s3://films", 60)


@pytest.mark.parametrize("told", ["soon", "0", "-1", "nan", "inf"])
def test_a_time_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    monkeypatch.setenv("LUNGSIGHT_ADDRESS_SECONDS", told)
    with pytest.raises(ConfigError, match="seconds above 0"):
        addresses.answer_seconds()
