"""The static page in Chromium beside the command line's networks: masks, scores, seconds, bytes.

    make web && python benchmarks/web.py build/web                        # drawn X-rays, PNG, JPEG, 16 bits, DICOM
    make web && python benchmarks/web.py build/web --data DATA/darwin-export-sample

Every file goes through the page's own functions in a headless Chromium and through `lungsight.load_model()` here. Exit
code 1 where a mask differs in more than 0.1 % of its pixels or a score by more than 0.001, or a request left the page.
"""

from __future__ import annotations

import argparse
import base64
import functools
import http.server
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import lungsight
from lungsight.phantom import draw

ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
MASK_LIMIT, SCORE_LIMIT = 0.001, 0.001
ASK = """async ({name, data}) => {
  const api = await import('./static/api.js');
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const file = new File([bytes], name);
  const start = performance.now();
  try {
    const found = await api.predict(file);
    const seconds = (performance.now() - start) / 1000;
    const blob = await api.other(file, 'image/png', found.mask_threshold, true);
    const letters = Array.from(new Uint8Array(await blob.arrayBuffer()), (one) => String.fromCharCode(one)).join('');
    for (const part of ['grey', 'probability_map']) delete found[part];
    return {found, seconds, mask: btoa(letters)};
  } catch (error) { return {error: error.code ?? String(error), words: error.message}; }
}"""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder over HTTP on this machine, as `python -m http.server` does it."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


@contextmanager
def opened(url: str) -> Iterator[tuple[Any, list[str]]]:
    """The page in Chromium, and a list that every request to another host and every error is added to."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        raise SystemExit("there is no Chromium here")
    wrong: list[str] = []
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        page = browser.new_context().new_page()
        page.set_default_timeout(180_000)
        page.on(
            "request",
            lambda one: None if one.url.startswith((url, "blob:", "data:")) else wrong.append(one.url),
        )
        page.on(
            "request", lambda one: wrong.append(f"{one.method} {one.url}") if one.method != "GET" else None
        )
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(url)
        yield page, wrong
        browser.close()


def compare(page: Any, model: lungsight.Lungsight, path: Path) -> dict[str, Any]:
    """What differs for one file."""
    data = base64.b64encode(path.read_bytes()).decode()
    answer = page.evaluate(ASK, {"name": path.name, "data": data})
    start = time.perf_counter()
    here = model.predict([path])[0]
    seconds = time.perf_counter() - start
    if isinstance(here, lungsight.Failure) or "error" in answer:
        ours = here.error.code if isinstance(here, lungsight.Failure) else "ok"
        return {
            "name": path.name,
            "codes": (answer.get("error", "ok"), ours),
            "words": answer.get("words", ""),
        }
    mask = cv2.imdecode(np.frombuffer(base64.b64decode(answer["mask"]), np.uint8), cv2.IMREAD_UNCHANGED)
    record, found = here.record, answer["found"]
    # Not rounded, as the table has them.
    ours = {
        "probability": here.probability,
        "gate_score": here.gate.score,
        "severity": here.severity.total if here.severity else None,
        "cardiothoracic_ratio": here.ratio.ratio if here.ratio else None,
    }
    scores = {
        name: (found[name], value) for name, value in ours.items() if (found[name], value) != (None, None)
    }
    apart = [abs(a - b) if a is not None and b is not None else np.inf for a, b in scores.values()]
    return {
        "name": path.name,
        "mask": float((mask != here.labels).mean()) if mask.shape == here.labels.shape else 1.0,
        "lung": float(((mask > 0) != here.mask).mean()) if mask.shape == here.labels.shape else 1.0,
        "score": max(apart, default=0.0),
        "scores": scores,
        "codes": (
            (found["decision"], found["gate"], *found["flags"], *found["reasons"]),
            (record.decision, record.gate, *record.flags, *record.reasons),
        ),
        "seconds": (answer["seconds"], seconds),
    }


def packed(path: Path) -> list[Path]:
    """A DICOM file once more in the two forms that are unpacked in the browser itself."""
    import pydicom
    from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

    rle, deflated = (path.with_name(f"{path.stem}.{name}.dcm") for name in ("rle", "deflated"))
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(deflated)
    dataset = pydicom.dcmread(path)
    dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.save_as(rle)
    return [rle, deflated]


def drawn(folder: Path) -> list[Path]:
    """Drawn X-rays of several sizes and forms."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "docs" / "tools"))
    from examples import write_dicom

    files = []
    for index, (side, form) in enumerate(
        [
            (256, "png"),
            (512, "png"),
            (700, "jpg"),
            (1024, "png"),
            (400, "16.png"),
            (600, "dcm"),
            (200, "png"),
            (640, "colour.png"),
        ]
    ):
        rng = np.random.default_rng((19, index))
        pixels = draw(rng, hospital=("north", "south")[index % 2], covid=index % 2 == 0, size=side).pixels
        if index % 3 == 1:
            pixels = np.ascontiguousarray(pixels[: int(side * 0.93)])
        path = folder / f"drawn-{index}.{form}"
        if form == "dcm":
            png = folder / "for-dicom.png.tmp"
            png.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
            write_dicom(png, path)
            files += packed(path)
        elif form == "16.png":
            cv2.imwrite(str(path), pixels.astype(np.uint16) * 11 + 900)
        elif form == "colour.png":
            cv2.imwrite(str(path), cv2.merge([pixels, (pixels * 0.97).astype(np.uint8), pixels]))
        else:
            cv2.imwrite(str(path), pixels)
        files.append(path)
    noise = folder / "noise.png"
    noise.write_bytes(
        cv2.imencode(".png", np.random.default_rng(0).integers(0, 255, (300, 300), np.uint8))[1].tobytes()
    )
    return [*files, noise]


def main() -> int:
    """Compare, and say what it took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("page", type=Path)
    parser.add_argument("--data", type=Path, help="a folder of X-rays instead of drawn ones")
    given = parser.parse_args()
    size = sum(path.stat().st_size for path in given.page.rglob("*") if path.is_file())
    model = lungsight.load_model(threads=1)
    failed, lines = 0, []
    with tempfile.TemporaryDirectory() as folder, served(given.page) as url, opened(url) as (page, wrong):
        if given.data:
            endings = (".png", ".jpg", ".jpeg", ".dcm")
            files = sorted(path for path in given.data.rglob("images/*") if path.suffix.lower() in endings)
        else:
            files = drawn(Path(folder))
        for path in files:
            one = compare(page, model, path)
            lines.append(one)
            good = (
                one["codes"][0] == one["codes"][1]
                and one.get("mask", 0) <= MASK_LIMIT
                and one.get("score", 0) <= SCORE_LIMIT
            )
            failed += not good
            print(
                "ok  " if good else "BAD ",
                {key: value for key, value in one.items() if key != "scores" or not good},
                flush=True,
            )
        failed += len(wrong)
        for line in wrong:
            print("BAD  ", line)
    timed = [one for one in lines if "seconds" in one]
    masks, scores = [one["mask"] for one in timed], [one["score"] for one in timed]
    first, rest = timed[0]["seconds"][0], [one["seconds"] for one in timed[1:]]
    print(
        f"\n{len(lines)} files; at most {max(masks):.4%} of the pixels of a mask differ, a score by {max(scores):.6f}"
    )
    ours = np.median([b for _, b in rest])
    print(
        f"first X-ray {first:.1f} s, then {np.median([a for a, _ in rest]):.2f} s an X-ray (median); here {ours:.2f} s"
    )
    print(f"{size / 1e6:.1f} MB to load")
    print(f"{len(lines) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
