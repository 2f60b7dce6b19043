"""A data set of phantoms on disk."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from lungsight.dataset.read import read_dataset
from lungsight.dataset.table import Dataset
from lungsight.errors import DataError, OutputError
from lungsight.files import write_bytes, write_text
from lungsight.phantom.drawing import draw
from lungsight.phantom.person import Body

COLUMNS = (
    *("id", "image", "mask", "source", "original_filename", "patient"),
    *("finding", "covid", "view", "sex", "age"),
)


@dataclass(frozen=True, slots=True)
class _Patient:
    number: int
    body: Body
    hospital: str
    finding: str
    visits: int


def _patients(seed: int, covid_share: float, shortcut: float) -> Iterator[_Patient]:
    """Patients without end. The next one never depends on how many are asked for.

    Classes and, within a class, hospitals are dealt in their exact shares from a random start, so that a small
    set has both.
    """
    starts = np.random.default_rng((seed, 0)).random(3)
    seen = {True: 0, False: 0}
    number = 0
    while True:
        rng = np.random.default_rng((seed, 1, number))
        body = Body.sample(rng)
        visits = int(rng.choice([1, 2, 3], p=[0.6, 0.25, 0.15]))
        other = str(rng.choice(["normal", "bacterial pneumonia", "viral pneumonia"], p=[0.5, 0.25, 0.25]))
        covid = _dealt(number, covid_share, starts[0])
        north = (1 + shortcut) / 2 if covid else (1 - shortcut) / 2
        hospital = "north" if _dealt(seen[covid], north, starts[1 + covid]) else "south"
        seen[covid] += 1
        yield _Patient(number, body, hospital, "COVID-19" if covid else other, visits)
        number += 1


def _dealt(index: int, share: float, start: float) -> bool:
    """Whether item `index` is among those dealt evenly so that `share` of all are."""
    return int(np.floor((index + 1) * share + start)) > int(np.floor(index * share + start))


def write_phantoms(
    out: str | Path,
    *,
    count: int,
    seed: int,
    shortcut: float = 1.0,
    size: int = 256,
    covid_share: float = 0.3,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Draw a data set: images/ID.png, masks/ID.png (1 bit) and manifest.csv.

    Patients have one to three X-rays each, with the same body, hospital and finding. The first images are the same
    whatever `count` is.

    Args:
        out: folder; made if need be. The same set may lie there already: its files are replaced.
        count: images.
        seed: names the set.
        shortcut: 1: every COVID-19 patient is from hospital 'north' and every other from 'south'; 0: the hospital
            says nothing about the finding; between them, the shares change evenly.
        size: side in pixels.
        covid_share: share of the patients with COVID-19, 0 to 1.
        overwrite: remove the phantoms of another set that lie in `out`.
        progress: called with (images done, count) after each image.

    Raises:
        DataError: a count, share or size out of range.
        OutputError: a file cannot be written, or `out` holds images or masks that are not of this set.
    """
    if count < 1:
        raise DataError(f"a data set of {count} images cannot be drawn", hint="Ask for 1 or more")
    if seed < 0:
        raise DataError(f"the seed {seed} is negative", hint="Take 0 or more")
    for name, value in (("shortcut", shortcut), ("covid_share", covid_share)):
        if not 0 <= value <= 1:
            raise DataError(f"{name} is {value}, not between 0 and 1")
    folder = Path(out)
    _make_room(folder, count, seed, overwrite)
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    writer.writeheader()
    done = 0
    for patient in _patients(seed, covid_share, shortcut):
        for _ in range(min(patient.visits, count - done)):
            covid = patient.finding == "COVID-19"
            phantom = draw(
                np.random.default_rng((seed, 2, done)),
                hospital=patient.hospital,
                covid=covid,
                size=size,
                finding=patient.finding,
                body=patient.body,
            )
            name = f"phantom-{seed}-{done:05d}"
            write_bytes(folder / "images" / f"{name}.png", _png(phantom.pixels))
            write_bytes(folder / "masks" / f"{name}.png", _png(phantom.mask.astype(np.uint8) * 255, bits=1))
            writer.writerow(
                {
                    "id": name,
                    "image": f"images/{name}.png",
                    "mask": f"masks/{name}.png",
                    "source": patient.hospital,
                    "original_filename": f"{name}.png",
                    "patient": f"phantom-{seed}-p{patient.number:05d}",
                    "finding": patient.finding,
                    "covid": int(covid),
                    "view": phantom.view,
                    "sex": patient.body.sex,
                    "age": patient.body.age,
                }
            )
            done += 1
            if progress:
                progress(done, count)
        if done == count:
            break
    write_text(folder / "manifest.csv", table.getvalue())
    return read_dataset(folder)


def _make_room(folder: Path, count: int, seed: int, overwrite: bool) -> None:
    """Two sets in one folder would be one for whoever reads the folder."""
    own = re.compile(rf"phantom-{seed}-(\d{{5,}})\.png")
    parts = [folder / part for part in ("images", "masks") if (folder / part).is_dir()]
    others = [folder / "manifest.csv"] if not parts and (folder / "manifest.csv").exists() else []
    for path in (path for part in parts for path in part.iterdir()):
        found = own.fullmatch(path.name)
        if not path.name.startswith(".") and (found is None or int(found[1]) >= count):
            others.append(path)
    if overwrite and all(re.fullmatch(r"phantom-\d+-\d+\.png", path.name) for path in others):
        for path in others:
            path.unlink()
    elif others:
        raise OutputError(
            "holds images or masks of another data set",
            where=folder,
            hint="Choose another folder, or remove the phantoms of another set with overwrite=True (--overwrite)",
        )


def _png(pixels: np.typing.NDArray[np.uint8], *, bits: int = 8) -> bytes:
    options = [cv2.IMWRITE_PNG_BILEVEL, 1] if bits == 1 else []
    _, data = cv2.imencode(".png", pixels, options)
    return bytes(data)
