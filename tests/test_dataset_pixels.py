"""Masks from files, and the arrays that training reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lungsight.dataset import Dataset, Row, load_arrays, load_pair, read_dataset
from lungsight.dataset.masks import MaskFile
from lungsight.errors import DataError, OutputError


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Five images that differ, one of them truncated, one without a mask."""
    rng = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    lines = ["id,image,mask"]
    for name in range(5):
        image = tmp_path / "data" / f"{name}.png"
        Image.fromarray(rng.integers(0, 255, (48, 64), np.uint8)).save(image)
        mask = np.zeros((96, 128), bool)
        mask[20:60, 10 * name : 10 * name + 40] = True
        Image.fromarray(mask).save(tmp_path / "data" / f"{name}-lungs.png")
        lines.append(f"{name},{name}.png," + (f"{name}-lungs.png" if name != 3 else ""))
    broken = tmp_path / "data" / "2.png"
    broken.write_bytes(broken.read_bytes()[:200])
    (tmp_path / "data" / "manifest.csv").write_text("\n".join(lines))
    return read_dataset(tmp_path / "data")


@pytest.mark.parametrize(
    ("values", "mode"),
    [
        ([[0, 127, 255]], "L"),
        ([[0, 0, 1]], "L"),
        ([[0, 0, 255]], "1"),
        ([[0, 0, 1]], "P"),
        ([[0, 127, 255]], "RGB"),
    ],
)
def test_what_is_lung_in_a_mask_file(tmp_path: Path, values: list[list[int]], mode: str) -> None:
    array = np.asarray(values, np.uint8)
    image = Image.fromarray(array)
    if mode == "P":
        image = Image.new("P", (3, 1))
        image.putpalette([0, 0, 0, 90, 0, 0])
        image.putdata([0, 0, 1])
    image.convert(mode).save(tmp_path / "mask.png")
    assert MaskFile(tmp_path / "mask.png").load().tolist() == [[False, False, True]]
    assert MaskFile(tmp_path / "mask.png").shape() == (1, 3)


def test_masks_that_cannot_be_read(tmp_path: Path) -> None:
    whole = tmp_path / "whole.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 2, (64, 64), np.uint8)).save(whole)
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:-60])
    (tmp_path / "text.png").write_text("not an image")
    for name, message in (
        ("cut.png", "cannot be read"),
        ("text.png", "not an image"),
        ("gone.png", "no such file"),
    ):
        with pytest.raises(DataError, match=message) as caught:
            MaskFile(tmp_path / name).load()
        assert name in str(caught.value)


def test_load_pair(dataset: Dataset) -> None:
    image, mask = load_pair(dataset.rows[1], (32, 24))
    assert (image.shape, image.dtype, mask.shape, mask.dtype) == ((32, 24), np.uint8, (32, 24), np.bool_)
    assert mask.mean() == pytest.approx(40 * 40 / (96 * 128), abs=0.02)
    with pytest.raises(DataError, match="no lung mask"):
        load_pair(dataset.rows[3], (32, 24))


def test_a_mask_of_another_shape_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((50, 100), np.uint8)).save(tmp_path / "image.png")
    Image.fromarray(np.ones((50, 103), bool)).save(tmp_path / "mask.png")
    row = Row("x", tmp_path / "image.png", MaskFile(tmp_path / "mask.png"))
    with pytest.raises(DataError, match="the mask is 103 x 50 and the image 100 x 50"):
        load_pair(row, (32, 32))


def test_arrays_name_the_broken_file_and_go_on(dataset: Dataset) -> None:
    calls: list[tuple[int, int]] = []
    arrays = load_arrays(dataset, (24, 32), progress=lambda done, total: calls.append((done, total)))
    assert arrays.images.shape == arrays.masks.shape == (4, 24, 32)
    assert arrays.kept == (0, 1, 3, 4)
    assert [row.id for row in arrays.rows] == ["0", "1", "3", "4"]
    assert arrays.has_mask.tolist() == [True, True, False, True]
    assert not arrays.masks[2].any()
    assert [name for name, _ in arrays.failures] == ["2"]
    assert "2.png" in arrays.failures[0][1]
    assert calls == [(done, 5) for done in range(1, 6)]
    assert arrays.positions((4, 2, 0)).tolist() == [3, 0]
    image, mask = load_pair(dataset.rows[4], (24, 32))
    assert (arrays.images[3] == image).all() and (arrays.masks[3] == mask).all()


def test_the_cache_holds_the_same_and_is_read_without_decoding(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = load_arrays(dataset, (24, 32))
    first = load_arrays(dataset, (24, 32), tmp_path / "cache")
    monkeypatch.setattr("lungsight.dataset.cache.read_xray", lambda path: pytest.fail("decoded again"))
    second = load_arrays(dataset, (24, 32), tmp_path / "cache")
    for arrays in (first, second):
        assert isinstance(arrays.images, np.memmap)
        assert not arrays.images.flags.writeable
        assert (arrays.images == plain.images).all() and (arrays.masks == plain.masks).all()
        assert (arrays.kept, arrays.failures) == (plain.kept, plain.failures)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_another_size_or_changed_pixels_make_another_cache(dataset: Dataset, tmp_path: Path) -> None:
    load_arrays(dataset, (24, 32), tmp_path / "cache")
    assert load_arrays(dataset, (32, 32), tmp_path / "cache").images.shape == (4, 32, 32)
    for path in (dataset.rows[0].image, dataset.rows[1].mask.path):
        before = load_arrays(dataset, (24, 32), tmp_path / "cache")
        with Image.open(path) as image:
            flipped = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        flipped.save(path)
        after = load_arrays(dataset, (24, 32), tmp_path / "cache")
        changed = (before.images != after.images).any() or (before.masks != after.masks).any()
        assert changed


def test_a_stopped_fill_leaves_no_cache(dataset: Dataset, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_arrays(dataset, (24, 32), tmp_path / "cache", stop)
    assert not list((tmp_path / "cache").iterdir())
    assert len(load_arrays(dataset, (24, 32), tmp_path / "cache")) == 4


def test_a_cache_that_cannot_be_written(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(OutputError, match="the image cache cannot be written"):
        load_arrays(dataset, (24, 32), tmp_path / "cache")


def test_a_full_disk_is_an_error_and_not_a_crash(dataset: Dataset, tmp_path: Path) -> None:
    import resource
    import signal

    old_limit, old_handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.getsignal(signal.SIGXFSZ)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, old_limit[1]))
    try:
        with pytest.raises(OutputError, match="file too large"):
            load_arrays(dataset, (240, 320), tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limit)
        signal.signal(signal.SIGXFSZ, old_handler)
    assert not list((tmp_path / "cache").iterdir())


def test_nothing_readable_is_an_error(dataset: Dataset, tmp_path: Path) -> None:
    only_broken = dataset.where(lambda row: row.id == "2")
    for cache in (None, tmp_path / "cache"):
        with pytest.raises(DataError, match="not one image can be read"):
            load_arrays(only_broken, (24, 32), cache)
    with pytest.raises(DataError, match="no usable image"):
        load_arrays(dataset.where(lambda row: False), (24, 32))
