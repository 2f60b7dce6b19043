"""Grey values with all their bits and the file's window, for a viewer; expected values by hand."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from pydicom.dataset import Dataset

from lungsight.errors import InputError
from lungsight.xray import Limits, read_xray
from lungsight.xray.dicom_values import StoredValues
from lungsight.xray.pool import shared_pool
from server_process import dicom, png
from xray_files import encode

TWELVE = {"BitsStored": 12, "HighBit": 11}


def deep() -> np.ndarray:
    """(40, 50) of 100 to 4,000."""
    return (100 + np.arange(2000).reshape(40, 50) * 1.95).astype(np.uint16)


def values(data: bytes) -> StoredValues:
    found = shared_pool().values(data, "", Limits())
    assert found is not None
    return found


def real(found: StoredValues) -> np.ndarray:
    return found.slope * found.values + found.intercept


def shown(found: StoredValues) -> np.ndarray:
    """As a viewer shows it at first."""
    grey = np.clip((real(found) - found.center) / (found.span * found.width) + 0.5, 0, 1)
    if found.curve is not None:
        grey = np.interp(grey, np.linspace(0, 1, len(found.curve)), found.curve)
    return 1 - grey if found.inverted else grey


def test_stored_values_and_the_files_window_come_back() -> None:
    data = dicom(deep(), **TWELVE, WindowCenter=1000, WindowWidth=801)
    found = values(data)
    assert np.array_equal(real(found), deep())
    assert (found.center, found.width, found.inverted) == (999.5, 800, False)
    assert np.abs(shown(found) - read_xray(data).pixels).max() < 1e-6


def test_rescale_and_inversion_are_kept() -> None:
    data = dicom(
        deep(), **TWELVE, WindowCenter=0, WindowWidth=1001, RescaleSlope=0.5, RescaleIntercept=-1024,
        PhotometricInterpretation="MONOCHROME1",
    )  # fmt: skip
    found = values(data)
    assert real(found) == pytest.approx(deep() * 0.5 - 1024, abs=0.02) and found.inverted
    assert np.abs(shown(found) - read_xray(data).pixels).max() < 1e-4


def test_without_a_window_it_is_what_is_shown_anyway() -> None:
    data = dicom(deep(), **TWELVE)
    found = values(data)
    assert np.array_equal(real(found), deep())
    assert np.abs(shown(found) - read_xray(data).pixels).max() < 1e-3


def test_padding_is_black() -> None:
    pixels = deep()
    pixels[:3] = 4095
    found = values(dicom(pixels, **TWELVE, PixelPaddingValue=4095, WindowCenter=1000, WindowWidth=801))
    assert (shown(found)[:3] == 0).all() and real(found).max() < 4095


def test_a_sigmoid_is_a_window_with_a_curve() -> None:
    data = dicom(deep(), **TWELVE, WindowCenter=1000, WindowWidth=800, VOILUTFunction="SIGMOID")
    found = values(data)
    assert np.array_equal(real(found), deep())
    assert (found.center, found.width) == (1000, 800)
    expected = 1 / (1 + np.exp(-4 * (deep() - 1000.0) / 800))
    assert np.abs(shown(found) - expected).max() < 1e-3
    assert np.abs(read_xray(data).pixels - expected).max() < 1e-6


@pytest.mark.parametrize(("entries", "inverted"), [(1000, False), (4000, True), (65536, False)])
def test_a_voi_lut_is_a_window_with_a_curve(entries: int, inverted: bool) -> None:
    """A table of squares from 500 on: what lies outside gets its ends."""
    item = Dataset()
    item.LUTDescriptor = [entries % 65536, 500, 16]
    steps = np.linspace(0, 1, entries)
    item.LUTData = np.rint(steps**2 * 60000).astype("<u2").tobytes()
    turned = {"PhotometricInterpretation": "MONOCHROME1"} if inverted else {}
    data = dicom(deep(), **TWELVE, VOILUTSequence=[item], **turned)
    found = values(data)
    assert np.array_equal(real(found), deep())
    assert (found.center, found.width) == (500 + (entries - 1) / 2, entries - 1)
    expected = np.clip((deep() - 500.0) / (entries - 1), 0, 1) ** 2
    expected = 1 - expected if inverted else expected
    assert np.abs(shown(found) - expected).max() < 1e-4
    assert np.abs(read_xray(data).pixels - expected).max() < 1e-4


def test_where_no_window_says_it_there_is_nothing() -> None:
    pool = shared_pool()
    assert pool.values(dicom(), "", Limits()) is None  # 8 bits as they are
    assert pool.values(png(), "", Limits()) is None
    with pytest.raises(InputError):
        pool.values(encode(np.zeros((40, 50), np.uint8), "JPEG"), "", Limits())


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_grey_bits_of_a_picture_come_back(kind: str) -> None:
    """Shown at first as the networks see it: from the 0.5th to the 99.5th percentile of 100 to 3,998."""
    data = encode(deep(), kind)
    found = values(data)
    assert np.array_equal(real(found), deep())
    low, high = np.percentile(deep(), (0.5, 99.5))
    assert (found.center, found.width) == pytest.approx(((low + high) / 2, high - low))
    assert np.abs(shown(found) - read_xray(data).pixels).max() < 1e-6
    flat = values(encode(np.full((40, 50), 700, np.uint16), kind))
    assert np.array_equal(real(flat), np.full((40, 50), 700)) and flat.width > 0


@pytest.mark.parametrize("case", ["short", "length", "window", "large", "curve", "points"])
def test_senseless_answers_of_a_process_are_refused(case: str) -> None:
    head = struct.pack("<IIdddd?dI", 2, 3, 1.0, 0.0, 1.0, 2.0, False, 1.0, 0)
    data, limits = head + bytes(12), Limits()
    assert StoredValues.unpack(data, limits).values.shape == (2, 3)
    if case == "short":
        data = data[:10]
    elif case == "length":
        data = data[:-1]
    elif case == "window":
        data = struct.pack("<IIdddd?dI", 2, 3, 1.0, 0.0, float("nan"), 2.0, False, 1.0, 0) + bytes(12)
    elif case == "curve":
        curve = struct.pack("<ff", 0.0, float("nan"))
        data = struct.pack("<IIdddd?dI", 2, 3, 1.0, 0.0, 1.0, 2.0, False, 1.0, 2) + curve + bytes(12)
    elif case == "points":
        data = struct.pack("<IIdddd?dI", 2, 3, 1.0, 0.0, 1.0, 2.0, False, 1.0, 2**31) + bytes(12)
    else:
        limits = Limits(max_pixels=5)
    with pytest.raises(ValueError):
        StoredValues.unpack(data, limits)
