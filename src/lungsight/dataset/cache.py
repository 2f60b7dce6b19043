"""From rows to arrays of one size: decoded once, kept on disk."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from lungsight.dataset.table import Dataset, Row
from lungsight.errors import DataError, LungsightError, OutputError
from lungsight.preprocess import Frame, resize_mask, to_uint8
from lungsight.xray import read_xray

Progress = Callable[[int, int], None]
ASPECT_TOLERANCE = 0.02
_WORKERS = 2
_FORMAT = 1
"""Raise it when the pixels in a cache would come out differently."""


@dataclass(frozen=True)
class Arrays:
    """Images and masks of the rows that could be read, all of one size."""

    images: NDArray[np.uint8]
    """(N, h, w) in [0, 255]; memory-mapped and read-only where there is a cache."""
    masks: NDArray[np.bool_]
    """(N, h, w); all False where the row has no mask."""
    has_mask: NDArray[np.bool_]
    """(N,)."""
    rows: tuple[Row, ...]
    """The N rows."""
    kept: tuple[int, ...]
    """Their indices in the data set, rising."""
    failures: tuple[tuple[str, str], ...]
    """(id, reason) of the rows that could not be read."""

    def __len__(self) -> int:
        return len(self.rows)

    def positions(self, indices: Iterable[int]) -> NDArray[np.intp]:
        """Where the data set's rows `indices` (a part of a split) lie here; unreadable ones drop out."""
        place = {index: position for position, index in enumerate(self.kept)}
        return np.asarray([place[index] for index in indices if index in place], np.intp)


def load_pair(row: Row, size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The image (h, w) in [0, 255] and the lung mask (h, w) of one row, both at `size`.

    Raises:
        InputError: the image cannot be read.
        DataError: there is no mask, it cannot be read, or its aspect ratio is not the image's.
    """
    if row.mask is None:
        raise DataError("the row has no lung mask", where=row.id)
    image, mask = _load(row, size)
    return image, mask


def load_arrays(
    dataset: Dataset,
    size: tuple[int, int],
    cache_dir: str | Path | None = None,
    progress: Progress | None = None,
) -> Arrays:
    """Decode every row once at `size` (h, w).

    A file that cannot be read is named in `failures`, and the rest goes on. With `cache_dir` the pixels are
    written there under a name made of the data's fingerprint, the files' times and the size, and read from
    there, memory-mapped, the next time. The cache appears whole or not at all.

    Args:
        dataset: the table.
        size: (h, w), the aspect ratio is not kept.
        cache_dir: where to keep the pixels; None keeps them in memory.
        progress: called with (rows done, rows in all).

    Raises:
        DataError: not one row can be read.
        OutputError: the cache cannot be written.
    """
    if not dataset.rows:
        raise DataError("the data set has no usable image", where=dataset.root)
    if cache_dir is None:
        pairs, kept, failures = [], [], []
        for index, result in _decode(dataset, size, progress):
            if isinstance(result, str):
                failures.append((dataset.rows[index].id, result))
            else:
                pairs.append(result)
                kept.append(index)
        _check_any(kept, failures, dataset)
        images, masks = np.stack([image for image, _ in pairs]), np.stack([mask for _, mask in pairs])
        return _arrays(dataset, images, masks, kept, failures)
    folder = Path(cache_dir) / _cache_name(dataset, size)
    if not (folder / "kept.json").is_file():
        _fill_cache(dataset, size, folder, progress)
    return _read_cache(dataset, folder)


def image_shape(path: Path) -> tuple[int, int]:
    """(H, W) of an image from its header alone.

    Raises:
        InputError: it is no image.
        DataError: its header is damaged.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return image.height, image.width
    except UnidentifiedImageError:
        shape = read_xray(path).pixels.shape
        return int(shape[0]), int(shape[1])
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"the image cannot be read: {error}", where=path) from error


def check_aspect(image: tuple[int, int], mask: tuple[int, int], where: str) -> None:
    """Raise DataError where the aspect ratios of image and mask (H, W) differ by more than 2 %.

    Their sizes may differ: both can have been resized from the same original.
    """
    ratio = (image[1] / image[0]) / (mask[1] / mask[0])
    # One pixel of rounding is allowed: 2 % of a tiny mask is less than that.
    slack = max(ASPECT_TOLERANCE, 1 / min(*image, *mask))
    if max(ratio, 1 / ratio) > 1 + slack:
        raise DataError(
            f"the mask is {mask[1]} x {mask[0]} and the image {image[1]} x {image[0]}: not the same shape",
            where=where,
        )


def _load(row: Row, size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    pixels = read_xray(row.image).pixels
    shape = (int(pixels.shape[0]), int(pixels.shape[1]))
    image = to_uint8(Frame.whole(shape, size).image(pixels))
    if row.mask is None:
        return image, np.zeros(size, bool)
    mask = row.mask.load()
    check_aspect(shape, (mask.shape[0], mask.shape[1]), row.id)
    return image, resize_mask(mask, size)


_Result = tuple[NDArray[np.uint8], NDArray[np.bool_]] | str


def _decode(
    dataset: Dataset, size: tuple[int, int], progress: Progress | None
) -> Iterator[tuple[int, _Result]]:
    """(index, pair or reason) in the order of the table."""

    def load(row: Row) -> _Result:
        try:
            return _load(row, size)
        except LungsightError as error:
            return str(error)

    pool = ThreadPoolExecutor(_WORKERS)
    try:
        for index, result in enumerate(pool.map(load, dataset.rows)):
            yield index, result
            if progress is not None:
                progress(index + 1, len(dataset))
    finally:
        pool.shutdown(cancel_futures=True)


def _cache_name(dataset: Dataset, size: tuple[int, int]) -> str:
    times = hashlib.sha256()
    for row in dataset.rows:
        changed = [path.stat().st_mtime_ns if path.exists() else 0 for path in row.files()]
        times.update(f"{row.id}:{changed}\n".encode())
    return f"{dataset.fingerprint()}-{times.hexdigest()[:8]}-{size[0]}x{size[1]}-v{_FORMAT}"


def _fill_cache(dataset: Dataset, size: tuple[int, int], folder: Path, progress: Progress | None) -> None:
    temporary: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        kept: list[int] = []
        failures: list[tuple[str, str]] = []
        # Plain writes, not a memory map: on a full disk these fail with an error, a map ends the process.
        with ExitStack() as stack:
            images = stack.enter_context((temporary / "images.npy").open("wb"))
            masks = stack.enter_context((temporary / "masks.npy").open("wb"))
            _write_header(images, np.uint8, (len(dataset), *size))
            _write_header(masks, np.bool_, (len(dataset), *size))
            for index, result in _decode(dataset, size, progress):
                if isinstance(result, str):
                    failures.append((dataset.rows[index].id, result))
                    continue
                images.write(np.ascontiguousarray(result[0]).tobytes())
                masks.write(np.ascontiguousarray(result[1]).tobytes())
                kept.append(index)
            _check_any(kept, failures, dataset)
            _write_header(images, np.uint8, (len(kept), *size))
            _write_header(masks, np.bool_, (len(kept), *size))
        (temporary / "kept.json").write_text(json.dumps({"kept": kept, "failures": failures}))
        try:
            temporary.replace(folder)
        except OSError:
            # Another process has finished the same cache; without a finished one this is a real error.
            if not (folder / "kept.json").is_file():
                raise
    except OSError as error:
        raise OutputError(
            f"the image cache cannot be written: {(error.strerror or str(error)).lower()}",
            where=folder.parent,
            hint="Free some space or choose another folder",
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _write_header(handle: IO[bytes], dtype: type[np.generic], shape: tuple[int, int, int]) -> None:
    """Write the .npy header at the start; padded by NumPy, so that another count has the same length."""
    handle.seek(0)
    description = np.lib.format.dtype_to_descr(np.dtype(dtype))
    np.lib.format.write_array_header_1_0(
        handle, {"descr": description, "fortran_order": False, "shape": shape}
    )


def _read_cache(dataset: Dataset, folder: Path) -> Arrays:
    try:
        stored = json.loads((folder / "kept.json").read_text())
        images = np.load(folder / "images.npy", mmap_mode="r")
        masks = np.load(folder / "masks.npy", mmap_mode="r")
        os.utime(folder)
    except (OSError, ValueError) as error:
        raise DataError(
            f"the image cache is damaged: {error}", where=folder, hint="Delete this folder"
        ) from error
    return _arrays(dataset, images, masks, stored["kept"], stored["failures"])


def _arrays(
    dataset: Dataset,
    images: NDArray[np.uint8],
    masks: NDArray[np.bool_],
    kept: list[int],
    failures: list[tuple[str, str]],
) -> Arrays:
    rows = tuple(dataset.rows[index] for index in kept)
    has_mask = np.asarray([row.mask is not None for row in rows], bool)
    return Arrays(images, masks, has_mask, rows, tuple(kept), tuple((name, why) for name, why in failures))


def _check_any(kept: list[int], failures: list[tuple[str, str]], dataset: Dataset) -> None:
    if not kept:
        raise DataError(f"not one image can be read; the first: {failures[0][1]}", where=dataset.root)
