"""Answers of other lung networks, which a network learns beside the annotations."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lungsight.card import Card
from lungsight.config import Recipe
from lungsight.errors import ConfigError
from lungsight.files import atomic_write
from lungsight.inference.sessions import Session
from lungsight.model import load_bundle
from lungsight.networks import OUTPUTS
from lungsight.preprocess import to_uint8


def teachers_answers(
    recipe: Recipe, images: NDArray[np.uint8], chosen: NDArray[np.int64], cache: Path | None = None
) -> dict[str, NDArray[np.uint8]]:
    """For each output that the recipe names a teacher of, what it answers.

    Args:
        images: (N, h, w) uint8, of the size that the teachers take.
        chosen: indices of the images that are asked; the others stay 0.
        cache: folder that keeps the answers.

    Returns:
        output -> (N, h, w) uint8, probabilities times 255.

    Raises:
        ConfigError: there is no such output, a teacher takes images of another size, or does not mark it.
        ModelError: a teacher cannot be read.
    """
    found: dict[str, NDArray[np.uint8]] = {}
    for folder in dict.fromkeys(recipe.training.teachers.values()):
        outputs = tuple(name for name, where in recipe.training.teachers.items() if where == folder)
        model = load_bundle(Path(folder)).lungs
        channels = {name: _channel(model.card, name, images.shape[1:]) for name in outputs}
        asked = hashlib.sha256(b"".join((model.onnx, images[chosen].tobytes(), chosen.tobytes())))
        kept = {name: cache / f"teacher-{asked.hexdigest()[:16]}-{name}.npy" for name in outputs if cache}
        if kept and all(path.is_file() for path in kept.values()):
            found |= {name: np.load(path, mmap_mode="r") for name, path in kept.items()}
            continue
        answers = {name: np.zeros(images.shape, np.uint8) for name in outputs}
        for index, maps in zip(chosen, Session(model).maps(images[one] for one in chosen), strict=True):
            for name, channel in channels.items():
                answers[name][index] = to_uint8(maps[channel])
        for name, path in kept.items():
            with atomic_write(path) as part, part.open("wb") as file:
                np.save(file, answers[name])
        found |= answers
    return found


def _channel(card: Card, output: str, size: tuple[int, ...]) -> int:
    """Where a teacher's card has an output; one that names none marks full lungs."""
    where = f"training.teachers.{output}"
    if output not in OUTPUTS:
        raise ConfigError(f"is none of {', '.join(OUTPUTS)}", where=where)
    if tuple(card.input.size) != size:
        raise ConfigError("takes images of another size than the recipe's network", where=where)
    if output in card.classes:
        return card.channel(output)
    if output != "full":
        raise ConfigError(f"marks no {output!r}", where=where)
    return 0
