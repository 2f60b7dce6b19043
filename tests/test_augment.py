"""Augmentation: types, seeds, and a mask that stays on its lungs."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from lungsight.training import augment

SHAPES = [(64, 64), (96, 72), (33, 50)]


def two_lungs(shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Two ellipses of different size, well inside."""
    mask = np.zeros(shape, np.uint8)
    height, width = shape
    for x, across, down in ((0.36, 0.1, 0.2), (0.63, 0.08, 0.15)):
        axes = (int(across * width), int(down * height))
        cv2.ellipse(mask, (int(x * width), height // 2), axes, 0, 0, 360, 1, -1)
    return mask


@pytest.mark.parametrize("shape", SHAPES)
def test_types_shapes_and_ranges(shape: tuple[int, int]) -> None:
    mask = two_lungs(shape)
    image = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    before = image.copy(), mask.copy()
    for seed in range(60):
        pixels, moved = augment.for_lungs(image, mask, np.random.default_rng(seed))
        for array in (pixels, moved, augment.for_diagnosis(image, np.random.default_rng(seed))):
            assert array.dtype == np.uint8
            assert array.shape == shape
            assert array.flags.c_contiguous
        assert set(np.unique(moved)) <= {0, 1}
    assert (image == before[0]).all()
    assert (mask == before[1]).all()


def test_a_seed_draws_one_augmentation_and_another_seed_another() -> None:
    mask = two_lungs((64, 64))
    image = np.random.default_rng(1).integers(0, 256, (64, 64), dtype=np.uint8)
    seen = set()
    for seed in range(10):
        first, second = (augment.for_lungs(image, mask, np.random.default_rng(seed)) for _ in range(2))
        assert all((one == other).all() for one, other in zip(first, second, strict=True))
        seen.add(first[0].tobytes())
    assert len(seen) == 10


@pytest.mark.parametrize("shape", SHAPES)
def test_the_mask_goes_where_the_lungs_go(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """With the grey levels left alone, an image that is its own mask stays so, but for its edge."""
    for name in ("_grey_levels", "_degrade", "_patches", "_letters"):
        monkeypatch.setattr(augment, name, lambda pixels, *_, **__: pixels)
    mask = two_lungs(shape)
    image = np.where(mask == 1, 230, 25).astype(np.uint8)
    moved_far = 0
    for seed in range(80):
        pixels, moved = augment.for_lungs(image, mask, np.random.default_rng(seed))
        assert moved.any()
        brush = np.ones((3, 3), np.uint8)
        inside, near = cv2.erode(moved, brush) == 1, cv2.dilate(moved, brush, iterations=3) == 1
        outside = near & (cv2.dilate(moved, brush) == 0)
        bright, dark = np.median(pixels[inside]), np.median(pixels[outside])
        assert abs(bright - dark) > 150
        middle = (bright + dark) / 2
        assert ((pixels > middle) == (bright > middle))[inside].all()
        assert ((pixels > middle) == (dark > middle))[outside].mean() > 0.98
        moved_far += (moved != mask).mean() > 0.02
    assert moved_far > 40


def test_lungs_alone_stay_alone() -> None:
    """What is black because nothing is shown there does not turn grey."""
    rng = np.random.default_rng(0)
    mask = two_lungs((96, 96))
    image = np.where(mask == 1, rng.integers(80, 200, mask.shape), 0).astype(np.uint8)
    for seed in range(60):
        out = augment.for_diagnosis(image, np.random.default_rng(seed))
        frame = np.concatenate([out[0], out[-1], out[:, 0], out[:, -1]])
        assert not frame.any()
        assert out.any()
    assert not augment.for_diagnosis(np.zeros((96, 96), np.uint8), np.random.default_rng(3)).any()


def test_grey_levels_are_a_rising_curve() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for seed in range(40):
        curve = augment._grey_levels(ramp, np.random.default_rng(seed), gamma=0.6).ravel().astype(int)
        assert (np.diff(curve) >= 0).all()
        assert curve[-1] > curve[0] + 60
