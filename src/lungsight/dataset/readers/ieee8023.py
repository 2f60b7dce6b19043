"""The `metadata.csv` of the ieee8023 covid-chestxray-dataset: X-rays and findings, no lung masks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from lungsight.dataset.finding import is_covid
from lungsight.dataset.locate import Files
from lungsight.dataset.readers.delimited import age, given, load_table, sex
from lungsight.dataset.readers.manifest import notes
from lungsight.dataset.table import Dataset, Excluded, Row
from lungsight.errors import DataError
from lungsight.wording import Exclusion
from lungsight.xray.views import SLICES, is_frontal, view_code

NAME = "metadata.csv"
SOURCE = "ieee8023"
_COLUMNS = {
    "image": "filename",
    "patient": "patientid",
    "finding": "finding",
    "view": "view",
    "sex": "sex",
    "age": "age",
}
_SAME_PERSON = {"178": "97", "201": "78", "195": "193", "196": "192"}
"""Four people have two ids each in the collection: the same films under two cases."""


def is_metadata(header: tuple[str, ...]) -> bool:
    """Whether a table's header is this layout's."""
    return {"filename", "finding"} <= set(header) and "image" not in header


def read_metadata(path: Path, *, columns: Mapping[str, str] | None = None) -> Dataset:
    """Read the table; CT slices, lateral views and volumes are excluded.

    Images lie in the folder that the column `folder` names, or in `images`. Columns beyond the file name and
    the finding may be absent. The sub-source is the host of the page that an image came from.

    Args:
        path: `metadata.csv`.
        columns: our column name -> the table's, as in `read_manifest`.

    Raises:
        DataError: not a table, or a column is missing.
    """
    table = load_table(path)
    names = {**_COLUMNS, **(columns or {})}
    for ours, theirs in names.items():
        if theirs not in table.header and (ours in ("image", "finding") or ours in (columns or {})):
            raise DataError(
                f"the table has no column {theirs!r}",
                where=path,
                hint=f"It has: {', '.join(table.header[:30])}. Say which one to use: --columns {ours}=NAME",
            )
    files = Files(path.parent)
    rows: list[Row] = []
    excluded: list[Excluded] = []
    seen: set[str] = set()
    ages = 0
    for line, record in table.records:
        cell = {ours: record.get(theirs, "") for ours, theirs in names.items()}
        name, view = cell["image"], view_code(cell["view"]) or ""
        covid = is_covid(cell["finding"])
        where = f"line {line}"
        if name in seen:
            identity = f"{name} ({where})"
            excluded.append(Excluded(identity, Exclusion.LISTED_TWICE, where, covid=covid, broken=True))
            continue
        seen.add(name)
        if (why := _why_not(record, view)) is not None:
            excluded.append(Excluded(name, why, covid=covid))
            continue
        try:
            image = _find(files, record.get("folder", ""), name)
        except DataError as error:
            code = Exclusion.IMAGE_MISSING if name else Exclusion.UNREADABLE
            excluded.append(Excluded(name or where, code, where, error.message, covid, broken=True))
            continue
        patient = given(cell["patient"]).removesuffix(".0")
        years = age(cell["age"])
        ages += years is None and bool(given(cell["age"]))
        rows.append(
            Row(
                id=name,
                image=image,
                source=given(cell.get("source", "")) or SOURCE,
                subsource=_host(record.get("url", "")),
                patient=f"{SOURCE}-{patient}" if patient else "",
                group=f"{SOURCE}-{_SAME_PERSON.get(patient, patient)}" if patient else "",
                finding=given(cell["finding"]),
                covid=covid,
                view=view,
                sex=sex(cell["sex"]),
                age=years,
                original_filename=name,
                extra=record,
            )
        )
    told = notes(table, ages, rows)
    return Dataset(path.parent, "ieee8023-metadata", tuple(rows), tuple(excluded), notes=told)


def _why_not(record: Mapping[str, str], view: str) -> Exclusion | None:
    modality = record.get("modality", "").upper()
    if modality == "CT" or record.get("folder", "") == "volumes" or view in SLICES:
        return Exclusion.CT_SLICE
    if is_frontal(view):
        return None
    return Exclusion.LATERAL_VIEW if view == "lateral" else Exclusion.OTHER_VIEW


def _find(files: Files, folder: str, name: str) -> Path:
    for place in dict.fromkeys((folder, "images", "")):
        if (image := files.find(name, folder=place)) is not None:
            return image
    raise DataError("the image is missing", where=name)


def _host(url: str) -> str:
    """The host of a page, without `www.`; '' where there is none."""
    try:
        return (urlsplit(url.strip()).hostname or "").removeprefix("www.")
    except ValueError:
        return ""
