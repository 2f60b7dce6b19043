"""BIMCV-COVID19+: a BIDS tree, `participants.tsv`, and tests by date whose table changes its name and language."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from datetime import date
from pathlib import Path
from typing import Any

from lungsight.dataset.finding import parts_of
from lungsight.dataset.readers.common import Collector, column, find_tables, folder_of, header, tables
from lungsight.dataset.readers.delimited import age, load_table, sex
from lungsight.dataset.table import Dataset
from lungsight.errors import DataError
from lungsight.wording import Exclusion

NAME = "bimcv-covid19"
_IMAGE = re.compile(r"^(sub-[A-Za-z0-9]+)_(ses-[A-Za-z0-9]+)_.*\.png$")
_VIEW = re.compile(r"_vp-([a-z]+)")
_POSITIVE, _NEGATIVE = re.compile(r"^\s*positiv", re.I), re.compile(r"^\s*negativ", re.I)
_MAX_JSON = 4 * 2**20


def recognise(path: Path) -> bool:
    """Whether there is a folder of a participant with a session, and a `mod-rx` within."""
    return path.is_dir() and next(path.glob("**/sub-*/ses-*/mod-rx"), None) is not None


def read(path: Path) -> Dataset:
    """An image is positive where the test nearest in time was, not where the patient ever was.

    Without a date, the patient's tests decide where they agree. CT and lateral views are excluded.
    """
    root = folder_of(path)
    tests, people, findings = _tests(root), _people(root), _findings(root)
    found = Collector(root, NAME, "bimcv")
    for image in sorted(root.glob("**/sub-*/ses-*/mod-*/*.png")):
        match = _IMAGE.match(image.name)
        if match is None:
            found.leave_out(image.name, Exclusion.UNREADABLE, broken=True)
            continue
        subject, session = match[1], match[2]
        if image.parent.name != "mod-rx":
            found.leave_out(image.stem, Exclusion.CT_SLICE)
            continue
        view = _VIEW.search(image.name)
        tags = _sidecar(image.with_suffix(".json"))
        person = people.get(subject, {})
        found.add(
            image.stem,
            image,
            view=view[1] if view else "",
            patient=f"bimcv-{subject}",
            sex=sex(_tag(tags, "00100040", "PatientSex")) or sex(_only(person.get("gender", ""))),
            age=age(_tag(tags, "00101010", "PatientAge") or _only(person.get("age", ""))),
            covid=_nearest(tests.get(subject, []), _day(_tag(tags, "00080020", "StudyDate"))),
            finding="|".join(parts_of(findings.get(session, ""))),
        )
    if not found.rows and not found.excluded:
        raise DataError("the layout is half there: no image below sub-*/ses-*/mod-rx", where=path)
    return found.dataset()


def _nearest(tests: list[tuple[date | None, bool]], day: date | None) -> bool | None:
    dated = [
        (abs((when - day).days), result) for when, result in tests if when is not None and day is not None
    ]
    if dated:
        closest = min(distance for distance, _ in dated)
        results = {result for distance, result in dated if distance == closest}
    else:
        results = {result for _, result in tests}
    return results.pop() if len(results) == 1 else None


def _tests(root: Path) -> dict[str, list[tuple[date | None, bool]]]:
    """Participant -> (day, positive) of each test, by columns in either language."""
    found: dict[str, list[tuple[date | None, bool]]] = defaultdict(list)
    for file in tables(root, depth=3):
        names = {name.lower() for name in header(file)}
        if "participant" not in names or not names & {"result", "resultado"}:
            continue
        for _, record in load_table(file).records:
            text = column(record, "result", "resultado")
            if _POSITIVE.match(text) or _NEGATIVE.match(text):
                day = _day(column(record, "date", "fecha"))
                found[column(record, "participant")].append((day, bool(_POSITIVE.match(text))))
    return found


def _people(root: Path) -> dict[str, Any]:
    files = find_tables(root, "participant", "gender")
    return {record["participant"]: record for file in files[:1] for _, record in load_table(file).records}


def _only(text: str) -> str:
    """The one value of a list in text, such as `[83]` or `['F']`; '' where there are several or none."""
    values = set(re.findall(r"\w+", text))
    return values.pop() if len(values) == 1 else ""


def _findings(root: Path) -> dict[str, str]:
    """Session -> labels, a Python list in text."""
    files = [file for file in tables(root, depth=3) if {"PatientID", "ReportID", "Labels"} <= header(file)]
    return {record["ReportID"]: record["Labels"] for file in files for _, record in load_table(file).records}


def _day(text: str) -> date | None:
    """`dd.mm.yyyy`, `yyyymmdd` or `yyyy-mm-dd`."""
    for pattern, order in (
        (r"(\d{1,2})[./](\d{1,2})[./](\d{4})", (3, 2, 1)),
        (r"(\d{4})-?(\d{2})-?(\d{2})", (1, 2, 3)),
    ):
        if match := re.match(pattern, text.strip()):
            try:
                return date(*(int(match[place]) for place in order))
            except ValueError:
                return None
    return None


def _sidecar(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes()) if file.stat().st_size <= _MAX_JSON else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _tag(tags: dict[str, Any], number: str, name: str) -> str:
    """A DICOM element by number or name, as a plain value or as `{"Value": [...]}`."""
    value = tags.get(number, tags.get(name, ""))
    if isinstance(value, dict):
        value = value.get("Value", "")
    if isinstance(value, list):
        value = value[0] if value else ""
    return str(value) if isinstance(value, str | int | float) else ""
