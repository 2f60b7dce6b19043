"""Tables as people save them: any delimiter, UTF-8, UTF-16 or Windows text, with what Excel adds."""

from __future__ import annotations

import csv
import gzip
import io
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lungsight.dataset.cells import Cells
from lungsight.errors import DataError

MAX_BYTES = 512 * 2**20
"""Of a table, unpacked. The largest public one (PadChest, with its reports) has about 150 MB."""
MAX_AGE = 110
BLANKS = frozenset({"", "nan", "na", "n/a", "#n/a", "<na>", "null", "none", "nat", "-", "?"})
_DELIMITERS = ",;\t|"
_AGE = re.compile(
    r"[<>=~]*\s*(\d{1,4}(?:[.,]\d+)?)\s*\+?\s*([YMWD]?)(?:ears?|onths?|eeks?|ays?)?", re.IGNORECASE
)
_SEPARATOR_LINE = re.compile(r'^"?sep=(.)"?\s*$', re.IGNORECASE)


@dataclass(frozen=True)
class Table:
    """A table in memory."""

    path: Path
    header: tuple[str, ...]
    """Names without blanks around them; nameless columns are left out."""
    records: list[tuple[int, Cells[str]]]
    """(line in the file, cells by name) of each row that is not empty; blanks around cells are gone."""
    surplus: frozenset[int]
    """Lines that have more cells than the header has names, and something in them."""
    blank_rows: int
    utf8: bool
    """False where the text was read as Windows-1252, since it is no UTF-8."""


def read_table(path: Path) -> tuple[tuple[str, ...], list[tuple[int, Cells[str]]]]:
    """The header of a table, and (line, cells by name) of each row; see `load_table`."""
    table = load_table(path)
    return table.header, table.records


def load_table(path: Path, *, delimiter: str = "", header: tuple[str, ...] | None = None) -> Table:
    """Read a table: `.csv`, `.tsv`, `.txt`, the same with `.gz`.

    Understood are commas, semicolons, tabs and bars; UTF-8 with and without a mark, UTF-16, else
    Windows-1252; Excel's `sep=;` line; rows of delimiters alone; line ends of any system.

    Args:
        path: the file.
        delimiter: found in the first line where empty.
        header: column names of a table that has none.

    Raises:
        DataError: it cannot be read, is too large, is no text, names a column twice, or has no row.
    """
    text, utf8 = _text(path)
    text = text.lstrip("\ufeff")
    skipped = 0
    first = text.partition("\n")[0]
    if match := _SEPARATOR_LINE.match(first.rstrip("\r")):
        delimiter, skipped = delimiter or match[1], 1
        text = text[len(first) + 1 :]
        first = text.partition("\n")[0]
    delimiter = delimiter or _delimiter(first, path)
    # csv takes '\r' alone as a line end only where the stream translates it.
    reader = csv.reader(io.StringIO(text, newline=None), delimiter=delimiter)
    try:
        names = header or tuple(_name(cell) for cell in next(reader, []))
        named = [index for index, name in enumerate(names) if name]
        _check_names([names[index] for index in named], path)
        places = {names[index]: place for place, index in enumerate(named)}
        records: list[tuple[int, Cells[str]]] = []
        surplus: set[int] = set()
        blank = 0
        known: dict[str, str] = {}
        for cells in _rows(reader):
            stripped = [cell.strip() for cell in cells]
            line = reader.line_num + skipped
            if not any(stripped):
                blank += bool(cells)
                continue
            if any(stripped[len(names) :]):
                surplus.add(line)
            stripped += [""] * (len(names) - len(stripped))
            # Most cells repeat: one object each keeps a table of 400,000 rows small.
            values = tuple(known.setdefault(stripped[index], stripped[index]) for index in named)
            records.append((line, Cells(places, values)))
    except csv.Error as error:
        raise DataError("is not a table of text", where=path, hint="Save it as CSV in UTF-8") from error
    if not records:
        raise DataError("the table has no rows", where=path)
    return Table(path, tuple(names[index] for index in named), records, frozenset(surplus), blank, utf8)


def blank(text: str) -> bool:
    """Whether a cell says nothing: empty, or a program's word for it ('nan', 'NA', 'NULL', '#N/A')."""
    return text.strip().lower() in BLANKS


def given(text: str) -> str:
    """A cell's text, '' where it says nothing."""
    return "" if blank(text) else text.strip()


def number(text: str) -> float | None:
    """A finite number, with a point or a decimal comma, or None."""
    text = text.strip()
    if re.fullmatch(r"[+-]?\d*,\d+", text):
        text = text.replace(",", ".")
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def whole(text: str) -> int | None:
    """A count of 0 or more, as pandas may have written it ('1024.0'), or None."""
    value = number(text)
    return int(value) if value is not None and value >= 0 and value == int(value) else None


def age(text: str) -> float | None:
    """Years of a cell such as '61', '61,5', '058Y', '6M', '50+', '>90'; None for what is no age up to 110."""
    match = _AGE.fullmatch(text.strip())
    if match is None:
        return None
    value = float(match[1].replace(",", "."))
    value /= {"": 1.0, "Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}[match[2].upper()]
    return value if value <= MAX_AGE else None


def sex(text: str) -> str:
    """'F', 'M' or ''."""
    word = text.strip().lower()
    return "F" if word in ("f", "female", "w", "woman") else "M" if word in ("m", "male", "man") else ""


def _rows(reader: Iterator[list[str]]) -> Iterator[list[str]]:
    yield from reader


def _name(cell: str) -> str:
    return cell.strip().strip("\ufeff").strip()


def _check_names(names: list[str], path: Path) -> None:
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"the table has the column {twice[0]!r} twice", where=path, hint="Rename one")


def _delimiter(line: str, path: Path) -> str:
    """The one that the header has most of, outside quotes."""
    if ".tsv" in path.suffixes and "\t" in line:
        return "\t"
    plain = re.sub(r'"[^"]*"', "", line)
    return max(_DELIMITERS, key=plain.count)


def _text(path: Path) -> tuple[str, bool]:
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or "damaged"
        raise DataError(f"the table cannot be read: {reason.lower()}", where=path) from error
    if len(data) > MAX_BYTES:
        raise DataError(f"the table is larger than {MAX_BYTES >> 20} MB", where=path, code="too_large")
    encoding = _encoding(data[:4096])
    try:
        text = data.decode(encoding)
        utf8 = True
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise DataError("is not a table of text", where=path, hint="Save it as CSV in UTF-8") from error
        # Five bytes have no character in Windows-1252; they stand for themselves, as in Latin-1.
        text, utf8 = data.decode("latin-1"), False
        text = text.translate(_WINDOWS)
    if "\0" in text:
        raise DataError("is not a table of text", where=path, hint="Save it as CSV in UTF-8")
    return text, utf8


def _encoding(head: bytes) -> str:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    zeros = head[: len(head) // 2 * 2]
    if len(zeros) >= 4 and not any(zeros[1::2]):
        return "utf-16-le"
    return "utf-16-be" if len(zeros) >= 4 and not any(zeros[::2]) else "utf-8"


_WINDOWS = {
    code: bytes([code]).decode("cp1252")
    for code in range(0x80, 0xA0)
    if code not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)
}
