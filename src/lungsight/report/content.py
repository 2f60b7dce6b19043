"""What the reproduction report is filled with: frozen records of arrays and figures, no drawing, no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lungsight.metrics import Interval

LayerKind = Literal["input", "conv", "pool", "up", "concat", "dropout", "flatten", "dense"]


@dataclass(frozen=True)
class Measure:
    """A figure, with its 95 % interval where one was computed."""

    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""
    """What must be read beside it, in words."""

    @classmethod
    def of(cls, interval: Interval) -> Measure:
        """From what `lungsight.metrics` gives; a bound that could not be computed is left out."""
        return cls(
            interval.value,
            None if math.isnan(interval.low) else interval.low,
            None if math.isnan(interval.high) else interval.high,
            interval.note,
        )

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The interval, where both ends are known."""
        if (
            self.low is None
            or self.high is None
            or not (math.isfinite(self.low) and math.isfinite(self.high))
        ):
            return None
        return self.low, self.high


@dataclass(frozen=True)
class Layer:
    """One layer of a network, in the order in which an image passes it.

    Attributes:
        name: as the code calls it.
        kind: what it does; the drawing goes by it. `up` halves the level, `pool` goes down one.
        shape: of the output, without the batch: (channels, height, width) or (units,).
        parameters: trainable values.
    """

    name: str
    kind: LayerKind
    shape: tuple[int, ...]
    parameters: int = 0


@dataclass(frozen=True)
class Architecture:
    """One network: its layers at the width used, its size there and at full width.

    Attributes:
        layers: of the network as it was trained.
        width: factor on the filter counts (1.0 is the paper's own).
        parameters: trainable values at that width.
        full_parameters: trainable values at width 1.0.
        note: what the paper leaves open and what was chosen.
    """

    title: str
    layers: Sequence[Layer]
    width: float
    parameters: int
    full_parameters: int
    note: str = ""


@dataclass(frozen=True)
class CountTable:
    """One of the paper's tables 1 to 5.

    Attributes:
        number: as in the paper, 1 to 5.
        title: what it counts.
        rows: (label, the paper's value, ours); None where there is none, e.g. what the paper does not print.
    """

    number: int
    title: str
    rows: Sequence[tuple[str, float | str | None, float | str | None]]
    note: str = ""


@dataclass(frozen=True)
class MaskExample:
    """An image with its true mask and, for predictions, the probability map at the same size.

    Attributes:
        image: (H, W) uint8.
        truth: (H, W) bool.
        probability: (H, W) float in [0, 1], or None.
        dice: at the report's threshold, or None.
        caption: shown under it, e.g. the id and finding.
    """

    image: NDArray[np.uint8]
    truth: NDArray[np.bool_]
    probability: NDArray[np.floating[Any]] | None = None
    dice: float | None = None
    caption: str = ""


@dataclass(frozen=True)
class CropExample:
    """An image before and after the diagnosis crop.

    Attributes:
        before: (H, W) uint8.
        box: (top, left, bottom, right) in pixels; what is kept is before[top:bottom, left:right].
    """

    before: NDArray[np.uint8]
    box: tuple[int, int, int, int]
    caption: str = ""


@dataclass(frozen=True)
class Curve:
    """Points of a curve, x rising, with an optional band.

    Attributes:
        low, high: ends of the band, at `band_x`, or at `x` where that is None.
    """

    x: NDArray[np.floating[Any]]
    y: NDArray[np.floating[Any]]
    low: NDArray[np.floating[Any]] | None = None
    high: NDArray[np.floating[Any]] | None = None
    band_x: NDArray[np.floating[Any]] | None = None


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        name: of its recipe, e.g. 'paper-segmentation'.
        title: in words.
        task: 'lungs' (masks) or 'covid' (diagnosis).
        train, validation: numbers of images.
        history: one mapping an epoch; any of `epoch`, `train_loss`, `validation_loss`, `train_accuracy`,
            `validation_accuracy`, `seconds`. Missing ones are left out of the drawing.
        width: factor on the filter counts.
        epochs: run; `epochs_asked` is what the recipe asks for.
        seconds: of training.
        stopped: why it ended before the last epoch, e.g. 'early stopping, patience 1'; '' when it did not.
    """

    name: str
    title: str
    task: Literal["lungs", "covid"]
    train: int
    validation: int
    history: Sequence[Mapping[str, float]]
    width: float
    epochs: int
    epochs_asked: int
    seconds: float
    stopped: str = ""


@dataclass(frozen=True)
class MaskScores:
    """Segmentation figures under one averaging."""

    accuracy: Measure
    iou: Measure
    dice: Measure


@dataclass(frozen=True)
class SegmentationResult:
    """A segmentation run and how its masks agree with the truth at one threshold."""

    run: Run
    images: int
    threshold: float
    per_image: MaskScores
    pooled: MaskScores


@dataclass(frozen=True)
class DiagnosisResult:
    """A diagnosis run and how its score does on the validation part.

    Attributes:
        accuracy: at `threshold`.
        majority_accuracy: what 'never COVID-19' scores on the same images.
        auc: area under the ROC curve.
        roc: x false positive rate, y true positive rate.
        confusion: (true negatives, false positives, false negatives, true positives) at `threshold`.
    """

    run: Run
    images: int
    accuracy: Measure
    majority_accuracy: float
    auc: Measure
    roc: Curve
    confusion: tuple[int, int, int, int]
    threshold: float = 0.5


@dataclass(frozen=True)
class ComparisonRow:
    """One line of the 'paper / ours' table.

    Attributes:
        part: heading it stands under: 'Data', 'Lung segmentation', 'Diagnosis'.
        quantity: what it is.
        paper: the paper's value; None where the paper gives none.
        ours: ours; None where this run did not compute it.
        differed: what was not as in the paper (subset, width, epochs, seed).
    """

    part: str
    quantity: str
    paper: float | str | None
    ours: Measure | float | str | None
    differed: str = ""


@dataclass(frozen=True)
class HonestRow:
    """One line of the honest table: one score, pooled and within the one source that has both classes."""

    what: str
    pooled: Measure
    same_source: Measure | None = None
    same_source_images: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Budget:
    """What this run could afford.

    Attributes:
        minutes: asked for with --budget; None without one.
        words: what was scaled down for it and why, one or two sentences.
        seconds: that the whole run took.
        machine: in words, e.g. '2 cores, no GPU'.
    """

    minutes: float | None
    words: str
    seconds: float
    machine: str


@dataclass(frozen=True)
class Reproduction:
    """Everything in the reproduction report.

    Attributes:
        data: name of the data set in words.
        synthetic: the images are phantoms, so that no figure compares with the paper's; the report says so.
        comparison: the 'paper / ours' table, in order.
        tables: the paper's tables 1 to 5.
        unet, cnn: architectures (figures 3 and 6).
        masks: image + true mask (figure 4); predictions: with probability (figure 5).
        crops: figure 7; marked: images with letters or devices (figure 9).
        segmentation, diagnosis: the runs, the paper's main one first.
        honest: pooled against same-source AUROC by recipe; empty when it was not computed.
        notes: more remarks of this run, plain sentences.
        provenance: as `lungsight.provenance.describe` gives it.
    """

    data: str
    comparison: Sequence[ComparisonRow]
    tables: Sequence[CountTable]
    unet: Architecture
    cnn: Architecture
    masks: Sequence[MaskExample]
    predictions: Sequence[MaskExample]
    crops: Sequence[CropExample]
    marked: Sequence[CropExample]
    segmentation: Sequence[SegmentationResult]
    diagnosis: Sequence[DiagnosisResult]
    budget: Budget
    provenance: Mapping[str, Any]
    honest: Sequence[HonestRow] = ()
    notes: Sequence[str] = field(default_factory=tuple)
    synthetic: bool = False
