"""Overlap and boundary metrics: worked by hand, and against MONAI and torchmetrics."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from lungsight.errors import DataError
from lungsight.metrics import Boundary, Overlap, boundary_metrics, finite_mean

EMPTY = np.zeros((6, 6), bool)


def pixel(row: int, column: int, shape: tuple[int, int] = (6, 6)) -> NDArray[np.bool_]:
    mask = np.zeros(shape, bool)
    mask[row, column] = True
    return mask


def blobs(seed: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """A pair of lung-like masks, the second shifted and nicked, the first touching the image's edge."""
    random = np.random.default_rng(seed)
    rows, columns = np.ogrid[:96, :80]
    truth = np.zeros((96, 80), bool)
    for centre in (20, 58):
        truth |= ((rows - 60) / random.uniform(38, 45)) ** 2 + (
            (columns - centre) / random.uniform(12, 17)
        ) ** 2 < 1
    predicted = np.roll(truth, random.integers(-3, 4, 2), (0, 1))
    top, left = random.integers(20, 60, 2)
    predicted[top : top + 6, left : left + 15] ^= True
    return predicted, truth


def test_overlap_of_a_case_worked_by_hand() -> None:
    predicted = np.array([[1, 1, 1, 0], [0, 0, 0, 0]], bool)  # TP 2, FP 1, FN 1, TN 4
    truth = np.array([[0, 1, 1, 1], [0, 0, 0, 0]], bool)
    overlap = Overlap.of(predicted, truth)
    assert overlap.counts.tolist() == [[2, 1, 1, 4]]
    figures = {name: values.item() for name, values in overlap.per_image().items()}
    assert figures == pytest.approx(
        {"dice": 4 / 6, "iou": 2 / 4, "sensitivity": 2 / 3, "precision": 2 / 3, "accuracy": 6 / 8}
    )


def test_pooled_weighs_pixels_and_per_image_weighs_images() -> None:
    large, small = np.ones((6, 6), bool), pixel(0, 0)
    overlap = Overlap()
    overlap.add(large, large)
    overlap.add(pixel(1, 1), small)
    assert len(overlap) == 2
    assert overlap.per_image()["dice"].tolist() == [1.0, 0.0]
    assert float(overlap.pooled()["dice"]) == pytest.approx(2 * 36 / (2 * 36 + 2))


@pytest.mark.parametrize(
    ("predicted", "truth", "expected"),
    [
        (EMPTY, EMPTY, 1.0),
        (EMPTY, pixel(2, 3), 0.0),
        (pixel(2, 3), EMPTY, 0.0),
        (pixel(2, 3), pixel(2, 3), 1.0),
    ],
    ids=["both empty", "prediction empty", "truth empty", "single pixel"],
)
def test_overlap_at_the_edges(
    predicted: NDArray[np.bool_], truth: NDArray[np.bool_], expected: float
) -> None:
    overlap = Overlap.of(predicted, truth)
    for figures in (overlap.per_image(), overlap.pooled()):
        assert {
            name: float(figures[name].item()) for name in ("dice", "iou", "sensitivity", "precision")
        } == dict.fromkeys(("dice", "iou", "sensitivity", "precision"), expected)


def test_a_stream_gives_what_a_stack_gives() -> None:
    pairs = [blobs(seed) for seed in range(4)]
    stack, stream = Overlap.of(*map(np.stack, zip(*pairs, strict=True))), Overlap()
    for predicted, truth in pairs:
        stream.add(predicted, truth)
    assert np.array_equal(stack.counts, stream.counts)
    assert len(Overlap()) == 0
    assert Overlap().per_image()["dice"].shape == (0,)


def test_overlap_agrees_with_torchmetrics_and_monai() -> None:
    torch, functional = (
        pytest.importorskip("torch"),
        pytest.importorskip("torchmetrics.functional.classification"),
    )
    monai = pytest.importorskip("monai.metrics")
    pairs = [blobs(seed) for seed in range(4)]
    predicted, truth = (torch.from_numpy(np.stack(masks)) for masks in zip(*pairs, strict=True))
    overlap = Overlap.of(predicted.numpy(), truth.numpy())
    figures, pooled = overlap.per_image(), overlap.pooled()
    hot = [torch.stack((~masks, masks), 1).float() for masks in (predicted, truth)]
    dice = monai.compute_dice(*hot, include_background=False).flatten().numpy()
    iou = monai.compute_iou(*hot, include_background=False).flatten().numpy()
    np.testing.assert_allclose(figures["dice"], dice, rtol=1e-5)
    np.testing.assert_allclose(figures["iou"], iou, rtol=1e-5)
    for name, function in {
        "dice": functional.binary_f1_score,
        "iou": functional.binary_jaccard_index,
        "sensitivity": functional.binary_recall,
        "precision": functional.binary_precision,
        "accuracy": functional.binary_accuracy,
    }.items():
        assert float(pooled[name]) == pytest.approx(
            float(function(predicted.int(), truth.int())), rel=1e-5
        ), name


@pytest.mark.parametrize("measure", [Overlap().add, Boundary().add])
def test_masks_that_cannot_be_compared_are_refused(measure) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match="differ in size"):
        measure(EMPTY, np.zeros((6, 7), bool))
    with pytest.raises(DataError, match="must be bool"):
        measure(EMPTY.astype(float), EMPTY.astype(float))


def test_boundary_of_two_pixels_is_their_distance() -> None:
    here, there = pixel(0, 0), pixel(3, 4)
    figures = boundary_metrics(here, there)
    assert (figures.nsd, figures.hd95, figures.assd) == (0.0, 5.0, 5.0)
    assert boundary_metrics(here, there, tolerance=5).nsd == 1.0
    stretched = boundary_metrics(here, there, spacing=(2.0, 0.5))
    assert stretched.hd95 == pytest.approx(math.hypot(6, 2))


def test_boundary_of_shifted_squares_worked_by_hand() -> None:
    truth = np.zeros((12, 12), bool)
    truth[2:6, 2:6] = True  # an outline of 12 pixels
    predicted = np.roll(truth, 3, axis=1)
    figures = boundary_metrics(predicted, truth, tolerance=1)
    # Columns 5..8 against 2..5: of the predicted outline column 5 (4 pixels) lies on the true one, column 6
    # (2 pixels) is one off, 7 (2) two and 8 (4) three; the true outline likewise.
    assert figures.nsd == pytest.approx(6 / 12)
    assert figures.assd == pytest.approx((4 * 0 + 2 * 1 + 2 * 2 + 4 * 3) / 12)
    assert figures.hd95 == 3.0


def test_empty_masks_are_counted_and_not_averaged_away() -> None:
    boundary = Boundary()
    boundary.add(pixel(0, 0), pixel(0, 1))
    boundary.add(EMPTY, pixel(0, 1))
    boundary.add(pixel(0, 1), EMPTY)
    boundary.add(EMPTY, EMPTY)
    columns = boundary.per_image()
    assert columns["nsd"].tolist() == [1, 0, 0, 1]
    for name in ("hd95", "assd"):
        assert columns[name][:3].tolist() == [1.0, math.inf, math.inf]
        assert math.isnan(columns[name][3])
    assert (finite_mean(columns["nsd"]), finite_mean(columns["hd95"]), finite_mean(columns["assd"])) == (
        0.5,
        1.0,
        1.0,
    )
    assert len(Boundary()) == 0 and Boundary().per_image()["nsd"].shape == (0,)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.5, 0.7)])
def test_boundary_agrees_with_monai(seed: int, spacing: tuple[float, float]) -> None:
    torch, monai = pytest.importorskip("torch"), pytest.importorskip("monai.metrics")
    predicted, truth = blobs(seed)
    hot = [torch.from_numpy(np.stack((~mask, mask)))[None].float() for mask in (predicted, truth)]
    figures = boundary_metrics(predicted, truth, tolerance=2, spacing=spacing)
    assert figures.assd > 0
    assert figures.nsd == pytest.approx(
        monai.compute_surface_dice(*hot, [2.0], spacing=spacing).item(), rel=1e-5
    )
    hd95 = monai.compute_hausdorff_distance(*hot, percentile=95, spacing=spacing).item()
    assert figures.hd95 == pytest.approx(hd95, rel=1e-5)
    assd = monai.compute_average_surface_distance(*hot, symmetric=True, spacing=spacing).item()
    assert figures.assd == pytest.approx(assd, rel=1e-5)
