"""What a DICOM result takes from the X-ray it belongs to, identified or not, and the UIDs of all objects of a run."""

from __future__ import annotations

import io
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lungsight.errors import InputError, require
from lungsight.xray import Limits, read_bytes
from lungsight.xray.dicom_kind import valid_uid
from lungsight.xray.pool import shared_pool

EMPTY_IF_ABSENT = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "ReferringPhysicianName"),
    *("StudyID", "StudyDate", "StudyTime", "AccessionNumber"),
)
"""Type 2: must be there, and may be empty. All of them name the patient or the visit."""
NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
DUMMY_DATE, DUMMY_TIME = "19000101", "000000"
"""Stand where the standard wants a date and an anonymous object must not say one."""
_FORMS = {"DA": r"\d{8}", "TM": r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?"}


@dataclass(frozen=True)
class Identity:
    """How DICOM results of one run name the patient and the objects.

    Args:
        anonymous: by the Basic Application Confidentiality Profile (PS3.15 annex E), with the option that retains UIDs.
        new_uids: replace the UIDs of the source too, by the same ones in all objects of the run.
    """

    anonymous: bool = False
    new_uids: bool = False
    _key: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)

    def uid(self, uid: str) -> str:
        """The UID of the source as the results give it."""
        return self._made(uid) if self.new_uids else uid

    def result_uid(self, source: str, *parts: str) -> str:
        """A UID for something that was made from the object `source`; the same parts give the same UID."""
        from pydicom.uid import generate_uid

        key = [self._key] if self.new_uids else []
        return str(generate_uid(entropy_srcs=["lungsight", *key, source, *parts]))

    def _made(self, uid: str) -> str:
        from pydicom.uid import generate_uid

        return str(generate_uid(entropy_srcs=["lungsight source", self._key, uid]))

    def mark(self, dataset: Any) -> None:
        """Say in an anonymous object how it became so, and take out what the profile wants out."""
        if not self.anonymous:
            return
        from pydicom.dataset import Dataset
        from pydicom.sequence import Sequence

        codes = [("113100", "Basic Application Confidentiality Profile")]
        if not self.new_uids:
            codes.append(("113110", "Retain UIDs Option"))
        items = []
        for value, meaning in codes:
            item = Dataset()
            item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
            items.append(item)
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = "Basic profile" + ("" if self.new_uids else ", UIDs retained")
        dataset.DeidentificationMethodCodeSequence = Sequence(items)
        for word in ("ContentDate", "SeriesDate", "InstanceCreationDate", "AcquisitionDate"):
            if word in dataset:
                setattr(dataset, word, DUMMY_DATE)
        for word in ("ContentTime", "SeriesTime", "InstanceCreationTime", "AcquisitionTime"):
            if word in dataset:
                setattr(dataset, word, DUMMY_TIME)
        for word in (
            "ContentCreatorName",
            "InstitutionName",
            "InstitutionalDepartmentName",
            "TimezoneOffsetFromUTC",
        ):
            if word in dataset:
                delattr(dataset, word)


def read_source(source: str | Path | bytes, identity: Identity, *, limits: Limits | None = None) -> Any:
    """The elements of an X-ray that results repeat, as a `pydicom.Dataset`; read in a decoding process.

    Raises:
        InputError: it is no DICOM file, or lacks the UIDs by which a result finds it.
    """
    require("pydicom", feature="Writing DICOM", extra="dicom")
    from pydicom import dcmread

    limits = limits or Limits()
    where = "the X-ray" if isinstance(source, bytes) else str(source)
    data = source if isinstance(source, bytes) else read_bytes(Path(source), where, limits)
    header = dcmread(io.BytesIO(shared_pool().header(data, where, limits)), force=True)
    _clean(header)
    for word in NEEDED:
        if not valid_uid(str(header.get(word, ""))):
            raise InputError(
                f"the DICOM file lacks what a result must repeat ({word})", code="no_reference", where=where
            )
    for word in EMPTY_IF_ABSENT:
        if identity.anonymous or word not in header:
            setattr(header, word, "")
    if identity.anonymous:
        for word in ("StudyDescription", "PatientAge", "SpecificCharacterSet"):
            if word in header:
                delattr(header, word)
    for word in (*NEEDED[1:], "FrameOfReferenceUID"):
        if word in header:
            if valid_uid(str(header[word].value)):
                setattr(header, word, identity.uid(str(header[word].value)))
            else:
                delattr(header, word)
    return header


def _clean(header: Any) -> None:
    """Empty what is not of its form: a date that is none would make another program stumble."""
    from pydicom.charset import python_encoding

    names = header.get("SpecificCharacterSet", "")
    names = [names] if isinstance(names, str) else list(names)
    known = all(str(name).strip() in python_encoding for name in names)
    if not known:
        del header.SpecificCharacterSet
    for element in list(header):
        form = _FORMS.get(element.VR)
        if form and element.value and not re.fullmatch(form, str(element.value)):
            element.value = ""
        if element.VR in ("LO", "SH", "PN") and not known and not str(element.value).isascii():
            element.value = ""
    if header.get("PatientSex", "") not in ("", "M", "F", "O"):
        header.PatientSex = ""
    orientation = header.get("PatientOrientation", "")
    words = [orientation] if isinstance(orientation, str) else list(orientation)
    if len(words) != 2 or any(not word or set(word) - set("LRHFAP") for word in words):
        header.PatientOrientation = ""
    if header.get("LossyImageCompression", "") not in ("00", "01"):
        for word in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            if word in header:
                delattr(header, word)


def carry(result: Any, header: Any, identity: Identity) -> None:
    """What highdicom leaves out: orientation, lossy flags, empty elements of type 2, the marks of anonymity."""
    result.SpecificCharacterSet = "ISO_IR 192"
    for word in EMPTY_IF_ABSENT:
        if word not in result:
            setattr(result, word, header.get(word, ""))
    if "PatientOrientation" not in result and "Rows" in result:
        result.PatientOrientation = header.get("PatientOrientation", "")
    for word in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if word in header and "Rows" in result:
            setattr(result, word, header[word].value)
    identity.mark(result)


def encode(dataset: Any) -> bytes:
    """The bytes of a DICOM file."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
