"""A picture that contradicts the header's sides."""

from __future__ import annotations

import numpy as np
import pytest

from lungsight.inference import lung_masks, plausibility
from lungsight.inference.sides import PICTURE, SCALE, TEMPLATE, heart_offset, on_wrong_side, sidedness
from lungsight.wording import Flag

H, W = 90, 100


def masks() -> tuple[np.ndarray, np.ndarray]:
    """Lungs with centres at columns 24.5 and 72, 47.5 apart; a heart at 57, 8.75 right of the middle."""
    labels, heart = np.zeros((H, W), np.uint8), np.zeros((H, W), bool)
    labels[15:75, 10:40], labels[15:75, 60:85] = lung_masks.RIGHT, lung_masks.LEFT
    heart[45:65, 48:67] = True
    return labels, heart


def picture() -> np.ndarray:
    """(90, 100): bright where the template says so, dark where it does not: as little mirrored as can be."""
    whole = np.concatenate([TEMPLATE, -TEMPLATE[:, ::-1]], axis=1)
    rows, columns = np.arange(H) * 16 // H, np.arange(W) * 16 // W
    return (0.5 + whole[rows][:, columns] / 400).astype(np.float32)


def mirrored_labels(labels: np.ndarray) -> np.ndarray:
    return np.where(labels > 0, 3 - labels, 0).astype(np.uint8)[:, ::-1]


def test_sidedness_is_a_template_times_left_less_right() -> None:
    image = np.random.default_rng(0).random((16, 16)).astype(np.float32)
    wanted = sum(
        (float(image[row, column]) - float(image[row, 15 - column])) * float(TEMPLATE[row, column])
        for row in range(16)
        for column in range(8)
    )
    wanted /= float(image.std()) * SCALE
    assert sidedness(image) == pytest.approx(wanted, rel=1e-4)
    assert sidedness(image[:, ::-1].copy()) == pytest.approx(-wanted, rel=1e-4)
    assert sidedness(np.full((40, 40), 0.4, np.float32)) == 0


def test_the_heart_s_offset_by_hand() -> None:
    labels, heart = masks()
    assert heart_offset(heart, labels) == pytest.approx((57 - 48.25) / 47.5)
    assert heart_offset(heart[:, ::-1], mirrored_labels(labels)) == pytest.approx(-(57 - 48.25) / 47.5)
    assert heart_offset(np.zeros_like(heart), labels) is None
    assert heart_offset(heart, np.zeros_like(labels)) is None


def test_heart_and_picture_must_both_say_so() -> None:
    labels, heart = masks()
    turned, flipped = mirrored_labels(labels), heart[:, ::-1]
    upright = picture()
    assert sidedness(upright) > 1 > PICTURE
    for header in (False, True):
        # As the header says, and against it.
        assert on_wrong_side(heart, labels, upright, mirrored=header) is header
        assert on_wrong_side(flipped, turned, upright[:, ::-1].copy(), mirrored=header) is not header
        # Heart and picture disagree.
        assert not on_wrong_side(flipped, turned, upright, mirrored=header)
        assert not on_wrong_side(heart, labels, upright[:, ::-1].copy(), mirrored=header)
    middle = np.zeros_like(heart)
    middle[45:65, 39:59] = True
    assert not any(on_wrong_side(middle, labels, upright, mirrored=one) for one in (False, True))


def test_a_mirrored_film_is_flagged_where_the_header_does_not_say_so() -> None:
    labels, heart = masks()
    found = lung_masks.find((labels > 0).astype(np.float32), 0.5)
    for header in (False, True):
        flags = plausibility.check(found, picture(), heart=heart, mirrored=header)
        assert (Flag.HEART_SIDE in flags) is header
        assert Flag.HEART_SIDE not in plausibility.check(found, picture(), mirrored=header)
