"""How often each interval that a report prints holds the truth, by simulation.

    python benchmarks/coverage.py --out coverage             # every cell; a quarter of an hour on an idle core
    python benchmarks/coverage.py --out coverage --draws 200 # quicker; the standard error of 0.95 is then 0.015
    python benchmarks/coverage.py --out coverage --report    # print what is done
    python benchmarks/coverage.py --exact                    # Wilson's coverage for every truth, by summation

Scores are binormal; the truth of each metric is known by formula, or from two million draws. Designs: 41 patients with
the finding and 10 without; 200 and 200; the same numbers of patients with one to four images each, alike within a
patient; 5 patients. What depends on the fraction of positives (accuracy, Brier score, predictive values, AUPRC) is
drawn with that fraction by chance, the rest with the numbers held. Sensitivity and specificity are those of a
threshold that each draw takes from (0.3, 0.7): of ten patients a fraction has eleven values, and at one threshold
alone the coverage of any interval depends on where the truth lies between them (`--exact`). Each cell
is a file of its own: stopped, the same command does the rest. Needs `lungsight[train]`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from lungsight import metrics
from lungsight.evaluation.compute import REFERENCE_RATE
from lungsight.evaluation.crossvalidation import corrected_t, fold_aurocs
from lungsight.files import write_json
from lungsight.metrics import intervals
from lungsight.metrics.intervals import Interval, Patients

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Codes = NDArray[np.int64]

SEPARATION = 1.2
"""Distance of the two normals: an AUROC of 0.80."""
SLOPE, SHIFT = 0.8, -0.2
"""probability = sigmoid(SLOPE * score + SHIFT): not calibrated, so that the slope's truth is not 1."""
WITHIN = 0.6
"""Part of a score's variance that the images of a patient share."""
BIG = 2_000_000


@dataclass(frozen=True)
class Design:
    """So many patients of either class, with one image or one to four."""

    name: str
    positives: int
    negatives: int
    clustered: bool = False


DESIGNS = (
    Design("41 and 10 patients", 41, 10),
    Design("200 and 200 patients", 200, 200),
    Design("41 and 10 patients, 1 to 4 images", 41, 10, clustered=True),
    Design("200 and 200 patients, 1 to 4 images", 200, 200, clustered=True),
    Design("3 and 2 patients", 3, 2),
)


def draw_patients(design: Design, rng: np.random.Generator, *, held: bool) -> tuple[Bools, Codes]:
    """Labels and patients of images; `held`: the numbers of either class are those of the design."""
    count = design.positives + design.negatives
    truth = np.arange(count) < design.positives
    if not held:
        truth = rng.random(count) < design.positives / count
    images = rng.integers(1, 5, count) if design.clustered else np.ones(count, np.int64)
    return np.repeat(truth, images), np.repeat(np.arange(count), images)


def draw_scores(truth: Bools, who: Codes, rng: np.random.Generator) -> Floats:
    """Binormal scores of unit variance, of which images of one patient share `WITHIN`."""
    shared = rng.normal(size=int(who.max()) + 1)[who]
    own = rng.normal(size=truth.size)
    single = np.bincount(who).max() == 1
    noise = shared if single else math.sqrt(WITHIN) * shared + math.sqrt(1 - WITHIN) * own
    return noise + SEPARATION * truth


def probability(scores: Floats) -> Floats:
    """What a model that is not calibrated says."""
    return special.expit(SLOPE * scores + SHIFT)


def score_truths(design: Design) -> dict[str, float]:
    """The truth of every metric of a score."""
    share = design.positives / (design.positives + design.negatives)
    rng = np.random.default_rng(99)
    truth = rng.random(BIG) < share
    scores = rng.normal(size=BIG) + SEPARATION * truth
    chance = probability(scores)
    cut = -SHIFT / SLOPE
    sensitivity, specificity = special.ndtr(SEPARATION - cut), special.ndtr(cut)
    z = special.ndtri(REFERENCE_RATE)
    logits = SLOPE * scores + SHIFT
    large = optimize.brentq(lambda a: special.expit(logits + a).mean() - truth.mean(), -9, 9)
    ppv = share * sensitivity / (share * sensitivity + (1 - share) * (1 - specificity))
    npv = (1 - share) * specificity / ((1 - share) * specificity + share * (1 - sensitivity))
    area = float(special.ndtr(SEPARATION / math.sqrt(2)))
    return {
        "auroc": area,
        "same_source_auroc": area,
        "auprc": metrics.auprc(scores, truth),
        "accuracy": share * sensitivity + (1 - share) * specificity,
        "sensitivity": 0.0,
        "specificity": 0.0,
        "precision": float(ppv),
        "negative_predictive_value": float(npv),
        "sensitivity_at_95_specificity": float(special.ndtr(SEPARATION - z)),
        "specificity_at_95_sensitivity": float(special.ndtr(SEPARATION - z)),
        "brier": float(((chance - truth) ** 2).mean()),
        "calibration_slope": SEPARATION / SLOPE,
        "calibration_intercept": float(large),
        "auroc_difference": 0.0,
        "auprc_difference": 0.0,
        "brier_difference": 0.0,
    }


def about(interval: Interval, truth: float) -> Interval:
    """The interval less its truth, where each draw has a truth of its own."""
    low, high = interval.low - truth, interval.high - truth
    return msgspec.structs.replace(interval, value=interval.value - truth, low=low, high=high)


@contextlib.contextmanager
def however_few() -> Iterator[None]:
    """Intervals also of those draws in which a class happens to be so small that a report says 'too few'."""
    before = intervals.FEW_PATIENTS
    intervals.FEW_PATIENTS = 0
    try:
        yield
    finally:
        intervals.FEW_PATIENTS = before


def held_intervals(design: Design, rng: np.random.Generator) -> dict[str, Interval]:
    """Intervals of what does not depend on the fraction of positives, or is drawn at the design's own."""
    truth, who = draw_patients(design, rng, held=True)
    patients = Patients.of(who, truth.size)
    scores = draw_scores(truth, who, rng)
    at = (special.logit(rng.uniform(0.3, 0.7)) - SHIFT) / SLOPE
    called = scores >= at
    source = rng.integers(0, 2, int(who.max()) + 1)[who]
    noise = draw_scores(truth & False, who, rng), draw_scores(truth & False, who, rng)
    first, second = scores + 0.5 * noise[0], scores + 0.5 * noise[1]
    slope, _ = metrics.calibration_intervals(probability(scores), truth, patients=patients)
    return {
        "auroc": metrics.delong(scores, truth, patients=patients),
        "same_source_auroc": metrics.delong(scores + 2.0 * source, truth, patients=patients, groups=source),
        "sensitivity": about(
            metrics.fraction_interval(called, patients=patients, within=truth),
            special.ndtr(SEPARATION - at),
        ),
        "specificity": about(
            metrics.fraction_interval(~called, patients=patients, within=~truth), special.ndtr(at)
        ),
        "sensitivity_at_95_specificity": metrics.sensitivity_at_specificity_interval(
            scores, truth, REFERENCE_RATE, patients=patients
        ),
        "specificity_at_95_sensitivity": metrics.specificity_at_sensitivity_interval(
            scores, truth, REFERENCE_RATE, patients=patients
        ),
        "calibration_slope": slope,
        "auroc_difference": metrics.compare_delong(first, second, truth, patients=patients).difference,
    }


def free_intervals(design: Design, rng: np.random.Generator) -> dict[str, Interval]:
    """Intervals of what depends on the fraction of positives, which is drawn too."""
    truth, who = draw_patients(design, rng, held=False)
    patients = Patients.of(who, truth.size)
    scores = draw_scores(truth, who, rng)
    chance = probability(scores)
    called = chance >= 0.5
    # Of the whole table: that the classes happen to be small in one draw is no part of the question.
    whole = patients.cautions()
    noise = draw_scores(truth & False, who, rng), draw_scores(truth & False, who, rng)
    changed = [scores + 0.5 * one for one in noise]
    brier = [(probability(one) - truth) ** 2 for one in changed]
    enough = patients.count >= 2 * intervals.FEW_PATIENTS
    with however_few() if enough else contextlib.nullcontext():
        found = {
            "auprc": metrics.auprc_interval(scores, truth, patients=patients),
            "calibration_intercept": metrics.calibration_intervals(chance, truth, patients=patients)[1],
            "auprc_difference": metrics.compare_auprc(*changed, truth, patients=patients).difference,
        }
    return {
        **found,
        "accuracy": metrics.fraction_interval(called == truth, patients=patients),
        "precision": metrics.fraction_interval(truth, patients=patients, within=called, cautions=whole),
        "negative_predictive_value": metrics.fraction_interval(
            ~truth, patients=patients, within=~called, cautions=whole
        ),
        "brier": metrics.mean_interval((chance - truth) ** 2, patients=patients),
        "brier_difference": metrics.compare_means(*brier, patients=patients).difference,
    }


def draw_masks(who: Codes, rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Pixels in common, in one mask alone, and HD95; a patient's images are alike, sizes differ."""

    def mixed() -> Floats:
        return math.sqrt(WITHIN) * rng.normal(size=int(who.max()) + 1)[who] + math.sqrt(
            1 - WITHIN
        ) * rng.normal(size=who.size)

    size = np.exp(9.5 + 0.3 * mixed())
    wrong = np.exp(-2.6 + 0.6 * mixed())
    return size, size * wrong, np.exp(1.9 + 0.5 * mixed())


def mask_truths() -> dict[str, float]:
    """The truth of the metrics of masks."""
    common, apart, hd95 = draw_masks(np.arange(BIG), np.random.default_rng(98))
    dice = 2 * common / (2 * common + apart)
    return {
        "dice": float(dice.mean()),
        "hd95": float(hd95.mean()),
        "pooled_dice": float(2 * common.sum() / (2 * common + apart).sum()),
        "dice_difference": 0.0,
    }


def mask_intervals(design: Design, rng: np.random.Generator) -> dict[str, Interval]:
    """Intervals of the metrics of masks."""
    _, who = draw_patients(design, rng, held=True)
    patients = Patients.of(who, who.size)
    common, apart, hd95 = draw_masks(who, rng)
    dice = 2 * common / (2 * common + apart)
    noise = rng.normal(0, 0.01, (2, int(who.max()) + 1))[:, who]
    return {
        "dice": metrics.mean_interval(dice, patients=patients),
        "hd95": metrics.mean_interval(hd95, patients=patients, bounds=(0, math.inf)),
        "pooled_dice": metrics.ratio_interval(2 * common, 2 * common + apart, patients=patients),
        "dice_difference": metrics.compare_means(*(dice + noise), patients=patients).difference,
    }


def bootstrap_intervals(design: Design, rng: np.random.Generator) -> dict[str, Interval]:
    """What was printed before: the percentile bootstrap that holds the class fraction."""
    truth, who = draw_patients(design, rng, held=False)
    scores = draw_scores(truth, who, rng)
    if truth.all() or not truth.any():
        return {}
    found = metrics.bootstrap_all(
        {
            "auroc": metrics.auroc,
            "auprc": metrics.auprc,
            "accuracy": lambda s, t: float(((probability(s) >= 0.5) == t).mean()),
            "brier": lambda s, t: metrics.brier(probability(s), t),
        },
        scores,
        truth,
        patients=None if np.bincount(who).max() == 1 else who,
        labels=truth,
        replicates=200,
    )
    return {f"bootstrap_{name}": one for name, one in found.items()}


FEATURES, IMAGES, FOLDS, REPEATS = 20, 200, 5, 3


def fold_intervals(_: Design, rng: np.random.Generator) -> dict[str, Interval]:
    """The mean of folds of a linear discriminant that is trained anew in each draw."""
    inputs, truth = _features(IMAGES, rng)
    who = Patients.of(np.arange(IMAGES), IMAGES)
    logits, folds = np.empty((REPEATS, IMAGES)), np.empty((REPEATS, IMAGES), np.int64)
    for repeat in range(REPEATS):
        folds[repeat] = rng.permutation(IMAGES) % FOLDS
        for fold in range(FOLDS):
            test, chooses = folds[repeat] == fold, folds[repeat] == (fold + 1) % FOLDS
            logits[repeat, test] = inputs[test] @ _weights(inputs[~test & ~chooses], truth[~test & ~chooses])
    aurocs = fold_aurocs(logits, folds, truth)
    return {"auroc_folds": corrected_t(aurocs, FOLDS, IMAGES, who)}


def fold_truths() -> dict[str, float]:
    """The mean AUROC of discriminants trained on as many images as a fold's."""
    rng = np.random.default_rng(97)
    found = []
    for _ in range(3000):
        weights = _weights(*_features(IMAGES * (FOLDS - 2) // FOLDS, rng))
        shift = 0.25 * weights.sum() / math.sqrt(float(weights @ weights))
        found.append(special.ndtr(shift / math.sqrt(2)))
    return {"auroc_folds": float(np.mean(found))}


def _features(images: int, rng: np.random.Generator) -> tuple[Floats, Bools]:
    truth = rng.random(images) < 0.5
    return rng.normal(size=(images, FEATURES)) + 0.25 * truth[:, np.newaxis], truth


def _weights(inputs: Floats, truth: Bools) -> Floats:
    one, other = inputs[truth], inputs[~truth]
    spread = np.cov(np.concatenate((one - one.mean(0), other - other.mean(0))).T) + 0.05 * np.eye(FEATURES)
    return np.asarray(np.linalg.solve(spread, one.mean(0) - other.mean(0)))


Drawer = Callable[[Design, np.random.Generator], dict[str, Interval]]
KINDS: dict[str, tuple[Drawer, Callable[[Design], dict[str, float]]]] = {
    "held": (held_intervals, score_truths),
    "free": (free_intervals, score_truths),
    "masks": (mask_intervals, lambda _: mask_truths()),
    "bootstrap": (
        bootstrap_intervals,
        lambda design: {f"bootstrap_{name}": value for name, value in score_truths(design).items()},
    ),
}


def cells(*, before: bool = True) -> Iterator[tuple[str, Design]]:
    """Every cell: kind and design; `before`: with the bootstrap that was printed before, to compare with."""
    for design in DESIGNS:
        for kind in KINDS:
            if kind != "bootstrap" or (before and design.name == DESIGNS[0].name):
                yield kind, design
    yield "folds", Design(f"{IMAGES} patients, {FOLDS} folds x {REPEATS}", IMAGES // 2, IMAGES // 2)


def measure(kind: str, design: Design, draws: int) -> dict[str, dict[str, float]]:
    """Name -> coverage, how often it lies below and above, mean width, how often 'too few' or n/a."""
    drawer, truths_of = KINDS.get(kind, (fold_intervals, lambda _: fold_truths()))
    truths = truths_of(design)
    found: dict[str, list[Interval]] = {}
    for seed in range(draws):
        for name, interval in drawer(design, np.random.default_rng((seed, len(kind)))).items():
            found.setdefault(name, []).append(interval)
    table = {}
    for name, given_in in found.items():
        # An end that does not exist is infinite, one that was left out is NaN.
        low, high = (np.array([getattr(one, end) for one in given_in]) for end in ("low", "high"))
        given = ~np.isnan(low) & ~np.isnan(high)
        truth = truths[name]
        low, high = low[given], high[given]
        table[name] = {
            "truth": truth,
            "coverage": float(((low <= truth) & (truth <= high)).mean()) if given.any() else math.nan,
            "too_low": float((high < truth).mean()) if given.any() else math.nan,
            "too_high": float((low > truth).mean()) if given.any() else math.nan,
            "width": float(np.median(high - low)) if given.any() else math.nan,
            "too_few": float(np.mean([one.too_few for one in given_in])),
            "not_given": float(np.mean(~given)),
            "draws": len(given_in),
        }
    return table


def matrix(folder: Path) -> str:
    """The coverages in Markdown, a line a metric, a column a design; draws in brackets, '-' where not done."""
    found: dict[str, dict[str, str]] = {}
    for kind, design in cells():
        file = folder / f"{kind}-{design.name.replace(' ', '_').replace(',', '')}.json"
        for name, one in json.loads(file.read_text("utf-8")).items() if file.is_file() else ():
            said = "too few" if one["coverage"] is None else f"{one['coverage']:.3f} ({one['draws']})"
            found.setdefault(name, {})[design.name] = said
    names = [design.name for design in DESIGNS]
    lines = [f"| coverage of 0.95 | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for metric, values in found.items():
        shown = [values.get(name, "-") for name in names]
        others = [f"{name}: {value}" for name, value in values.items() if name not in names]
        lines.append(f"| {metric.replace('_', ' ')} | {' | '.join(others or shown)} |")
    return "\n".join(lines)


def report(folder: Path) -> str:
    """The table in Markdown, a line a metric and design."""
    lines = [
        "| metric | patients | coverage | too low / too high | median width | too few |",
        "|---|---|---|---|---|---|",
    ]
    for kind, design in cells():
        file = folder / f"{kind}-{design.name.replace(' ', '_').replace(',', '')}.json"
        if not file.is_file():
            continue
        for name, one in json.loads(file.read_text("utf-8")).items():
            if one["coverage"] is None:
                lines.append(f"| {name} | {design.name} | - | - | - | {one['too_few']:.2f} |")
                continue
            lines.append(
                f"| {name} | {design.name} | {one['coverage']:.3f} | {one['too_low']:.3f} / {one['too_high']:.3f} | "
                f"{one['width']:.3f} | {one['too_few']:.2f} |"
            )
    return "\n".join(lines)


def exact() -> str:
    """Coverage of Wilson's interval of a fraction of n, over truths from 0.05 to 0.95, by summation."""
    truths = np.linspace(0.05, 0.95, 361)
    lines = ["| of | mean | least | most | truths with 0.92 to 0.98 |", "|---|---|---|---|---|"]
    for count in (10, 41, 200):
        hits = np.arange(count + 1)
        low, high = metrics.linear.wilson_bounds(hits, np.full(count + 1, count))
        held = np.array([stats.binom.pmf(hits, count, p)[(low <= p) & (p <= high)].sum() for p in truths])
        good = float(((held >= 0.92) & (held <= 0.98)).mean())
        lines.append(f"| {count} | {held.mean():.3f} | {held.min():.3f} | {held.max():.3f} | {good:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure every cell that is not done."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("coverage"))
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--draws", type=int, default=400, help="five times as many for what is quick")
    parser.add_argument("--before", action="store_true", help="also the bootstrap of before")
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    if options.exact:
        print(exact())
        return
    if not options.report:
        for kind, design in cells(before=options.before):
            file = options.out / f"{kind}-{design.name.replace(' ', '_').replace(',', '')}.json"
            if not file.is_file():
                # Calibration is slow, and so is the bootstrap.
                draws = options.draws * (5 if kind in ("masks", "folds") else 1)
                print(f"{kind}: {design.name}, {draws} draws", flush=True)
                write_json(file, measure(kind, design, draws))
    print(matrix(options.out), report(options.out), sep="\n\n")


if __name__ == "__main__":
    main()
