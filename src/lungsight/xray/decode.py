"""The bytes of a file -> `XRay`, by its kind. Runs in a decoding process only; see `lungsight.xray.pool`."""

from __future__ import annotations

from lungsight.errors import PassedOverError
from lungsight.xray.base import Limits, XRay
from lungsight.xray.sniff import HEAD, describe, sniff

READABLE = "PNG, JPEG, BMP, TIFF and DICOM are read"


def decode(data: bytes | bytearray, limits: Limits) -> XRay:
    """Decode a file that is whole in memory. The format is told by the content.

    Raises:
        PassedOverError: another kind of file.
        InputError: damaged, too large, too small or not one image.
    """
    kind = sniff(bytes(data[:HEAD]))
    if kind in ("", "DICOM?"):
        from lungsight.xray.jsrt import read_jsrt

        if (film := read_jsrt(data, limits)) is not None:
            return film
    if kind.startswith("DICOM"):
        from lungsight.xray.dicom import read_dicom

        return read_dicom(bytes(data), "", limits, sure=kind == "DICOM")
    if kind:
        from lungsight.xray.raster import read_raster

        return read_raster(bytes(data), kind, "", limits)
    raise PassedOverError(
        f"not an image that can be read: the file is {describe(bytes(data[:HEAD]))}",
        code="other_kind",
        hint=READABLE,
    )
