"""Give a lung network an output that says how unlike an image is what it learned from.

The Mahalanobis distance of the deepest features, averaged over the image, from those of X-rays of the training data
(Lee, Lee, Lee and Shin, NeurIPS 2018), computed inside the ONNX file: one pass gives masks and distance. The covariance
is shrunk (Ledoit and Wolf, 2004), and the limit is the distance that 1 % of held-out X-rays exceed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from lungsight.dataset.cache import load_arrays
from lungsight.dataset.table import Dataset
from lungsight.errors import DataError, ModelError, require
from lungsight.model import Model, load_bundle, save
from lungsight.records import Record

FALSE_ALARMS = 0.01
OUTPUT, FEATURES = "outlier", "features"
_OURS = "outlier."
"""Names of what is added to the graph begin with it."""
_BATCH = 8


class OutlierFit(Record, frozen=True):
    """What the limit rests on."""

    limit: float
    features: int
    trained: int
    """Images whose mean and covariance it is."""
    held_out: int
    """Images, of other patients, that set the limit."""


def fit_outliers(
    dataset: Dataset,
    out: str | Path,
    *,
    folder: str | Path | None = None,
    seed: int = 1,
    limit: int = 1500,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Model, OutlierFit]:
    """Write the lung network of a folder again, with the output 'outlier' and its limit on the card.

    Args:
        dataset: X-rays that the network was trained on; two in three patients give mean and covariance, the others set
            the limit.
        out: folder for the two files.
        folder: holds the lung network and its card; None: the one that ships.
        limit: at most so many images, every source alike as far as it goes.

    Raises:
        DataError: fewer than 100 held-out images.
        ModelError: the network has no features that are scaled up again.
    """
    model = load_bundle(folder).lungs
    chosen = _choose(dataset, limit, seed)
    arrays = load_arrays(chosen, model.card.input.size)
    found = features_of(model, arrays.images, progress)
    people = np.array([row.patient or row.id for row in arrays.rows])
    names = np.unique(people)
    held = set(np.random.default_rng((seed, 2)).permutation(names)[: len(names) // 3].tolist())
    out_of = np.array([one in held for one in people])
    if out_of.sum() < 1 / FALSE_ALARMS:
        raise DataError(f"has {int(out_of.sum())} held-out images, too few for a limit", where=dataset.root)
    mean, whiten = whitening(found[~out_of])
    distances = np.linalg.norm((found[out_of] - mean) @ whiten, axis=1)
    at = float(np.quantile(distances, 1 - FALSE_ALARMS, method="higher"))
    fit = OutlierFit(at, found.shape[1], int((~out_of).sum()), int(out_of.sum()))
    code = with_outlier(model.onnx, mean, whiten)
    outputs = (*(name for name in model.card.outputs if name != OUTPUT), OUTPUT)
    card = structs.replace(model.card, outputs=outputs, outlier_limit=at)
    return save(out, card, code), fit


def _choose(dataset: Dataset, limit: int, seed: int) -> Dataset:
    """At most `limit` rows, each source with as many as the others as far as it goes."""
    rng = np.random.default_rng((seed, 1))
    sources: dict[str, list[str]] = {}
    for row in dataset:
        sources.setdefault(row.source, []).append(row.id)
    kept: set[str] = set()
    left = limit
    for number, ids in enumerate(sorted(sources.values(), key=len)):
        share = left // (len(sources) - number)
        taken = ids if len(ids) <= share else [ids[i] for i in rng.permutation(len(ids))[:share]]
        kept |= set(taken)
        left -= len(taken)
    return dataset.where(lambda row: row.id in kept)


def whitening(features: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean (K,) and W (K, K) of features (N, K): |(f - mean) W| is the Mahalanobis distance."""
    from sklearn.covariance import LedoitWolf

    fitted = LedoitWolf().fit(features)
    values, vectors = np.linalg.eigh(fitted.covariance_)
    return np.asarray(fitted.location_), vectors / np.sqrt(np.maximum(values, 1e-12))


def features_of(
    model: Model, images: NDArray[np.uint8], progress: Callable[[int, int], None] = lambda done, total: None
) -> NDArray[np.float64]:
    """(N, K) mean features of images (N, h, w) at the network's size."""
    import onnxruntime

    session = onnxruntime.InferenceSession(_with_features(model.onnx), providers=["CPUExecutionProvider"])
    name, parts = session.get_inputs()[0].name, []
    for start in range(0, len(images), _BATCH):
        batch = np.asarray(images[start : start + _BATCH], np.float32)[:, None] / 255
        parts.append(session.run([FEATURES], {name: batch})[0])
        progress(min(start + _BATCH, len(images)), len(images))
    return np.concatenate(parts).astype(np.float64)


def _bare(onnx_bytes: bytes) -> tuple[Any, Any, str]:
    """The graph without an earlier distance: (module onnx, model, name of the deepest map)."""
    onnx = require("onnx", feature="Changing a network file", extra="train")
    model = onnx.load_from_string(onnx_bytes)
    graph = model.graph
    for field in (graph.node, graph.initializer):
        for one in [one for one in field if one.name.startswith(_OURS)]:
            field.remove(one)
    for one in [one for one in graph.output if one.name == OUTPUT]:
        graph.output.remove(one)
    scaled = next((node for node in graph.node if node.op_type in ("Resize", "Upsample")), None)
    if scaled is None:
        raise ModelError("has no features that are scaled up again", where="lungs.onnx")
    return onnx, model, scaled.input[0]


def _pooled(onnx: Any, model: Any, deepest: str) -> None:
    model.graph.node.extend(
        [
            onnx.helper.make_node("GlobalAveragePool", [deepest], [f"{_OURS}pooled"], name=f"{_OURS}pool"),
            onnx.helper.make_node("Flatten", [f"{_OURS}pooled"], [FEATURES], name=f"{_OURS}flatten"),
        ]
    )


def _with_features(onnx_bytes: bytes) -> bytes:
    onnx, model, deepest = _bare(onnx_bytes)
    _pooled(onnx, model, deepest)
    model.graph.output.append(
        onnx.helper.make_tensor_value_info(FEATURES, onnx.TensorProto.FLOAT, ["batch", None])
    )
    done: bytes = model.SerializeToString()
    return done


def with_outlier(onnx_bytes: bytes, mean: NDArray[np.float64], whiten: NDArray[np.float64]) -> bytes:
    """The network with the output 'outlier' (N, 1): |(features - mean) W|; one that it had before is replaced."""
    onnx, model, deepest = _bare(onnx_bytes)
    _pooled(onnx, model, deepest)
    for name, values in (("mean", mean), ("whiten", whiten)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(values.astype(np.float32), _OURS + name))
    steps = (
        ("Sub", [FEATURES, f"{_OURS}mean"], f"{_OURS}centred"),
        ("MatMul", [f"{_OURS}centred", f"{_OURS}whiten"], f"{_OURS}white"),
        ("ReduceL2", [f"{_OURS}white"], OUTPUT),
    )
    for kind, inputs, output in steps:
        options: dict[str, Any] = {"axes": [1], "keepdims": 1} if kind == "ReduceL2" else {}
        model.graph.node.append(onnx.helper.make_node(kind, inputs, [output], name=_OURS + kind, **options))
    model.graph.output.append(
        onnx.helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, ["batch", 1])
    )
    onnx.checker.check_model(model)
    done: bytes = model.SerializeToString()
    return done
