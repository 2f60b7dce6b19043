"""`lungsight data` as a user calls it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from command import lungsight as run
from lungsight.cli.console import parse_columns
from lungsight.dataset import read_dataset
from lungsight.errors import ConfigError


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def lungsight(*arguments: str | Path) -> Done:
    done = run("data", *arguments)
    assert "Traceback" not in done.err
    return Done(done.code, done.out, done.err)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    for name in "abc":
        Image.fromarray(np.full((32, 40), 90, np.uint8)).save(data / f"{name}.png")
    (data / "manifest.csv").write_text(
        "id,image,diagnosis,patient\n1,a.png,COVID-19,p1\n2,b.png,[bold]odd[/],p1\n3,c.png,normal,p2\n"
    )
    return data


def test_describe_prints_table_1(folder: Path) -> None:
    done = lungsight("describe", folder, "--columns", "finding=diagnosis")
    assert done.returncode == 0
    assert "total, 40 x 32 to 40 x 32" in done.stdout
    assert "Patients: 2, 1 of them with COVID-19; images per patient: 1 to 2, mean 1.50" in done.stdout
    assert "[bold]odd[/]" in done.stdout
    assert done.stderr == ""


def test_describe_as_json(folder: Path) -> None:
    done = lungsight("describe", folder, "--json", "--columns", "finding=diagnosis")
    found = json.loads(done.stdout)
    assert found["all"] == {"total": 3, "positive": 1, "negative": 2, "unlabelled": 0}
    assert found["without_mask"]["total"] == 3
    assert found["layout"] == "manifest"


def test_unusable_rows_are_named_and_the_exit_code_is_1(folder: Path) -> None:
    (folder / "b.png").unlink()
    (folder / "c.png").write_text("no image")
    done = lungsight("describe", folder)
    assert done.returncode == 1
    assert "2: line 3: b.png: the image is missing" in done.stderr
    assert "c.png" in done.stderr
    assert "Unusable: 2" in done.stdout


def test_nothing_usable_is_exit_code_2(folder: Path) -> None:
    for name in "abc":
        (folder / f"{name}.png").unlink()
    assert lungsight("describe", folder).returncode == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["describe", "nowhere"], "nowhere: there is no such file or folder"),
        (["describe", "{folder}", "--columns", "finding"], "'finding' is not OURS=THEIRS"),
        (["describe", "{folder}", "--columns", "finding=nothing"], "the table has no column 'nothing'"),
        (["convert", "{folder}", "{folder}"], "the folder exists and is not empty"),
        (["convert", "{folder}", "{folder}/a.png/out"], "a file stands where a folder is needed"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(folder: Path, arguments: list[str], message: str) -> None:
    done = lungsight(*(argument.replace("{folder}", str(folder)) for argument in arguments))
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stdout == ""


def test_json_that_is_not_darwins(tmp_path: Path) -> None:
    (tmp_path / "coco.json").write_text('{"images": [], "annotations": []}')
    done = lungsight("describe", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "JSON, but not Darwin's" in done.stderr


def test_convert(folder: Path, tmp_path: Path) -> None:
    image = folder / "b.png"
    image.write_bytes(image.read_bytes()[:50])
    out = tmp_path / "out"
    done = lungsight("convert", folder, out, "--size", "16", "--columns", "finding=diagnosis")
    assert done.returncode == 1
    assert "2 images in" in done.stdout and "1 unusable" in done.stdout
    assert done.stderr.startswith("2: ")
    assert [row.id for row in read_dataset(out)] == ["1", "3"]


def test_phantom(tmp_path: Path) -> None:
    done = lungsight("phantom", tmp_path / "drawn", "--count", "6", "--seed", "1", "--size", "64")
    assert done.returncode == 0
    assert "6 drawn X-rays" in done.stdout
    dataset = read_dataset(tmp_path / "drawn")
    assert len(dataset) == 6
    assert all(row.mask is not None and row.patient for row in dataset)
    assert lungsight("describe", tmp_path / "drawn").returncode == 0
    other = ("phantom", tmp_path / "drawn", "--count", "2", "--seed", "2", "--size", "64")
    assert lungsight(*other).returncode == 2 and len(read_dataset(tmp_path / "drawn")) == 6
    assert lungsight(*other, "--overwrite").returncode == 0 and len(read_dataset(tmp_path / "drawn")) == 2


@pytest.mark.real_data
def test_convert_the_sample(darwin_sample: Path, tmp_path: Path) -> None:
    done = lungsight("convert", darwin_sample, tmp_path / "out", "--size", "128")
    assert done.returncode == 0
    assert "23 images" in done.stdout and "6 excluded by rule" in done.stdout
    assert all(row.covid and row.mask.load().any() for row in read_dataset(tmp_path / "out"))


def test_columns_are_parsed() -> None:
    assert parse_columns(None) is None
    assert parse_columns("finding=diagnosis, patient=subject id") == {
        "finding": "diagnosis",
        "patient": "subject id",
    }
    with pytest.raises(ConfigError, match="given twice"):
        parse_columns("finding=a,finding=b")


def test_describe_another_target(folder: Path) -> None:
    done = lungsight("describe", folder, "--columns", "finding=diagnosis", "--target", "normal")
    assert done.returncode == 0
    assert "1 of them with normal" in done.stdout and "not normal" in done.stdout
    wrong = lungsight("describe", folder, "--target", "Fracture")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "no image of the data set shows the target Fracture" in wrong.stderr


def test_several_data_sets_and_their_copies(folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    film = np.kron(rng.integers(0, 255, (40, 40)), np.ones((4, 4))).astype(np.uint8)
    other = tmp_path / "other"
    other.mkdir()
    Image.fromarray(film).save(folder / "a.png")
    Image.fromarray(255 - film).save(other / "x.png")
    (other / "manifest.csv").write_text("id,image,finding,patient\nx,x.png,normal,q\n")
    (folder / "manifest.csv").write_text("id,image,finding,patient\n1,a.png,COVID-19,p1\n2,b.png,normal,p2\n")
    done = lungsight("describe", folder, other)
    assert done.returncode == 0
    assert "Films that occur more than once" in done.stdout
    assert f"{folder}:1  {other}:x  (conflicting labels, several patients)" in done.stdout
    found = json.loads(lungsight("describe", folder, other, "--json").stdout)
    assert [len(one["by_source"]) for one in found["datasets"]] == [1, 1]
    assert [row["id"] for row in found["duplicates"]["groups"][0]["rows"]] == ["1", "x"]
    assert "duplicates" not in json.loads(lungsight("describe", folder, "--json").stdout)
