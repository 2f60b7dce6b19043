"""A real `lungsight serve` in a process of its own, and X-rays to send it."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import cv2
import httpx
import numpy as np
import uvicorn
from fastapi import FastAPI
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from tiny_networks import draw_chest

PATIENT = {
    "PatientName": "Quatermain^Zebediah",
    "PatientID": "PID-5550199",
    "PatientBirthDate": "19310704",
    "AccessionNumber": "ACC-424242",
    "InstitutionName": "Saint Elsewhere",
    "ReferringPhysicianName": "Moreau^Ignatius",
}
"""What must never come out again."""


RUN = "from lungsight.cli import main; main()"


class Server:
    """Started on entry, on a free port; told to stop on exit."""

    def __init__(
        self, networks: Path, *arguments: str, temporary: Path | None = None, code: str = RUN
    ) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        if temporary is not None:
            environment["TMPDIR"] = str(temporary)
        self.log = ""
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                code,
                "serve",
                "--model",
                str(networks),
                "--port",
                "0",
                "--threads",
                "1",
                *arguments,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.log += line

    @property
    def port(self) -> int:
        """Waits until it listens."""
        deadline = time.monotonic() + 120
        while not (found := re.search(r"open http://127\.0\.0\.1:(\d+)", self.log)):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start:\n{self.log}")
            time.sleep(0.05)
        return int(found[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self, seconds: float = 60) -> int:
        """Ask it to stop; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(seconds)
        self._reader.join(60)
        return code

    def __enter__(self) -> Server:
        try:
            _ = self.port
        except RuntimeError:
            self.process.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            self.process.kill()


@contextmanager
def running(app: FastAPI) -> Iterator[httpx.Client]:
    """The application behind a real uvicorn in a thread, and a client of it."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise RuntimeError("the server did not start")
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        yield client
    server.should_exit = True
    thread.join(60)


def png(pixels: np.ndarray | None = None) -> bytes:
    """A file; the drawn chest where no pixels are given."""
    return cv2.imencode(".png", draw_chest() if pixels is None else pixels)[1].tobytes()


def dicom(pixels: np.ndarray | None = None, **changes: object) -> bytes:
    """A CR image of a patient who must stay unknown."""
    pixels = draw_chest() if pixels is None else pixels
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.PatientSex = dataset.StudyDate = dataset.StudyTime = dataset.StudyID = ""
    dataset.Modality = "CR"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = pixels.dtype.itemsize * 8
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    dataset.PixelSpacing = [2.0, 1.5]
    dataset.PixelData = pixels.tobytes()
    for word, value in {**PATIENT, **changes}.items():
        setattr(dataset, word, value)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
