"""What a DICOM object is, by its SOP class and modality: an X-ray, another image, or no image at all.

Both are answered with words of the tables here, never with what the file says.
"""

from __future__ import annotations

import re
import struct

_ROOT = "1.2.840.10008.5.1.4.1.1."

RADIOGRAPHS = frozenset(_ROOT + part for part in ("1", "1.1", "1.1.1", "7", "7.1", "7.2", "7.3", "7.4"))
"""SOP classes that hold chest X-rays: computed and digital radiography, secondary capture."""

OTHER_IMAGES: dict[str, str] = {
    "1.2": "a mammogram",
    "1.2.1": "a mammogram",
    "1.3": "an intra-oral X-ray",
    "1.3.1": "an intra-oral X-ray",
    "2": "a CT image",
    "2.1": "a CT image",
    "2.2": "a CT image",
    "3": "an ultrasound image",
    "3.1": "an ultrasound image",
    "4": "an MR image",
    "4.1": "an MR image",
    "4.2": "an MR spectrum",
    "4.3": "an MR image",
    "4.4": "an MR image",
    "5": "a nuclear medicine image",
    "6": "an ultrasound image",
    "6.1": "an ultrasound image",
    "6.2": "an ultrasound image",
    "12.1": "an X-ray angiogram",
    "12.1.1": "an X-ray angiogram",
    "12.2": "a fluoroscopy image",
    "12.2.1": "a fluoroscopy image",
    "12.3": "an X-ray angiogram",
    "13.1": "a tomographic X-ray image",
    "14": "an optical tomography image",
    "20": "a nuclear medicine image",
    "77.1": "a photograph",
    "77.2": "a photograph",
    "128": "a PET image",
    "130": "a PET image",
    "481.1": "a radiotherapy image",
    "481.2": "a radiotherapy dose",
}
"""Below 1.2.840.10008.5.1.4.1.1, each with what begins so."""

NO_IMAGES: dict[str, str] = {
    "1.2.840.10008.1.3.10": "a DICOMDIR, the list of a medium's files",
    _ROOT + "9": "a DICOM waveform",
    _ROOT + "11": "a DICOM presentation state",
    _ROOT + "66": "a DICOM segmentation or raw data",
    _ROOT + "67": "a DICOM value mapping",
    _ROOT + "68": "a DICOM surface scan",
    _ROOT + "77.1.5": "a DICOM ophthalmic object",
    _ROOT + "78": "a DICOM refraction measurement",
    _ROOT + "88": "a DICOM structured report",
    _ROOT + "104": "a document in DICOM",
    _ROOT + "131": "a DICOM basic structured display",
    _ROOT + "200": "a DICOM protocol",
    _ROOT + "481": "a radiotherapy object",
    "1.2.840.10008.5.1.4.38": "a DICOM hanging protocol",
    "1.2.840.10008.5.1.4.34": "a DICOM worklist object",
}

MODALITIES = frozenset(("CR", "DX", "DR", "RG", "OT", "SC", "HC"))
"""Under which chest X-rays are found."""

OTHER_MODALITIES: dict[str, str] = {
    "AS": "an angioscopy",
    "BMD": "a bone densitometry",
    "CF": "a fluoroscopy image",
    "CT": "a CT image",
    "DF": "a fluoroscopy image",
    "DM": "a photograph",
    "EC": "an ultrasound image",
    "EPS": "an electrophysiology record",
    "ES": "an endoscopy image",
    "FA": "a fundus photograph",
    "FS": "a fundus photograph",
    "GM": "a microscopy image",
    "IO": "an intra-oral X-ray",
    "IVOCT": "an optical tomography image",
    "IVUS": "an ultrasound image",
    "LS": "a laser surface scan",
    "MG": "a mammogram",
    "MR": "an MR image",
    "NM": "a nuclear medicine image",
    "OCT": "an optical tomography image",
    "OP": "a photograph of the eye",
    "OPT": "an optical tomography image",
    "PT": "a PET image",
    "PX": "a panoramic X-ray",
    "RF": "a fluoroscopy image",
    "RTDOSE": "a radiotherapy dose",
    "RTIMAGE": "a radiotherapy image",
    "SM": "a microscopy image",
    "ST": "a nuclear medicine image",
    "TG": "a thermogram",
    "US": "an ultrasound image",
    "VF": "a fluoroscopy image",
    "XA": "an X-ray angiogram",
    "XC": "a photograph",
}

_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")
_META_CLASS, _CLASS = 0x00020002, 0x00080016


def valid_uid(text: str) -> str:
    """The UID where it is one (PS3.5 9.1: digits and dots, at most 64), else ''."""
    return text if len(text) <= 64 and _UID.fullmatch(text) else ""


def no_image(sop_class: str) -> str:
    """What an object that holds no image is, in words; '' for images and for classes that are not listed."""
    if any(_below(sop_class, _ROOT + part) for part in ("481.1", "481.2")):
        return ""
    return next((words for root, words in NO_IMAGES.items() if _below(sop_class, root)), "")


def other_image(sop_class: str, modality: str) -> str:
    """What an image that is no projection radiograph is, in words; '' where it may be a chest X-ray."""
    if sop_class not in RADIOGRAPHS:
        inner = [(part, words) for part, words in OTHER_IMAGES.items() if _below(sop_class, _ROOT + part)]
        if inner:
            return max(inner, key=lambda one: len(one[0]))[1]
    return OTHER_MODALITIES.get(modality.upper(), "")


def known_modality(text: str) -> str:
    """The modality where it is a word of the tables here, else ''."""
    word = text.upper()
    return word if word in MODALITIES or word in OTHER_MODALITIES else ""


def class_in_head(head: bytes) -> str:
    """The SOP class UID that stands near the beginning of a file, if it does; '' otherwise."""
    at = 132 if head[128:132] == b"DICM" else 0
    for _ in range(64):
        if at + 8 > len(head):
            break
        group, element, vr, length = struct.unpack_from("<HH2sH", head, at)
        begin = at + 8
        if vr in (b"OB", b"UN", b"SQ", b"OW", b"UT"):
            if at + 12 > len(head):
                break
            (length,) = struct.unpack_from("<I", head, at + 8)
            begin = at + 12
        elif not vr.isalpha():
            (length,) = struct.unpack_from("<I", head, at + 4)
        if (group << 16) | element in (_META_CLASS, _CLASS):
            return valid_uid(head[begin : begin + length].decode("ascii", "replace").strip("\0 "))
        at = begin + length
    return ""


def _below(uid: str, root: str) -> bool:
    return uid == root or uid.startswith(root + ".")
