"""The cells of one sheet of an Excel workbook (ECMA-376), as text; bounded, no formulas, no styles."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from xml.etree import ElementTree

from lungsight.errors import DataError

MAX_BYTES = 128 * 2**20
"""Of a part, unpacked."""
_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_LINK = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_CELL = re.compile(r"([A-Z]{1,3})\d+")


def read_sheet(path: Path, sheet: str = "") -> list[dict[str, str]]:
    """Rows of a sheet by the names in its first row; the first sheet where none is named.

    Raises:
        DataError: not a workbook, damaged, too large, or without the sheet.
    """
    try:
        with zipfile.ZipFile(path) as book:
            names = _part(book, "xl/workbook.xml").iter(f"{_MAIN}sheet")
            sheets = {one.get("name", ""): one.get(_LINK, "") for one in names}
            if not sheets or (sheet and sheet not in sheets):
                raise DataError("the workbook has no such sheet", where=path)
            link = sheets[sheet] if sheet else next(iter(sheets.values()))
            targets = {
                one.get("Id"): one.get("Target", "") for one in _part(book, "xl/_rels/workbook.xml.rels")
            }
            target = targets.get(link, "").removeprefix("/xl/").removeprefix("/")
            texts = _texts(book)
            rows = [_row(row, texts) for row in _part(book, f"xl/{target}").iter(f"{_MAIN}row")]
    except (
        OSError,
        KeyError,
        ValueError,
        zipfile.BadZipFile,
        ElementTree.ParseError,
        NotImplementedError,
    ) as error:
        raise DataError("the workbook cannot be read", where=path) from error
    if not rows:
        return []
    header = {place: name.strip() for place, name in rows[0].items() if name.strip()}
    found = [{name: row.get(place, "").strip() for place, name in header.items()} for row in rows[1:]]
    return [row for row in found if any(row.values())]


def sheets_of(path: Path) -> list[str]:
    """Names of a workbook's sheets; empty where it cannot be read."""
    try:
        with zipfile.ZipFile(path) as book:
            return [one.get("name", "") for one in _part(book, "xl/workbook.xml").iter(f"{_MAIN}sheet")]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, ElementTree.ParseError, DataError):
        return []


def _part(book: zipfile.ZipFile, name: str) -> ElementTree.Element:
    with book.open(name) as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES or b"<!DOCTYPE" in data[:4096] or b"<!ENTITY" in data:
        raise DataError("the workbook is too large, or defines entities")
    return ElementTree.fromstring(data)


def _texts(book: zipfile.ZipFile) -> list[str]:
    if "xl/sharedStrings.xml" not in book.namelist():
        return []
    items = _part(book, "xl/sharedStrings.xml").iter(f"{_MAIN}si")
    return ["".join(text.text or "" for text in item.iter(f"{_MAIN}t")) for item in items]


def _row(row: ElementTree.Element, texts: list[str]) -> dict[str, str]:
    """Column letters -> text."""
    found: dict[str, str] = {}
    for number, cell in enumerate(row.iter(f"{_MAIN}c")):
        match = _CELL.match(cell.get("r", ""))
        place = match[1] if match else _letters(number)
        if cell.get("t") == "inlineStr":
            found[place] = "".join(text.text or "" for text in cell.iter(f"{_MAIN}t"))
            continue
        value = cell.findtext(f"{_MAIN}v") or ""
        found[place] = texts[int(value)] if cell.get("t") == "s" and value else value
    return found


def _letters(number: int) -> str:
    letters = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(65 + rest) + letters
    return letters
