"""Decoding in a process of its own, for JPEG lossless and JPEG-LS in DICOM.

Only GDCM decodes all of these, and on some damaged streams it ends the whole process (an uncaught C++
exception). Here it takes down a child, and the batch goes on. Costs about 0.3 s an image.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.pixels import pixel_array

SECONDS = 120


def decode_isolated(dataset: Dataset) -> NDArray[Any]:
    """`pydicom.pixels.pixel_array` of a data set that holds pixels and their description alone.

    Raises:
        RuntimeError: the decoder gave up, crashed or did not end.
    """
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-P", "-m", __name__]
    try:
        child = subprocess.run(
            command,
            input=buffer.getvalue(),
            capture_output=True,
            env=environment,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError("its decoder did not end") from error
    if child.returncode:
        raise RuntimeError("its compressed image cannot be decoded")
    values: NDArray[Any] = np.load(io.BytesIO(child.stdout), allow_pickle=False)
    return values


def _child() -> None:
    warnings.simplefilter("ignore")
    dataset = dcmread(io.BytesIO(sys.stdin.buffer.read()), force=True)
    answer = io.BytesIO()  # `np.save` asks a file for its position, which a pipe does not have
    np.save(answer, pixel_array(dataset), allow_pickle=False)
    sys.stdout.buffer.write(answer.getbuffer())
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    _child()
