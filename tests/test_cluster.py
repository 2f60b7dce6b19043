"""The cluster: units, parts of the table, the whole way on one machine; Ray itself where LUNGSIGHT_RAY is set."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed")

import pyarrow.parquet as parquet

from lungsight import OutputError, ResultRecord, Status, load_model
from lungsight import cluster as clusters
from lungsight.batch import predict as predict_here
from lungsight.cluster import actor, units
from lungsight.errors import ConfigError
from lungsight.records import from_json
from lungsight.writers.results import read_results
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


def same(one: dict[str, Any], row: ResultRecord) -> bool:
    """All that is not of the moment; the CSV has six digits."""
    return (
        (one["status"], one["error"], one["mask"], one["overlay"], one["sha256"], one["right_lung_px"])
        == (row.status, row.error, row.mask, row.overlay, row.sha256, row.right_lung_px)
    ) and one["probability"] == pytest.approx(row.probability, rel=1e-5)


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

    monkeypatch.setattr(clusters, "_connected", connected)
    monkeypatch.setattr(clusters._Work, "go", go)


@pytest.mark.usefixtures("alone")
class TestOneMachine:
    def test_the_rows_are_those_of_the_plain_path(self, networks: Path, tmp_path: Path) -> None:
        images = draw(tmp_path / "in", 20)
        shutil.copy(images / "0003.png", images / "twin.png")
        given = [images, tmp_path / "absent.png"]
        found = clusters.predict(given, tmp_path / "out", address="auto", model=networks)
        assert (found.predicted, found.failed, found.exit_code) == (21, 2, 1)
        plain = predict_here(given, tmp_path / "plain", model=load_model(networks, threads=1))
        assert (plain.predicted, plain.failed) == (21, 2)
        expected = {row.input: row for row in read_results(tmp_path / "plain" / "results.csv")}
        rows = table(tmp_path / "out")
        assert sorted(row["input"] for row in rows) == sorted(expected)
        twin = str(images / "twin.png")
        assert all(same(row, expected[row["input"]]) for row in rows if row["input"] != twin)
        for row in rows:
            if row["mask"]:
                mask = (tmp_path / "out" / row["mask"]).read_bytes()
                assert mask == (tmp_path / "plain" / expected[row["input"]].mask).read_bytes()
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
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
        start = time.monotonic()
        with pytest.raises(ConfigError) as error:
            clusters._knock(address)
        assert error.value.code == "no_cluster" and time.monotonic() - start < 12
    clusters._knock("auto")


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


@pytest.mark.skipif(not os.environ.get("LUNGSIGHT_RAY"), reason="takes a minute; set LUNGSIGHT_RAY=1")
def test_a_killed_worker_costs_no_row_and_doubles_none(networks: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    images, out = draw(tmp_path / "in", 300), tmp_path / "out"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    words = [
        sys.executable,
        "-m",
        "ray.scripts.scripts",
        "start",
        "--block",
        "--object-store-memory=80000000",
    ]
    head = ["--head", f"--port={address.split(':')[1]}", "--num-cpus=0", "--include-dashboard=false"]
    # A short path: the names of Ray's sockets may have 107 bytes.
    head.append(f"--temp-dir=/tmp/lungsight-ray-{os.getpid()}")
    started: list[subprocess.Popen[bytes]] = []

    def start(*more: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [*words, *more],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        started.append(process)
        return process

    try:
        start(*head)
        _wait(lambda: _answers(address), 120)
        lost = start(f"--address={address}", "--num-cpus=1")
        start(f"--address={address}", "--num-cpus=1")
        code = (
            "import sys, ray; from lungsight.cluster import predict; from lungsight import load_model\n"
            "ray.init(address=sys.argv[1], log_to_driver=False)\n"
            "import time\nwhile ray.cluster_resources().get('CPU', 0) < 2: time.sleep(0.2)\n"
            "print(predict(sys.argv[3], sys.argv[4], address=sys.argv[1], model=sys.argv[2]).predicted)"
        )
        run = subprocess.Popen(
            [sys.executable, "-c", code, address, str(networks), str(images), str(out)],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        _wait(lambda: len(units.parts_of(out)) >= 2 or run.poll() is not None, 240)
        assert run.poll() is None, "it was over before anything could be killed"
        os.killpg(lost.pid, signal.SIGKILL)
        told, _ = run.communicate(timeout=300)
    finally:
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(f"/tmp/lungsight-ray-{os.getpid()}", ignore_errors=True)
    assert run.returncode == 0 and told.split()[-1] == "300"
    predict_here(images, tmp_path / "plain", model=load_model(networks, threads=1))
    expected = {row.input: row for row in read_results(tmp_path / "plain" / "results.csv")}
    rows = table(out)
    assert sorted(row["input"] for row in rows) == sorted(expected), "none lost, none twice"
    assert all(same(row, expected[row["input"]]) for row in rows)
    (bad,) = [row for row in rows if row["status"] != Status.OK]
    assert bad["input"].endswith("bad.png") and bad["message"]


def _answers(address: str) -> bool:
    host, port = address.split(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
        return True
    return False


def _wait(until: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.1)
