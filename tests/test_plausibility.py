"""Flags: could these be lungs? By hand, and at every boundary."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lungsight.inference import plausibility
from lungsight.inference.lung_masks import LEFT, RIGHT, Lungs, find
from lungsight.inference.plausibility import base_spread, check, check_all, contrast, unlikeness
from lungsight.wording import Flag


def block(size: int, top: int, bottom: int, left: int, right: int, label: int = 1) -> NDArray[np.uint8]:
    """(size, size) labels with one rectangle."""
    labels = np.zeros((size, size), np.uint8)
    labels[top:bottom, left:right] = label
    return labels


def two_lungs() -> Lungs:
    """Apart, of the same size, 25 % of the image, away from its edges."""
    probability = np.zeros((80, 80), np.float32)
    probability[20:60, 12:32] = probability[20:60, 48:68] = 1
    return find(probability, 0.5)


def test_contrast_is_that_of_the_lungs_with_a_rim_of_a_twentieth_of_the_side() -> None:
    image = np.random.default_rng(0).random((40, 40)).astype(np.float32)
    labels = block(40, 10, 30, 12, 30) + block(40, 10, 20, 12, 30)  # 1 and 2 are both lung
    rim = [
        image[row, column]
        for row in range(8, 32)
        for column in range(10, 32)
        if not (10 <= row < 30 and 12 <= column < 30)
    ]
    wanted = (np.median(image[10:30, 12:30]) - np.median(rim)) / image.std()
    assert contrast(labels, image) == pytest.approx(float(wanted), rel=1e-5)
    assert contrast(labels, image * np.float32(0.1)) == pytest.approx(float(wanted), rel=1e-4), "in any unit"


@pytest.mark.parametrize("labels", [block(40, 0, 40, 0, 40), block(40, 0, 0, 0, 0)], ids=["all", "none"])
def test_where_there_is_no_rim_or_no_lung_there_is_no_contrast(labels: NDArray[np.uint8]) -> None:
    assert contrast(labels, np.random.default_rng(0).random((40, 40)).astype(np.float32)) == 0


def test_an_image_of_almost_one_grey_has_no_contrast() -> None:
    """Two greys in equal shares: their standard deviation is half of what is between them."""
    labels = block(40, 0, 20, 0, 40)
    for between, found in ((0.0019, 0.0), (0.0022, 2.0)):
        image = np.where(labels > 0, np.float32(between), np.float32(0))
        assert contrast(labels, image) == pytest.approx(found, abs=1e-3)


@pytest.mark.parametrize(
    ("polarity", "contrast", "flagged"),
    [(0.0, 0.2, False), (-0.01, -1.0, True), (1.0, 0.201, True), (-0.01, 0.201, True)],
)
def test_inverted_by_either_sign(
    monkeypatch: pytest.MonkeyPatch, polarity: float, contrast: float, flagged: bool
) -> None:
    monkeypatch.setattr(plausibility, "polarity", lambda image: polarity)
    monkeypatch.setattr(plausibility, "contrast", lambda labels, image: contrast)
    image = np.zeros((80, 80), np.float32)
    assert check(two_lungs(), image) == ((Flag.INVERTED,) if flagged else ())
    assert check(two_lungs()) == ()


def slanted(first: int, step: int, label: int) -> NDArray[np.uint8]:
    """A lung of eight rows of three pixels, each row `step` columns from the one above."""
    labels = np.zeros((20, 60), np.uint8)
    for row in range(8):
        at = first + step * row
        labels[4 + row, at : at + 3] = label
    return labels


def test_bases_lie_further_apart_than_apices() -> None:
    """Lines at 10 - n and 40 + n: the first two rows are 30 and 32 apart, the last two 42 and 44."""
    labels = slanted(10, -1, RIGHT) + slanted(40, 1, LEFT)
    assert base_spread(labels) == pytest.approx(43 / 31)
    assert base_spread(labels[::-1].copy()) == pytest.approx(31 / 43)
    labels[19, 0] = RIGHT  # a speck far below
    labels[0, 59] = LEFT
    assert base_spread(labels) == pytest.approx(43 / 31)


def test_a_lung_that_hangs_together_by_corners_is_one() -> None:
    steep = slanted(30, -3, RIGHT) + slanted(34, 3, LEFT)
    assert base_spread(steep) == pytest.approx((4 + 13 * 3) / (4 + 3)), "rows touch at corners only"


def test_no_spread_without_two_lungs_side_by_side() -> None:
    assert base_spread(slanted(10, -1, RIGHT)) is None
    assert base_spread(slanted(40, 1, LEFT)) is None
    assert base_spread(slanted(40, 1, RIGHT) + slanted(10, -1, LEFT)) is None, "sides exchanged"


def test_distances_are_told_in_limits() -> None:
    assert unlikeness(np.array([[2.0], [np.nan], [1.0]], np.float32), 2.0, 3) == [1.0, np.inf, 0.5]
    assert unlikeness(None, 2.0, 2) == [None, None]
    assert unlikeness(np.ones(2, np.float32), None, 2) == [None, None]


def test_unfamiliar_is_beyond_the_limit() -> None:
    assert check(two_lungs(), unlike=1.0) == ()
    assert check(two_lungs(), unlike=1.001) == (Flag.UNFAMILIAR,)
    assert check(two_lungs(), unlike=float("inf")) == (Flag.UNFAMILIAR,)


def test_sides_are_asked_of_a_heart_and_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def wrong(heart: Any, labels: Any, image: Any, *, mirrored: bool) -> bool:
        asked.append((heart.shape, labels.max(), image.shape, mirrored))
        return True

    monkeypatch.setattr(plausibility, "on_wrong_side", wrong)
    monkeypatch.setattr(plausibility, "_of_lungs", lambda lungs, image: ())
    heart, image = np.zeros((80, 80), bool), np.zeros((80, 80), np.float32)
    assert check(two_lungs(), image) == check(two_lungs(), heart=heart) == () and not asked
    found = [two_lungs()] * 2
    flags = check_all(found, [image] * 2, [None, 2.0], [heart, None], [True, False])
    assert flags == [(Flag.HEART_SIDE,), (Flag.UNFAMILIAR,)]
    assert asked == [((80, 80), 2, (80, 80), True)]
    with pytest.raises(ValueError, match="zip"):
        check_all(found, [image], [None, None], [None, None], [False, False])
