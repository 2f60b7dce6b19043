"""The static page's arithmetic against OpenCV, NumPy and the package, in Node; skips where there is none.

`make web` and `benchmarks/web.py` compare whole X-rays in Chromium.
"""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.pixels import get_encoder
from pydicom.uid import RLELossless

from lungsight.inference import lung_masks, plausibility, sides
from lungsight.inference.heart import cardiothoracic
from lungsight.inference.polarity import SCALE, SIDE, TEMPLATE, polarity
from lungsight.inference.zones import zones
from lungsight.phantom import draw

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "web"))
build = importlib.import_module("build")
RULES = json.loads(json.dumps(build.rules()))
"""As the page reads them from `cards.json`."""
SOURCE = Path(__file__).resolve().parents[1] / "web" / "src"
STATIC = Path(lung_masks.__file__).parents[1] / "server" / "static"
NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(
    NODE is None, reason="there is no Node here: the page's arithmetic is not tried"
)


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's files as modules that Node loads."""
    folder = tmp_path_factory.mktemp("web")
    for path in (
        SOURCE / "pixels.js",
        SOURCE / "find.js",
        SOURCE / "rle.js",
        STATIC / "lungs.js",
        STATIC / "numbers.js",
    ):
        shutil.copy(path, folder / path.name)
    (folder / "package.json").write_text('{"type": "module"}')
    return folder


def ask(scripts: Path, body: str, given: Any) -> Any:
    """What a function body returns, with `p` and `f` the modules and `g` what is given."""
    (scripts / "given.json").write_text(json.dumps(given))
    (scripts / "run.js").write_text(
        "import * as p from './pixels.js'; import * as f from './find.js'; "
        "import * as numbers from './numbers.js'; import { unpackRle } from './rle.js'; import fs from 'node:fs';\n"
        "const g = JSON.parse(fs.readFileSync(new URL('./given.json', import.meta.url)));\n"
        "const bytes = ({width, height, values}) => ({width, height, values: Uint8Array.from(values)});\n"
        "const floats = ({width, height, values}) => ({width, height, values: Float32Array.from(values)});\n"
        f"const found = (() => {{ {body} }})();\n"
        "console.log(JSON.stringify(found, (_, v) => ArrayBuffer.isView(v) ? Array.from(v) : v));"
    )
    done = subprocess.run([str(NODE), str(scripts / "run.js")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def plain(image: NDArray[Any]) -> dict[str, Any]:
    return {"width": image.shape[1], "height": image.shape[0], "values": image.ravel().tolist()}


@pytest.mark.parametrize(
    ("shape", "halves", "size"),
    [
        ((96, 128), [], (32, 64)),
        ((97, 131), [], (32, 64)),
        ((64, 64), [], (32, 32)),
        ((20, 31), [], (32, 64)),
        ((40, 31), [], (32, 64)),
        ((88, 96), [(44, 48), (22, 24)], (10, 11)),
        ((40, 48), [(20, 24)], (10, 11)),
        ((40, 44), [], (10, 11)),
        ((43, 50), [], (10, 11)),
    ],
)
def test_resizing_is_opencv_s(
    scripts: Path, shape: tuple[int, int], halves: list[tuple[int, int]], size: tuple[int, int]
) -> None:
    rng = np.random.default_rng(3)
    image = cv2.GaussianBlur(rng.integers(0, 256, shape, np.uint8), (0, 0), 1.5)
    shrinks = shape[0] >= size[0] and shape[1] >= size[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    wanted, real = image, image.astype(np.float32) / 255
    for step in (*halves, size):
        wanted, real = (cv2.resize(one, step[::-1], interpolation=how) for one in (wanted, real))
    body = "return [p.resize(bytes(g.image), g.w, g.h).values, p.resize(floats(g.real), g.w, g.h).values]"
    given = {"image": plain(image), "real": plain(image.astype(np.float32) / 255), "h": size[0], "w": size[1]}
    whole, parts = (np.reshape(one, size) for one in ask(scripts, body, given))
    assert (whole == wanted).all()
    assert np.abs(parts - real).max() < 2e-6


def test_percentiles_and_the_brush_are_numpy_s_and_opencv_s(scripts: Path) -> None:
    rng = np.random.default_rng(4)
    values = rng.random(997).astype(np.float32)
    mask = np.zeros((60, 50), np.uint8)
    mask[20:30, 10:14] = 1
    mask[0, 49] = 1
    body = (
        "return [p.percentiles(g.values, [1, 50, 99.5]), p.dilate(bytes(g.mask), 0.09).values, "
        "p.boundingBox(bytes(g.mask))]"
    )
    found, grown, box = ask(scripts, body, {"values": values.tolist(), "mask": plain(mask)})
    assert np.allclose(found, np.percentile(values, (1, 50, 99.5)), atol=1e-6)
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (11, 11))
    assert (np.reshape(grown, mask.shape) == cv2.dilate(mask, brush)).all()
    assert box == [0, 10, 30, 50]


def _chest() -> NDArray[np.uint8]:
    return draw(np.random.default_rng(5), hospital="north", covid=False, size=128).pixels


def _maps() -> list[NDArray[np.float32]]:
    """Probability maps: two lungs, joined lungs, one lung, specks and holes, nothing."""
    phantom = draw(np.random.default_rng(5), hospital="north", covid=False, size=128)
    two = cv2.GaussianBlur(phantom.mask.astype(np.float32), (0, 0), 1.5)
    joined = two.copy()
    joined[60:64, 20:110] = np.maximum(joined[60:64, 20:110], 0.8)
    one = two.copy()
    one[:, 64:] = 0
    holes = two.copy()
    holes[50:54, 34:38] = 0.1
    holes[4:7, 4:7] = 0.9
    return [np.asarray(each, np.float32) for each in (two, joined, one, holes, np.zeros_like(two))]


RULE = {"side": SIDE, "template": TEMPLATE.ravel().tolist(), "scale": SCALE}


def test_inversion_is_told_as_the_package_tells_it(scripts: Path) -> None:
    image = _chest()
    pair = [np.asarray(one, np.float32) / 255 for one in (image, 255 - image)]
    body = "return [...g.pair, g.flat].map((one) => f.polarity(floats(one), g.rule))"
    flat = plain(np.full((40, 40), 0.5, np.float32))
    found = ask(scripts, body, {"pair": [plain(one) for one in pair], "flat": flat, "rule": RULE})
    assert found == pytest.approx([polarity(pair[0]), polarity(pair[1]), 0], abs=1e-4)
    assert found[0] > 0 > found[1]


SIDES = {
    "side": SIDE,
    "template": sides.TEMPLATE.ravel().tolist(),
    "scale": sides.SCALE,
    "heart": sides.HEART,
    "picture": sides.PICTURE,
    "sure": sides.SURE_HEART,
}


def test_a_mirrored_picture_is_told_as_the_package_tells_it(scripts: Path) -> None:
    image, heart = np.asarray(_chest(), np.float32) / 255, np.zeros((128, 128), np.float32)
    labels = lung_masks.find(_maps()[0], 0.5).small
    heart[60:90, 50:86] = 1
    middle = (np.nonzero(labels == 1)[1].mean() + np.nonzero(labels == 2)[1].mean()) / 2
    body = (
        "return g.all.map(([h, l, i, m]) => [f.onWrongSide(floats(h).values, bytes(l), floats(i), m, g.rule, g.size), "
        "f.sidedness(floats(i), g.rule)])"
    )
    cases = []
    for shift in (-20, -8, 0, 8, 20):
        moved = np.roll(heart, round(middle - 67.5) + shift, axis=1)
        for picture in (image, image[:, ::-1]):
            cases += [(moved, labels, np.ascontiguousarray(picture), mirrored) for mirrored in (False, True)]
    given = {
        "all": [[plain(h), plain(lab), plain(i), m] for h, lab, i, m in cases],
        "rule": SIDES,
        "size": RULES["heart"],
    }
    found = ask(scripts, body, given)
    wanted = [sides.on_wrong_side(h > 0.5, lab, i, mirrored=m) for h, lab, i, m in cases]
    assert [one for one, _ in found] == wanted and any(wanted) and not all(wanted)
    assert [side for _, side in found] == pytest.approx(
        [sides.sidedness(i) for _, _, i, _ in cases], abs=1e-4
    )


@pytest.mark.parametrize("index", range(5))
def test_lungs_flags_zones_and_ratio_are_the_package_s(scripts: Path, index: int) -> None:
    values = _maps()[index]
    image = np.random.default_rng(6).random(values.shape).astype(np.float32)
    heart = np.zeros_like(values)
    heart[70:100, 48:84] = 1
    body = (
        "const r = g.rules; const l = f.find(floats(g.map), 0.5, r.lungs); const labels = f.labelsOf(l); "
        "return [l.map.values, labels.values, l.components, f.flagsOf(l, floats(g.image), r, g.rule), "
        "f.zonesOf(labels, r.zone_rows), f.ratioOf(floats(g.heart).values, labels, 0.5, r.heart, 0.8)]"
    )
    given = {
        "map": plain(values),
        "image": plain(image),
        "heart": plain(heart),
        "rule": RULE,
        "rules": RULES,
    }
    cleaned, labels, components, flags, zone_map, ratio = ask(scripts, body, given)
    ours = lung_masks.find(values, 0.5)
    assert np.allclose(np.reshape(cleaned, values.shape), ours.probability, atol=1e-6)
    # Where both lungs are equally near the distances' last bits decide.
    assert (np.reshape(labels, values.shape) != ours.small).mean() < 1e-3
    assert components == ours.components
    assert flags == [str(flag) for flag in plausibility.check(ours, image)]
    assert (np.reshape(zone_map, values.shape) != zones(ours.small)).mean() < 1e-3
    known = cardiothoracic(heart >= 0.5, ours.small, 0.8)
    assert (ratio is None) == (known is None)
    if known is not None:
        assert ratio["ratio"] == pytest.approx(known.ratio)
        assert ratio["doubts"] == list(map(str, known.doubts))
        for line, width in ((ratio["heart"], known.heart), (ratio["chest"], known.chest)):
            assert line == [width.row, width.start, width.stop]


LIMITS = (
    ("area", 0.5, None),
    ("side", 1.01, None),
    ("fill", 1.01, None),
    ("plausible", [0.9, 1], None),
    ("short", 9, ["shallow_breath"]),
    ("uneven", 0.5, ["turned"]),
)


def test_every_limit_of_the_heart_comes_from_the_package(scripts: Path) -> None:
    """None of them stands as a number in the page: another one gives another answer."""
    heart = np.zeros((128, 128), np.float32)
    heart[70:100, 48:84] = 1
    body = (
        "const labels = f.labelsOf(f.find(floats(g.map), 0.5, g.rules.lungs)); "
        "return g.all.map((one) => f.ratioOf(floats(g.heart).values, labels, 0.5, {...g.rules.heart, ...one}))"
    )
    changed = [{"short": 0, "uneven": 9}, *({"short": 0, "uneven": 9, name: to} for name, to, _ in LIMITS)]
    given = {"map": plain(_maps()[0]), "heart": plain(heart), "rules": RULES, "all": changed}
    found = ask(scripts, body, given)
    assert found[0]["doubts"] == []
    assert [one and one["doubts"] for one in found[1:]] == [wanted for *_, wanted in LIMITS]
    told = (RULES["heart"][name] for name in ("area", "side", "fill", "short", "uneven"))
    assert tuple(told) == (0.01, 0.5, 0.55, 0.74, 1.4) and RULES["heart"]["plausible"] == [0.3, 0.8]
    assert RULES["heart"]["notes"][""] == "view_unknown" and RULES["heart"]["notes"]["AP"] == "magnified"
    assert set(RULES["needed"]) <= set(RULES["severity_doubts"]) and "at_edge" in RULES["heart"]["doubts"]


def test_figures_for_the_eye_are_rounded_as_in_the_tables(scripts: Path) -> None:
    """A severity is held with two digits, a ratio with three, both to the even one in the middle."""
    values = [3.2549, 3.25, 0.75, 17.95, 0.05, 0.5049, 0.505, 0.375, 0.4555]
    body = "return g.map((one) => [n.severityWords(one), n.ratioWords(one)])"
    found = ask(scripts, f"const n = numbers; {body}", values)
    assert found == [[f"{round(one, 2):.1f}", f"{round(one, 3):.2f}"] for one in values]
    assert found[0][0] == "3.2" and found[5][1] == "0.51"


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_rle_of_dicom_is_unpacked(scripts: Path, kind: type[np.generic]) -> None:
    """Frames of pydicom's encoder, whole and cut; runs, literals and a run over two rows."""
    rng = np.random.default_rng(9)
    top = np.iinfo(kind).max
    image = np.repeat(rng.integers(0, top, (20, 16), kind, endpoint=True), 4, axis=1)
    image[5:9] = 7
    image[12] = rng.integers(0, top, 64, kind, endpoint=True)
    size = image.itemsize
    encoder = get_encoder(RLELossless)
    frame = encoder.encode(
        image.tobytes(), rows=20, columns=64, samples_per_pixel=1, number_of_frames=1, bits_allocated=8 * size,
        bits_stored=8 * size, pixel_representation=0, photometric_interpretation="MONOCHROME2",
    )  # fmt: skip
    body = "return [g.whole, g.cut, []].map((one) => unpackRle(Uint8Array.from(one), 1280, g.size))"
    whole, cut, nothing = ask(scripts, body, {"whole": [*frame], "cut": [*frame[:-9]], "size": size})
    assert bytes(whole) == image.astype(image.dtype.newbyteorder("<")).tobytes()
    assert cut is None and nothing is None


def test_compressions_that_the_page_does_not_read_have_names() -> None:
    named = build.tables()["syntaxes"]
    assert "JPEG-LS Lossless" in named["1.2.840.10008.1.2.4.80"]
    assert "JPEG 2000" in named["1.2.840.10008.1.2.4.90"] and "Lossless" in named["1.2.840.10008.1.2.4.70"]
