"""From whatever a caller holds to an X-ray that is ready for the networks."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lungsight.errors import InputError, LungsightError
from lungsight.inference.polarity import UNDO, negative, polarity
from lungsight.inference.result import Failure, Result
from lungsight.preprocess import Gray, resize_image, to_unit
from lungsight.xray import Limits, XRay, read_xray


@runtime_checkable
class BinaryFile(Protocol):
    """An open file, in binary mode."""

    def read(self, size: int = -1, /) -> bytes: ...


Source = str | os.PathLike[str] | bytes | bytearray | memoryview | NDArray[Any] | XRay | BinaryFile | Any
"""A path, the bytes of a file, a file that is open, an array, a PIL image, a tensor, or an X-ray that was read.

Arrays and tensors: (H, W), (1, H, W) or (H, W, 1) of `uint8`, of whole numbers of any other width and byte order
(stretched to their range) or of floats in [0, 1]; (H, W, 3), (H, W, 4) or (3, H, W) of `uint8` colours.
"""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A file whose bytes came up before in this run: no network is asked again."""

    name: str
    sha256: str


class Sizes:
    """One image at several sizes. Each size is made once, from a size made before where that is the same.

    Area averaging to 256 x 256 and from there to 128 x 128 gives what averaging to 128 x 128 gives, but for
    rounding to whole grey levels on the way (at most one of 255); it costs a hundredth.
    """

    def __init__(self, pixels: Gray) -> None:
        self._pixels = pixels
        self._made: dict[tuple[int, int], Gray] = {}

    def at(self, size: tuple[int, int]) -> Gray:
        """(h, w) grey, of the type of the image."""
        size = (int(size[0]), int(size[1]))
        if size not in self._made:
            self._made[size] = resize_image(self._base(size), size)
        return self._made[size]

    def _base(self, size: tuple[int, int]) -> Gray:
        shape = self._pixels.shape
        fitting = [
            made
            for made in self._made
            if all(
                whole >= have >= want and have % want == 0
                for whole, have, want in zip(shape, made, size, strict=True)
            )
        ]
        return self._made[min(fitting, key=lambda made: made[0] * made[1])] if fitting else self._pixels


@dataclass(slots=True)
class Item:
    """One X-ray on its way through the networks."""

    xray: XRay
    sizes: Sizes
    small: NDArray[np.float32]
    """(h, w) in [0, 1], for the lung network."""
    gate: NDArray[np.float32] | None
    """(h, w) in [0, 1], for the gate."""
    seconds: float
    sha256: str = ""
    as_read: XRay | None = None
    """The X-ray before black and white were exchanged; None where they were not."""

    def shown(self, *, frontal: bool) -> XRay:
        """The X-ray as a result has it. Grey levels that were exchanged are kept for chest X-rays alone: a page of text
        looks inverted too."""
        return self.xray if frontal or self.as_read is None else self.as_read


def name_of(source: Source) -> str:
    """What a source is called where nobody gave it a name."""
    if isinstance(source, XRay):
        return source.name
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return "bytes"
    given = getattr(source, "name", None) or getattr(source, "filename", None)
    return str(given) if isinstance(given, str | os.PathLike) and str(given) else "array"


def read_item(
    source: Source,
    lungs: tuple[int, int],
    gate: tuple[int, int] | None,
    *,
    diagnosis: tuple[int, int] | None = None,
    name: str | None = None,
    limits: Limits | None = None,
    claim: Callable[[str], bool] | None = None,
) -> Item | Duplicate | Failure:
    """Read a source and make it as small as the networks take it; inverted grey levels are undone and noted.

    Args:
        source: see `Source`.
        lungs: (h, w) of the lung network's input.
        gate: of the gate's, where there is one.
        diagnosis: of what the diagnosis network's input is cut from.
        name: what the result and messages call it.
        limits: how large a file is accepted.
        claim: asked for the SHA-256 of a file's bytes before they are decoded; where it says no, they came up before.

    Returns:
        The X-ray; a `Duplicate` or, where there is a digest, a `Failure`.

    Raises:
        InputError: it cannot be read, and there is no digest.
    """
    start = time.perf_counter()
    name = name or name_of(source)
    limits = limits or Limits()
    digest = ""
    if not isinstance(source, XRay):
        readable = to_readable(source, name, limits)
        if claim is not None and not isinstance(readable, np.ndarray):
            readable = _bytes_of(readable, name, limits)
            digest = hashlib.sha256(readable).hexdigest()
            if not claim(digest):
                return Duplicate(name, digest)
        try:
            source = read_xray(readable, name=name, limits=limits)
        except LungsightError as error:
            if not digest:
                raise
            return Failure(name, error, time.perf_counter() - start, digest)
    sizes = Sizes(source.pixels)
    small = to_unit(sizes.at(lungs))
    as_read = None
    if polarity(small) < UNDO:
        as_read, source = source, negative(source)
        sizes = Sizes(source.pixels)
        small = to_unit(sizes.at(lungs))
    if diagnosis is not None:
        sizes.at(diagnosis)
    for_gate = to_unit(sizes.at(gate)) if gate else None
    return Item(source, sizes, small, for_gate, time.perf_counter() - start, digest, as_read)


def to_readable(source: Source, name: str, limits: Limits) -> str | Path | bytes | NDArray[Any]:
    """A source as `read_xray` takes it: a path, bytes, or an array that it knows.

    Raises:
        InputError: it is none that can be an X-ray.
    """
    if isinstance(source, str | os.PathLike):
        return Path(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, np.ndarray):
        return _plain_array(source, name)
    if hasattr(source, "detach") and hasattr(source, "cpu"):
        return _plain_array(_of_tensor(source), name)
    if _is_pil(source):
        return _plain_array(_of_pil(source), name)
    if hasattr(source, "read"):
        data = source.read(limits.max_bytes + 1)
        if not isinstance(data, bytes | bytearray):
            raise InputError("the file is open as text", where=name, hint="Open it with mode 'rb'")
        return bytes(data)
    if isinstance(source, list | tuple):
        raise InputError("several X-rays are given where one is taken", where=name, hint="Use model.predict")
    if hasattr(source, "__array__"):
        return _plain_array(np.asarray(source), name)
    raise InputError(
        f"an X-ray cannot be a {type(source).__name__}",
        where=name,
        hint="Give a path, bytes, an open file, an array, a tensor or a PIL image",
    )


def split_sources(sources: Any) -> Iterator[Source]:
    """The X-rays in what a caller means by several: a list or other iterable, one alone, or an array of (N, H, W),
    (N, 1, H, W) or (N, H, W, 1)."""
    if isinstance(sources, str | os.PathLike | bytes | bytearray | memoryview | XRay) or _is_pil(sources):
        yield sources
        return
    shape = getattr(sources, "shape", None)
    if shape is not None and hasattr(sources, "dtype"):
        if len(shape) <= 2 or (len(shape) == 3 and shape[2] in (3, 4) and shape[0] not in (1, 3, 4)):
            yield sources
            return
    elif hasattr(sources, "read"):
        yield sources
        return
    yield from sources


def untagged(
    tagged: Generator[tuple[Result | Failure | Duplicate, None], None, None],
) -> Generator[Result | Failure, None, None]:
    """Results without their tags, where no digest is claimed."""
    with closing(tagged):
        for one, _ in tagged:
            if not isinstance(one, Duplicate):  # none come without a claim
                yield one


def stack(images: Sequence[NDArray[np.float32]], channels: int) -> NDArray[np.float32]:
    """(h, w) images as (N, channels, h, w), each channel the same."""
    return np.repeat(np.stack(images)[:, None], channels, axis=1)


def _is_pil(source: Any) -> bool:
    return isinstance(getattr(source, "mode", None), str) and hasattr(source, "convert")


def _bytes_of(readable: str | Path | bytes, name: str, limits: Limits) -> bytes:
    from lungsight.xray.read import read_bytes

    return readable if isinstance(readable, bytes) else read_bytes(Path(readable), name, limits)


def _plain_array(array: NDArray[Any], name: str) -> NDArray[Any]:
    """(H, W) or (H, W, 3 or 4), in the machine's byte order, of a type that `read_xray` knows."""
    if isinstance(array, np.ma.MaskedArray):
        array = array.filled(0)
    while array.ndim > 2 and 1 in (array.shape[0], array.shape[-1]):
        array = array[0] if array.shape[0] == 1 else array[..., 0]
    if array.ndim == 3 and array.shape[0] in (3, 4) and array.shape[2] not in (3, 4):
        array = np.moveaxis(array, 0, 2)
    if array.dtype.byteorder == ">" or (array.dtype.byteorder == "<" and not array.dtype.isnative):
        array = array.astype(array.dtype.newbyteorder("="))
    if array.ndim == 3 and array.dtype.kind == "f" and (array == array[..., :1]).all():
        array = array[..., 0]  # the grey image three times, as many networks take it
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if (
        array.dtype.kind in "iu"
        and array.dtype not in (np.uint8, np.uint16)
        and array.ndim == 2
        and array.size
    ):
        low, high = int(array.min()), int(array.max())
        if high - low > 65535:
            return ((array.astype(np.float64) - low) / (high - low) * 65535).astype(np.uint16)
        # It is stretched to its range, so that a shift says nothing.
        wide = array.astype(np.int64 if array.dtype.kind == "i" else np.uint64)
        return (wide - wide.dtype.type(low)).astype(np.uint16)
    return array


def _of_tensor(tensor: Any) -> NDArray[Any]:
    values = tensor.detach().cpu()
    try:
        return np.asarray(values.numpy())
    except TypeError:  # bfloat16 has no NumPy type
        return np.asarray(values.float().numpy())


def _of_pil(image: Any) -> NDArray[Any]:
    if image.mode in ("1", "P", "LA", "La", "PA", "CMYK", "YCbCr", "LAB", "HSV", "RGBa", "RGBX"):
        alpha = image.mode in ("LA", "La", "PA", "RGBa") or "transparency" in image.info
        image = image.convert("L" if image.mode == "1" else "RGBA" if alpha else "RGB")
    values = np.asarray(image)
    if image.mode == "F" and values.size and not (values.min() >= 0 and values.max() <= 1):
        from lungsight.xray.base import rescale_intensity

        return rescale_intensity(np.nan_to_num(values))
    return values
