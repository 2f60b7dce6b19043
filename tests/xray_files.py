"""Image files that tests make: rasters, and synthetic DICOM with a patient's name inside."""

from __future__ import annotations

import io
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import pydicom.uid as uid
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset

RAMP = np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))
NOISE = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
RAMP12 = np.tile(np.linspace(0, 4095, 64).astype(np.uint16), (48, 1))


def encode(image: Image.Image | NDArray[Any], kind: str = "PNG", **options: Any) -> bytes:
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def dicom(
    pixels: NDArray[Any] = RAMP12, syntax: uid.UID = uid.ExplicitVRLittleEndian, **elements: Any
) -> bytes:
    """A synthetic DX file; an element given as None is left out."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.SOPClassUID = uid.DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = uid.generate_uid()
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = "Doe^Jane", "SECRET-77", "19700101"
    dataset.Modality = "DX"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = pixels.dtype.itemsize * 8
    dataset.BitsStored = 8 if pixels.dtype.itemsize == 1 else 12
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    for word, value in elements.items():
        if value is None:
            delattr(dataset, word)
        else:
            setattr(dataset, word, value)
    if syntax in GDCM_WRITES:
        return by_gdcm(dicom(pixels, **elements), GDCM_WRITES[syntax])
    if syntax.is_encapsulated and not dataset.PixelData.startswith(b"\xfe\xff\x00\xe0"):
        dataset.compress(syntax, generate_instance_uid=False)
    else:
        dataset.file_meta.TransferSyntaxUID = syntax
    if not syntax.is_little_endian and "PixelData" not in elements:
        dataset.PixelData = pixels.byteswap().tobytes()
    dataset["PixelData"].VR = "OW" if syntax.is_implicit_VR or dataset.BitsAllocated > 8 else "OB"
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


GDCM_WRITES = {uid.JPEGLosslessSV1: "JPEGLosslessProcess14_1", uid.JPEGLossless: "JPEGLosslessProcess14"}


def by_gdcm(data: bytes, syntax: str) -> bytes:
    """A file compressed by GDCM, in what pydicom does not encode."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.dcm"
        path.write_bytes(data)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(path))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(path))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return path.read_bytes()


def close(pixels: NDArray[Any], expected: NDArray[Any], tolerance: float = 0.02) -> bool:
    scale = 255 if pixels.dtype == np.uint8 else 1
    return bool(np.abs(pixels.astype(float) / scale - expected).max() <= tolerance)


UNIT = RAMP12 / 4095


def raw(
    *elements: tuple[int, bytes, bytes], syntax: str = uid.ExplicitVRLittleEndian, tail: bytes = b""
) -> bytes:
    """A DICOM file byte by byte: (tag, VR, value) in the order that is given."""
    meta = element(0x00020010, b"UI", syntax.encode() + b"\0" * (len(syntax) % 2))
    return bytes(128) + b"DICM" + meta + b"".join(element(*one) for one in elements) + tail


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    """Explicit, little endian."""
    head = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little") + vr
    if vr in (b"OB", b"OW", b"SQ", b"UN", b"UC", b"UR", b"UT"):
        return head + b"\0\0" + len(value).to_bytes(4, "little") + value
    return head + len(value).to_bytes(2, "little") + value


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """With length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
