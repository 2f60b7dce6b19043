"""A mask that a person corrected, as a DICOM SEG: no network is asked."""

from __future__ import annotations

import numpy as np
from anyio import to_thread
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from lungsight.errors import LungsightError
from lungsight.inference.lung_masks import LEFT, RIGHT
from lungsight.server.answers import MediaType
from lungsight.server.predictions import Counted, State
from lungsight.server.problems import Problem, problem_of
from lungsight.server.uploads import read_files
from lungsight.writers.dicom_seg import encode_dicom_seg
from lungsight.writers.dicom_source import Identity
from lungsight.xray import Limits, read_xray


async def corrected(state: State, request: Request) -> Response:
    """The answer to a request of two files: the DICOM file, and its corrected mask.

    Raises:
        Problem: these are not two such files, or what `read_files` says.
    """
    reservation = state.budget.reserve()
    try:
        files = await read_files(request, state.settings, reservation)
        if len(files) != 2:
            raise Problem(422, "two_files", "Send the DICOM file, then its mask as a PNG of 0, 1 and 2.")
        source, mask = (bytes(data) for data in files)
        limits, algorithm = state.model.limits or Limits(), state.model.bundle.lungs.card
        try:
            content = await to_thread.run_sync(
                _encode,
                source,
                mask,
                limits,
                f"{algorithm.name} {algorithm.version}, corrected by hand",
                state.identity,
            )
        except LungsightError as error:
            raise problem_of(error) from error
        reservation.take(len(content))
        return Counted(content, reservation, media_type=MediaType.dicom)
    except BaseException:
        reservation.release()
        raise


def _encode(source: bytes, mask: bytes, limits: Limits, algorithm: str, identity: Identity) -> bytes:
    xray = read_xray(source, limits=limits)
    if xray.format != "DICOM":
        raise Problem(406, "no_dicom", "A DICOM SEG refers to a DICOM image; the first file is none.")
    return encode_dicom_seg(
        source,
        _labels(mask, xray.shape, limits),
        algorithm=algorithm,
        identity=identity,
        spacing=xray.spacing,
        corrected=True,
    )


def _labels(mask: bytes, shape: tuple[int, int], limits: Limits) -> NDArray[np.uint8]:
    """(H, W) of 0, `RIGHT` and `LEFT`."""
    picture = read_xray(mask, limits=limits)
    if picture.format != "PNG" or picture.pixels.dtype != np.uint8 or picture.pixels.max() > max(RIGHT, LEFT):
        raise Problem(422, "no_mask", "The second file is no 8-bit PNG of 0, 1 (right) and 2 (left).")
    if picture.shape != shape:
        raise Problem(422, "other_size", "The mask has another size than the DICOM image.")
    return np.asarray(picture.pixels, np.uint8)
