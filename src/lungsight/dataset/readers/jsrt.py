"""JSRT with SCR's outlines: `JPCLN001` (nodule) and `JPCNN001` (none); masks of each lung and of the heart in folds."""

from __future__ import annotations

import re
from pathlib import Path

from lungsight.dataset.locate import same_name
from lungsight.dataset.masks import MaskFile
from lungsight.dataset.readers.common import Collector, MaskFiles, Pictures, folder_of
from lungsight.dataset.table import Dataset
from lungsight.wording import View

NAME = "jsrt"
_FILM = re.compile(r"^(JPC(LN|NN)\d{3})$", re.IGNORECASE)
_LUNGS = ("right lung", "left lung")


def recognise(path: Path) -> bool:
    """Whether films of JSRT lie here or below: raw `.IMG`, or converted."""
    if not path.is_dir():
        return False
    return any(
        _FILM.match(file.stem) for level in ("*", "*/*") for file in path.glob(level) if file.is_file()
    )


def read(path: Path) -> Dataset:
    """One film a person, all PA. A lung mask needs both lungs; both folds are used."""
    root = folder_of(path)
    drawn = _masks(root)
    found = Collector(root, NAME, NAME)
    films: dict[str, Path] = {}
    for file in Pictures(root, (".img",)).every():
        if _FILM.match(file.stem) and not any("mask" in part.lower() for part in file.parts[:-1]):
            # A converted copy is read faster than the raw film.
            known = films.get(file.stem.upper())
            if known is None or known.suffix.lower() == ".img":
                films[file.stem.upper()] = file
    for name, film in sorted(films.items()):
        lungs = [drawn[organ, same_name(name)] for organ in _LUNGS if (organ, same_name(name)) in drawn]
        heart = drawn.get(("heart", same_name(name)))
        found.add(
            name,
            film,
            view=View.PA,
            patient=f"jsrt-{name}",
            finding="lung nodule" if name[3:5] == "LN" else "normal",
            mask=MaskFiles(tuple(lungs)) if len(lungs) == len(_LUNGS) else None,
            heart=MaskFile(heart) if heart is not None else None,
        )
    return found.dataset()


def _masks(root: Path) -> dict[tuple[str, str], Path]:
    """(organ, film) -> file, of both folds."""
    return {
        (folder.name.lower(), same_name(file.stem)): file
        for place in sorted(root.rglob("masks"))
        if place.is_dir()
        for folder in place.iterdir()
        if folder.is_dir()
        for file in folder.iterdir()
        if _FILM.match(file.stem)
    }
