"""The cluster: units, parts of the table, the whole way on one machine; and Ray itself with a killed worker."""

from __future__ import annotations

import contextlib
import http.server
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed")

import pyarrow.parquet as parquet

from lungsight import OutputError, load_model
from lungsight import cluster as clusters
from lungsight.batch import predict as predict_here
from lungsight.batch.folder import PARTS, locked
from lungsight.cluster import actor, head, units
from lungsight.errors import ConfigError, LungsightError
from lungsight.records import from_json
from ray_cluster import NoCluster, RayCluster
from tiny_networks import draw_chest, write_bundle


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("networks"))


def draw(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        cv2.imwrite(str(folder / f"{number:04}.png"), draw_chest(64, 64, seed=number))
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n no picture")
    return folder


def table(out: Path) -> list[dict[str, Any]]:
    return [row for part in units.parts_of(out) for row in parquet.read_table(part).to_pylist()]


def apart_from_time(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != "seconds"}


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of Ray: one actor in this process that is given every unit."""

    @contextlib.contextmanager
    def connected(address: str) -> Iterator[int]:
        yield 2

    def go(self: Any, count: int) -> None:
        predictor = actor.Predictor(
            self.engine, self.outputs, str(self.folder), self.run, self.batch, clusters.__version__
        )
        for unit in range(count):
            for one in predictor({"unit": [unit]}):
                self._add(from_json(clusters.Summary, one["summary"][0]))

    monkeypatch.setattr(clusters, "connected", connected)
    monkeypatch.setattr(clusters._Work, "go", go)


@pytest.mark.usefixtures("alone")
class TestOneMachine:
    def test_the_rows_are_those_of_the_plain_path(self, networks: Path, tmp_path: Path) -> None:
        images = draw(tmp_path / "in", 20)
        shutil.copy(images / "0003.png", images / "twin.png")
        given = [images, tmp_path / "absent.png"]
        found = clusters.predict(given, tmp_path / "out", address="auto", model=networks)
        assert (found.predicted, found.failed, found.exit_code) == (21, 2, 1)
        plain = predict_here(
            given, tmp_path / "plain", model=load_model(networks, threads=1), table="parquet"
        )
        assert (plain.predicted, plain.failed) == (21, 2)
        expected = {row["input"]: row for row in parquet.read_table(tmp_path / "plain" / PARTS).to_pylist()}
        rows = table(tmp_path / "out")
        assert sorted(row["input"] for row in rows) == sorted(expected)
        # Its bytes came up before, in another unit: predicted again here, there a copy of the other's row.
        twin = str(images / "twin.png")
        for row in rows:
            if row["input"] != twin:
                assert apart_from_time(row) == apart_from_time(expected[row["input"]])
        for row in rows:
            if row["mask"]:
                mask = (tmp_path / "out" / row["mask"]).read_bytes()
                assert mask == (tmp_path / "plain" / expected[row["input"]]["mask"]).read_bytes()
        assert not list((tmp_path / "out").glob(".run.json.*"))

    def test_resume_does_what_is_missing_failed_or_gone(self, networks: Path, tmp_path: Path) -> None:
        images, out = draw(tmp_path / "in", 6), tmp_path / "out"
        clusters.predict(images, out, address="auto", model=networks)
        (images / "bad.png").write_bytes((images / "0001.png").read_bytes())
        cv2.imwrite(str(images / "new.png"), draw_chest(64, 64, seed=99))
        (out / "masks" / "0002.png").unlink()
        again = clusters.predict(images, out, address="auto", model=networks, resume=True)
        assert (again.predicted, again.done_before, again.failed) == (3, 5, 0)
        rows = table(out)
        assert len(rows) == len({row["input"] for row in rows}) == 8
        assert all(row["status"] == "ok" and (out / row["mask"]).is_file() for row in rows)
        with pytest.raises(OutputError, match="other networks or settings"):
            clusters.predict(images, out, address="auto", model=networks, resume=True, labels=True)
        with pytest.raises(OutputError, match="other networks or settings"):
            predict_here(images, out, model=load_model(networks, threads=1), resume=True)

    def test_what_a_lost_machine_writes_late_is_not_doubled(self, networks: Path, tmp_path: Path) -> None:
        images, out = draw(tmp_path / "in", 6), tmp_path / "out"
        clusters.predict(images, out, address="auto", model=networks)
        (part,) = units.parts_of(out)
        # The run was killed; a machine that nobody heard of any more writes its part after the next run began.
        late = part.read_bytes()
        shutil.copy(part, units.part_path(out, 1, 7))
        clusters.predict(images, out, address="auto", model=networks, resume=True)
        assert len({row["input"] for row in table(out)}) == len(table(out)) == 7
        units.part_path(out, 1, 9).write_bytes(late)
        units.drop_strays(out, set(units.parts_of(out)) - {units.part_path(out, 1, 9)}, 5)
        assert len(table(out)) == 7

    def test_one_run_at_a_time(self, networks: Path, tmp_path: Path) -> None:
        images, out = draw(tmp_path / "in", 2), tmp_path / "out"
        with locked(out), pytest.raises(OutputError, match="another run is writing there"):
            clusters.predict(images, out, address="auto", model=networks)
        assert clusters.predict(images, out, address="auto", model=networks).predicted == 2

    def test_a_damaged_part_is_told(self, networks: Path, tmp_path: Path) -> None:
        images, out = draw(tmp_path / "in", 2), tmp_path / "out"
        clusters.predict(images, out, address="auto", model=networks)
        (part,) = units.parts_of(out)
        part.write_bytes(part.read_bytes()[:-9])
        with pytest.raises(OutputError, match="damaged"):
            clusters.predict(images, out, address="auto", model=networks, resume=True)
        assert clusters.predict(images, out, address="auto", model=networks, overwrite=True).predicted == 2


def test_a_unit_is_neither_tiny_nor_endless() -> None:
    assert units.unit_size(10, 2) == 16
    assert units.unit_size(400_000, 100) == 125
    assert units.unit_size(100_000_000, 2000) == 1000


def test_machines_that_differ_are_told(networks: Path, tmp_path: Path) -> None:
    from lungsight.batch.outputs import Outputs

    engine = load_model(networks, threads=1)
    outputs = Outputs(tmp_path, table="parquet")
    with pytest.raises(ConfigError, match=r"not 0\.0\.0"):
        actor.Predictor(engine, outputs, str(tmp_path), 1, 8, "0.0.0")
    with pytest.raises(OutputError) as error:
        actor.Predictor(engine, outputs, str(tmp_path), 1, 8, clusters.__version__)
    assert error.value.code == "not_shared"


def test_an_address_without_a_cluster_is_told_at_once() -> None:
    # Bound and not listening: nobody else gets the port.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
            with pytest.raises(ConfigError) as error:
                head._knock(address)
            assert error.value.code == "no_cluster"
    head._knock("auto")


def test_a_head_that_is_silent_is_told_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "ANSWER_SECONDS", 0.2)
    # The system takes the connection; nobody ever reads from it or writes to it.
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        for form in ("127.0.0.1:{}", "ray://127.0.0.1:{}"):
            with pytest.raises(ConfigError) as error:
                head._knock(form.format(silent.getsockname()[1]))
            assert error.value.code == "no_cluster"


@pytest.mark.parametrize(
    ("answer", "known"),
    [
        (b"\0\0\0\4\0\0\0\0\0", True),  # settings, none but the usual ones
        (b"\0\0\x12\4\0\0\0\0\0" + bytes(18), True),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", False),
        (b"SSH-2.0-OpenSSH_9.2\r\n", False),
        (b"", False),  # it hangs up
    ],
)
def test_who_does_not_greet_as_ray_does_is_no_head(answer: bytes, known: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            one = server.accept()[0]
            with one:
                assert one.recv(100).startswith(b"PRI * HTTP/2.0")
                one.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        if known:
            head._knock(address)
        else:
            with pytest.raises(ConfigError) as error:
                head._knock(address)
            assert error.value.code == "no_cluster"
        thread.join(30)


@pytest.mark.parametrize("lost", [True, False])
def test_a_head_that_is_lost_ends_the_wait(lost: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait for a lock, which Ray's calls are, ends where nobody greets any more; where somebody does it goes on."""
    pytest.importorskip("ray", reason="ray is not installed")
    monkeypatch.setattr(head, "LOST_SECONDS", 0.1)
    monkeypatch.setattr(head, "LOOK_SECONDS", 0.02)
    waited = threading.Event()
    asked = []

    def knock(address: str) -> None:
        asked.append(address)
        if lost and len(asked) > 3:
            raise ConfigError("nobody")
        if len(asked) == 20:
            waited.set()

    monkeypatch.setattr(head, "_knock", knock)
    try:
        with head.while_head_answers("127.0.0.1:1"):
            assert waited.wait(60), "the wait was not ended"
        assert not lost
    except LungsightError as error:
        assert lost and error.code == "head_lost"
    assert set(asked) == {"127.0.0.1:1"}


def test_ctrl_c_is_no_lost_head(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    monkeypatch.setattr(head, "_knock", lambda address: None)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), head.while_head_answers("127.0.0.1:1"):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_error_of_ours_is_found_inside_one_of_ray() -> None:
    inner = OutputError("cannot be written: no space left on device")
    task = RuntimeError("a task failed")
    task.cause = inner  # type: ignore[attr-defined]
    outer = RuntimeError("the data set failed")
    outer.__cause__ = task
    assert clusters._known(outer) is inner
    assert clusters._known(ValueError("words of Ray")).code == "cluster"
    assert "words of Ray" not in str(clusters._known(ValueError("words of Ray")))


# Ray itself: head and two workers as processes, one of which is killed in the middle


class Held(http.server.BaseHTTPRequestHandler):
    """Gives one picture under every name, and holds back all answers but the first until `go` is set."""

    picture = b""
    go: threading.Event
    asked: list[str]
    lock = threading.Lock()

    def do_GET(self) -> None:
        # fsspec asks whether a file is there by a GET too, and reads it by ranges.
        if self.command == "GET" and "Range" in self.headers:
            with self.lock:
                self.asked.append(self.path)
                first = len(self.asked) == 1
            if not first:
                self.go.wait(400)
        start, _, end = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        body = self.picture[int(start) : int(end) + 1 if end else None]
        # Whoever asked may have been killed meanwhile.
        with contextlib.suppress(OSError):
            self.send_response(206 if "Range" in self.headers else 200)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(body)))
            self.send_header(
                "Content-Range", f"bytes {start}-{int(start) + len(body) - 1}/{len(self.picture)}"
            )
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *words: object) -> None:
        """Nothing."""


def test_a_killed_worker_costs_no_row_and_doubles_none(networks: Path, tmp_path: Path) -> None:
    """Each unit begins with an address whose answer is held back until both workers stand in the middle of one."""
    pytest.importorskip("ray", reason="ray is not installed")
    pytest.importorskip("aiohttp", reason="aiohttp is not installed")
    images, out = draw(tmp_path / "in", 5 * (units.LEAST - 1) - 1), tmp_path / "out"
    files = [str(path) for path in sorted(images.iterdir())]
    handler = type("Handler", (Held,), {"go": threading.Event(), "asked": []})
    handler.picture = cv2.imencode(".png", draw_chest(64, 64, seed=1000))[1].tobytes()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        addresses = [f"http://127.0.0.1:{server.server_port}/{number}.png" for number in range(5)]
        archives = []
        for number in range(5):
            # An archive keeps its place among addresses; single files all come last.
            archives.append(tmp_path / f"{number}.tar")
            with tarfile.open(archives[-1], "w") as tar:
                for file in files[number::5]:
                    tar.add(file, Path(file).name)
        given = [str(one) for pair in zip(addresses, archives, strict=True) for one in pair]
        try:
            # Answers are held back for as long as this machine needs to start actors.
            held = {"LUNGSIGHT_ADDRESS_SECONDS": "400"}
            with RayCluster(2, environment=held) as cluster:
                run = subprocess.Popen(
                    [
                        *(sys.executable, "-m", "lungsight", "predict", *given, "--out", str(out)),
                        *("--model", str(networks), "--cluster", cluster.address, "--json", "--quiet"),
                    ],
                    env=cluster.environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
                try:
                    _wait(lambda: len(handler.asked) >= 3 or run.poll() is not None, 240)
                    assert run.poll() is None, run.communicate()
                    _wait(lambda: units.parts_of(out), 240)
                    cluster.kill(cluster.workers[0])
                    handler.go.set()
                    told, errors = run.communicate(timeout=240)
                finally:
                    run.kill()
        except NoCluster as reason:
            pytest.skip(str(reason))
        finally:
            handler.go.set()
            server.shutdown()
    assert run.returncode == 1, errors  # 1: an input failed
    summary = from_json(clusters.Summary, told)
    assert (summary.predicted, summary.failed) == (79, 1)
    rows = table(out)
    names = [
        f"{archive}/{Path(file).name}" for number, archive in enumerate(archives) for file in files[number::5]
    ]
    assert sorted(row["input"] for row in rows) == sorted([*addresses, *names]), "none lost, none twice"
    (bad,) = [row for row in rows if row["status"] != "ok"]
    assert bad["input"].endswith("bad.png") and bad["message"]
    predict_here(archives, tmp_path / "plain", model=load_model(networks, threads=1), table="parquet")
    expected = {row["input"]: row for row in parquet.read_table(tmp_path / "plain" / PARTS).to_pylist()}
    for row in rows:
        if row["input"] in expected:
            assert apart_from_time(row) == apart_from_time(expected[row["input"]])
        if row["mask"]:
            assert (out / row["mask"]).is_file() and (out / row["overlay"]).is_file()


def _wait(until: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.05)
