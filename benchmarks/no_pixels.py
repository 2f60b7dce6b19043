"""What is known of the target without a pixel, within one source: the table of docs/honesty.md.

    python benchmarks/no_pixels.py DATA/v7-cxr-224 --source ieee8023

Out of fold by patient; the folds are dealt `--deals` times with the seeds from `--seed` on, and only pairs that one
model scored are compared. Beside it the pooled AUROC of the mean scores, as is mostly given, which is biased downwards.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lungsight.dataset import read_dataset
from lungsight.evaluation import no_pixels
from lungsight.evaluation.records import GroupAuroc
from lungsight.evaluation.sources import no_pixel_models


def shown(found: GroupAuroc | None) -> str:
    """AUROC and its interval, '-' where no pair is left."""
    return "-" if found is None else found.auroc.format(2)


def main() -> None:
    """Read, fit and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--source", default="", help="Images of this source alone.")
    parser.add_argument("--deals", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    no_pixels.REPEATS = options.deals
    data = read_dataset(options.data)
    chosen = data.where(
        lambda row: row.covid is not None and (not options.source or row.source == options.source)
    )
    print(f"{len(chosen)} images, data {data.fingerprint()}, seed {options.seed}, {options.deals} deals")
    print("| model | within folds | within one sub-source | sub-sources left out | pooled over folds |")
    print("|---|---|---|---|---|")
    for one in no_pixel_models(chosen.rows, seed=options.seed):
        cells = (one.same_source, one.same_subsource, one.subsource_left_out, one.pooled_over_folds)
        print(f"| {one.model} | {' | '.join(map(shown, cells))} |", flush=True)


if __name__ == "__main__":
    main()
