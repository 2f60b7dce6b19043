"""Damaged and hostile files for every reader, guided by what code they reach (atheris, libFuzzer).

    pip install atheris
    python benchmarks/fuzz.py --seconds 2400 --work runs/fuzz              # every target in turn
    python benchmarks/fuzz.py darwin --seconds 600 --work runs/fuzz
    python benchmarks/fuzz.py darwin --replay runs/fuzz/found/darwin-...   # one input again

A reader may answer a file, or refuse it with a `LungsightError`. What is found: any other exception, more than
`HANG` seconds, more than `MEMORY` MiB, and a patient's name or id in a message. Each finding is kept under
WORK/found with its traceback, the target starts again, and a finding at the same line counts once. The corpus stays
in WORK/corpus, so that a second run goes on from there.

Decoders run here without the processes that contain them in use (see SECURITY.md), so that what they do is seen.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

HANG, MEMORY = 20, 2048
"""Seconds for one input, and MiB of the whole process; nice and a busy machine are in the first."""
LONGEST = 65536
"""Bytes of an input."""
SECRETS = ("SECRET-77", "Doe", "19700101")
"""What the seeds say of their patient."""
TESTS = Path(__file__).resolve().parents[1] / "tests"


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)}; default: all")
    parser.add_argument("--seconds", type=float, default=60.0, help="for all of them together")
    parser.add_argument("--work", type=Path, default=Path("runs/fuzz"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replay", type=Path, help="give one file to the one target")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments, rest = parser.parse_known_args()
    names = arguments.targets or list(TARGETS)
    if arguments.child:
        child(names[0], rest)
    elif arguments.replay:
        TARGETS[names[0]]()(arguments.replay.read_bytes())
        print("answered or refused, as it should be")
    else:
        results = [
            campaign(name, arguments.seconds / len(names), arguments.work, arguments.seed) for name in names
        ]
        (arguments.work / "summary.json").write_text(json.dumps(results, indent=2) + "\n")


def campaign(name: str, seconds: float, work: Path, seed: int) -> dict[str, Any]:
    """One target for so long, begun again after each finding."""
    corpus, found = work / "corpus" / name, work / "found"
    corpus.mkdir(parents=True, exist_ok=True)
    found.mkdir(parents=True, exist_ok=True)
    for data in SEEDS[name]():
        (corpus / hashlib.sha1(data).hexdigest()).write_bytes(data)
    end, runs, places = time.monotonic() + seconds, 0, dict[str, int]()
    while (left := end - time.monotonic()) > 3:
        seed += 1
        words = [sys.executable, __file__, name, "--child", str(corpus), f"-artifact_prefix={found}/{name}-"]
        words += [f"-max_total_time={int(left)}", f"-timeout={HANG}", f"-rss_limit_mb={MEMORY}"]
        words += [f"-max_len={LONGEST}", f"-seed={seed}", "-print_final_stats=1", "-verbosity=1"]
        done = subprocess.run(words, capture_output=True, text=True, errors="replace")
        told = done.stdout + done.stderr
        numbers = re.findall(r"^#(\d+)\s", told, re.MULTILINE)
        executed = re.search(r"number_of_executed_units: (\d+)", told)
        runs += int(executed[1]) if executed else int(numbers[-1]) if numbers else 0
        if done.returncode == 0:
            break
        place = where(told)
        places[place] = places.get(place, 0) + 1
        artifact = re.search(r"Test unit written to (\S+)", told)
        if places[place] == 1:
            log = f"{Path(artifact[1]).name if artifact else f'{name}-{seed}'}.txt"
            (found / log).write_text(done.stdout[-4000:] + done.stderr[-4000:])
            print(f"{name}: {place}, see {found / log}", flush=True)
        elif artifact:
            Path(artifact[1]).unlink(missing_ok=True)
    kept = sum(1 for _ in corpus.iterdir())
    print(
        f"{name}: {runs:,} inputs in {seconds:.0f} s, corpus {kept}, findings {places or 'none'}", flush=True
    )
    return {"target": name, "seconds": seconds, "inputs": runs, "corpus": kept, "findings": places}


def where(told: str) -> str:
    """Kind of finding, and the last line of ours that it was in."""
    kind = "timeout" if "ALARM: working on the last" in told else "memory" if "out-of-memory" in told else ""
    lines = re.findall(r'File "[^"]*/(lungsight/[^"]+)", line (\d+)', told)
    errors = re.findall(r"^(\w[\w.]*(?:Error|Exception|Interrupt|Exit|Iteration))\b", told, re.MULTILINE)
    return f"{kind or (errors[-1] if errors else 'crash')} at {':'.join(lines[-1]) if lines else 'unknown'}"


def child(name: str, flags: list[str]) -> None:
    """The fuzzing process itself."""
    import atheris  # type: ignore[import-not-found,unused-ignore]

    with atheris.instrument_imports(include=["lungsight", "json", "tarfile", "zipfile"]):
        target = TARGETS[name]()
    atheris.Setup([sys.argv[0], *flags], target)
    atheris.Fuzz()


def refused(read: Callable[[], object], secret: bool = True) -> None:
    """Let a reader read; only an error of ours may come, and its message says nothing of a patient."""
    from lungsight.errors import LungsightError

    try:
        read()
    except LungsightError as error:
        if secret and any(word in str(error) for word in SECRETS):
            raise AssertionError("a message repeats the patient") from error


def image_target() -> Callable[[bytes], None]:
    """PNG, JPEG, BMP and TIFF. A PNG gets right checksums in every second input, else few pass the first one."""
    import lungsight.xray.raster  # noqa: F401  instrumented, though used later
    from lungsight.xray.base import Limits
    from lungsight.xray.decode import decode

    limits = Limits(max_bytes=2**20, max_pixels=1_000_000)

    def target(data: bytes) -> None:
        data = bytes(data)
        if data.startswith(b"\x89PNG\r\n\x1a\n") and zlib.crc32(data) & 1:
            data = with_checksums(data)
        refused(lambda: decode(data, limits))

    return target


def dicom_target() -> Callable[[bytes], None]:
    """DICOM: pixels, and the elements that results repeat."""
    import lungsight.xray.dicom  # noqa: F401  as above
    from lungsight.xray.base import Limits
    from lungsight.xray.decode import decode
    from lungsight.xray.dicom_header import source_header

    limits = Limits(max_bytes=2**20, max_pixels=1_000_000)

    def target(data: bytes) -> None:
        data = bytes(data)
        refused(lambda: decode(data, limits))
        refused(lambda: source_header(data, limits))

    return target


def darwin_target() -> Callable[[bytes], None]:
    """Darwin JSON, the data set around it, and the mask that it draws."""
    from lungsight.dataset.readers.darwin import DarwinMask, read_darwin

    path = scratch() / "a.json"
    (path.parent / "a.png").write_bytes(png_seed())

    def read() -> None:
        for row in read_darwin(path).rows:
            if row.mask is not None:
                row.mask.load()

    def target(data: bytes) -> None:
        path.write_bytes(bytes(data))
        refused(read, secret=False)
        refused(lambda: DarwinMask(path, (60, 80)).load(), secret=False)

    return target


def manifest_target() -> Callable[[bytes], None]:
    """A manifest beside one image."""
    from lungsight.dataset.readers.manifest import read_manifest

    path = scratch() / "manifest.csv"
    (path.parent / "a.png").write_bytes(png_seed())

    def target(data: bytes) -> None:
        path.write_bytes(bytes(data))
        refused(lambda: read_manifest(path), secret=False)

    return target


def card_target() -> Callable[[bytes], None]:
    """A network's card, and what is computed with one that was accepted."""
    from lungsight.card import Card
    from lungsight.errors import ModelError
    from lungsight.records import from_json, to_json

    def read(data: bytes) -> None:
        card = from_json(Card, data, error=ModelError)
        assert from_json(Card, to_json(card), error=ModelError) == card
        if card.calibration is not None:
            for logit in (-50.0, 0.0, 3.0):
                card.calibration.probability(logit)
                card.calibration.interval(logit)

    return lambda data: refused(lambda: read(bytes(data)), secret=False)


def archive_target() -> Callable[[bytes], None]:
    """Zip and tar files with X-rays: their list, and each member."""
    from lungsight.batch.sources import archive_kind, members

    path = scratch() / "a.bin"

    def read() -> None:
        if archive_kind(path):
            for place, _ in members(path, []):
                refused(lambda place=place: place.read(2**20 + 1), secret=False)

    def target(data: bytes) -> None:
        from lungsight.batch import sources

        sources._archive.cache_clear()
        path.write_bytes(bytes(data))
        refused(read, secret=False)

    return target


TARGETS: dict[str, Callable[[], Callable[[bytes], None]]] = {
    "image": image_target,
    "dicom": dicom_target,
    "darwin": darwin_target,
    "manifest": manifest_target,
    "card": card_target,
    "archive": archive_target,
}


def scratch() -> Path:
    """A folder in memory where there is one."""
    return Path(
        tempfile.mkdtemp(prefix="lungsight-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
    )


def with_checksums(data: bytes) -> bytes:
    """A PNG whose chunks have the checksums of what they hold."""
    parts, at = [data[:8]], 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        body = data[at + 4 : at + 8 + size]
        parts += [data[at : at + 4], body, zlib.crc32(body).to_bytes(4, "big")]
        at += 12 + size
    return b"".join(parts)


def of_tests() -> Any:
    """`tests/xray_files.py`, which makes small files of every kind."""
    sys.path.insert(0, str(TESTS))
    import xray_files  # type: ignore[import-not-found,unused-ignore]

    return xray_files


def png_seed() -> bytes:
    """A small PNG."""
    files = of_tests()
    return bytes(files.encode(files.RAMP))


def image_seeds() -> list[bytes]:
    """One of each kind and mode."""
    import numpy as np
    from PIL import Image

    files = of_tests()
    grey = Image.fromarray(files.RAMP[:24, :24])
    deep = Image.fromarray(files.RAMP12[:24, :24])
    seeds = [files.encode(grey.convert(mode), "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA")]
    seeds += [files.encode(deep, "PNG"), files.encode(deep, "TIFF")]
    seeds += [files.encode(grey.convert(mode), "JPEG") for mode in ("L", "RGB", "CMYK")]
    seeds += [files.encode(grey, "JPEG", progressive=True), files.encode(grey, "BMP")]
    seeds += [
        files.encode(grey.convert("RGB"), "BMP"),
        files.encode(Image.fromarray(np.float32(grey)), "TIFF"),
    ]
    packings = ("raw", "packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate")
    return seeds + [files.encode(grey, "TIFF", compression=packing) for packing in packings]


def dicom_seeds() -> list[bytes]:
    """One of each transfer syntax that tests can write."""
    import pydicom.uid as uid

    files = of_tests()
    small, deep = files.RAMP[:24, :24], files.RAMP12[:24, :24]
    plain = (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian)
    packed = (uid.DeflatedExplicitVRLittleEndian, uid.RLELossless, uid.JPEG2000Lossless, uid.JPEGLSLossless)
    seeds = []
    for syntax in (*plain, *packed, uid.JPEGLosslessSV1):
        try:
            seeds.append(files.dicom(deep.copy(), syntax))
        except (NotImplementedError, RuntimeError, ValueError):  # no encoder for it here
            continue
    return [
        *seeds,
        files.dicom(small.copy()),
        files.dicom(small.copy(), WindowCenter="100", WindowWidth="50"),
    ]


def darwin_seeds() -> list[bytes]:
    """Both versions, with everything that an annotation may hold."""
    ring = [{"x": x, "y": y} for x, y in ((5.0, 5.0), (40.0, 5.5), (40.0, 50.0), (5.0, 50.0))]
    lungs: list[dict[str, Any]] = [
        {"name": "Lung", "polygon": {"path": ring}},
        {"name": "Lung", "complex_polygon": {"path": [ring, ring]}},
        {"name": "Lung", "polygon": {"paths": [ring]}},
        {"name": "Ignore", "polygon": {"path": ring}},
        {"name": "COVID-19", "tag": {}},
        {"name": "Age/50", "tag": {}},
        {"name": "Lung", "bounding_box": {"x": 1, "y": 1, "w": 3, "h": 4}},
        {"name": "Lung", "mask": {}, "id": "m1", "slot_names": ["0"]},
        {
            "name": "__raster_layer__",
            "slot_names": ["0"],
            "raster_layer": {
                "dense_rle": [0, 4000, 1, 800],
                "mask_annotation_ids_mapping": {"m1": 1},
                "total_pixels": 4800,
            },
        },
    ]
    image = {"width": 80, "height": 60, "filename": "a.png", "original_filename": "a.png", "path": "/"}
    slot = {
        "type": "image",
        "slot_name": "0",
        "width": 80,
        "height": 60,
        "source_files": [{"file_name": "a.png"}],
    }
    item = {"name": "a.png", "path": "/", "slots": [slot, {**slot, "slot_name": "1"}]}
    files: list[dict[str, Any]] = [
        {"dataset": "d", "image": image, "annotations": lungs[:7]},
        {"version": "2.0", "item": item, "annotations": lungs},
        *({"version": "2.0", "item": {**item, "slots": [slot]}, "annotations": [one]} for one in lungs),
    ]
    return [json.dumps(one).encode() for one in files]


def manifest_seeds() -> list[bytes]:
    """Delimiters, encodings and what Excel adds."""
    text = "id,image,mask,patient,finding,covid,view,sex,age,labels,convention\n" + (
        '1,a.png,a.png,SECRET-77,Pneumonia/Viral/COVID-19,1,PA,F,070Y,"Edema=1|Fracture=-1",full\n'
        '"2",a.png,,7.0,"No ""Finding""",0,AP,male,51.5,,visible\n'
    )
    forms = [
        text,
        text.replace(",", ";"),
        text.replace(",", "\t"),
        "sep=,\n" + text,
        text.replace("\n", "\r\n"),
    ]
    return [
        *(one.encode() for one in forms),
        text.encode("utf-8-sig"),
        text.encode("utf-16"),
        text.replace("Doe", "Dö").encode("cp1252"),
    ]


def card_seeds() -> list[bytes]:
    """The cards that ship, and an old form."""
    folder = Path(__file__).resolve().parents[1] / "src" / "lungsight" / "weights"
    cards = [
        json.loads((folder / f"{name}.json").read_bytes())
        for name in ("lungs", "gate", "diagnosis", "severity")
    ]
    for card in cards:
        card["recipe"], card["metrics"] = "", {}
    old = {**cards[2], "format": 1, "figures": {"a": 1}, "data": {"name": "v7"}}
    old.pop("trained_on", None)
    old.pop("metrics", None)
    return [json.dumps(one).encode() for one in [*cards, old]]


def archive_seeds() -> list[bytes]:
    """Both kinds, packed and not."""
    import io
    import tarfile
    import zipfile

    image, seeds = png_seed(), []
    for packing in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", packing) as archive:
            archive.writestr("deep/a.png", image)
            archive.writestr("b.txt", b"text")
        seeds.append(buffer.getvalue())
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
            for name in ("deep/a.png", "ü" * 40 + ".png"):
                info = tarfile.TarInfo(name)
                info.size = len(image)
                tar.addfile(info, io.BytesIO(image))
        seeds.append(buffer.getvalue())
    return seeds


SEEDS: dict[str, Callable[[], list[bytes]]] = {
    "image": image_seeds,
    "dicom": dicom_seeds,
    "darwin": darwin_seeds,
    "manifest": manifest_seeds,
    "card": card_seeds,
    "archive": archive_seeds,
}


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
