"""One code for every spelling of a projection."""

from __future__ import annotations

import pytest

from lungsight.wording import View
from lungsight.xray.views import is_frontal, view_code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("PA", "PA"),
        ("pa", "PA"),
        (" Postero-Anterior ", "PA"),
        ("vp-pa", "PA"),
        ("AP", "AP"),
        ("AP portable", "AP"),
        ("AP Supine", "AP_supine"),
        ("AP_Supine", "AP_supine"),
        ("AP_horizontal", "AP_supine"),
        ("AP erect", "AP_erect"),
        ("AP semi erect", "AP_erect"),
        ("AP semi-erect", "AP_erect"),
        ("AP_supine", "AP_supine"),
        ("L", "lateral"),
        ("LL", "lateral"),
        ("RL", "lateral"),
        ("LATERAL", "lateral"),
        ("left lateral", "lateral"),
        ("AP LLD", "decubitus"),
        ("PA LLD", "decubitus"),
        ("AP left lateral decubitus", "decubitus"),
        ("LAO", "oblique"),
        ("Axial", "axial"),
        ("Coronal", "coronal"),
        ("Frontal", "frontal"),
        ("COSTAL", "other"),
        ("AP PA", "other"),
    ],
)
def test_spellings(text: str, code: str) -> None:
    assert view_code(text) == code


@pytest.mark.parametrize("text", ["", "  ", "Unknown", "nan", "N/A", "None"])
def test_nothing_said(text: str) -> None:
    assert view_code(text) is None


def test_a_code_is_its_own_spelling() -> None:
    for view in View:
        assert view_code(view) == view


def test_frontal() -> None:
    frontal = [view for view in View if is_frontal(view)]
    assert frontal == [View.PA, View.AP, View.AP_SUPINE, View.AP_ERECT, View.FRONTAL]
    assert is_frontal("")
