"""Run every example of the documentation in empty folders, on drawn X-rays: `make docs-test`.

A block of `python` or `sh` runs, page by page from top to bottom, with one set of Python's names a page. What would
take long, or needs what is not there, carries a comment in the line before it and is listed:

    <!-- not run: half an hour -->

`json` and `toml` must parse. A folder holds what pages speak of: `V7` (a data set), `xrays/`, `chest.png`, `chest.dcm`
and others. `pip install` and `git clone` are not carried out, but an extra that is named must exist.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import traceback
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^(?P<tick>`{3,})(?P<language>[\w+-]*)[^\n]*\n(?P<text>.*?)^(?P=tick)\s*$", re.M | re.S)
SKIP = re.compile(r"<!-- not run: (?P<reason>.+?) -->\s*\Z")
PLAIN = {"text", "http", "csv", "yaml", "html", "ini", "make", "svg"}
SHELL = {"sh", "bash", "console"}
SECONDS = 600
"""Of one block: a bound for a machine that is busy with other work."""
SERVER = "127.0.0.1:8000"


@dataclasses.dataclass(frozen=True)
class Block:
    """One example: where it stands, what it is, and why it does not run."""

    page: str
    line: int
    language: str
    text: str
    reason: str = ""

    @property
    def where(self) -> str:
        """As an editor takes it."""
        return f"{self.page}:{self.line}"


def blocks_of(text: str, page: str) -> list[Block]:
    """The fenced blocks of a page, in their order."""
    found = []
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        skip = SKIP.search(text[: match.start()])
        reason = skip["reason"] if skip else ""
        found.append(Block(page, line, match["language"], match["text"], reason))
    return found


def pages() -> list[Path]:
    """README and every page of the documentation."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def shell_text(text: str) -> str:
    """What bash is given: of a block with prompts the lines behind `$ ` alone, of another all lines."""
    lines = text.splitlines()
    if any(line.startswith("$ ") for line in lines):
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    return "\n".join(lines)


# What runs


def prepare(folder: Path) -> None:
    """Draw what the pages speak of, once; each page gets a copy."""
    from lungsight.phantom.collection import write_phantoms

    write_phantoms(folder / "V7", count=60, seed=3)
    images = sorted((folder / "V7" / "images").iterdir())
    (folder / "xrays").mkdir()
    for path in images[:4]:
        shutil.copy(path, folder / "xrays" / path.name)
    for name in ("chest.png", "xray.png", "a.png"):
        shutil.copy(images[5], folder / name)
    write_dicom(images[6], folder / "chest.dcm")
    shutil.copy(folder / "chest.dcm", folder / "b.dcm")
    (folder / "notes.txt").write_text("no image", "utf-8")
    (folder / "list.txt").write_text("".join(f"xrays/{path.name}\n" for path in images[:2]), "utf-8")
    shutil.copytree(folder / "V7" / "masks", folder / "masks")
    write_scores(folder)
    tools = folder / ".bin"
    tools.mkdir()
    for name, content in {
        "lungsight": f'#!/bin/sh\nexec "{sys.executable}" -m lungsight "$@"\n',
        "python": f'#!/bin/sh\nexec "{sys.executable}" "$@"\n',
        "pip": f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__)}" --pip "$@"\n',
    }.items():
        (tools / name).write_text(content, "utf-8")
        (tools / name).chmod(0o755)


def write_dicom(png: Path, out: Path) -> None:
    """A drawn X-ray as a DICOM file."""
    import numpy as np
    from PIL import Image
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

    pixels = np.asarray(Image.open(png).convert("L"))
    one = Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = DigitalXRayImageStorageForPresentation
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = generate_uid()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.StudyInstanceUID, one.SeriesInstanceUID = generate_uid(), generate_uid()
    one.Modality, one.ViewPosition, one.BodyPartExamined = "DX", "PA", "CHEST"
    one.PatientID, one.PatientName = "drawn", "Drawn^Phantom"
    one.ImagerPixelSpacing = [0.5, 0.5]
    one.Rows, one.Columns = pixels.shape
    one.SamplesPerPixel, one.PhotometricInterpretation, one.PixelRepresentation = 1, "MONOCHROME2", 0
    one.BitsAllocated = one.BitsStored = 8
    one.HighBit = 7
    one.PixelData = pixels.tobytes() + b"\0" * (pixels.size % 2)
    one.save_as(out, enforce_file_format=True)


def write_scores(folder: Path) -> None:
    """Two tables of scores of the data set, of a known form: near the truth, and further from it."""
    import csv
    import random

    rows = list(csv.DictReader((folder / "V7" / "manifest.csv").open(encoding="utf-8")))
    for name, weight in (("scores.csv", 0.5), ("a.csv", 0.5), ("b.csv", 0.2)):
        dice = random.Random(name)
        lines = [
            f"{row['id']},{weight * float(row['covid']) + (1 - weight) * dice.random():.4f}" for row in rows
        ]
        (folder / name).write_text("id,probability\n" + "\n".join(lines) + "\n", "utf-8")


def check_pip(arguments: list[str]) -> int:
    """`pip` in an example: install nothing, but every extra of lungsight that is named must exist."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for word in arguments:
        if match := re.fullmatch(r"(\.|lungsight)\[([\w,-]+)\]", word):
            missing = set(match[2].split(",")) - set(project["optional-dependencies"])
            if missing:
                print(f"no such extra: {', '.join(sorted(missing))}", file=sys.stderr)
                return 1
    return 0


class Page:
    """A page that runs, with a folder and Python's names of its own."""

    def __init__(self, folder: Path, text: str) -> None:
        self.folder = folder
        self.names: dict[str, object] = {"__name__": "example"}
        self.server: subprocess.Popen[bytes] | None = None
        self.port = SERVER
        if SERVER in text:
            self._serve()

    def _serve(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            number = free.getsockname()[1]
        self.port = f"127.0.0.1:{number}"
        self.server = subprocess.Popen(
            [sys.executable, "-m", "lungsight", "serve", "--port", str(number), "--quiet"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(200):
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"http://{self.port}/readyz", timeout=5),
            ):
                return
            time.sleep(0.1)
        raise RuntimeError("the server does not start")

    def run(self, block: Block) -> str:
        """Run one block; "" or what went wrong."""
        text = block.text.replace(SERVER, self.port)
        if block.language in SHELL:
            return self._shell(shell_text(text))
        if block.language == "python":
            return self._python(text, block)
        try:
            {"json": json.loads, "toml": tomllib.loads}[block.language](text)
        except ValueError as error:
            return str(error)
        return ""

    def _shell(self, text: str) -> str:
        path = f"{self.folder / '.bin'}:/usr/bin:/bin"
        environment = {"HOME": str(self.folder), "PATH": path, "OMP_NUM_THREADS": "1", "LC_ALL": "C.UTF-8"}
        try:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", text],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"longer than {SECONDS} s"
        if done.returncode == 0:
            return ""
        return f"exit code {done.returncode}\n{(done.stdout + done.stderr).decode(errors='replace')[-1500:]}"

    def _python(self, text: str, block: Block) -> str:
        code = "\n" * block.line + text
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(code, block.page, "exec"), self.names)
        except BaseException:
            return traceback.format_exc(limit=-2)
        return ""

    def close(self) -> None:
        """Stop the server."""
        if self.server:
            self.server.terminate()
            self.server.wait(20)


def run_page(path: Path, template: Path, names: list[str]) -> list[tuple[Block, str, float]]:
    """(block, what went wrong, seconds) of each example of a page that runs; in this process."""
    text = path.read_text("utf-8")
    page = path.relative_to(ROOT).as_posix()
    blocks = [block for block in blocks_of(text, page) if block.language not in PLAIN and not block.reason]
    if not blocks or (names and not any(name in page for name in names)):
        return []
    folder = Path(tempfile.mkdtemp(prefix="page-", dir=template.parent))
    shutil.copytree(template, folder, dirs_exist_ok=True)
    os.chdir(folder)
    running = Page(folder, "\n".join(block.text for block in blocks))
    found = []
    try:
        for block in blocks:
            start = time.perf_counter()
            if block.language not in SHELL | {"python", "json", "toml"}:
                wrong = "say which language it is (text, where it is none)"
            else:
                wrong = running.run(block)
            found.append((block, wrong, time.perf_counter() - start))
    finally:
        running.close()
    return found


def main() -> int:
    """Run, print what failed, what was not run and how long it took."""
    if sys.argv[1:2] == ["--pip"]:
        return check_pip(sys.argv[2:])
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="only pages whose path holds one of these")
    parser.add_argument("--page", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--template", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--durations", action="store_true", help="print the seconds of each block")
    given = parser.parse_args()
    if given.page:
        rows = run_page(given.page, given.template, given.names)
        print("\n" + json.dumps([(dataclasses.asdict(block), wrong, took) for block, wrong, took in rows]))
        return 0
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="lungsight-docs-") as folder:
        template = Path(folder) / "template"
        template.mkdir()
        prepare(template)

        def one(path: Path) -> list[tuple[Block, str, float]]:
            command = [
                sys.executable,
                __file__,
                "--page",
                str(path),
                "--template",
                str(template),
                *given.names,
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                return [(Block(path.name, 1, "", ""), done.stderr[-2000:], 0.0)]
            found = json.loads(done.stdout.splitlines()[-1])
            if found:
                print(f"{path.relative_to(ROOT)}: {len(found)} examples", flush=True)
            return [(Block(**block), wrong, took) for block, wrong, took in found]

        with ThreadPoolExecutor(2) as pool:
            rows = [row for found in pool.map(one, pages()) for row in found]
    failed = [row for row in rows if row[1]]
    left_out = [
        block
        for path in pages()
        for block in blocks_of(path.read_text("utf-8"), path.relative_to(ROOT).as_posix())
        if block.reason
    ]
    for block, wrong, _ in failed:
        print(f"\nFAILED {block.where}\n{block.text}\n{wrong}")
    if given.durations:
        for block, _, took in sorted(rows, key=lambda row: -row[2]):
            print(f"{took:6.1f} s  {block.where}")
    print("\nNot run:")
    for block in left_out:
        print(f"  {block.where}: {block.reason}")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = used.ru_utime + used.ru_stime
    print(f"\nexamples: {time.perf_counter() - start:.0f} s, {busy:.0f} s of CPU")
    print(f"{len(rows) - len(failed)} passed, {len(failed)} failed, {len(left_out)} skipped")
    return 1 if failed or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
