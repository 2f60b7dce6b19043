"""PNG, JPEG, BMP and TIFF files -> grey pixels."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import BmpImagePlugin, ImageOps, JpegImagePlugin, PngImagePlugin, TiffImagePlugin
from PIL.Image import Image

from lungsight.errors import InputError
from lungsight.xray.base import Limits, Pixels, XRay, luma, rescale_intensity

DECODE_ERRORS = (
    OSError,
    SyntaxError,  # Pillow's word for a broken chunk or header
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    EOFError,
    OverflowError,
    MemoryError,
    AttributeError,
    struct.error,
    zlib.error,
)
"""What Pillow's decoders raise on damaged data."""


def read_raster(data: bytes, kind: str, name: str, limits: Limits) -> XRay:
    """Decode a PNG, JPEG, BMP or TIFF; `kind` is its format, told by its first bytes.

    EXIF orientation is applied. Grey and colour of 8 bits stay `uint8` (colour by BT.601 luma,
    transparent parts on black); grey of more bits or of floats is stretched (see `rescale_intensity`).

    Raises:
        InputError: damaged, truncated, too large, too small, or several images in one file.
    """
    image = _open(data, kind, name)
    width, height = image.size
    limits.check_size(height, width, name)
    try:
        # A JPEG of a phone may carry a small second picture, which is none of our business.
        frames = 1 if kind == "JPEG" else int(getattr(image, "n_frames", 1))
        if frames == 1:
            image.load()
    except DECODE_ERRORS as error:
        raise InputError(f"the {kind} is damaged or cut short ({_reason(error)})", where=name) from error
    if frames > 1:
        raise InputError(
            f"the {kind} holds {frames} images; one X-ray a file is read",
            where=name,
            hint="Save the X-ray as a file of its own",
        )
    image = _upright(image)
    pixels, bits, notes = _grey(image, name)
    return XRay(pixels, name, kind, bits, notes=notes)


def _open(data: bytes, kind: str, name: str) -> Image:
    """Read the header alone, without `Image.open`, whose bomb check warns by global state; ours follows."""
    plugins: dict[str, Callable[[io.BytesIO], Image]] = {
        "PNG": PngImagePlugin.PngImageFile,
        "JPEG": JpegImagePlugin.JpegImageFile,
        "BMP": BmpImagePlugin.BmpImageFile,
        "TIFF": TiffImagePlugin.TiffImageFile,
    }
    try:
        return plugins[kind](io.BytesIO(data))
    except DECODE_ERRORS as error:
        raise InputError(
            f"the {kind} is damaged: its header cannot be read ({_reason(error)})", where=name
        ) from error


def _upright(image: Image) -> Image:
    try:
        return ImageOps.exif_transpose(image)
    except DECODE_ERRORS:  # broken EXIF says nothing about the pixels
        return image


def _grey(image: Image, name: str) -> tuple[Pixels, int, tuple[str, ...]]:
    """Decoded image -> pixels, bits of a grey value in the file, notes."""
    if image.mode == "L" and "transparency" not in image.info:
        return np.array(image), 8, ()
    if image.mode == "1":
        return np.array(image.convert("L")), 1, ("black and white only, no grey",)
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise InputError("some pixels are not numbers (NaN or infinite)", where=name)
        bits = 16 if image.mode.startswith("I;16") else 32
        return rescale_intensity(values), bits, (f"{bits} bits, grey values stretched to their range",)
    transparent = image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info
    grey, notes = luma(np.asarray(image.convert("RGBA" if transparent else "RGB")))
    return grey, 8, notes


def _reason(error: BaseException) -> str:
    return str(error).split("\n")[0][:120].rstrip(".") or type(error).__name__
