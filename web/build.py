"""Make the static page: `make web`. It runs the networks that ship inside the browser; no X-ray leaves the machine.

    python web/build.py build/web

`npm ci` must have been run in this folder (ONNX Runtime Web, MIT; dicomParser, MIT). The page is that of
`lungsight serve`, with `api.js` replaced by one that asks a worker instead of a server.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import lungsight
from lungsight.model import Bundle, load_bundle
from lungsight.wording import OLD_GATE_CLASSES, RatioDoubt, SpacingKind, View, XRayNote

HERE = Path(__file__).resolve().parent
PACKAGE = Path(lungsight.__file__).resolve().parent
STATIC = PACKAGE / "server" / "static"
# The server's own files and those of `web/src`, which take the place of a file of the same name.
REPLACED = (
    (
        "They go to this server's memory and nowhere else.",
        "They stay in this browser: no server is behind it.",
    ),
    ("PNG, JPEG, TIFF or DICOM", "PNG, JPEG or DICOM"),
    ("Larger than this server takes", "Larger than this page takes"),
)
CSP = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' blob: data:; "
    "connect-src 'self'; worker-src 'self'; form-action 'none'; base-uri 'none'"
)


def rules() -> dict[str, Any]:
    """The limits by which lungs, heart and flags are judged, from the modules that hold them."""
    from lungsight.inference import heart, lung_masks, plausibility, severity, view_gate, zones
    from lungsight.inference.result import note_of

    return {
        "lungs": {
            "counted": lung_masks.COUNTED_COMPONENT_FRACTION,
            "component": lung_masks.MIN_COMPONENT_FRACTION,
            "hole": lung_masks.MAX_HOLE_FRACTION,
            "bridge": lung_masks.BRIDGE,
            "least": lung_masks.LEAST_LUNG,
            "apart": lung_masks.APART,
        },
        "flags": {
            "no_lung": plausibility.NO_LUNG_FRACTION,
            "one_lung": plausibility.ONE_LUNG_RATIO,
            "asymmetric": plausibility.ASYMMETRIC_RATIO,
            "small": plausibility.SMALL_FRACTION,
            "large": plausibility.LARGE_FRACTION,
            "edge": plausibility.EDGE_FRACTION,
            "components": plausibility.MAX_COMPONENTS,
            "base_spread": plausibility.MIN_BASE_SPREAD,
            "contrast": plausibility.MAX_CONTRAST,
        },
        "heart": {
            "area": heart.MIN_HEART,
            "side": heart.MIN_SIDE,
            "fill": heart.MIN_FILL,
            "plausible": heart.PLAUSIBLE,
            "short": heart.SHORT_LUNGS,
            "uneven": heart.UNEVEN,
            "doubts": sorted(map(str, heart.DOUBTS)),
            "words": {"short": str(RatioDoubt.SHALLOW_BREATH), "uneven": str(RatioDoubt.TURNED)},
            "notes": {view: note_of(view) for view in ("", *map(str, View))},
        },
        "severity_doubts": sorted(map(str, severity.DOUBTS)),
        "zone_rows": zones.MIN_ROWS,
        "needed": [str(flag) for flag in view_gate.NEEDED],
    }


def cards_of(bundle: Bundle) -> dict[str, Any]:
    """What the worker must know of the networks: a part of their cards, and the limits of the view gate."""
    from lungsight.inference import polarity, sides, view_gate
    from lungsight.xray.views import FRONTAL

    found: dict[str, Any] = {
        "frontal": sorted(FRONTAL),
        "limits": {
            "min_side": view_gate.MIN_SIDE,
            "max_aspect": view_gate.MAX_ASPECT,
            "min_contrast": view_gate.MIN_CONTRAST,
        },
    }
    found["rules"] = rules()
    found["polarity"] = {
        "side": polarity.SIDE,
        "template": polarity.TEMPLATE.ravel().tolist(),
        "scale": polarity.SCALE,
        "undo": polarity.UNDO,
        "note": str(XRayNote.INVERSION_UNDONE),
    }
    found["sides"] = {
        "side": polarity.SIDE,
        "template": sides.TEMPLATE.ravel().tolist(),
        "scale": sides.SCALE,
        "heart": sides.HEART,
        "picture": sides.PICTURE,
        "sure": sides.SURE_HEART,
    }
    for model in bundle.models:
        card = model.card
        calibration = card.calibration
        found[card.task] = {
            "file": f"{card.name}.onnx",
            "input": list(card.input.size),
            "resized": list(card.input.resized),
            "dilation": card.input.dilation,
            "threshold": card.threshold,
            "classes": [OLD_GATE_CLASSES.get(name, name) for name in card.classes] or ["full"],
            "convention": card.convention or "full",
            "half_width": card.half_width,
            "outlier_limit": card.outlier_limit,
            "heart_threshold": card.heart_threshold,
            "calibration": calibration
            and {
                "slope": calibration.slope,
                "intercept": calibration.intercept,
                "replicates": calibration.replicates,
                "uncertain": calibration.uncertain,
                "conformal": calibration.conformal
                and {
                    "covid_from": calibration.conformal.covid_from,
                    "not_covid_to": calibration.conformal.not_covid_to,
                },
            },
        }
    return found


def tables() -> dict[str, Any]:
    """What a DICOM header's words mean, from the tables of the reader in Python."""
    from lungsight.xray import dicom_kind, views
    from lungsight.xray.dicom_pixels import DECODERS

    root = "1.2.840.10008.5.1.4.1.1."
    spellings = (
        *(
            "PA",
            "AP",
            "LL",
            "RL",
            "L",
            "LAT",
            "LATERAL",
            "LEFT LATERAL",
            "RIGHT LATERAL",
            "LLO",
            "RLO",
            "LAO",
            "RAO",
            "LPO",
            "RPO",
        ),
        *(
            "OBLIQUE",
            "POSTERO-ANTERIOR",
            "ANTERO-POSTERIOR",
            "AP SUPINE",
            "AP ERECT",
            "LLD",
            "RLD",
            "FRONTAL",
        ),
    )
    known = {spelling.lower(): views.view_code(spelling) for spelling in spellings}
    from pydicom.uid import UID

    return {
        "syntaxes": {syntax: UID(syntax).name for syntax in DECODERS},
        "radiographs": sorted(dicom_kind.RADIOGRAPHS),
        "other_images": {root + part: words for part, words in dicom_kind.OTHER_IMAGES.items()},
        "no_images": dicom_kind.NO_IMAGES,
        "other_modalities": dicom_kind.OTHER_MODALITIES,
        "modalities": sorted(dicom_kind.MODALITIES),
        "views": {spelling: str(code) for spelling, code in known.items() if code},
        "view_codes": {value: str(code) for value, code in views.VIEW_CODE_VALUES.items()},
        "lateral": str(View.LATERAL),
        "spacing": {kind.name.lower(): str(kind) for kind in SpacingKind},
    }


def answers() -> dict[str, bytes]:
    """What the server says of itself, asked once: the networks, the words, the drawn sample."""
    import asyncio

    import httpx

    from lungsight import load_model
    from lungsight.server.app import create_app
    from lungsight.server.settings import Settings

    async def ask() -> dict[str, bytes]:
        transport = httpx.ASGITransport(create_app(load_model(), Settings()))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            paths = {"models.json": "models", "wording.json": "wording", "sample.png": "sample"}
            return {
                name: (await client.get(f"/v1/{path}")).raise_for_status().content
                for name, path in paths.items()
            }

    return asyncio.run(ask())


def umd(text: str) -> str:
    """A script that gives `module.exports` as a module of today."""
    return (
        "const module = { exports: {} };\nconst exports = module.exports;\nconst require = () => ({});\n"
        f"{text}\nexport default module.exports;\n"
    )


def build(out: Path) -> None:
    """Write the whole page; what lay there before is thrown away."""
    modules = HERE / "node_modules"
    if not (modules / "onnxruntime-web").is_dir():
        raise SystemExit("run `npm ci` in web/ first (`make web` does)")
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(STATIC, out / "static")
    for path in sorted((HERE / "src").glob("*.js")):
        if path.name not in ("start.js", "offline.js"):
            shutil.copy(path, out / "static" / path.name)
    (out / "static" / "tables.js").write_text(f"export default {json.dumps(tables())};\n", "utf-8")
    shutil.copy(HERE / "src" / "start.js", out / "static" / "start.js")
    for name in ("app.js", "films.js"):
        path = out / "static" / name
        text = path.read_text("utf-8")
        for before, after in REPLACED:
            text = text.replace(before, after)
        path.write_text(text, "utf-8")
    vendor = out / "vendor"
    vendor.mkdir()
    dist = modules / "onnxruntime-web" / "dist"
    shutil.copy(dist / "ort.wasm.bundle.min.mjs", vendor / "ort.mjs")
    shutil.copy(dist / "ort-wasm-simd-threaded.wasm", vendor / "ort.wasm")
    parser = (modules / "dicom-parser" / "dist" / "dicomParser.min.js").read_text("utf-8")
    (vendor / "dicom-parser.js").write_text(umd(parser), "utf-8")
    shutil.copy(HERE / "LICENSES.txt", vendor / "LICENSES.txt")
    bundle = load_bundle()
    (out / "weights").mkdir()
    for model in bundle.models:
        (out / "weights" / f"{model.card.name}.onnx").write_bytes(model.onnx)
    (out / "cards.json").write_text(json.dumps(cards_of(bundle)), "utf-8")
    for name, content in answers().items():
        (out / name).write_bytes(content)
    index = (STATIC / "index.html").read_text("utf-8")
    index = index.replace(
        '<meta charset="utf-8">',
        f'<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{CSP}">',
    )
    index = index.replace(
        "not for diagnosis.</strong>", "not for diagnosis.</strong> No X-ray leaves this browser."
    )
    index = index.replace("The API works without it: POST /v1/predictions.", "The networks run in it.")
    index = index.replace("</head>", '<script type="module" src="static/start.js"></script>\n</head>')
    (out / "index.html").write_text(index, "utf-8")
    files = sorted(path for path in out.rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    names = json.dumps(
        ["./", *(path.relative_to(out).as_posix() for path in files if path.name != "index.html")]
    )
    worker = (HERE / "src" / "offline.js").read_text("utf-8")
    worker = worker.replace('"NAME"', json.dumps(f"lungsight-{digest.hexdigest()[:16]}")).replace(
        "[/* FILES */]", names
    )
    (out / "offline.js").write_text(worker, "utf-8")
    total = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(
        f"{out}: {len(files) + 1} files, {total / 1e6:.1f} MB; serve it: python -m http.server --directory {out}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    build(parser.parse_args().out)
