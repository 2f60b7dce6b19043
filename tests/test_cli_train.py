"""`lungsight train` and `lungsight evaluate` as a user calls them, with what users get wrong."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from child import Child
from command import lungsight

pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("undrawn_charts")

SMALL = (
    *("--set", "data.size=[32,32]", "--set", "network.width=0.03"),
    *("--set", "training.batch=4", "--set", "training.epochs=2"),
)


def train(*arguments: str | Path, recipe: str = "paper-segmentation") -> Any:
    return lungsight("train", recipe, *SMALL, *arguments)


@pytest.fixture
def data(phantoms: Path, tmp_path: Path) -> Path:
    """A copy of the drawn X-rays that a test may damage."""
    folder = tmp_path / "data"
    shutil.copytree(phantoms, folder)
    return folder


def covid_and_other(data: Path) -> tuple[str, str]:
    """The id of an image with COVID-19 and of one without."""
    lines = [line.split(",") for line in (data / "manifest.csv").read_text().splitlines()[1:]]
    first = [next(line[0] for line in lines if line[7] == value) for value in "10"]
    return first[0], first[1]


def test_train_then_evaluate(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = train("--data", data, "--out", run, "--cache", tmp_path / "cache")
    assert (done.code, done.out.splitlines()[0][:8]) == (0, "2 epochs")
    lines = done.err.splitlines()
    assert len(lines) == 2, f"noise beside the two epochs: {lines}"
    assert "epoch 2/2  loss 0." in lines[1]
    assert "dice 0." in lines[1]
    assert "left" in lines[1]
    shown = done.out.splitlines()[1].removeprefix("next: lungsight ")
    done = lungsight(*shown.split(), "--cache", tmp_path / "cache")
    assert done.code == 0
    assert "left out" not in done.err
    assert "dice" in done.out
    metrics = json.loads((run / "metrics.json").read_text())
    assert (metrics["part"], metrics["masks"]["threshold"]) == ("validation", 0.2)
    command = json.loads((run / "provenance.json").read_text())["command"]
    assert command.startswith("lungsight train paper-segmentation --set 'data.size=[32,32]'")
    assert train("--data", data, "--out", run).code == 2
    again = train("--data", data, "--out", run, "--resume")
    assert (again.code, again.err) == (0, "")


def test_what_the_clock_ended_says_so_and_goes_on(data: Path, tmp_path: Path) -> None:
    arguments = ("--data", data, "--out", tmp_path / "run")
    done = train(*arguments, "--minutes", "0.00001")
    assert (done.code, done.out.splitlines()[0][:8]) == (0, "1 epoch ")
    done = lungsight("evaluate", tmp_path / "run", "--data", data)
    assert "warning: the network was trained for 1 of 2 epochs: its time was up" in done.err
    done = train(*arguments, "--resume")
    assert (done.code, done.out.splitlines()[0][:8]) == (0, "2 epochs")
    done = lungsight("evaluate", tmp_path / "run", "--data", data)
    assert done.code == 0 and "its time was up" not in done.err


def test_options_change_the_recipe(data: Path, tmp_path: Path) -> None:
    done = train(
        *("--data", data, "--out", tmp_path / "run", "--split", "patient", "--seed", "5"),
        *("--set", "training.epochs=1"),
    )
    assert done.code == 0
    text = (tmp_path / "run" / "config.toml").read_text()
    assert 'kind = "patient"' in text
    assert "seed = 5" in text
    assert ",test" in (tmp_path / "run" / "split.csv").read_text()


# ------------------------------------------------------------------------------------ what users get wrong


def truncated(data: Path) -> str:
    name = covid_and_other(data)[1]
    path = data / "images" / f"{name}.png"
    path.write_bytes(path.read_bytes()[:300])
    return name


def other_mask(data: Path) -> str:
    name = covid_and_other(data)[1]
    Image.fromarray(np.zeros((64, 40), bool)).save(data / "masks" / f"{name}.png")
    return name


def missing_image(data: Path) -> str:
    name = covid_and_other(data)[1]
    (data / "images" / f"{name}.png").unlink()
    return name


def missing_mask(data: Path) -> str:
    name = covid_and_other(data)[0]
    (data / "masks" / f"{name}.png").unlink()
    return name


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (truncated, "the PNG is damaged or cut short"),
        (other_mask, "the mask is 40 x 64 and the image 64 x 64: not the same shape"),
        (missing_image, "the image is missing"),
        (missing_mask, "the mask is missing"),
    ],
)
def test_a_bad_image_is_named_and_the_others_train(
    damage: Callable[[Path], str], words: str, data: Path, tmp_path: Path
) -> None:
    name = damage(data)
    done = train("--data", data, "--out", tmp_path / "run", "--set", "training.epochs=1")
    assert done.code == 1
    left_out = [line for line in done.err.splitlines() if line.startswith("left out")]
    assert len(left_out) == 1
    assert left_out[0].startswith(f"left out {name}: ")
    assert words in left_out[0]
    assert name not in (tmp_path / "run" / "split.csv").read_text()
    assert (tmp_path / "run" / "weights.safetensors").exists()
    done = lungsight("evaluate", tmp_path / "run", "--data", data)
    assert done.code == 1
    assert f"left out {name}: " in done.err
    assert "dice" in done.out


def not_there(data: Path) -> None:
    shutil.rmtree(data)


def no_covid(data: Path) -> None:
    lines = (data / "manifest.csv").read_text().splitlines()
    kept = [line for line in lines if line.split(",")[7] != "1"]
    (data / "manifest.csv").write_text("\n".join(kept) + "\n")


def not_darwin(data: Path) -> None:
    (data / "manifest.csv").unlink()
    shutil.rmtree(data / "masks")
    releases = data / "releases" / "r" / "annotations"
    releases.mkdir(parents=True)
    (releases / "a.json").write_text('{"some": "thing"}')


def all_broken(data: Path) -> None:
    for path in (data / "images").iterdir():
        path.write_bytes(b"no image")


def no_table(data: Path) -> None:
    (data / "manifest.csv").write_bytes(b"\xff\xfe\x00binary")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (not_there, "there is no such file or folder. Check the path"),
        (no_covid, "has no COVID-19 image, and training needs both classes"),
        (not_darwin, "Darwin"),
        (all_broken, "not one image can be read"),
        (no_table, "not a table of text"),
    ],
)
def test_data_of_no_use_are_one_line_and_exit_code_2(
    damage: Callable[[Path], None], words: str, data: Path, tmp_path: Path
) -> None:
    damage(data)
    done = train("--data", data, "--out", tmp_path / "run")
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert done.err.startswith("lungsight: ")
    assert words in done.err
    assert not (tmp_path / "run").exists()


def test_json_that_is_not_darwins(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    for text in ('{"a": 1}', "[1, 2]", "no json", ""):
        file.write_text(text)
        done = train("--data", file, "--out", tmp_path / "run")
        assert done.code == 2
        assert len(done.err.splitlines()) == 1
        assert str(file) in done.err


def test_an_unknown_key_in_a_recipe(data: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text('name = "mine"\ntask = "lungs"\n[training]\nepocs = 3\n')
    done = train("--data", data, "--out", tmp_path / "run", recipe=str(recipe))
    assert done.code == 2
    assert done.err == f"lungsight: {recipe}: training.epocs is not known. Did you mean training.epochs?\n"
    done = train("--data", data, "--out", tmp_path / "run", recipe="paper")
    assert done.code == 2
    assert "Shipped recipes:" in done.err
    done = train("--data", data, "--out", tmp_path / "run", "--columns", "x")
    assert (done.code, "is not OURS=THEIRS" in done.err) == (2, True)


def test_a_missing_extra_is_named(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightning", None)
    done = train("--data", data, "--out", tmp_path / "run")
    assert done.code == 2
    assert "lightning, which is not installed. Install it with: pip install 'lungsight[train]'" in done.err


def test_an_out_folder_that_is_no_folder(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in ("/dev/full", tmp_path / "file", tmp_path / "file" / "run"):
        done = train("--data", data, "--out", out)
        assert done.code == 2
        assert "cannot be written: a file stands where a folder is needed. Choose another folder" in done.err
        assert str(out).removesuffix("/run") in done.err


@pytest.mark.parametrize(
    "name", ["config.toml", "images.npy", "last.ckpt", "weights.safetensors", "metrics.json"]
)
def test_a_full_disk(name: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing half written is left under a final name, and with space again the run goes on."""
    arguments = ("--data", data, "--out", tmp_path / "run", "--cache", tmp_path / "cache")
    write, opened = Path.write_bytes, Path.open

    def full(path: Path) -> bool:
        stem, _, suffix = name.partition(".")
        return stem in path.name and path.name.endswith(suffix) and tmp_path in path.parents

    def write_bytes(path: Path, content: Any) -> int:
        if full(path):
            write(path, bytes(content)[:10])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, content)

    class Full:
        def __init__(self, handle: Any) -> None:
            self.handle = handle

        def __getattr__(self, attribute: str) -> Any:
            return getattr(self.handle, attribute)

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.handle.close()

        def write(self, content: bytes) -> int:
            if len(content) > 1000:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return int(self.handle.write(content))

    def open_(path: Path, mode: str = "r", *more: Any, **options: Any) -> Any:
        handle = opened(path, mode, *more, **options)
        return Full(handle) if "wb" in mode and full(path) else handle

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", write_bytes)
        patch.setattr(Path, "open", open_)
        if name == "metrics.json":
            assert train(*arguments).code == 0
            done = lungsight("evaluate", tmp_path / "run", "--data", data)
        else:
            done = train(*arguments)
    assert done.code == 2
    last = done.err.splitlines()[-1]
    assert last.startswith("lungsight: ")
    assert "cannot be written: no space left on device. Free some space" in last
    assert not list(tmp_path.rglob(name))
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()], "temporary files are removed"
    assert train(*arguments, "--resume").code == 0
    if name in ("weights.safetensors", "metrics.json"):
        assert lungsight("evaluate", tmp_path / "run", "--data", data).code == 0


# ------------------------------------------------------------------------------ stopped from outside

TEN = ("--set", "training.epochs=10")


def start(data: Path, out: Path) -> Child:
    """`lungsight train` in a process of its own, until its second epoch is done."""
    child = Child("train", "paper-segmentation", *SMALL, *TEN, "--data", str(data), "--out", str(out))
    for line in child.errors:
        if "epoch 2/10" in line:
            return child
    pytest.fail(f"it ended before the second epoch: {child.end()}")


@pytest.fixture(scope="module")
def uninterrupted(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("whole") / "run"
    assert train(*TEN, "--data", phantoms, "--out", run).code == 0
    return run


def assert_resumes_to(run: Path, whole: Path, data: Path) -> None:
    done = train(*TEN, "--data", data, "--out", run, "--resume")
    assert done.code == 0
    assert "epoch 1/10" not in done.err, "it began again"
    assert "epoch 10/10" in done.err
    assert all(line.startswith("epoch ") for line in done.err.splitlines()), done.err
    assert (run / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()
    tables = [
        [line.rpartition(",")[0] for line in (folder / "history.csv").read_text().splitlines()]
        for folder in (run, whole)
    ]
    assert tables[0] == tables[1]


def test_ctrl_c_then_resume(phantoms: Path, uninterrupted: Path, tmp_path: Path) -> None:
    child = start(phantoms, tmp_path / "run")
    child.send(signal.SIGINT)
    code, err = child.end()
    assert code == 130
    assert err.strip().endswith("the same command with --resume continues from the last whole epoch")
    assert "Traceback" not in err
    assert not (tmp_path / "run" / "weights.safetensors").exists()
    assert_resumes_to(tmp_path / "run", uninterrupted, phantoms)


def test_kill_9_then_resume(phantoms: Path, uninterrupted: Path, tmp_path: Path) -> None:
    child = start(phantoms, tmp_path / "run")
    child.send(signal.SIGKILL)
    assert child.end()[0] == -signal.SIGKILL
    assert not (tmp_path / "run" / "weights.safetensors").exists()
    assert_resumes_to(tmp_path / "run", uninterrupted, phantoms)


def test_a_file_that_may_not_grow(phantoms: Path, tmp_path: Path) -> None:
    """The operating system itself refuses to write the checkpoint."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    try:
        done = train(*TEN, "--data", phantoms, "--out", tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert done.code == 2
    assert "cannot be written: file too large. Free some space; --resume continues" in done.err
    assert not list(tmp_path.rglob("*.ckpt"))
