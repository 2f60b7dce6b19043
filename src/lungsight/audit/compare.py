"""Comparisons of scores as they are that keep the findings alike: what remains is shown, and decides nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lungsight.audit.statistics import Bools, Estimate, Floats, estimate_weighted, patients_of, truth_of
from lungsight.dataset.table import Row
from lungsight.metrics import FEW_PATIENTS

MOST_IMAGES = 4000
"""Pairs are weighed one by one: more images are drawn from at random."""


def finding_of(row: Row) -> str:
    """The finding, or whether it is the target where the table has none."""
    return row.finding or ("with the target" if row.positive else "without the target")


@dataclass(frozen=True)
class TwoSources:
    """Images of one finding from two sources.

    Attributes:
        indices: (K,) rows.
        first: (K,) True for the source with the larger fraction of the target.
        names: of the sources.
    """

    indices: NDArray[np.intp]
    first: Bools
    names: tuple[str, str]
    finding: str


def two_sources(rows: Sequence[Row], least: int = FEW_PATIENTS) -> TwoSources | None:
    """Images of one finding from two sources with `least` patients each; None where there are none.

    Of several findings the one whose smaller source has the most patients.
    """
    sources, truth, patients = np.array([row.source for row in rows]), truth_of(rows), patients_of(rows)
    findings = np.array([finding_of(row) for row in rows])
    best: tuple[int, TwoSources] | None = None
    for finding in np.unique(findings):
        here = findings == finding
        counts = {
            str(name): len(set(patients[here & (sources == name)])) for name in np.unique(sources[here])
        }
        large = sorted((name for name, count in counts.items() if count >= least), key=lambda n: -counts[n])[
            :2
        ]
        if len(large) < 2:
            continue
        fraction = {name: truth[sources == name].mean() for name in large}
        one, other = sorted(large, key=lambda name: -fraction[name])
        indices = np.flatnonzero(here & np.isin(sources, large))
        smaller = min(counts[one], counts[other])
        if best is None or smaller > best[0]:
            best = smaller, TwoSources(indices, sources[indices] == one, (one, other), str(finding))
    return best[1] if best else None


def within_finding(score: Floats, rows: Sequence[Row], seed: int) -> tuple[Estimate, Estimate] | None:
    """AUROC over pairs of one source, and over pairs of two sources, with the same mix of findings in both.

    Each pair of findings counts as much in the one as in the other, so that a source with easier cases does not
    make the difference.

    Returns:
        (one source, two sources), or None where no two findings meet in both ways.
    """
    if len(rows) > MOST_IMAGES:
        chosen = np.sort(np.random.default_rng((seed, 17)).choice(len(rows), MOST_IMAGES, replace=False))
        score, rows = score[chosen], [rows[i] for i in chosen]
    truth = truth_of(rows)
    sources = np.unique([row.source for row in rows], return_inverse=True)[1]
    findings = np.unique([finding_of(row) for row in rows], return_inverse=True)[1]
    same = sources[truth][:, None] == sources[~truth][None]
    cell = findings[truth][:, None] * (findings.max() + 1) + findings[~truth][None]
    size = int(cell.max()) + 1 if cell.size else 0
    inside, across = (np.bincount(cell[kind].ravel(), minlength=size) for kind in (same, ~same))
    shared = np.minimum(inside, across).astype(np.float64)
    if not shared.any():
        return None
    found = []
    for kind, count in ((same, inside), (~same, across)):
        weight = np.divide(shared, count, out=np.zeros_like(shared), where=count > 0)
        found.append(estimate_weighted(score, truth, patients_of(rows), weight[cell] * kind))
    return None if any(math.isnan(one.auroc.value) for one in found) else (found[0], found[1])
