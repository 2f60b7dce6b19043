"""What is said of films of another hospital that have no COVID-19, with intervals over patients.

lungsight predict $DATA/other-hospitals/nih/images --out runs/nih --no-overlay
python benchmarks/false_calls.py --data $DATA/other-hospitals/nih --results runs/nih/results.csv --finding "No Finding"
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lungsight.dataset.read import read_dataset
from lungsight.inference.record import ResultRecord
from lungsight.metrics import bootstrap
from lungsight.wording import Decision, Status
from lungsight.writers.results import read_results


def main() -> None:
    """Count, and print a line a question."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True, help="results.csv of lungsight predict")
    parser.add_argument("--finding", help="films of this finding alone")
    arguments = parser.parse_args()
    patients = {
        Path(row.image).resolve(): row.patient or row.id
        for row in read_dataset(arguments.data)
        if arguments.finding in (None, row.finding)
    }
    rows = [row for row in read_results(arguments.results) if Path(row.input).resolve() in patients]
    who = [patients[Path(row.input).resolve()] for row in rows]
    print(f"{len(rows)} films of {len(set(who))} patients")
    shares: dict[str, Callable[[ResultRecord], bool]] = {
        "refused": lambda row: row.status is Status.REFUSED,
        "called COVID-19": lambda row: row.decision is Decision.COVID,
        "cannot tell": lambda row: row.decision is Decision.UNCERTAIN,
        "called not COVID-19": lambda row: row.decision is Decision.NOT_COVID,
        "with a severity": lambda row: row.severity is not None,
        "with a cardiothoracic ratio": lambda row: row.cardiothoracic_ratio is not None,
    }
    for name, holds in shares.items():
        told(name, [float(holds(row)) for row in rows], who)
    for name in ("severity", "cardiothoracic_ratio"):
        given = [(getattr(row, name), one) for row, one in zip(rows, who, strict=True)]
        values = [(value, one) for value, one in given if value is not None]
        if values:
            told(f"mean {name}", *map(list, zip(*values, strict=True)))
            print(f"    median {np.median([value for value, _ in values]):.3f}")


def told(name: str, values: list[float], patients: list[str]) -> None:
    """A mean with its 95 % interval by bootstrap over patients."""
    found = bootstrap(lambda some: float(some.mean()), np.array(values), patients=patients)
    print(f"{name}: {found.value:.3f} ({found.low:.3f} to {found.high:.3f})")


if __name__ == "__main__":
    main()
