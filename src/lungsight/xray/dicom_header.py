"""The elements of a DICOM X-ray that its results repeat: patient, visit, UIDs, geometry. Nothing else uses them.

Runs in a decoding process. What goes back is a small data set (explicit, little endian) of elements that are listed
here, each of a length that its type allows.
"""

from __future__ import annotations

import re
import struct

from lungsight.errors import InputError
from lungsight.xray.base import Limits
from lungsight.xray.dicom import parse
from lungsight.xray.sniff import HEAD, sniff

CARRIED: dict[int, tuple[bytes, int]] = {
    0x00080005: (b"CS", 200),
    0x00080016: (b"UI", 64),
    0x00080018: (b"UI", 64),
    0x00080020: (b"DA", 8),
    0x00080030: (b"TM", 14),
    0x00080050: (b"SH", 64),
    0x00080060: (b"CS", 16),
    0x00080090: (b"PN", 400),
    0x00081030: (b"LO", 256),
    0x00100010: (b"PN", 400),
    0x00100020: (b"LO", 256),
    0x00100030: (b"DA", 8),
    0x00100040: (b"CS", 16),
    0x0020000D: (b"UI", 64),
    0x0020000E: (b"UI", 64),
    0x00200010: (b"SH", 64),
    0x00200020: (b"CS", 32),
    0x00200052: (b"UI", 64),
    0x00280010: (b"US", 2),
    0x00280011: (b"US", 2),
    0x00282110: (b"CS", 16),
    0x00282112: (b"DS", 64),
    0x00282114: (b"CS", 64),
}
"""Tag -> VR and longest value in bytes; longer ones are left out."""

_CHARACTER_SETS = (
    r"(ISO_IR (6|13|100|101|109|110|126|127|138|144|148|149|166|192|203)|GB18030|GBK"
    r"|ISO 2022 IR (6|13|58|87|100|101|109|110|126|127|138|144|148|149|159|166|203))?"
)
_TEXTS: dict[bytes | int, str] = {
    b"UI": r"[0-9.]{1,64}",
    b"DA": r"([0-9]{8})?",
    b"TM": r"([0-9]{2}([0-9]{2}([0-9]{2}(\.[0-9]{1,6})?)?)?)?",
    b"DS": r" *([-+]?[0-9]*\.?[0-9]+([eE][-+]?[0-9]{1,3})?)? *",
    b"CS": r"[A-Z0-9 _]{0,16}",
    b"LO": r"[^\x00-\x1a\x1c-\x1f]{0,256}",
    b"SH": r"[^\x00-\x1a\x1c-\x1f]{0,64}",
    b"PN": r"[^\x00-\x1a\x1c-\x1f]{0,400}",
    0x00080005: _CHARACTER_SETS,
    0x00100040: r"[MFO]?",
    0x00200020: r"[LRHFAP]{0,3}",
    0x00282110: r"(00|01)?",
    0x00282114: r"(ISO_[0-9]{4,5}_[0-9]{1,2})?",
}
_FORMS = {key: re.compile(form.encode()) for key, form in _TEXTS.items()}
"""VR or tag -> form of each of its values, in bytes.

What is not of its form is left out here, where it is bytes: pydicom would quote it in a warning and in its log, and
somebody's word in LossyImageCompressionMethod would go into anonymous results.
"""


def _conforms(tag: int, vr: bytes, value: bytes) -> bool:
    form = _FORMS[tag] if tag in _FORMS else _FORMS.get(vr)
    return form is None or all(form.fullmatch(one.strip(b" ")) for one in value.split(b"\\"))


def source_header(data: bytes, limits: Limits) -> bytes:
    """The carried elements of a DICOM file.

    Raises:
        InputError: it is no DICOM file, or is damaged.
    """
    if not sniff(data[:HEAD]).startswith("DICOM"):
        raise InputError("a DICOM result needs the X-ray as a DICOM file", code="no_dicom")
    elements, _ = parse(memoryview(data), limits, frozenset(CARRIED))
    parts = []
    for tag, (vr, longest) in CARRIED.items():
        if tag not in elements:
            continue
        value = bytes(elements.values[tag])
        if vr == b"US":
            number = elements.word(tag)
            value = b"" if number is None else struct.pack("<H", number)
        else:
            value = value.rstrip(b" \0")
            value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
        if len(value) <= longest and (vr == b"US" or _conforms(tag, vr, value.rstrip(b"\0"))):
            parts.append(struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value)
    return b"".join(parts)
