"""PNG, JPEG, BMP and TIFF files -> grey pixels."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, ImageOps, JpegImagePlugin, PngImagePlugin, TiffImagePlugin
from PIL.Image import Image

from lungsight.errors import InputError
from lungsight.wording import XRayNote
from lungsight.xray.base import STRETCH, Limits, Pixels, Windowed, XRay, luma, rescale_intensity
from lungsight.xray.raster_checks import Layout, inspect

DECODE_ERRORS = (
    OSError,
    SyntaxError,  # Pillow's word for a broken chunk or header
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    EOFError,
    OverflowError,
    AttributeError,
    RuntimeError,
    AssertionError,
    struct.error,
    zlib.error,
)
"""What Pillow's decoders raise on damaged data."""


def read_raster(data: bytes, kind: str, name: str, limits: Limits) -> XRay:
    """Decode a PNG, JPEG, BMP or TIFF; `kind` is its format, told by its first bytes.

    EXIF orientation is applied. Grey and colour of 8 bits stay `uint8` (colour by BT.601 luma,
    transparent parts on black); grey of more bits or of floats is rescaled (see `rescale_intensity`).

    Raises:
        InputError: damaged, truncated, too large, too small, not supported, or several images in one file.
    """
    layout = inspect(data, kind, limits)
    if layout.bits == 16 and layout.samples > 1 and kind in ("PNG", "TIFF"):
        wide, notes = _wide_colour(data, kind, layout)
        return XRay(wide, name, kind, 16, notes=notes)
    if _for_opencv(data, layout):
        read, notes = _grey_by_opencv(data, layout, name)
        return XRay(read, name, kind, layout.bits, notes=notes)
    pixels, bits, notes = _grey(_decoded(data, kind, name, limits, layout), layout, name)
    return XRay(pixels, name, kind, bits, notes=notes)


def read_deep_grey(data: bytes, kind: str, limits: Limits) -> Windowed | None:
    """The whole numbers of a PNG or TIFF of 16 grey bits, and the window that `read_raster` makes of them.

    Returns:
        None for any other image.

    Raises:
        InputError: as `read_raster`.
    """
    layout = inspect(data, kind, limits)
    if kind not in ("PNG", "TIFF") or layout.bits != 16 or layout.samples > 1:
        return None
    values = (
        _by_opencv(data, kind)
        if _for_opencv(data, layout)
        else np.asarray(_decoded(data, kind, "", limits, layout))
    )
    if values.ndim != 2 or values.dtype.kind not in "iu":
        return None
    low, high = (float(value) for value in np.percentile(values, STRETCH))
    if high <= low:
        low, high = float(values.min()), float(values.max())
    return Windowed(values, (low + high) / 2, max(high - low, 1e-6), layout.white_is_low)


def _decoded(data: bytes, kind: str, name: str, limits: Limits, layout: Layout) -> Image:
    """The one image of a file, the right way up."""
    image = _open(data, kind, name)
    width, height = image.size
    limits.check_size(height, width, name)
    try:
        # A JPEG of a phone may carry a small second picture.
        frames = 1 if kind in ("JPEG", "TIFF") else int(getattr(image, "n_frames", 1))
        if kind == "TIFF" and layout.page:
            image.seek(layout.page)
            limits.check_size(image.size[1], image.size[0], name)
        if frames == 1:
            image.load()
    except DECODE_ERRORS as error:
        raise _damaged(kind, name, error) from error
    if frames > 1:
        raise InputError(
            f"the {kind} holds {frames} images; one X-ray a file is read",
            code="several_images",
            where=name,
            hint="Save the X-ray as a file of its own",
        )
    return _upright(image)


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
    except SyntaxError as error:
        if kind == "TIFF" and "unknown pixel mode" in str(error):
            raise InputError(
                "not supported: this kind of TIFF pixels",
                code="unsupported",
                where=name,
                hint="Save it as PNG, or as TIFF of 8 or 16 bits",
            ) from error
        raise _damaged(kind, name, error) from error
    except DECODE_ERRORS as error:
        if kind == "BMP" and "Unsupported BMP" in str(error):
            raise InputError("not supported: this kind of BMP", code="unsupported", where=name) from error
        raise _damaged(kind, name, error) from error


def _upright(image: Image) -> Image:
    try:
        return ImageOps.exif_transpose(image)
    except DECODE_ERRORS:  # broken EXIF says nothing about the pixels
        return image


def _grey(image: Image, layout: Layout, name: str) -> tuple[Pixels, int, tuple[XRayNote, ...]]:
    """Decoded image -> pixels, bits of a grey value in the file, notes."""
    if image.mode == "L" and "transparency" not in image.info:
        if layout.signed:  # Pillow takes signed bytes for unsigned ones
            values = rescale_intensity(np.asarray(image).view(np.int8))
            return _positive(values, layout), 8, (XRayNote.SIGNED, XRayNote.RESCALED)
        return np.array(image), 8, ()
    if image.mode == "1":
        return np.array(image.convert("L")), 1, (XRayNote.BLACK_AND_WHITE,)
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise InputError("some pixels are not numbers (NaN or infinite)", code="not_numbers", where=name)
        if values.dtype == np.int32 and layout.bits == 32 and not layout.signed:
            values = values.view(np.uint32)
        bits = layout.bits or (16 if image.mode.startswith("I;16") else 32)
        return _positive(rescale_intensity(values), layout), bits, (XRayNote.RESCALED,)
    transparent = image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info
    grey, notes = luma(np.asarray(image.convert("RGBA" if transparent else "RGB")))
    return grey, 8, notes


def _positive(values: NDArray[np.float32], layout: Layout) -> NDArray[np.float32]:
    """Black is low: Pillow undoes TIFF's 'minimum is white' for 8 bits only."""
    return 1 - values if layout.white_is_low else values


def _for_opencv(data: bytes, layout: Layout) -> bool:
    """Whether it is a TIFF that OpenCV reads and Pillow does not.

    Pillow knows neither 10 and 14 bits, nor floats of 64, nor 'minimum is white' of most kinds of more than 8 bits.
    """
    if not layout.opencv or layout.big:
        return layout.opencv
    try:
        TiffImagePlugin.TiffImageFile(io.BytesIO(data))
    except SyntaxError as error:
        return "unknown pixel mode" in str(error)
    except DECODE_ERRORS:
        pass  # which is then said of it
    return False


def _by_opencv(data: bytes, kind: str) -> NDArray[Any]:
    """What the file stores, (H, W) or (H, W, C) with blue first; a TIFF the right way up."""
    import cv2

    try:
        values: NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise _damaged(kind, "", error) from error
    if values is None:
        raise InputError(f"the {kind} is damaged or cut short", code="damaged")
    return values


def _grey_by_opencv(data: bytes, layout: Layout, name: str) -> tuple[Pixels, tuple[XRayNote, ...]]:
    """A TIFF of one sample, or of three of 8 bits: (H, W), and notes."""
    values = _by_opencv(data, "TIFF")
    if values.ndim == 3:
        return luma(np.ascontiguousarray(values[..., 2::-1]))
    if values.dtype == np.uint8:  # of 8 bits OpenCV has undone 'minimum is white'
        return values, ()
    if values.dtype.kind == "f":
        if np.isfinite(values).all():  # small steps far from zero are lost in 32 bits
            values = values.astype(np.float64) - float(values.min())
        if not values.max() < np.finfo(np.float32).max:
            raise InputError("some pixels are not numbers (NaN or infinite)", code="not_numbers", where=name)
    pixels = rescale_intensity(values)
    if values.dtype == np.int8:
        return pixels, (XRayNote.SIGNED, XRayNote.RESCALED)
    return _positive(pixels, layout), (XRayNote.RESCALED,)


def _wide_colour(data: bytes, kind: str, layout: Layout) -> tuple[NDArray[np.float32], tuple[XRayNote, ...]]:
    """Colour, or grey with transparency, of 16 bits, which Pillow would cut to the upper 8: (H, W) in [0, 1]."""
    if layout.page:
        raise InputError("not supported: TIFF of 16-bit colours behind a thumbnail", code="unsupported")
    values = _by_opencv(data, kind)
    if values.dtype != np.uint16:
        raise InputError(f"the {kind} is damaged or cut short", code="damaged")
    if kind == "PNG":  # of a TIFF OpenCV looks at it
        values = _turned(values, data)
    if values.ndim == 2:
        return _positive(rescale_intensity(values), layout), ()
    grey = values[..., :3].astype(np.float32) @ np.array([0.114, 0.587, 0.299], np.float32)
    if values.shape[2] == 4:
        grey *= values[..., 3].astype(np.float32) / 65535
    spread = int(values[..., :3].max()) or 1
    step = max(1, min(values.shape[:2]) // 256)
    sample = values[::step, ::step, :3].astype(np.int32)
    coloured = ((sample.max(axis=2) - sample.min(axis=2)) > spread // 10).mean() > 0.01
    notes: tuple[XRayNote, ...] = (XRayNote.RESCALED,)
    return rescale_intensity(grey), notes + ((XRayNote.COLOUR,) if coloured else ())


def _turned(values: NDArray[np.uint16], data: bytes) -> NDArray[np.uint16]:
    """(H, W, C), as the EXIF data of a PNG say that it is to be looked at."""
    try:
        turn = PngImagePlugin.PngImageFile(io.BytesIO(data)).getexif().get(274, 1)
    except DECODE_ERRORS:  # broken EXIF says nothing about the pixels
        return values
    if turn in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if turn in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values[::-1] if turn in (3, 4, 7, 8) else values


def _damaged(kind: str, name: str, error: BaseException) -> InputError:
    return InputError(f"the {kind} is damaged or cut short", code="damaged", where=name, detail=str(error))
