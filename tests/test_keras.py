"""Keras files: there and back, older layouts made with h5py alone, and files that mean harm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
h5py = pytest.importorskip("h5py")

from command import lungsight  # noqa: E402
from lungsight.errors import ModelError  # noqa: E402
from lungsight.networks import build, count_parameters  # noqa: E402
from lungsight.networks.keras_files import read_keras  # noqa: E402
from lungsight.networks.keras_write import keras_bytes  # noqa: E402
from lungsight.training import load_run  # noqa: E402
from lungsight.training.keras_runs import export_keras, import_keras  # noqa: E402

CASES = {
    "unet": ("paper-unet", (32, 48), 3, 0.0625),
    "unet of one channel": ("paper-unet", (32, 32), 1, 0.125),
    "cnn": ("paper-cnn", (46, 36), 3, 0.25),
}


def make(case: str) -> tuple[torch.nn.Module, tuple[int, int]]:
    name, size, channels, width = CASES[case]
    torch.manual_seed(0)
    network = build(name, width=width, channels=channels, size=size).eval()
    for parameter in network.parameters():  # biases too
        torch.nn.init.normal_(parameter, std=0.1)
    return network, size


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return list(first) == list(second) and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("case", CASES)
def test_there_and_back(case: str, tmp_path: Path) -> None:
    network, size = make(case)
    path = tmp_path / "n.h5"
    path.write_bytes(keras_bytes(network, size))
    found = read_keras(path)
    assert (found.name, found.size, found.channels, found.width) == (
        CASES[case][0], size, CASES[case][2], CASES[case][3],
    )  # fmt: skip
    assert same(found.network, network)


IN_KERAS = """
import sys, numpy, keras
for folder in sys.argv[1:]:
    given = numpy.load(folder + "/given.npy")
    model = keras.models.load_model(folder + "/n.h5", compile=False)
    numpy.save(folder + "/said.npy", keras.ops.convert_to_numpy(model(given)))
    print(model.count_params())
    for layer in model.layers:
        layer.set_weights([w + numpy.float32(0.01) for w in layer.get_weights()])
    numpy.save(folder + "/changed.npy", keras.ops.convert_to_numpy(model(given)))
    model.save(folder + "/k3.keras")
    model.save(folder + "/k3.h5")
    model.save_weights(folder + "/k3.weights.h5")
"""


@pytest.fixture(scope="module")
def in_keras(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, int]]:
    """Of each case a folder in which Keras has been, and how many parameters it counted; one process for all."""
    if find_spec("keras") is None:
        pytest.skip("keras is not installed (pip install keras)")
    folders = {case: tmp_path_factory.mktemp("keras") for case in CASES}
    for case, folder in folders.items():
        network, size = make(case)
        (folder / "n.h5").write_bytes(keras_bytes(network, size))
        np.save(folder / "given.npy", np.random.default_rng(0).random((2, *size, CASES[case][2]), np.float32))
    home = str(tmp_path_factory.mktemp("home"))
    done = subprocess.run(
        [sys.executable, "-c", IN_KERAS, *map(str, folders.values())],
        capture_output=True,
        text=True,
        env=os.environ | {"KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "1", "KERAS_HOME": home},
    )
    assert done.returncode == 0, done.stderr
    counts = map(int, done.stdout.split()[-len(CASES) :])
    return {case: (folder, count) for (case, folder), count in zip(folders.items(), counts, strict=True)}


@pytest.mark.parametrize("case", CASES)
def test_keras_says_the_same_both_ways(case: str, in_keras: dict[str, tuple[Path, int]]) -> None:
    """Keras 3 on PyTorch loads what is written here, and what it writes is read here; equal within 1e-5."""
    folder, count = in_keras[case]
    network, _ = make(case)
    assert count == count_parameters(network)
    given = np.load(folder / "given.npy")

    def ours(one: torch.nn.Module) -> np.ndarray:
        with torch.inference_mode():
            found = torch.sigmoid(one(torch.from_numpy(given.transpose(0, 3, 1, 2)))).numpy()
        return found.transpose(0, 2, 3, 1) if found.ndim == 4 else found

    assert np.abs(ours(network) - np.load(folder / "said.npy")).max() < 1e-5
    changed = np.load(folder / "changed.npy")
    assert np.abs(changed - np.load(folder / "said.npy")).max() > 1e-4
    for name in ("k3.keras", "k3.h5", "k3.weights.h5"):
        if name == "k3.weights.h5" and case == "cnn":
            continue  # such a file does not say the input's size, without which the dense layer has no shape
        assert np.abs(ours(read_keras(folder / name).network) - changed).max() < 1e-5, name


def test_the_papers_networks_at_full_width_have_their_counts() -> None:
    """31,032,837 (three channels) and zhixuhao's 31,031,685 (one)."""
    with torch.device("meta"):
        assert [count_parameters(build("paper-unet", channels=c)) for c in (3, 1)] == [31_032_837, 31_031_685]


@pytest.mark.parametrize("wrapped", [True, False], ids=["model.save", "save_weights"])
@pytest.mark.parametrize("case", ["unet of one channel", "cnn"])
def test_keras_2_files_made_with_h5py_alone(wrapped: bool, case: str, tmp_path: Path) -> None:
    """As Keras 2.4 wrote them, with its long names and layers without weights; `save_weights` has no configuration."""
    network, size = make(case)
    convolutions = [one for one in network.modules() if isinstance(one, torch.nn.Conv2d | torch.nn.Linear)]
    if case != "cnn":  # the modules are listed by kind; Keras lists them along the data's way
        down = [one for block in network.down for one in block if isinstance(one, torch.nn.Conv2d)]  # type: ignore[union-attr]
        up = [
            one
            for first, block in zip(network.up, network.merge, strict=True)  # type: ignore[arg-type]
            for one in (first.convolution, *(x for x in block if isinstance(x, torch.nn.Conv2d)))
        ]
        convolutions = [*down, *up, network.pair, network.last]  # type: ignore[list-item]
    elif not wrapped:
        pytest.skip("the dense layer's map cannot be told without the configuration")
    path = tmp_path / "old.h5"
    with h5py.File(path, "w") as root:
        group = root.create_group("model_weights") if wrapped else root
        names = [b"input_1"]
        group.create_group("input_1").attrs["weight_names"] = np.array([], "S1")
        for number, layer in enumerate(convolutions):
            name = f"conv2d_{number + 27}"  # a notebook that was run twice
            names.append(name.encode())
            kernel = layer.weight.detach().numpy()
            if kernel.ndim == 4:
                kernel = np.moveaxis(kernel, (0, 1), (3, 2))
            elif kernel.shape[0] == 64:
                height, width = (((side - 2) // 2 - 2) // 2 for side in size)
                kernel = np.stack(
                    [unit.reshape(-1, height, width).transpose(1, 2, 0).ravel() for unit in kernel], axis=1
                )
            else:
                kernel = kernel.T
            inner = group.create_group(name)
            inner.attrs["weight_names"] = [f"{name}/kernel:0".encode(), f"{name}/bias:0".encode()]
            inner[f"{name}/kernel:0"], inner[f"{name}/bias:0"] = kernel, layer.bias.detach().numpy()
        group.attrs["layer_names"] = names
        if wrapped:
            start = {
                "class_name": "InputLayer",
                "config": {"batch_input_shape": [None, *size, CASES[case][2]]},
            }
            end = {"class_name": "Conv2D", "config": {"activation": "sigmoid"}}
            root.attrs["model_config"] = json.dumps(
                {"class_name": "Model", "config": {"layers": [start, end]}}
            )
            root.attrs["training_config"] = "{}"
            root.create_group("optimizer_weights")
    found = read_keras(path)
    assert same(found.network, network)
    assert found.size == (size if wrapped else (256, 256))


# ------------------------------------------------------------------------------------------ hostile files


def edited(change: Callable[[Any], None]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        network, size = make("cnn")
        path.write_bytes(keras_bytes(network, size))
        with h5py.File(path, "r+") as root:
            change(root)

    return write


def a_lambda(root: Any) -> None:
    config = json.loads(root.attrs["model_config"])
    config["config"]["layers"].insert(
        1, {"class_name": "Lambda", "config": {"function": ["4wEAAAA=", None, None]}}
    )
    root.attrs["model_config"] = json.dumps(config)


def softmax(root: Any) -> None:
    config = json.loads(root.attrs["model_config"])
    config["config"]["layers"][-1]["config"]["activation"] = "softmax"
    root.attrs["model_config"] = json.dumps(config)


def huge(root: Any) -> None:
    del root["model_weights/conv2d/conv2d/kernel:0"]
    root["model_weights/conv2d/conv2d"].create_dataset(
        "kernel:0", (3, 3, 2**20, 2**20), "f4", chunks=(1, 1, 64, 64)
    )


def many_times(root: Any) -> None:
    """A dozen layers that are one table of forty million zeros, which takes no room in the file: 2 GB in memory."""
    inner = root["model_weights"].create_group("big/big")
    inner.create_dataset("kernel:0", (400, 100_000), "f4", chunks=(1, 1000))
    inner.create_dataset("bias:0", (100_000,), "f4", chunks=(1000,))
    root["model_weights/big"].attrs["weight_names"] = [b"big/kernel:0", b"big/bias:0"]
    root["model_weights"].attrs["layer_names"] = [b"big"] * 12


def no_end(root: Any) -> None:
    root["model_weights"].attrs["layer_names"] = [b"dense"] * 3000


def wrong_name(root: Any) -> None:
    root["model_weights/conv2d"].attrs["weight_names"] = [b"conv2d/nothing:0", b"conv2d/bias:0"]


def climbing(root: Any) -> None:
    root["model_weights"].attrs["layer_names"] = [b"../conv2d", b"conv2d_1", b"dense", b"dense_1"]


def outside(root: Any) -> None:
    del root["model_weights/conv2d/conv2d/kernel:0"]
    root["model_weights/conv2d/conv2d/kernel:0"] = h5py.ExternalLink("/etc/passwd", "/x")


def external(root: Any) -> None:
    shape = root["model_weights/dense_1/dense_1/bias:0"].shape
    del root["model_weights/dense_1/dense_1/bias:0"]
    root["model_weights/dense_1/dense_1"].create_dataset(
        "bias:0", shape, "f4", external=[("/etc/passwd", 0, 4)]
    )


def not_finite(root: Any) -> None:
    root["model_weights/dense/dense/bias:0"][0] = np.nan


def text(root: Any) -> None:
    del root["model_weights/dense/dense/bias:0"]
    root["model_weights/dense/dense/bias:0"] = [b"Jane Doe"]


def transposed(root: Any) -> None:
    kernel = root["model_weights/dense/dense/kernel:0"][()]
    del root["model_weights/dense/dense/kernel:0"]
    root["model_weights/dense/dense/kernel:0"] = kernel.T


def fewer(root: Any) -> None:
    root["model_weights"].attrs["layer_names"] = [b"conv2d", b"dense"]


def deep(root: Any) -> None:
    root.attrs["model_config"] = "[" * 30_000


def no_object(root: Any) -> None:
    root.attrs["model_config"] = '{"config": [1, 2]}'


def random_bytes(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(4000))


def torn(path: Path) -> None:
    network, size = make("cnn")
    path.write_bytes(keras_bytes(network, size)[:20_000])


def empty_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")


def zip_without_weights(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", b"no hdf5")


def bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b"0" * (2**24 + 1))
        archive.writestr("model.weights.h5", b"")


CHANGES = (
    a_lambda, softmax, huge, many_times, no_end, wrong_name, climbing, outside, external, not_finite, text, transposed,
    fewer, deep, no_object,
)  # fmt: skip


@pytest.mark.parametrize(
    "write",
    [*map(edited, CHANGES), random_bytes, torn, empty_zip, zip_without_weights, bomb],
    ids=[*(c.__name__ for c in CHANGES), "random bytes", "torn", "empty zip", "zip without weights", "bomb"],
)
def test_a_file_that_means_harm_gets_a_clear_error(write: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "n.h5"
    write(path)
    tracemalloc.start()
    try:
        with pytest.raises(ModelError) as caught:
            read_keras(path)
        assert tracemalloc.get_traced_memory()[1] < 300 * 2**20
    finally:
        tracemalloc.stop()
    assert caught.value.where == str(path) and caught.value.hint
    assert "Jane" not in str(caught.value) and "passwd" not in str(caught.value)


# ------------------------------------------------------------------------------------------ run folders


def test_a_run_out_of_a_file_and_the_file_out_of_the_run(tmp_path: Path) -> None:
    network, size = make("cnn")
    (tmp_path / "n.h5").write_bytes(keras_bytes(network, size))
    done = lungsight("import-keras", tmp_path / "n.h5", "--out", tmp_path / "run")
    assert (done.code, done.out.splitlines()[0]) == (
        0,
        f"paper-cnn, width 0.25, input 46 x 36 x 3, in {tmp_path / 'run'}",
    )
    recipe, loaded = load_run(tmp_path / "run")
    assert same(loaded, network) and recipe.data.input_size == (46, 36)
    done = lungsight("export", tmp_path / "run", "--out", tmp_path / "k", "--format", "keras")
    assert (done.code, done.out.strip()) == (0, str(tmp_path / "k" / "diagnosis.h5"))
    assert same(read_keras(tmp_path / "k" / "diagnosis.h5").network, network)
    again = lungsight("import-keras", tmp_path / "n.h5", "--out", tmp_path / "run")
    assert again.code == 2 and "already holds a run" in again.err
    absent = lungsight("import-keras", tmp_path / "absent.h5", "--out", tmp_path / "other")
    assert absent.code == 2 and "cannot be read as a Keras file" in absent.err


def test_the_papers_input_gets_the_papers_crop(tmp_path: Path) -> None:
    network = build("paper-cnn", width=0.0625, channels=3, size=(246, 236))
    (tmp_path / "n.h5").write_bytes(keras_bytes(network, (246, 236)))
    import_keras(tmp_path / "n.h5", tmp_path / "run")
    recipe, _ = load_run(tmp_path / "run")
    assert (recipe.data.size, recipe.data.crop) == ((256, 256), (10, 10, 0, 10))


def test_other_networks_have_no_keras_form(tmp_path: Path) -> None:
    from lungsight.config import load_recipe
    from lungsight.records import to_toml
    from lungsight.training.run_folder import save_weights

    recipe = load_recipe("gate", ["network.width=0.1"])
    save_weights(tmp_path, build("gate-cnn", width=0.1, channels=1))
    (tmp_path / "config.toml").write_text(to_toml(recipe))
    with pytest.raises(ModelError, match="gate-cnn, has no Keras form"):
        export_keras(tmp_path, tmp_path)
