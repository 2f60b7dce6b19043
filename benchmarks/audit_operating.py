"""How often the audit gives which answer: scorers of known kind on drawn X-rays with known shortcuts.

    python benchmarks/audit_operating.py --out operating --first 100 --last 149    # 5 data sets x 6 scorers x 50 seeds
    python benchmarks/audit_operating.py --out operating --planted   # planted shortcuts of seven kinds, five strengths
    python benchmarks/audit_operating.py --out operating --report    # print what is done

Every X-ray is drawn once, at 64 pixels, and kept in the folder; a data set draws its images, sources and looks from
these. Each pair of lungs stands in the background of another X-ray, drawn by lot, and the look of a source (a border
and a marker) lies outside the lungs, so that what a scorer uses is known. Each fifty seeds have their own X-rays. The
rules were changed after seeds 0 to 58 had been seen (contrast decides nothing since 50 to 58; intervals out of fold are
wider since 0 to 49); seeds 100 to 149 are the ones to report.
Stopped, the same command does the rest. Needs `lungsight[train]`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lungsight.audit import regions, retraining, steps
from lungsight.audit.audited import Audited
from lungsight.audit.perturb import CHANGES
from lungsight.audit.probe import ridge_weights
from lungsight.audit.records import Change, Leakage, Settings, SourceStep, Transplant, Verdict
from lungsight.audit.statistics import patients_of, truth_of
from lungsight.audit.store import Store
from lungsight.audit.transplant import draw_donors, transplanted
from lungsight.audit.verdict import decide
from lungsight.dataset.table import Dataset, Row
from lungsight.phantom import draw
from lungsight.preprocess import dilate
from lungsight.progress import silent
from lungsight.wording import DataAnswer, ImageChange, Property, Region, ScoreAnswer

Images = NDArray[np.uint8]
Masks = NDArray[np.bool_]
Features = dict[Region, NDArray[np.float32]]

POOL = 500
"""X-rays drawn for each fifty seeds."""
IMAGES, TRAINING = 200, 250
"""Images that an audit sees, and others that a scorer is trained on."""
SETTINGS = Settings(px=32, folds=5, probe="linear", images=IMAGES, perturbed=IMAGES)
SEEDS, HALF = 150, 50
KINDS = ("source = class", "75 %", "two clean sources", "40 clean sources", "case mix")
SCORERS = ("lungs only", "background only", "border", "mix", "random", "severity")
USES_BACKGROUND = ("background only", "border", "mix")
PLANTED = ("marker", "border", "contrast", "sharpness", "crop", "size", "ramp")
HELD_OUT = "ramp"
"""A kind of shortcut that was written after the rules and never tried while they were set."""
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
SEEN = (Region.LUNGS, Region.LUNGS_BLACK, Region.BORDER)
ALARM = (ScoreAnswer.TAKEN, ScoreAnswer.EXPLAINED)
OFFERED = (DataAnswer.OFFERED, DataAnswer.AS_GOOD_AS_THE_IMAGE)


@dataclass(frozen=True)
class Pool:
    """Drawn X-rays: images and masks (N, 64, 64), whether COVID-19 or ill, and how severe."""

    images: Images
    masks: Masks
    covid: NDArray[np.bool_]
    ill: NDArray[np.bool_]
    severity: NDArray[np.float64]


def load_pool(folder: Path, half: int, count: int = POOL) -> Pool:
    """Draw the X-rays of one fifty of the seeds, or read them; kept in blocks of 50."""
    blocks = []
    for start in range(0, count, 50):
        path = folder / f"pool-{half}-{start}.npz"
        if not path.is_file():
            drawn = [_drawn(half, index) for index in range(start, start + 50)]
            temporary = path.with_suffix(".part.npz")
            np.savez_compressed(temporary, **{k: np.stack([one[k] for one in drawn]) for k in drawn[0]})
            temporary.replace(path)
        with np.load(path) as block:
            blocks.append({name: block[name] for name in block})
    whole = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    severity = severity_of(whole["image"], whole["mask"])
    return Pool(whole["image"], whole["mask"], whole["covid"], whole["ill"], severity)


def severity_of(images: Images, masks: Masks) -> NDArray[np.float64]:
    """(N,) how much brighter the lower half of the lungs is than the upper one: looks at the lungs alone."""
    found = np.zeros(len(images))
    for index, (image, mask) in enumerate(zip(images, masks, strict=True)):
        rows = np.flatnonzero(mask.any(axis=1))
        if len(rows) > 2:
            middle = (rows[0] + rows[-1]) // 2
            upper, lower = image[:middle][mask[:middle]], image[middle:][mask[middle:]]
            found[index] = lower.mean() - upper.mean()
    return found


def _drawn(half: int, index: int) -> dict[str, NDArray[np.generic]]:
    covid = index % 2 == 0
    other = ("normal", "bacterial pneumonia", "normal", "viral pneumonia")[index // 2 % 4]
    finding = "COVID-19" if covid else other
    rng = np.random.default_rng((2026, half, index))
    phantom = draw(rng, hospital="north", covid=covid, finding=finding, size=64)
    ill = finding != "normal"
    return {"image": phantom.pixels, "mask": phantom.mask, "covid": np.array(covid), "ill": np.array(ill)}


def choose(pool: Pool, kind: str, rng: np.random.Generator, strength: float = 1.0) -> tuple[NDArray, NDArray]:
    """(N,) indices into the pool and (N,) source of each, N = images of an audit and of training."""
    count = IMAGES + TRAINING
    if kind == "case mix":
        # Hospital 0 has more of the disease, the severe cases, and the ill among the others; hospital 1 the rest.
        severe = pool.severity > np.median(pool.severity[pool.covid])
        first = np.where(pool.covid, np.where(severe, 0.95, 0.6), np.where(pool.ill, 0.5, 0.1))
        chosen = rng.permutation(len(pool.covid))[:count]
        return chosen, (rng.random(count) >= first[chosen]).astype(int)
    chosen = rng.permutation(len(pool.covid))[:count]
    if kind == "40 clean sources":
        return chosen, rng.integers(0, 40, count)
    agree = {"source = class": 1.0, "75 %": 0.75, "two clean sources": 0.5}.get(kind, (1 + strength) / 2)
    return chosen, np.where(rng.random(count) < agree, pool.covid[chosen], ~pool.covid[chosen]).astype(int)


def with_looks(images: Images, masks: Masks, source: NDArray, rng: np.random.Generator) -> Images:
    """Give each image the look of its source: grey of the border and a marker, outside the lungs alone."""
    names = int(source.max()) + 1
    offset = np.linspace(-20, 20, names)[rng.permutation(names)]
    spots = rng.integers(2, 12, (names, 2))
    found = images.copy()
    ring = regions.border((images.shape[1], images.shape[2]))
    for index, mask in enumerate(masks):
        free = ~dilate(mask, 3 / 64)
        shown = found[index].astype(np.float32)
        shown[ring & free] += offset[source[index]] + rng.normal(0, 12)
        top, left = spots[source[index]]
        marker = np.zeros_like(mask)
        marker[top : top + 5, left : left + 5] = rng.random() < 0.9
        shown[marker & free] = 245
        found[index] = np.clip(shown, 0, 255)
    return found


def plant(
    kind: str, images: Images, masks: Masks, source: NDArray, rng: np.random.Generator
) -> tuple[Images, Masks]:
    """One kind of difference between source 0 and 1, with overlap; `sharpness`, `size` reach into the lungs too."""
    found, lungs = images.copy(), masks.copy()
    for index, one in enumerate(source):
        image, mask = images[index].astype(np.float32), masks[index]
        free = ~dilate(mask, 3 / 64)
        amount = float(one) + rng.normal(0, 0.35)
        if kind == "marker":
            marker = np.zeros_like(mask)
            marker[3:9, 3 + 44 * int(one) : 12 + 44 * int(one)] = rng.random() < 0.9
            image[marker & free] = 245
        elif kind == "border":
            image[regions.border(mask.shape) & free] += 30 * (amount - 0.5)
        elif kind == "contrast":
            image = (image - 128) * (1 + 0.25 * (amount - 0.5)) + 128 + 20 * (amount - 0.5)
        elif kind == "sharpness":
            sigma = max(0.9 * amount, 0.0)
            image = cv2.GaussianBlur(image, (0, 0), sigma) if sigma > 0.2 else image
        elif kind == "ramp":
            # Brighter towards one side, as by the heel effect of a tube; lungs and background alike.
            image += 30 * (amount - 0.5) * np.linspace(-1, 1, image.shape[1], dtype=np.float32)
        else:
            # Crop: another cut of the same chest. Size: a smaller chest in the same field, as a child's.
            scale = 1 + (0.14 if kind == "crop" else -0.14) * amount
            shift = np.array([0.0, 4.0 * amount]) if kind == "crop" else np.zeros(2)
            matrix = cv2.getRotationMatrix2D((32, 32), 0, scale)
            matrix[:, 2] += shift
            image = cv2.warpAffine(image, matrix, (64, 64), borderMode=cv2.BORDER_REPLICATE)
            lungs[index] = (
                cv2.warpAffine(mask.astype(np.uint8), matrix, (64, 64), flags=cv2.INTER_NEAREST) > 0
            )
        found[index] = np.clip(image, 0, 255)
    return found, lungs


def features(images: Images, masks: Masks, seen: tuple[Region, ...] = SEEN) -> Features:
    """(N, 1024) of each region that a scorer sees, in [0, 1]."""
    return {
        region: regions.render(region, images, masks, 32).reshape(len(images), -1).astype(np.float32) / 255
        for region in seen
    }


def trained(
    name: str, seen: Features, truth: NDArray[np.bool_]
) -> Callable[[Features, Images, Masks], NDArray]:
    """A scorer, trained on (N,) images: a function of features, images and masks to (K,) scores."""

    def linear(region: Region) -> Callable[[Features, Images, Masks], NDArray]:
        weights, constant = ridge_weights(seen[region], truth)
        scale = max(float((seen[region] @ weights).std()), 1e-9)
        return lambda shown, images, masks: (shown[region] @ weights + constant) / scale

    if name == "mix":
        lungs, background = linear(Region.LUNGS), linear(Region.LUNGS_BLACK)
        return lambda *given: lungs(*given) + background(*given)
    if name == "random":
        chance = np.random.default_rng(int(seen[Region.LUNGS].sum()))
        return lambda shown, images, masks: chance.random(len(images))
    if name == "severity":
        return lambda shown, images, masks: severity_of(images, masks)
    of = {"lungs only": Region.LUNGS, "background only": Region.LUNGS_BLACK, "border": Region.BORDER}
    return linear(of.get(name, Region.WHOLE))


def verdicts(
    images: Images, masks: Masks, rows: list[Row], train: Features, known: NDArray, names: tuple[str, ...]
) -> dict[str, Verdict]:
    """The audit's verdict on each scorer; the data's own part is computed once."""
    dataset = Dataset(Path("phantoms"), "drawn", tuple(rows))
    probes = retraining.retrain(
        rows, images, masks, SETTINGS, Store(None), silent, (Region.WHOLE, Region.BORDER, Region.BACKGROUND)
    )
    probes += retraining.without_pixels(rows, SETTINGS)
    donors = draw_donors(truth_of(rows), patients_of(rows), SETTINGS.seed)
    changed = {
        key: (np.stack([CHANGES[key](i, m)[0] for i, m in zip(images, masks, strict=True)]), masks)
        for key in (ImageChange.LUNGS_BLACK, ImageChange.BORDER)
    }
    given = {Property.BACKGROUND: transplanted(Property.BACKGROUND, images, masks, donors)}
    seen = tuple(train)
    plain = features(images, masks, seen)
    of_changed = {key: features(*both, seen) for key, both in changed.items()}
    of_given = {key: features(*both, seen) for key, both in given.items()}
    leaks, found = Leakage(True, (), 0, len(rows), ()), {}
    for name in names:
        score = trained(name, train, known)
        before = score(plain, images, masks)
        everything = np.arange(len(rows))
        audited = Audited(
            name, "", dataset, images, masks, everything, "test", {}, None, float(np.median(before)), before
        )
        changes: list[Change] = [
            steps.change_record(key, rows, before, score(of_changed[key], *both), audited.threshold)
            for key, both in changed.items()
        ]
        transplants: list[Transplant] = [
            steps.transplant_record(key, rows, before, score(of_given[key], *both), donors)
            for key, both in given.items()
        ]
        described = steps.describe_score(audited, before, SETTINGS)
        found[name] = decide(described, changes, transplants, probes, SourceStep((), (), ()), leaks)
    return found


def rows_of(truth: NDArray, source: NDArray, ill: NDArray, start: int) -> list[Row]:
    """A row for each image; one image a patient."""
    findings = np.where(truth, "COVID-19", np.where(ill, "pneumonia", "normal"))
    return [
        Row(f"{start + i}", Path("x"), source=f"s{s}", patient=f"p{start + i}", covid=bool(y), finding=str(f))
        for i, (y, s, f) in enumerate(zip(truth, source, findings, strict=True))
    ]


def one_cell(pool: Pool, kind: str, seed: int, strength: float | None = None) -> dict[str, dict[str, object]]:
    """The verdict on every scorer for one data set."""
    rng = np.random.default_rng((seed, (*KINDS, *PLANTED).index(kind), int(100 * (strength or 0))))
    chosen, source = choose(pool, kind, rng, strength or 0.0)
    masks, truth = pool.masks[chosen], pool.covid[chosen]
    # Everybody's lungs in somebody else's background: what is outside them cannot tell the class.
    other = np.roll(rng.permutation(len(chosen)), 1)
    images, _ = transplanted(Property.BACKGROUND, pool.images[chosen], masks, other)
    if strength is None:
        images, names = with_looks(images, masks, source, rng), SCORERS
    else:
        (images, masks), names = plant(kind, images, masks, source, rng), ("whole image", "lungs only")
    cut = len(chosen) - min(IMAGES, len(chosen) // 2)
    rows = rows_of(truth[cut:], source[cut:], pool.ill[chosen][cut:], cut)
    seen = SEEN if strength is None else (Region.WHOLE, Region.LUNGS)
    train = features(images[:cut], masks[:cut], seen)
    found = verdicts(images[cut:], masks[cut:], rows, train, truth[:cut], names)
    return {
        name: {
            "data": str(one.data),
            "score": str(one.score),
            "auroc": {
                str(item.key): [round(item.estimate.auroc.value, 4), item.holds]
                for item in one.criteria
                if item.estimate is not None
            },
        }
        for name, one in found.items()
    }


def cells(planted: bool, seeds: range) -> Iterator[tuple[str, float | None, int]]:
    """What there is to do, seeds in the outer loop: a part of it is already of use."""
    for seed in seeds:
        if planted:
            yield from ((kind, strength, seed) for kind in PLANTED for strength in STRENGTHS)
        else:
            yield from ((kind, None, seed) for kind in KINDS)


def run(out: Path, planted: bool, seeds: range, minutes: float) -> None:
    """Do the cells that are not done yet."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / ("planted.jsonl" if planted else "table.jsonl")
    done = {(one["kind"], one["strength"], one["seed"]) for one in read(path)}
    pools: dict[int, Pool] = {}
    begun = time.monotonic()
    for kind, strength, seed in cells(planted, seeds):
        if (kind, strength, seed) in done:
            continue
        half = seed // HALF
        if half not in pools:
            pools[half] = load_pool(out, half)
        start = time.process_time()
        found = one_cell(pools[half], kind, seed, strength)
        seconds = round(time.process_time() - start, 2)
        line = {"kind": kind, "strength": strength, "seed": seed, "cpu_seconds": seconds, "answers": found}
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        if time.monotonic() - begun > 60 * minutes:
            break


def read(path: Path) -> list[dict]:
    """Lines that are whole."""
    found = []
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def report(out: Path, seeds: range) -> None:
    """Print how often each answer was given, in percent."""
    lines = [one for one in read(out / "table.jsonl") if one["seed"] in seeds]
    print(f"seeds {seeds.start} to {seeds.stop - 1}: {len(lines)} data sets, "
          f"{sum(one['cpu_seconds'] for one in lines):.0f} s of CPU")  # fmt: skip
    for kind in KINDS:
        here = [one for one in lines if one["kind"] == kind]
        if not here:
            continue
        offered = np.mean([one["answers"]["random"]["data"] in OFFERED for one in here])
        print(f"\n{kind}: {len(here)} data sets; the data offer a shortcut: {offered:.0%}")
        for name in SCORERS:
            counts = Counter(one["answers"][name]["score"] for one in here)
            print(f"  {name:16}", "  ".join(f"{a!s} {counts[a] / len(here):4.0%}" for a in ScoreAnswer))
    planted = [one for one in read(out / "planted.jsonl") if one["seed"] in seeds]
    for kind in PLANTED if planted else ():
        for name in ("whole image", "lungs only"):
            rates = []
            for strength in STRENGTHS:
                here = [
                    one["answers"][name]
                    for one in planted
                    if (one["kind"], one["strength"]) == (kind, strength)
                ]
                taken = np.mean([one["score"] in ALARM for one in here]) if here else float("nan")
                rates.append(f"{taken:4.0%} of {len(here)}")
            print(f"{kind:10} {name:12} taken at {STRENGTHS}:", "  ".join(rates))


def markdown(out: Path, seeds: range) -> None:
    """Print the table of docs/honesty.md: counts of 'offered', and of 'taken' or 'explained', by data and scorer."""
    lines = [one for one in read(out / "table.jsonl") if one["seed"] in seeds]
    print(f"| data | a shortcut is offered | {' | '.join(SCORERS)} |")
    print("| --- " * (len(SCORERS) + 2) + "|")
    false, found = [0, 0], [0, 0]
    for kind in KINDS:
        here = [one["answers"] for one in lines if one["kind"] == kind]
        offered = sum(one["random"]["data"] in OFFERED for one in here)
        cells = [f"{offered} of {len(here)}"]
        for name in SCORERS:
            alarms = sum(one[name]["score"] in ALARM for one in here)
            takes = name in USES_BACKGROUND and "clean" not in kind
            counted = found if takes else false
            counted[0], counted[1] = counted[0] + alarms, counted[1] + len(here)
            cells.append(f"**{alarms} of {len(here)}**" if takes else f"{alarms} of {len(here)}")
        print(f"| {kind} | {' | '.join(cells)} |")
    print(f"\n{len(lines)} data sets: {false[0]} of {false[1]} false, {found[0]} of {found[1]} found")


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--planted", action="store_true")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--last", type=int, default=SEEDS - 1)
    parser.add_argument("--minutes", type=float, default=600)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    seeds = range(given.first, given.last + 1)
    if given.report:
        report(given.out, seeds)
        markdown(given.out, seeds)
    else:
        run(given.out, given.planted, seeds, given.minutes)


if __name__ == "__main__":
    main()
