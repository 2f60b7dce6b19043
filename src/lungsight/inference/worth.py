"""What an answer is worth, in one sentence from the card of its network, and one line that says a result."""

from __future__ import annotations

from lungsight.card import Card
from lungsight.inference.record import ResultRecord
from lungsight.model import Bundle
from lungsight.wording import RatioNote, Status, say, say_all

CANNOT_TELL = "cannot tell"


def line_of(row: ResultRecord) -> str:
    """A result in one line: severity first, then the cardiothoracic ratio, then the score."""
    if row.status is not Status.OK:
        return f"{row.status.value.replace('_', ' ')}: {row.message or say_all(row.reasons)}"
    parts = [f"severity {severity_words(row)}", f"cardiothoracic ratio {ratio_words(row)}"]
    if row.probability is None:
        parts.append(f"{say(row.decision)} ({say_all(row.reasons)})")
    else:
        parts.append(f"COVID-19 score {row.probability:.2f} ({say(row.decision)})")
    return "; ".join(parts)


def severity_words(row: ResultRecord) -> str:
    """The severity with its interval, or that it cannot tell."""
    if row.severity is None:
        return CANNOT_TELL
    if row.severity_low is None or row.severity_high is None:
        return f"{row.severity:.1f} of 18"
    return f"{row.severity:.1f} of 18 ({row.severity_low:.1f} to {row.severity_high:.1f})"


def ratio_words(row: ResultRecord) -> str:
    """The cardiothoracic ratio with what the view says of it, or that it cannot tell."""
    if row.cardiothoracic_ratio is None:
        return CANNOT_TELL
    words = f"{row.cardiothoracic_ratio:.2f}"
    return f"{words} (AP: too large)" if row.ratio_note is RatioNote.MAGNIFIED else words


def score_words(row: ResultRecord) -> str:
    """The COVID-19 score with its interval; empty where there is none."""
    if row.probability is None:
        return ""
    between = "" if row.low is None or row.high is None else f" ({row.low:.2f} to {row.high:.2f})"
    return f"{row.probability:.2f}{between}"


def worth(bundle: Bundle) -> tuple[str, ...]:
    """One sentence for severity and one for the score, of the networks that are there and whose cards say it."""
    found = []
    if bundle.severity is not None:
        found.append(severity_worth(bundle.severity.card))
    if bundle.diagnosis is not None:
        found.append(score_worth(bundle.diagnosis.card))
    return tuple(found)


def severity_worth(card: Card) -> str:
    """How far the severity lies from a radiologist's, out of fold, beside another radiologist."""
    agreements = {one.get("name"): one for one in card.metrics.get("agreement", ()) if isinstance(one, dict)}
    own = agreements.get("out of fold")
    if own is None:
        return "The severity network's card does not say what its answer is worth."
    against = card.metrics.get("against", "reader")
    words = (
        f"Severity lies {own['mean_absolute_error']:.1f} points of 18 on average "
        f"({own['error_low']:.1f} to {own['error_high']:.1f}) from a {against} radiologist's"
    )
    others = [(name, one) for name, one in agreements.items() if str(name).startswith("reader ")]
    if others:
        name, one = others[0]
        words += f"; a {str(name).removeprefix('reader ')} radiologist's lies {one['mean_absolute_error']:.1f} away"
    return f"{words}."


def score_worth(card: Card) -> str:
    """What is left of the COVID-19 score where the source tells nothing."""
    metrics = card.metrics
    given = metrics.get("same_source_auroc") or metrics.get("same_source") or metrics.get("auroc")
    if not isinstance(given, dict) or not isinstance(given.get("value"), int | float):
        return "The diagnosis network's card does not say what its score is worth."
    low, high = given.get("low"), given.get("high")
    between = (
        f" ({low:.2f} to {high:.2f})"
        if isinstance(low, int | float) and isinstance(high, int | float)
        else ""
    )
    return (
        f"Of the COVID-19 score an AUROC of {given['value']:.2f}{between} is left within one source, where 0.5 is a "
        "coin toss; between hospitals it says more about the hospital than about the lungs."
    )
