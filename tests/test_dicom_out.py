"""DICOM results: what they say, what they hide, and that other programs read them."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pydicom.uid as uid
import pytest
from numpy.typing import NDArray
from PIL import Image

from lungsight.errors import InputError, RefusedError
from lungsight.wording import SpacingKind
from lungsight.writers.dicom_sc import encode_dicom_sc
from lungsight.writers.dicom_seg import encode_dicom_seg
from lungsight.writers.dicom_source import Identity
from lungsight.writers.dicom_sr import encode_dicom_sr
from lungsight.xray import read_xray
from programs import dcmtk
from xray_files import RAMP12, dicom, encode

pytest.importorskip("highdicom")
STUDY, SERIES, SOP = "1.2.3.4", "1.2.3.4.5", "1.2.3.4.5.6"
LABELS = np.zeros((48, 64), np.uint8)
LABELS[10:40, 5:25], LABELS[12:40, 40:60] = 1, 2
PICTURE = np.dstack([(RAMP12 // 16).astype(np.uint8)] * 3)
UIDS: dict[str, Any] = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES, "SOPInstanceUID": SOP}


def source(**elements: Any) -> bytes:
    return dicom(**(UIDS | elements))


def results(data: bytes, identity: Identity | None = None) -> dict[str, bytes]:
    identity = identity or Identity()
    return {
        "SEG": encode_dicom_seg(data, LABELS, identity=identity, spacing=(5.0, 4.0)),
        "SC": encode_dicom_sc(data, PICTURE, identity=identity, spacing=(5.0, 4.0)),
        "SR": encode_dicom_sr(
            data,
            {1: 600, 2: 560},
            spacing=(5.0, 4.0),
            spacing_kind=SpacingKind.DETECTOR,
            score=0.25,
            identity=identity,
        ),
    }


def read(data: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(data))


SOURCES: dict[str, Any] = {
    "plain": {},
    "bare": {"PatientBirthDate": None, "PatientName": None, "PatientID": None},
    "oriented": {
        "PatientOrientation": ["R", "F"],
        "PatientName": "Müller^Jürgen",
        "SpecificCharacterSet": "ISO_IR 100",
    },
    "lossy": {
        "LossyImageCompression": "01",
        "LossyImageCompressionRatio": 10,
        "LossyImageCompressionMethod": "ISO_10918_1",
    },
    "wrong dates": {"StudyDate": "", "FrameOfReferenceUID": "1.2.3.9"},
}


@pytest.mark.parametrize(
    "identity", [Identity(), Identity(True), Identity(True, True)], ids=["named", "anonymous", "new"]
)
@pytest.mark.parametrize("kind", SOURCES)
def test_dciodvfy_finds_no_error(kind: str, identity: Identity, tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian: dicom3tools)")
    if identity.anonymous and kind not in ("plain", "oriented"):
        return
    for name, data in results(source(**SOURCES[kind]), identity).items():
        path = tmp_path / f"{name}.dcm"
        path.write_bytes(data)
        said = subprocess.run(["dciodvfy", path], capture_output=True).stderr.decode("latin-1")
        assert not [line for line in said.splitlines() if line.startswith("Error")], (name, said)


def test_sources_without_preamble_or_in_another_encoding_are_referred_to() -> None:
    for data in (
        source()[132:],
        dicom(RAMP12, uid.ExplicitVRBigEndian, **UIDS),
        dicom(RAMP12, uid.JPEG2000Lossless, **UIDS),
    ):
        found = read(encode_dicom_seg(data, LABELS)).ReferencedSeriesSequence[0]
        referred = found.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID
        assert referred == pydicom.dcmread(io.BytesIO(data), force=True).SOPInstanceUID


def test_identity_geometry_and_lossy_flags_are_those_of_the_source() -> None:
    for name, data in results(source(**SOURCES["oriented"] | SOURCES["lossy"])).items():
        found = read(data)
        assert found.PatientName == "Müller^Jürgen" and found.PatientID == "SECRET-77", name
        assert found.PatientBirthDate == "19700101" and found.StudyInstanceUID == STUDY
        assert found.SeriesInstanceUID != SERIES and found.SOPInstanceUID != SOP
        assert found.StudyDate == "" and found.AccessionNumber == ""
        if name != "SR":
            assert list(found.PatientOrientation) == ["R", "F"]
            assert (found.LossyImageCompression, found.LossyImageCompressionMethod) == ("01", "ISO_10918_1")


def test_spacing_is_kept() -> None:
    made = results(source())
    shared = read(made["SEG"]).SharedFunctionalGroupsSequence[0]
    assert list(shared.PixelMeasuresSequence[0].PixelSpacing) == [5, 4]
    assert list(read(made["SC"]).PixelSpacing) == [5, 4]
    assert (
        "PixelMeasuresSequence"
        not in read(encode_dicom_seg(source(), LABELS)).SharedFunctionalGroupsSequence[0]
    )


def test_masks_come_back_from_two_readers(tmp_path: Path) -> None:
    import highdicom

    path = tmp_path / "seg.dcm"
    path.write_bytes(results(source())["SEG"])
    frames = planes(read(path.read_bytes()))
    assert highdicom.seg.segread(path).number_of_segments == 2
    for label in (1, 2):
        assert np.array_equal(frames[label], label == LABELS)
    subprocess.run([dcmtk("dcmdump"), "+W", tmp_path, path], check=True, capture_output=True)
    (written,) = tmp_path.glob("*.raw")
    bits = np.unpackbits(np.frombuffer(written.read_bytes(), np.uint8), bitorder="little")[: 2 * LABELS.size]
    assert np.array_equal(bits.reshape(2, 48, 64), [LABELS == 1, LABELS == 2])
    (tmp_path / "sc.dcm").write_bytes(results(source())["SC"])
    subprocess.run(
        [dcmtk("dcm2pnm"), tmp_path / "sc.dcm", tmp_path / "sc.ppm"], check=True, capture_output=True
    )
    assert np.array_equal(np.asarray(Image.open(tmp_path / "sc.ppm")), PICTURE)


def planes(dataset: pydicom.Dataset) -> dict[int, NDArray[np.bool_]]:
    return {
        int(frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber): pixels > 0
        for frame, pixels in zip(dataset.PerFrameFunctionalGroupsSequence, dataset.pixel_array, strict=True)
    }


def test_an_overlay_that_comes_back_is_no_xray() -> None:
    """Else an archive that sends on what it gets would get overlays of overlays."""
    assert read_xray(source()).modality == "DX"
    with pytest.raises(RefusedError, match="a result that Lungsight made"):
        read_xray(results(source())["SC"])


def test_one_empty_lung_keeps_its_segment() -> None:
    found = read(encode_dicom_seg(source(), np.where(LABELS == 1, LABELS, 0)))
    assert len(found.SegmentSequence) == 2 and not planes(found)[2].any()


def test_every_segment_says_what_speaks_against_it() -> None:
    from lungsight.wording import Flag

    plain, warned = (
        read(encode_dicom_seg(source(), LABELS, warnings=said))
        for said in ((), (Flag.ONE_LUNG, Flag.ONE_LUNG))
    )
    words = "Research use only, not for diagnosis."
    assert [one.SegmentDescription for one in plain.SegmentSequence] == [words] * 2
    assert [one.SegmentDescription for one in warned.SegmentSequence] == [
        f"{words} Warnings: only one lung found."
    ] * 2
    assert plain.SOPInstanceUID != warned.SOPInstanceUID


def test_report_has_the_areas_and_the_score_only_if_asked() -> None:
    def values(dataset: Any) -> list[tuple[str, float, str]]:
        found = []
        for item in dataset.get("ContentSequence", ()):
            if item.ValueType == "NUM":
                measured = item.MeasuredValueSequence[0]
                name, unit = item.ConceptNameCodeSequence[0], measured.MeasurementUnitsCodeSequence[0]
                found.append((name.CodeMeaning, float(measured.NumericValue), unit.CodeValue))
            found += values(item)
        return found

    with_score = values(read(results(source())["SR"]))
    areas = [
        ("Area", 600, "{pixels}"),
        ("Area", 12000, "mm2"),
        ("Area", 560, "{pixels}"),
        ("Area", 11200, "mm2"),
    ]
    assert with_score[:4] == areas and with_score[4][1:] == (0.25, "1")
    assert values(read(encode_dicom_sr(source(), {1: 600, 2: 560}))) == [areas[0], areas[2]]
    assert "at the detector" in str(read(results(source())["SR"]))


SECRETS = ("Doe", "SECRET-77", "19700101", "Hospital", "20200102")


@pytest.mark.parametrize("new", [False, True])
def test_anonymous_objects_hold_nothing_of_the_patient(new: bool) -> None:
    data = source(
        StudyDate="20200102",
        StudyTime="101112",
        AccessionNumber="SECRET-78",
        InstitutionName="Hospital",
        ReferringPhysicianName="Doe^Other",
        StudyDescription="Doe was here",
        StudyID="Doe",
        PatientSex="F",
        PatientComments="Doe",
    )
    identity = Identity(anonymous=True, new_uids=new)
    made = {name: read(one) for name, one in results(data, identity).items()}
    for name, found in made.items():
        raw = results(data, identity)[name]
        assert not [secret for secret in SECRETS if secret.encode() in raw], name
        assert found.PatientIdentityRemoved == "YES" and found.PatientSex == "" and found.StudyDate == ""
        codes = [item.CodeValue for item in found.DeidentificationMethodCodeSequence]
        assert codes == (["113100"] if new else ["113100", "113110"])
        assert (STUDY.encode() + b"\0" in raw or STUDY.encode() in raw) is not new
    assert len({found.StudyInstanceUID for found in made.values()}) == 1
    assert (made["SC"].StudyInstanceUID == STUDY) is not new
    referred = made["SEG"].ReferencedSeriesSequence[0].ReferencedInstanceSequence[0].ReferencedSOPInstanceUID
    assert made["SC"].SourceImageSequence[0].ReferencedSOPInstanceUID == referred


def test_the_same_result_has_the_same_uid_and_another_has_another() -> None:
    first, again = (read(encode_dicom_seg(source(), LABELS)).SOPInstanceUID for _ in range(2))
    other = read(encode_dicom_seg(source(), LABELS[:, ::-1])).SOPInstanceUID
    assert first == again != other


def test_what_cannot_be_referred_to_is_refused_without_its_values() -> None:
    with pytest.raises(InputError, match="needs the X-ray as a DICOM file"):
        encode_dicom_seg(encode(np.zeros((48, 64), np.uint8)), LABELS)
    with pytest.raises(InputError, match="another size"):
        encode_dicom_seg(source(), LABELS[:, :-1])
    broken = source().replace(STUDY.encode() + b"\0", b"Doe^Jane", 1)
    with pytest.raises(InputError, match=r"must repeat \(StudyInstanceUID\)") as caught:
        encode_dicom_sr(broken, {1: 1, 2: 1})
    assert "Doe" not in str(caught.value)
