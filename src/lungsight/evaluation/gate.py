"""How well the gate tells upright frontal chest X-rays from everything else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsight.dataset.table import Dataset
from lungsight.errors import ModelError
from lungsight.evaluation.evaluate import choose_part, read_split
from lungsight.files import write_json
from lungsight.metrics import Interval, wilson
from lungsight.phantom import negatives
from lungsight.training import augment, load_run, predict, prepare
from lungsight.training.gate_images import HELD_OUT, phantom

PASS, PASS_AUGMENTED = 0.995, 0.99
"""Share of the validation part's X-rays that must pass, as they are and augmented (harder than files are)."""
HIGHEST = 0.5
"""A higher threshold is never taken: above it 'frontal' is likelier than all the rest together."""
DRAWN = 400
"""Pictures of each kind that is drawn, not made of a held-out X-ray."""

Probabilities = NDArray[np.float32]
"""(N,), of 'frontal'."""


@dataclass(frozen=True)
class GateFigures:
    """What passes and what is refused, each share with Wilson's 95 % interval.

    Attributes:
        part: of the table.
        images: its X-rays.
        threshold: on the probability of 'frontal'; an image passes at or above it.
        passed: share of frontal X-rays that pass: 'as they are', 'augmented', 'inverted', 'drawn', and by source.
        refused: share of other pictures that are refused, by kind.
        failures: (id, reason) of images that could not be read.
    """

    part: str
    images: int
    threshold: float
    passed: dict[str, Interval]
    refused: dict[str, Interval]
    failures: tuple[tuple[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "task": "gate",
            "part": self.part,
            "images": self.images,
            "threshold": self.threshold,
            "passed": {name: share.to_dict() for name, share in self.passed.items()},
            "refused": {name: share.to_dict() for name, share in self.refused.items()},
        }


def evaluate_gate(
    run: str | Path,
    dataset: Dataset,
    *,
    part: str | None = None,
    threshold: float | None = None,
    cache: Path | None = None,
    write: bool = True,
) -> GateFigures:
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
    passing = frontal(xrays) >= threshold
    rows = [kept.rows[i] for i in chosen]
    patients = len({row.patient for row in rows}) if all(row.patient for row in rows) else None
    passed = {"as they are": wilson(int(passing.sum()), len(rows), n_patients=patients)}
    for source in sorted({row.source for row in rows if row.source}):
        which = np.array([row.source == source for row in rows])
        passed[f"source {source}"] = wilson(int(passing[which].sum()), int(which.sum()))
    drawn = [phantom(rng, xrays.shape[1:]) for _ in range(DRAWN // 4)]
    for name_of, pictures in (
        ("augmented", _augmented(xrays, rng)),
        ("inverted", 255 - xrays),
        ("drawn", np.stack(drawn)),
    ):
        passed[name_of] = wilson(int((frontal(pictures) >= threshold).sum()), len(pictures))
    refused = {}
    for kind in negatives.KINDS:
        order = rng.permutation(len(xrays))[:DRAWN]
        pictures = np.stack([negatives.draw(kind, xrays[i], rng) for i in order])
        refused[kind] = wilson(int((frontal(pictures) < threshold).sum()), len(pictures))
    figures = GateFigures(name, len(rows), float(threshold), passed, refused, tuple(failures))
    if write:
        write_json(folder / "metrics.json", {"recipe": recipe.name, **figures.to_dict()})
    return figures


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
