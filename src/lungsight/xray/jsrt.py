"""The films of JSRT (Shiraishi et al., AJR 2000) as they are handed out: raw grey values without a header."""

from __future__ import annotations

import numpy as np

from lungsight.wording import XRayNote
from lungsight.xray.base import Limits, XRay, rescale_intensity

SIDE, BITS = 2048, 12
BYTES = 2 * SIDE * SIDE


def read_jsrt(data: bytes | bytearray, limits: Limits) -> XRay | None:
    """2048 x 2048 big-endian words of 12 bits, bone dark; None where the bytes are something else.

    There is no mark at the beginning: the exact length and the range of all values tell it.

    Raises:
        InputError: such a film is larger than `limits` accept.
    """
    if len(data) != BYTES:
        return None
    values = np.frombuffer(data, ">u2").reshape(SIDE, SIDE)
    low, high = int(values.min()), int(values.max())
    if high >= 2**BITS or low == high:
        return None
    limits.check_size(SIDE, SIDE, "")
    notes = (XRayNote.FILM_INVERTED, XRayNote.RESCALED)
    return XRay(1 - rescale_intensity(values.astype(np.uint16)), "", "JSRT", BITS, notes=notes)
