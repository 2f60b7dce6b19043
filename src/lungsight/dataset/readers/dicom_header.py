"""The few words of a DICOM header that some collections keep nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lungsight.dataset.readers.delimited import age, sex
from lungsight.xray.views import view_code


def person(path: Path) -> tuple[str, str, float | None]:
    """(view, sex, age in years) as the header has them; empty where it does not say or cannot be read.

    For tables of public collections alone: prediction never looks at these elements.
    """
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    tags = ["ViewPosition", "PatientSex", "PatientAge"]
    try:
        header = dcmread(path, stop_before_pixels=True, specific_tags=tags, force=False)
        # Raw values: pydicom would warn of every age that is not written as the standard says.
        found = [_text(header.get_item(tag)) for tag in tags]
    except (OSError, InvalidDicomError, ValueError, KeyError, NotImplementedError, AttributeError, TypeError):
        return "", "", None
    return view_code(found[0]) or "", sex(found[1]), age(found[2])


def _text(element: Any) -> str:
    value = getattr(element, "value", None)
    if isinstance(value, bytes):
        return value.decode("latin-1").strip(" \0")
    return str(value or "").strip()
