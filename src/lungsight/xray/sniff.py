"""What a file is, by its first bytes; a name proves nothing."""

from __future__ import annotations

import struct

HEAD = 1024
"""Bytes that are enough to tell."""
_VRS = frozenset(
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
            "OB",
            "OW",
            "PN",
            "SH",
            "SL",
            "SQ",
            "SS",
            "ST",
            "TM",
            "UI",
            "UL",
            "UN",
            "US",
            "UT",
        ],
    )
)

IMAGE_SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".dcm", ".dicom", ".dic", ".ima")
)
"""A file with such a name should be an image; where it is none, it is damaged."""

RASTERS = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"BM": "BMP",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"II+\x00": "TIFF",  # BigTIFF
    b"MM\x00+": "TIFF",
}

OTHERS = {
    b"PK\x03\x04": "a ZIP archive (or an Office document)",
    b"PK\x05\x06": "an empty ZIP archive",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"%PDF": "a PDF document",
    b"GIF8": "a GIF picture",
    b"\x00\x00\x00\x0cjP  ": "a JPEG 2000 picture outside DICOM",
    b"\xff\x4f\xff\x51": "a JPEG 2000 picture outside DICOM",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy file",
    b"SIMPLE  =": "a FITS file",
    b"\x7fELF": "a program",
    b"MZ": "a program",
}


def sniff(head: bytes) -> str:
    """'PNG', 'JPEG', 'BMP', 'TIFF', 'DICOM', 'DICOM?' (may be one without its preamble), or ''.

    Args:
        head: the first `HEAD` bytes of the file, or all of them.
    """
    if head[128:132] == b"DICM":
        return "DICOM"
    for magic, kind in RASTERS.items():
        if head.startswith(magic):
            return kind
    return "DICOM?" if _is_data_set(head) else ""


def _is_data_set(head: bytes) -> bool:
    """A data set begins with a low element of its lowest group, 0002 (file meta) or 0008, in either byte order."""
    order = {b"\x02\x00": "<", b"\x08\x00": "<", b"\x00\x02": ">", b"\x00\x08": ">"}.get(head[:2], "")
    if not order or len(head) <= 16:
        return False
    element, length = struct.unpack_from(order + "H", head, 2)[0], struct.unpack_from(order + "I", head, 4)[0]
    if element > 0x0070:
        return False
    return head[4:6] in _VRS or (length <= 1024 and (element != 0 or length == 4))


def describe(head: bytes) -> str:
    """A few words for a file that `sniff` does not know."""
    for magic, words in OTHERS.items():
        if head.startswith(magic):
            return words
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "a WebP picture"
    if head[4:8] == b"ftyp":
        return "a HEIC, AVIF or video file"
    if head[344:347] in (b"n+1", b"ni1"):
        return "a NIfTI volume"
    text = _text(head)
    if text is None:
        return "of no known kind"
    if text.startswith("version https://git-lfs"):
        return "a Git LFS pointer, not the file itself"
    lowered = text.lower()
    if lowered.startswith(("<!doctype html", "<html")):
        return "a web page (HTML)"
    if lowered.startswith("<svg") or "<svg" in lowered:
        return "an SVG drawing"
    if lowered.startswith("<?xml"):
        return "an XML file"
    return "a JSON file" if text.startswith(("{", "[")) else "a text file"


def _text(head: bytes) -> str | None:
    try:
        text = head[: HEAD - 4].decode("utf-8", errors="strict" if len(head) < HEAD - 4 else "ignore")
    except UnicodeDecodeError:
        return None
    return (
        None
        if any(ord(c) < 32 and c not in "\t\r\n\f" for c in text)
        else text.strip().lstrip("\ufeff").strip()
    )
