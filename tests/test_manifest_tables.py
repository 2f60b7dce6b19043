"""Manifests as people save them, and every field of a row."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lungsight.dataset import read_dataset, write_manifest
from lungsight.dataset.readers.delimited import age, given, load_table, number, sex, whole
from lungsight.errors import DataError
from lungsight.wording import DataNote, Label

PLAIN = "id,image,patient,finding,age\n1,x.png,p1,COVID-19,61.5\n2,y.png,p2,Müller,40\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("x", "y"):
        Image.fromarray(np.full((32, 40), 90, np.uint8)).save(tmp_path / f"{name}.png")
    return tmp_path


def read(folder: Path, text: str | bytes) -> list[tuple[str, str, float | None]]:
    (folder / "manifest.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return [(row.patient, row.finding, row.age) for row in read_dataset(folder)]


@pytest.mark.parametrize(
    "data",
    [
        PLAIN.encode(),
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        PLAIN.encode("utf-16-le"),
        PLAIN.encode("utf-16-be"),
        PLAIN.encode("latin-1"),
        PLAIN.encode("cp1252"),
        PLAIN.replace("\n", "\r\n").encode(),
        PLAIN.replace("\n", "\r").encode(),
        PLAIN.replace(",", ";").replace("61.5", "61,5").encode(),
        ("sep=;\r\n" + PLAIN.replace(",", ";").replace("61.5", "61,5")).encode(),
        ('"sep=\t"\n' + PLAIN.replace(",", "\t")).encode(),
        (PLAIN.replace("\n", ",,\n") + ",,,,,,\n\n,,,,,,\n").encode(),
        PLAIN.replace("id,", " ID , ", 1).replace("image", " Image").encode(),
        PLAIN.replace("x.png", " x.png ").encode(),
    ],
    ids=[
        "utf-8", "mark", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "cp1252", "crlf", "cr", "semicolons",
        "sep-line", "tabs", "trailing-delimiters", "header-case", "blanks",
    ],
)  # fmt: skip
def test_one_table_however_it_was_saved(folder: Path, data: bytes) -> None:
    assert read(folder, data) == [("p1", "COVID-19", 61.5), ("p2", "Müller", 40.0)]


def test_what_was_taken_with_a_reservation_is_counted(folder: Path) -> None:
    table = "id,image,patient,age\n1,x.png,nan,400\n2,y.png,17.0,na\n,,,\n"
    (folder / "manifest.csv").write_bytes(table.encode() + b"3,x.png,M\xfcller,12\n")
    dataset = read_dataset(folder)
    assert [row.patient for row in dataset] == ["", "17", "Müller"]
    assert [row.age for row in dataset] == [None, None, 12]
    assert {note.code: note.count for note in dataset.notes} == {
        DataNote.NOT_UTF8: 1,
        DataNote.BLANK_ROWS: 1,
        DataNote.AGE_IMPLAUSIBLE: 1,
        DataNote.NO_PATIENT: 1,
    }


def test_a_row_with_cells_beyond_the_header_is_named(folder: Path) -> None:
    (folder / "manifest.csv").write_text("id,image,finding\n1,x.png,COVID-19, ARDS\n2,y.png,normal,\n")
    dataset = read_dataset(folder)
    assert [row.id for row in dataset] == ["2"]
    assert dataset.excluded[0].reason == "line 2: the row has more cells than the header has columns"


def test_a_packed_table_and_one_without_a_header(tmp_path: Path) -> None:
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n"))
    assert dict(load_table(tmp_path / "t.csv.gz").records[0][1]) == {"a": "1", "b": "2"}
    (tmp_path / "t.txt").write_text("1 2\n3 4\n")
    table = load_table(tmp_path / "t.txt", delimiter=" ", header=("a", "b"))
    assert [(line, cells["b"]) for line, cells in table.records] == [(1, "2"), (2, "4")]
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n" * 500)[:30])
    with pytest.raises(DataError, match="cannot be read"):
        load_table(tmp_path / "cut.csv.gz")


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("61", 61.0), ("61.0", 61.0), ("61,5", 61.5), ("058Y", 58.0), ("083Y", 83.0), ("018M", 1.5),
        ("50+", 50.0), (">90", 90.0), ("0", 0.0), ("110", 110.0), ("111", None), ("148", None), ("414", None),
        ("early 40s", None), ("", None), ("nan", None), ("-3", None), ("1e1", None),
    ],
)  # fmt: skip
def test_ages(text: str, years: float | None) -> None:
    assert age(text) == years


def test_cells() -> None:
    assert [given(text) for text in ("nan", "NaN", "N/A", "#N/A", "NULL", " ", "None", " a ")] == [""] * 7 + [
        "a"
    ]
    assert [number(text) for text in ("0,5", "0.5", "-1", "inf", "nan", "1,234,5", "x")] == [
        0.5, 0.5, -1.0, None, None, None, None,
    ]  # fmt: skip
    assert [whole(text) for text in ("1024.0", "7", "-1", "1.5", "")] == [1024, 7, None, None, None]
    assert [sex(text) for text in ("F", "female", "w", "m", "Male", "Unknown", "O")] == ["F"] * 3 + [
        "M"
    ] * 2 + ["", ""]


FULL = (
    "id,image,subsource,view,group,original_width,original_height,original_mode,original_bytes,labels,sex\n"
    "1,x.png,github.com,AP Supine,film-1,2000,1800,RGB,729476,Edema=1|Pneumonia=-1|Fracture=0,female\n"
    "2,y.png,,AP_Supine,film-1,,,,,,\n"
)


def test_every_field_comes_through_a_conversion(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (folder / "manifest.csv").write_text(FULL)
    first, second = read_dataset(folder).rows
    assert (first.subsource, first.view, first.group, first.sex) == ("github.com", "AP_supine", "film-1", "F")
    assert (first.original_width, first.original_height, first.original_mode, first.original_bytes) == (
        2000, 1800, "RGB", 729476,
    )  # fmt: skip
    assert dict(first.labels) == {
        "Edema": Label.POSITIVE, "Pneumonia": Label.UNCERTAIN, "Fracture": Label.NEGATIVE,
    }  # fmt: skip
    assert (second.view, second.original_width, second.original_bytes, second.labels) == (
        "AP_supine",
        None,
        None,
        {},
    )
    out = tmp_path_factory.mktemp("out") / "new"
    write_manifest(read_dataset(folder), out)
    for before, after in zip((first, second), read_dataset(out).rows, strict=True):
        for name in (
            "subsource",
            "view",
            "group",
            "original_mode",
            "original_bytes",
            "labels",
            "original_width",
        ):
            assert getattr(before, name) == getattr(after, name)


@pytest.mark.parametrize(
    ("listed", "on_disk"),
    [
        ("Café.png", "Cafe\u0301.png"),
        ("Cafe\u0301.png", "Caf\u00e9.png"),
        ("a%20b.png", "a b.png"),
        ("a b.png", "a%20b.png"),
        ("sub\\a.png", "sub/a.png"),
        ("a.png", "a.PNG"),
        ("A.png", "a.png"),
        ("50%25.png", "50%25.png"),
    ],
)
def test_names_that_were_changed_on_the_way_are_found(tmp_path: Path, listed: str, on_disk: str) -> None:
    (tmp_path / on_disk).parent.mkdir(exist_ok=True)
    Image.fromarray(np.full((32, 40), 90, np.uint8)).save(tmp_path / on_disk)
    (tmp_path / "manifest.csv").write_text(f"id,image\n1,{listed}\n")
    assert [row.image for row in read_dataset(tmp_path)] == [tmp_path / on_disk]


def test_a_name_that_two_files_could_have_is_not_guessed(tmp_path: Path) -> None:
    for name in ("a.PNG", "A.png"):
        Image.fromarray(np.full((32, 40), 90, np.uint8)).save(tmp_path / name)
    (tmp_path / "manifest.csv").write_text("id,image\n1,a.png\n2,A.png\n")
    dataset = read_dataset(tmp_path)
    assert [row.image.name for row in dataset] == ["A.png"]
    assert [item.id for item in dataset.excluded] == ["1"]


@pytest.mark.parametrize("name", ["x" * 5000 + ".png", "deep/" * 900 + "a.png"])
def test_a_name_longer_than_the_system_allows_is_a_missing_file(tmp_path: Path, name: str) -> None:
    """Found by benchmarks/fuzz.py."""
    from lungsight.dataset.locate import Files

    assert Files(tmp_path).find(name) is None
