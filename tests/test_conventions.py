"""Lungs full or visible, and the heart, of a network that marks all three."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from lungsight.errors import ConfigError, ModelError
from lungsight.inference import load_model
from lungsight.model import save
from tiny_networks import SIZE, _model, diagnosis_card, diagnosis_onnx, lungs_card, write_bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Full lungs where it is darker than 0.5, visible ones below 0.25, heart above 0.75."""
    nodes = []
    for name, limit, steep in (
        ("full", "half", "down"),
        ("visible", "quarter", "down"),
        ("heart", "most", "up"),
    ):
        nodes += [
            helper.make_node("Sub", ["image", limit], [f"{name}-less"]),
            helper.make_node("Mul", [f"{name}-less", steep], [f"{name}-scaled"]),
            helper.make_node("Sigmoid", [f"{name}-scaled"], [name]),
        ]
    nodes.append(helper.make_node("Concat", ["full", "visible", "heart"], ["probability"], axis=1))
    values = {"half": 0.5, "quarter": 0.25, "most": 0.75, "down": -80.0, "up": 80.0}
    code = _model(nodes, values, "image", {"probability": ["n", 3, "h", "w"]})
    save(tmp_path, lungs_card(classes=("full", "visible", "heart"), convention="full"), code)
    save(tmp_path, diagnosis_card(), diagnosis_onnx())
    return tmp_path


@pytest.fixture
def chest() -> np.ndarray:
    """Two lungs of grey 100, black but for a strip beside a white heart."""
    pixels = np.full(SIZE, 180, np.uint8)
    pixels[10:54, 8:28] = pixels[10:54, 36:56] = 100
    pixels[10:54, 8:24] = pixels[10:54, 40:56] = 20
    pixels[30:50, 29:35] = 250
    return pixels


def test_masks_follow_the_convention_and_nothing_else_does(folder: Path, chest: np.ndarray) -> None:
    full, visible = (load_model(folder, threads=1, lungs=name)(chest) for name in ("full", "visible"))
    assert (full.mask == (chest < 128)).all()
    assert (visible.mask == (chest < 64)).all()
    assert (str(full.convention), str(visible.convention)) == ("full", "visible")
    assert full.probability == visible.probability is not None
    assert (full.flags, full.gate) == (visible.flags, visible.gate)
    assert (full.score_map == visible.score_map).all()


def test_the_cards_convention_is_the_default(folder: Path, chest: np.ndarray) -> None:
    assert str(load_model(folder, threads=1)(chest).convention) == "full"


def test_a_heart_map_comes_with_either(folder: Path, chest: np.ndarray) -> None:
    heart = load_model(folder, threads=1, lungs="visible")(chest).heart_map
    assert heart is not None
    assert ((heart >= 0.5) == (chest > 191)).all()


def test_a_network_of_one_kind_gives_no_heart_and_no_other_convention(
    tmp_path: Path, chest: np.ndarray
) -> None:
    write_bundle(tmp_path, "lungs")
    assert load_model(tmp_path, threads=1)(chest).heart_map is None
    with pytest.raises(ModelError, match="visible"):
        load_model(tmp_path, threads=1, lungs="visible")


def test_another_word_is_a_users_mistake(folder: Path) -> None:
    with pytest.raises(ConfigError, match="'full' or 'visible'"):
        load_model(folder, lungs="half")
