"""DICOM files (CR, DX, secondary capture ...) -> grey pixels, and what the header knows about them.

Only the elements named here are taken from a file; nothing about the patient is ever held, and no value goes into a
message.
"""

from __future__ import annotations

import zlib

from lungsight.errors import InputError, PassedOverError, RefusedError
from lungsight.xray.base import Limits, Pixels, Windowed, XRay, luma
from lungsight.xray.dicom_elements import (
    FLOAT_PIXEL_DATA,
    PIXEL_DATA,
    PIXELS,
    Elements,
    Steps,
    has_vr,
    read_elements,
)
from lungsight.xray.dicom_geometry import geometry_of, turned, view_of
from lungsight.xray.dicom_kind import known_modality, no_image, other_image, valid_uid
from lungsight.xray.dicom_pixels import Image, decode_pixels
from lungsight.xray.display import display, windowed
from lungsight.xray.tags import (
    BITS_ALLOCATED,
    BITS_STORED,
    COLUMNS,
    DISPLAYED,
    FRAMES,
    HIGH_BIT,
    IMAGE,
    MANUFACTURER,
    MODALITY,
    PHOTOMETRIC,
    PLANAR,
    ROWS,
    SAMPLES,
    SERIES_UID,
    SIGNED,
    SOP_CLASS,
    SOP_UID,
    STUDY_UID,
    WHERE,
)

_SYNTAX = 0x00020010
IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
)
OURS = "Lungsight"
"""Manufacturer of what `lungsight.writers` make."""


def read_dicom(data: bytes, name: str, limits: Limits, *, sure: bool) -> XRay:
    """Decode a single-frame DICOM image, with or without preamble, in any transfer syntax that is installed.

    Grey values are made ready for display by `display`; colour becomes luma. Source: DICOM PS3.3 C.7.6.3.

    Args:
        data: the file.
        name: what messages call it.
        limits: how large it may be.
        sure: the DICM mark is there; otherwise it may be another kind of file after all.

    Raises:
        PassedOverError: an object that holds no image.
        RefusedError: an image, but no projection radiograph.
        InputError: damaged, several frames, too large, or of a transfer syntax that is not supported.
    """
    try:
        elements, syntax = parse(memoryview(data), limits, IMAGE | DISPLAYED | WHERE)
        known = SOP_CLASS in elements or any(tag in elements for tag in PIXELS)
    except InputError:
        if sure:
            raise
        known = False
    if not known and not sure:
        raise PassedOverError(
            "not an image that can be read: the file is of no known kind",
            code="other_kind",
            where=name,
            hint="PNG, JPEG, BMP, TIFF and DICOM are read",
        )
    modality = known_modality(elements.text(MODALITY, 16))
    _check_kind(elements, modality)
    image = _image(elements, syntax, limits)
    values = decode_pixels(image, elements)
    geometry = geometry_of(elements, image.rows, image.columns)
    view, notes = view_of(elements)
    mirrored, more = turned(elements)
    notes += more + geometry.notes
    pixels: Pixels
    if values.ndim == 3:
        pixels, more = luma(values)
        bits = 8
    else:
        pixels, more = display(values, elements, image)
        bits = image.bits_stored
    uids = (valid_uid(elements.text(tag)) for tag in (STUDY_UID, SERIES_UID, SOP_UID))
    return XRay(
        pixels,
        name,
        "DICOM",
        bits,
        geometry.spacing,
        view or "",
        notes + more,
        modality,
        geometry.kind,
        mirrored,
        *uids,
    )


def read_windowed(data: bytes, limits: Limits) -> Windowed | None:
    """Grey values and window of a DICOM image; None for colour, and where no window says how they are shown.

    Raises:
        InputError: as `read_dicom`.
    """
    elements, syntax = parse(memoryview(data), limits, IMAGE | DISPLAYED | WHERE)
    image = _image(elements, syntax, limits)
    values = decode_pixels(image, elements)
    return None if values.ndim == 3 else windowed(values, elements, image)


def parse(data: memoryview, limits: Limits, wanted: frozenset[int]) -> tuple[Elements, str]:
    """The wanted elements, and the transfer syntax.

    Raises:
        InputError: damaged, or too large once it is inflated.
    """
    steps = Steps()
    start = 132 if bytes(data[128:132]) == b"DICM" else 0
    meta = read_elements(data, start, (_SYNTAX,), False, True, steps, group=2)
    syntax, start = meta.text(_SYNTAX), meta.end
    if syntax == DEFLATED:
        data, start = memoryview(_inflate(data[start:], limits)), 0
    little = syntax != BIG_ENDIAN
    if not syntax and len(data) > start + 2:
        little = data[start] != 0
    # What is written counts, not what is said: files are about that name the one and are the other.
    implicit = not has_vr(data, start)
    elements = read_elements(data, start, wanted, implicit, little, steps)
    return elements, syntax or (IMPLICIT if implicit else EXPLICIT if little else BIG_ENDIAN)


def _inflate(packed: memoryview, limits: Limits) -> bytes:
    """Unpack a deflated data set, within a bound."""
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        plain = unpacker.decompress(packed, limits.max_bytes + 1)
    except zlib.error as error:
        raise InputError(
            "the DICOM file is damaged: its deflated data cannot be unpacked", code="damaged"
        ) from error
    if len(plain) > limits.max_bytes:
        raise InputError(
            f"the deflated DICOM unpacks to more than {limits.max_bytes / 2**20:,.0f} MiB", code="too_large"
        )
    if not unpacker.eof:
        raise InputError("the DICOM file is cut short: its deflated data end too early", code="damaged")
    return plain


def _check_kind(elements: Elements, modality: str) -> None:
    """Is it an image, and one of a kind that can be a chest X-ray?"""
    sop_class = valid_uid(elements.text(SOP_CLASS))
    what = no_image(sop_class)
    if what:
        raise PassedOverError(f"the DICOM file holds no image: it is {what}", code="no_image")
    what = other_image(sop_class, modality)
    if what:
        raise RefusedError(
            f"not a chest X-ray: the DICOM header says that it is {what}", code="not_a_radiograph"
        )
    if elements.text(MANUFACTURER) == OURS:
        # An archive that sends on what comes would let node and archive make results of results without end.
        raise RefusedError(
            "not an X-ray but a result that Lungsight made of one: its lungs are drawn in", code="own_result"
        )
    if not any(elements.values.get(tag) or (tag == PIXEL_DATA and elements.fragments) for tag in PIXELS):
        raise InputError("the DICOM file has no pixels, or ends before them", code="damaged")


def _image(elements: Elements, syntax: str, limits: Limits) -> Image:
    """Everything that can be told before decoding: frames, size, depth; with what old files leave out filled in."""
    frames = elements.number(FRAMES)
    if frames is not None and frames > 1:
        raise InputError(
            "the DICOM file holds several frames; one X-ray a file is read",
            code="several_images",
            hint="Save the X-ray as a file of its own",
        )
    rows, columns = elements.word(ROWS), elements.word(COLUMNS)
    if not rows or not columns:
        raise InputError("the DICOM file does not say how large its image is (Rows, Columns)", code="damaged")
    limits.check_size(rows, columns, "")
    samples = elements.word(SAMPLES) or 1
    if samples not in (1, 3):
        raise InputError("not supported: DICOM pixels of other than 1 or 3 samples", code="unsupported")
    keyword = next(tag for tag in PIXELS if tag in elements)
    width = {PIXEL_DATA: 16, FLOAT_PIXEL_DATA: 32}.get(keyword, 64)
    allocated = elements.word(BITS_ALLOCATED) or width
    if allocated not in (1, 8, 16, 32, 64) or (allocated == 64 and keyword == PIXEL_DATA):
        raise InputError("not supported: DICOM pixels of other than 1, 8, 16 or 32 bits", code="unsupported")
    stored = elements.word(BITS_STORED) or allocated
    high = elements.word(HIGH_BIT)
    photometric = elements.text(PHOTOMETRIC, 16).upper() or ("RGB" if samples == 3 else "MONOCHROME2")
    return Image(
        syntax,
        keyword,
        rows,
        columns,
        samples,
        photometric,
        elements.word(PLANAR) or 0,
        allocated,
        min(stored, allocated),
        stored - 1 if high is None else high,
        elements.word(SIGNED) == 1,
        elements.little,
    )
