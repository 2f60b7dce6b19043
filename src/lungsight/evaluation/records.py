"""What an evaluation finds: one record, which `metrics.json`, every report, table and card are made of."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from lungsight.dataset.table import COVID_TARGET, Target
from lungsight.metrics import Comparison, Confusion, Interval, Note
from lungsight.records import Record
from lungsight.wording import NoPixels

Count = Annotated[int, Meta(ge=0)]


class LeftOut(Record, frozen=True):
    """An image or a prediction that takes no part, and why."""

    id: str
    reason: str


class MaskMetrics(Record, frozen=True):
    """How predicted masks agree with the truth.

    Attributes:
        threshold: at which the lung map was cut; NaN where it is not known.
        per_image: name -> mean over images, names as `OVERLAP_METRICS` and 'nsd', 'hd95', 'assd'; of a distance, over
            the images that have one.
        pooled: name -> over the pixels of all images together, names as `OVERLAP_METRICS`.
        one_empty: images with an infinite distance: one of two masks is empty.
        both_empty: images without a distance: both masks are empty.
    """

    threshold: float
    per_image: dict[str, Interval]
    pooled: dict[str, Interval]
    one_empty: Count
    both_empty: Count


class GroupAuroc(Record, frozen=True):
    """AUROC over the pairs (positive, negative) whose two images come from one group, e.g. one source.

    Attributes:
        groups: that have both classes.
        images: of such groups.
        pairs: that could be compared.
    """

    auroc: Interval
    groups: Count
    images: Count
    pairs: Count


class NamedAuroc(Record, frozen=True):
    """AUROC of some of the images.

    Attributes:
        name: of a view, or of the sub-source that is left out.
        positive: of the `images`, those with the target.
    """

    name: str
    images: Count
    positive: Count
    auroc: Interval

    old_names: ClassVar = {"covid": "positive"}


class NoPixelModel(Record, frozen=True):
    """A model that sees no pixels, scored out of fold with patients apart.

    Attributes:
        images: for which the table has its values; the others count as the mean.
        pooled, same_source, same_subsource: over the pairs that one model scored.
        pooled_over_folds: within one source, of the mean score out of fold, also between folds: biased downwards, but
            what is mostly published.
        subsource_left_out: AUROC where each image is scored by a model that saw no image of its sub-source; None where
            the table has no sub-sources.
    """

    model: NoPixels
    images: Count
    pooled: Interval
    same_source: GroupAuroc | None
    same_subsource: GroupAuroc | None
    pooled_over_folds: GroupAuroc | None
    subsource_left_out: GroupAuroc | None


class SourceMetrics(Record, frozen=True):
    """What a score is worth where the source is of no help.

    Attributes:
        same_source, same_subsource: None where no group has both classes.
        by_view: within one source, for each view.
        without: AUROC within one source, without one sub-source at a time.
        no_pixels: models that see no pixels, on the same images.
    """

    pooled: Interval
    same_source: GroupAuroc | None
    same_subsource: GroupAuroc | None
    by_view: tuple[NamedAuroc, ...] = ()
    without: tuple[NamedAuroc, ...] = ()
    no_pixels: tuple[NoPixelModel, ...] = ()
    notes: tuple[Note, ...] = ()


class CalibrationBin(Record, frozen=True):
    """Images of one bin of probability: how many, their mean probability, how many in fact, with Wilson's bounds."""

    images: Count
    predicted: float
    observed: float
    low: float
    high: float


class DecisionPoint(Record, frozen=True):
    """Net benefit at one threshold: of the score, and of calling every image positive."""

    threshold: float
    net_benefit: float
    call_all: float


class UncertainMetrics(Record, frozen=True):
    """Images that the model calls uncertain, apart from those that it decides.

    Attributes:
        positive: of the `images`, those with the target.
        decided: counts over the other images.
    """

    images: Count
    positive: Count
    decided: Confusion

    old_names: ClassVar = {"covid": "positive"}


class ScoreMetrics(Record, frozen=True):
    """How a score tells the target from the rest.

    Attributes:
        metrics: name -> metric with its interval, in the order of a report.
        ece: expected calibration error; it is biased on few images and has no interval.
        confusion: of all images, by their probability.
        uncertain: None where the model does not say which images it is not sure of.
    """

    threshold: float
    metrics: dict[str, Interval]
    ece: float
    majority_accuracy: float
    confusion: Confusion
    sources: SourceMetrics
    calibration_curve: tuple[CalibrationBin, ...]
    decision_curve: tuple[DecisionPoint, ...]
    uncertain: UncertainMetrics | None = None


class Subgroup(Record, frozen=True):
    """One group of images.

    Attributes:
        kind: 'source', 'subsource', 'finding', 'view', 'sex' or 'age'.
        patients: None where the table does not say.
        metrics: 'dice' for masks; 'auroc' (NaN with one class only) and 'accuracy' for a score.
        too_few: fewer than ten patients: the metrics say nothing.
    """

    kind: str
    name: str
    images: Count
    positive: Count
    patients: int | None
    metrics: dict[str, Interval]
    too_few: bool

    old_names: ClassVar = {"covid": "positive"}


class ComparisonMetrics(Record, frozen=True):
    """Two models on the images that both predicted; differences are first less second.

    Attributes:
        tests: name of a metric -> the paired test.
    """

    first: str
    second: str
    images: Count
    tests: dict[str, Comparison]


class EvaluationRecord(Record, frozen=True):
    """One model on one table.

    Attributes:
        model: in words.
        part: which images: 'all', 'out of fold', or the part of a run's split.
        patients: None where the table does not say who they are.
        scored: images that have a probability and a known class.
        notes: what a reader must know before the metrics.
    """

    model: str
    part: str
    images: Count
    patients: int | None
    scored: Count
    masks: MaskMetrics | None
    score: ScoreMetrics | None
    subgroups: tuple[Subgroup, ...] = ()
    comparison: ComparisonMetrics | None = None
    notes: tuple[Note, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    recipe: str = ""
    task: str = ""
    target: Target = COVID_TARGET
