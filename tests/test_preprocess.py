"""Geometry there and back, the paper's mask rule, and the lungs alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungsight.preprocess import (
    Edges,
    Frame,
    apply_mask,
    binarise,
    bounding_box,
    crop_to_lungs,
    dilate,
    resize_image,
    resize_mask,
    to_uint8,
    to_unit,
)


def test_the_papers_mask_rule() -> None:
    assert binarise(np.array([0.0, 0.5, 0.500001, 1.0])).tolist() == [False, False, True, True]


def test_shrinking_averages_areas() -> None:
    fine = np.indices((8, 8)).sum(0) % 2 * np.uint8(200)
    assert (resize_image(fine.astype(np.uint8), (4, 4)) == 100).all()


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_resizing_keeps_the_type(kind: type) -> None:
    for size in ((5, 9), (20, 7), (10, 12)):
        out = resize_image(np.ones((10, 12), kind), size)
        assert out.dtype == kind
        assert out.shape == size
        assert (out == 1).all()


def test_a_mask_is_resized_as_grey_and_cut() -> None:
    mask = np.zeros((6, 6), bool)
    mask[:, :3] = True
    small = resize_mask(mask, (2, 2))
    # The left column holds its whole area, the right none.
    assert small.tolist() == [[True, False], [True, False]]
    mask[:, 3:] = [True, False, False]
    assert resize_mask(mask, (2, 2)).tolist() == [[True, False], [True, False]]
    mask[:, 3:] = [True, True, False]
    assert resize_mask(mask, (2, 2)).all()
    assert resize_mask(mask, (6, 6)) is mask


def test_units() -> None:
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert to_unit(every).dtype == np.float32
    assert (to_unit(every).min(), to_unit(every).max()) == (0, 1)
    assert (to_uint8(to_unit(every)) == every).all()
    assert to_uint8(np.array([[-0.2, 1.7]], np.float32)).tolist() == [[0, 255]]
    assert to_uint8(every) is every


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(st.integers(20, 90), st.integers(20, 90)),
    st.tuples(*[st.integers(0, 9)] * 4),
    st.tuples(st.integers(16, 64), st.integers(16, 64)),
)
def test_a_frame_puts_an_answer_back_where_it_came_from(
    shape: tuple[int, int], cut: tuple[int, int, int, int], size: tuple[int, int]
) -> None:
    box = Edges(*cut).box(shape)
    top, left, bottom, right = box
    frame = Frame(shape, box, size)
    back = frame.restore(np.ones(size, np.float32), fill=0.25)
    assert back.shape == shape
    assert (back[top:bottom, left:right] == 1).all()
    outside = np.ones(shape, bool)
    outside[top:bottom, left:right] = False
    assert (back[outside] == 0.25).all()


def test_there_and_back_loses_no_more_than_a_pixel() -> None:
    rows, columns = np.indices((120, 90))
    disc = (rows - 65) ** 2 / 45**2 + (columns - 40) ** 2 / 30**2 < 1
    frame = Frame((120, 90), (5, 3, 118, 84), (64, 64))
    back = frame.restore(frame.mask(disc).astype(np.float32)) > 0.5
    wrong = back ^ disc
    edge = dilate(disc, 2 / 120) & dilate(~disc, 2 / 120)
    assert wrong.any()
    assert not (wrong & ~edge)[5:118, 3:84].any()


@pytest.mark.parametrize("cut", [(60, 0, 40, 0), (0, 80, 0, 0), (-1, 0, 0, 0), (0, 50, 0, 30)])
def test_cutting_everything_is_refused(cut: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="leaves nothing of 100 x 80"):
        Edges(*cut).box((100, 80))


def test_boxes() -> None:
    mask = np.zeros((9, 7), bool)
    assert bounding_box(mask) is None
    mask[2, 3] = mask[5, 1] = True
    assert bounding_box(mask) == (2, 1, 6, 4)


def test_growth_is_a_share_of_the_longer_side() -> None:
    mask = np.zeros((40, 100), bool)
    mask[20, 50] = True
    grown = dilate(mask, 0.03)
    assert bounding_box(grown) == (17, 47, 24, 54)
    assert not grown[17, 47]  # round, not square
    assert dilate(mask, 0.004) is mask


def test_keep_only() -> None:
    pixels = np.full((2, 2), 7, np.uint8)
    kept = apply_mask(pixels, np.array([[True, False], [False, True]]), fill=3)
    assert kept.tolist() == [[7, 3], [3, 7]]
    assert kept.dtype == np.uint8


def test_the_lungs_alone_show_nothing_else() -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros((80, 60), bool)
    mask[20:60, 10:30] = True
    image = rng.integers(60, 120, (80, 60), dtype=np.uint8)
    elsewhere = image.copy()
    elsewhere[~mask] = rng.integers(0, 256, (~mask).sum())
    first, second = (crop_to_lungs(part, mask, (40, 20), dilation=0) for part in (image, elsewhere))
    assert first is not None
    assert second is not None
    assert (first == second).all()
    assert (first.min(), first.max()) == (0, 1)
    assert first.shape == (40, 20)


def test_the_lungs_alone_do_not_show_the_exposure() -> None:
    rows, columns = np.indices((80, 60))
    image = ((np.sin(rows / 9) + np.cos(columns / 7) + 2) / 4).astype(np.float32)
    mask = (rows - 40) ** 2 + (columns - 30) ** 2 < 400
    first, second = (crop_to_lungs(part, mask, (48, 48)) for part in (image, image * 0.4 + 0.3))
    assert first is not None
    assert second is not None
    assert np.abs(first - second).max() < 1e-5


def test_no_lungs_is_none_and_flat_lungs_are_finite() -> None:
    image = np.full((30, 30), 0.5, np.float32)
    assert crop_to_lungs(image, np.zeros((30, 30), bool), (16, 16)) is None
    flat = crop_to_lungs(image, np.ones((30, 30), bool), (16, 16))
    assert flat is not None
    assert np.isfinite(flat).all()
