"""Copies of a film are found under what hides them; other films are not."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray
from PIL import Image

from lungsight.dataset import read_dataset
from lungsight.dataset.split import clusters
from lungsight.duplicates import find_duplicates, finder, groups, in_datasets, keep_together, prepare
from lungsight.duplicates.finder import Match
from lungsight.phantom import draw

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def films() -> list[Pixels]:
    """Eight drawn chests of 160 pixels with the fine structure that a real film has."""
    drawn = []
    for seed in range(8):
        rng = np.random.default_rng((9, seed))
        chest = draw(rng, hospital="north", covid=seed % 2 == 0, size=160).pixels.astype(np.float32)
        grain = cv2.GaussianBlur(rng.normal(size=(160, 160)).astype(np.float32), (0, 0), 2)
        drawn.append(np.clip(chest * 0.8 + 20 + 60 * grain, 0, 255).astype(np.uint8))
    return drawn


def turned(image: Pixels) -> Pixels:
    height, width = image.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 2, 1)
    return np.asarray(cv2.warpAffine(image, matrix, (width, height)), np.uint8)


def written(image: Pixels) -> Pixels:
    out = image.copy()
    cv2.putText(out, "PORTABLE L", (10, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 255, 2)
    cv2.arrowedLine(out, (120, 120), (70, 90), 0, 3)
    return out


def painted(image: Pixels) -> Pixels:
    out = image.copy()
    out[:, :19], out[:, -19:] = 255, 255
    return out


def at_once(image: Pixels) -> Pixels:
    return written(cv2.createCLAHE(3.0, (8, 8)).apply(turned(np.ascontiguousarray(image[3:-3, -4:2:-1]))))


CHANGES = {
    "crop": lambda image: image[3:-3, 3:-3],
    "a wide crop": lambda image: image[16:-8, 8:-16],
    "rotation": turned,
    "CLAHE": lambda image: cv2.createCLAHE(3.0, (8, 8)).apply(image),
    "equalisation": cv2.equalizeHist,
    "mirror": lambda image: image[:, ::-1],
    "inversion": lambda image: 255 - image,
    "bars": lambda image: np.pad(image, ((12, 12), (0, 30))),
    "bars within bars": lambda image: np.pad(
        np.pad(image, ((12, 12), (0, 30))), 9, constant_values=(255, 255)
    ),
    "bars painted over": painted,
    "writing": written,
    "five changes at once": at_once,
    "another size": lambda image: np.repeat(np.repeat(image, 2, 0), 3, 1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_and_nothing_else(films: list[Pixels], change: str) -> None:
    copy = np.ascontiguousarray(CHANGES[change](films[3]))
    found = find_duplicates([*films, copy])
    assert [(match.first, match.second) for match in found] == [(3, 8)]
    assert (found[0].mirrored, found[0].inverted) == (
        change in ("mirror", "five changes at once"),
        change == "inversion",
    )


@pytest.mark.parametrize("change", ["crop", "mirror"])
def test_an_index_of_approximate_neighbours_finds_the_same(
    films: list[Pixels], change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("usearch")
    prepared = [*map(prepare, films), prepare(np.ascontiguousarray(CHANGES[change](films[3])))]
    exact = find_duplicates(prepared)
    monkeypatch.setattr(finder, "EXACT_BELOW", 0)
    found = find_duplicates(prepared)
    # The last digits of an agreement depend on where in memory the pixels lie.
    assert [match.agreement for match in found] == pytest.approx(
        [match.agreement for match in exact], abs=1e-6
    )
    assert [replace(match, agreement=0.0) for match in found] == [
        replace(match, agreement=0.0) for match in exact
    ]
    assert [(match.first, match.second) for match in exact] == [(3, 8)]


def test_pairs_within_a_cluster_are_not_looked_for(films: list[Pixels]) -> None:
    prepared = [prepare(image) for image in (*films, films[0])]
    assert [(match.first, match.second) for match in find_duplicates(prepared)] == [(0, 8)]
    assert not find_duplicates(prepared, clusters=[0, *range(1, 8), 0])
    assert not find_duplicates(prepared[:1]) and not find_duplicates([])


def test_what_hangs_together_is_one_group() -> None:
    pairs = [(0, 1), (2, 3), (4, 5), (1, 2)]
    found = groups([Match(first=one, second=other, agreement=1.0) for one, other in pairs], list("abcdef"))
    assert sorted(map(sorted, found)) == [["a", "b", "c", "d"], ["e", "f"]]


def test_flat_images_are_no_copies_of_one_another() -> None:
    assert not find_duplicates([np.full((160, 160), value, np.uint8) for value in (0, 90, 255)])


def test_across_data_sets_with_conflicting_labels(films: list[Pixels], tmp_path: Path) -> None:
    for name, copies in (("one", films[:3]), ("two", [255 - films[1], films[5], films[5]])):
        folder = tmp_path / name
        folder.mkdir()
        lines = ["id,image,patient,finding"]
        for number, pixels in enumerate(copies):
            Image.fromarray(pixels).save(folder / f"{number}.png")
            lines.append(
                f"{name}{number},{number}.png,{name}-p{number},{'COVID-19' if name == 'one' else 'normal'}"
            )
        (folder / "manifest.csv").write_text("\n".join([*lines, ""]))
    (tmp_path / "two" / "3.png").write_bytes(b"no image")
    with (tmp_path / "two" / "manifest.csv").open("a") as table:
        table.write("broken,3.png,,\n")
    datasets = [read_dataset(tmp_path / name) for name in ("one", "two")]
    found = in_datasets(datasets)
    assert (found.images, found.unreadable) == (6, 1)
    told = {
        tuple(row.id for row in one.rows): (one.across_datasets, one.across_patients, one.conflicting)
        for one in found.groups
    }
    assert told == {("one1", "two0"): (True, True, True), ("two1", "two2"): (False, True, False)}
    assert (found.ids(0), found.ids(1)) == ([], [frozenset({"two1", "two2"})])
    assert clusters(keep_together(datasets[1], found.ids(1)).rows).tolist() == [0, 1, 1, 2]
