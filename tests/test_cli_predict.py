"""`lungsight predict`, end to end, with tiny networks."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from lungsight.batch import predict
from lungsight.cli import app
from lungsight.errors import LungsightError
from lungsight.inference.result import ResultRecord
from lungsight.model import save
from lungsight.progress import stopping_between_steps
from programs import wait_for
from tiny_networks import draw_chest, lungs_card, lungs_onnx, write_bundle


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("networks"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three X-rays, two of one name in different folders, and two broken files."""
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.jpg", "sub/a.png")):
        cv2.imwrite(str(tmp_path / "in" / name), draw_chest(200 + number, 160, seed=number))
    (tmp_path / "in" / "cut.png").write_bytes((tmp_path / "in" / "a.png").read_bytes()[:500])
    (tmp_path / "in" / "empty.dcm").write_bytes(b"")
    return tmp_path / "in"


def run(networks: Path, *arguments: str | Path) -> Result:
    return CliRunner().invoke(
        app, ["predict", *map(str, arguments), "--model", str(networks), "--threads", "1"]
    )


def rows(out: Path) -> dict[str, dict[str, str]]:
    with (out / "results.csv").open(newline="") as file:
        return {Path(row["input"]).as_posix(): row for row in csv.DictReader(file)}


def test_a_folder_with_broken_files(networks: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(networks, folder, "--out", out)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[0] == "Research use only, not for diagnosis."
    assert "cut.png" in result.stderr
    assert "empty" in result.stderr
    table = rows(out)
    assert [row["status"] for row in table.values()].count("ok") == 3
    first, second = (table[(folder / name).as_posix()] for name in ("a.png", "sub/a.png"))
    assert first["mask"] != second["mask"]
    assert first["gate"] == "frontal"
    assert 0 < float(first["low"]) < float(first["probability"]) < float(first["high"]) < 1
    failed = table[(folder / "empty.dcm").as_posix()]
    assert (failed["status"], failed["probability"]) == ("failed", "")
    mask = cv2.imread(str(out / second["mask"]), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (202, 160)
    assert set(np.unique(mask)) == {0, 255}
    assert int((mask > 0).sum()) == int(second["right_lung_px"]) + int(second["left_lung_px"])
    assert cv2.imread(str(out / second["overlay"])).shape == (202, 160, 3)
    records = json.loads((out / "results.json").read_text())
    assert len(records) == 5
    assert "a.png" in (out / "contact.html").read_text()
    assert [record["input"] for record in records] == [row["input"] for row in table.values()]


def test_all_good_is_0_and_nothing_done_is_2(networks: Path, folder: Path, tmp_path: Path) -> None:
    assert run(networks, folder / "a.png", "--out", tmp_path / "1").exit_code == 0
    assert run(networks, folder / "cut.png", "--out", tmp_path / "2").exit_code == 2
    absent = run(networks, tmp_path / "absent.png", "--out", tmp_path / "3")
    assert absent.exit_code == 2
    assert "absent.png: there is no such file" in absent.stderr
    assert run(networks, "--out", tmp_path / "4").exit_code == 2


def test_options_choose_what_is_written(networks: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(networks, folder, "--out", out, "--labels", "--no-overlay", "--no-recursive", "--json")
    summary = json.loads(result.stdout)
    assert summary["predicted"] == 2
    assert [Path(one["input"]).name for one in summary["failures"]] == ["cut.png", "empty.dcm"]
    row = rows(out)[(folder / "a.png").as_posix()]
    labels = cv2.imread(str(out / row["mask"]), cv2.IMREAD_UNCHANGED)
    assert set(np.unique(labels)) == {0, 1, 2}
    assert np.nonzero(labels == 1)[1].mean() < np.nonzero(labels == 2)[1].mean()
    assert row["overlay"] == ""
    assert not (out / "overlays").exists()


def test_a_large_x_ray_gets_a_smaller_overlay(networks: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "large.png"), draw_chest(4099, 1000))
    out = tmp_path / "out"
    assert run(networks, tmp_path / "large.png", "--out", out).exit_code == 0
    assert cv2.imread(str(out / "masks" / "large.png"), cv2.IMREAD_UNCHANGED).shape == (4099, 1000)
    assert cv2.imread(str(out / "overlays" / "large.jpg")).shape == (1367, 334, 3)


def test_threshold_decides(networks: Path, folder: Path, tmp_path: Path) -> None:
    run(networks, folder / "a.png", "--out", tmp_path / "1", "--threshold", "0.0001")
    assert rows(tmp_path / "1")[(folder / "a.png").as_posix()]["decision"] == "covid"
    bad = run(networks, folder / "a.png", "--out", tmp_path / "2", "--threshold", "7")
    assert isinstance(bad.exception, LungsightError)
    assert not (tmp_path / "2").exists()


def test_resume_does_only_what_is_left(networks: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(networks, folder / "a.png", folder / "cut.png", "--out", out)
    before = (out / "masks" / "a.png").stat().st_mtime_ns
    cv2.imwrite(str(folder / "cut.png"), draw_chest(seed=9))
    result = run(networks, folder, "--out", out, "--resume", "--json")
    summary = json.loads(result.stdout)
    assert (summary["done_before"], summary["predicted"], summary["failed"]) == (1, 3, 1)
    assert (out / "masks" / "a.png").stat().st_mtime_ns == before
    assert len(rows(out)) == 5
    again = run(networks, folder, "--out", out, "--resume", "--json")
    assert json.loads(again.stdout)["predicted"] == 0


def test_resume_refuses_other_networks(networks: Path, folder: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    run(networks, folder / "a.png", "--out", out)
    save(other, lungs_card(threshold=0.4), lungs_onnx())
    result = run(other, folder, "--out", out, "--resume")
    assert isinstance(result.exception, LungsightError)
    assert "other networks" in str(result.exception)
    assert run(other, folder, "--out", out, "--overwrite").exit_code == 1
    assert rows(out)[(folder / "a.png").as_posix()]["networks"].startswith("tiny-lungs@1:")


def test_the_results_are_no_inputs(networks: Path, folder: Path) -> None:
    for again in ([], ["--overwrite"], ["--resume"]):
        run(networks, folder, "--out", folder / "out", *again)
    assert len(rows(folder / "out")) == 5


def test_inputs_are_left_as_they_are(networks: Path, folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    run(networks, folder, "--out", folder)
    assert len(rows(folder)) == 5
    assert all(path.read_bytes() == data for path, data in before.items())


def test_a_folder_that_may_not_be_written(networks: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    result = run(networks, folder, "--out", tmp_path / "file" / "out")
    assert isinstance(result.exception, LungsightError)
    assert result.exception.exit_code == 2
    assert "cannot be written" in str(result.exception)


def test_without_networks_it_says_what_to_do(folder: Path, tmp_path: Path) -> None:
    result = run(tmp_path / "absent", folder, "--out", tmp_path / "out")
    assert isinstance(result.exception, LungsightError)
    assert "lungsight export" in str(result.exception)


def test_rows_come_as_they_are_done_and_survive_a_stop(networks: Path, tmp_path: Path) -> None:
    for number in range(12):
        cv2.imwrite(str(tmp_path / f"{number:02}.png"), draw_chest(seed=number))
    out = tmp_path / "out"

    written: list[ResultRecord] = []

    def stop(row: ResultRecord) -> None:
        written.append(row)
        assert len(rows(out)) == len(written)
        if len(written) == 3:
            raise KeyboardInterrupt

    from lungsight import load_model

    model = load_model(networks, threads=1)
    with pytest.raises(KeyboardInterrupt):
        predict(tmp_path, out, model=model, batch=2, on_row=stop)
    done = len(rows(out))
    assert 3 <= done < 12
    assert len(json.loads((out / "results.json").read_text())) == done
    summary = predict(tmp_path, out, model=model, resume=True)
    assert (summary.done_before, summary.predicted) == (done, 12 - done)
    assert len(rows(out)) == 12


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_says_how_to_go_on(networks: Path, tmp_path: Path) -> None:
    picture = cv2.imencode(".png", draw_chest(64, 64))[1].tobytes()
    for number in range(1000):
        (tmp_path / f"{number:04}.png").write_bytes(picture)
    out = tmp_path / "out"
    # Each file takes a tenth of a second more, so that it is far from its end when it is stopped.
    code = """
import time
from lungsight.inference import predictor
plain = predictor.read_item
def slow(*arguments, **more):
    time.sleep(0.1)
    return plain(*arguments, **more)
predictor.read_item = slow
from lungsight.cli import main
main()
"""
    command = [sys.executable, "-c", code, "predict", str(tmp_path)]
    process = subprocess.Popen(
        [*command, "--out", str(out), "--model", str(networks), "--threads", "1"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background has its children ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    # Until the first row is in the table, not only its folder there.
    wait_for(lambda: (out / "results.csv").exists() and bool(rows(out)))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "--resume" in errors
    assert "Traceback" not in errors
    assert 0 < len(rows(out)) < 1000


@pytest.fixture
def usual_ctrl_c() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("usual_ctrl_c")
class TestStopping:
    """A Ctrl-C in the middle of a step may be lost in a library; so it ends the work between two."""

    def test_it_waits_for_the_end_of_the_step(self, capfd: pytest.CaptureFixture[str]) -> None:
        told: list[Any] = []
        with (
            pytest.raises(KeyboardInterrupt),
            stopping_between_steps(lambda *step: told.append(step), "predicting") as step,
        ):
            step(0, 3, "predicting")
            signal.raise_signal(signal.SIGINT)
            told.append("the rest of the step")
            try:
                step(1, 3, "predicting")
            finally:
                step(2, 3, "predicting")  # what was under way is told on the way out
        assert told == [(0, 3, "predicting"), "the rest of the step", (2, 3, "predicting")]
        assert "Ctrl-C again stops at once" in capfd.readouterr().err
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    @pytest.mark.parametrize("what", ["finding", "predicting"])
    def test_a_second_one_and_one_before_the_work_stop_at_once(self, what: str) -> None:
        signals = 0
        with (
            pytest.raises(KeyboardInterrupt),
            stopping_between_steps(lambda *step: None, "predicting") as step,
        ):
            step(0, 0, what)
            for _ in range(3):
                signals += 1
                signal.raise_signal(signal.SIGINT)
        assert signals == {"finding": 1, "predicting": 2}[what]

    def test_who_ignores_it_goes_on_ignoring_it(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with stopping_between_steps(lambda *step: None, "predicting") as step:
            step(0, 1, "predicting")
            signal.raise_signal(signal.SIGINT)
            step(1, 1, "predicting")
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_help_begins_with_the_notice() -> None:
    text = re.sub(r"\x1b\[[0-9;]*m", "", CliRunner().invoke(app, ["predict", "--help"]).stdout)
    assert "Research use only, not for diagnosis" in " ".join(text.split())
