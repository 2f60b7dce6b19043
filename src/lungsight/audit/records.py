"""What each step of the audit found: records that go to JSON and come back. Words of the codes: `wording.py`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from lungsight.audit.statistics import Estimate
from lungsight.evaluation.records import Subgroup
from lungsight.metrics import Interval
from lungsight.records import Record
from lungsight.wording import CriterionKey, DataAnswer, ScoreAnswer

ProbeKind = Literal["network", "linear"]


class Settings(Record, frozen=True):
    """How much work the audit does."""

    px: Annotated[int, Meta(ge=16, le=1024)] = 128
    """Side of what the probe networks see."""
    folds: Annotated[int, Meta(ge=2, le=50)] = 5
    probe: ProbeKind = "network"
    """What is trained on each part of the image; 'linear' is ridge regression on thumbnails."""
    epochs: Annotated[int, Meta(ge=1)] = 8
    min_steps: Annotated[int, Meta(ge=0)] = 150
    """A probe network is trained for at least so many steps, however few images there are."""
    images: Annotated[int, Meta(ge=20)] = 6000
    """At most so many images for the probes; the commonest (source, class) is subsampled first."""
    perturbed: Annotated[int, Meta(ge=10)] = 1000
    """At most so many held-out images to change."""
    seed: Annotated[int, Meta(ge=0)] = 0


FULL = Settings()
QUICK = Settings(px=64, folds=3, epochs=6, images=1800, perturbed=300)
"""About ten minutes on two cores for 5,600 images."""


class Score(Record, frozen=True):
    """The audited score on the images that it was not trained on.

    Attributes:
        images, patients: held out; `scored` of them have a score.
        same_source, same_subsource: only pairs of images of one source (sub-source) are compared.
        within_finding: pairs of two sources against pairs of one, both within the same two findings.
        source_auroc: AUROC with which the score tells two sources apart among images of one finding.
    """

    part: str
    images: int
    patients: int
    scored: int
    pooled: Estimate
    same_source: Estimate
    same_subsource: Estimate
    within_finding: tuple[Estimate, Estimate] | None = None
    source_auroc: Estimate | None = None


class Change(Record, frozen=True):
    """The score after one change to the images.

    Attributes:
        scored: fraction of the images that the model still scores.
        deviation: mean absolute change of the score.
        flipped: fraction of the decisions that change.
        positive_shift, negative_shift: mean change of the score, of images with and without the target.
    """

    key: str
    images: int
    scored: float
    pooled: Estimate
    same_source: Estimate
    deviation: float
    flipped: float
    positive_shift: float
    negative_shift: float


class Transplant(Record, frozen=True):
    """The score of images that were given a property of another image, drawn by lot.

    The donor is drawn without regard to the image that receives, so that a score which does not use the property
    cannot tell the donor's class, however class, source and severity hang together in the data.

    Attributes:
        key: which property.
        scored: fraction of the changed images that the model still scores.
        donor_auroc: of the score, for the class of the donor: above 0.5 the score uses the property.
        own_auroc: of the score, for the class of the image that received: what is left without the property.
        background_dependence: Spearman correlation of the score with that of the donor, unchanged; [-1, 1].
        own_dependence: with that of the image itself, unchanged.
    """

    key: str
    images: int
    scored: float
    donor_auroc: Estimate
    own_auroc: Estimate
    background_dependence: float
    own_dependence: float


class Probe(Record, frozen=True):
    """A model trained on one part of the images, or on no pixel at all; scores out of fold, patients apart."""

    key: str
    method: str
    images: int
    pooled: Estimate
    same_source: Estimate
    same_subsource: Estimate


class SourceTest(Record, frozen=True):
    """How well a probe tells two sources apart among images of one finding."""

    first: str
    second: str
    finding: str
    region: str
    images: int
    auroc: Estimate


class LeftOut(Record, frozen=True):
    """Probes tried on sources (kind 'source') or sub-sources that they were not trained on.

    `name` is the source; for sub-sources, the source within which pairs are compared, '' for all.
    """

    kind: Literal["source", "subsource"]
    name: str
    region: str
    images: int
    auroc: Estimate


class SourceStep(Record, frozen=True):
    """What the sources give away; `missing` has codes of what the table does not allow."""

    tests: tuple[SourceTest, ...]
    left_out: tuple[LeftOut, ...]
    missing: tuple[str, ...]


class Pair(Record, frozen=True):
    """Two images that look the same. `parts` are those of the split, '' where there is none."""

    first: str
    second: str
    parts: tuple[str, ...]
    same_patient: bool
    agreement: float
    """0 to 1: how far the fine structure agrees after registration."""


class Leakage(Record, frozen=True):
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


class Criterion(Record, frozen=True):
    """One criterion of the verdict.

    Attributes:
        holds: None where the data cannot tell.
        decides: False for what is shown and does not enter the answer.
        estimate: what it rests on; `beside` is what it is compared with.
        adjusted_p: Holm's, within the family of the answer; None for what does not decide.
    """

    key: CriterionKey
    holds: bool | None
    decides: bool
    estimate: Estimate | None = None
    beside: Estimate | None = None
    adjusted_p: float | None = None


class Caveat(Record, frozen=True):
    """What must be read with the verdict: a code of `wording.Caveat` and the numbers in its sentence."""

    code: str
    numbers: dict[str, int] = msgspec.field(default_factory=dict)


class Verdict(Record, frozen=True):
    """Two answers: is a shortcut on offer in the data, and does the score take it."""

    data: DataAnswer
    score: ScoreAnswer
    criteria: tuple[Criterion, ...]
    caveats: tuple[Caveat, ...]
    family_error: float
    """Probability of a false answer 'offered', and of a false 'taken' or 'explained', at most, each."""


class Calibrated(Record, frozen=True):
    """How the score's probabilities agree with what is.

    Attributes:
        slope, intercept: of logistic recalibration, the intercept at slope 1; right are 1 and 0.
        ece: expected calibration error; it is biased on few images and has no interval.
    """

    slope: Interval
    intercept: Interval
    brier: Interval
    ece: float


class Found(Record, frozen=True):
    """All that an audit found: the content of `audit.json`."""

    model: str
    model_hash: str
    """SHA-256 of the audited weights, or of the scores: the audit belongs to this model and to no other."""
    data: str
    """Fingerprint of the table."""
    target: str
    verdict: Verdict
    score: Score
    perturbation: tuple[Change, ...]
    transplants: tuple[Transplant, ...]
    retraining: tuple[Probe, ...]
    no_pixels: tuple[Probe, ...]
    source: SourceStep
    leakage: Leakage
    notes: tuple[Caveat, ...]
    failures: tuple[tuple[str, str], ...]
    settings: Settings
    provenance: dict[str, Any] = msgspec.field(default_factory=dict)
    calibration: Calibrated | None = None
    """None where the score is no probability."""
    subgroups: tuple[Subgroup, ...] = ()
