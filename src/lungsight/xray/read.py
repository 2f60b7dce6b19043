"""`read_xray`: bytes, a path or an array in, an `XRay` out."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsight.errors import InputError, PassedOverError
from lungsight.wording import XRayNote
from lungsight.xray.base import Limits, Pixels, XRay, luma, rescale_intensity
from lungsight.xray.pool import shared_pool
from lungsight.xray.sniff import IMAGE_SUFFIXES


def read_xray(
    source: str | Path | bytes | NDArray[Any], *, limits: Limits | None = None, name: str | None = None
) -> XRay:
    """Read one X-ray. The format is told by the content, never by the name.

    A file is decoded in a process of its own kind (see `lungsight.xray.pool`), which bounds its time and memory.

    Args:
        source: a path, the bytes of a file, or an array: (H, W) or (H, W, 3 or 4) `uint8`, (H, W) `uint16`
            (stretched to its range) or (H, W) floats in [0, 1].
        limits: how large a file is accepted; `Limits()` where None.
        name: what messages call it; the path where None.

    Raises:
        PassedOverError: it holds no image.
        RefusedError: an image, but by its header no projection radiograph.
        InputError: missing, unreadable, damaged, not supported, too large, too small or not one image.
    """
    limits = limits or Limits()
    if isinstance(source, np.ndarray):
        return _from_array(source, name or "array", limits)
    if isinstance(source, bytes | bytearray | memoryview):
        name = name or "bytes"
        limits.check_bytes(len(source), name)
        data = bytes(source)
    elif isinstance(source, str | os.PathLike):
        name = name or str(source)
        data = read_bytes(Path(source), name, limits)
    else:
        raise InputError(
            f"an X-ray cannot be a {type(source).__name__}", where=name, hint="Give a path, bytes or an array"
        )
    try:
        return shared_pool().decode(data, name, limits)
    except PassedOverError as error:
        if error.code == "other_kind" and Path(name).suffix.lower() in IMAGE_SUFFIXES:
            # By its name it should have been an image.
            raise InputError(error.message, code=error.code, where=name, hint=error.hint) from None
        raise


def read_bytes(path: Path, name: str, limits: Limits) -> bytes:
    """The bytes of a file.

    Raises:
        InputError: missing, unreadable, empty, too large, or no ordinary file.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise InputError("is a folder, not an X-ray", where=name)
        if not stat.S_ISREG(status.st_mode):  # a pipe or device could block or never end
            raise InputError("is not an ordinary file", where=name)
        limits.check_bytes(status.st_size, name)
        with path.open("rb") as file:
            data = file.read(limits.max_bytes + 1)
    except FileNotFoundError as error:
        raise InputError("there is no such file", code="missing", where=name) from error
    except PermissionError as error:
        raise InputError("may not be read: permission denied", where=name) from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise InputError(
            f"cannot be read: {getattr(error, 'strerror', None) or 'its name has a zero byte'}", where=name
        ) from error
    limits.check_bytes(len(data), name)
    return data


def _from_array(array: NDArray[Any], name: str, limits: Limits) -> XRay:
    colour = array.ndim == 3 and array.shape[2] in (3, 4)
    if array.ndim != 2 and not colour:
        raise InputError(f"an array of shape {array.shape} is not an X-ray", where=name, hint="Give (H, W)")
    limits.check_size(array.shape[0], array.shape[1], name)
    notes: tuple[XRayNote, ...] = ()
    pixels: Pixels
    if colour and array.dtype == np.uint8:
        pixels, notes = luma(np.ascontiguousarray(array, np.uint8))
    elif not colour and array.dtype == np.uint8:
        pixels = np.array(array, np.uint8, order="C")
    elif not colour and array.dtype == np.uint16:
        pixels, notes = rescale_intensity(array), (XRayNote.RESCALED,)
    elif not colour and array.dtype.kind == "f":
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise InputError(
                "grey values of floats must lie in [0, 1]", where=name, hint="Scale them, or give uint8"
            )
        pixels = np.array(array, np.float32, order="C")
    else:
        raise InputError(
            f"an array of {array.dtype} and shape {array.shape} is not read",
            where=name,
            hint="Give uint8, uint16 or floats in [0, 1] as (H, W), or uint8 as (H, W, 3)",
        )
    return XRay(pixels, name, "array", array.dtype.itemsize * 8, notes=notes)
