"""Weights to start from, and the device to train on."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402

from lungsight.config import load_recipe  # noqa: E402
from lungsight.errors import ConfigError, ModelError  # noqa: E402
from lungsight.training.device import Device  # noqa: E402
from lungsight.training.module import make_network  # noqa: E402
from lungsight.training.start import apply_start  # noqa: E402

RECIPE = load_recipe("diagnosis", ["network.width=0.25", "data.size=[32,32]", "data.resize_to=[64,64]"])


def network(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return make_network(RECIPE)


def started(path: str | Path) -> dict[str, torch.Tensor]:
    mine = network(1)
    apply_start(mine, RECIPE.with_settings(**{"training.start": str(path)}), None)
    return mine.state_dict()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.pt", "run", "nested.pth"])
def test_every_weight_of_the_same_network_is_taken(name: str, tmp_path: Path) -> None:
    given, path = network(0).state_dict(), tmp_path / name
    if name == "run":
        path.mkdir()
        save_file(given, path / "weights.safetensors")
    elif name == "nested.pth":
        torch.save({"state_dict": given, "epoch": 3}, path)
    elif path.suffix == ".safetensors":
        save_file(given, path)
    else:
        torch.save(given, path)
    found = started(path)
    assert all(torch.equal(found[key], value) for key, value in given.items())


def test_what_fits_is_taken_and_the_rest_is_told(tmp_path: Path) -> None:
    given = network(0).state_dict()
    names = list(given)
    given["head.weight"] = torch.zeros(3, 24, 1, 1)
    del given["head.bias"]
    given["classifier.weight"] = torch.zeros(2)
    save_file(given, tmp_path / "w.safetensors")
    recipe = RECIPE.with_settings(**{"training.start": str(tmp_path / "w.safetensors")})
    mine, fresh = network(1), network(1).state_dict()
    report = apply_start(mine, recipe, tmp_path)
    assert report is not None
    assert (report.missing, report.other_shape, report.unused) == (
        ("head.bias",),
        ("head.weight",),
        ("classifier.weight",),
    )
    assert set(report.fitted) == set(names) - {"head.bias", "head.weight"}
    found = mine.state_dict()
    for key in names:
        wanted = given[key] if key in report.fitted else fresh[key]
        assert torch.equal(found[key], wanted), key
    assert json.loads((tmp_path / "start.json").read_text())["unused"] == ["classifier.weight"]
    assert str(report).startswith(f"{len(names) - 2} of {len(names)} weights from ")


def test_no_start_is_the_seeds(tmp_path: Path) -> None:
    mine = network(1)
    assert apply_start(mine, RECIPE, tmp_path) is None
    assert not list(tmp_path.iterdir())


class _Program:
    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("was_run"),)


def other_network(path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(3, 3), "conv.bias": torch.zeros(3)}, path)


def a_program(path: Path) -> None:
    path.write_bytes(pickle.dumps({"weights": _Program()}))


def torn(path: Path) -> None:
    torch.save(network(0).state_dict(), path)
    path.write_bytes(path.read_bytes()[:4000])


def no_table(path: Path) -> None:
    torch.save([torch.zeros(3)], path)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("make", [other_network, a_program, torn, no_table, empty])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_that_will_not_do_is_named_and_runs_nothing(
    make: object, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"w{suffix}"
    make(path)  # type: ignore[operator]
    with pytest.raises(ModelError) as caught:
        started(path)
    assert caught.value.where == str(path)
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize("name", ["absent.pth", "folder", "table.csv"])
def test_a_start_that_is_not_there_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "table.csv").write_text("a,b\n")
    with pytest.raises(ConfigError, match="there are no such weights"):
        started(tmp_path / name)


def test_devices() -> None:
    assert Device.of("cpu") == Device("cpu")
    assert Device.of("cpu").lightning == {"accelerator": "cpu", "devices": 1}
    assert Device.of("auto").kind in ("cpu", "cuda", "mps")
    assert Device("cuda", 1).lightning == {"accelerator": "cuda", "devices": [1]}
    assert str(Device("cuda", 1).torch) == "cuda:1"
    assert (Device("cpu").precision("float32"), Device("cpu").precision("bfloat16")) == (
        "32-true",
        "bf16-mixed",
    )
    assert Device("mps").precision("auto") == "32-true"
    for name in ("tpu", "", "cpu:1", "cuda:x", "cuda:-1", "cuda:99", "CPU"):
        with pytest.raises(ConfigError):
            Device.of(name)


def test_teachers_fill_what_an_annotation_leaves_open() -> None:
    from lungsight.training.targets import Targets, with_teachers

    values, known = np.zeros((3, 1, 2), np.uint8), np.zeros((3, 1, 2), np.uint8)
    values[0], known[0] = [[255, 0]], [[1, 0]]
    mixed = with_teachers(Targets(values, known), {"full": np.array([[55, 40]], np.uint8)}, 0.25)
    assert mixed.values[0].tolist() == [[205, 40]] and mixed.known[0].tolist() == [[1, 1]]
    assert mixed.known[1:].sum() == 0 and known[0].tolist() == [[1, 0]]
