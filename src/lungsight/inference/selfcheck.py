"""Does an installation give what it should? Masks of drawn X-rays against those that were kept with the networks.

A processor or another version of ONNX Runtime may move a probability by a millionth and a mask by a pixel; a broken
installation, a wrong file of weights or a change of the preprocessing moves masks by far more.
"""

from __future__ import annotations

import base64
import zlib
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from lungsight.errors import ModelError
from lungsight.files import write_bytes
from lungsight.inference.predictor import Lungsight
from lungsight.model import Bundle, load_bundle
from lungsight.phantom import draw
from lungsight.preprocess import Frame
from lungsight.records import Record, from_json, to_json
from lungsight.wording import LungConvention

NAME = "expected.json"
SIZE = 256
"""Side of the drawn X-rays in pixels."""
MIN_DICE = 0.995
"""Of a mask and the expected one; below it something is wrong."""
DRAWN = ((11, "north", False), (12, "north", True), (13, "south", False), (14, "south", True))
"""(seed, hospital, COVID-19) of each drawn X-ray."""
_HEART = "heart"


class Expected(Record, frozen=True):
    """What one drawn X-ray should give."""

    seed: int
    hospital: str
    covid: bool
    frontal: bool
    masks: dict[str, str]
    """By what is marked ('full', 'visible', 'heart'): (256, 256) bits, compressed, as base64."""


class ExpectedFile(Record, frozen=True):
    """`expected.json`: what the networks beside it should give."""

    networks: tuple[str, ...]
    """SHA-256 of the lung network's weights and, where there is one, of the gate's."""
    cases: Annotated[tuple[Expected, ...], Meta(min_length=1, max_length=1000)]


class Check(Record, frozen=True):
    """One comparison."""

    case: str
    marked: str
    """'full', 'visible', 'heart', or 'gate'."""
    dice: float
    """With the expected mask; of the gate 1 where the answer is the expected one, else 0."""

    @property
    def passed(self) -> bool:
        """Whether it is as it should be."""
        return self.dice >= MIN_DICE


def check(folder: str | Path | None = None, *, threads: int | None = None) -> list[Check]:
    """Compare an installation's masks with those that its networks should give.

    Args:
        folder: of networks; None: those that ship.
        threads: as for `load_model`.

    Raises:
        ModelError: a network cannot be used, or nothing is kept with these networks to compare with.
    """
    bundle = load_bundle(folder)
    place: Traversable = resources.files("lungsight") / "weights" if folder is None else Path(folder)
    try:
        text = (place / NAME).read_bytes()
    except OSError as error:
        raise ModelError(
            f"holds no {NAME}, so there is nothing to compare with",
            where=str(place) if folder is not None else "the installed package",
            hint="Write it where the installation is known to be right: lungsight check --write",
        ) from error
    expected = from_json(ExpectedFile, text, where=NAME, error=ModelError)
    if expected.networks != _hashes(bundle):
        raise ModelError("was written with other networks", where=NAME, hint="lungsight check --write")
    found = _run(bundle, expected_cases(expected), threads)
    checks: list[Check] = []
    for before, now in zip(expected.cases, found, strict=True):
        case = f"{before.hospital} {before.seed}"
        checks.append(Check(case=case, marked="gate", dice=float(before.frontal == now.frontal)))
        for marked, mask in before.masks.items():
            now_mask = now.masks.get(marked)
            value = 0.0 if now_mask is None else _dice(_unpack(mask), _unpack(now_mask))
            checks.append(Check(case=case, marked=marked, dice=value))
    return checks


def write_expected(folder: str | Path, *, threads: int | None = None) -> Path:
    """Write what the networks of a folder give here as what they should give; raises ModelError, OutputError."""
    bundle = load_bundle(folder)
    found = ExpectedFile(networks=_hashes(bundle), cases=tuple(_run(bundle, DRAWN, threads)))
    path = Path(folder) / NAME
    write_bytes(path, to_json(found) + b"\n")
    return path


def expected_cases(expected: ExpectedFile) -> tuple[tuple[int, str, bool], ...]:
    """(seed, hospital, COVID-19) of each case of a file."""
    return tuple((case.seed, case.hospital, case.covid) for case in expected.cases)


def _run(bundle: Bundle, drawn: tuple[tuple[int, str, bool], ...], threads: int | None) -> list[Expected]:
    card = bundle.lungs.card
    own = card.convention or LungConvention.FULL.value
    conventions = [name for name in LungConvention if name in (card.classes or (own,))]
    models = {name: Lungsight(bundle, threads=threads, lungs=name) for name in conventions}
    found = []
    for seed, hospital, covid in drawn:
        pixels = draw(np.random.default_rng(seed), hospital=hospital, covid=covid, size=SIZE).pixels
        results = {name: model(pixels) for name, model in models.items()}
        first = next(iter(results.values()))
        masks = {name.value: result.mask for name, result in results.items()}
        if first.heart_map is not None:
            frame = Frame.whole((SIZE, SIZE), card.input.size)
            masks[_HEART] = np.asarray(frame.restore(first.heart_map) >= card.heart_threshold)
        packed = {name: _pack(mask) for name, mask in masks.items()}
        found.append(
            Expected(seed=seed, hospital=hospital, covid=covid, frontal=first.gate.frontal, masks=packed)
        )
    return found


def _hashes(bundle: Bundle) -> tuple[str, ...]:
    return tuple(model.card.sha256 for model in (bundle.lungs, bundle.gate) if model is not None)


def _pack(mask: NDArray[np.bool_]) -> str:
    return base64.b64encode(zlib.compress(np.packbits(mask).tobytes(), 9)).decode("ascii")


def _unpack(text: str) -> NDArray[np.bool_]:
    try:
        data = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), SIZE * SIZE // 8)
        return np.unpackbits(np.frombuffer(data, np.uint8)).reshape(SIZE, SIZE).astype(bool)
    except (ValueError, zlib.error) as error:
        raise ModelError("a mask in it is damaged", where=NAME) from error


def _dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    total = int(one.sum() + other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0
