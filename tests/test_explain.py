"""What moved the score: maps with known answers, the share inside the lungs, and the check by shuffled weights."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from lungsight import explain
from lungsight.card import InputSettings
from lungsight.cli import app
from lungsight.errors import InputError, ModelError
from lungsight.inference import Lungsight, load_model
from lungsight.model import load_bundle, save
from tiny_networks import SIZE, diagnosis_card, draw_chest, write_bundle


def filter_onnx(seed: int = 3) -> bytes:
    """A network with weights to shuffle: 'cam' is a 7 x 7 filter's answer on 4 x 4 blocks."""
    kernel = np.random.default_rng(seed).normal(0, 1, (1, 1, 7, 7)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["lungs", "kernel"], ["felt"], pads=[3, 3, 3, 3]),
        helper.make_node("AveragePool", ["felt"], ["cam"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("ReduceMean", ["cam"], ["logit"], axes=[2, 3], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "filter",
        [helper.make_tensor_value_info("lungs", TensorProto.FLOAT, ["n", 1, 32, 32])],
        [
            helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["n", 1]),
            helper.make_tensor_value_info("cam", TensorProto.FLOAT, ["n", 1, 8, 8]),
        ],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(made.SerializeToString())


def corner_onnx(row: int, column: int) -> bytes:
    """A network whose logit is the brightness of one pixel alone (times 9), with no map."""
    weights = np.zeros((1, 1, 32, 32), np.float32)
    weights[0, 0, row, column] = 9
    nodes = [
        helper.make_node("Conv", ["lungs", "weights"], ["felt"]),
        helper.make_node("Flatten", ["felt"], ["logit"]),
    ]
    graph = helper.make_graph(
        nodes,
        "corner",
        [helper.make_tensor_value_info("lungs", TensorProto.FLOAT, ["n", 1, 32, 32])],
        [helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["n", 1])],
        [numpy_helper.from_array(weights, "weights")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Lungsight:
    return load_model(write_bundle(tmp_path_factory.mktemp("networks")), threads=1)


def with_diagnosis(folder: Path, network: bytes, *, preprocessing: str = "crop_to_lungs") -> Lungsight:
    write_bundle(folder, "lungs")
    size = (32, 32) if preprocessing == "crop_to_lungs" else SIZE
    settings = InputSettings(size, preprocessing, resize_to=SIZE, dilation=0.02)  # type: ignore[arg-type]
    save(folder, diagnosis_card(input=settings), network)
    return Lungsight(load_bundle(folder), threads=1)


def test_the_evidence_map_lies_over_the_lungs_box(model: Lungsight) -> None:
    result = model(draw_chest())
    found = explain.evidence(model, result)
    assert found is not None
    assert np.array_equal(found.values, result.diagnosis.evidence)
    restored = found.map()
    assert restored.shape == (200, 160)
    rows, columns = np.nonzero(result.mask)
    top, left, bottom, right = found.frame.box
    # The box is the lungs' own, grown by 2 % of the side (and by rounding at 64 px).
    assert rows.min() - 9 <= top <= rows.min() and rows.max() < bottom <= rows.max() + 10
    assert columns.min() - 9 <= left <= columns.min() and columns.max() < right <= columns.max() + 10
    assert not restored[:top].any() and not restored[bottom:].any()


def test_the_share_inside_by_hand(model: Lungsight) -> None:
    result = model(draw_chest())
    found = explain.evidence(model, result)
    assert found is not None and found.inside is not None
    weight = np.abs(found.map())
    assert found.inside == pytest.approx(weight[result.mask].sum() / weight.sum(), abs=0.03)


@pytest.mark.parametrize(("row", "column"), [(8, 6), (20, 25)])
def test_occlusion_finds_the_one_place_that_counts(row: int, column: int, tmp_path: Path) -> None:
    model = with_diagnosis(tmp_path, corner_onnx(row, column))
    pixels = draw_chest()
    result = model(pixels)
    assert explain.evidence(model, result) is None
    found = explain.explain(model, result)
    assert found.method == "occlusion"
    strongest = np.unravel_index(np.abs(found.values).argmax(), found.values.shape)
    assert abs(strongest[0] - row / 2) <= 1.5 and abs(strongest[1] - column / 2) <= 1.5
    far = np.abs(found.values)[
        np.hypot(*(np.indices((16, 16)) - np.array([[[row / 2]], [[column / 2]]]))) > 5
    ]
    assert far.max() < 0.3 * np.abs(found.values).max()


def test_what_lies_outside_the_lungs_is_told(tmp_path: Path) -> None:
    """A network that looks at the whole image and is moved by all of it: the share is the lungs' share of it."""
    write_bundle(tmp_path)
    bundle = load_bundle(tmp_path)
    assert bundle.diagnosis is not None
    card = diagnosis_card(input=InputSettings(SIZE))
    save(tmp_path, card, bundle.diagnosis.onnx)
    model = Lungsight(load_bundle(tmp_path), threads=1)
    result = model(draw_chest())
    found = explain.evidence(model, result)
    assert found is not None and found.inside is not None
    assert found.frame.box == (0, 0, 200, 160)
    assert found.inside < 0.6


def test_shuffled_weights_change_the_map(tmp_path: Path) -> None:
    model = with_diagnosis(tmp_path, filter_onnx())
    result = model(draw_chest())
    for method in ("evidence", "occlusion"):
        found = explain.explain(model, result, method)
        check = explain.sanity_check(model, result, found)
        assert len(check.correlations) == explain.REPEATS
        assert len(set(check.correlations)) > 1 and check.mean < 0.8
        assert check.to_dict()["changed"] == (check.mean < 0.5)


def test_a_map_that_ignores_the_weights_is_found_out(model: Lungsight) -> None:
    """The tiny network has no weights to shuffle, so its map stays as it is, and the check must say so."""
    result = model(draw_chest())
    found = explain.explain(model, result)
    check = explain.sanity_check(model, result, found)
    assert check.mean == pytest.approx(1)
    assert not check.changed


def test_shuffling_keeps_every_value(tmp_path: Path) -> None:
    model = with_diagnosis(tmp_path, filter_onnx())
    assert model.bundle.diagnosis is not None
    mixed = explain.shuffled(model.bundle.diagnosis, 0)
    before, after = (
        numpy_helper.to_array(onnx.load_model_from_string(one.onnx).graph.initializer[0]).ravel()
        for one in (model.bundle.diagnosis, mixed)
    )
    assert not np.array_equal(before, after)
    assert np.array_equal(np.sort(before), np.sort(after))


def test_nothing_to_explain(model: Lungsight, tmp_path: Path) -> None:
    blank = model(np.full((100, 100), 90, np.uint8))
    with pytest.raises(InputError, match="was not scored"):
        explain.explain(model, blank)
    alone = load_model(write_bundle(tmp_path, "lungs"), threads=1)
    with pytest.raises(ModelError, match="no diagnosis network"):
        explain.explain(alone, alone(draw_chest()))


def test_the_picture_is_pink_where_raised_and_grey_elsewhere(model: Lungsight) -> None:
    pixels = draw_chest()
    found = explain.explain(model, model(pixels))
    values = np.zeros_like(found.values)
    values[0, 0] = 1
    one = explain.Explanation("evidence", values, found.frame, None, found.lungs)
    picture = explain.heat_picture(pixels, one).astype(int)
    top, left, bottom, right = found.frame.box
    assert picture[top + 1, left + 1, 0] > picture[top + 1, left + 1, 1] + 50
    assert np.ptp(picture[bottom - 2, right - 2]) == 0


def test_the_command(tmp_path: Path) -> None:
    networks = write_bundle(tmp_path / "networks")
    save(networks, diagnosis_card(), filter_onnx())
    chest, blank = tmp_path / "chest.png", tmp_path / "blank.png"
    cv2.imwrite(str(chest), draw_chest())
    cv2.imwrite(str(blank), np.zeros((64, 64), np.uint8))
    arguments = ["explain", str(chest), str(blank), "--out", str(tmp_path / "out"), "--model", str(networks)]
    ran = CliRunner().invoke(app, [*arguments, "--threads", "1"])
    assert ran.exit_code == 1, ran.output
    assert "was not scored" in ran.stderr
    told = json.loads((tmp_path / "out" / "chest.heat.json").read_text())
    assert 0 <= told["share_inside_lungs"] <= 1
    assert told["method"] == "evidence"
    assert len(told["sanity_check"]["rank_correlations"]) == explain.REPEATS
    assert np.array(told["values"]).shape == tuple(told["cells"])
    assert cv2.imread(str(tmp_path / "out" / "chest.heat.jpg")).shape == (200, 160, 3)
    assert f"{told['share_inside_lungs']:.0%}" in ran.stdout
    ran = CliRunner().invoke(app, ["explain", str(blank), "--out", str(tmp_path), "--model", str(networks)])
    assert ran.exit_code == 2
