"""Other programs that the tests speak with."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest


def dcmtk(name: str) -> str:
    """DCMTK's program of that name, or skip.

    pynetdicom brings a `storescp` and a `storescu` of its own, which come first in an activated virtual environment.
    """
    found = _dcmtk(name, os.environ.get("PATH", os.defpath))
    if found is None:
        pytest.skip(f"DCMTK's {name} is not installed (Debian: dcmtk)")
    return found


@cache
def _dcmtk(name: str, path: str) -> str | None:
    ours = Path(sys.executable).parent
    for folder in path.split(os.pathsep):
        program = shutil.which(name, path=folder)
        if program is None or Path(folder) == ours:
            continue
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20)
        if "dcmtk" in answer.stdout.lower():
            return program
    return None


PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@contextmanager
def running_orthanc(folder: Path, *, dicomweb: bool = False) -> Iterator[dict[str, int]]:
    """Orthanc on loopback; the ports 'dicom' and 'http', and 'node', where it expects a node called LUNGSIGHT."""
    program = shutil.which("Orthanc")
    if program is None:
        pytest.skip("Orthanc is not installed (Debian: orthanc)")
    if dicomweb and not PLUGIN.exists():
        pytest.skip("Orthanc's plugin for DICOMweb is not installed (Debian: orthanc-dicomweb)")
    ports = {"dicom": free_port(), "http": free_port(), "node": free_port()}
    plugins = f'"Plugins": ["{PLUGIN}"], "DicomWeb": {{ "Enable": true, "Root": "/dicom-web/" }},'
    (folder / "orthanc.json").write_text(
        f"""{{
        {plugins if dicomweb else ""}
        "Name": "test", "StorageDirectory": "{folder / "orthanc"}", "IndexDirectory": "{folder / "orthanc"}",
        "DicomPort": {ports["dicom"]}, "HttpPort": {ports["http"]}, "DicomAet": "ORTHANC",
        "RemoteAccessAllowed": false, "AuthenticationEnabled": false, "DicomCheckCalledAet": false,
        "DicomModalities": {{ "node": ["LUNGSIGHT", "127.0.0.1", {ports["node"]}] }}
    }}"""
    )
    process = subprocess.Popen(
        [program, folder / "orthanc.json"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        assert wait_for(lambda: listens(ports["http"]) and listens(ports["dicom"]))
        yield ports
    finally:
        process.terminate()
        process.wait(60)


_PORTS = itertools.count(os.getpid() * 101)


def free_port() -> int:
    """For a program that is not started yet: below the ports that the kernel gives to outgoing connections."""
    while True:
        port = 20_000 + next(_PORTS) % 12_000
        with socket.socket() as one:
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def listens(port: int) -> bool:
    with socket.socket() as one:
        one.settimeout(1)
        return one.connect_ex(("127.0.0.1", port)) == 0


def wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> bool:
    """Until it holds; a failure where it does not come to hold, however slow the machine is."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)
    return True
