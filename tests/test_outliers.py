"""The lung network's distance from what it learned from: in the file, against NumPy, and as a flag."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from lungsight.errors import ModelError  # noqa: E402
from lungsight.inference.plausibility import unlikeness  # noqa: E402
from lungsight.ship_outliers import with_outlier  # noqa: E402

FEATURES = 3


def network(scaled: bool = True) -> bytes:
    """A network of one image channel: three 1x1 filters at half size, scaled up again, and their mean as a mask."""
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    weights = np.array([1.0, 2.0, -1.0], np.float32).reshape(3, 1, 1, 1)
    nodes = [helper.make_node("Conv", ["image", "w"], ["deep"], kernel_shape=[1, 1], strides=[2, 2])]
    if scaled:
        nodes += [
            helper.make_node("Resize", ["deep", "", "scales"], ["wide"], mode="nearest"),
            helper.make_node("ReduceMean", ["wide"], ["probability"], axes=[1], keepdims=1),
        ]
    else:
        nodes += [helper.make_node("Identity", ["deep"], ["probability"])]
    shape = ["batch", None, None, None]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", floats, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("probability", floats, shape)],
        [
            onnx.numpy_helper.from_array(weights, "w"),
            onnx.numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return bytes(model.SerializeToString())


def run(code: bytes, images: np.ndarray) -> dict[str, np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(code, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": images}), strict=True))


def test_the_file_gives_the_distance_beside_the_mask() -> None:
    images = np.random.default_rng(0).random((4, 1, 8, 8), np.float32)
    seen = images[:, :, ::2, ::2].mean(axis=(2, 3)) * np.array([1.0, 2.0, -1.0])
    mean, whiten = np.array([0.1, 0.2, 0.3]), np.diag([1.0, 2.0, 0.5])
    before, after = run(network(), images), run(with_outlier(network(), mean, whiten), images)
    assert np.array_equal(before["probability"], after["probability"])
    wanted = np.sqrt((((seen - mean) * [1.0, 2.0, 0.5]) ** 2).sum(axis=1))
    assert after["outlier"][:, 0] == pytest.approx(wanted, rel=1e-5)
    again = run(with_outlier(with_outlier(network(), mean, whiten), mean, 2 * whiten), images)
    assert list(again) == ["probability", "outlier"], "an earlier distance is replaced"
    assert again["outlier"][:, 0] == pytest.approx(2 * wanted, rel=1e-5)


def test_a_network_without_a_deepest_map_is_refused() -> None:
    with pytest.raises(ModelError, match="no features"):
        with_outlier(network(scaled=False), np.zeros(3), np.eye(3))


def test_whitening_gives_the_mahalanobis_distance() -> None:
    from lungsight.ship_outliers import whitening

    rng = np.random.default_rng(0)
    features = rng.normal(size=(5000, 2)) @ np.array([[2.0, 0.0], [1.0, 0.5]]) + [3.0, -1.0]
    mean, whiten = whitening(features)
    distances = ((features - mean) @ whiten) ** 2
    assert distances.sum(axis=1).mean() == pytest.approx(2, rel=0.02), "as many as there are features"
    assert mean == pytest.approx([3.0, -1.0], abs=0.1)


def test_unlikeness_is_over_its_limit() -> None:
    found = unlikeness(np.array([[2.0], [8.0], [np.nan]], np.float32), 4.0, 3)
    assert found == [0.5, 2.0, np.inf]
    assert (
        unlikeness(None, 4.0, 2) == [None, None]
        and unlikeness(np.zeros((2, 1), np.float32), None, 2) == [None] * 2
    )


def test_a_limit_from_phantoms(phantoms: Path, tmp_path: Path) -> None:
    """The shipped network with a limit from drawn X-rays: a few images are too few."""
    from lungsight.dataset import read_dataset
    from lungsight.errors import DataError
    from lungsight.ship_outliers import fit_outliers

    dataset = read_dataset(phantoms)
    with pytest.raises(DataError, match="held-out images, too few"):
        fit_outliers(dataset, tmp_path)
    assert not list(tmp_path.iterdir())
