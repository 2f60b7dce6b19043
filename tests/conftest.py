"""Fixtures that more than one test module uses."""

from __future__ import annotations

import html
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

# Several workers share the cores: a thread pool for each in every worker waits for the others more than it computes.
# Read when PyTorch and OpenMP are loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lungsight.dataset import Dataset

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


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 24 small drawn X-rays of 64 px, 6 of them COVID-19, from two hospitals; not to be changed."""
    from lungsight.phantom import write_phantoms

    folder = tmp_path_factory.mktemp("phantoms")
    write_phantoms(folder, count=24, seed=3, shortcut=0.5, size=64)
    return folder


@pytest.fixture(scope="session")
def two_hospitals(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """60 drawn X-rays of 128 px, half of the patients with COVID-19, mostly from one hospital; not to be changed."""
    from small_runs import phantoms

    return phantoms(tmp_path_factory.mktemp("two-hospitals"), 60, shortcut=0.5)


@pytest.fixture(scope="module")
def few_trees() -> Iterator[None]:
    """Small models without pixels, where a module asks for other metrics: they are half of an evaluation's time."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("REPEATS", 1), ("TREES", 3)):
            patch.setattr(f"lungsight.evaluation.no_pixels.{name}", value)
        yield


@pytest.fixture(scope="module")
def undrawn_charts() -> Iterator[None]:
    """Charts are composed, and only their titles are drawn: drawing all is half of a report's time.

    `test_report.py` and `test_evaluation.py` draw them.
    """

    def titles(figure: Figure) -> str:
        words = (axes.get_title(loc=place) for axes in figure.axes for place in ("left", "center"))
        return f"<svg><text>{html.escape('; '.join(filter(None, words)))}</text></svg>"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lungsight.report.charts.svg", titles)
        yield
