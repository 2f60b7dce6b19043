"""Prediction: from files to masks, sides, flags, gate and score, with tiny networks whose answers are known."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from lungsight.card import Calibration, InputSettings
from lungsight.errors import ConfigError, InputError, ModelError
from lungsight.inference import Failure, Lungsight, Result, load_model, plausibility
from lungsight.inference import lung_masks as lungs
from lungsight.inference.classifier import decide, prepare
from lungsight.inference.sessions import Session
from lungsight.model import load_bundle, save
from lungsight.preprocess import Frame, crop_to_lungs, resize_image
from lungsight.wording import Flag, Reason
from lungsight.xray import XRay, read_xray
from tiny_networks import (
    SIZE,
    diagnosis_card,
    diagnosis_onnx,
    draw_chest,
    gate_onnx,
    lungs_card,
    lungs_onnx,
    write_bundle,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Lungsight:
    return load_model(write_bundle(tmp_path_factory.mktemp("networks")), threads=1)


def results(found: Iterator[Result | Failure]) -> list[Result]:
    kept = []
    for one in found:
        assert isinstance(one, Result)
        kept.append(one)
    return kept


# One X-ray


def test_mask_at_the_original_size(model: Lungsight) -> None:
    pixels = draw_chest(230, 170)
    result = model(pixels)
    truth = cv2.blur(pixels, (5, 5)) < 120
    assert result.mask.shape == (230, 170)
    overlap = 2 * (result.mask & truth).sum() / (result.mask.sum() + truth.sum())
    assert overlap > 0.97
    assert result.probability_map.shape == (230, 170)
    assert result.probability_map.dtype == np.float32
    assert 0 <= result.probability_map.min() <= result.probability_map.max() <= 1


def test_labels_right_lung_on_the_left_of_the_image(model: Lungsight) -> None:
    result = model(draw_chest())
    right, left = (np.nonzero(result.labels == side)[1] for side in (1, 2))
    assert right.max() < 80 < left.min()
    assert result.areas == (len(right), len(left))
    assert result.areas[0] > result.areas[1]
    assert np.array_equal(result.mask, result.labels > 0)


def test_areas_in_mm2_only_with_a_spacing(model: Lungsight) -> None:
    pixels = draw_chest()
    assert model(pixels).areas_mm2 is None
    result = model(XRay(pixels, "a", "DICOM", 8, spacing=(0.5, 0.2)))
    assert result.areas_mm2 == pytest.approx([area * 0.1 for area in result.areas])
    assert result.to_dict()["right_lung_mm2"] == pytest.approx(result.areas[0] * 0.1)


def test_path_bytes_and_array_agree(model: Lungsight, tmp_path: Path) -> None:
    pixels = draw_chest()
    path = tmp_path / "chest.png"
    cv2.imwrite(str(path), pixels)
    answers = [model(source) for source in (pixels, path, str(path), path.read_bytes(), read_xray(path))]
    assert len({answer.probability for answer in answers}) == 1
    assert all(np.array_equal(answer.labels, answers[0].labels) for answer in answers)
    assert answers[1].name == str(path)


def test_the_probability_is_the_networks_by_hand(model: Lungsight) -> None:
    pixels = draw_chest()
    result = model(pixels)
    small = resize_image(pixels, SIZE)
    mask = cv2.blur(small.astype(np.float32) / 255, (3, 3), borderType=cv2.BORDER_CONSTANT) < 0.5
    # The drawn border is bright, the average pool counts its zero padding: only the inside is compared.
    mask[[0, -1]] = mask[:, [0, -1]] = False
    seen = crop_to_lungs(small, mask, (32, 32), dilation=0.02)
    assert seen is not None
    logit = 8 * (float(seen.mean()) - 0.5)
    assert result.probability == pytest.approx(1 / (1 + np.exp(-(1.5 * logit + 0.1))), abs=2e-3)
    assert result.interval is not None
    assert result.interval[0] < result.probability < result.interval[1]
    evidence = result.diagnosis.evidence
    assert evidence is not None
    assert evidence.mean() == pytest.approx(logit, abs=2e-2)


def test_to_dict_is_one_row_of_plain_values(model: Lungsight) -> None:
    row = model(draw_chest()).to_dict()
    assert row["status"] == "ok"
    assert row["decision"] in ("covid", "not_covid", "uncertain")
    assert row["gate"] == "frontal"
    assert (row["height"], row["width"]) == (200, 160)
    assert row["seconds"] > 0
    assert all(isinstance(value, str | int | float | bool | list | None) for value in row.values())


def test_thresholds_of_the_user(model: Lungsight) -> None:
    pixels = draw_chest()
    wide = Lungsight(model.bundle, threads=1, mask_threshold=0.001)(pixels)
    assert wide.mask.sum() > model(pixels).mask.sum()
    probability = model(pixels).probability
    assert probability is not None
    assert Lungsight(model.bundle, threads=1, threshold=0.001)(pixels).decision == "covid"
    assert Lungsight(model.bundle, threads=1, threshold=probability * 1.1)(pixels).decision == "uncertain"


@pytest.mark.parametrize("settings", [{"threshold": 1.5}, {"mask_threshold": 0.0}, {"threads": 0}])
def test_settings_out_of_range(model: Lungsight, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Lungsight(model.bundle, **settings)


# Many


def test_many_keep_order_and_equal_one_by_one(model: Lungsight) -> None:
    images = [draw_chest(150 + 10 * n, 160, lung=40 + 5 * n, seed=n) for n in range(7)]
    alone = [model(image) for image in images]
    for batch in (1, 3, 20):
        together = results(model.predict_many(iter(images), batch=batch))
        assert [one.xray.shape for one in together] == [image.shape for image in images]
        for one, other in zip(together, alone, strict=True):
            assert one.probability == pytest.approx(other.probability, abs=1e-5)
            assert np.array_equal(one.labels, other.labels)


def test_a_broken_file_does_not_stop_the_rest(model: Lungsight, tmp_path: Path) -> None:
    good, cut, empty = (tmp_path / name for name in ("good.png", "cut.png", "empty.png"))
    cv2.imwrite(str(good), draw_chest())
    cut.write_bytes(good.read_bytes()[:-2000])
    empty.write_bytes(b"")
    found = list(model.predict_many([empty, good, cut, tmp_path / "absent.png", b"text", good], batch=2))
    assert [isinstance(one, Failure) for one in found] == [True, False, True, True, True, False]
    failures = [one for one in found if isinstance(one, Failure)]
    assert failures[0].name == str(empty)
    assert "empty" in failures[0].reason
    assert [one.to_dict()["status"] for one in failures] == [*["failed"] * 3, "passed_over"]
    assert all(one.reason for one in failures)


def test_an_unexpected_error_of_a_decoder_is_a_failure_too(
    model: Lungsight, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(source: Any, **_: Any) -> XRay:
        if str(source) == "bad":
            raise MemoryError("too large")
        return XRay(draw_chest(), source, "PNG", 8)

    monkeypatch.setattr("lungsight.inference.reader.read_xray", read)
    first, second = model.predict_many(["bad", "good"])
    assert isinstance(first, Failure)
    assert first.error.code == "memory"
    assert "too large" not in first.reason, "words of a decoder may quote the file"
    assert isinstance(second, Result)


def test_nothing_gives_nothing(model: Lungsight) -> None:
    assert list(model.predict_many([])) == []
    with pytest.raises(ConfigError):
        model.predict_many([], batch=0)


def test_sources_are_read_only_as_far_as_needed(model: Lungsight) -> None:
    taken = 0

    def sources() -> Iterator[np.ndarray]:
        nonlocal taken
        while True:
            taken += 1
            yield draw_chest(64, 64)

    stream = model.predict_many(sources(), batch=4)
    for _ in range(8):
        next(stream)
    assert taken <= 8 + 2 * 4
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lungsight-decode")]


def test_results_are_let_go(model: Lungsight) -> None:
    for _ in model.predict_many(draw_chest(seed=n) for n in range(60)):
        pass
    gc.collect()
    assert sum(type(thing) is Result for thing in gc.get_objects()) <= 1


def test_one_model_in_several_threads(model: Lungsight) -> None:
    images = [draw_chest(lung=40 + 4 * n, seed=n) for n in range(8)]
    alone = [model(image).probability for image in images]
    fresh = Lungsight(model.bundle, threads=1)
    answers: dict[int, float | None] = {}

    def work(number: int) -> None:
        answers[number] = fresh(images[number]).probability

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answers[number] for number in range(8)] == pytest.approx(alone)


# Gate


def test_what_the_gate_refuses_is_not_scored(model: Lungsight) -> None:
    bright = np.clip(draw_chest().astype(int) + 60, 0, 255).astype(np.uint8)
    result = model(bright)
    assert not result.gate.frontal
    assert result.gate.reasons == (Reason.NOT_A_CHEST_XRAY,)
    assert (result.decision, result.probability, result.interval) == ("not_scored", None, None)
    row = result.to_dict()
    assert (row["probability"], row["gate"], row["reasons"]) == (None, "not_frontal", ["not_a_chest_xray"])
    assert result.mask.any()


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (np.zeros((200, 160), np.uint8), "blank"),
        (np.full((200, 160), 255, np.uint8), "blank"),
        (draw_chest()[::-1].copy(), "upside_down"),
        (draw_chest(200, 1000), "shape"),
        (np.tile(np.array([170, 185], np.uint8), (200, 80)), "no_lungs"),
    ],
)
def test_simple_checks_need_no_gate_network(tmp_path: Path, pixels: np.ndarray, said: str) -> None:
    result = load_model(write_bundle(tmp_path, "lungs", "diagnosis"), threads=1)(pixels)
    assert said in result.gate.reasons
    assert result.gate.score is None
    assert result.probability is None


def test_a_lateral_view_by_its_header_is_not_scored(model: Lungsight) -> None:
    result = model(XRay(draw_chest(), "a", "DICOM", 8, view="LL"))
    assert result.gate.reasons == (Reason.HEADER_LATERAL,)
    assert result.decision == "not_scored"
    assert model(XRay(draw_chest(), "a", "DICOM", 8, view="PA")).gate.frontal


def test_without_a_diagnosis_network_there_is_no_score(tmp_path: Path) -> None:
    result = load_model(write_bundle(tmp_path, "lungs"), threads=1)(draw_chest())
    assert result.gate.frontal
    assert result.decision == "not_scored"
    assert result.reasons == (Reason.NO_NETWORK,)


# Lungs at network size


def _map(mask: np.ndarray) -> np.ndarray:
    return np.where(mask, 0.9, 0.1).astype(np.float32)


def _two_lungs() -> np.ndarray:
    mask = np.zeros((100, 100), bool)
    mask[20:80, 15:40] = mask[20:80, 60:85] = True
    return mask


def test_specks_go_and_holes_are_filled() -> None:
    truth = _two_lungs()
    seen = truth.copy()
    seen[50:53, 20:23] = False
    seen[2:6, 2:6] = True
    found = lungs.find(_map(seen), 0.5)
    assert np.array_equal(found.mask, truth)
    assert found.components == 2


def test_a_lung_in_two_large_parts_keeps_both() -> None:
    seen = _two_lungs()
    seen[45:48, 15:40] = False
    found = lungs.find(_map(seen), 0.5)
    assert np.array_equal(found.mask, seen)
    assert (found.small[seen & (np.arange(100) < 50)] == lungs.RIGHT).all()


def test_joined_lungs_are_parted_where_the_bridge_is() -> None:
    seen = _two_lungs()
    seen[30:36, 40:60] = True
    labels = lungs.find(_map(seen), 0.5).small
    assert (labels[seen & (np.arange(100) < 40)] == lungs.RIGHT).all()
    assert (labels[seen & (np.arange(100) >= 60)] == lungs.LEFT).all()


def test_the_hole_between_lungs_joined_twice_stays() -> None:
    seen = _two_lungs()
    seen[22:28, 40:60] = seen[70:76, 40:60] = True
    found = lungs.find(_map(seen), 0.5)
    assert not found.mask[50, 50]
    assert {int(found.small[50, 20]), int(found.small[50, 70])} == {lungs.RIGHT, lungs.LEFT}


@pytest.mark.parametrize(("columns", "side"), [(slice(15, 40), lungs.RIGHT), (slice(60, 85), lungs.LEFT)])
def test_a_single_lung_has_the_side_where_it_lies(columns: slice, side: int) -> None:
    seen = np.zeros((100, 100), bool)
    seen[20:80, columns] = True
    found = lungs.find(_map(seen), 0.5)
    assert set(np.unique(found.small)) == {0, side}
    assert Flag.ONE_LUNG in plausibility.check(found)


def test_labels_go_back_to_original_pixels() -> None:
    found = lungs.find(_map(_two_lungs()), 0.5)
    labels = found.labels(Frame.whole((370, 290), (100, 100)))
    assert labels.shape == (370, 290)
    assert (labels[185, 80], labels[185, 145], labels[185, 210]) == (lungs.RIGHT, 0, lungs.LEFT)
    assert (labels > 0).mean() == pytest.approx(_two_lungs().mean(), abs=0.005)


def test_no_lungs() -> None:
    found = lungs.find(np.zeros((50, 50), np.float32), 0.5)
    assert not found.mask.any()
    assert plausibility.check(found) == (Flag.NO_LUNGS,)


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        (lambda m: m[40:80, 60:85].fill(False), Flag.ASYMMETRIC),
        (lambda m: m[30:80].fill(False), Flag.SMALL),
        (lambda m: (m[:, :48].fill(True), m[:, 52:].fill(True)), Flag.LARGE),
        (lambda m: m[:20, 15:85].__setitem__(slice(None), m[20, 15:85]), Flag.AT_EDGE),
        (lambda m: (m[34:36].fill(False), m[60:62].fill(False)), Flag.MANY_COMPONENTS),
    ],
)
def test_flags(change: Any, flag: str) -> None:
    mask = _two_lungs()
    assert plausibility.check(lungs.find(_map(mask), 0.5)) == ()
    change(mask)
    assert flag in plausibility.check(lungs.find(_map(mask), 0.5))


@pytest.mark.real_data
def test_limits_against_masks_drawn_by_people(v7_manifest: Path) -> None:
    files = sorted((v7_manifest / "masks").glob("*.png"))[::28]
    flagged = upside_down = wrong_side = 0
    for path in files:
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 0
        found = lungs.find(_map(mask), 0.5)
        flagged += bool(plausibility.check(found))
        upside_down += Flag.UPSIDE_DOWN in plausibility.check(lungs.find(_map(mask[::-1]), 0.5))
        right, left = (np.nonzero(found.small == side)[1].mean() for side in (lungs.RIGHT, lungs.LEFT))
        wrong_side += right >= left
    assert flagged <= 0.03 * len(files)
    assert upside_down >= 0.99 * len(files)
    assert wrong_side == 0


# Diagnosis


def test_uncertain_inside_the_band_only() -> None:
    card = diagnosis_card(calibration=Calibration(uncertain=(0.4, 0.6)))
    said = [decide(logit, card).decision for logit in (-2.0, -0.2, 0.2, 2.0)]
    assert said == ["not_covid", "uncertain", "uncertain", "covid"]


def test_uncertain_where_the_interval_holds_the_threshold() -> None:
    card = diagnosis_card(calibration=Calibration(covariance=((0.0, 0.0), (0.0, 0.25))))
    said = [decide(logit, card).decision for logit in (-1.0, -0.9, 0.9, 1.0)]
    assert said == ["not_covid", "uncertain", "uncertain", "covid"]


def test_views_of_the_diagnosis_network() -> None:
    pixels = draw_chest(64, 64)
    mask = cv2.blur(pixels, (3, 3)) < 120
    whole = prepare(pixels, mask, InputSettings((60, 62), resize_to=(64, 64), crop=(4, 1, 0, 1), channels=3))
    assert whole is not None
    assert whole.shape == (3, 60, 62)
    assert np.allclose(whole[1] * 255, pixels[4:, 1:63])
    masked = prepare(pixels, mask, InputSettings((64, 64), "apply_mask"))
    assert masked is not None
    assert np.allclose(masked[0] * 255, np.where(mask, pixels, 0))
    alone = prepare(pixels, mask, InputSettings((40, 40), "crop_to_lungs", resize_to=(64, 64), dilation=0.02))
    assert alone is not None
    assert alone.shape == (1, 40, 40)
    assert prepare(pixels, np.zeros((64, 64), bool), InputSettings((40, 40), "crop_to_lungs")) is None


# Networks that are not what they should be


def test_maps_of_several_images_one_after_another(tmp_path: Path) -> None:
    """The tiny network says sigmoid(40 * (0.5 - mean)) of a flat image, away from its padded edge."""
    session = Session(load_bundle(write_bundle(tmp_path, "lungs")).lungs, 1)
    greys = np.array([0, 120, 255], np.uint8)
    flat = np.broadcast_to(greys[:, None, None], (3, *SIZE))
    for images in (flat, flat.astype(np.float32) / 255, iter(flat)):
        found = [each[0, 5, 5] for each in session.maps(images)]
        assert found == pytest.approx(1 / (1 + np.exp(-40 * (0.5 - greys / 255))), abs=1e-6)


def test_weights_that_are_no_network(tmp_path: Path) -> None:
    save(tmp_path, lungs_card(), b"not ONNX")
    with pytest.raises(ModelError, match=r"tiny-lungs\.onnx"):
        load_model(tmp_path)(draw_chest())


@pytest.mark.parametrize("network", [diagnosis_onnx, gate_onnx])
def test_a_network_of_another_task(tmp_path: Path, network: Any) -> None:
    save(tmp_path, lungs_card(), network())
    with pytest.raises(ModelError, match=r"output .probability.|shape"):
        load_model(tmp_path)(draw_chest())


def test_bad_input_raises_for_one(model: Lungsight) -> None:
    with pytest.raises(InputError):
        model(b"")


def test_shipped_networks_find_lungs(tmp_path: Path) -> None:
    try:
        shipped = load_model(threads=1)
    except ModelError:
        pytest.skip("no weights ship with this checkout yet")
    from lungsight import phantom

    drawn = phantom.draw(np.random.default_rng(3), hospital=next(iter(phantom.HOSPITALS)), covid=False)
    result = shipped(drawn.pixels)
    overlap = 2 * (result.mask & drawn.mask).sum() / (result.mask.sum() + drawn.mask.sum())
    assert overlap > 0.7
    assert lungs_onnx() != shipped.bundle.lungs.onnx
