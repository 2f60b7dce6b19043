"""What the diagnosis network is shown, and what is made of its answer, worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lungsight.card import Calibration, Conformal, InputSettings
from lungsight.inference.classifier import decide, prepare
from lungsight.wording import Decision
from tiny_networks import diagnosis_card

GREYS = (10 * np.arange(20)).astype(np.uint8).reshape(4, 5)
NOWHERE = np.zeros((4, 5), bool)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_whole_image_less_its_edges(channels: int) -> None:
    settings = InputSettings((3, 3), "resize", resize_to=(4, 5), crop=(1, 0, 0, 2), channels=channels)
    shown = prepare(GREYS, NOWHERE, settings)
    assert shown is not None
    wanted = np.array([[50, 60, 70], [100, 110, 120], [150, 160, 170]]) / 255
    assert shown.shape == (channels, 3, 3) and shown.dtype == np.float32
    assert all(each == pytest.approx(wanted) for each in shown)


def test_the_image_is_resized_before_its_edges_are_cut_off() -> None:
    settings = InputSettings((2, 3), "resize", resize_to=(4, 5), crop=(1, 1, 1, 1))
    shown = prepare(np.repeat(np.repeat(GREYS, 2, axis=0), 3, axis=1), NOWHERE, settings)
    assert shown is not None
    assert shown[0] == pytest.approx(np.array([[60, 70, 80], [110, 120, 130]]) / 255)


@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_grey_levels_are_made_flat_where_the_card_says_so(kind: str) -> None:
    """Of two grey levels that are equally frequent, equalising makes black and white."""
    image = np.repeat(np.array([[100, 120]], np.uint8), 8, axis=0)
    pixels = image if kind == "uint8" else (image / 255).astype(np.float32)
    flat = prepare(pixels, np.zeros((8, 2), bool), InputSettings((8, 2), equalise=True))
    as_it_is = prepare(pixels, np.zeros((8, 2), bool), InputSettings((8, 2)))
    assert flat is not None and as_it_is is not None
    assert flat[0] == pytest.approx(np.repeat([[0, 1]], 8, axis=0))
    assert as_it_is[0] == pytest.approx(image / 255)


def test_outside_the_lungs_it_is_black() -> None:
    """A tenth of ten pixels is a brush of one pixel to each side, without the corners."""
    image = np.full((10, 10), 51, np.uint8)
    mask = np.zeros((20, 20), bool)
    mask[8:10, 12:14] = True  # (4, 6) of the image
    shown = prepare(image, mask, InputSettings((9, 8), "apply_mask", (10, 10), (1, 2, 0, 0), dilation=0.1))
    assert shown is not None
    wanted = np.zeros((10, 10))
    wanted[3:6, 6] = wanted[4, 5:8] = 0.2
    assert shown[0] == pytest.approx(wanted[1:, 2:])


def test_the_lungs_alone() -> None:
    image = np.array([[0.1, 0.2, 0.8, 0.6, 0.1]] * 2, np.float32)
    mask = np.array([[False, True, False, True, False]] * 2)
    settings = InputSettings((2, 3), "crop_to_lungs", resize_to=(2, 5), channels=3)
    shown = prepare(image, mask, settings)
    assert shown is not None and shown.shape == (3, 2, 3)
    assert shown == pytest.approx(np.array([[[0, 0, 1]] * 2] * 3), abs=1e-6)


def test_the_lungs_alone_grow_by_the_cards_fraction() -> None:
    image = np.random.default_rng(0).random((100, 100), np.float32)
    mask = np.zeros((100, 100), bool)
    mask[40:60, 40:60] = True
    size = (26, 26)  # 37 to 63: three pixels to each side
    grown = prepare(image, mask, InputSettings(size, "crop_to_lungs", (100, 100), dilation=0.03))
    assert grown is not None
    assert grown[0, 0, 0] == 0 and grown[0, 0, 13] > 0
    part = image[37:63, 37:63]
    inside = grown[0] > 0
    assert inside.sum() > 20 * 20 and np.corrcoef(grown[0][inside], part[inside])[0, 1] > 0.99


@pytest.mark.parametrize("how", ["apply_mask", "crop_to_lungs"])
def test_without_lungs_there_is_nothing_to_show(how: str) -> None:
    assert prepare(GREYS, NOWHERE, InputSettings((4, 5), how)) is None  # type: ignore[arg-type]


# What is made of its answer. A logit of log(3) is a probability of 0.75; of log(11 / 9), 0.55.


@pytest.mark.parametrize("conformal", [None, Conformal(-1.0, 0.5)])
def test_what_is_known_of_a_score_stands_beside_its_decision(conformal: Conformal | None) -> None:
    calibration = Calibration(covariance=((0.0, 0.0), (0.0, 0.25)), conformal=conformal)
    evidence = np.ones((2, 3), np.float32)
    said = decide(math.log(3), diagnosis_card(calibration=calibration), evidence)
    assert said.decision is Decision.COVID
    assert said.probability == pytest.approx(0.75)
    # 1.96 times the root of 0.25, to each side of the logit.
    odds = [3 * math.exp(-0.98), 3 * math.exp(0.98)]
    assert said.interval == pytest.approx(tuple(one / (1 + one) for one in odds))
    assert said.evidence is evidence
    assert said.answers == ((Decision.COVID,) if conformal else ())


def test_a_threshold_of_ones_own_takes_the_place_of_the_cards_band() -> None:
    card = diagnosis_card(calibration=Calibration(uncertain=(0.4, 0.6)))
    assert decide(math.log(11 / 9), card).decision is Decision.UNCERTAIN
    assert decide(math.log(11 / 9), card, threshold=0.5).decision is Decision.COVID
    assert decide(math.log(11 / 9), card, threshold=0.56).decision is Decision.NOT_COVID


def test_within_a_band_it_is_uncertain_wherever_the_threshold_lies() -> None:
    card = diagnosis_card(threshold=0.7, calibration=Calibration(uncertain=(0.4, 0.6)))
    assert decide(math.log(11 / 9), card).decision is Decision.UNCERTAIN
    assert decide(math.log(3), card).decision is Decision.COVID
    assert decide(-math.log(3), card).decision is Decision.NOT_COVID
