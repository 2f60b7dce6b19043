"""The card: what a network says of itself.

It says how to prepare the input, what the outputs mean, where the operating point lies, how the score becomes a
probability, where the network comes from and what it is worth. It lies as `NAME.json` beside the weights and is checked
when it is read.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from msgspec import Meta, field

from lungsight.config import OLD_CROP_MODES, Convention, CropMode, Dilation, Probability, Task
from lungsight.errors import ModelError
from lungsight.records import Finite, Record
from lungsight.wording import OLD_GATE_CLASSES, Decision, GateClass

FORMAT = 2
"""Version of the card's layout."""

Side = Annotated[int, Meta(ge=8, le=4096)]
Count = Annotated[int, Meta(ge=0)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Name = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="'lungs-2' (letters, digits, '.', '-' and '_')",
    ),
]


class InputSettings(Record, frozen=True):
    """How pixels become the network's input, (N, channels, h, w) `float32` in [0, 1]."""

    size: tuple[Side, Side]
    """(h, w) of the input."""
    preprocessing: CropMode = "resize"
    """resize: the whole image; apply_mask: 0 outside the lungs; crop_to_lungs: `preprocess.crop_to_lungs`."""
    resize_to: tuple[Side, Side] | None = None
    """(h, w) to which the image is resized before the steps that follow; None: `size`."""
    crop: tuple[Count, Count, Count, Count] = (0, 0, 0, 0)
    """resize, apply_mask: pixels cut off the resized image (top, left, bottom, right), which leaves `size`."""
    equalise: bool = False
    """`preprocess.equalise` after the image is resized."""
    dilation: Dilation = 0.0
    """apply_mask and crop_to_lungs: growth of the mask, as a fraction of the longer side."""
    channels: Literal[1, 3, 7] = 1
    """1, 3: the grey image three times, or 7: the image and the maps of six lung zones (severity)."""

    old_names: ClassVar = {"working": "resize_to", "grow": "dilation"}

    @classmethod
    def upgrade(cls, values: dict[str, Any]) -> dict[str, Any]:
        mode = values.get("preprocessing")
        return values | {"preprocessing": OLD_CROP_MODES.get(mode, mode)} if isinstance(mode, str) else values

    def __post_init__(self) -> None:
        (height, width), (top, left, bottom, right) = self.resized, self.crop
        if (
            self.preprocessing != "crop_to_lungs"
            and (height - top - bottom, width - left - right) != self.size
        ):
            raise ValueError("size must be resize_to less crop")

    @property
    def resized(self) -> tuple[int, int]:
        """(h, w) to which the image is resized first."""
        return self.resize_to or self.size


class Conformal(Record, frozen=True):
    """Where each answer joins the set of those that cannot be ruled out; see `metrics.conformal`.

    On the raw logit and for each class apart, so that the fraction of COVID-19 among a user's images does not matter.
    It was calibrated out of fold on images of `trained_on`: elsewhere the coverage is not shown.
    """

    covid_from: float | None
    """Logits from here on have 'covid' in their set; None: all have, there were too few patients."""
    not_covid_to: float | None
    """Logits up to here have 'not_covid' in their set; None: all have."""
    coverage: Probability = 0.9
    """Of a random image of a new patient, in either class."""
    covid_patients: Count = 0
    not_covid_patients: Count = 0

    def answers(self, logit: float) -> tuple[Decision, ...]:
        """The set of one raw `logit`: none, one or both of COVID and NOT_COVID."""
        covid = self.covid_from is None or logit >= self.covid_from
        other = self.not_covid_to is None or logit <= self.not_covid_to
        return (Decision.COVID,) * covid + (Decision.NOT_COVID,) * other


class Calibration(Record, frozen=True):
    """Platt scaling: probability = sigmoid(slope * logit + intercept), with the fit's own uncertainty.

    Source: Platt, Advances in Large Margin Classifiers, 1999.
    """

    slope: Finite = 1.0
    intercept: Finite = 0.0
    replicates: tuple[tuple[Finite, Finite], ...] = ()
    """(slope, intercept) of bootstrap fits; the interval is their 2.5th to 97.5th percentile."""
    covariance: tuple[tuple[Finite, Finite], tuple[Finite, Finite]] | None = None
    """Of (slope, intercept), used where there are no replicates."""
    uncertain: tuple[Fraction, Fraction] | None = None
    """Probabilities between these are 'uncertain'; None: those whose interval holds the threshold."""
    prevalence: Probability | None = None
    """Fraction of COVID-19 among the images for which the probability holds; None: as in the training data."""
    conformal: Conformal | None = None
    """Limits of the prediction set; None: only the interval says what cannot be told."""
    method: Literal["platt"] = "platt"

    def __post_init__(self) -> None:
        if self.uncertain is not None and self.uncertain[0] > self.uncertain[1]:
            raise ValueError("uncertain must be [low, high]")

    def probability(self, logit: float) -> float:
        """Calibrated probability in [0, 1] of one raw `logit`."""
        return _sigmoid(self.slope * logit + self.intercept)

    def interval(self, logit: float) -> tuple[float, float] | None:
        """95 % interval of `probability(logit)` from the fit's uncertainty; None if the card gives none."""
        if self.replicates:
            slopes, intercepts = np.asarray(self.replicates, np.float64).T
            low, high = np.percentile(slopes * logit + intercepts, (2.5, 97.5))
            return _sigmoid(float(low)), _sigmoid(float(high))
        if self.covariance is not None:
            (slope, both), (_, constant) = self.covariance
            centre = self.slope * logit + self.intercept
            reach = 1.96 * math.sqrt(max(slope * logit * logit + 2 * both * logit + constant, 0.0))
            return _sigmoid(centre - reach), _sigmoid(centre + reach)
        return None

    def shifted(self, *, from_prevalence: float, to_prevalence: float) -> Calibration:
        """The same scores for images of which another fraction is COVID-19, by Bayes' rule.

        The odds change by the factor [q / (1 - q)] / [p / (1 - p)], so the logit of the probability by
        logit q - logit p: where COVID-19 is rarer than in the images of the fit, every probability falls.

        Args:
            from_prevalence: p in (0, 1), of the images that the calibration was fitted on.
            to_prevalence: q in (0, 1), of the images that the new one is for.
        """
        shift = _logit(to_prevalence) - _logit(from_prevalence)
        return Calibration(
            slope=self.slope,
            intercept=self.intercept + shift,
            replicates=tuple((slope, intercept + shift) for slope, intercept in self.replicates),
            covariance=self.covariance,
            prevalence=to_prevalence,
            conformal=self.conformal,
        )


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else 1 - 1 / (1 + math.exp(value))


def _logit(probability: float) -> float:
    return math.log(probability) - math.log1p(-probability)


class TrainedOn(Record, frozen=True):
    """A data set that a network was trained on."""

    name: str = ""
    fingerprint: str = ""
    """`Dataset.fingerprint()`."""
    images: Count = 0
    patients: Count = 0
    sources: tuple[str, ...] = ()


class Card(Record, frozen=True):
    """Everything that must be known of a network beside its weights."""

    name: Name
    task: Task
    input: InputSettings
    threshold: Probability
    """On the probability: from it on a pixel is lung, an X-ray COVID-19, an image frontal."""
    format: Literal[2] = 2
    network: str = ""
    """Its architecture, by the name of `lungsight.networks`."""
    version: str = "1"
    file: str = ""
    sha256: str = ""
    """Of the ONNX file."""
    outputs: tuple[str, ...] = ()
    """Names of the ONNX outputs."""
    classes: tuple[str, ...] = ()
    """Names of the channels of its first output. gate: codes of `wording.GateClass`, 'frontal' passes; lungs: of
    `full`, `visible`, `heart` those that it marks, none named: the lungs in `convention`."""
    convention: Convention | None = None
    """lungs: what its mask shows where nothing else is asked for: lungs with what heart and diaphragm hide (full),
    or as far as they are seen beside them (visible)."""
    calibration: Calibration | None = None
    outlier_limit: Annotated[float, Meta(gt=0)] | None = None
    """lungs: distance of the output 'outlier' above which an image is unlike those that the network learned from."""
    heart_threshold: Probability = 0.5
    """lungs: on the probability of the class 'heart', where it has one: from it on a pixel is heart."""
    half_width: Annotated[float, Meta(ge=0)] | None = None
    """severity: half of the width of the 90 % interval of the total score."""
    trained_on: tuple[TrainedOn, ...] = ()
    start: str = ""
    """What its training started from, where that was not noise."""
    recipe: str = ""
    """The resolved recipe, TOML."""
    command: str = ""
    """The command that made the file."""
    commit: str = ""
    seed: int = 0
    metrics: dict[str, Any] = field(default_factory=dict)
    limits: tuple[str, ...] = ()
    licence: str = ""
    created: str = ""

    old_names: ClassVar = {"figures": "metrics", "data": "trained_on"}

    @classmethod
    def upgrade(cls, values: dict[str, Any]) -> dict[str, Any]:
        if values.get("format", 1) != 1:
            return values
        changed = values | {"format": FORMAT}
        if isinstance(data := values.get("trained_on"), dict):
            changed["trained_on"] = [data] if any(data.values()) else []
        if isinstance(names := values.get("classes"), list | tuple):
            changed["classes"] = [
                OLD_GATE_CLASSES.get(name, name) if isinstance(name, str) else name for name in names
            ]
        if values.get("task") == "lungs":
            changed.setdefault("convention", "full")  # all that was trained before was trained on V7's masks
        return changed

    def __post_init__(self) -> None:
        # A card must not lead out of its folder.
        if self.file not in ("", f"{self.name}.onnx"):
            raise ValueError("file must be NAME.onnx, with the card's name")
        if self.task != "diagnosis" and (self.input.preprocessing != "resize" or any(self.input.crop)):
            raise ValueError("input.preprocessing must be 'resize' without crop, but for diagnosis")
        if self.task == "gate" and GateClass.FRONTAL not in self.classes:
            raise ValueError("classes must be a list with 'frontal' for a gate")
        if (self.task == "severity") != (self.input.channels == 7):
            raise ValueError("input.channels must be 7 for severity and for nothing else")
        if self.convention is not None and (
            self.task != "lungs" or (self.classes and self.convention not in self.classes)
        ):
            raise ValueError("convention must be that of a lung network, and one of its classes")

    def channel(self, name: str) -> int:
        """Where a class stands among the channels of the first output; 0 where it is the one thing that it marks.

        Raises:
            ModelError: the network does not give it.
        """
        names = self.classes or ((self.convention or "full",) if self.task == "lungs" else ())
        if name not in names:
            raise ModelError(
                f"the network {self.name} gives no {name!r}",
                code="no_such_output",
                hint=f"It gives {', '.join(names)}" if names else None,
            )
        return names.index(name)
