"""Darwin JSON 1.0 and 2.x, on disk as `darwin-py` leaves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from lungsight.dataset import read_dataset
from lungsight.dataset.masks import IGNORE, LUNG, Shape, rasterise
from lungsight.dataset.readers.darwin import DarwinMask, read_annotation
from lungsight.errors import DataError

SQUARE = [(10.0, 10.0), (40.0, 10.0), (40.0, 50.0), (10.0, 50.0)]
HOLE = [(20.0, 20.0), (30.0, 20.0), (30.0, 30.0), (20.0, 30.0)]


def points(ring: list[tuple[float, float]]) -> list[dict[str, float]]:
    return [{"x": x, "y": y} for x, y in ring]


def tags(*names: str) -> list[dict[str, Any]]:
    return [{"name": name, "tag": {}} for name in names]


def version_1(name: str, annotations: list[dict[str, Any]]) -> dict[str, Any]:
    image = {"width": 80, "height": 60, "filename": "00000001.png", "original_filename": name}
    return {"dataset": "chest", "image": image, "annotations": annotations}


def version_2(name: str, annotations: list[dict[str, Any]], **item: Any) -> dict[str, Any]:
    slot = {
        "type": "image",
        "slot_name": "0",
        "width": 80,
        "height": 60,
        "source_files": [{"file_name": name, "url": "https://darwin.v7labs.com/x"}],
    }
    return {
        "version": "2.0",
        "schema_ref": "https://darwin-public.s3.eu-west-1.amazonaws.com/darwin_json/2.0/schema.json",
        "item": {"name": name, "path": "/", "slots": [slot], **item},
        "annotations": [
            {"id": str(number), "slot_names": ["0"], "properties": [], **annotation}
            for number, annotation in enumerate(annotations)
        ],
    }


def lung(*rings: list[tuple[float, float]]) -> dict[str, Any]:
    """As 2.x writes it."""
    return {"name": "Lung", "polygon": {"paths": [points(ring) for ring in rings]}}


def export(root: Path, *, release: str = "all", **files: dict[str, Any] | str) -> Path:
    """Write annotations, and an image of 80 x 60 for each."""
    folder = root / "releases" / release / "annotations"
    folder.mkdir(parents=True, exist_ok=True)
    (root / "images").mkdir(exist_ok=True)
    for stem, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / f"{stem}.json").write_text(text)
        if isinstance(content, dict):
            item = content.get("item") or content["image"]
            name = item.get("name") or item["original_filename"]
            Image.fromarray(np.zeros((60, 80), np.uint8)).save(root / "images" / name)
    return root


def even_odd(shapes: tuple[Shape, ...], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Lungs less ignored parts, drawn by Pillow ring by ring: nothing shared with what is tested."""
    areas = {LUNG: np.zeros(size, bool), IGNORE: np.zeros(size, bool)}
    for shape in shapes:
        inside = np.zeros(size, bool)
        for ring in shape.rings:
            canvas = Image.new("1", (size[1], size[0]))
            ImageDraw.Draw(canvas).polygon([(x, y) for x, y in ring], fill=1, outline=1)
            inside ^= np.asarray(canvas)
        areas[shape.value] |= inside
    return areas[LUNG] & ~areas[IGNORE]


def iou(left: NDArray[np.bool_], right: NDArray[np.bool_]) -> float:
    return float((left & right).sum() / (left | right).sum())


def test_both_versions_in_one_export(tmp_path: Path) -> None:
    root = export(
        tmp_path,
        one=version_1(
            "first.png",
            [
                {"name": "Lung", "polygon": {"path": points(SQUARE)}},
                *tags("COVID-19", "View/PA", "PatientID:19", "Sex/M", "Age:50", "X-ray", "Viral Pneumonia"),
            ],
        ),
        two=version_2("second.png", [lung(SQUARE, HOLE), *tags("Bacterial Pneumonia", "X-ray")]),
    )
    one, two = read_dataset(root).rows
    assert (one.id, one.image.name, one.covid, one.finding) == ("one", "first.png", True, "COVID-19")
    assert (one.view, one.patient, one.sex, one.age) == ("PA", "ieee8023-19", "M", 50)
    assert (two.covid, two.finding, two.patient, two.source) == (False, "Bacterial Pneumonia", "", "")
    assert one.mask.load().sum() == 31 * 41
    # The border of a hole belongs to the lung.
    assert two.mask.load().sum() == 31 * 41 - 9 * 9


@pytest.mark.parametrize(
    "outline",
    [
        {"polygon": {"path": points(SQUARE), "additional_paths": [points(HOLE)]}},
        {"complex_polygon": {"path": [points(SQUARE), points(HOLE)]}},
        {
            "polygon": {"paths": [points(SQUARE), points(HOLE)]},
            "bounding_box": {"x": 10, "y": 10, "w": 30, "h": 40},
        },
        {"frames": {"0": {"polygon": {"paths": [points(SQUARE), points(HOLE)]}}}},
    ],
)
def test_holes_in_every_spelling(tmp_path: Path, outline: dict[str, Any]) -> None:
    root = export(tmp_path, a=version_2("a.png", [{"name": "Lung", **outline}]))
    assert read_dataset(root).rows[0].mask.load().sum() == 31 * 41 - 9 * 9


def test_ignored_parts_are_no_lung_wherever_they_are_listed(tmp_path: Path) -> None:
    ignore = {"name": "Ignore", "polygon": {"paths": [points(HOLE)]}}
    root = export(
        tmp_path, a=version_2("a.png", [ignore, lung(SQUARE)]), b=version_2("b.png", [lung(SQUARE), ignore])
    )
    for row in read_dataset(root).rows:
        assert row.mask.load().sum() == 31 * 41 - 11 * 11


def test_other_classes_and_other_slots_are_left_alone(tmp_path: Path) -> None:
    other = {"name": "Heart", "polygon": {"paths": [points(HOLE)]}}
    elsewhere = {**lung(HOLE), "slot_names": ["1"]}
    content = version_2("a.png", [lung(SQUARE), other, elsewhere])
    assert len(read_annotation_of(tmp_path, content).shapes) == 1


def read_annotation_of(folder: Path, content: object) -> Any:
    file = folder / "x.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_annotation(file)


def test_images_without_lungs_are_excluded_with_the_reason(tmp_path: Path) -> None:
    root = export(
        tmp_path,
        ct=version_1("ct.png", tags("CT", "View/Coronal", "COVID-19")),
        side=version_1("side.png", tags("View/Lateral", "No Pneumonia (healthy)")),
        front=version_1("front.png", [{"name": "Lung", "polygon": {"path": points(SQUARE)}}]),
    )
    dataset = read_dataset(root)
    assert [row.id for row in dataset] == ["front"]
    assert dataset.rows[0].covid is None
    found = {item.id: (item.reason, item.covid, item.broken) for item in dataset.excluded}
    assert found == {
        "ct": ("CT slice or volume", True, False),
        "side": ("lateral view", False, False),
    }


@pytest.mark.parametrize(
    ("name", "source", "patient", "finding"),
    [
        ("person1576_bacteria_4122.jpeg", "kermany", "kermany-person1576", "bacterial pneumonia"),
        ("person88_virus_164.jpeg", "kermany", "kermany-person88", "viral pneumonia"),
        ("NORMAL2-IM-1114-0001.jpeg", "kermany", "kermany-NORMAL2-IM-1114", "normal"),
        ("IM-0437-0001.jpeg", "kermany", "kermany-IM-0437", "normal"),
        ("other.jpeg", "", "", ""),
    ],
)
def test_kermany_is_known_by_its_file_names(
    tmp_path: Path, name: str, source: str, patient: str, finding: str
) -> None:
    row = read_dataset(export(tmp_path, a=version_2(name, [lung(SQUARE)]))).rows[0]
    assert (row.source, row.patient, row.finding) == (source, patient, finding)


def test_missing_images_and_missing_annotations(tmp_path: Path) -> None:
    root = export(tmp_path, a=version_2("a.png", [lung(SQUARE)]), b=version_1("b.png", []))
    (root / "images" / "b.png").unlink()
    Image.new("L", (80, 60)).save(root / "images" / "extra.png")
    found = {item.id: (item.reason, item.broken) for item in read_dataset(root).excluded}
    assert found == {"b": ("b.png: the image is missing", True), "extra": ("no annotation", False)}


def test_images_as_darwin_py_files_them(tmp_path: Path) -> None:
    in_folder = version_2("a.png", [lung(SQUARE)], path="/ward/3")
    root = export(
        tmp_path,
        a=in_folder,
        by_id=version_1("same.png", [{"name": "Lung", "polygon": {"path": points(SQUARE)}}]),
        slots=version_2("s.png", [lung(SQUARE)]),
    )
    images = root / "images"
    (images / "ward" / "3").mkdir(parents=True)
    (images / "a.png").rename(images / "ward" / "3" / "a.png")
    (images / "same.png").rename(images / "by_id.png")
    (images / "s.png").rename(images / "hold.png")
    (images / "s.png" / "0").mkdir(parents=True)
    (images / "hold.png").rename(images / "s.png" / "0" / "s.png")
    found = {row.id: row.image.relative_to(images).as_posix() for row in read_dataset(root)}
    assert found == {"a": "ward/3/a.png", "by_id": "by_id.png", "slots": "s.png/0/s.png"}


def test_two_annotations_never_share_an_image(tmp_path: Path) -> None:
    content = version_2("a.png", [lung(SQUARE)])
    dataset = read_dataset(export(tmp_path, one=content, two=content))
    assert [row.id for row in dataset] == ["one"]
    assert [(item.id, item.broken) for item in dataset.excluded] == [("two", True)]


def test_releases(tmp_path: Path) -> None:
    content = version_2("a.png", [lung(SQUARE)])
    root = export(tmp_path, release="2020", a=content)
    (root / "releases" / "latest").symlink_to("2020")
    assert len(read_dataset(root)) == 1
    export(root, release="2024", a=content, b=version_2("b.png", [lung(SQUARE)]))
    assert len(read_dataset(root)) == 1
    (root / "releases" / "latest").unlink()
    with pytest.raises(DataError, match=r"several releases: 2020, 2024.*Give one"):
        read_dataset(root)
    assert len(read_dataset(root / "releases" / "2024")) == 2
    assert len(read_dataset(root / "releases" / "2024" / "annotations")) == 2
    assert len(read_dataset(root / "releases" / "2024" / "annotations" / "a.json")) == 1


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "null",
        '{"images": [], "categories": []}',
        '{"annotations": []}',
        '{"annotations": [], "image": {}}',
        '{"annotations": [], "item": {"slots": 3}}',
        '{"annotations": [7], "image": {"original_filename": "a.png"}}',
        "[" * 100_000,
        b"\xff\xfe".decode("latin-1"),
    ],
)
def test_json_that_is_not_darwins(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError, match=r"not JSON|not Darwin's"):
        read_annotation_of(tmp_path, content)
    with pytest.raises(DataError, match=r"not JSON|not Darwin's"):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (lung([(1, 1), (float("nan"), 2)]), "coordinate"),
        (lung([(1, 1), (1e9, 2)]), "coordinate"),
        ({"name": "Lung", "polygon": {"paths": [[{"x": "a", "y": 1}]]}}, "not x and y"),
        ({"name": "Lung", "polygon": {"paths": [[3]]}}, "not x and y"),
        ({"name": "Lung", "polygon": {"paths": []}}, "without points"),
        ({"name": "Lung", "polygon": {"paths": [[]]}}, "without points"),
        ({"name": "Lung", "unheard_of": {}}, "neither a polygon nor a raster layer"),
        ({"name": "Lung", "frames": {"0": {}, "1": {}}}, "several frames"),
    ],
)
def test_bad_outlines_are_named_and_the_rest_goes_on(
    tmp_path: Path, annotation: dict[str, Any], message: str
) -> None:
    root = export(tmp_path, bad=version_2("a.png", [annotation]), good=version_2("b.png", [lung(SQUARE)]))
    dataset = read_dataset(root)
    assert [row.id for row in dataset] == ["good"]
    assert [item.broken for item in dataset.excluded if item.id == "bad"] == [True]
    assert message in next(item.reason for item in dataset.excluded if item.id == "bad")


def test_huge_sizes_are_refused(tmp_path: Path) -> None:
    content = version_1("a.png", [])
    content["image"]["width"] = 10**9
    with pytest.raises(DataError, match="image size"):
        read_annotation_of(tmp_path, content)
    content["image"].update(width=30_000, height=30_000)
    with pytest.raises(DataError, match="too large"):
        read_annotation_of(tmp_path, content)


def test_outlines_may_leave_the_image() -> None:
    drawn = rasterise([Shape(LUNG, (((-50, -50), (500, -50), (500, 500), (-50, 500)),))], (60, 80))
    assert (drawn == LUNG).all()


@pytest.mark.real_data
def test_sample_export(darwin_sample: Path) -> None:
    dataset = read_dataset(darwin_sample)
    assert (dataset.layout, len(dataset)) == ("darwin-1.0", 23)
    assert all(row.covid and row.patient and row.source == "ieee8023" for row in dataset)
    assert sorted(item.reason for item in dataset.excluded) == (
        ["CT slice or volume"] * 3 + ["lateral view"] * 3
    )


@pytest.mark.real_data
def test_sample_outlines_agree_with_the_published_masks_and_with_pillow(darwin_sample: Path) -> None:
    different = {}
    for row in read_dataset(darwin_sample):
        assert isinstance(row.mask, DarwinMask)
        drawn = row.mask.semantic()
        with Image.open(
            darwin_sample / "annotations" / "all-images-semantic-masks" / f"{row.id}.png"
        ) as file:
            published = np.asarray(file)
        different[row.id] = int((drawn != published).sum())
        assert iou(row.mask.load(), even_odd(read_annotation(row.mask.path).shapes, row.mask.size)) >= 0.995
    # V7 drew this one's ignored parts before the lungs, so 8 pixels on their common border are lung there;
    # and one corner of a slanted outline.
    assert {name: count for name, count in different.items() if count} == {"1676316": 8, "1676457": 1}


def test_an_image_without_a_name_costs_itself_alone(tmp_path: Path) -> None:
    """Found by benchmarks/fuzz.py: the second slot of an item named no file, and stopped the reading."""
    content = version_2("a.png", [lung(SQUARE)])
    content["item"]["slots"].append({"type": "image", "slot_name": "1", "width": 80, "height": 60})
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    Image.new("L", (80, 60)).save(tmp_path / "a.png")
    found = read_dataset(path)
    assert len(found.rows) == 1
    assert [one.detail for one in found.excluded] == ["an image of an item with several has no file name"]
