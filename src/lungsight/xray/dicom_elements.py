"""The elements of a DICOM data set, found in a bounded number of steps (PS3.5 section 7).

Only what is asked for is kept. Values stay bytes until a type is asked of them, and what does not have that type is
None: no value can end up in an error message.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from lungsight.errors import InputError

MAX_ELEMENTS = 50_000
"""Elements of a file, nested ones too. A chest X-ray has some 200, one with long private sequences 5,000."""
PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA = 0x7FE00010, 0x7FE00008, 0x7FE00009
PIXELS = (PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA)
UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD

_LONG = frozenset(
    map(str.encode, ["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"])
)
_SHORT = frozenset(
    map(
        str.encode,
        [
            "AE",
            "AS",
            "AT",
            "CS",
            "DA",
            "DS",
            "DT",
            "FD",
            "FL",
            "IS",
            "LO",
            "LT",
            "PN",
            "SH",
            "SL",
            "SS",
            "ST",
            "TM",
            "UI",
            "UL",
            "US",
        ],
    )
)


class CutShort(InputError):
    """The file ends inside an element."""

    def __init__(self) -> None:
        super().__init__(
            "the DICOM file is damaged or cut short: an element is longer than the file", code="damaged"
        )


@dataclass(slots=True)
class Steps:
    """How many elements may still be looked at."""

    left: int = MAX_ELEMENTS

    def take(self) -> None:
        """Raises InputError where there are none left."""
        self.left -= 1
        if self.left < 0:
            raise InputError(
                f"the DICOM file has more than {MAX_ELEMENTS:,} elements, which no X-ray needs",
                code="too_large",
            )


@dataclass(slots=True)
class Elements:
    """Some elements of a data set: tag -> bytes of the value, and how they are to be understood."""

    implicit: bool
    little: bool
    steps: Steps
    values: dict[int, memoryview] = field(default_factory=dict)
    fragments: list[memoryview] | None = None
    """Of encapsulated pixel data; None where the pixels are not encapsulated."""
    end: int = 0
    """Where reading stopped."""
    pixel_vr: bytes = b""
    """How the pixels are written: b'OB', b'OW' or, without a VR, b''."""

    def __contains__(self, tag: int) -> bool:
        return tag in self.values

    def text(self, tag: int, longest: int = 64) -> str:
        """The first value as text without blanks around; '' where it is absent, long, or no plain ASCII."""
        raw = bytes(self.values.get(tag, b"")[: 4 * longest])
        try:
            text = raw.decode("ascii").split("\\")[0].strip(" \0\r\n\t")
        except UnicodeDecodeError:
            return ""
        return text if len(text) <= longest else ""

    def numbers(self, tag: int) -> list[float]:
        """Decimal strings as numbers, a decimal comma taken for a point; [] where one of them is none."""
        try:
            text = bytes(self.values.get(tag, b"")[:1024]).decode("ascii").strip(" \0")
            found = [float(part.strip(" \0").replace(",", ".")) for part in text.split("\\")] if text else []
        except ValueError:
            return []
        return found if all(abs(value) < 1e300 for value in found) else []

    def number(self, tag: int) -> float | None:
        """The first of `numbers`."""
        return next(iter(self.numbers(tag)), None)

    def words(self, tag: int, *, signed: bool = False) -> list[int]:
        """Binary 16-bit numbers (US, SS); [] where there are none."""
        raw = bytes(self.values.get(tag, b"")[:64])
        count = len(raw) // 2
        return list(
            struct.unpack(f"{'<' if self.little else '>'}{count}{'h' if signed else 'H'}", raw[: 2 * count])
        )

    def word(self, tag: int, *, signed: bool = False) -> int | None:
        """The first of `words`."""
        return next(iter(self.words(tag, signed=signed)), None)

    def items(self, tag: int, wanted: Iterable[int], most: int = 16) -> list[Elements]:
        """The items of a sequence, at most so many of them, each with the wanted elements."""
        data = self.values.get(tag)
        found: list[Elements] = []
        at = 0
        while data is not None and at + 8 <= len(data) and len(found) < most:
            item, length = _tag_and_length(data, at, self.little)
            if item != _ITEM:
                break
            end = len(data) if length == UNDEFINED else min(len(data), at + 8 + length)
            one = read_elements(
                data[:end], at + 8, wanted, self.implicit, self.little, self.steps, inside=True
            )
            found.append(one)
            at = one.end if length == UNDEFINED else end
        return found


def read_elements(
    data: memoryview,
    start: int,
    wanted: Iterable[int],
    implicit: bool,
    little: bool,
    steps: Steps,
    *,
    inside: bool = False,
    group: int | None = None,
) -> Elements:
    """Walk a data set up to its pixels, and keep the wanted elements of its outermost level.

    Args:
        data: the file.
        start: where the data set begins.
        wanted: tags.
        implicit: no VR is written.
        little: little endian.
        steps: shared by everything that is read of one file.
        inside: it is an item of a sequence, which ends with its delimiter or with the data.
        group: stop before the first element of another group.

    Raises:
        CutShort: the file ends inside an element.
        InputError: too many elements.
    """
    keep = frozenset(wanted)
    found = Elements(implicit, little, steps)
    at, end = start, len(data)
    # Sequences of undefined length that are open: (tag, where its items begin, implicit before it).
    opened: list[tuple[int, int, bool]] = []
    while at + 8 <= end:
        steps.take()
        tag, _ = _tag_and_length(data, at, little)
        if group is not None and not opened and tag >> 16 != group:
            break
        if tag in (_ITEM, _ITEM_END, _SEQUENCE_END):
            length = _tag_and_length(data, at, little)[1]
            if tag == _SEQUENCE_END and opened:
                sequence, begin, implicit = opened.pop()
                if not opened and sequence in keep:
                    found.values[sequence] = data[begin:at]
            elif tag == _ITEM_END and inside and not opened:
                at += 8
                break
            at += 8 if tag != _ITEM or length == UNDEFINED else 8 + length
            continue
        vr, length, body = _header(data, at, implicit, little)
        if tag == PIXEL_DATA and length == UNDEFINED and not opened:
            found.fragments, at = _fragments(data, body, steps)
            found.values[tag] = data[0:0]
            break
        if length == UNDEFINED:
            opened.append((tag, body, implicit))
            implicit = implicit or vr == b"UN"  # PS3.5 6.2.2 note 2
            at = body
            continue
        at = body + length
        if not opened and (tag in keep or tag in PIXELS):
            if at > end and tag not in PIXELS:
                raise CutShort
            found.values[tag] = data[body:at]
            if tag in PIXELS:
                found.pixel_vr = vr
                break
        if at > end:
            raise CutShort
    found.end = min(at, end)
    return found


def _tag_and_length(data: memoryview, at: int, little: bool) -> tuple[int, int]:
    group, element, length = struct.unpack_from("<HHI" if little else ">HHI", data, at)
    return (group << 16) | element, length


def _header(data: memoryview, at: int, implicit: bool, little: bool) -> tuple[bytes, int, int]:
    """(VR, length, where the value begins); an element without a VR among others that have one is taken as it is.

    A VR that is not in the standard has the length of one that is: two bytes, or four behind two that are reserved,
    whichever leads to an element with a higher tag.
    """
    order = "<" if little else ">"
    vr = bytes(data[at + 4 : at + 6])
    if not implicit and vr in _SHORT:
        return vr, struct.unpack_from(order + "H", data, at + 6)[0], at + 8
    if not implicit and vr in _LONG and at + 12 <= len(data):
        return vr, struct.unpack_from(order + "I", data, at + 8)[0], at + 12
    length = struct.unpack_from(order + "I", data, at + 4)[0]
    if not implicit and all(0x20 <= byte < 0x7F for byte in vr):
        tried = [(struct.unpack_from(order + "H", data, at + 6)[0], at + 8)]
        if at + 12 <= len(data):
            tried.append((struct.unpack_from(order + "I", data, at + 8)[0], at + 12))
        tag = _tag_and_length(data, at, little)[0]
        for one, body in [*tried, (length, at + 8)]:
            if body + one + 8 <= len(data) and _tag_and_length(data, body + one, little)[0] > tag:
                return b"", one, body
    return b"", length, at + 8


def has_vr(data: memoryview, at: int) -> bool:
    """Whether the element there is written with its VR."""
    return bytes(data[at + 4 : at + 6]) in _SHORT | _LONG


def _fragments(data: memoryview, at: int, steps: Steps) -> tuple[list[memoryview], int]:
    """The fragments of encapsulated pixels, without the table of offsets (PS3.5 A.4)."""
    found: list[memoryview] = []
    while at + 8 <= len(data):
        steps.take()
        tag, length = _tag_and_length(data, at, True)
        if tag != _ITEM or length == UNDEFINED:
            break
        if at + 8 + length > len(data):
            raise CutShort
        found.append(data[at + 8 : at + 8 + length])
        at += 8 + length
    return found[1:], at
