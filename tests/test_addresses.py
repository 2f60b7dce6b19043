"""Inputs in an object store: a local S3 (moto), one that refuses, and one that does not answer."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from lungsight import load_model, predict
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
