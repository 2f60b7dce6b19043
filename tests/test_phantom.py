"""Phantoms: exact masks, the planted shortcut, and a finding that lies in the lungs alone."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from lungsight.dataset import read_dataset
from lungsight.errors import DataError, OutputError
from lungsight.phantom import FINDINGS, Phantom, draw, write_phantoms


def phantom(seed: int, *, hospital: str = "south", finding: str = "normal", size: int = 128) -> Phantom:
    rng = np.random.default_rng(seed)
    return draw(rng, hospital=hospital, covid=finding == "COVID-19", finding=finding, size=size)


def grown(mask: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * by + 1, 2 * by + 1), np.uint8)) > 0


def test_equal_seeds_give_equal_pictures_and_others_do_not() -> None:
    first, again, other = phantom(3), phantom(3), phantom(4)
    assert np.array_equal(first.pixels, again.pixels)
    assert np.array_equal(first.mask, again.mask)
    assert first.body == again.body
    assert not np.array_equal(first.mask, other.mask)


@pytest.mark.parametrize("size", [64, 128, 200, 256, 512])
def test_every_size_shows_the_same_chest(size: int) -> None:
    drawn, reference = phantom(5, size=size), phantom(5, size=256)
    assert drawn.pixels.shape == drawn.mask.shape == (size, size)
    assert drawn.pixels.dtype == np.uint8 and drawn.mask.dtype == bool
    area = cv2.INTER_AREA if size < 256 else cv2.INTER_LINEAR
    resized = cv2.resize(reference.mask.astype(np.float32), (size, size), interpolation=area) >= 0.5
    assert (resized & drawn.mask).sum() / (resized | drawn.mask).sum() > 0.97
    grey = cv2.resize(reference.pixels, (size, size), interpolation=area)
    assert np.abs(grey.astype(int) - drawn.pixels).mean() < 8


@pytest.mark.parametrize("seed", range(12))
def test_masks_are_two_lungs_that_lie_within_the_picture(seed: int) -> None:
    drawn = phantom(seed)
    count, labels = cv2.connectedComponents(drawn.mask.astype(np.uint8))
    assert count == 3, "background and two lungs"
    assert not (drawn.right & drawn.left).any()
    assert len(np.unique(labels[drawn.right])) == len(np.unique(labels[drawn.left])) == 1
    columns = np.arange(drawn.mask.shape[1])
    assert (drawn.right.sum(0) @ columns) / drawn.right.sum() < (
        drawn.left.sum(0) @ columns
    ) / drawn.left.sum()
    assert 0.15 < drawn.mask.mean() < 0.6
    edge = np.ones_like(drawn.mask)
    edge[1:-1, 1:-1] = False
    assert not (drawn.mask & edge).any()


@pytest.mark.parametrize("hospital", ["north", "south"])
def test_lungs_are_darker_than_what_lies_between_them(hospital: str) -> None:
    for seed in range(8):
        drawn = phantom(seed, hospital=hospital)
        rows = np.flatnonzero(drawn.right.any(1) & drawn.left.any(1))
        low, high = rows[len(rows) // 4], rows[len(rows) // 2]
        between = [
            drawn.pixels[
                row, np.flatnonzero(drawn.right[row])[-1] + 2 : np.flatnonzero(drawn.left[row])[0] - 1
            ]
            for row in range(low, high)
        ]
        assert drawn.pixels[drawn.mask].mean() + 25 < np.concatenate(between).mean()


def test_the_outline_is_where_the_grey_changes() -> None:
    """The lateral border of the mask is the lung that was drawn: grey rises over a few pixels around it."""
    steps = []
    for seed in range(8):
        drawn = phantom(seed, size=256)
        rows = np.flatnonzero(drawn.right.any(1))
        for row in range(rows[len(rows) // 5], rows[len(rows) // 2]):
            border = np.flatnonzero(drawn.right[row])[0]
            line = drawn.pixels[row].astype(float)
            steps.append(line[border - 6 : border - 2].mean() - line[border + 8 : border + 12].mean())
    assert np.mean(steps) > 15


@pytest.mark.parametrize("finding", [name for name in FINDINGS if name != "normal"])
def test_a_finding_brightens_the_lungs_and_changes_nothing_else(finding: str) -> None:
    gains = []
    for seed in range(8):
        healthy, ill = phantom(seed), phantom(seed, finding=finding)
        assert np.array_equal(healthy.mask, ill.mask)
        change = ill.pixels.astype(int) - healthy.pixels
        gains.append(change[healthy.mask].mean())
        # Scatter carries a little of it across; letters and borders stay as they are.
        assert np.abs(change[~grown(healthy.mask, 4)]).mean() < 1.5
    assert min(gains) > 0.5
    assert np.mean(gains) > 4


def test_covid_is_patchy_peripheral_and_low() -> None:
    low = lateral = 0.0
    both = 0
    for seed in range(20):
        healthy, ill = phantom(seed), phantom(seed, finding="COVID-19")
        change = np.clip(ill.pixels.astype(float) - healthy.pixels, 0, None) * healthy.mask
        rows, columns = np.nonzero(healthy.mask)
        height = (np.arange(128)[:, None] - rows.min()) / np.ptp(rows)
        middle = columns.mean()
        out = np.abs(np.arange(128)[None, :] - middle) / (np.ptp(columns) / 2)
        low += ((change * height).sum() / change.sum() > height[rows, 0].mean()) / 20
        lateral += ((change * out).sum() / change.sum() > out[0, columns].mean()) / 20
        shares = np.array([change[healthy.right].sum(), change[healthy.left].sum()]) / change.sum()
        both += shares.min() > 0.1
    assert low > 0.6
    assert lateral > 0.7
    assert both >= 14


def test_hospitals_differ_outside_the_lungs_and_leave_them_free_of_letters() -> None:
    outside = []
    for seed in range(6):
        north, south = phantom(seed, hospital="north"), phantom(seed, hospital="south")
        assert np.array_equal(north.mask, south.mask), "the same chest"
        far = ~grown(north.mask, 3)
        outside.append(np.abs(north.pixels.astype(int) - south.pixels)[far].mean())
        # South's shutter leaves a black frame, north's film has no black.
        assert np.percentile(south.pixels, 0.5) < 8 < np.percentile(north.pixels, 0.5)
    assert min(outside) > 8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hospital": "east", "covid": False}, "no hospital"),
        ({"hospital": "north", "covid": True, "finding": "normal"}, "does not go with"),
        ({"hospital": "north", "covid": False, "finding": "gout"}, "does not go with"),
        ({"hospital": "north", "covid": False, "size": 20}, "too small"),
    ],
)
def test_draw_refuses_what_it_cannot_draw(settings: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        draw(np.random.default_rng(0), **settings)  # type: ignore[arg-type]


def test_write_phantoms_round_trip(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    written = write_phantoms(tmp_path, count=12, seed=8, size=96, progress=lambda *done: calls.append(done))
    assert calls == [(number, 12) for number in range(1, 13)]
    assert written.layout == "manifest" and len(written) == 12
    assert written.rows == read_dataset(tmp_path).rows
    with (tmp_path / "manifest.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["id"] for row in table] == [row.id for row in written]
    for row in written:
        pixels = cv2.imread(str(row.image), cv2.IMREAD_UNCHANGED)
        assert pixels.shape == (96, 96) and pixels.dtype == np.uint8
        assert row.mask is not None
        mask = row.mask.load()
        assert mask.shape == (96, 96) and 0.1 < mask.mean() < 0.65
        assert row.covid == (row.finding == "COVID-19")
        assert row.view in ("AP", "PA") and row.sex in ("F", "M") and row.age is not None
    assert (tmp_path / "masks" / f"{written.rows[0].id}.png").read_bytes()[24] == 1, "1 bit a pixel"
    assert not list(tmp_path.rglob(".*")), "no temporary files are left"


def test_the_first_images_do_not_depend_on_the_count(tmp_path: Path) -> None:
    few = write_phantoms(tmp_path / "few", count=5, seed=2, size=64)
    many = write_phantoms(tmp_path / "many", count=11, seed=2, size=64)
    for one, same in zip(few, many, strict=False):
        assert one.image.read_bytes() == same.image.read_bytes()
        assert (one.id, one.patient, one.finding, one.source) == (
            same.id,
            same.patient,
            same.finding,
            same.source,
        )


@pytest.fixture
def one_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every X-ray is the same one, where a test asks for the table alone."""
    drawn = phantom(0, size=64)
    monkeypatch.setattr("lungsight.phantom.collection.draw", lambda *_, **__: drawn)


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.usefixtures("one_picture")
def test_two_sets_are_never_mixed(tmp_path: Path) -> None:
    write_phantoms(tmp_path, count=3, seed=4, size=64)
    before = names(tmp_path)
    for others in ({"seed": 5, "count": 3}, {"seed": 4, "count": 2}):
        with pytest.raises(OutputError, match="of another data set") as caught:
            write_phantoms(tmp_path, size=64, **others)
        assert "--overwrite" in str(caught.value)
        assert names(tmp_path) == before
    (tmp_path / "images" / ".half.tmp").write_bytes(b"")  # as a killed run may leave it
    write_phantoms(tmp_path, count=4, seed=4, size=64)  # the same set, and one image more
    assert len(names(tmp_path)) == 2 * 4 + 2
    write_phantoms(tmp_path, count=2, seed=5, size=64, overwrite=True)
    assert [name for name in names(tmp_path) if name.endswith(".png")] == [
        f"{part}/phantom-5-0000{number}.png" for part in ("images", "masks") for number in (0, 1)
    ]


@pytest.mark.usefixtures("one_picture")
@pytest.mark.parametrize("name", ["images/patient.png", "masks/phantom.png", "manifest.csv"])
def test_what_is_no_phantom_is_not_removed(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(OutputError, match="of another data set"):
        write_phantoms(tmp_path, count=2, seed=5, size=64, overwrite=True)
    assert (tmp_path / name).read_bytes() == b"mine" and names(tmp_path) == [name]


@pytest.mark.usefixtures("one_picture")
def test_patients_keep_their_body_hospital_and_finding(tmp_path: Path) -> None:
    drawn = write_phantoms(tmp_path, count=60, seed=4, size=64)
    by_patient: dict[str, set[tuple[object, ...]]] = {}
    for row in drawn:
        by_patient.setdefault(row.patient, set()).add((row.source, row.finding, row.sex, row.age))
    assert all(len(facts) == 1 for facts in by_patient.values())
    visits = Counter(row.patient for row in drawn)
    assert set(visits.values()) == {1, 2, 3}


@pytest.mark.usefixtures("one_picture")
@pytest.mark.parametrize(
    ("shortcut", "expected"),
    [(1.0, {True: 1.0, False: 0.0}), (0.0, {True: 0.5, False: 0.5}), (0.5, {True: 0.75, False: 0.25})],
)
def test_shortcut_sets_how_far_the_hospital_gives_the_class_away(
    tmp_path: Path, shortcut: float, expected: dict[bool, float]
) -> None:
    drawn = write_phantoms(tmp_path, count=120, seed=6, size=64, shortcut=shortcut)
    patients = {row.patient: (bool(row.covid), row.source) for row in drawn}
    assert np.mean([covid for covid, _ in patients.values()]) == pytest.approx(0.3, abs=0.02)
    for covid, share in expected.items():
        sources = [source for ill, source in patients.values() if ill == covid]
        north = np.mean([source == "north" for source in sources])
        assert north == pytest.approx(share, abs=0.0 if share in (0, 1) else 1.01 / len(sources))


@pytest.mark.parametrize(
    "settings", [{"count": 0}, {"seed": -1}, {"shortcut": 1.5}, {"covid_share": -0.1}, {"size": 10}]
)
def test_write_phantoms_refuses_what_it_cannot_draw(tmp_path: Path, settings: dict[str, object]) -> None:
    with pytest.raises(DataError):
        write_phantoms(tmp_path, **({"count": 2, "seed": 0} | settings))  # type: ignore[arg-type]
