"""A folder of results: whose it is, what goes on in it, and what a run that was killed leaves."""

from __future__ import annotations

import csv
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from lungsight import Limits, OutputError, ResultRecord, Status, load_model, predict
from lungsight.batch.folder import locked
from lungsight.errors import ConfigError, RefusedError
from lungsight.inference import Failure, Lungsight
from lungsight.writers.results import read_results
from tiny_networks import draw_chest, write_bundle


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("networks"))


@pytest.fixture(scope="module")
def model(networks: Path) -> Lungsight:
    return load_model(networks, threads=1)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for number in range(4):
        cv2.imwrite(str(tmp_path / "in" / f"{number}.png"), draw_chest(80 + number, 64, seed=number))
    return tmp_path / "in"


def rows(out: Path) -> dict[str, ResultRecord]:
    return {Path(row.input).name: row for row in read_results(out / "results.csv")}


# whose folder it is


def test_results_are_not_mixed(model: Lungsight, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict(images / "0.png", out, model=model)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(OutputError, match="holds results already") as error:
        predict(images / "1.png", out, model=model)
    assert error.value.code == "results_there"
    assert "--resume" in str(error.value) and "--overwrite" in str(error.value)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    predict(images / "1.png", out, model=model, overwrite=True)
    assert set(rows(out)) == {"1.png"}
    assert not (out / "masks" / "0.png").exists(), "what is begun again holds nothing of before"
    predict(images / "2.png", out, model=model, resume=True)
    assert set(rows(out)) == {"1.png", "2.png"}
    with pytest.raises(ConfigError):
        predict(images, out, model=model, resume=True, overwrite=True)


@pytest.mark.parametrize("name", ["metrics.json", "manifest.csv", "audit.json", "results.csv", "masks"])
@pytest.mark.parametrize("wish", [{}, {"resume": True}, {"overwrite": True}])
def test_the_results_of_others_are_left_alone(
    model: Lungsight, images: Path, tmp_path: Path, name: str, wish: dict[str, Any]
) -> None:
    out = tmp_path / "out"
    if name == "masks":
        (out / name).mkdir(parents=True)
        (out / name / "truth.png").write_bytes(b"drawn by hand")
    else:
        out.mkdir()
        (out / name).write_text("of another command")
    with pytest.raises(OutputError) as error:
        predict(images, out, model=model, **wish)
    assert error.value.code == "other_results"
    assert [path.name for path in sorted(out.rglob("[!.]*"))] == (
        [name, "truth.png"] if name == "masks" else [name]
    )


def test_an_output_that_is_a_file_is_told(model: Lungsight, images: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="is a file, not a folder"):
        predict(images, tmp_path / "file", model=model)


def test_resume_wants_the_same_settings(model: Lungsight, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict(images, out, model=model)
    for other, wish in (
        (Lungsight(model.bundle, threads=1, mask_threshold=0.3), {}),
        (Lungsight(model.bundle, threads=1, threshold=0.3), {}),
        (model, {"labels": True}),
        (model, {"formats": ["rle"]}),
        (model, {"overlays": False}),
    ):
        with pytest.raises(OutputError, match="other networks or settings"):
            predict(images, out, model=other, resume=True, **wish)
    (out / "run.json").write_text("{}")
    with pytest.raises(OutputError, match="damaged"):
        predict(images, out, model=model, resume=True)


def test_one_run_at_a_time(model: Lungsight, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with locked(out), pytest.raises(OutputError, match="another run is writing there"):
        predict(images, out, model=model)
    assert predict(images, out, model=model).predicted == 4


# what is made again


@pytest.mark.parametrize("damage", ["gone", "cut", "empty"])
@pytest.mark.parametrize("kind", ["masks/1.png", "overlays/1.jpg", "rle/1.json", "nifti/1.nii.gz"])
def test_resume_makes_again_what_is_gone_or_cut(
    model: Lungsight, images: Path, tmp_path: Path, damage: str, kind: str
) -> None:
    out = tmp_path / "out"
    predict(images, out, model=model, formats=["rle", "nifti"])
    before = (out / kind).read_bytes()
    if damage == "gone":
        (out / kind).unlink()
    elif damage == "empty":
        (out / kind).write_bytes(b"")
    elif kind.endswith(".gz"):
        pytest.skip("a cut gzip has no end mark of its own")
    else:
        (out / kind).write_bytes(before[:-5])
    summary = predict(images, out, model=model, formats=["rle", "nifti"], resume=True)
    assert (summary.predicted, summary.done_before) == (1, 3)
    assert (out / kind).read_bytes() == before
    assert len(rows(out)) == 4


def test_equal_bytes_are_predicted_once(model: Lungsight, images: Path, tmp_path: Path) -> None:
    for name in ("twin.png", "a.png"):
        (images / name).write_bytes((images / "2.png").read_bytes())
    for name in ("bad.png", "worse.png"):
        (images / name).write_bytes(b"\x89PNG\r\n\x1a\n no picture")
    summary = predict(images, tmp_path / "out", model=model, batch=2)
    found = rows(tmp_path / "out")
    assert (summary.predicted, summary.duplicates, summary.failed) == (6, 3, 2)
    assert len({found[name].mask for name in ("2.png", "a.png", "twin.png")}) == 1
    assert found["a.png"].probability == found["2.png"].probability
    assert found["bad.png"].message == found["worse.png"].message != ""
    # Moved, and asked for again: the old row stays, the new one costs nothing.
    (images / "3.png").rename(images / "moved.png")
    summary = predict(images, tmp_path / "out", model=model, resume=True)
    assert (summary.predicted, summary.duplicates, summary.failed) == (1, 2, 2)
    assert {"3.png", "moved.png"} <= set(rows(tmp_path / "out"))


def test_a_file_that_lies_where_an_output_should_costs_one_row(
    model: Lungsight, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lungsight.batch.outputs as outputs

    def write(path: Path, data: bytes) -> None:
        if path.name == "1.png":
            raise OutputError("cannot be written: is a directory", where=path) from IsADirectoryError(21, "x")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    monkeypatch.setattr(outputs, "write_bytes", write)
    summary = predict(images, tmp_path / "out", model=model)
    assert (summary.predicted, summary.failed) == (3, 1)
    assert rows(tmp_path / "out")["1.png"].status is Status.FAILED


def test_a_full_disk_ends_the_run_with_its_rows(
    model: Lungsight, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lungsight.batch.outputs as outputs

    def write(path: Path, data: bytes) -> None:
        if path.name == "2.png":
            raise OutputError("cannot be written: no space left on device") from OSError(28, "No space left")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    monkeypatch.setattr(outputs, "write_bytes", write)
    with pytest.raises(OutputError, match="no space left"):
        predict(images, tmp_path / "out", model=model, batch=1)
    assert {"0.png", "1.png"} <= set(rows(tmp_path / "out"))
    monkeypatch.undo()
    assert predict(images, tmp_path / "out", model=model, resume=True).failed == 0
    assert len(rows(tmp_path / "out")) == 4


# words and counts


def test_refused_is_not_failed(model: Lungsight, images: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(images / "blank.png"), np.zeros((64, 64), np.uint8))
    summary = predict(images, tmp_path / "out", model=model)
    assert (summary.predicted, summary.refused, summary.failed, summary.exit_code) == (4, 1, 0, 0)
    row = rows(tmp_path / "out")["blank.png"]
    assert (row.status, row.decision, row.probability) == ("refused", "not_scored", None)
    assert "blank" in row.reasons
    failure = Failure("ct.dcm", RefusedError("a CT image is no chest X-ray", code="modality"))
    assert (failure.status, failure.record.error) == (Status.REFUSED, "modality")
    assert predict(images, tmp_path / "out", model=model, resume=True).done_before == 5


def test_a_link_to_itself_ends_nothing(model: Lungsight, images: Path, tmp_path: Path) -> None:
    (images / "loop.png").symlink_to(images / "loop.png")
    (images / "lost.png").symlink_to(images / "nowhere.png")
    (images / "folder").symlink_to(images)
    os.mkfifo(images / "pipe.png")
    summary = predict(images, tmp_path / "out", model=model)
    assert summary.predicted == 4
    assert len(rows(tmp_path / "out")) == 4 + summary.failed + summary.passed_over


def test_limits_reach_the_reader(model: Lungsight, images: Path, tmp_path: Path) -> None:
    summary = predict(images, tmp_path / "out", model=model, limits=Limits(max_pixels=81 * 64))
    assert (summary.predicted, summary.failed) == (2, 2)
    assert rows(tmp_path / "out")["3.png"].status is Status.FAILED


def test_progress_knows_its_total_from_the_start(model: Lungsight, images: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    predict(images, tmp_path / "out", model=model, progress=lambda *now: told.append(now))
    working = [(done, total) for done, total, what in told if what == "predicting"]
    assert working == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]


# forms


def test_every_form_gives_the_same_lungs(model: Lungsight, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    formats = ["nifti", "coco", "rle", "darwin", "labelme", "transparent", "seg"]
    predict(images, out, model=model, labels=True, formats=formats, outline=True)
    labels = cv2.imread(str(out / "masks" / "0.png"), cv2.IMREAD_UNCHANGED)
    assert set(np.unique(labels)) == {0, 1, 2}

    data = gzip.decompress((out / "nifti" / "0.nii.gz").read_bytes())
    assert np.array_equal(np.frombuffer(data[352:], np.uint8).reshape(80, 64), labels)
    rle = json.loads((out / "rle" / "0.json").read_text())
    assert np.array_equal(_decoded(rle["right"]), labels == 1)
    assert np.array_equal(_decoded(rle["left"]), labels == 2)
    coco = json.loads((out / "coco.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == [str(images / f"{n}.png") for n in range(4)]
    first = [one for one in coco["annotations"] if one["image_id"] == 1]
    for one in first:
        mask = _decoded(one["segmentation"])
        assert np.array_equal(mask, labels == one["category_id"])
        left, top, width, height = one["bbox"]
        assert one["area"] == mask.sum() == mask[top : top + height, left : left + width].sum()
    assert [one["id"] for one in coco["annotations"]] == list(range(1, len(coco["annotations"]) + 1))
    darwin = json.loads((out / "darwin" / "0.json").read_text())
    labelme = json.loads((out / "labelme" / "0.json").read_text())
    for label, name in ((1, "right lung"), (2, "left lung")):
        (annotation,) = [one for one in darwin["annotations"] if one["name"] == name]
        paths = [[(p["x"], p["y"]) for p in path] for path in annotation["polygon"]["paths"]]
        points = [shape["points"] for shape in labelme["shapes"] if shape["label"] == name]
        for outlines in (paths, points):
            drawn = np.zeros_like(labels)
            for outline in outlines:
                cv2.fillPoly(drawn, [np.asarray(outline, np.int32)], 1)
            assert np.array_equal(drawn > 0, labels == label)
    clear = cv2.imread(str(out / "transparent" / "0.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(clear[..., 3] > 0, labels > 0)
    assert not list((out / "seg").glob("*")) if (out / "seg").exists() else True


def test_nifti_is_opened_by_another_program(model: Lungsight, images: Path, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    from lungsight import XRay

    result = model(XRay(draw_chest(80, 64), "a", "DICOM", 8, spacing=(0.5, 0.2)))
    from lungsight.writers.shapes import nifti

    (tmp_path / "a.nii.gz").write_bytes(nifti(result.labels, result.xray.spacing))
    image = sitk.ReadImage(str(tmp_path / "a.nii.gz"))
    assert np.array_equal(sitk.GetArrayFromImage(image)[0], result.labels)
    assert image.GetSpacing() == pytest.approx((0.2, 0.5, 1.0))
    # SimpleITK's axes run to the left, back and head: columns to the left, rows to the feet.
    assert np.reshape(image.GetDirection(), (3, 3))[:, 0] == pytest.approx((1, 0, 0))
    assert np.reshape(image.GetDirection(), (3, 3))[:, 1] == pytest.approx((0, 0, -1))


def _decoded(rle: dict[str, Any]) -> np.ndarray:
    flat = np.repeat(np.arange(len(rle["counts"])) % 2, rle["counts"]).astype(bool)
    height, width = rle["size"]
    return flat.reshape(width, height).T


def test_parquet_holds_the_rows_of_the_csv(model: Lungsight, images: Path, tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    out = tmp_path / "out"
    predict(images, out, model=model, table="parquet")
    before = arrow.read_table(out / "results.parquet").to_pylist()
    predict([images, images.parent / "absent.png"], out, model=model, table="parquet", resume=True)
    table = arrow.read_table(out / "results.parquet").to_pylist()
    assert [row["input"] for row in table] == [row.input for row in read_results(out / "results.csv")]
    assert table[:4] == before, "what was read back from the CSV has all of its digits"
    assert table[0]["probability"] == rows(out)["0.png"].probability
    assert table[-1]["status"] == "failed" and table[-1]["probability"] is None


# a run that is killed


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_killed_run_loses_nothing_and_doubles_nothing(networks: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(40):
        cv2.imwrite(str(tmp_path / "in" / f"{number:02}.png"), draw_chest(64, 64, seed=number))
    code = (
        "import sys, time; from lungsight import load_model, predict\n"
        "model = load_model(sys.argv[1], threads=1)\n"
        "predict(sys.argv[2], sys.argv[3], model=model, resume=True, batch=2, on_row=lambda row: time.sleep(0.02))"
    )
    words = [sys.executable, "-c", code, str(networks), str(tmp_path / "in"), str(tmp_path / "out")]
    chance = random.Random(7)
    table = tmp_path / "out" / "results.csv"
    for _ in range(3):
        process = subprocess.Popen(words)
        size = table.stat().st_size if table.exists() else 0
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            if table.exists() and table.stat().st_size > size + 1:
                break
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(words, check=True, timeout=400)
    with table.open(newline="") as file:
        names = [Path(row["input"]).name for row in csv.DictReader(file)]
    assert sorted(names) == [f"{number:02}.png" for number in range(40)]
    predict(tmp_path / "in", tmp_path / "whole", model=load_model(networks, threads=1))
    for name, row in rows(tmp_path / "whole").items():
        other = rows(tmp_path / "out")[name]
        assert (row.probability, row.right_lung_px, row.mask) == (
            other.probability,
            other.right_lung_px,
            other.mask,
        )
        assert (tmp_path / "whole" / row.mask).read_bytes() == (tmp_path / "out" / row.mask).read_bytes()
    assert not [path for path in (tmp_path / "out").rglob(".*") if path.name != ".lungsight.lock"]


# archives and addresses


def test_members_of_archives_are_inputs(model: Lungsight, images: Path, tmp_path: Path) -> None:
    import tarfile
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(images.iterdir()):
            archive.write(path, f"deep/{path.name}")
        archive.writestr("notes.txt", "not an image")
        archive.writestr("__MACOSX/._0.png", b"x")
        archive.writestr("cut.png", (images / "0.png").read_bytes()[:300])
        archive.writestr("../../escape.png", (images / "1.png").read_bytes())
    with tarfile.open(tmp_path / "b.tar", "w") as tar:
        tar.add(images, "films")
        link = tarfile.TarInfo("films/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    summary = predict([tmp_path / "a.zip", tmp_path / "b.tar", images], tmp_path / "out", model=model)
    assert (summary.predicted, summary.failed, summary.passed_over, summary.duplicates) == (13, 1, 1, 9)
    table = list(read_results(tmp_path / "out" / "results.csv"))
    assert len({row.input for row in table}) == len(table) == 15
    names = {Path(row.input).relative_to(tmp_path).as_posix() for row in table}
    assert {"a.zip/deep/0.png", "a.zip/cut.png", "a.zip/notes.txt", "b.tar/films/3.png", "in/3.png"} <= names
    assert all((tmp_path / "out" / row.mask).resolve().is_relative_to(tmp_path / "out") for row in table)
    again = predict(
        [tmp_path / "a.zip", tmp_path / "b.tar", images], tmp_path / "out", model=model, resume=True
    )
    assert (again.done_before, again.predicted, again.failed) == (13, 0, 1)


@pytest.mark.parametrize("name", ["cut.zip", "cut.tar", "packed.tar.gz"])
def test_an_archive_that_cannot_be_read_costs_itself_alone(
    model: Lungsight, images: Path, tmp_path: Path, name: str
) -> None:
    import tarfile
    import zipfile

    path = tmp_path / name
    if name.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(images / "0.png", "0.png")
    else:
        with tarfile.open(path, "w:gz" if name.endswith("gz") else "w") as tar:
            tar.add(images / "0.png", "0.png")
    if name.startswith("cut"):
        path.write_bytes(path.read_bytes()[:700])
    summary = predict([path, images], tmp_path / "out", model=model)
    assert (summary.predicted, summary.failed) == (4, 1)
    assert summary.failures[0].code in ("damaged", "unsupported")


def test_a_member_without_a_name_costs_itself_alone(images: Path, tmp_path: Path) -> None:
    """A fuzzer's find: Python's zipfile fails on it."""
    import zipfile

    from lungsight.batch.sources import members

    data = (images / "0.png").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo(""), data)
        archive.writestr("0.png", data)
    assert [place.member for place, _ in members(tmp_path / "a.zip", [])] == ["0.png"]


@pytest.mark.parametrize("packing", ["ZIP_BZIP2", "ZIP_LZMA"])
def test_a_small_zip_does_not_become_gigabytes(tmp_path: Path, packing: str) -> None:
    import tracemalloc
    import zipfile

    from lungsight.batch.sources import members
    from lungsight.errors import InputError

    with zipfile.ZipFile(tmp_path / "a.zip", "w", getattr(zipfile, packing)) as archive:
        archive.writestr("a.png", bytes(64 * 2**20))
    assert (tmp_path / "a.zip").stat().st_size < 2**16
    tracemalloc.start()
    ((place, _),) = members(tmp_path / "a.zip", [])
    with pytest.raises(InputError, match="not supported"):
        place.read(100)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


@pytest.mark.parametrize("size", [-512, 2**40])
def test_a_tar_that_leads_back_or_takes_the_memory_is_damaged(tmp_path: Path, size: int) -> None:
    import tarfile

    from lungsight.batch.sources import members
    from lungsight.errors import InputError

    info = tarfile.TarInfo("a")
    info.type = tarfile.XHDTYPE if size > 0 else tarfile.REGTYPE
    info.size = abs(size)
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    if size < 0:  # a size of base 256 may be negative
        header[124:136] = size.to_bytes(12, "big", signed=True)
        header[148:156] = b"%06o\0 " % tarfile.calc_chksums(bytes(header))[0]
    (tmp_path / "a.tar").write_bytes(bytes(header) * 3)
    with pytest.raises(InputError, match="damaged"):
        list(members(tmp_path / "a.tar", []))


def test_addresses_are_inputs(model: Lungsight, images: Path, tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
    files = fsspec.filesystem("memory")
    for path in sorted(images.iterdir()):
        files.pipe_file(f"/bucket/films/{path.name}", path.read_bytes())
    files.pipe_file("/bucket/films/list.csv", b"a,b")
    summary = predict(
        ["memory://bucket/films", "memory://nowhere", "nosuch://x/y"], tmp_path / "out", model=model
    )
    assert (summary.predicted, summary.passed_over, summary.failed) == (4, 1, 2)
    assert {row.input for row in read_results(tmp_path / "out" / "results.csv") if row.mask} == {
        f"memory:///bucket/films/{number}.png" for number in range(4)
    }
    assert predict(["memory://bucket/films/2.png"], tmp_path / "one", model=model).predicted == 1
