"""Fixtures that more than one test module uses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def _data(name: str) -> Path:
    for base in (os.environ.get("LUNGSIGHT_DATA"), ROOT.parent / "shared" / "data"):
        if base and (Path(base) / name).is_dir():
            return Path(base) / name
    pytest.skip(f"the real images are absent ({name}): set LUNGSIGHT_DATA to the folder that holds them")


@pytest.fixture(scope="session")
def v7_manifest() -> Path:
    """The V7 set at 224 px with its manifest."""
    return _data("v7-cxr-224")


@pytest.fixture(scope="session")
def darwin_sample() -> Path:
    """A Darwin export with 29 images at native size."""
    return _data("darwin-export-sample")
