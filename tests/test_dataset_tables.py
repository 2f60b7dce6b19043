"""Manifests, metadata.csv, and which layout a path holds."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lungsight.dataset import Dataset, check, describe, is_covid, read_dataset, write_manifest
from lungsight.dataset.readers.manifest import write_table
from lungsight.errors import DataError, OutputError


def save(path: Path, size: tuple[int, int] = (32, 40), value: int = 100) -> Path:
    """A grey image of (H, W)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, value, np.uint8)).save(path)
    return path


def save_mask(path: Path, size: tuple[int, int] = (32, 40)) -> Path:
    """A 1-bit mask, left half lung."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(size, bool)
    mask[:, : size[1] // 2] = True
    Image.fromarray(mask).save(path)
    return path


def manifest(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.csv").write_text(text)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images, two with masks."""
    for name in "abc":
        save(tmp_path / "images" / f"{name}.png")
    for name in "ab":
        save_mask(tmp_path / "masks" / f"{name}.png")
    rows = [
        {"id": "1", "image": "images/a.png", "mask": "masks/a.png", "patient": "p1", "finding": "COVID-19"},
        {
            "id": "2",
            "image": "images/b.png",
            "mask": "masks/b.png",
            "patient": "p2",
            "covid": False,
            "age": 50,
        },
        {"id": "3", "image": "images/c.png", "patient": "p2", "finding": "normal"},
    ]
    write_table(tmp_path / "manifest.csv", rows)
    return tmp_path


@pytest.mark.parametrize(
    ("finding", "covid"),
    [
        ("COVID-19", True),
        ("Pneumonia/Viral/COVID-19", True),
        ("COVID-19, ARDS", True),
        ("covid19 pneumonia", True),
        ("SARS-CoV-2", True),
        ("SARS", False),
        ("No Finding", False),
        ("non-COVID", False),
        ("COVID-19 negative", False),
        ("no COVID-19", False),
        ("bacterial pneumonia", False),
        ("", None),
        ("todo", None),
        ("Unknown", None),
    ],
)
def test_covid_is_read_from_the_finding(finding: str, covid: bool | None) -> None:
    assert is_covid(finding) is covid


def test_manifest(folder: Path) -> None:
    dataset = read_dataset(folder)
    assert dataset.layout == "manifest"
    assert [row.id for row in dataset] == ["1", "2", "3"]
    assert [row.covid for row in dataset] == [True, False, False]
    assert [row.mask is not None for row in dataset] == [True, True, False]
    assert dataset.rows[1].age == 50
    assert dataset.rows[0].mask.load().mean() == 0.5
    assert read_dataset(folder / "manifest.csv").rows == dataset.rows


def test_the_fingerprint_follows_the_data(folder: Path) -> None:
    before = read_dataset(folder).fingerprint()
    assert read_dataset(folder).fingerprint() == before
    save(folder / "masks" / "a.png", (64, 80))
    assert read_dataset(folder).fingerprint() != before


def test_columns_are_renamed(tmp_path: Path) -> None:
    save(tmp_path / "x.png")
    manifest(tmp_path, "file;diagnosis;subject\nx.png;COVID-19;s1\n")
    names = {"image": "file", "finding": "diagnosis", "patient": "subject"}
    row = read_dataset(tmp_path, columns=names).rows[0]
    assert (row.id, row.finding, row.covid, row.patient) == ("x", "COVID-19", True, "s1")


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("file,finding\nx.png,\n", None, r"no column 'image'.*It has: file, finding.*--columns image=NAME"),
        ("image\nx.png\n", {"finding": "diagnosis"}, "no column 'diagnosis'"),
        ("image\nx.png\n", {"colour": "image"}, "unknown column 'colour'"),
        ("image,image\nx.png,x.png\n", None, "the column 'image' twice"),
        ("id,image\n1,x.png\n1,x.png\n", None, "the id '1' occurs more than once"),
        ("image\n", None, "no rows"),
        ("", None, "no rows"),
        ("image\n\0\n", None, r"image"),
    ],
)
def test_bad_tables(tmp_path: Path, text: str, columns: dict[str, str] | None, message: str) -> None:
    save(tmp_path / "x.png")
    manifest(tmp_path, text)
    with pytest.raises(DataError, match=message):
        if not read_dataset(tmp_path, columns=columns).rows:
            raise DataError("image")


def test_a_table_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR")
    with pytest.raises(DataError, match="not a table of text"):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("gone.png,", "line 2: gone.png: the image is missing"),
        ("x.png,gone.png", "line 2: gone.png: the mask is missing"),
        ("../secret.png,", r"leads out of the data folder"),
        ("a/../../secret.png,", r"leads out of the data folder"),
        (",x.png", "no file is named"),
    ],
)
def test_a_bad_row_is_named_and_the_rest_goes_on(tmp_path: Path, row: str, reason: str) -> None:
    save(tmp_path / "data" / "x.png")
    save(tmp_path / "secret.png")
    manifest(tmp_path / "data", f"id,image,mask\nbad,{row}\nx,x.png,\n")
    dataset = read_dataset(tmp_path / "data")
    assert [item.id for item in dataset] == ["x"]
    assert [item.broken for item in dataset.excluded] == [True]
    assert reason in dataset.excluded[0].reason


def test_a_bad_label_is_named(tmp_path: Path) -> None:
    save(tmp_path / "x.png")
    manifest(tmp_path, "id,image,covid\n1,x.png,maybe\n2,x.png,1.0\n3,x.png,no\n")
    dataset = read_dataset(tmp_path)
    assert [row.covid for row in dataset] == [True, False]
    assert "covid holds something else than 0 or 1" in dataset.excluded[0].reason


def test_absolute_paths_and_links_are_taken_as_written(tmp_path: Path) -> None:
    image = save(tmp_path / "elsewhere" / "x.png")
    data = manifest(tmp_path / "data", f"id,image\n1,{image}\n2,linked/x.png\n")
    (data / "linked").symlink_to(image.parent)
    assert len(read_dataset(data)) == 2


def test_masks_of_another_size_are_fine_and_of_another_shape_are_not(tmp_path: Path) -> None:
    save(tmp_path / "x.png", (224, 224))
    save_mask(tmp_path / "good.png", (256, 256))
    save_mask(tmp_path / "bad.png", (256, 240))
    manifest(tmp_path, "id,image,mask\n1,x.png,good.png\n2,x.png,bad.png\n")
    problems = check(read_dataset(tmp_path))
    assert [problem.id for problem in problems] == ["2"]
    assert "the mask is 240 x 256 and the image 224 x 224" in problems[0].reason


def test_description_is_the_papers_table_1(folder: Path) -> None:
    save(folder / "images" / "c.png", (10, 12))
    with (folder / "manifest.csv").open("a") as table:
        table.write("4,images/gone.png\n")
    description = describe(read_dataset(folder))
    assert (description.all.total, description.all.covid, description.all.not_covid) == (3, 1, 2)
    assert (description.with_mask.total, description.with_mask.covid) == (2, 1)
    assert (description.smallest, description.largest) == ((10, 12), (32, 40))
    assert description.finding == {"COVID-19": 1, "not given": 1, "normal": 1}
    assert (description.patients.count, description.patients.positive) == (2, 1)
    assert [problem.id for problem in description.problems] == ["4"]
    assert description.to_dict()["with_mask"]["total"] == 2


def metadata(folder: Path, rows: list[dict[str, str]]) -> Path:
    names = ["patientid", "sex", "age", "finding", "view", "modality", "folder", "filename"]
    with (folder / "metadata.csv").open("w") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return folder


def test_ieee8023_metadata(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "side.jpg"):
        save(tmp_path / "images" / name)
    covid = {"patientid": "7", "finding": "Pneumonia/Viral/COVID-19", "folder": "images"}
    metadata(
        tmp_path,
        [
            {**covid, "view": "PA", "filename": "a.jpg", "age": "61", "sex": "F"},
            {"patientid": "8", "finding": "Pneumonia", "view": "AP Supine", "filename": "b.jpg"},
            {**covid, "view": "L", "filename": "side.jpg"},
            {**covid, "view": "Axial", "modality": "CT", "filename": "slice.jpg"},
            {**covid, "view": "PA", "filename": "gone.jpg"},
            {**covid, "view": "PA", "filename": "a.jpg"},
        ],
    )
    dataset = read_dataset(tmp_path)
    assert dataset.layout == "ieee8023-metadata"
    assert [(row.id, row.patient, row.covid, row.source) for row in dataset] == [
        ("a.jpg", "ieee8023-7", True, "ieee8023"),
        ("b.jpg", "ieee8023-8", False, "ieee8023"),
    ]
    assert dataset.rows[0].age == 61
    reasons = {item.id: (item.reason, item.broken) for item in dataset.excluded}
    assert reasons["side.jpg"] == ("lateral view", False)
    assert reasons["slice.jpg"] == ("CT slice or volume", False)
    assert reasons["gone.jpg"][1]
    assert reasons["a.jpg (line 7)"] == ("line 7: the image is listed twice", True)


def test_ieee8023_with_other_column_names(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.jpg")
    (tmp_path / "metadata.csv").write_text("filename,finding,diagnosis\na.jpg,,COVID-19\n")
    assert read_dataset(tmp_path, columns={"finding": "diagnosis"}).rows[0].covid is True
    with pytest.raises(DataError, match="no column 'nothing'"):
        read_dataset(tmp_path, columns={"finding": "nothing"})


def semantic(path: Path, size: tuple[int, int], *, lungs: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros(size, np.uint8)
    if lungs:
        values[5:20, 3:10] = 255
        values[8:10, 3:6] = 127
    Image.fromarray(values).save(path)


@pytest.mark.parametrize(
    "masks",
    [
        "masks/{}.png",
        "masks/{}.PNG",
        "masks/{}_mask.png",
        "lung_masks/{}-Mask.bmp",
        "annotations/all-images-semantic-masks/{}.png",
        "images/{}_mask.png",
        "images/{}_lungmask.PNG",
    ],
)
def test_semantic_masks_beside_images(tmp_path: Path, masks: str) -> None:
    for name in ("a", "b", "lateral", "alone"):
        save(tmp_path / "images" / f"{name}.jpg")
    semantic(tmp_path / masks.format("a"), (32, 40))
    semantic(tmp_path / masks.format("b"), (32, 40))
    semantic(tmp_path / masks.format("lateral"), (32, 40), lungs=False)
    semantic(tmp_path / masks.format("orphan"), (32, 40))
    dataset = read_dataset(tmp_path)
    assert dataset.layout == "semantic-masks"
    assert [row.id for row in dataset] == ["a", "b"]
    assert dataset.rows[0].mask.load().sum() == 15 * 7 - 2 * 3
    assert {item.id: item.broken for item in dataset.excluded} == {
        "lateral": False,
        "alone": False,
        "orphan": True,
    }


def test_a_name_that_two_masks_have_is_paired_with_neither(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / "images" / f"{name}.jpg")
        semantic(tmp_path / "masks" / f"{name}.png", (32, 40))
    semantic(tmp_path / "masks" / "a_mask.png", (32, 40))
    dataset = read_dataset(tmp_path)
    assert [row.id for row in dataset] == ["b"]
    assert [(item.id, item.broken, item.reason) for item in dataset.excluded] == [
        ("a", True, "several images could be meant")
    ]


def test_unknown_paths_and_layouts(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        read_dataset(tmp_path / "nowhere")
    with pytest.raises(DataError, match="the folder is empty"):
        read_dataset(tmp_path)
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(DataError, match=r"layout .* not known.*manifest\.csv"):
        read_dataset(tmp_path)
    with pytest.raises(DataError, match="not a data set"):
        read_dataset(tmp_path / "notes.txt")
    with pytest.raises(DataError, match="for a table only"):
        read_dataset(tmp_path, columns={"finding": "x"})


def test_converted_data_is_the_same_data(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    source = read_dataset(folder)
    out = tmp_path_factory.mktemp("out") / "new"
    written = write_manifest(source, out)
    again = read_dataset(out)
    assert again.rows == written.rows
    for before, after in zip(source, again, strict=True):
        assert (before.id, before.patient, before.covid, before.finding, before.age) == (
            after.id, after.patient, after.covid, after.finding, after.age,
        )  # fmt: skip
        assert before.image.read_bytes() == after.image.read_bytes()
        if before.mask is not None and after.mask is not None:
            assert (before.mask.load() == after.mask.load()).all()
    with pytest.raises(OutputError, match="not empty"):
        write_manifest(source, out)


def test_converting_resizes_and_goes_on_past_a_broken_file(folder: Path) -> None:
    broken = folder / "images" / "b.png"
    broken.write_bytes(broken.read_bytes()[:60])
    written = write_manifest(read_dataset(folder), folder / "new", size=(16, 16))
    assert [row.id for row in written] == ["1", "3"]
    assert [item.id for item in written.excluded] == ["2"]
    with Image.open(written.rows[0].image) as image:
        assert image.size == (16, 16)
    with Image.open(folder / "new" / "masks" / "1.png") as mask:
        assert (mask.mode, mask.size) == ("1", (16, 16))
    assert not (folder / "new" / "masks" / "2.png").exists()


def test_odd_ids_become_safe_and_different_file_names(tmp_path: Path) -> None:
    save(tmp_path / "x.png")
    manifest(tmp_path, 'id,image\n"../../a",x.png\na,x.png\nA,x.png\n')
    written = write_manifest(read_dataset(tmp_path), tmp_path / "new")
    names = [row.image.name.lower() for row in written]
    assert len(set(names)) == 3
    assert all(row.image.parent == tmp_path / "new" / "images" for row in written)
    assert [row.id for row in read_dataset(tmp_path / "new")] == ["../../a", "a", "A"]


@pytest.mark.real_data
def test_v7_manifest(v7_manifest: Path) -> None:
    dataset: Dataset = read_dataset(v7_manifest)
    assert len(dataset) == 5595 and not dataset.excluded
    assert sum(row.covid is True for row in dataset) == 387
    description = describe(dataset.where(lambda row: row.source == "ieee8023"))
    assert (description.with_mask.covid, description.with_mask.not_covid) == (387, 74)
    assert not description.problems
