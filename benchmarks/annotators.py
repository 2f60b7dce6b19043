"""How far two annotations of one image agree: films that a data set holds twice, pixel for pixel the same.

    python benchmarks/annotators.py /data/v7-cxr-224
    python benchmarks/annotators.py /data/v7-cxr-224 /data/ieee8023-radiologists   # by original file name

With a second data set the images of one `original_filename` are compared, whatever their pixels.
"""

from __future__ import annotations

import argparse
import hashlib
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import numpy as np

from lungsight.dataset import read_dataset
from lungsight.dataset.table import Row
from lungsight.metrics import bootstrap
from lungsight.preprocess import resize_mask
from lungsight.xray import read_xray

SIZE = (256, 256)


def main() -> None:
    """Find the pairs and print their agreement, by source."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("second", type=Path, nargs="?")
    arguments = parser.parse_args()
    first = [row for row in read_dataset(arguments.data) if row.mask is not None]
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in first:
        groups[row.original_filename if arguments.second else digest(row)].append(row)
    pairs = [pair for rows in groups.values() for pair in combinations(rows, 2)]
    if arguments.second:
        second = [row for row in read_dataset(arguments.second) if row.mask is not None]
        pairs = [(one, row) for row in second for one in groups.get(row.original_filename, ())]
    values = np.array([dice(*pair) for pair in pairs])
    for source in ("", *sorted({one.source for one, _ in pairs})):
        chosen = np.array([not source or one.source == source for one, _ in pairs])
        patients = [one.patient or one.id for (one, _), taken in zip(pairs, chosen, strict=True) if taken]
        agreement = bootstrap(lambda some: float(some.mean()), values[chosen], patients=patients)
        print(
            f"{source or 'all':12} {int(chosen.sum())} pairs of {len(set(patients))} patients: Dice {agreement}"
        )
        print(f"{'':12} worst {values[chosen].min():.3f}, identical masks {int((values[chosen] == 1).sum())}")


def digest(row: Row) -> str:
    """Of the pixels as they are decoded."""
    pixels = read_xray(row.image).pixels
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def dice(one: Row, other: Row) -> float:
    """Of two annotations at 256 x 256."""
    assert one.mask is not None and other.mask is not None
    first, second = resize_mask(one.mask.load(), SIZE), resize_mask(other.mask.load(), SIZE)
    return float(2 * (first & second).sum() / max(int(first.sum() + second.sum()), 1))


if __name__ == "__main__":
    main()
