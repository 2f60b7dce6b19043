"""What the reproduction report is filled with: frozen records of arrays and metrics, no drawing, no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lungsight.evaluation.records import MaskMetrics, ScoreMetrics
from lungsight.report.content import CropExample, Curve, MaskExample, Measure

LayerKind = Literal["input", "conv", "pool", "up", "concat", "dropout", "flatten", "dense"]


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
class SegmentationResult:
    """A segmentation run and what its evaluation found."""

    run: Run
    images: int
    metrics: MaskMetrics


@dataclass(frozen=True)
class DiagnosisResult:
    """A diagnosis run and what its evaluation on the validation part found.

    Attributes:
        metrics: `majority_accuracy` is what 'never COVID-19' scores on the same images.
        roc: x false positive rate, y true positive rate.
    """

    run: Run
    images: int
    metrics: ScoreMetrics
    roc: Curve


@dataclass(frozen=True)
class ComparisonRow:
    """One line of the 'paper / ours' table.

    Attributes:
        part: heading it stands under: 'Data', 'Lung segmentation', 'Diagnosis'.
        quantity: what it is.
        paper: the paper's value; None where the paper gives none.
        ours: ours; None where this run did not compute it.
        deviation: what was not as in the paper (subset, width, epochs, seed).
    """

    part: str
    quantity: str
    paper: float | str | None
    ours: Measure | float | str | None
    deviation: str = ""


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
    notes: Sequence[str] = field(default_factory=tuple)
    synthetic: bool = False
