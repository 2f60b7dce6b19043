"""The `metadata.csv` of the ieee8023 covid-chestxray-dataset: X-rays and findings, no lung masks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lungsight.dataset.readers.manifest import inside, number, read_table
from lungsight.dataset.table import Dataset, Excluded, Row, is_covid
from lungsight.errors import DataError

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
_FRONTAL = frozenset({"", "ap", "pa", "ap supine", "ap_supine", "ap erect"})


def is_metadata(header: tuple[str, ...]) -> bool:
    """Whether a table's header is this layout's."""
    return {"filename", "finding"} <= set(header) and "image" not in header


def read_metadata(path: Path, *, columns: Mapping[str, str] | None = None) -> Dataset:
    """Read the table; CT slices, lateral views and volumes are excluded.

    Images lie in the folder that the column `folder` names, or in `images`. Columns beyond the file name and
    the finding may be absent.

    Args:
        path: `metadata.csv`.
        columns: our column name -> the table's, as in `read_manifest`.

    Raises:
        DataError: not a table, or a column is missing.
    """
    header, records = read_table(path)
    names = {**_COLUMNS, **(columns or {})}
    for ours, theirs in names.items():
        if theirs not in header and (ours in ("image", "finding") or ours in (columns or {})):
            raise DataError(
                f"the table has no column {theirs!r}",
                where=path,
                hint=f"It has: {', '.join(header[:30])}. Say which one to use: --columns {ours}=NAME",
            )
    rows: list[Row] = []
    excluded: list[Excluded] = []
    seen: set[str] = set()
    for line, record in records:
        cell = {ours: record.get(theirs, "").strip() for ours, theirs in names.items()}
        name, view = cell["image"], cell["view"]
        covid = is_covid(cell["finding"])
        if name in seen:
            excluded.append(Excluded(f"{name} (line {line})", "the file is listed twice", covid, broken=True))
            continue
        seen.add(name)
        reason = _why_not(record, view)
        if reason:
            excluded.append(Excluded(name, reason, covid))
            continue
        try:
            image = _find(path.parent, record.get("folder", "").strip(), name)
        except DataError as error:
            excluded.append(
                Excluded(name or f"line {line}", f"line {line}: {error.message}", covid, broken=True)
            )
            continue
        patient = cell["patient"]
        rows.append(
            Row(
                id=name,
                image=image,
                source=cell.get("source") or SOURCE,
                patient=f"{SOURCE}-{patient}" if patient else "",
                finding=cell["finding"],
                covid=covid,
                view=view,
                sex=cell["sex"],
                age=number(cell["age"]),
                original_filename=name,
            )
        )
    return Dataset(path.parent, "ieee8023-metadata", tuple(rows), tuple(excluded))


def _why_not(record: Mapping[str, str], view: str) -> str:
    if record.get("modality", "").strip().upper() == "CT" or record.get("folder", "").strip() == "volumes":
        return "CT slice or volume"
    if view.lower() in ("l", "lateral"):
        return "lateral view"
    return "" if view.lower() in _FRONTAL else f"not a frontal X-ray: view {view}"


def _find(root: Path, folder: str, name: str) -> Path:
    for place in (folder, "images", ""):
        image = inside(root, f"{place}/{name}" if place and name else name)
        if image.is_file():
            return image
    raise DataError("the image is missing", where=name)
