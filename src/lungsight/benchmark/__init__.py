"""The cited systems on one bench: the same patients, the same folds, and what is left within one source."""

from lungsight.benchmark.bench import run_benchmark
from lungsight.benchmark.records import Bench, SystemResult, read_bench
from lungsight.benchmark.systems import SYSTEMS, System, choose_systems

__all__ = ["SYSTEMS", "Bench", "System", "SystemResult", "choose_systems", "read_bench", "run_benchmark"]
