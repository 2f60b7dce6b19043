"""A disk that fills in the middle of a run: one of a few hundred kilobytes, mounted where only the run sees it."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from lungsight import load_model, predict
from tiny_networks import draw_chest, write_bundle

SCRIPT = """
mount -t tmpfs -o size=300k tmpfs "$1" || exit 77
shift
"$@"
code=$?
cp -r "$DISK" "$KEPT"
exit $code
"""


def test_a_disk_that_fills_gives_one_line_and_keeps_what_is_done(tmp_path: Path) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare")
    networks, images, disk = write_bundle(tmp_path / "networks"), tmp_path / "in", tmp_path / "disk"
    images.mkdir()
    disk.mkdir()
    for number in range(60):
        cv2.imwrite(str(images / f"{number:02}.png"), draw_chest(96, 96, seed=number))
    command = [
        *(sys.executable, "-m", "lungsight", "predict", str(images), "--out", str(disk)),
        *("--model", str(networks), "--threads", "1", "--table", "parquet"),
    ]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", SCRIPT, "sh", str(disk), *command],
        env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "DISK": str(disk), "KEPT": str(tmp_path / "kept")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode == 77 or (done.returncode == 1 and done.stderr.startswith("unshare:")):
        pytest.skip("a file system of its own may not be mounted here")
    assert done.returncode == 2, done.stderr
    (told,) = [line for line in done.stderr.splitlines() if "no space left" in line]
    assert "Traceback" not in done.stderr and told.startswith("lungsight")
    kept = tmp_path / "kept"
    with (kept / "results.csv").open(newline="") as file:
        before = [row for row in csv.DictReader(file) if row["seconds"]]
    assert 0 < len(before) < 60
    for path in (*kept.glob("masks/*.png"), *kept.glob("overlays/*.jpg")):
        assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED) is not None, "each file is whole or absent"
    again = predict(images, kept, model=load_model(networks, threads=1), resume=True, table="parquet")
    # The last line of the table may have been cut.
    assert again.done_before in (len(before), len(before) - 1) and again.failed == 0
    with (kept / "results.csv").open(newline="") as file:
        names = [Path(row["input"]).name for row in csv.DictReader(file)]
    assert sorted(names) == [f"{number:02}.png" for number in range(60)]
