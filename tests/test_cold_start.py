"""What is begun before it is needed, so that one X-ray in a new process is answered soon, and how the process ends."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import cv2
import pytest

from lungsight import ModelError, load_model
from lungsight.cli.predict import start_ahead
from lungsight.inference import Lungsight
from lungsight.model import load_bundle
from tiny_networks import draw_chest, write_bundle


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("networks"))


@pytest.mark.parametrize("alone", [True, False])
def test_the_networks_that_will_be_used_are_opened(networks: Path, alone: bool) -> None:
    model = load_model(networks, threads=2)
    with model.opened_ahead(alone=alone):
        pass
    assert not [one for one in threading.enumerate() if one.name == "lungsight-open"], (
        "it waits for the thread"
    )
    for own, opened in ((model._shared, alone), (model._per_core, not alone)):
        sessions = [one for one in (own.lungs, own.gate, own.diagnosis, own.severity) if one]
        assert len(sessions) >= 2
        assert {one._session is not None for one in sessions} == {opened}


def test_a_network_that_cannot_be_opened_says_so_when_it_is_used(networks: Path) -> None:
    bundle = load_bundle(networks)
    model = Lungsight(replace(bundle, lungs=replace(bundle.lungs, onnx=b"none")))
    with model.opened_ahead(alone=True):
        pass
    with pytest.raises(ModelError, match="no ONNX network"):
        model(draw_chest(64, 64))


@pytest.mark.parametrize(
    ("words", "starts"),
    [
        (["a.png", "--out", "x"], True),
        ([], False),
        (["--help"], False),
        (["a.png", "-h"], False),
        (["a.png", "--cluster", "auto"], False),
    ],
)
def test_decoding_starts_where_something_will_be_decoded(
    monkeypatch: pytest.MonkeyPatch, words: list[str], starts: bool
) -> None:
    warmed = []

    class Pool:
        def warm(self) -> None:
            warmed.append(self)

    monkeypatch.setattr("lungsight.xray.pool.shared_pool", Pool)
    start_ahead(words)
    assert bool(warmed) is starts


def test_the_process_ends_with_its_code_and_all_it_printed(networks: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), draw_chest(64, 64))
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n no picture")
    out = tmp_path / "out"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "lungsight", "predict", str(tmp_path), "--out", str(out)),
            *("--model", str(networks), "--json"),
        ],
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 1, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["predicted"], summary["failed"]) == (1, 1)
    assert done.stderr.decode().splitlines()[0] == "Research use only, not for diagnosis."
    assert len((out / "results.csv").read_text().splitlines()) == 3
    assert sorted(path.name for path in out.iterdir() if path.name.startswith(".")) in (
        [],
        [".lungsight.lock"],
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full is Linux's")
@pytest.mark.parametrize("buffered", [True, False])
def test_standard_output_that_takes_nothing_is_one_line(
    networks: Path, tmp_path: Path, buffered: bool
) -> None:
    """The results are there; no traceback, and the exit code of what could not be done."""
    image, out = tmp_path / "a.png", tmp_path / "out"
    cv2.imwrite(str(image), draw_chest(80, 80))
    words = ["predict", str(image), "--out", str(out), "--model", str(networks)]
    for arguments in (["--version"], words):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [sys.executable, *([] if buffered else ["-u"]), "-m", "lungsight", *arguments],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert done.returncode == 2 and "Traceback" not in done.stderr and "ignored" not in done.stderr
        assert done.stderr.count("standard output takes nothing") == 1
    assert (out / "results.csv").read_text().count("\n") == 2


def test_a_reader_that_has_gone_is_no_fault() -> None:
    words = [sys.executable, "-m", "lungsight", "predict", "--help"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert "Traceback" not in said and "ignored" not in said


def test_standard_output_that_is_closed_is_no_fault(networks: Path, tmp_path: Path) -> None:
    image, out = tmp_path / "a.png", tmp_path / "out"
    cv2.imwrite(str(image), draw_chest(80, 80))
    words = [
        sys.executable,
        "-m",
        "lungsight",
        "predict",
        str(image),
        "--out",
        str(out),
        "--model",
        str(networks),
    ]
    closed = ["/bin/sh", "-c", 'exec "$@" >&-', "sh", *words]
    done = subprocess.run(closed, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0 and "Traceback" not in done.stderr
    assert (out / "results.csv").read_text().count("\n") == 2
