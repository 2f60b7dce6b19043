"""What each stage of the audit found: plain records that go to JSON and come back."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from dataclasses import dataclass
from typing import Any, TypeVar

from lungsight.metrics import Interval

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Settings:
    """How much work the audit does."""

    px: int = 128
    """Side of what the probe networks see."""
    folds: int = 5
    epochs: int = 8
    least_steps: int = 150
    """A probe is trained for at least so many steps, however few images there are."""
    images: int = 6000
    """At most so many images for the probes; the commonest (source, class) is thinned first."""
    perturbed: int = 1000
    """At most so many held-out images to perturb."""
    replicates: int = 1000
    seed: int = 0


FULL = Settings()
QUICK = Settings(px=64, folds=3, epochs=6, images=1800, perturbed=300, replicates=500)
"""About ten minutes on two cores for 5,600 images."""


@dataclass(frozen=True, slots=True)
class Score:
    """The audited score on the images that it did not learn from.

    Attributes:
        source_alone: AUROC of a rule that knows the source and nothing else.
        source_auroc: AUROC with which the score tells two sources apart among images of one class; None where no
            class comes from two sources.
        tells_source_words: which class and sources.
    """

    model: str
    part: str
    images: int
    patients: int
    scored: int
    pooled: Interval
    same_source: Interval | None
    same_source_images: int
    source_alone: float
    source_auroc: Interval | None
    tells_source_words: str


@dataclass(frozen=True, slots=True)
class Perturbed:
    """The score after one change to the images.

    Attributes:
        scored: share of the images that the model still scores.
        change: mean absolute change of the score.
        flipped: share of the decisions that change.
        covid_shift, other_shift: mean change of the score, of images with and without COVID-19.
        follows: Spearman correlation of the new score with the score of the image that gave the outside, less that
            with the score of the image that gave the lungs, in [-2, 2]; for 'outside-swapped' alone.
    """

    key: str
    words: str
    images: int
    scored: float
    pooled: Interval
    same_source: Interval | None
    change: float
    flipped: float
    covid_shift: float
    other_shift: float
    follows: Interval | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """A small model that was trained on one view of the images, patients apart."""

    key: str
    words: str
    method: str
    images: int
    pooled: Interval
    same_source: Interval | None
    same_source_images: int


@dataclass(frozen=True, slots=True)
class SourceTest:
    """How well a probe tells two sources apart among images of one class."""

    words: str
    view: str
    images: int
    auroc: Interval


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A probe trained without one source and tried on it."""

    source: str
    images: int
    auroc: Interval


@dataclass(frozen=True, slots=True)
class SourceStage:
    """What the sources give away; `why_not` says what the table does not allow."""

    tests: tuple[SourceTest, ...]
    left_out: tuple[LeftOut, ...]
    why_not: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images that look the same. `parts` are those of the split, '' where there is none."""

    first: str
    second: str
    parts: tuple[str, ...]
    same_patient: bool
    distance: int
    """Differing bits of the two 64-bit hashes."""
    correlation: float


@dataclass(frozen=True, slots=True)
class Leakage:
    """What is on both sides of the split.

    Attributes:
        known: False where the audited model's split is not known.
        patients: ids of patients on both sides.
        images: how many held-out images are of such patients.
        held_out: images in all.
        pairs: near-duplicates across the split, or between patients where no split is known.
    """

    known: bool
    patients: tuple[str, ...]
    images: int
    held_out: int
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class Sign:
    """One rule of the verdict: whether it holds; None where the data cannot tell."""

    key: str
    rule: str
    holds: bool | None
    figures: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The audit's answer, in four steps."""

    step: int
    """1 no sign found ... 4 explained by the source."""
    words: str
    reasons: tuple[str, ...]
    signs: tuple[Sign, ...]
    caveats: tuple[str, ...]


def encode(value: Any) -> Any:
    """A record as plain values; NaN stays (JSON makes null of it)."""
    if isinstance(value, Interval):
        return value.to_dict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: encode(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    return value


def decode(kind: type[T], value: Any) -> T:
    """The record that `encode` was given; raises KeyError, TypeError or ValueError where it is not one."""
    return typing.cast(T, _decode(kind, value))


def _decode(hint: Any, value: Any) -> Any:
    if isinstance(hint, types.UnionType):
        kinds = [part for part in typing.get_args(hint) if part is not types.NoneType]
        return None if value is None else _decode(kinds[0], value)
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        fields = {item.name: _decode(hints[item.name], value[item.name]) for item in dataclasses.fields(hint)}
        return typing.cast(Any, hint)(**fields)
    if typing.get_origin(hint) is tuple:
        return tuple(_decode(typing.get_args(hint)[0], item) for item in value)
    if hint is float:
        return math.nan if value is None else float(value)
    return hint(value)
