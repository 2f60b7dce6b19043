"""Darwin exports with what spoils a pairing: same names, several slots, boxes, raster layers, odd outlines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lungsight.dataset import read_dataset
from lungsight.wording import DataNote, Exclusion

SQUARE = [{"x": x, "y": y} for x, y in ((10, 10), (40, 10), (40, 50), (10, 50))]
LUNG = {"name": "Lung", "polygon": {"paths": [SQUARE]}}
INSIDE = 31 * 41


def image(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((60, 80), value, np.uint8)).save(path)


def annotation(
    root: Path,
    stem: str,
    name: str,
    annotations: list[dict[str, Any]],
    *,
    path: str = "/",
    slots: tuple[str, ...] = (),
) -> None:
    item = {
        "name": name,
        "path": path,
        "slots": [
            {
                "type": "image",
                "slot_name": slot,
                "width": 80,
                "height": 60,
                "source_files": [{"file_name": file}],
            }
            for slot, file in ([(s, f"{s}.png") for s in slots] or [("0", name)])
        ],
    }
    folder = root / "releases" / "all" / "annotations"
    folder.mkdir(parents=True, exist_ok=True)
    content = {"version": "2.0", "item": item, "annotations": annotations}
    (folder / f"{stem}.json").write_text(json.dumps(content), "utf-8")


def counted(root: Path) -> dict[DataNote, int]:
    return {note.code: note.count for note in read_dataset(root).notes}


def pairs(root: Path) -> dict[str, str]:
    return {row.id: row.image.relative_to(root / "images").as_posix() for row in read_dataset(root)}


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_one_name_in_two_folders(tmp_path: Path, names: tuple[str, str]) -> None:
    annotation(tmp_path, names[0], "x.png", [LUNG], path="/ward/1")
    annotation(tmp_path, names[1], "x.png", [LUNG], path="/ward/2")
    for number in (1, 2):
        image(tmp_path / "images" / "ward" / str(number) / "x.png")
    assert pairs(tmp_path) == {names[0]: "ward/1/x.png", names[1]: "ward/2/x.png"}


def test_an_image_is_never_taken_from_the_folder_that_another_names(tmp_path: Path) -> None:
    annotation(tmp_path, "a", "x.png", [LUNG], path="/gone")
    annotation(tmp_path, "b", "x.png", [LUNG], path="/ward")
    image(tmp_path / "images" / "ward" / "x.png")
    assert pairs(tmp_path) == {"b": "ward/x.png"}
    assert [(item.id, item.code, item.broken) for item in read_dataset(tmp_path).excluded] == [
        ("a", Exclusion.IMAGE_MISSING, True)
    ]


def test_what_two_could_mean_is_given_to_none(tmp_path: Path) -> None:
    annotation(tmp_path, "a", "x.png", [LUNG], path="/one")
    annotation(tmp_path, "b", "x.png", [LUNG], path="/two")
    annotation(tmp_path, "c", "y.png", [LUNG], path="/gone")
    image(tmp_path / "images" / "x.png")
    for folder in ("p", "q"):
        image(tmp_path / "images" / folder / "y.png")
    dataset = read_dataset(tmp_path)
    assert not dataset.rows
    assert {item.id: item.code for item in dataset.excluded if item.broken} == {
        "a": Exclusion.AMBIGUOUS, "b": Exclusion.AMBIGUOUS, "c": Exclusion.AMBIGUOUS,
    }  # fmt: skip


def test_two_annotations_of_one_image(tmp_path: Path) -> None:
    for stem in ("a", "b"):
        annotation(tmp_path, stem, "x.png", [LUNG])
    image(tmp_path / "images" / "x.png")
    dataset = read_dataset(tmp_path)
    assert [row.id for row in dataset] == ["a"]
    assert [(item.id, item.code) for item in dataset.excluded] == [("b", Exclusion.LISTED_TWICE)]


def test_every_slot_is_a_row(tmp_path: Path) -> None:
    front = {**LUNG, "slot_names": ["front"]}
    back = {"name": "Lung", "polygon": {"paths": [SQUARE[:3]]}, "slot_names": ["back"]}
    tag = {"name": "COVID-19", "tag": {}}
    annotation(tmp_path, "a", "study", [front, back, tag], slots=("front", "back", "side"))
    for slot in ("front", "back", "side"):
        image(tmp_path / "images" / "study" / slot / f"{slot}.png")
    dataset = read_dataset(tmp_path)
    assert pairs(tmp_path) == {"a": "study/front/front.png", "a/back": "study/back/back.png"}
    assert [row.covid for row in dataset] == [True, True]
    assert dataset.rows[0].mask.load().sum() == INSIDE
    assert 500 < int(dataset.rows[1].mask.load().sum()) < 800
    assert [(item.id, item.code) for item in dataset.excluded] == [("a/side", Exclusion.NO_MASK)]
    assert counted(tmp_path) == {DataNote.OTHER_SLOT: 2}


@pytest.mark.parametrize(
    ("other", "note"),
    [
        ({"bounding_box": {"x": 1, "y": 1, "w": 5, "h": 5}}, DataNote.OTHER_ANNOTATION),
        ({"keypoint": {"x": 1, "y": 1}}, DataNote.OTHER_ANNOTATION),
        ({"line": {"path": SQUARE}}, DataNote.OTHER_ANNOTATION),
        ({"mask": {}, "id": "m"}, DataNote.OTHER_ANNOTATION),
        ({"polygon": {"paths": [SQUARE[:2]]}}, DataNote.OUTLINE_TOO_SHORT),
        ({"polygon": {"paths": [[SQUARE[0]] * 5]}}, DataNote.OUTLINE_TOO_SHORT),
        (
            {"polygon": {"paths": [[{"x": p["x"] + 100, "y": p["y"]} for p in SQUARE]]}},
            DataNote.OUTLINE_OUTSIDE,
        ),
        (
            {"polygon": {"paths": [[{"x": p["x"], "y": p["y"] - 80} for p in SQUARE]]}},
            DataNote.OUTLINE_OUTSIDE,
        ),
    ],
)
def test_what_is_no_outline_is_counted_and_costs_nothing(
    tmp_path: Path, other: dict[str, Any], note: DataNote
) -> None:
    annotation(tmp_path, "both", "x.png", [{"name": "Lung", **other}, LUNG])
    annotation(tmp_path, "alone", "y.png", [{"name": "Lung", **other}])
    for name in ("x", "y"):
        image(tmp_path / "images" / f"{name}.png")
    dataset = read_dataset(tmp_path)
    assert [row.id for row in dataset] == ["both"]
    assert dataset.rows[0].mask.load().sum() == INSIDE
    assert [(item.id, item.code, item.broken) for item in dataset.excluded] == [
        ("alone", Exclusion.NO_MASK, False)
    ]
    assert counted(tmp_path) == {note: 2}


def raster(values: list[list[int]], **mapping: int) -> dict[str, Any]:
    """A layer of 60 x 80 with rectangles (value, top, left, bottom, right), as Darwin writes it."""
    drawn = np.zeros((60, 80), int)
    for value, top, left, bottom, right in values:
        drawn[top:bottom, left:right] = value
    flat, runs = drawn.ravel().tolist(), []
    for value in flat:
        if runs and runs[-2] == value:
            runs[-1] += 1
        else:
            runs += [value, 1]
    layer = {"dense_rle": runs, "mask_annotation_ids_mapping": mapping, "total_pixels": 4800}
    return {"id": "layer", "name": "__raster_layer__", "raster_layer": layer, "slot_names": ["0"]}


def test_raster_layers_are_read_and_drawn_over_by_ignored_parts(tmp_path: Path) -> None:
    lungs = {"name": "Lung", "mask": {}, "id": "one"}
    ignored = {"name": "Ignore", "mask": {}, "id": "two"}
    heart = {"name": "Heart", "mask": {}, "id": "three"}
    layer = raster([[7, 5, 2, 15, 22], [3, 5, 2, 7, 4], [9, 30, 30, 40, 40]], one=7, two=3, three=9)
    annotation(tmp_path, "a", "x.png", [lungs, ignored, heart, layer])
    annotation(tmp_path, "b", "y.png", [lungs, ignored, layer, LUNG])
    for name in ("x", "y"):
        image(tmp_path / "images" / f"{name}.png")
    first, second = read_dataset(tmp_path).rows
    expected = np.zeros((60, 80), bool)
    expected[5:15, 2:22] = True
    expected[5:7, 2:4] = False
    assert (first.mask.load() == expected).all()
    expected[10:51, 10:41] = True
    assert (second.mask.load() == expected).all()
    assert counted(tmp_path) == {}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda layer: layer.update(dense_rle=[7, 10]),
        lambda layer: layer.update(dense_rle=[7, 10**12, 0, 5]),
        lambda layer: layer.update(dense_rle=[7, "x"]),
        lambda layer: layer.update(dense_rle=[7]),
        lambda layer: layer.update(mask_annotation_ids_mapping=[]),
    ],
)
def test_a_spoilt_layer_costs_its_own_row_only(tmp_path: Path, spoil: Any) -> None:
    layer = raster([[7, 5, 2, 15, 22]], one=7)
    spoil(layer["raster_layer"])
    annotation(tmp_path, "bad", "x.png", [{"name": "Lung", "mask": {}, "id": "one"}, layer])
    annotation(tmp_path, "good", "y.png", [LUNG])
    for name in ("x", "y"):
        image(tmp_path / "images" / f"{name}.png")
    dataset = read_dataset(tmp_path)
    assert [row.id for row in dataset] == ["good"]
    assert [item.id for item in dataset.excluded if item.broken] == ["bad"]
    assert "raster layer" in dataset.excluded[0].reason


@pytest.mark.parametrize(
    ("named", "on_disk"),
    [
        ("é.png", "e\u0301.png"),
        ("e\u0301.png", "\u00e9.png"),
        ("a%20b.png", "a b.png"),
        ("a b.png", "a%20b.png"),
    ],
)
def test_names_in_another_form(tmp_path: Path, named: str, on_disk: str) -> None:
    annotation(tmp_path, "a", named, [LUNG])
    image(tmp_path / "images" / on_disk)
    assert list(pairs(tmp_path).values()) == [on_disk]
