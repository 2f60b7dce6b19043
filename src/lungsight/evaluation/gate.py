"""How well the gate tells upright frontal chest X-rays from everything else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lungsight.dataset.table import Dataset
from lungsight.errors import ModelError
from lungsight.evaluation.cohort import patients
from lungsight.evaluation.runs import choose_part, read_split
from lungsight.files import write_bytes
from lungsight.metrics import Interval, fraction_interval, wilson
from lungsight.phantom import negatives
from lungsight.records import Record, to_json
from lungsight.training import augment, load_run, predict, prepare
from lungsight.training.gate_images import HELD_OUT, phantom

PASS, PASS_AUGMENTED = 0.995, 0.99
"""Fraction of the validation part's X-rays that must pass, as they are and augmented (harder than files are)."""
HIGHEST = 0.5
"""A higher threshold is never taken: above it 'frontal' is likelier than all the rest together."""
DRAWN = 400
"""Pictures of each kind that is drawn, not made of a held-out X-ray."""

Probabilities = NDArray[np.float32]
"""(N,), of 'frontal'."""


class GateMetrics(Record, frozen=True):
    """What passes and what is refused, each fraction with Wilson's 95 % interval, over patients where X-rays have one.

    Attributes:
        part: of the table.
        images: its X-rays.
        threshold: on the probability of 'frontal'; an image passes at or above it.
        passed: fraction of frontal X-rays that pass: 'as they are', 'augmented', 'inverted', 'drawn', and by source.
        refused: fraction of other pictures that are refused, by kind.
        failures: (id, reason) of images that could not be read.
    """

    part: str
    images: int
    threshold: float
    passed: dict[str, Interval]
    refused: dict[str, Interval]
    failures: tuple[tuple[str, str], ...] = ()
    task: str = "gate"
    recipe: str = ""


def evaluate_gate(
    run: str | Path,
    dataset: Dataset,
    *,
    part: str | None = None,
    threshold: float | None = None,
    cache: Path | None = None,
    write: bool = True,
) -> GateMetrics:
    """Score a gate on X-rays and pictures that it did not learn from, and write `metrics.json` into its folder.

    Args:
        part: as for `evaluate_run`.
        threshold: on the probability of 'frontal'; None: chosen on the validation part, see `gate_threshold`, where the
            recipe says so.
        write: False leaves the folder alone.

    Raises:
        ModelError: no finished run, or not one of a gate.
        DataError: the part is empty.
    """
    folder = Path(run)
    recipe, network = load_run(folder)
    if recipe.task != "gate":
        raise ModelError("is no gate", where=folder)
    kept, examples, failures = prepare(dataset, recipe, cache=cache)
    parts = read_split(folder)
    chosen, name = choose_part(kept, parts, part, folder)

    def frontal(images: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> Probabilities:
        return np.asarray(predict(network, recipe, np.asarray(images), batch=64)[:, 0], np.float32)

    if threshold is None:
        threshold = recipe.evaluation.threshold
        place = [i for i, row in enumerate(kept) if parts.get(row.id) == "validation"]
        if recipe.evaluation.choose_threshold and place:
            xrays = examples.inputs[place]
            augmented = _augmented(xrays, np.random.default_rng((recipe.training.seed, HELD_OUT)))
            threshold = gate_threshold(frontal(xrays), frontal(augmented))
    xrays = examples.inputs[chosen]
    rng = np.random.default_rng((recipe.training.seed, HELD_OUT, 1))
    rows = [kept.rows[i] for i in chosen]
    who = patients(rows)
    passing = frontal(xrays) >= threshold
    passed = {"as they are": fraction_interval(passing, patients=who)}
    for source in sorted({row.source for row in rows if row.source}):
        which = np.array([row.source == source for row in rows])
        passed[f"source {source}"] = fraction_interval(passing, patients=who, within=which)
    for changed, images in (("augmented", _augmented(xrays, rng)), ("inverted", 255 - xrays)):
        passed[changed] = fraction_interval(frontal(images) >= threshold, patients=who)
    drawn = np.stack([phantom(rng, xrays.shape[1:]) for _ in range(DRAWN // 4)])
    passed["drawn"] = wilson(int((frontal(drawn) >= threshold).sum()), len(drawn))
    refused = {}
    for kind in negatives.KINDS:
        order = rng.permutation(len(xrays))[:DRAWN]
        images = np.stack([negatives.draw(kind, xrays[i], rng) for i in order])
        of_part = np.zeros(len(xrays), bool)
        of_part[order] = True
        refusing = np.zeros(len(xrays), bool)
        refusing[order] = frontal(images) < threshold
        refused[kind] = fraction_interval(refusing, patients=who, within=of_part)
    metrics = GateMetrics(
        name, len(rows), float(threshold), passed, refused, tuple(failures), recipe=recipe.name
    )
    if write:
        write_bytes(folder / "metrics.json", to_json(metrics))
    return metrics


def gate_threshold(plain: Probabilities, augmented: Probabilities) -> float:
    """The highest of 0.01, 0.02 ... 0.50 at which `PASS` of the X-rays pass, and augmented `PASS_AUGMENTED`.

    The lowest, 0.01, where there is none.
    """
    steps = np.arange(1, round(100 * HIGHEST) + 1) / 100
    enough = [
        (plain >= step).mean() >= PASS and (augmented >= step).mean() >= PASS_AUGMENTED for step in steps
    ]
    return float(steps[max(np.flatnonzero(enough), default=0)])


def _augmented(xrays: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    return np.stack([augment.for_gate(xray, rng) for xray in xrays])
