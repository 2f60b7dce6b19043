"""Inverted grey levels: undone where that is sure, else flagged and not scored."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest

from lungsight.inference import lung_masks as lungs
from lungsight.inference import plausibility
from lungsight.inference.polarity import SCALE, TEMPLATE, polarity
from lungsight.inference.reader import Item, read_item
from lungsight.inference.view_gate import judge
from lungsight.phantom import draw
from lungsight.preprocess import resize_image
from lungsight.wording import Flag, Reason, XRayNote
from lungsight.xray import XRay
from lungsight.xray.dicom_values import StoredValues


@cache
def chest() -> np.ndarray:
    """(128, 128) uint8, drawn."""
    return np.asarray(draw(np.random.default_rng(5), hospital="north", covid=False, size=128).pixels)


def test_polarity_is_a_template_times_a_standardised_image() -> None:
    rng = np.random.default_rng(0)
    image = rng.random((16, 16)).astype(np.float32)
    wanted = sum(
        (float(image[row, column]) - float(image.mean()))
        * float(TEMPLATE[row, min(column, 15 - column)])
        / float(image.std())
        / SCALE
        for row in range(16)
        for column in range(16)
    )
    assert polarity(image) == pytest.approx(wanted, rel=1e-4)
    assert polarity(1 - image) == pytest.approx(-wanted, rel=1e-4)
    assert polarity(image[:, ::-1].copy()) == pytest.approx(wanted, rel=1e-4)
    assert polarity(0.2 * image + 0.3) == pytest.approx(wanted, rel=1e-3)
    assert polarity(np.full((64, 64), 0.3, np.float32)) == 0
    assert polarity(np.full((64, 64), np.nan, np.float32)) == 0


def _given_to_networks(xray: np.ndarray) -> Item:
    item = read_item(xray, (64, 64), None)
    assert isinstance(item, Item)
    return item


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_a_clear_inversion_is_undone_and_noted(kind: type) -> None:
    xray = chest()
    upright = xray if kind is np.uint8 else (xray / 255).astype(np.float32)
    inverted = np.asarray((255 if kind is np.uint8 else 1) - upright, kind)
    item = _given_to_networks(inverted)
    assert item.xray.pixels.dtype == kind and np.allclose(item.xray.pixels, upright, atol=1e-6)
    assert item.xray.notes[-1:] == (XRayNote.INVERSION_UNDONE,)
    small = resize_image(upright.astype(np.float32) / (255 if kind is np.uint8 else 1), (64, 64))
    assert np.allclose(item.small, small, atol=1 / 255)
    # What turns out to be no chest X-ray is shown as it came.
    assert item.shown(frontal=True) is item.xray
    assert np.array_equal(item.shown(frontal=False).pixels, inverted)
    kept = _given_to_networks(upright)
    assert np.array_equal(kept.xray.pixels, upright) and not kept.xray.notes
    assert kept.shown(frontal=False) is kept.xray


def test_a_doubtful_inversion_is_flagged_not_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the limit for undoing and 0 the pixels stay, and the flag stops the score."""
    xray = chest()
    inverted = np.asarray(255 - xray, np.uint8)
    monkeypatch.setattr("lungsight.inference.reader.UNDO", -99)
    item = _given_to_networks(inverted)
    assert np.array_equal(item.xray.pixels, inverted) and not item.xray.notes
    found = lungs.find(np.zeros((64, 64), np.float32), 0.5)
    two = np.zeros((64, 64), np.float32)
    two[14:50, 10:26] = two[14:50, 38:54] = 1
    flags = plausibility.check(lungs.find(two, 0.5), item.small)
    assert Flag.INVERTED in flags
    assert Reason.INVERTED in judge(item.xray, item.small, None, None, flags).reasons
    assert Flag.INVERTED not in plausibility.check(
        found, item.small
    )  # where no lungs are that is what is said


@pytest.mark.parametrize("stored", [False, True])
def test_a_viewer_of_the_file_s_own_values_shows_them_undone(stored: bool) -> None:
    pytest.importorskip("fastapi")
    from lungsight.server.answers import _grey

    values = StoredValues(np.arange(16, dtype=np.uint16).reshape(4, 4), 1.0, 0.0, 8.0, 16.0, stored)
    for notes, wanted in (((), stored), ((XRayNote.INVERSION_UNDONE,), not stored)):
        xray = XRay(np.zeros((4, 4), np.float32), "a", "DICOM", 12, notes=notes)
        found = _grey(SimpleNamespace(xray=xray), values)  # type: ignore[arg-type]
        assert (found.inverted, found.center, found.window) == (wanted, 8.0, 16.0)
