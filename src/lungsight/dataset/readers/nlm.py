"""Montgomery and Shenzhen (U.S. National Library of Medicine): tuberculosis, one film a person."""

from __future__ import annotations

import re
from pathlib import Path

from lungsight.dataset.masks import MaskFile
from lungsight.dataset.readers.common import Collector, MaskFiles, Pictures, folder_of
from lungsight.dataset.readers.delimited import age, sex
from lungsight.dataset.table import Dataset, MaskSource
from lungsight.wording import View

NAME = "nlm-tuberculosis"
_FILM = re.compile(r"^((MCUCXR|CHNCXR)_\d{4}_([01]))$", re.IGNORECASE)
_MASK = re.compile(r"^((?:MCUCXR|CHNCXR)_\d{4}_[01])(?:_mask)?$", re.IGNORECASE)
_SOURCES = {"MCUCXR": "montgomery", "CHNCXR": "shenzhen"}
_SEX = re.compile(r"\b(female|male|F|M)\b", re.IGNORECASE)
_AGE = re.compile(r"\b(\d{1,3})\s*(Y|yrs?|years?|months?|days?|M|D)?\b", re.IGNORECASE)
_LONGEST = 10_000


def recognise(path: Path) -> bool:
    """Whether films of either collection lie here or up to two levels below."""
    if not path.is_dir():
        return False
    levels = ("*.png", "CXR_png/*.png", "*/CXR_png/*.png")
    return any(_FILM.match(file.stem) for level in levels for file in path.glob(level))


def read(path: Path) -> Dataset:
    """The last digit of a name is 1 for tuberculosis; sex and age stand in `ClinicalReadings`."""
    root = folder_of(path)
    films: dict[str, Path] = {}
    masks: dict[str, list[Path]] = {}
    for file in Pictures(root).every():
        in_masks = any("mask" in part.lower() for part in file.relative_to(root).parts[:-1])
        if (match := _MASK.match(file.stem)) and (in_masks or "_mask" in file.stem.lower()):
            masks.setdefault(match[1].upper(), []).append(file)
        elif _FILM.match(file.stem):
            films[file.stem.upper()] = file
    texts = {file.stem.upper(): file for file in root.rglob("*.txt") if _FILM.match(file.stem)}
    found = Collector(root, NAME, "")
    for name, film in sorted(films.items()):
        who, years = _reading(texts.get(name))
        source = _SOURCES[name.partition("_")[0]]
        found.add(
            name,
            film,
            view=View.PA,
            source=source,
            patient=f"{source}-{name}",
            sex=who,
            age=years,
            finding="tuberculosis" if name.endswith("1") else "normal",
            mask=_mask(masks.get(name, [])),
        )
    return found.dataset()


def _mask(files: list[Path]) -> MaskSource | None:
    if not files:
        return None
    return MaskFile(files[0]) if len(files) == 1 else MaskFiles(tuple(files))


def _reading(file: Path | None) -> tuple[str, float | None]:
    """(sex, age) of `Patient's Sex: F`, `Patient's Age: 027Y`, or of `male 45yrs`."""
    if file is None:
        return "", None
    try:
        with file.open(encoding="utf-8", errors="replace") as text:
            words = text.read(_LONGEST)
    except OSError:
        return "", None
    words = re.sub(r"(?i)patient'?s\s+(?:sex|age)\s*:?", " ", words)
    who, years = _SEX.search(words), _AGE.search(words)
    unit = (years[2] or "Y")[0].upper() if years else ""
    return sex(who[1]) if who else "", age(f"{years[1]}{unit}") if years else None
