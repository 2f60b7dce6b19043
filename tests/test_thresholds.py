"""One rule: a score of at least its threshold is positive. Each limit is tried at the limit and beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lungsight.card import Calibration
from lungsight.inference import Lungsight, load_model, plausibility
from lungsight.inference import lung_masks as lungs
from lungsight.inference.classifier import decide
from lungsight.inference.view_gate import judge
from lungsight.preprocess import Frame
from lungsight.wording import Decision, Flag, GateAnswer, Reason
from lungsight.xray import XRay
from tiny_networks import diagnosis_card, draw_chest, gate_card, write_bundle

HALF = np.float32(0.5)


# the score


@pytest.mark.parametrize("own", [None, 0.5])
def test_a_score_at_its_threshold_is_positive(own: float | None) -> None:
    card = diagnosis_card(threshold=0.5 if own is None else 0.9, calibration=Calibration())
    assert decide(0.0, card, threshold=own).probability == 0.5
    assert decide(0.0, card, threshold=own).decision is Decision.COVID
    assert decide(-1e-6, card, threshold=own).decision is Decision.NOT_COVID
    assert decide(1e-6, card, threshold=own).decision is Decision.COVID


@pytest.mark.parametrize(
    ("band", "threshold", "said"),
    [
        ((0.5, 0.6), 0.4, Decision.COVID),
        ((0.4, 0.5), 0.6, Decision.NOT_COVID),
        ((0.4999, 0.5001), 0.5, Decision.UNCERTAIN),
    ],
)
def test_the_ends_of_a_band_are_decided(band: tuple[float, float], threshold: float, said: Decision) -> None:
    card = diagnosis_card(threshold=threshold, calibration=Calibration(uncertain=band))
    assert decide(0.0, card).decision is said


def test_a_threshold_at_the_end_of_the_interval_is_decided() -> None:
    card = diagnosis_card(calibration=Calibration(covariance=((0.0, 0.0), (0.0, 0.25))))
    low, high = decide(1.0, card).interval or (0.0, 0.0)
    assert 0 < low < high < 1
    for limit, said in (
        (low, Decision.COVID),
        (high, Decision.NOT_COVID),
        ((low + high) / 2, Decision.UNCERTAIN),
    ):
        assert decide(1.0, card, threshold=limit).decision is said


def test_no_number_is_no_score() -> None:
    for logit in (float("nan"), float("inf"), -float("inf")):
        found = decide(logit, diagnosis_card())
        assert (found.decision, found.probability, found.reasons) == ("not_scored", None, (Reason.NO_NUMBER,))


# the lungs


def test_a_pixel_at_the_threshold_is_lung() -> None:
    probability = np.zeros((40, 40), np.float32)
    probability[5:35, 5:15] = probability[5:35, 25:35] = HALF
    found = lungs.find(probability, 0.5)
    assert np.array_equal(found.mask, probability == HALF)
    assert found.components == 2
    assert set(np.unique(found.small[5:35, 5:15])) == {lungs.RIGHT} == {1}
    assert set(np.unique(found.small[5:35, 25:35])) == {lungs.LEFT} == {2}
    assert np.array_equal(found.labels(Frame.whole((40, 40), (40, 40))) > 0, probability == HALF)
    above = np.nextafter(HALF, np.float32(1))
    assert not lungs.find(probability, float(above)).mask.any()


def test_joined_lungs_at_the_threshold_are_parted() -> None:
    probability = np.zeros((40, 40), np.float32)
    probability[5:35, 5:15] = probability[5:35, 25:35] = probability[8:11, 15:25] = HALF
    labels = lungs.find(probability, 0.5).small
    assert set(np.unique(labels[5:35, 5:15])) == {1} and set(np.unique(labels[5:35, 25:35])) == {2}


# the gate


def _judge(
    score: float, flags: tuple[Flag, ...] = (), shape: tuple[int, int] = (90, 90), view: str = ""
) -> Any:
    card = gate_card(threshold=0.5, classes=("frontal", "lateral_view", "ct_slice"))
    rest = (1 - score) / 2
    probabilities = np.asarray([score, rest * 1.5, rest * 0.5], np.float32)
    small = np.tile(np.asarray([0.2, 0.8], np.float32), (8, 4))
    xray = XRay(np.zeros(shape, np.uint8), "a", "array", 8, view=view)
    return judge(xray, small, probabilities, card, flags)


def test_a_gate_score_at_its_threshold_passes() -> None:
    assert _judge(0.5).answer is GateAnswer.FRONTAL
    below = _judge(float(np.nextafter(HALF, np.float32(0))))
    assert (below.answer, below.reasons) == (GateAnswer.NOT_FRONTAL, (Reason.LATERAL_VIEW,))
    assert _judge(float("nan")).answer is GateAnswer.NOT_FRONTAL
    assert _judge(float("nan")).score is None


def test_three_to_one_is_the_longest_shape() -> None:
    assert _judge(0.9, shape=(270, 90)).frontal and _judge(0.9, shape=(90, 270)).frontal
    assert _judge(0.9, shape=(271, 90)).reasons == _judge(0.9, shape=(90, 271)).reasons == (Reason.SHAPE,)


@pytest.mark.parametrize(("spread", "blank"), [(0.019, True), (0.021, False)])
def test_an_image_without_contrast_is_blank(spread: float, blank: bool) -> None:
    small = np.tile(np.asarray([0.5 - spread, 0.5 + spread], np.float32), (8, 4))
    found = judge(XRay(np.zeros((90, 90), np.uint8), "a", "array", 8), small, None, None, ())
    assert (Reason.BLANK in found.reasons) is blank
    assert found.answer is (GateAnswer.NOT_FRONTAL if blank else GateAnswer.NONE)


def test_flags_that_stop_a_score() -> None:
    for flag in Flag:
        stops = flag in (Flag.NO_LUNGS, Flag.UPSIDE_DOWN, Flag.INVERTED)
        assert _judge(0.9, (flag,)).frontal is not stops
        assert _judge(0.9, (flag,)).reasons == ((Reason(flag.value),) if stops else ())


# plausibility


class _Fixed:
    """Lungs with the labels that are given."""

    def __init__(self, labels: np.ndarray, components: int = 2) -> None:
        self.small, self.components = labels, components


def _two(right: tuple[int, int], left: tuple[int, int], side: int = 100, top: int = 10) -> np.ndarray:
    """Labels with a right and a left lung of (rows, columns) in an image of `side` x `side`."""
    labels = np.zeros((side, side), np.uint8)
    labels[top : top + right[0], 1 : 1 + right[1]] = 1
    labels[top : top + left[0], side - 1 - left[1] : side - 1] = 2
    return labels


def _add(labels: np.ndarray, label: int, pixels: int) -> np.ndarray:
    """So many pixels more of a label, below it."""
    more = labels.copy()
    rows, columns = np.nonzero(labels == label)
    more[rows.max() + 1, columns.min() : columns.min() + pixels] = label
    return more


def _check(labels: np.ndarray, components: int = 2) -> tuple[Flag, ...]:
    return plausibility.check(_Fixed(labels, components))  # type: ignore[arg-type]


def _without(labels: np.ndarray, row: int, column: int) -> np.ndarray:
    other = labels.copy()
    other[row, column] = 0
    return other


WIDE = _two((68, 49), (68, 49))


@pytest.mark.parametrize(
    ("flag", "at", "beside"),
    [
        # Of 10,000 pixels: 6,700 is not too large and 6,701 is; 1,400 is not too small and 1,399 is.
        (Flag.LARGE, _add(WIDE, 1, 36), _add(WIDE, 1, 37)),
        (Flag.SMALL, _two((50, 14), (50, 14)), _without(_two((50, 14), (50, 14)), 10, 1)),
        (Flag.NO_LUNGS, _two((10, 5), (10, 5)), _without(_two((10, 5), (10, 5)), 10, 1)),
        # The smaller lung has exactly half, or 15 %, of the larger; then a pixel less.
        (Flag.ASYMMETRIC, _two((60, 20), (60, 10)), _without(_two((60, 20), (60, 10)), 10, 98)),
        (Flag.ONE_LUNG, _two((60, 20), (60, 3)), _without(_two((60, 20), (60, 3)), 10, 98)),
    ],
)
def test_limits_of_area(flag: Flag, at: np.ndarray, beside: np.ndarray) -> None:
    assert flag not in _check(at)
    assert flag in _check(beside)


def test_limits_of_edge_and_components() -> None:
    labels = _two((60, 20), (60, 20))
    labels[0, 1:26] = 1
    assert Flag.AT_EDGE not in _check(labels), "a quarter of an edge"
    labels[0, 26] = 1
    assert Flag.AT_EDGE in _check(labels)
    for edge in (np.s_[-1, 1:27], np.s_[1:27, 0], np.s_[1:27, -1]):
        other = _two((60, 20), (60, 20))
        other[edge] = 1
        assert Flag.AT_EDGE in _check(other)
    assert Flag.MANY_COMPONENTS not in _check(_two((60, 20), (60, 20)), 3)
    assert Flag.MANY_COMPONENTS in _check(_two((60, 20), (60, 20)), 4)


def test_lungs_that_do_not_fan_out_are_not_upside_down() -> None:
    assert Flag.UPSIDE_DOWN not in _check(_two((60, 20), (60, 20))), "a spread of exactly 1"
    leaning = _two((60, 20), (60, 20))
    leaning[10, 1:3] = 0  # the apex of the right lung moves inwards, and the bases are further apart
    assert Flag.UPSIDE_DOWN not in _check(leaning)
    assert Flag.UPSIDE_DOWN in _check(leaning[::-1])


# the user's threshold on pixels


def test_the_mask_threshold_changes_the_mask_alone(tmp_path: Any) -> None:
    model = load_model(write_bundle(tmp_path), threads=1)
    pixels = draw_chest()
    own = model(pixels)
    for threshold in (0.001, 0.999):
        other = Lungsight(model.bundle, threads=1, mask_threshold=threshold)(pixels)
        assert other.mask.sum() != own.mask.sum()
        assert (other.probability, other.interval, other.decision) == (
            own.probability,
            own.interval,
            own.decision,
        )
        assert (other.flags, other.gate) == (own.flags, own.gate)
        assert other.record.right_lung_px == (other.labels == 1).sum()
    assert np.array_equal(Lungsight(model.bundle, threads=1, mask_threshold=0.5)(pixels).labels, own.labels)
