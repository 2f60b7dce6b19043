"""What a finding's text says of a disease: named, denied, doubtful, or not mentioned."""

from __future__ import annotations

import re
from functools import lru_cache

from lungsight.wording import Label

COVID_TERM = (
    r"(?:(?<![a-z0-9])covid(?:[- ]?19)?|\bsars[- ]?cov[- ]?2|\b(?:2019[- ]?)?n-?cov(?:[- ]?2019)?\b|"
    r"\bnovel coronavirus|\bcoronavirus (?:disease|2019)(?: 2019)?|\bu07[.]?1\b)"
)
UNKNOWN = frozenset(
    {"", "todo", "unknown", "n/a", "na", "nan", "none", "null", "<na>", "#n/a", "?", "-", "unlabelled"}
)
NORMAL = frozenset({"no finding", "no findings", "normal", "healthy", "no abnormality"})

_FILLERS = (
    r"(?:\W+(?:evidence|signs?|of|for|any|the|a|to|be|have|has|had|findings?|suspicion|acute|active|known|"
    r"current|is|was|been|being|diagnosis|test(?:ed)?|pcr|rt))*"
)
_DENIED_BEFORE = re.compile(
    r"\b(?:no|non|not|without|negative|neg|ruled[- ]out|rules[- ]out|excluded|excludes|excluding|free|absence|absent|"
    rf"denies|denied|never|other than|besides|instead of|pre){_FILLERS}\W*$"
)
_DENIED_LIST = re.compile(r"\b(?:no|without|neither|negative for)\b.*\b(?:or|nor)\W*$")
"""'No influenza or X' denies both."""
_AFTER_FILLERS = (
    r"^(?:[\W_]*(?:19|pneumonia|infection|disease|virus|rt|pcr|antigen|test(?:ed|ing|s)?|results?|swabs?|status|"
    r"was|is|has|have|been|were|are|by|on))*"
)
_DENIED_AFTER = re.compile(
    rf"{_AFTER_FILLERS}(?:\s*\(\s*[-−–]\s*\)|\s*[-−–]\s*(?:ve\b|$)|[\W_]*"
    r"(?:negativ[eo]?|neg|ruled[- ]out|excluded|not (?:detected|present|seen|found|confirmed)|absent|free|no|false|0)"
    r"\b)"
)
_DOUBT_BEFORE = re.compile(
    r"\b(?:suspect(?:ed)?|suspicion|suspicious|possibl[ey]|probabl[ey]|presum(?:ed|ptive)|quer(?:y|ied)|likely|"
    r"questionable|maybe|may be|might be|can(?: ?not|['’]?t) (?:be )?exclude|not (?:excluded|ruled out)|"
    r"rule[- ]out|compatible with|unlikely|indeterminate|unconfirmed|contact with|exposure to|history of|"
    rf"prior|previous|post|resolved|recovered from){_FILLERS}\W*$|\?\s*$"
)
_EITHER_BEFORE = re.compile(r"^.*\b(?:or|vs\.?|versus)\W*$")
_EITHER_AFTER = re.compile(r"^\W*(?:or|vs|versus)\b.*$")
"""'X or Y' and 'X vs Y' name neither for certain."""
_DOUBT_AFTER = re.compile(
    rf"{_AFTER_FILLERS}[\W_]*(?:\?|suspect(?:ed)?|possible|probable|pending|unlikely|likely|unconfirmed|"
    r"(?:not|less) likely|not (?:yet )?(?:excluded|ruled out)|can(?: ?not|['’]?t) be (?:excluded|ruled out)|"
    r"indeterminate|inconclusive|equivocal|uncertain|unknown|under investigation|resolved)"
    r"(?:\b|$)|^\s*\?"
)
_BEFORE = (_DOUBT_BEFORE, _DENIED_BEFORE, _DENIED_LIST, _EITHER_BEFORE)
_AFTER = (_DOUBT_AFTER, _DENIED_AFTER, _EITHER_AFTER)
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")


@lru_cache(maxsize=100_000)
def parts_of(finding: str) -> tuple[str, ...]:
    """The findings that a text names, in lower case, blanks for underscores.

    `A|B`, `A, B`, `A; B`, the steps of `Pneumonia/Viral/COVID-19`, and a Python list in text are split.
    """
    text = finding.strip()
    if text.startswith("[") and text.endswith("]"):
        quoted = _QUOTED.findall(text)
        pieces = [first or second for first, second in quoted] if quoted else text[1:-1].split(",")
    else:
        pieces = re.split(
            r"[/,;|\n]+", re.sub(r"\bw/o\b", "without", re.sub(r"\br/o\b", "rule out", text, flags=re.I))
        )
    return tuple(part for part in (normalised(piece) for piece in pieces) if part)


@lru_cache(maxsize=100_000)
def normalised(text: str) -> str:
    """A finding's name for comparison: lower case, one blank for blanks and underscores."""
    return re.sub(r"[\s_]+", " ", text).strip(" .'\"").lower()


def says_nothing(finding: str) -> bool:
    """Whether a text is empty or a word for 'not known'."""
    return finding.strip().lower() in UNKNOWN


@lru_cache(maxsize=100_000)
def mention(finding: str, term: str, *, whole: bool = False) -> Label | None:
    """What a text says of one finding.

    'No X', 'X negative', 'ruled out X', 'X: not detected' deny it; 'possible X', 'X?', 'suspected X' leave it
    uncertain. 'X without Y' and 'not Y but X' name X. Where one part names it and another denies it, it is named.

    Args:
        finding: a table's text.
        term: a regular expression, for text in lower case.
        whole: the term must be a whole part, not a word within one.

    Returns:
        None where the text does not mention it.
    """
    found = {label for part in parts_of(finding) if (label := _of_part(part, term, whole)) is not None}
    for label in (Label.POSITIVE, Label.UNCERTAIN, Label.NEGATIVE):
        if label in found:
            return label
    return None


def _of_part(part: str, term: str, whole: bool) -> Label | None:
    if whole and re.fullmatch(term, part):
        return Label.POSITIVE
    match = re.search(term, part)
    if match is None:
        return None
    before, after = part[: match.start()], part[match.end() :]
    doubt = _DOUBT_BEFORE.search(before) or _DOUBT_AFTER.search(after)
    denied = _DENIED_LIST.search(before) or _DENIED_BEFORE.search(before) or _DENIED_AFTER.search(after)
    if not denied:
        doubt = doubt or _EITHER_BEFORE.search(before) or _EITHER_AFTER.search(after)
    if whole:
        rest_before = before[: _first(*_BEFORE, text=before)]
        rest_after = after[_last(*_AFTER, text=after) :]
        if re.search(r"\w", rest_before + rest_after):
            return None
    return Label.UNCERTAIN if doubt else Label.NEGATIVE if denied else Label.POSITIVE


def _first(*patterns: re.Pattern[str], text: str) -> int:
    starts = [match.start() for pattern in patterns if (match := pattern.search(text))]
    return min(starts, default=len(text))


def _last(*patterns: re.Pattern[str], text: str) -> int:
    ends = [match.end() for pattern in patterns if (match := pattern.search(text))]
    return max(ends, default=0)


def is_covid(finding: str) -> bool | None:
    """Whether a finding such as 'Pneumonia/Viral/COVID-19' names COVID-19; None where it says nothing or doubts.

    'No COVID-19', 'non-COVID', 'ruled out COVID-19' and 'COVID-19 negative' are not COVID; 'COVID-19 without
    ARDS' is.
    """
    if says_nothing(finding):
        return None
    label = mention(finding, COVID_TERM)
    return None if label is Label.UNCERTAIN else label is Label.POSITIVE
