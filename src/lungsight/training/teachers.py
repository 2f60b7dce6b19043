"""Answers of other lung networks, which a network learns beside the annotations."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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
    found = {}
    for output, folder in recipe.training.teachers.items():
        where = f"training.teachers.{output}"
        if output not in OUTPUTS:
            raise ConfigError(f"is none of {', '.join(OUTPUTS)}", where=where)
        model = load_bundle(Path(folder)).lungs
        card = model.card
        if tuple(card.input.size) != images.shape[1:]:
            raise ConfigError("takes images of another size than the recipe's network", where=where)
        if output != "full" and output not in card.classes:
            raise ConfigError(f"marks no {output!r}", where=where)
        channel = card.channel(output) if output in card.classes else 0
        name = hashlib.sha256(
            b"".join((model.onnx, images[chosen].tobytes(), output.encode(), chosen.tobytes()))
        ).hexdigest()
        path = cache / f"teacher-{name[:16]}.npy" if cache else None
        if path is not None and path.is_file():
            found[output] = np.load(path, mmap_mode="r")
            continue
        session, answers = Session(model), np.zeros(images.shape, np.uint8)
        for index in chosen:
            image = images[index].astype(np.float32)[None, None] / np.float32(255)
            maps = session.run(np.repeat(image, card.input.channels, 1))["probability"][0]
            answers[index] = to_uint8(maps[channel])
        if path is not None:
            with atomic_write(path) as part, part.open("wb") as file:
                np.save(file, answers)
        found[output] = answers
    return found
