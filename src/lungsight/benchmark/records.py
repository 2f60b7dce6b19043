"""The benchmark's table as records, which go to `benchmark.json` and come back."""

from __future__ import annotations

import math
from pathlib import Path

from lungsight.audit.records import Probe
from lungsight.benchmark.figures import Estimate
from lungsight.dataset.table import COVID_TARGET, Target
from lungsight.errors import ConfigError
from lungsight.records import Record, from_json


class SystemResult(Record, frozen=True):
    """One line of the table."""

    name: str
    title: str
    start: str
    """What it started from here."""
    own_start: str
    """What its own paper started from."""
    parameters: int
    gflop: float
    """Of one image, multiplications and additions."""
    size: tuple[int, int]
    width: float
    epochs: int
    """Of the fold that got fewest."""
    views: int
    """Images shown to the network of one fold in training, at most."""
    headline: str
    headline_estimate: Estimate
    pooled: Estimate
    same_source: Estimate
    border: Estimate
    lungs_black: Estimate
    accuracy: Estimate
    brier: Estimate
    calibration_slope: Estimate
    """1 is right, below 1 the probabilities are too extreme."""
    ece: float
    """Expected calibration error over ten bins, without an interval."""
    seconds_train: float
    """An image and epoch, with its share of validation."""
    seconds_predict: float
    """An image."""
    external: Estimate | None = None
    """AUROC on the second data set, of the mean of the folds' networks."""
    p_pooled: float = math.nan
    """Against the first system of the table: DeLong's paired test by patient, Holm-corrected."""
    p_same_source: float = math.nan
    """The same within one source."""


class Bench(Record, frozen=True):
    """The whole table."""

    data: str
    fingerprint: str
    images: int
    patients: int
    of_images: int
    """In the table that was given, with a mask and a label."""
    folds: int
    seed: int
    majority: float
    """Accuracy of 'always the majority'."""
    reduced: bool
    """Size, width, optimiser and epochs are ours and not the papers'."""
    systems: tuple[SystemResult, ...]
    retrained: tuple[Probe, ...] = ()
    """One small network, trained on a part of the images: what the data offer."""
    budget: float | None = None
    """Minutes."""
    minutes: float = 0.0
    """That training and scoring took, of all runs of the command together."""
    external_data: str = ""
    external_images: int = 0
    external_patients: int = 0
    commit: str = ""
    machine: str = ""
    command: str = ""
    target: Target = COVID_TARGET


def read_bench(folder: str | Path) -> Bench:
    """The table of a finished benchmark; raises ConfigError where there is none, or a damaged one."""
    path = Path(folder) / "benchmark.json"
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError("holds no benchmark", where=folder) from error
    return from_json(Bench, text, where=path)
