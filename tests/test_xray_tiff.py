"""TIFF and BigTIFF made byte by byte: what they store comes out, and what is not read is named."""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from lungsight.errors import InputError
from lungsight.xray.base import Limits, Pixels, XRay
from lungsight.xray.find import find_inputs
from lungsight.xray.raster import read_deep_grey, read_raster
from lungsight.xray.raster_checks import MAX_ENTRIES

LIMITS = Limits()
SHAPE = (18, 22)
FORMS = list(itertools.product("<>", (False, True)))
"""Byte order, and whether it is a BigTIFF."""


def tiff(
    pixels: bytes,
    form: tuple[str, bool],
    bits: int,
    *,
    shape: tuple[int, int] = SHAPE,
    kind: int = 1,
    samples: int = 1,
    **more: int,
) -> bytes:
    """One image in one strip (TIFF 6.0; BigTIFF as libtiff documents it).

    Args:
        kind: SampleFormat: 1 whole numbers, 2 signed ones, 3 floats.
        more: further tags, by number: `t274=6`.
    """
    (order, big), (height, width) = form, shape
    offset, slot = ("Q", 8) if big else ("I", 4)
    tags: dict[int, tuple[str, Sequence[int]]] = {
        256: ("I", [width]), 257: ("I", [height]), 258: ("H", [bits] * samples), 259: ("H", [1]),
        262: ("H", [1 if samples == 1 else 2]), 273: (offset, [0]), 277: ("H", [samples]), 278: ("I", [height]),
        279: (offset, [len(pixels)]), 339: ("H", [kind] * samples),
    }  # fmt: skip
    tags |= {int(name[1:]): ("H", [value]) for name, value in more.items()}
    start = 16 if big else 8
    after = start + (8 if big else 2) + (20 if big else 12) * len(tags) + slot
    # Three numbers of 16 bits do not fit into a slot of four bytes.
    far = {
        tag: values for tag, (letter, values) in tags.items() if struct.calcsize(letter) * len(values) > slot
    }
    places = {tag: after + 8 * index for index, tag in enumerate(far)}
    tags[273] = (offset, [after + 8 * len(far)])
    out = struct.pack(order + ("2sHHHQ" if big else "2sHI"), b"II" if order == "<" else b"MM",
                      *((43, 8, 0, 16) if big else (42, 8)))  # fmt: skip
    out += struct.pack(order + ("Q" if big else "H"), len(tags))
    for tag, (letter, values) in sorted(tags.items()):
        out += struct.pack(order + "HH" + offset, tag, {"H": 3, "I": 4, "Q": 16}[letter], len(values))
        held = struct.pack(order + letter * len(values), *values)
        out += struct.pack(order + offset, places[tag]) if tag in places else held.ljust(slot, b"\0")
    out += struct.pack(order + offset, 0)
    for values in far.values():
        out += struct.pack(order + "H" * len(values), *values).ljust(8, b"\0")
    return out + pixels


def packed(values: Pixels, bits: int) -> bytes:
    """Rows of numbers one behind the other, the highest bit first; each row begins at a byte."""
    lines = ["".join(f"{value:0{bits}b}" for value in row) for row in values.tolist()]
    return b"".join(int(line + "0" * (-len(line) % 8), 2).to_bytes(-(-len(line) // 8)) for line in lines)


def stretched(values: Pixels) -> Pixels:
    """From the 0.5th to the 99.5th percentile on [0, 1], as docs/dicom.md has it of more than 8 bits."""
    low, high = np.percentile(values.astype(np.float64), (0.5, 99.5))
    return np.clip((values.astype(np.float64) - low) / (high - low), 0, 1)


def read(data: bytes) -> XRay:
    return read_raster(data, "TIFF", "", LIMITS)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("white_is_low", [False, True])
def test_packed_grey(form: tuple[str, bool], bits: int, white_is_low: bool) -> None:
    values = np.random.default_rng(bits).integers(0, 2**bits, SHAPE)
    found = read(tiff(packed(values, bits), form, bits, t262=0 if white_is_low else 1))
    wanted = stretched(values)
    assert found.bits == bits
    assert np.abs(found.pixels - (1 - wanted if white_is_low else wanted)).max() < 1e-5


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["i1", "u2", "i2", "u4", "i4", "f4", "f8"])
@pytest.mark.parametrize("white_is_low", [False, True])
def test_grey_of_more_bits(form: tuple[str, bool], kind: str, white_is_low: bool) -> None:
    number, rng = np.dtype(kind), np.random.default_rng(7)
    if kind[0] == "f":
        values = (rng.random(SHAPE) - 0.5).astype(kind)
    else:
        values = rng.integers(np.iinfo(kind).min, np.iinfo(kind).max, SHAPE, dtype=kind)
    data = tiff(
        values.astype(number.newbyteorder(form[0])).tobytes(), form, 8 * number.itemsize,
        kind={"u": 1, "i": 2, "f": 3}[kind[0]], t262=0 if white_is_low else 1,
    )  # fmt: skip
    found, wanted = read(data), stretched(values)
    assert np.abs(found.pixels - (1 - wanted if white_is_low else wanted)).max() < 1e-5
    window = read_deep_grey(data, "TIFF", LIMITS)
    if number.itemsize != 2:
        assert window is None
    else:
        assert window is not None and np.array_equal(window.values, values)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compressed", [False, True])
def test_bigtiff_of_bytes_and_colours(order: str, compressed: bool) -> None:
    form, rng = (order, True), np.random.default_rng(3)
    pack = zlib.compress if compressed else bytes
    how = {"t259": 8 if compressed else 1}
    grey = rng.integers(0, 256, SHAPE, dtype=np.uint8)
    assert np.array_equal(read(tiff(pack(grey.tobytes()), form, 8, **how)).pixels, grey)
    assert np.array_equal(read(tiff(pack(grey.tobytes()), form, 8, t262=0, **how)).pixels, 255 - grey)
    colour = rng.integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
    luma = colour @ np.array([0.299, 0.587, 0.114])
    found = read(tiff(pack(colour.tobytes()), form, 8, samples=3, **how)).pixels.astype(float)
    assert np.abs(found - luma).max() <= 1
    wide = colour.astype(order + "u2") * 257
    found = read(tiff(pack(wide.tobytes()), form, 16, samples=3, **how)).pixels
    assert np.abs(found - stretched(luma)).max() < 1e-4


@pytest.mark.parametrize(("turn", "wanted"), [(3, 2), (6, -1), (8, 1)])
@pytest.mark.parametrize("form", FORMS)
def test_turned(form: tuple[str, bool], turn: int, wanted: int) -> None:
    values = np.random.default_rng(1).integers(0, 2**14, SHAPE)
    found = read(tiff(packed(values, 14), form, 14, t274=turn)).pixels
    assert np.abs(found - np.rot90(stretched(values), wanted)).max() < 1e-5


def test_floats_keep_small_steps_far_from_zero() -> None:
    values = 1e9 + np.random.default_rng(2).random(SHAPE)
    assert (
        np.abs(read(tiff(values.tobytes(), ("<", False), 64, kind=3)).pixels - stretched(values)).max() < 1e-5
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e300])
def test_floats_that_are_no_numbers(value: float) -> None:
    values = np.ones(SHAPE)
    values[3, 4] = value
    with pytest.raises(InputError, match="not numbers") as caught:
        read(tiff(values.tobytes(), ("<", False), 64, kind=3))
    assert caught.value.code == "not_numbers"


NOT_READ = {
    "floats of 16 bits": (16, {"kind": 3}),
    "whole numbers of 64 bits": (64, {}),
    "colours of 10 bits": (10, {"samples": 3}),
    "colours of floats": (32, {"kind": 3, "samples": 3, "t259": 32773}),
    "10 bits by LZMA": (10, {"t259": 34925}),
    "10 bits, lowest first": (10, {"t266": 2}),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NOT_READ)
def test_what_is_not_read_is_not_called_damaged(form: tuple[str, bool], name: str) -> None:
    bits, more = NOT_READ[name]
    with pytest.raises(InputError, match=r"^not supported: ") as caught:
        read(tiff(bytes(8 * 3 * SHAPE[0] * SHAPE[1]), form, bits, **more))
    assert caught.value.code == "unsupported"


@pytest.mark.parametrize("more", [{"t262": 3}, {"t254": 0, "samples": 2}, {"samples": 3, "t284": 2}])
def test_a_bigtiff_of_a_palette_or_with_transparency_or_by_plane(more: dict[str, int]) -> None:
    with pytest.raises(InputError, match=r"^not supported: "):
        read(tiff(bytes(3 * SHAPE[0] * SHAPE[1]), ("<", True), 8, **more))


@pytest.mark.parametrize("order", "<>")
def test_a_damaged_bigtiff(order: str) -> None:
    whole = tiff(bytes(range(256)) * 2, (order, True), 8)
    mark = b"II+\0" if order == "<" else b"MM\0+"
    for damaged in (
        whole[:12],  # no place of a directory
        whole[:40],
        whole[:-300],
        mark + struct.pack(order + "HHQ", 4, 0, 16) + whole[16:],  # offsets of four bytes
        mark + struct.pack(order + "HHQ", 8, 0, 2**63) + whole[16:],
        whole[:16] + struct.pack(order + "Q", MAX_ENTRIES + 1) + whole[24:],
        whole[:16] + struct.pack(order + "Q", 2**62) + whole[24:],
    ):
        with pytest.raises(InputError) as caught:
            read(damaged)
        assert caught.value.code == "damaged"


def test_a_bigtiff_whose_directory_follows_itself() -> None:
    whole = bytearray(tiff(bytes(18 * 22), ("<", True), 8))
    end = 24 + 20 * 10
    assert whole[end : end + 8] == bytes(8)
    whole[end : end + 8] = struct.pack("<Q", 16)
    with pytest.raises(InputError, match="damaged"):
        read(bytes(whole))


def test_too_large_by_its_header() -> None:
    with pytest.raises(InputError) as caught:
        read(tiff(b"", (">", True), 8, shape=(60_000, 60_000)))
    assert caught.value.code == "too_large"


def test_a_bigtiff_is_found_by_its_first_bytes(tmp_path: Path) -> None:
    for order in "<>":
        (tmp_path / f"x{ord(order)}").write_bytes(tiff(bytes(18 * 22), (order, True), 8))
    assert len(list(find_inputs([tmp_path]))) == 2
