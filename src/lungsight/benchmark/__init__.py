"""The cited systems on one bench: the same patients, the same folds, and what is left within one source."""

from lungsight.benchmark.bench import Bench, SystemResult, run_benchmark
from lungsight.benchmark.systems import SYSTEMS, System, choose_systems

__all__ = ["SYSTEMS", "Bench", "System", "SystemResult", "choose_systems", "run_benchmark"]
