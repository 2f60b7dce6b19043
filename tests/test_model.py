"""Cards and weights on disk: what is accepted, what is refused and how it is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lungsight.card import Calibration, Card, Conformal, InputSettings, TrainedOn
from lungsight.errors import ModelError
from lungsight.model import load, load_bundle, save
from lungsight.records import build, plain, to_json
from lungsight.wording import GateClass
from tiny_networks import diagnosis_card, gate_card, lungs_card, lungs_onnx, write_bundle


def test_a_card_survives_the_disk(tmp_path: Path) -> None:
    card = diagnosis_card(
        trained_on=(TrainedOn("v7", "0123456789abcdef", 461, 300, ("ieee8023",)),),
        calibration=Calibration(2.0, -0.5, replicates=((1.9, -0.4), (2.1, -0.6)), uncertain=(0.4, 0.6)),
        recipe='name = "diagnosis"\n',
        metrics={"auroc": {"value": 0.7, "interval": [0.6, 0.8]}},
        limits=("adults only",),
        seed=3,
    )
    saved = save(tmp_path, card, lungs_onnx())
    loaded = load(tmp_path / "tiny-diagnosis.json")
    assert loaded == saved == load(tmp_path / "tiny-diagnosis.onnx")
    assert loaded.card.calibration == card.calibration
    assert loaded.card.file == "tiny-diagnosis.onnx"
    assert len(loaded.card.sha256) == 64


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("task", "segmentation", "task"),
        ("threshold", 1.0, "threshold"),
        ("threshold", True, "threshold"),
        ("threshold", "0.5", "threshold"),
        ("name", "../lungs", "name"),
        ("file", "/etc/passwd", "file"),
        ("seed", 1.5, "seed"),
        ("limits", "none", "limits"),
        ("limits", [1], "limits"),
        ("figures", [], "metrics"),
        ("input", {"size": [64]}, "input.size"),
        ("input", {"size": [64, 4]}, "input.size"),
        ("input", {"size": [64, 64], "grow": 2.0}, "input.dilation"),
        ("input", {"size": [64, 64], "channels": 2}, "input.channels"),
        ("input", {"size": [64, 64], "preprocessing": "apply_mask"}, "input.preprocessing"),
        ("input", {"size": [64, 64], "resize_to": [64, 64], "crop": [1, 0, 0, 0]}, "input.size"),
        ("input", {}, "input.size"),
        ("input", 3, "input"),
        ("calibration", {"slope": float("nan")}, "calibration.slope"),
        ("calibration", {"slope": None}, "calibration.slope"),
        ("calibration", {"intercept": float("inf")}, "calibration.intercept"),
        ("calibration", {"uncertain": [0.6, 0.4]}, "calibration.uncertain"),
        ("calibration", {"replicates": [[1, 2, 3]]}, "calibration.replicates"),
        ("color", "red", "color"),
        ("format", 3, "format"),
        ("convention", "both", "convention"),
        ("classes", ["heart"], "convention"),
    ],
)
def test_a_bad_card_is_refused_by_name(key: str, value: Any, said: str) -> None:
    table = {**plain(lungs_card(convention="full")), key: value}
    with pytest.raises(ModelError, match=said) as caught:
        build(Card, table, where="some.json", error=ModelError)
    assert caught.value.where == "some.json"


def test_a_gate_needs_the_class_frontal() -> None:
    with pytest.raises(ModelError, match="frontal"):
        build(Card, plain(gate_card()) | {"classes": ["a", "b"]}, error=ModelError)


def test_a_card_that_lacks_a_key_is_refused() -> None:
    table = plain(lungs_card())
    del table["threshold"]
    with pytest.raises(ModelError, match="threshold is missing"):
        build(Card, table, error=ModelError)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, '"card"', "\xff"])
def test_a_card_that_is_no_object_is_refused(tmp_path: Path, text: str) -> None:
    save(tmp_path, lungs_card(), lungs_onnx())
    (tmp_path / "tiny-lungs.json").write_text(text, "latin-1")
    with pytest.raises(ModelError, match=r"tiny-lungs\.json"):
        load_bundle(tmp_path)


def test_changed_weights_are_refused(tmp_path: Path) -> None:
    save(tmp_path, lungs_card(), lungs_onnx())
    weights = tmp_path / "tiny-lungs.onnx"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ModelError, match="SHA-256"):
        load(weights)


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    save(tmp_path, lungs_card(), lungs_onnx())
    (tmp_path / "tiny-lungs.onnx").rename(tmp_path / "other.onnx")
    with pytest.raises(ModelError, match="card cannot be read"):
        load(tmp_path / "other.onnx")
    with pytest.raises(ModelError, match="weights"):
        load(tmp_path / "tiny-lungs.json")


def test_a_bundle_takes_one_network_a_task(tmp_path: Path) -> None:
    bundle = load_bundle(write_bundle(tmp_path))
    assert [model.card.task for model in bundle.models] == ["lungs", "diagnosis", "gate"]
    save(tmp_path, lungs_card(name="second"), lungs_onnx())
    with pytest.raises(ModelError, match="second and tiny-lungs"):
        load_bundle(tmp_path)


def test_a_folder_without_lungs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no lung network"):
        load_bundle(write_bundle(tmp_path, "diagnosis"))
    with pytest.raises(ModelError, match="no such folder"):
        load_bundle(tmp_path / "absent")


def test_the_fingerprint_follows_weights_and_settings(tmp_path: Path) -> None:
    first = load_bundle(write_bundle(tmp_path)).fingerprint()
    assert first == load_bundle(tmp_path).fingerprint()
    save(tmp_path, lungs_card(threshold=0.4), lungs_onnx())
    assert load_bundle(tmp_path).fingerprint() != first


def test_saving_refuses_what_loading_would(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="threshold"):
        save(tmp_path, lungs_card(threshold=2.0), lungs_onnx())
    assert not list(tmp_path.iterdir())


def test_calibration_by_hand() -> None:
    calibration = Calibration(2.0, -1.0, covariance=((0.04, 0.01), (0.01, 0.09)))
    assert calibration.probability(0.5) == pytest.approx(0.5)
    # variance at 0.5: 0.04 * 0.25 + 2 * 0.01 * 0.5 + 0.09 = 0.11; 1.96 * sqrt(0.11) = 0.65006
    assert calibration.interval(0.5) == pytest.approx((0.34297, 0.65703), abs=1e-5)
    assert calibration.probability(1e6) == 1.0
    assert calibration.probability(-1e6) == 0.0


def test_the_interval_is_that_of_the_replicates() -> None:
    shifts = [(1.0, step / 100) for step in range(-100, 101)]
    low, high = Calibration(1.0, 0.0, replicates=tuple(shifts)).interval(0.0) or (0, 0)
    assert low == pytest.approx(1 / (1 + 2.718281828**0.95), abs=1e-6)
    assert high == pytest.approx(1 - low)
    # 2 * 0.5 + 1 = 2, of which the sigmoid is 0.880797.
    same = Calibration(replicates=((2.0, 1.0), (2.0, 1.0)))
    assert same.interval(0.5) == pytest.approx((0.880797, 0.880797), abs=1e-6)
    assert Calibration().interval(0.0) is None


def test_a_band_of_no_width_is_one_and_one_upside_down_is_none() -> None:
    assert Calibration(uncertain=(0.5, 0.5)).uncertain == (0.5, 0.5)
    with pytest.raises(ValueError, match="low, high"):
        Calibration(uncertain=(0.6, 0.5))


def test_the_size_is_what_all_four_sides_leave() -> None:
    assert InputSettings((57, 61), resize_to=(64, 64), crop=(4, 1, 3, 2)).resized == (64, 64)
    for size in ((63, 61), (57, 63), (58, 61)):
        with pytest.raises(ValueError, match="less crop"):
            InputSettings(size, resize_to=(64, 64), crop=(4, 1, 3, 2))


def test_the_shipped_networks_load() -> None:
    from importlib import resources

    files = [item.name for item in (resources.files("lungsight") / "weights").iterdir()]
    if not any(name.endswith(".onnx") for name in files):
        pytest.skip("no weights ship with this checkout yet")
    bundle = load_bundle()
    assert sum(len(model.onnx) for model in bundle.models) < 30_000_000
    for model in bundle.models:
        card = model.card
        for text in (
            card.recipe,
            card.command,
            card.licence,
            card.created,
            *(one.name for one in card.trained_on),
            *(one.fingerprint for one in card.trained_on),
        ):
            assert text, f"{card.name}'s card leaves something out"
        assert card.limits
        assert card.metrics and card.trained_on
    assert [json.loads(to_json(model.card))["name"] for model in bundle.models] == [
        "lungs",
        "diagnosis",
        "gate",
        "severity",
    ]
    assert InputSettings(bundle.lungs.card.input.size) == bundle.lungs.card.input


OLD_CARD = {
    "format": 1,
    "name": "gate",
    "task": "gate",
    "input": {
        "size": [128, 128],
        "preprocessing": "squash",
        "working": None,
        "crop": [0, 0, 0, 0],
        "grow": 0.0,
        "channels": 1,
    },
    "threshold": 0.5,
    "version": "1",
    "file": "gate.onnx",
    "sha256": "00",
    "outputs": ["probability"],
    "classes": ["frontal", "upside down", "on its side", "lateral view", "CT slice", "no chest X-ray"],
    "calibration": None,
    "data": {"name": "v7", "fingerprint": "77", "images": 3, "patients": 2, "sources": ["a", "b"]},
    "recipe": "",
    "command": "c",
    "commit": "",
    "seed": 1,
    "figures": {"images": 839},
    "limits": [],
    "licence": "",
    "created": "",
}


def test_a_card_written_before_is_read() -> None:
    card = build(Card, OLD_CARD, error=ModelError)
    assert card.classes == tuple(GateClass)
    assert card.input == InputSettings((128, 128), "resize")
    assert card.trained_on == (TrainedOn("v7", "77", 3, 2, ("a", "b")),)
    assert (card.metrics, card.convention) == ({"images": 839}, None)
    assert build(Card, plain(card), error=ModelError) == card
    old = OLD_CARD["input"] | {"preprocessing": "lungs-only", "working": [256, 256], "grow": 0.02}  # type: ignore[operator]
    diagnosis = build(Card, OLD_CARD | {"task": "diagnosis", "input": old, "classes": [], "data": {}})
    assert diagnosis.input == InputSettings((128, 128), "crop_to_lungs", resize_to=(256, 256), dilation=0.02)
    assert diagnosis.trained_on == ()
    lungs = build(Card, OLD_CARD | {"task": "lungs", "classes": []})
    assert (lungs.convention, lungs.channel("full")) == ("full", 0)


def test_channels_by_name() -> None:
    card = lungs_card(classes=("full", "visible", "heart"), convention="visible")
    assert [card.channel(name) for name in ("full", "visible", "heart")] == [0, 1, 2]
    with pytest.raises(ModelError, match=r"gives no 'heart'. It gives visible") as caught:
        lungs_card(convention="visible").channel("heart")
    assert caught.value.code == "no_such_output"
    with pytest.raises(ModelError, match=r"It gives full, visible"):
        lungs_card(classes=("full", "visible"), convention="visible").channel("heart")
    assert gate_card().channel("frontal") == 0


@pytest.mark.parametrize(("fitted", "wanted"), [(0.8, 0.5), (0.5, 0.1), (0.2, 0.6)])
def test_bayes_rule_moves_the_odds(fitted: float, wanted: float) -> None:
    """By counts: of 10,000 images with one score, as many as the probability says are COVID-19; each class is then
    drawn anew until the share is the wanted one."""
    calibration = Calibration(2.0, 0.3, replicates=((1.8, 0.2),))
    shifted = calibration.shifted(from_prevalence=fitted, to_prevalence=wanted)
    for logit in (-1.0, 0.0, 0.7):
        ill = 10_000 * calibration.probability(logit)
        healthy = 10_000 - ill
        ill, healthy = ill * wanted / fitted, healthy * (1 - wanted) / (1 - fitted)
        assert shifted.probability(logit) == pytest.approx(ill / (ill + healthy))
        below = shifted.probability(logit) < calibration.probability(logit)
        assert below is (wanted < fitted)
    assert shifted.prevalence == wanted
    assert shifted.replicates[0][1] - 0.2 == pytest.approx(shifted.intercept - 0.3)
    kept = Calibration(covariance=((0.1, 0.0), (0.0, 0.2)), conformal=Conformal(0.5, 0.7))
    moved = kept.shifted(from_prevalence=fitted, to_prevalence=wanted)
    assert (moved.covariance, moved.conformal) == (kept.covariance, kept.conformal)
