"""Geometry there and back, the paper's mask rule, and the lungs alone."""

from __future__ import annotations

import cv2
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
    resample,
    resize_image,
    resize_mask,
    resize_placed,
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


@pytest.mark.parametrize("size", [(224, 224), (128, 64), (100, 37), (256, 256), (300, 512), (256, 300)])
@pytest.mark.parametrize("box", [(0, 0, 256, 256), (31, 17, 97, 120), (200, 3, 256, 4), (8, 8, 16, 16)])
def test_a_part_is_resized_as_if_with_the_rest(size: tuple[int, int], box: tuple[int, int, int, int]) -> None:
    top, left, bottom, right = box
    whole = np.zeros((256, 256), np.float32)
    part = np.random.default_rng(3).integers(0, 2, (bottom - top, right - left)).astype(np.uint8)
    whole[top:bottom, left:right] = part
    placed = resize_placed(part, (slice(top, bottom), slice(left, right)), whole.shape, size)
    assert placed.dtype == np.float32 and abs(placed - resize_image(whole, size)).max() < 1e-6


def test_units() -> None:
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert to_unit(every).dtype == np.float32
    assert (to_unit(every).min(), to_unit(every).max()) == (0, 1)
    assert (to_uint8(to_unit(every)) == every).all()
    assert to_unit(np.array([[0.25]])).dtype == np.float32
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


@pytest.mark.parametrize(
    "cut",
    [
        *((60, 0, 40, 0), (0, 80, 0, 0), (0, 50, 0, 30)),
        *((-1, 0, 0, 0), (0, -1, 0, 0), (0, 0, -1, 0), (0, 0, 0, -1)),
    ],
)
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
    assert bounding_box(grown) == (17, 47, 24, 54) and grown.dtype == bool
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


# ------------------------------------------------------------------------------------- worked by hand


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


def test_only_what_shrinks_both_ways_is_averaged() -> None:
    """Eight rows to two: areas are the means of four rows; between pixels lie only the two in the middle."""
    rows = column(0, 10, 20, 30, 40, 50, 60, 130)
    means, between = column(15, 70), column(15, 55)
    tall = np.repeat(rows, 2, axis=1)
    assert np.array_equal(resize_image(tall, (2, 1)), means)
    assert np.array_equal(resize_image(tall, (2, 2)), np.repeat(means, 2, axis=1)), "one side as it was"
    assert np.array_equal(resize_image(tall, (2, 3)), np.repeat(between, 3, axis=1)), "the other side grows"
    wide = np.ascontiguousarray(tall.T)
    assert np.array_equal(resize_image(wide, (2, 2)), np.repeat(means, 2, axis=1).T)
    assert np.array_equal(resize_image(wide, (3, 2)), np.repeat(between, 3, axis=1).T)
    assert resize_image(tall, (8, 2)) is tall


@pytest.mark.parametrize(
    ("shape", "halvings"),
    [
        ((44, 50), 1),
        ((40, 48), 1),  # exactly four times, and one side is no multiple
        ((42, 44), 1),
        ((88, 96), 2),
        ((38, 50), 0),  # less than four times
        ((44, 42), 0),
        ((43, 50), 0),  # an odd side
        ((40, 44), 0),  # whole numbers of pixels each
    ],
)
def test_a_much_larger_image_is_halved_first(shape: tuple[int, int], halvings: int) -> None:
    """By hand: means of 2 x 2 pixels, as whole grey levels, rounded up from the half on."""
    image = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    small = image
    for _ in range(halvings):
        blocks = small.reshape(small.shape[0] // 2, 2, small.shape[1] // 2, 2).astype(int)
        small = ((blocks.sum(axis=(1, 3)) + 2) // 4).astype(np.uint8)
    wanted = cv2.resize(small, (11, 10), interpolation=cv2.INTER_AREA)
    assert np.array_equal(resize_image(image, (10, 11)), wanted)


def test_growing_is_linear() -> None:
    assert resize_image(column(0, 8), (4, 1)).ravel().tolist() == [0, 2, 6, 8]


def test_resampling_by_name() -> None:
    rows = column(0, 10, 20, 30, 40, 50, 60, 130)
    assert resample(rows, (2, 1)).ravel().tolist() == [15, 70]
    assert resample(rows, (2, 1), "linear").ravel().tolist() == [15, 55]
    assert resample(rows, (2, 1), "nearest").ravel().tolist() == [0, 40]
    assert resample(column(0, 0, 8, 8), (8, 1), "cubic").max() > 8, "a cubic overshoots"
    colours = np.zeros((4, 6, 3), np.uint8)
    assert resample(colours, (2, 5)).shape == (2, 5, 3)


def test_a_probability_map_goes_back_between_pixels() -> None:
    frame = Frame((1, 6), (0, 1, 1, 5), (1, 2))
    assert frame.restore(np.array([[0, 1]], np.float32)).tolist() == [[0, 0, 0.25, 0.75, 1, 0]]
    assert Frame.whole((1, 4), (1, 2)).restore(np.array([[0, 1]], np.float32), fill=9).tolist() == [
        [0, 0.25, 0.75, 1]
    ]
    for made in (frame, Frame.whole((1, 4), (1, 2))):
        assert made.restore(np.array([[0, 1]], np.float64)).dtype == np.float32  # type: ignore[arg-type]


def test_grey_levels_are_rounded_to_the_nearest() -> None:
    values = np.array([[0.3, 0.5, 0.998, 0.0019, 0.002]], np.float32)  # 76.5, 127.5, 254.49, 0.48, 0.51
    assert to_uint8(values).tolist() == [[76, 128, 254, 0, 1]]
    assert to_uint8(values).dtype == np.uint8


@pytest.mark.parametrize(("fraction", "radius"), [(0.0, 0), (0.004, 0), (0.006, 1), (0.01, 1), (0.026, 3)])
def test_the_brush_is_rounded_to_whole_pixels(fraction: float, radius: int) -> None:
    mask = np.zeros((40, 100), bool)
    mask[20, 50] = True
    assert bounding_box(dilate(mask, fraction)) == (20 - radius, 50 - radius, 21 + radius, 51 + radius)


@pytest.mark.parametrize("kind", ["float32", "uint8"])
def test_the_lungs_grey_levels_run_from_their_1st_to_their_99th_percentile(kind: str) -> None:
    """101 pixels of evenly rising grey: the 1st percentile is the second of them, the 99th the last but one."""
    step = np.arange(101)
    lung = (0.2 + step / 200).astype(np.float32) if kind == "float32" else (30 + 2 * step).astype(np.uint8)
    image = np.stack([lung, np.full(101, lung.max() // 1 if kind == "uint8" else 1, lung.dtype)])
    mask = np.zeros((2, 101), bool)
    mask[0] = True
    found = crop_to_lungs(image, mask, (1, 101), dilation=0)
    assert found is not None
    wanted = np.clip((step - 1) / 98, 0, 1)
    assert found[0] == pytest.approx(wanted, abs=2e-6)
    assert (found[0, 0], found[0, 1], found[0, 50], found[0, 99]) == (
        0,
        0,
        pytest.approx(0.5),
        pytest.approx(1),
    )


def test_grey_levels_closer_than_a_thousandth_are_not_pulled_apart() -> None:
    image = np.array([[0.5] * 50 + [0.5004] * 50], np.float32)
    found = crop_to_lungs(image, np.ones((1, 100), bool), (1, 100), dilation=0)
    assert found is not None
    assert found[0, :50] == pytest.approx(0, abs=1e-4)
    assert found[0, 50:] == pytest.approx(0.4, abs=2e-3)


def test_between_the_lungs_is_black_and_the_edge_is_black_before_it_is_resized() -> None:
    image = np.array([[0.1, 0.9, 0.8, 0.9, 0.1]] * 2, np.float32)
    mask = np.array([[False, True, False, True, False]] * 2)
    found = crop_to_lungs(image, mask, (2, 3), dilation=0)
    assert found is not None
    assert found[0].tolist() == [0, 0, 0], "all of one grey: 0, and so is what lies between"
    image[:, 1], image[:, 3] = 0.2, 0.6
    assert crop_to_lungs(image, mask, (2, 3), dilation=0)[0] == pytest.approx([0, 0, 1])  # type: ignore[index]
    assert crop_to_lungs(image, mask, (2, 1), dilation=0)[0] == pytest.approx([1 / 3])  # type: ignore[index]


def test_the_mask_grows_by_a_fiftieth_unless_told_otherwise() -> None:
    mask = np.zeros((100, 100), bool)
    mask[40:60, 40:60] = True
    image = np.random.default_rng(0).random((100, 100), np.float32)
    usual = crop_to_lungs(image, mask, (24, 24))
    assert usual is not None
    assert np.array_equal(usual, crop_to_lungs(image, mask, (24, 24), dilation=0.02))
    assert usual[0, 0] == 0 and usual[0, 12] > 0, "24 pixels from 38 to 62, with round corners"
