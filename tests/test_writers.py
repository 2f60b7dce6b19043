"""Results on disk: pictures, names, the table, the contact sheet, DICOM SEG."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pydicom.uid as uid
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset

from lungsight.errors import InputError, MissingExtraError, OutputError
from lungsight.inference.result import ResultRecord
from lungsight.wording import Decision, Flag, GateAnswer, RatioNote, Status
from lungsight.writers.contact import entries_of, write_contact_sheet
from lungsight.writers.dicom_seg import write_dicom_seg
from lungsight.writers.images import COLOURS, LEFT, RIGHT, overlay, thumbnail, write_mask, write_picture
from lungsight.writers.naming import OutputNames
from lungsight.writers.results import COLUMNS, ResultsTable, read_results, write_results_json


@pytest.fixture
def labels() -> Any:
    """(60, 80): the patient's right lung on the left side of the picture."""
    values = np.zeros((60, 80), np.uint8)
    values[10:50, 10:30] = RIGHT
    values[10:50, 50:70] = LEFT
    return values


# pictures


def test_masks_come_back_from_png(tmp_path: Path, labels: Any) -> None:
    write_mask(tmp_path / "mask.png", labels > 0)
    write_mask(tmp_path / "labels.png", labels)
    with Image.open(tmp_path / "mask.png") as image:
        assert image.mode == "L" and np.array_equal(np.asarray(image), (labels > 0) * 255)
    with Image.open(tmp_path / "labels.png") as image:
        assert np.array_equal(np.asarray(image), labels)


def test_overlay_draws_each_side_in_its_colour(labels: Any) -> None:
    pixels = np.full(labels.shape, 0.5, np.float32)
    picture = overlay(pixels, labels, alpha=0.5)
    assert picture.shape == (60, 80, 3) and picture.dtype == np.uint8
    assert (picture[5, 5] == 128).all()
    assert tuple(picture[10, 20]) == COLOURS[RIGHT] and tuple(picture[10, 60]) == COLOURS[LEFT]
    inside = picture[30, 20].astype(int)
    assert abs(inside - (128 + np.array(COLOURS[RIGHT])) / 2).max() <= 1
    assert (overlay(pixels, labels, alpha=0)[30, 20] == 128).all()
    assert np.array_equal(overlay(pixels, np.zeros_like(labels)), np.full((60, 80, 3), 128))
    assert tuple(overlay(pixels, labels > 0)[10, 20]) == COLOURS[RIGHT]
    with pytest.raises(ValueError, match="differ in size"):
        overlay(pixels, labels[:-1])


def test_outline_grows_with_the_picture() -> None:
    def outline(side: int) -> float:
        mask = np.zeros((side, side), bool)
        mask[side // 4 : -side // 4, side // 4 : -side // 4] = True
        drawn = overlay(np.zeros((side, side), np.uint8), mask, alpha=0)
        return float((drawn[side // 2] > 0).any(axis=1).sum())

    assert outline(3000) >= 5 * outline(300) > 0


def test_outline_lies_on_the_edge_and_closes_where_the_lung_is_cut() -> None:
    mask = np.zeros((60, 60), bool)
    mask[20:40, 10:60] = True  # up to the right edge of the image
    for thickness, rows in ((1, [20, 39]), (3, [19, 20, 21, 38, 39, 40])):
        drawn = overlay(np.zeros(mask.shape, np.uint8), mask, alpha=0, thickness=thickness).any(axis=2)
        assert np.flatnonzero(drawn[:, 30]).tolist() == rows
        assert drawn[30, 59] and drawn[30, 10] and not drawn[30, 12:57].any()


def test_pictures_and_thumbnails(tmp_path: Path, labels: Any) -> None:
    picture = overlay(np.zeros(labels.shape, np.uint8), labels)
    write_picture(tmp_path / "a.png", picture)
    write_picture(tmp_path / "a.JPG", picture)
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(np.asarray(image), picture)
    with Image.open(tmp_path / "a.JPG") as image:
        assert image.format == "JPEG"
    with pytest.raises(OutputError, match="PNG or JPEG"):
        write_picture(tmp_path / "a.gif", picture)
    with Image.open(io.BytesIO(thumbnail(np.zeros((400, 800, 3), np.uint8)))) as image:
        assert image.size == (160, 80)
    with Image.open(io.BytesIO(thumbnail(labels))) as image:
        assert image.size == (80, 60)
    large = np.zeros((1013, 2027), np.uint8)
    large[:, 1014:] = 200
    with Image.open(io.BytesIO(thumbnail(large))) as image:
        assert image.size == (160, 80)
        small = np.asarray(image)
    assert (small[:, :78] < 6).all() and (abs(small[:, 82:].astype(int) - 200) < 6).all()


# names


def test_names_mirror_the_folder_and_never_meet() -> None:
    names = OutputNames()
    given = [
        ("/in/a/x.png", "a/x.png"),
        ("/in/b/x.png", "b/x.png"),
        ("/in/a/x.jpg", "a/x.jpg"),
        ("/other/a/x.png", "a/x.png"),
        ("/third/a/x.png", "a/x.png"),
        ("/in/a/X.PNG", "a/X.PNG"),
        ("/in/1.2.840", "1.2.840"),
        ("/in/a/x_png", "a/x_png"),
    ]
    stems = [str(names.stem(*pair)) for pair in given]
    assert stems[:3] == ["a/x", "b/x", "a/x_jpg"]
    assert stems[3] == "a/x_png" and re.fullmatch(r"a/x-[0-9a-f]{8}", stems[4])
    assert len({stem.casefold() for stem in stems}) == len(given)
    again = OutputNames()
    assert [str(again.stem(*pair)) for pair in given] == stems
    assert str(names.stem(*given[0])) == "a/x"


@pytest.mark.parametrize(
    "relative",
    [
        "../../etc/x.png",
        "/etc/x.png",
        "a/../../x.png",
        "con.png",
        "a\nb.png",
        "a:b?.png",
        "x" * 250,
        ".png",
        "//x.png",
        "..png",
        "a/..png",
        "...png",
    ],
)
def test_names_stay_below_the_folder_and_are_valid(relative: str, tmp_path: Path) -> None:
    stem = OutputNames().stem("/in/x", relative)
    target = tmp_path / f"{stem}.png"
    assert target.is_relative_to(tmp_path) and stem.name.strip(".")
    assert ".." not in stem.parts and not stem.is_absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.touch()
    assert re.fullmatch(r'[^\x00-\x1f<>:"|?*\\]+', str(stem))


# the table

FULL = ResultRecord(
    input="a/x.png",
    status=Status.OK,
    probability=0.25,
    low=0.125,
    high=0.5,
    decision=Decision.UNCERTAIN,
    gate=GateAnswer.FRONTAL,
    gate_score=0.99,
    flags=(Flag.ONE_LUNG, Flag.AT_EDGE),
    right_lung_px=1234567,
    left_lung_px=10,
    right_lung_mm2=123456.7,
    left_lung_mm2=0.1,
    width=3000,
    height=2500,
    mask="masks/a/x.png",
    overlay="overlays/a/x.jpg",
    seconds=0.5,
)
FAILED = ResultRecord(input="b.png", status=Status.FAILED, error="unreadable", message='bad "file", truly')


def test_table_comes_back_as_written(tmp_path: Path) -> None:
    with ResultsTable(tmp_path / "new" / "results.csv") as table:
        table.append(FULL)
        assert list(read_results(table.path)) == [FULL], "a row must be there before the table is closed"
        table.append(FAILED)
    assert list(read_results(table.path)) == [FULL, FAILED]
    with table.path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(ResultRecord.__struct_fields__)
    assert list(rows[0])[:5] == ["input", "status", "error", "message", "decision"]
    assert rows[0]["flags"] == "one_lung;at_edge" and rows[1]["probability"] == ""
    write_results_json(tmp_path / "results.json", read_results(table.path))
    records = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert [record["input"] for record in records] == ["a/x.png", "b.png"]
    assert records[0]["flags"] == ["one_lung", "at_edge"] and records[1]["probability"] is None


def test_an_empty_table_is_valid_json(tmp_path: Path) -> None:
    ResultsTable(tmp_path / "results.csv").close()
    write_results_json(tmp_path / "results.json", read_results(tmp_path / "results.csv"))
    assert json.loads((tmp_path / "results.json").read_text()) == []


@pytest.mark.parametrize(
    "name", ["=cmd|' /C calc'!A0.png", "+1.png", "-1.png", "@x.png", "\tx.png", "'=x.png", "a\r\nb"]
)
def test_a_spreadsheet_runs_no_file_name(tmp_path: Path, name: str) -> None:
    with ResultsTable(tmp_path / "results.csv") as table:
        table.append(
            ResultRecord(input=name, status=Status.OK, message=name, notes=("=1+1",), probability=0.1)
        )
    with table.path.open(encoding="utf-8", newline="") as file:
        cells = list(csv.reader(file))[1]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in cells)
    (row,) = read_results(table.path)
    assert (row.input, row.message, row.notes) == (name, name, ("=1+1",))


def test_resume_keeps_the_done_and_drops_failed_and_half_rows(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    with ResultsTable(path) as table:
        table.append(FULL)
        table.append(FAILED)
        table.append(ResultRecord(input="c.png", status=Status.OK))
    for cut in range(1, 12):
        half = tmp_path / f"{cut}.csv"
        half.write_bytes(path.read_bytes()[:-cut])
        with ResultsTable(half, resume=True) as table:
            assert [row.input for row in table.kept()] == ["a/x.png"]
            table.append(ResultRecord(input="d.png", status=Status.OK))
        assert [row.input for row in read_results(half)] == ["a/x.png", "d.png"]
    with ResultsTable(path, resume=True) as table:
        assert [row.input for row in table.kept()] == ["a/x.png", "c.png"]
    with ResultsTable(path) as table:
        assert list(table.kept()) == []
    assert list(read_results(path)) == []
    with ResultsTable(tmp_path / "absent.csv", resume=True) as table:
        assert list(table.kept()) == []


def test_another_table_is_not_overwritten_on_resume(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    for content in (b"name,age\nx,1\n", b"\xff\xfe\x00", ",".join(COLUMNS).encode()[:20]):
        path.write_bytes(content)
        with pytest.raises(OutputError, match=r"not a table|damaged"):
            ResultsTable(path, resume=True)
        assert path.read_bytes() == content


def test_a_row_that_is_no_number_is_told(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    row = dict.fromkeys(COLUMNS, "") | {
        "input": "a",
        "status": "ok",
        "decision": "not_scored",
        "table": "2",
        "probability": "many",
    }
    path.write_text(",".join(COLUMNS) + "\n" + ",".join(row.values()) + "\n")
    with pytest.raises(OutputError, match="damaged"):
        list(read_results(path))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_told(tmp_path: Path) -> None:
    (tmp_path / "results.csv").symlink_to("/dev/full")
    with pytest.raises(OutputError, match="no space left"):
        ResultsTable(tmp_path / "results.csv")


# the contact sheet


def _entries(page: str) -> list[dict[str, Any]]:
    return [
        json.loads(text)
        for text in re.findall(r"<script type=application/json class=entry>(.*?)</script>", page)
    ]


def test_contact_sheet(tmp_path: Path, labels: Any) -> None:
    evil = "</script><img src=x onerror=alert(1)>&.png"
    picture = overlay(np.zeros(labels.shape, np.uint8), labels)
    write_picture(tmp_path / "overlays" / "a.jpg", np.kron(picture, np.ones((10, 10, 1), np.uint8)))
    write_mask(tmp_path / "masks" / "b.png", labels)
    with ResultsTable(tmp_path / "results.csv") as table:
        table.append(
            ResultRecord(
                input=evil,
                status=Status.OK,
                probability=0.625,
                low=0.125,
                high=0.75,
                severity=3.25,
                severity_low=0.0,
                severity_high=8.75,
                cardiothoracic_ratio=0.375,
                ratio_note=RatioNote.MAGNIFIED,
                overlay="overlays/a.jpg",
                flags=(Flag.ONE_LUNG,),
            )
        )
        table.append(ResultRecord(input="b.png", status=Status.OK, mask="masks/b.png"))
        table.append(ResultRecord(input="c.png", status=Status.OK, mask="masks/absent.png"))
        table.append(FAILED)
    write_contact_sheet(tmp_path / "contact.html", entries_of(table.path), title="A <run> & more")
    page = (tmp_path / "contact.html").read_text("utf-8")
    entries = _entries(page)
    assert [entry["name"] for entry in entries] == [evil, "b.png", "c.png", "b.png"]
    # As the terminal writes them: the page's script would round 3.25 to 3.3.
    assert entries[0]["severity_words"] == "3.2 of 18 (0.0 to 8.8)"
    assert entries[0]["ratio_words"] == "0.38 (AP: too large)"
    assert entries[0]["score_words"] == "0.62 (0.12 to 0.75)"
    assert entries[1]["severity_words"] == "cannot tell" and entries[1]["score_words"] == ""
    assert "Research use only, not for diagnosis" in page
    assert "<img src=x" not in page and "A &lt;run&gt; &amp; more" in page
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)
    pictures = [base64.b64decode(entry["picture"]) for entry in entries]
    with Image.open(io.BytesIO(pictures[0])) as image:
        assert image.size == (160, 120) and np.asarray(image).max() > 150
    with Image.open(io.BytesIO(pictures[1])) as image:
        assert np.asarray(image).max() > 240
    assert pictures[2] == pictures[3] == b""


# DICOM SEG


def _source(path: Path, **left_out: None) -> Path:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    values: dict[str, Any] = {
        "SOPClassUID": uid.DigitalXRayImageStorageForPresentation,
        "SOPInstanceUID": uid.generate_uid(),
        "StudyInstanceUID": uid.generate_uid(),
        "SeriesInstanceUID": uid.generate_uid(),
        "PatientID": "7",
        "PatientName": "Doe^Jane",
        "PatientBirthDate": "",
        "PatientSex": "F",
        "AccessionNumber": "",
        "StudyID": "",
        "StudyDate": "20200101",
        "StudyTime": "",
        "ReferringPhysicianName": "",
        "Modality": "DX",
        "SeriesNumber": 1,
        "InstanceNumber": 1,
        "PixelSpacing": [0.2, 0.2],
        "Rows": 60,
        "Columns": 80,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        "PixelData": bytes(4800),
    }
    for word, value in values.items():
        if word not in left_out:
            setattr(dataset, word, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_dicom_seg_comes_back(tmp_path: Path, labels: Any) -> None:
    highdicom = pytest.importorskip("highdicom")
    source = _source(tmp_path / "source.dcm")
    write_dicom_seg(tmp_path / "out" / "seg.dcm", source, labels)
    dataset = pydicom.dcmread(tmp_path / "out" / "seg.dcm")
    image = pydicom.dcmread(source)
    assert dataset.SOPClassUID == uid.SegmentationStorage and dataset.SegmentationType == "BINARY"
    assert (dataset.PatientID, dataset.StudyInstanceUID) == ("7", image.StudyInstanceUID)
    assert dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == (
        image.SOPInstanceUID
    )
    described = {}
    for item in dataset.SegmentSequence:
        kind = item.SegmentedPropertyTypeCodeSequence[0]
        side = kind.SegmentedPropertyTypeModifierCodeSequence[0]
        assert (kind.CodeValue, kind.CodingSchemeDesignator) == ("39607008", "SCT")
        described[item.SegmentNumber] = (item.SegmentLabel, side.CodeValue, side.CodeMeaning)
    assert described == {LEFT: ("Left lung", "7771000", "Left"), RIGHT: ("Right lung", "24028007", "Right")}
    frames = {
        frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber: pixels
        for frame, pixels in zip(dataset.PerFrameFunctionalGroupsSequence, dataset.pixel_array, strict=True)
    }
    assert all(np.array_equal(frames[side], labels == side) for side in (LEFT, RIGHT))
    assert highdicom.seg.segread(tmp_path / "out" / "seg.dcm").number_of_segments == 2


def test_dicom_seg_of_an_empty_mask(tmp_path: Path, labels: Any) -> None:
    pytest.importorskip("highdicom")
    write_dicom_seg(tmp_path / "seg.dcm", _source(tmp_path / "source.dcm"), labels * 0)
    assert not pydicom.dcmread(tmp_path / "seg.dcm").pixel_array.any()


def test_dicom_seg_refuses_what_it_cannot_refer_to(tmp_path: Path, labels: Any) -> None:
    pytest.importorskip("highdicom")
    Image.fromarray(labels).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="needs the X-ray as a DICOM file"):
        write_dicom_seg(tmp_path / "seg.dcm", tmp_path / "a.png", labels)
    source = _source(tmp_path / "source.dcm")
    with pytest.raises(InputError, match="another size"):
        write_dicom_seg(tmp_path / "seg.dcm", source, labels[:, :-1])
    with pytest.raises(InputError, match="lacks what a result must repeat"):
        write_dicom_seg(tmp_path / "seg.dcm", _source(tmp_path / "b.dcm", StudyInstanceUID=None), labels)
    assert not (tmp_path / "seg.dcm").exists()


def test_dicom_seg_without_highdicom(tmp_path: Path, labels: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "highdicom", None)
    with pytest.raises(MissingExtraError, match=r"lungsight\[dicom\]"):
        write_dicom_seg(tmp_path / "seg.dcm", tmp_path / "a.dcm", labels)
