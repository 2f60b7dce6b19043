"""What moved the score, where it lies, and how much of it lies inside the lungs.

Two ways. *Evidence*: the diagnosis network's own map, whose mean is the logit (a class activation map, Zhou et al.,
CVPR 2016, but exact, since nothing comes after the mean). *Occlusion*: cover a place, look how the logit falls (Zeiler
and Fergus, ECCV 2014); it asks nothing of the network. A map that does not change when the weights are shuffled
explains the picture and not the network (Adebayo et al., NeurIPS 2018): `sanity_check` looks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from lungsight.card import InputSettings
from lungsight.errors import InputError, ModelError, require
from lungsight.inference import Lungsight, Result
from lungsight.inference import lung_masks as lungs
from lungsight.inference.classifier import prepare
from lungsight.inference.sessions import Session
from lungsight.model import Model
from lungsight.preprocess import (
    Box,
    Edges,
    Frame,
    Gray,
    bounding_box,
    dilate,
    resample,
    resize_image,
    resize_mask,
    to_uint8,
    to_unit,
)
from lungsight.wording import say_all

Method = Literal["evidence", "occlusion"]

CELLS = 16
"""Occlusion: cells along each side of what the network sees; a cover hides 2 x 2 of them."""
REPEATS = 5
"""Sanity check: shuffled networks."""
CHANGED = 0.5
"""Sanity check: below this mean rank correlation with the shuffled networks' maps the map counts as changed."""

RAISED, LOWERED = (197, 27, 125), (77, 146, 33)
"""RGB pink and green, told apart under the common colour blindnesses (ColorBrewer PiYG)."""

LUNGS_ALONE = (
    "The network saw the lungs with a thin rim, on black. The rest of what moved the score lies on that rim and on "
    "the black between and around the lungs: their outline can move the score as well as what is in them, and a cell "
    "of the map holds some of both."
)
WHOLE_IMAGE = "The network saw the whole picture; what lies outside the lungs is not about the lungs."


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """A heat map of one X-ray's score."""

    method: Method
    values: NDArray[np.float32]
    """(h, w): above 0 what raised the logit, below 0 what lowered it."""
    frame: Frame
    """From the pixels of the file to `values`."""
    inside: float | None
    """Fraction, 0 to 1, of the absolute values that lies inside the lungs; None where all values are 0.

    A cell counts by the part of it that is lung; nothing is smoothed before.
    """
    lungs: NDArray[np.bool_] = field(repr=False)
    """(h, w) the cells that the lungs touch."""
    text: str = ""
    """Why some of it lies outside the lungs, in a sentence or two."""

    def map(self) -> NDArray[np.float32]:
        """(H, W) at the size of the file, 0 outside what the network saw."""
        return self.frame.restore(self.values)


@dataclass(frozen=True, slots=True)
class SanityCheck:
    """How alike the map is to the maps of the same network with shuffled weights."""

    correlations: tuple[float, ...]
    """Spearman's rank correlation over the lungs' cells, one a shuffled network; NaN-free: a flat map counts as 0."""

    @property
    def mean(self) -> float:
        """Of their absolute values."""
        return float(np.mean(np.abs(self.correlations)))

    @property
    def changed(self) -> bool:
        """The map depends on what the network learned."""
        return self.mean < CHANGED

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "what": "weights shuffled within each tensor",
            "rank_correlations": [round(value, 4) for value in self.correlations],
            "mean_absolute": round(self.mean, 4),
            "limit": CHANGED,
            "changed": self.changed,
        }


def evidence(model: Lungsight, result: Result) -> Explanation | None:
    """The map that the diagnosis network gave with the score; None where it gives none, or nothing was scored."""
    values = result.diagnosis.evidence
    return None if values is None else _placed("evidence", values, _View.of(model, result))


def occlusion(model: Lungsight, result: Result) -> Explanation:
    """Cover 2 x 2 of 16 x 16 cells with the mean grey of the lungs, everywhere in turn, and note the fall of the logit.

    The lung mask stays as it is. About 225 runs of the diagnosis network.

    Raises:
        InputError: the X-ray was not scored.
        ModelError: there is no diagnosis network.
    """
    return _occlusion(_network(model), model, result)


def explain(model: Lungsight, result: Result, method: Method | None = None) -> Explanation:
    """`evidence` where the network gives it, else `occlusion`; or the one that is named.

    Raises:
        InputError: the X-ray was not scored.
        ModelError: there is no diagnosis network, or it gives no evidence map and that was asked for.
    """
    network = _network(model)
    if result.probability is None:
        raise InputError(
            f"was not scored, so there is nothing to explain: {say_all(result.reasons)}", where=result.name
        )
    found = None if method == "occlusion" else evidence(model, result)
    if found is None and method == "evidence":
        raise ModelError(
            "the network gives no evidence map", where=network.card.name, hint="Use --method occlusion"
        )
    return found or occlusion(model, result)


def sanity_check(model: Lungsight, result: Result, found: Explanation, *, seed: int = 0) -> SanityCheck:
    """Explain the same X-ray by networks with shuffled weights, and compare. Needs onnx (the train extra).

    Args:
        model: that predicted.
        result: what it predicted.
        found: of `explain`.
        seed: of the shuffles.
    """
    correlations = []
    for repeat in range(REPEATS):
        network = shuffled(_network(model), seed + repeat)
        if found.method == "evidence":
            view = _View.of(model, result)
            values = Session(network, model.threads).run(view.prepared(view.small)[None])["cam"][0, 0]
        else:
            values = _occlusion(network, model, result).values
        correlations.append(_rank_correlation(found.values[found.lungs], values[found.lungs]))
    return SanityCheck(tuple(correlations))


def shuffled(network: Model, seed: int) -> Model:
    """The same network with the values of each weight tensor in another order: it knows nothing any more.

    Raises:
        MissingExtraError: onnx is not installed.
    """
    onnx = require("onnx", feature="The sanity check of an explanation", extra="train")
    import onnx.numpy_helper as helper

    rng = np.random.default_rng(seed)
    graph = onnx.load_model_from_string(network.onnx)
    for tensor in graph.graph.initializer:
        values = helper.to_array(tensor)
        if values.dtype.kind == "f" and values.size > 1:
            mixed = rng.permutation(values.ravel()).reshape(values.shape)
            tensor.CopyFrom(helper.from_array(mixed, tensor.name))
    return Model(network.card, graph.SerializeToString())


def heat_picture(pixels: Gray, found: Explanation, *, strength: float = 0.7) -> NDArray[np.uint8]:
    """X-ray in grey with pink where the score was raised and green where it was lowered.

    Args:
        pixels: (H, W) of the file.
        found: its explanation.
        strength: opacity of the strongest value, 0 to 1.

    Returns:
        (H, W, 3) `uint8` RGB.
    """
    values = found.map()
    peak = float(np.abs(values).max()) or 1.0
    opacity = (np.abs(values) / np.float32(peak) * np.float32(strength))[..., None]
    colour = np.where((values > 0)[..., None], *(np.asarray(side, np.float32) for side in (RAISED, LOWERED)))
    grey = cv2.cvtColor(to_uint8(pixels), cv2.COLOR_GRAY2RGB).astype(np.float32)
    return np.asarray(grey + (colour - grey) * opacity, np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """What the diagnosis network looks at, at its working size."""

    settings: InputSettings
    small: Gray
    """(h, w) the whole image."""
    mask: NDArray[np.bool_]
    """(h, w) the lungs, as they were when the score was made."""
    box: Box
    """The part that reaches the network."""
    original: tuple[int, int]

    @classmethod
    def of(cls, model: Lungsight, result: Result) -> _View:
        settings = _network(model).card.input
        working = settings.resized
        mask = resize_mask(lungs.find(result.score_map, model.bundle.lungs.card.threshold).mask, working)
        if settings.preprocessing == "crop_to_lungs":
            box = bounding_box(dilate(mask, settings.dilation)) or (0, 0, *working)
        else:
            box = Edges(*settings.crop).box(working)
        return cls(settings, resize_image(result.xray.pixels, working), mask, box, result.xray.shape)

    def prepared(self, small: Gray) -> NDArray[np.float32]:
        """(channels, h, w) of an image that has the same lungs."""
        view = prepare(small, self.mask, self.settings)
        return np.zeros((self.settings.channels, *self.settings.size), np.float32) if view is None else view

    def frame(self, size: tuple[int, int], *, original: bool) -> Frame:
        """From the working image, or from the pixels of the file, to a map of `size`."""
        height, width = self.mask.shape
        if not original:
            return Frame((height, width), self.box, size)
        down, across = self.original[0] / height, self.original[1] / width
        top, left, bottom, right = self.box
        box = (round(top * down), round(left * across), round(bottom * down), round(right * across))
        return Frame(self.original, box, size)


def _network(model: Lungsight) -> Model:
    if model.bundle.diagnosis is None:
        raise ModelError(
            "there is no diagnosis network, so there is no score to explain",
            hint="Give a folder that holds one with --model",
        )
    return model.bundle.diagnosis


def _placed(method: Method, values: NDArray[np.float32], view: _View) -> Explanation:
    size = (int(values.shape[0]), int(values.shape[1]))
    top, left, bottom, right = view.box
    # The cells tile the box: of each cell the part that is lung, before anything is smoothed for a picture.
    cover = resample(view.mask[top:bottom, left:right].astype(np.float32), size, "area")
    weight = np.abs(values)
    total = float(weight.sum())
    inside = float((weight * cover).sum()) / total if total > 0 else None
    alone = view.settings.preprocessing != "resize"
    return Explanation(
        method,
        np.asarray(values, np.float32),
        view.frame(size, original=True),
        inside,
        cover > 0,
        LUNGS_ALONE if alone else WHOLE_IMAGE,
    )


def _occlusion(network: Model, model: Lungsight, result: Result) -> Explanation:
    if result.probability is None:
        raise InputError(f"was not scored: {say_all(result.reasons)}", where=result.name)
    view, session = _View.of(model, result), Session(network, model.threads)
    image = to_unit(view.small)
    grey = float(image[view.mask].mean()) if view.mask.any() else float(image.mean())
    top, left, bottom, right = view.box
    rows = np.linspace(top, bottom, CELLS + 1).round().astype(int)
    columns = np.linspace(left, right, CELLS + 1).round().astype(int)
    fall = np.zeros((CELLS, CELLS), np.float32)
    covers = np.zeros((CELLS, CELLS), np.float32)
    whole = float(session.run(view.prepared(image)[None])["logit"][0, 0])
    for row in range(CELLS - 1):
        # A row of covers is a batch.
        views = []
        for column in range(CELLS - 1):
            covered = image.copy()
            covered[rows[row] : rows[row + 2], columns[column] : columns[column + 2]] = grey
            views.append(view.prepared(covered))
        logits = session.run(np.stack(views))["logit"][:, 0]
        for column, logit in enumerate(logits):
            fall[row : row + 2, column : column + 2] += whole - logit
            covers[row : row + 2, column : column + 2] += 1
    return _placed("occlusion", fall / covers, view)


def _rank_correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    if first.size < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    ranks = [np.argsort(np.argsort(values)).astype(np.float64) for values in (first, second)]
    centred = [values - values.mean() for values in ranks]
    return float((centred[0] * centred[1]).sum() / np.sqrt((centred[0] ** 2).sum() * (centred[1] ** 2).sum()))
