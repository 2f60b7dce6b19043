"""Public collections: a small drawn copy of each layout, headers letter by letter, with its pitfalls.

Nothing here is taken from the readers: a header that a reader has wrong fails.
"""

# Lines of tables stand as they are on disk.
# ruff: noqa: E501

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import config
from pydicom.dataset import Dataset as Dicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from lungsight.dataset import Dataset, read_dataset, with_target, write_manifest
from lungsight.dataset.read import LAYOUTS
from lungsight.dataset.readers.chexmask import decode_runs
from lungsight.errors import DataError
from lungsight.wording import DataNote, Exclusion, Label


def image(path: Path, size: tuple[int, int] = (32, 40)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, 100, np.uint8)).save(path)
    return path


def mask(path: Path, columns: slice, size: tuple[int, int] = (32, 40)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros(size, np.uint8)
    values[5:25, columns] = 255
    Image.fromarray(values).save(path)
    return path


def dicom(path: Path, *, view: str = "", sex: str = "", age: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    one = Dicom()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = generate_uid()
    with config.disable_value_validation():  # RSNA's ages are no DICOM ages.
        one.ViewPosition, one.PatientSex, one.PatientAge = view, sex, age
        one.save_as(path, enforce_file_format=True)
    return path


def text(path: Path, content: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode(encoding)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def reasons(dataset: Dataset) -> dict[str, Exclusion]:
    return {item.id: item.code for item in dataset.excluded}


def notes(dataset: Dataset) -> dict[DataNote, int]:
    return {note.code: note.count for note in dataset.notes}


NIH = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
)


def test_nih(tmp_path: Path) -> None:
    text(
        tmp_path / "Data_Entry_2017.csv",
        NIH
        + "00000001_000.png,Cardiomegaly,0,1,058Y,M,PA,2682,2749,0.143,0.143,\n"
        + "00000001_001.png,Cardiomegaly|Emphysema,1,1,58,M,AP,2894,2729,0.143,0.143,\n"
        + "00000002_000.png,No Finding,0,2,414,F,PA,2500,2048,0.171,0.171,\n"
        + "00000003_000.png,Pneumonia,0,3,7,F,PA,2500,2048,0.171,0.171,\n",
    )
    text(tmp_path / "test_list.txt", "00000002_000.png\n")
    text(
        tmp_path / "BBox_List_2017.csv",
        "Image Index,Finding Label,Bbox [x,y,w,h],,,\n00000001_000.png,Infiltrate,1,2,3,4\n",
    )
    for name, folder in (("00000001_000", 1), ("00000001_001", 1), ("00000002_000", 12)):
        image(tmp_path / f"images_{folder:03}" / "images" / f"{name}.png")
    dataset = read_dataset(tmp_path)
    assert dataset.layout == "nih-chestxray14"
    first, second, third = dataset.rows
    assert (first.patient, first.view, first.sex, first.age) == ("nih-00000001", "PA", "M", 58)
    assert (second.finding, second.view, second.patient) == ("Cardiomegaly|Emphysema", "AP", first.patient)
    assert (third.age, third.covid, third.extra["split"], third.source) == (None, False, "test", "nih")
    assert reasons(dataset) == {"00000003_000.png": Exclusion.IMAGE_MISSING}
    assert notes(dataset) == {DataNote.AGE_IMPLAUSIBLE: 1}
    assert [row.positive for row in with_target(dataset, "Emphysema")] == [False, True, False]


CHEXPERT = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,"
    "Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices\n"
)


@pytest.mark.parametrize("release", ["CheXpert-v1.0", "CheXpert-v1.0-small"])
def test_chexpert(tmp_path: Path, release: str) -> None:
    root = tmp_path / release
    paths = [
        f"{release}/train/patient0000{n}/study1/view{v}.jpg"
        for n, v in ((1, "1_frontal"), (1, "2_lateral"), (2, "1_frontal"), (3, "1_frontal"))
    ]
    text(
        root / "train.csv",
        CHEXPERT
        + f"{paths[0]},Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0\n"
        + f"{paths[1]},Female,68,Lateral,,,,,,,,,1.0,,,,,,\n"
        + f"{paths[2]},Unknown,0,Frontal,PA,,,-1.0,,,,,-1.0,,,,,,\n"
        + f"{paths[3]},Male,90,Frontal,LL,,,,,,,,,,,,,,\n",
    )
    text(
        root / "valid.csv",
        CHEXPERT
        + f"{release}/valid/patient64541/study1/view1_frontal.jpg,Male,73,Frontal,AP,0.0,1.0,1.0,1.0,0.0,0.0,0.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0\n",
    )
    for path in [*paths, f"{release}/valid/patient64541/study1/view1_frontal.jpg"]:
        image(tmp_path / path)
    dataset = read_dataset(root)
    assert dataset.layout == "chexpert"
    first, second, third = dataset.rows
    assert (first.patient, first.sex, first.age, first.view) == ("chexpert-patient00001", "F", 68, "AP")
    assert dict(first.labels) == {
        "No Finding": Label.POSITIVE, "Pneumothorax": Label.NEGATIVE, "Support Devices": Label.POSITIVE,
    }  # fmt: skip
    assert (second.sex, second.age, second.view, second.labels["Pneumonia"]) == (
        "",
        None,
        "PA",
        Label.UNCERTAIN,
    )
    assert (third.patient, third.extra["split"]) == ("chexpert-patient64541", "valid")
    assert sorted(reasons(dataset).values()) == [Exclusion.LATERAL_VIEW] * 2
    assert [row.positive for row in with_target(dataset, "Pneumonia")] == [False, None, True]
    assert [row.positive for row in with_target(dataset, "Pneumonia", "positive")] == [False, True, True]


MIMIC = (
    "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,StudyTime,"
    "ProcedureCodeSequence_CodeMeaning,ViewCodeSequence_CodeMeaning,PatientOrientationCodeSequence_CodeMeaning\n"
)


def mimic(root: Path) -> None:
    text(
        root / "mimic-cxr-2.0.0-metadata.csv.gz",
        MIMIC
        + "aa-1,10000032,50414267,CHEST (PA AND LAT),PA,3056,2544,21800506,213014.531,CHEST (PA AND LAT),postero-anterior,Erect\n"
        + "bb-2,10000032,50414267,CHEST (PA AND LAT),LATERAL,3056,2544,21800506,213014.531,CHEST (PA AND LAT),lateral,Erect\n"
        + "cc-3,10000764,57375967,CHEST (PORTABLE AP),,3056,2544,21800506,213014.531,CHEST (PORTABLE AP),,\n",
    )
    text(
        root / "mimic-cxr-2.0.0-split.csv.gz",
        "dicom_id,study_id,subject_id,split\naa-1,50414267,10000032,train\ncc-3,57375967,10000764,validate\n",
    )
    for subject, study, name in (
        ("10000032", "50414267", "aa-1"),
        ("10000032", "50414267", "bb-2"),
        ("10000764", "57375967", "cc-3"),
    ):
        image(root / "files" / f"p{subject[:2]}" / f"p{subject}" / f"s{study}" / f"{name}.jpg")


LABELLER = "subject_id,study_id,Atelectasis,Cardiomegaly,No Finding,Pneumonia\n"


def test_mimic(tmp_path: Path) -> None:
    mimic(tmp_path)
    text(
        tmp_path / "mimic-cxr-2.0.0-chexpert.csv.gz",
        LABELLER + "10000032,50414267,,,1.0,\n10000764,57375967,-1.0,,,1.0\n",
    )
    text(tmp_path / "mimic-cxr-2.0.0-negbio.csv.gz", LABELLER + "10000032,50414267,1.0,,,\n")
    dataset = read_dataset(tmp_path)
    first, second = dataset.rows
    assert (dataset.layout, first.patient, first.view, first.extra["split"]) == (
        "mimic-cxr-jpg",
        "mimic-10000032",
        "PA",
        "train",
    )
    assert (dict(first.labels), second.view) == ({"No Finding": Label.POSITIVE}, "")
    assert dict(second.labels) == {"Atelectasis": Label.UNCERTAIN, "Pneumonia": Label.POSITIVE}
    assert (second.extra["split"], reasons(dataset)) == ("validate", {"bb-2": Exclusion.LATERAL_VIEW})


def test_mimic_half_there(tmp_path: Path) -> None:
    mimic(tmp_path)
    with pytest.raises(DataError, match=r"half there.*chexpert\.csv"):
        read_dataset(tmp_path)
    (tmp_path / "mimic-cxr-2.0.0-metadata.csv.gz").unlink()
    with pytest.raises(DataError, match=r"half there.*metadata"):
        read_dataset(tmp_path)


PADCHEST = (
    ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,ViewPosition_DICOM,Projection,"
    "MethodProjection,Pediatric,Modality_DICOM,ReportID,Report,MethodLabel,Labels,Localizations,"
    "LabelsLocalizationsBySentence,labelCUIS,LocalizationsCUIS\n"
)


def test_padchest(tmp_path: Path) -> None:
    def line(
        number: int,
        name: str,
        folder: str,
        view: str,
        labels: str,
        patient: str = "839860488694292331637988235681460987",
    ) -> str:
        return f'{number},{name},{folder},20140915,20140915_1,{patient},1930.0,F,POSTEROANTERIOR,{view},Manual,No,CR,4765777,sin hallazgos .,Physician,"{labels}",[],[],[],[]\n'

    text(
        tmp_path / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv",
        PADCHEST
        + line(0, "one.png", "0", "PA", "['pulmonary fibrosis', 'chronic changes', ' kyphosis']")
        + line(1, "two.png", "0", "L", "['normal']")
        + line(2, "three.png", "7", "AP_horizontal", "")
        + line(3, "four.png", "7", "AP", "['normal']"),
    )
    for name in ("0/one", "0/two", "7/three"):
        image(tmp_path / f"{name}.png")
    dataset = read_dataset(tmp_path)
    first, second = dataset.rows
    assert (dataset.layout, first.age, first.sex, first.view) == ("padchest", 84, "F", "PA")
    assert first.patient == "padchest-839860488694292331637988235681460987"
    assert (first.finding, second.view, second.covid) == (
        "pulmonary fibrosis|chronic changes|kyphosis",
        "AP_supine",
        None,
    )
    assert reasons(dataset) == {"two.png": Exclusion.LATERAL_VIEW, "four.png": Exclusion.IMAGE_MISSING}
    assert [row.positive for row in with_target(dataset, "kyphosis")] == [True, None]
    # Reports stay where they are, also when the set is converted.
    assert "Report" not in first.extra and first.extra["MethodLabel"] == "Physician"


def test_vindr_of_kaggle(tmp_path: Path) -> None:
    text(
        tmp_path / "train.csv",
        "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\n"
        "aaa,No finding,14,R11,,,,\naaa,No finding,14,R7,,,,\naaa,No finding,14,R10,,,,\n"
        "bbb,Cardiomegaly,3,R10,691,1375,1653,1831\nbbb,Aortic enlargement,0,R10,1264,743,1611,1019\n"
        "bbb,Cardiomegaly,3,R8,691,1375,1653,1831\nbbb,Cardiomegaly,3,R8,1,1,2,2\nbbb,No finding,14,R9,,,,\n",
    )
    for name in ("aaa", "bbb"):
        dicom(tmp_path / "train" / f"{name}.dicom")
    dataset = read_dataset(tmp_path)
    healthy, ill = dataset.rows
    assert (dataset.layout, healthy.finding, healthy.patient) == ("vindr-cxr", "No finding", "")
    assert (ill.labels["Cardiomegaly"], ill.labels["Aortic enlargement"], ill.labels["No finding"]) == (
        Label.POSITIVE, Label.UNCERTAIN, Label.UNCERTAIN,
    )  # fmt: skip
    assert healthy.labels["Cardiomegaly"] is Label.NEGATIVE
    assert notes(dataset) == {DataNote.DISAGREEMENT: 1}


def test_vindr_of_physionet(tmp_path: Path) -> None:
    text(
        tmp_path / "annotations" / "annotations_train.csv",
        "image_id,rad_id,class_name,x_min,y_min,x_max,y_max\naaa,R1,No finding,,,,\n",
    )
    text(
        tmp_path / "annotations" / "image_labels_train.csv",
        "image_id,rad_id,Cardiomegaly,Pneumonia,Other diseases,No finding\naaa,R1,0,1,1,0\naaa,R2,0,1,0,0\naaa,R3,0,0,0,1\n",
    )
    text(
        tmp_path / "annotations" / "image_labels_test.csv",
        "image_id,Cardiomegaly,Pneumonia,Other disease,No finding\nbbb,0,0,1,0\n",
    )
    dicom(tmp_path / "train" / "aaa.dicom")
    dicom(tmp_path / "test" / "bbb.dicom")
    found = {row.id: row for row in read_dataset(tmp_path)}
    first, second = found["aaa"], found["bbb"]
    assert first.finding == "Pneumonia" and first.labels["Other diseases"] is Label.UNCERTAIN
    assert second.finding == "Other diseases" and second.extra["split"] == "test"


def rsna(root: Path) -> None:
    text(
        root / "stage_2_train_labels.csv",
        "patientId,x,y,width,height,Target\n"
        "0004cfab,,,,,0\n00436515,264.0,152.0,213.0,379.0,1\n00436515,562.0,152.0,256.0,453.0,1\n00569f44,,,,,0\n",
    )
    text(
        root / "stage_2_detailed_class_info.csv",
        "patientId,class\n0004cfab,No Lung Opacity / Not Normal\n00436515,Lung Opacity\n00436515,Lung Opacity\n00569f44,Normal\n",
    )
    dicom(root / "stage_2_train_images" / "0004cfab.dcm", view="PA", sex="F", age="51")
    dicom(root / "stage_2_train_images" / "00436515.dcm", view="AP", sex="M", age="148")
    dicom(root / "stage_2_train_images" / "00569f44.dcm", view="PA", sex="M", age="48")


def test_rsna(tmp_path: Path) -> None:
    rsna(tmp_path)
    dataset = read_dataset(tmp_path)
    assert dataset.layout == "rsna-pneumonia"
    assert [(row.id, row.view, row.sex, row.age, row.patient) for row in dataset] == [
        ("0004cfab", "PA", "F", 51, ""), ("00436515", "AP", "M", None, ""), ("00569f44", "PA", "M", 48, ""),
    ]  # fmt: skip
    assert [row.finding for row in dataset] == ["No Lung Opacity / Not Normal", "Lung Opacity", "Normal"]
    assert [row.positive for row in with_target(dataset, "Lung Opacity")] == [False, True, False]
    mapping = [
        {"subset_img_id": "0004cfab", "img_id": "00013118_008.png"},
        {"subset_img_id": "00436515", "img_id": "00013118_009.png"},
    ]
    text(tmp_path / "pneumonia-challenge-dataset-mappings_2018.json", json.dumps(mapping))
    assert [row.patient for row in read_dataset(tmp_path)] == ["nih-00013118", "nih-00013118", ""]


def test_covidx(tmp_path: Path) -> None:
    text(
        tmp_path / "train_COVIDx8A.txt",
        "3 SARS-10.1148rg.242035193-g04mr34g0-Fig8a-day0.jpeg pneumonia cohen\n"
        "COVID 1 COVID(1).png COVID-19 sirm\n"
        "COVID-19(2) COVID-19(2).png positive sirm\n"
        "fe4ac5f3 fe4ac5f3.png normal rnsa\n"
        "MIDRC-RICORD-1C-419639-000025 x.png negative ricord\n"
        "this line is broken\n",
    )
    text(tmp_path / "test_COVIDx2.txt", "19 a.jpg COVID-19\n")
    for name in (
        "train/SARS-10.1148rg.242035193-g04mr34g0-Fig8a-day0.jpeg",
        "train/COVID(1).png",
        "train/COVID-19(2).png",
        "train/fe4ac5f3.png",
        "train/x.png",
        "test/a.jpg",
    ):
        image(tmp_path / "data" / name)
    dataset = read_dataset(tmp_path)
    assert dataset.layout == "covidx"
    found = {row.image.name: (row.source, row.patient, row.covid, row.extra["split"]) for row in dataset}
    assert found == {
        "a.jpg": ("covidx", "covidx-19", True, "test"),
        "SARS-10.1148rg.242035193-g04mr34g0-Fig8a-day0.jpeg": ("cohen", "cohen-3", False, "train"),
        "COVID(1).png": ("sirm", "sirm-COVID 1", True, "train"),
        "COVID-19(2).png": ("sirm", "sirm-COVID-19(2)", True, "train"),
        "fe4ac5f3.png": ("rsna", "rsna-fe4ac5f3", False, "train"),
        "x.png": ("ricord", "ricord-MIDRC-RICORD-1C-419639-000025", False, "train"),
    }
    assert reasons(dataset) == {"train_COVIDx8A.txt, line 6": Exclusion.UNREADABLE}
    text(tmp_path / "train_COVIDx9B.txt", "19 a.jpg positive cohen\n")
    with pytest.raises(DataError, match="lists of several versions"):
        read_dataset(tmp_path)
    assert len(read_dataset(tmp_path / "train_COVIDx8A.txt").rows) == 5


def workbook(path: Path, sheets: dict[str, list[list[str]]], *, shared: bool = True) -> None:
    """The least that Excel opens."""
    texts: list[str] = []

    def cell(row: int, column: int, value: str) -> str:
        place = f"{chr(65 + column)}{row + 1}"
        if not shared:
            return f'<c r="{place}" t="inlineStr"><is><t>{value}</t></is></c>'
        texts.append(value)
        return f'<c r="{place}" t="s"><v>{len(texts) - 1}</v></c>'

    space = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    link = 'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
    with zipfile.ZipFile(path, "w") as book:
        names = "".join(
            f'<sheet name="{name}" sheetId="{n}" r:id="rId{n}"/>' for n, name in enumerate(sheets, 1)
        )
        book.writestr("xl/workbook.xml", f"<workbook {space} {link}><sheets>{names}</sheets></workbook>")
        targets = "".join(
            f'<Relationship Id="rId{n}" Target="worksheets/sheet{n}.xml"/>' for n in range(1, len(sheets) + 1)
        )
        book.writestr("xl/_rels/workbook.xml.rels", f"<Relationships>{targets}</Relationships>")
        for n, rows in enumerate(sheets.values(), 1):
            body = "".join(
                f'<row r="{r + 1}">{"".join(cell(r, c, value) for c, value in enumerate(row) if value)}</row>'
                for r, row in enumerate(rows)
            )
            book.writestr(
                f"xl/worksheets/sheet{n}.xml", f"<worksheet {space}><sheetData>{body}</sheetData></worksheet>"
            )
        items = "".join(f"<si><t>{value}</t></si>" for value in texts)
        book.writestr("xl/sharedStrings.xml", f"<sst {space}>{items}</sst>")


@pytest.mark.parametrize("nested", [True, False])
def test_radiography(tmp_path: Path, nested: bool) -> None:
    names = {
        "COVID": "COVID-1",
        "Lung_Opacity": "Lung_Opacity-1",
        "Normal": "Normal-1",
        "Viral Pneumonia": "Viral Pneumonia-1",
    }
    for folder, name in names.items():
        image(tmp_path / folder / ("images" if nested else "") / f"{name}.png")
        if nested:
            mask(tmp_path / folder / "masks" / f"{name}.png", slice(4, 30))
    url = "https://sirm.org/category/senza-categoria/covid-19/"
    workbook(
        tmp_path / "COVID.metadata.xlsx",
        {"Sheet1": [["FILE NAME", "FORMAT", "SIZE", "URL"], ["COVID-1", "PNG", "256*256", url]]},
    )
    workbook(
        tmp_path / "Normal.metadata.xlsx",
        {
            "Sheet1": [
                ["FILE NAME", "FORMAT", "SIZE", "URL"],
                ["NORMAL-1", "PNG", "256*256", "https://www.kaggle.com/c/rsna"],
            ]
        },
        shared=False,
    )
    (tmp_path / "Viral Pneumonia.metadata.xlsx").write_bytes(b"no workbook")
    dataset = read_dataset(tmp_path)
    assert (dataset.layout, [row.covid for row in dataset]) == (
        "covid19-radiography",
        [True, False, False, False],
    )
    found = {row.id: (row.finding, row.subsource, row.mask is not None, row.patient) for row in dataset}
    assert found["COVID-1"] == ("COVID-19", "sirm.org/category/senza-categoria/covid-19/", nested, "")
    assert found["Normal-1"] == ("normal", "kaggle.com/c/rsna", nested, "")


def test_covid_qu_ex(tmp_path: Path) -> None:
    base = tmp_path / "Lung Segmentation Data" / "Lung Segmentation Data"
    infection = tmp_path / "Infection Segmentation Data" / "Infection Segmentation Data"
    for part in ("Train", "Val", "Test"):
        for name in ("COVID-19", "Non-COVID", "Normal"):
            image(base / part / name / "images" / "x.png")
            mask(base / part / name / "lung masks" / "x.png", slice(4, 30))
    image(infection / "Train" / "COVID-19" / "images" / "x.png")
    mask(infection / "Train" / "COVID-19" / "lung masks" / "x.png", slice(4, 30))
    mask(infection / "Train" / "COVID-19" / "infection masks" / "x.png", slice(4, 9))
    dataset = read_dataset(tmp_path)
    assert (dataset.layout, len(dataset)) == ("covid-qu-ex", 9)
    assert {(row.id, row.covid, row.extra["split"]) for row in dataset if row.id.startswith("Val")} == {
        ("Val/COVID-19/x", True, "validation"), ("Val/Non-COVID/x", False, "validation"), ("Val/Normal/x", False, "validation"),
    }  # fmt: skip
    assert all(row.mask is not None and row.mask.load().sum() == 20 * 26 for row in dataset)


@pytest.mark.parametrize(
    ("name", "header", "lines"),
    [
        (
            "sil_reg_covid_posi.tsv",
            "participant\tdate\ttest\tresult",
            ["sub-S1\t01.03.2020\tPCR\tNEGATIVO", "sub-S1\t20.03.2020\tPCR\tPOSITIVO"],
        ),
        (
            "SIL_REG_COVID_POSI_iter123.txt",
            "participant\tfecha\tprueba\tresultado",
            ["sub-S1\t01.03.2020\tPCR\tNEGATIVO", "sub-S1\t20.03.2020\tPCR\tPOSITIVO"],
        ),
    ],
)
def test_bimcv(tmp_path: Path, name: str, header: str, lines: list[str]) -> None:
    def film(subject: str, session: str, kind: str, view: str, tags: dict[str, object] | None) -> None:
        base = (
            tmp_path
            / f"sub-{subject}"
            / f"ses-{session}"
            / kind
            / f"sub-{subject}_ses-{session}_run-1_bp-chest_vp-{view}_dx"
        )
        image(base.with_name(base.name + ".png"))
        if tags is not None:
            text(base.with_name(base.name + ".json"), json.dumps(tags))

    film(
        "S1",
        "E1",
        "mod-rx",
        "pa",
        {"00080020": {"vr": "DA", "Value": ["20200302"]}, "00101010": {"vr": "AS", "Value": ["083Y"]}},
    )
    film("S1", "E2", "mod-rx", "ap", {"00080020": {"Value": ["20200319"]}})
    film("S1", "E3", "mod-rx", "ll", {})
    film("S1", "E4", "mod-ct", "pa", {})
    film("S2", "E5", "mod-rx", "ap", None)
    text(
        tmp_path / "participants.tsv",
        "participant\tmodality_dicom\tage\tgender\nsub-S1\t['CR']\t[83]\tF\nsub-S2\t['CR', 'DX']\t[61, 62]\t['M']\n",
    )
    text(
        tmp_path / "derivatives" / "labels" / "labels_covid19_posi.tsv",
        "PatientID\tReportID\tReport\tLabels\nS1\tses-E2\ttext\t['COVID 19', 'infiltrates']\n",
    )
    text(tmp_path / "derivatives" / "EHR" / name, "\n".join([header, *lines]) + "\n")
    dataset = read_dataset(tmp_path)
    assert dataset.layout == "bimcv-covid19"
    first, second, third = dataset.rows
    assert (first.patient, first.view, first.age, first.sex, first.covid) == (
        "bimcv-sub-S1",
        "PA",
        83,
        "F",
        False,
    )
    assert (second.view, second.covid, second.finding) == ("AP", True, "covid 19|infiltrates")
    assert (third.covid, third.patient) == (None, "bimcv-sub-S2")
    # Lists in participants.tsv: one value is the patient's, two are not one age.
    assert (second.age, second.sex, third.age, third.sex) == (83, "F", None, "M")
    assert sorted(reasons(dataset).values()) == [Exclusion.CT_SLICE, Exclusion.LATERAL_VIEW]


IEEE = (
    "patientid,offset,sex,age,finding,RT_PCR_positive,survival,intubated,intubation_present,went_icu,in_icu,needed_supplemental_O2,"
    "extubated,temperature,pO2_saturation,leukocyte_count,neutrophil_count,lymphocyte_count,view,modality,date,location,"
    "folder,filename,doi,url,license,clinical_notes,other_notes,\n"
)


def test_ieee8023(tmp_path: Path) -> None:
    def line(
        patient: str,
        finding: str,
        view: str,
        name: str,
        *,
        modality: str = "X-ray",
        folder: str = "images",
        url: str = "https://www.eurorad.org/case/16660",
    ) -> str:
        return f"{patient},0,M,65,{finding},Y,,,,,,,,,,,,,{view},{modality},2020,Vietnam,{folder},{name},,{url},,notes,,\n"

    text(
        tmp_path / "metadata.csv",
        IEEE
        + line("97", "Pneumonia/Viral/COVID-19", "PA", "a.jpg")
        + line("178", '"COVID-19, ARDS"', "AP semi erect", "b.jpg", url="")
        + line("3", "todo", "AP Supine", "c.jpg")
        + line("4", "Pneumonia/Viral/COVID-19", "L", "d.jpg")
        + line("5", "Pneumonia/Viral/COVID-19", "Axial", "e.jpg", modality="CT")
        + line("6", "Pneumonia/Viral/SARS", "PA", "f.nii.gz", folder="volumes")
        + line("7", "ruled out COVID-19", "PA", "g%20h.jpg"),
    )
    for name in ("a.jpg", "b.jpg", "c.jpg", "g h.jpg"):
        image(tmp_path / "images" / name)
    dataset = read_dataset(tmp_path)
    assert (dataset.layout, [row.covid for row in dataset]) == (
        "ieee8023-metadata",
        [True, True, None, False],
    )
    first, second, third, fourth = dataset.rows
    assert (first.subsource, second.subsource, second.view, third.view) == (
        "eurorad.org",
        "",
        "AP_erect",
        "AP_supine",
    )
    assert first.patient != second.patient and first.group == second.group != third.group
    assert fourth.image.name == "g h.jpg"
    assert reasons(dataset) == {
        "d.jpg": Exclusion.LATERAL_VIEW,
        "e.jpg": Exclusion.CT_SLICE,
        "f.nii.gz": Exclusion.CT_SLICE,
    }


def test_hannover(tmp_path: Path) -> None:
    text(
        tmp_path / "data.csv",
        "patient_id,image_id,sex,age,size,weight,admission_offset,icu_admission_offset,modality,projection,pO2_val,pO2_offset\n"
        "189daebe,00870a9c,m,,,,-22,,CR,ap,70,-1\n189daebe,00d96e05,m,,,,-30,,CR,PA,,\n2f,3c,f,,,,1,,CR,ap,,\n",
    )
    for name in ("00870a9c", "00d96e05"):
        image(tmp_path / "png" / f"{name}.png")
    dataset = read_dataset(tmp_path)
    assert dataset.layout == "hannover" and all(row.covid for row in dataset)
    assert [(row.patient, row.view, row.sex) for row in dataset] == [
        ("hannover-189daebe", "AP", "M"),
        ("hannover-189daebe", "PA", "M"),
    ]
    assert reasons(dataset) == {"3c": Exclusion.IMAGE_MISSING}


AGCHUNG = "patientid,offset,sex,age,finding,survival,temperature,pO2 saturation,view,modality,artifacts/distortion,notes"


def test_actualmed(tmp_path: Path) -> None:
    text(
        tmp_path / "metadata.csv",
        AGCHUNG.replace("patientid,", "patientid,imagename,", 1).replace("imagename,offset", "offset")
        + ",imagename\n"
        "CR.1.2.840.1,,,,COVID-19,,,,PA,X-ray,,,one.jpg\nCR.1.2.840.2,,,,No finding,,,,AP,X-ray,,,two.jpg\nCR.1.2.840.3,,,,,,,,AP,X-ray,,,three.jpg\n",
    )
    for name in ("one", "two", "three"):
        image(tmp_path / "images" / f"{name}.jpg")
    dataset = read_dataset(tmp_path)
    assert (dataset.layout, {row.source for row in dataset}) == ("agchung", {"actualmed"})
    assert [(row.covid, row.view, row.patient) for row in dataset] == [
        (True, "PA", "actualmed-CR.1.2.840.1"), (False, "AP", "actualmed-CR.1.2.840.2"), (None, "AP", "actualmed-CR.1.2.840.3"),
    ]  # fmt: skip


def test_figure_1_in_latin_1(tmp_path: Path) -> None:
    text(
        tmp_path / "metadata.csv",
        AGCHUNG
        + "\nCOVID-00001,,M,50+,COVID-19,,,,AP erect,X-ray,,Señor\nCOVID-00002,,F,early 40s,Pneumonia,,,,PA,X-ray,,\n"
        "COVID-00003a,,,,,,,,PA,X-ray,,\nCOVID-00004,,,,COVID-19,,,,PA,X-ray,,\n",
        "latin-1",
    )
    image(tmp_path / "images" / "COVID-00001.jpg")
    image(tmp_path / "images" / "COVID-00002.png")
    image(tmp_path / "images" / "COVID-00003a.jpg")
    dataset = read_dataset(tmp_path)
    assert (dataset.layout, dataset.rows[0].source) == ("agchung", "figure1")
    assert [(row.covid, row.view, row.age, row.sex) for row in dataset] == [
        (True, "AP_erect", 50, "M"), (False, "PA", None, "F"), (None, "PA", None, ""),
    ]  # fmt: skip
    assert dataset.rows[0].extra["notes"] == "Señor"
    assert notes(dataset) == {DataNote.NOT_UTF8: 1, DataNote.AGE_IMPLAUSIBLE: 1}
    assert reasons(dataset) == {"COVID-00004": Exclusion.IMAGE_MISSING}


def test_brixia(tmp_path: Path) -> None:
    text(
        tmp_path / "metadata_global_v2.csv",
        "Filename;StudyId;Subject;Sex;AgeAtStudyDateFiveYear;Modality;Manufacturer;StudyDate;BrixiaScore;BrixiaScoreGlobal;ConsensusTestset\n"
        "1.dcm;s1;p1;M;13;CR;X;20200301;001122;6;0\n2.dcm;s2;p1;M;13;DX;X;20200302;12;3;1\n3.dcm;s3;p2;F;;DX;X;20200302;333333;18;0\n",
        "utf-8-sig",
    )
    for number, view in ((1, "AP"), (2, "PA"), (3, "LATERAL")):
        dicom(tmp_path / "dicom_clean" / f"{number}.dcm", view=view)
    dataset = read_dataset(tmp_path)
    first, second = dataset.rows
    assert (dataset.layout, first.patient, first.age, first.view, first.covid) == (
        "brixia",
        "brixia-p1",
        65,
        "AP",
        True,
    )
    assert [first.extra[f"Brixia_{zone}"] for zone in "ABCDEF"] == list("001122")
    assert [second.extra[f"Brixia_{zone}"] for zone in "ABCDEF"] == list("000012")
    assert reasons(dataset) == {"3.dcm": Exclusion.LATERAL_VIEW}


def test_brixia_of_cohen(tmp_path: Path) -> None:
    zones = [f"{who}-{zone}" for who in "SJ" for zone in (*"ABCDEF", "Global")]
    text(
        tmp_path / "public-annotations.csv",
        ",".join(["filename", *zones]) + "\na.jpg," + ",".join("1" * 14) + "\n",
        "utf-8-sig",
    )
    image(tmp_path / "images" / "a.jpg")
    row = read_dataset(tmp_path).rows[0]
    assert (row.id, row.extra["S-Global"], row.source) == ("a.jpg", "1", "ieee8023")


def test_ricord(tmp_path: Path) -> None:
    subject = tmp_path / "MIDRC-RICORD-1C-419639-000025"
    dicom(
        subject / "01-02-2003-NA-XR CHEST-12345" / "1.000000-AP-1" / "1-1.dcm", view="AP", sex="M", age="061Y"
    )
    dicom(subject / "01-02-2003-NA-XR CHEST-12345" / "2.000000-LAT-1" / "1-1.dcm", view="LL")
    dicom(tmp_path / "MIDRC-RICORD-1C-419639-000026" / "01-02-2003-NA-XR CHEST-99999" / "1-1.dcm", view="PA")
    rows = [
        ["Anon MRN", "Anon TCIA Study Date", "Anon Exam Description", "Anon Study UID"],
        ["419639-000025", "2003-01-02", "XR", "1.2.826.12345"],
    ]
    workbook(
        tmp_path / "MIDRC-RICORD-1c Clinical Data.xlsx", {"Notes": [["x"]], "CR Pos - TCIA Submission": rows}
    )
    dataset = read_dataset(tmp_path)
    assert dataset.layout == "ricord-1c"
    assert [(row.patient, row.view, row.sex, row.age, row.covid) for row in dataset] == [
        ("ricord-419639-000025", "AP", "M", 61, True), ("ricord-MIDRC-RICORD-1C-419639-000026", "PA", "", None, True),
    ]  # fmt: skip
    assert list(reasons(dataset).values()) == [Exclusion.LATERAL_VIEW]


def test_jsrt_and_scr(tmp_path: Path) -> None:
    for name in ("JPCLN001", "JPCNN002"):
        (tmp_path / f"{name}.IMG").write_bytes(b"\0" * 2048)
    image(tmp_path / "JPCLN003.png")
    for fold, name in (("fold1", "JPCLN001"), ("fold2", "JPCNN002")):
        mask(tmp_path / fold / "masks" / "right lung" / f"{name}.gif", slice(4, 15))
        mask(tmp_path / fold / "masks" / "left lung" / f"{name}.gif", slice(22, 34))
        mask(tmp_path / fold / "masks" / "heart" / f"{name}.gif", slice(16, 21))
    dataset = read_dataset(tmp_path)
    assert dataset.layout == "jsrt"
    assert {row.view for row in dataset} == {"PA"}
    found = {row.id: row for row in dataset}
    assert found["JPCLN001"].finding == "lung nodule" and found["JPCNN002"].finding == "normal"
    assert found["JPCLN001"].mask.load().sum() == 20 * 23 and found["JPCNN002"].heart.load().sum() == 20 * 5
    assert found["JPCLN003"].mask is None


def test_a_raw_film_of_jsrt_is_read(tmp_path: Path) -> None:
    """Big-endian, 12 bits, bone dark: written here byte by byte, most significant first."""
    from lungsight.errors import LungsightError
    from lungsight.xray import read_xray

    grey = np.full((2048, 2048), 3000)
    grey[:1024, :1024] = 100
    raw = np.stack((grey >> 8, grey & 255), axis=-1).astype(np.uint8).tobytes()
    (tmp_path / "JPCLN001.IMG").write_bytes(raw)
    film = read_xray(read_dataset(tmp_path).rows[0].image)
    assert (film.shape, film.format, film.bits) == ((2048, 2048), "JSRT", 12)
    assert film.pixels[500, 500] == 1 and film.pixels[500, 1500] == 0 and film.pixels[1500, 500] == 0
    # The same bytes the other way round would be values above 12 bits.
    for wrong in (raw[:-2], np.frombuffer(raw, "<u2").astype(">u2").tobytes(), bytes(len(raw))):
        with pytest.raises(LungsightError):
            read_xray(wrong)


def test_montgomery_and_shenzhen(tmp_path: Path) -> None:
    one = tmp_path / "MontgomerySet"
    image(one / "CXR_png" / "MCUCXR_0001_0.png")
    mask(one / "ManualMask" / "leftMask" / "MCUCXR_0001_0.png", slice(22, 34))
    mask(one / "ManualMask" / "rightMask" / "MCUCXR_0001_0.png", slice(4, 15))
    text(one / "ClinicalReadings" / "MCUCXR_0001_0.txt", "Patient's Sex: F\nPatient's Age: 027Y\nnormal\n")
    two = tmp_path / "ChinaSet_AllFiles"
    image(two / "CXR_png" / "CHNCXR_0327_1.png")
    image(two / "CXR_png" / "CHNCXR_0002_0.png")
    mask(two / "mask" / "CHNCXR_0327_1_mask.png", slice(4, 34))
    text(two / "ClinicalReadings" / "CHNCXR_0327_1.txt", "male 37yrs\nPTB in the left upper field\n")
    for root, names in ((tmp_path, 3), (one, 1), (two, 2)):
        dataset = read_dataset(root)
        assert (dataset.layout, len(dataset)) == ("nlm-tuberculosis", names)
    found = {row.id: row for row in read_dataset(tmp_path)}
    assert (found["MCUCXR_0001_0"].sex, found["MCUCXR_0001_0"].age, found["MCUCXR_0001_0"].source) == (
        "F",
        27,
        "montgomery",
    )
    assert found["MCUCXR_0001_0"].mask.load().sum() == 20 * 23
    ill = found["CHNCXR_0327_1"]
    assert (ill.sex, ill.age, ill.finding, ill.source, ill.mask.load().sum()) == (
        "M",
        37,
        "tuberculosis",
        "shenzhen",
        600,
    )
    assert (found["CHNCXR_0002_0"].mask, found["CHNCXR_0002_0"].finding) == (None, "normal")


def test_chexmask(tmp_path: Path) -> None:
    header = ",Image Index,Dice RCA (Mean),Dice RCA (Max),Landmarks,Left Lung,Right Lung,Heart,Height,Width\n"
    # 4 x 5 pixels: the left lung in the last column of rows 1 and 2, the right one in the first of rows 1 to 3.
    text(
        tmp_path / "OriginalResolution" / "ChestX-Ray8.csv",
        header
        + '0,a.png,0.95,0.97,"[1 2]",10 1 15 1,6 1 11 1 16 1,,4,5\n'
        + '1,b.png,0.5,0.9,"[1 2]",10 1,6 1,,4.0,5.0\n'
        + '2,c.png,0.99,0.8,"[1 2]",10 1,6 1,,,\n',
    )
    for name in "abc":
        image(tmp_path / "images" / f"{name}.png", (4, 5))
    dataset = read_dataset(tmp_path)
    assert (dataset.layout, [row.mask is not None for row in dataset]) == ("chexmask", [True, False, False])
    expected = np.zeros((4, 5), bool)
    expected[1:3, 4], expected[1:4, 0] = True, True
    assert (dataset.rows[0].mask.load() == expected).all()


def test_a_preprocessed_chexmask_without_sizes(tmp_path: Path) -> None:
    text(
        tmp_path / "Preprocessed" / "Padchest.csv",
        ",ImageID,Dice RCA (Mean),Dice RCA (Max),Landmarks,Left Lung,Right Lung,Heart,Height,Width\n"
        # Mean and Max look swapped in this table, and are 0 where nothing was estimated.
        + '0,a.png,0.97,0.9,"[1 2]",1025 3,1 2,,,\n1,b.png,0.0,0.0,"[1 2]",1025 3,1 2,,,\n',
    )
    for name in "ab":
        image(tmp_path / "images" / f"{name}.png", (4, 5))
    first, second = read_dataset(tmp_path).rows
    assert first.mask is not None and second.mask is None
    drawn = first.mask.load()
    assert drawn.shape == (1024, 1024) and drawn.nonzero()[0].tolist() == [0, 0, 1, 1, 1]


@pytest.mark.parametrize("runs", ["0 3", "3", "19 3", "-1 2", "a b", "1 99999999999999999999"])
def test_run_lengths_that_are_none(runs: str) -> None:
    with pytest.raises(DataError, match="run lengths"):
        decode_runs(runs, (4, 5))


def test_run_lengths_count_from_1_row_by_row() -> None:
    assert decode_runs("1 1 20 1", (4, 5)).nonzero()[1].tolist() == [0, 4]
    assert decode_runs("5 2", (4, 5)).tolist()[0:2] == [[False] * 4 + [True], [True] + [False] * 4]
    assert not decode_runs("", (4, 5)).any()


def test_any_layout_becomes_a_manifest(tmp_path: Path) -> None:
    rsna_folder, out = tmp_path / "rsna", tmp_path / "out"
    text(
        rsna_folder / "Data_Entry_2017.csv",
        NIH + "a.png,Edema,0,1,58,M,PA,1,1,1,1,\nb.png,No Finding,0,2,58,F,AP,1,1,1,1,\n",
    )
    for name in "ab":
        image(rsna_folder / "images" / f"{name}.png")
    write_manifest(read_dataset(rsna_folder), out)
    again = read_dataset(out)
    assert again.layout == "manifest"
    assert [(row.patient, row.finding, row.view) for row in again] == [
        ("nih-00000001", "Edema", "PA"),
        ("nih-00000002", "No Finding", "AP"),
    ]
    assert again.rows[0].extra["Follow-up #"] == "0"


def test_every_reader_is_small_and_in_the_registry() -> None:
    folder = Path(__file__).resolve().parents[1] / "src" / "lungsight" / "dataset" / "readers"
    for name in LAYOUTS:
        assert len((folder / f"{name}.py").read_text().splitlines()) < 150, name


@pytest.mark.parametrize("name", LAYOUTS)
def test_no_reader_takes_what_is_not_its_own(name: str, tmp_path: Path) -> None:
    import importlib

    text(tmp_path / "notes.txt", "patient file label\n")
    text(tmp_path / "other.csv", "a,b\n1,2\n")
    image(tmp_path / "images" / "x.png")
    assert not importlib.import_module(f"lungsight.dataset.readers.{name}").recognise(tmp_path)
