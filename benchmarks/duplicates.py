"""How many copies of a film are found, and how many false pairs: `python benchmarks/duplicates.py FOLDER ...`.

Folders hold data sets that `lungsight data describe` reads. Images are dealt into two parts by a hash of their id, by
patient; limits of `lungsight.duplicates` were set on the part `tune`, and the part `report` is what this prints. Copies
are made of `--queries` images, one change each, and looked for among all images of the part: found means paired with
its original; `--queries 0` looks at the originals alone, `--part all` at both parts. False pairs are pairs of originals
of different patients; they are listed, to be looked at, since public sets hold true copies under two patients.

    python benchmarks/duplicates.py DATA/v7-cxr-224 DATA/other-hospitals/* --part report --queries 60
    python benchmarks/duplicates.py DATA/other-hospitals/nih DATA/other-hospitals/shenzhen --speed 100000

`--speed N` times each step for N images: describing and comparing on up to 2,000 real ones and one changed copy of
200 of them, the search on these and on descriptors that are drawn with the real ones' mean and covariance.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lungsight import duplicates
from lungsight.dataset import read_dataset
from lungsight.dataset.cache import load_arrays
from lungsight.duplicates import finder
from lungsight.duplicates.registration import agree

SHOWN_FROM = 0.6
"""Agreement from which pairs are kept, to show how far the limit lies from what it tells apart."""
Image = NDArray[np.uint8]
Change = Callable[[Image, np.random.Generator], Image]


def crop(image: Image, rng: np.random.Generator, fraction: float = 0.02) -> Image:
    """Cut `fraction` off each side."""
    height, width = image.shape
    down, across = round(fraction * height), round(fraction * width)
    return cv2.resize(image[down : height - down, across : width - across], (width, height))


def rotate(image: Image, rng: np.random.Generator, degrees: float = 2) -> Image:
    """Turn either way."""
    height, width = image.shape
    angle = degrees if rng.random() < 0.5 else -degrees
    return cv2.warpAffine(image, cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1), (width, height))


def clahe(image: Image, rng: np.random.Generator) -> Image:
    """Equalise locally."""
    return cv2.createCLAHE(float(rng.uniform(2, 4)), (8, 8)).apply(image)


def bars(image: Image, rng: np.random.Generator) -> Image:
    """Black or white bars, added around or painted over two sides."""
    height, width = image.shape
    thick, value = int(height * rng.uniform(0.03, 0.12)), int(rng.choice([0, 0, 255]))
    kind = rng.choice(["around", "top and bottom", "left and right"])
    out = image.copy()
    if kind == "around":
        padded = cv2.copyMakeBorder(out, thick, thick, 0, thick, cv2.BORDER_CONSTANT, value=value)
        return cv2.resize(padded, (width, height), interpolation=cv2.INTER_AREA)
    if kind == "top and bottom":
        out[:thick], out[-thick:] = value, value
    else:
        out[:, :thick], out[:, -thick:] = value, value
    return out


def text(image: Image, rng: np.random.Generator) -> Image:
    """One to three words in black or white."""
    out = image.copy()
    for _ in range(rng.integers(1, 4)):
        words = "".join(rng.choice(list("ABCLR0123456789"), int(rng.integers(3, 12))))
        place = int(rng.integers(0, out.shape[1] * 0.6)), int(rng.integers(15, out.shape[0] - 5))
        size, value = float(rng.uniform(0.4, 0.9)), int(rng.choice([255, 0]))
        cv2.putText(out, words, place, cv2.FONT_HERSHEY_SIMPLEX, size, value, 2)
    return out


def arrow(image: Image, rng: np.random.Generator) -> Image:
    """One to three arrows."""
    out = image.copy()
    for _ in range(rng.integers(1, 4)):
        tip = rng.integers(20, min(out.shape) - 20, 2)
        tail = tip + rng.integers(-50, 50, 2)
        start, stop = (int(tail[0]), int(tail[1])), (int(tip[0]), int(tip[1]))
        cv2.arrowedLine(out, start, stop, int(rng.choice([255, 0])), int(rng.integers(2, 5)), tipLength=0.4)
    return out


def jpeg(image: Image, rng: np.random.Generator) -> Image:
    """Quality 30 to 70."""
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 70))])
    return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)


CHANGES: dict[str, Change] = {
    "crop of 2 %": crop,
    "rotation of 2 degrees": rotate,
    "CLAHE": clahe,
    "equalisation": lambda image, rng: cv2.equalizeHist(image),
    "mirror": lambda image, rng: np.ascontiguousarray(image[:, ::-1]),
    "inversion": lambda image, rng: 255 - image,
    "bars": bars,
    "text": text,
    "arrow": arrow,
    "JPEG": jpeg,
    "half the size": lambda image, rng: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "crop of 5 %": lambda image, rng: crop(image, rng, 0.05),
    "rotation of 4 degrees": lambda image, rng: rotate(image, rng, 4),
    "mirror, crop, rotation, CLAHE and text": lambda image, rng: text(
        clahe(rotate(crop(np.ascontiguousarray(image[:, ::-1]), rng), rng), rng), rng
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--part", choices=["tune", "report", "all"], default="report")
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--limit", type=int, default=0, help="Take so many images of the part only.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--speed", type=int, default=0, help="Time the search among so many instead.")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    if arguments.speed:
        speed(arguments.folders, arguments.speed, arguments.seed)
        return
    detection(arguments.folders, arguments.part, arguments.queries, arguments.limit, arguments.seed)


def detection(folders: list[Path], part: str, queries: int, limit: int, seed: int) -> None:
    """Print the table of found copies and the pairs among the originals."""
    images: list[Image] = []
    names: list[str] = []
    patients: list[str] = []
    rng = np.random.default_rng(seed)
    sets = [
        read_dataset(folder).where(lambda row: part in ("all", part_of(row.patient or row.id)))
        for folder in folders
    ]
    keep = min(1.0, limit / sum(map(len, sets))) if limit else 1.0
    for folder, dataset in zip(folders, sets, strict=True):
        arrays = load_arrays(dataset.where(lambda row: rng.random() < keep), (224, 224))
        images += list(arrays.images)
        names += [f"{folder.name}:{row.id}" for row in arrays.rows]
        patients += [row.patient or row.id for row in arrays.rows]
    print(f"{len(images)} images, part {part}, seed {seed}", flush=True)
    started = time.process_time()
    prepared = [duplicates.prepare(image) for image in images]
    limit_of_pairs, finder.LEAST_AGREEMENT = finder.LEAST_AGREEMENT, SHOWN_FROM
    every = duplicates.find_duplicates(prepared)
    matches = [match for match in every if match.agreement >= limit_of_pairs]
    seconds = time.process_time() - started
    print(f"among the originals: {len(matches)} pairs, {1000 * seconds / len(images):.1f} ms of CPU an image")
    apart = [match for match in matches if patients[match.first] != patients[match.second]]
    below = [match.agreement for match in every if match.agreement < limit_of_pairs]
    print(f"the highest agreement below the limit of {limit_of_pairs}: {max(below, default=0):.3f}")
    print(f"of different patients: {len(apart)}, to be looked at:")
    for match in apart:
        print(f"  {names[match.first]} {names[match.second]} {match.agreement:.3f}")
    known = {(match.first, match.second) for match in every}
    chosen = rng.permutation(len(images))[:queries]
    for name, change in CHANGES.items() if queries else ():
        copies = [change(images[index], rng) for index in chosen]
        # One cluster for all originals: pairs among them are known.
        clusters = [0] * len(images) + list(range(1, queries + 1))
        found = duplicates.find_duplicates([*prepared, *map(duplicates.prepare, copies)], clusters=clusters)
        pairs = {(match.first, match.second): match.agreement for match in found}
        agreed = [pairs.get((int(index), len(images) + k), 0.0) for k, index in enumerate(chosen)]
        hits = sum(value >= limit_of_pairs for value in agreed)
        copies_of = {(int(index), len(images) + k) for k, index in enumerate(chosen)}
        false = {
            pair
            for pair in set(pairs) - known - copies_of
            if pairs[pair] >= limit_of_pairs
            and pair[1] >= len(images)
            and not _same(pair, chosen, patients, known, len(images))
        }
        print(
            f"{name:40s} found {hits} of {queries} = {hits / queries:.3f}; false pairs {len(false)}",
            flush=True,
        )


def _same(
    pair: tuple[int, int],
    chosen: NDArray[np.intp],
    patients: list[str],
    known: set[tuple[int, int]],
    count: int,
) -> bool:
    """Whether a copy was paired with a copy, or with a known duplicate or another film of its original's patient."""
    one = pair[0] if pair[0] < count else int(chosen[pair[0] - count])
    other = int(chosen[pair[1] - count])
    return (min(one, other), max(one, other)) in known or patients[one] == patients[other]


def part_of(patient: str) -> str:
    """'tune' or 'report', by a hash."""
    return "tune" if hashlib.sha256(patient.encode()).digest()[0] % 2 else "report"


def speed(folders: list[Path], count: int, seed: int, real: int = 2000, copies: int = 200) -> None:
    """Time describing, the search among `count` images' descriptors, and comparing; how many copies are kept."""
    rng = np.random.default_rng(seed)
    images = [image for folder in folders for image in load_arrays(read_dataset(folder), (224, 224)).images]
    images = [images[index] for index in rng.permutation(len(images))[:real]]
    changes = list(CHANGES.values())
    images += [changes[k % len(changes)](images[k], rng) for k in range(copies)]
    used = time.process_time()
    prepared = [duplicates.prepare(image) for image in images]
    print(f"describing {len(images)} images: {1000 * (time.process_time() - used) / len(images):.1f} ms each")
    place = len(images) - copies
    looks = [look for one in prepared for look in one.looks]
    of = [index for index, one in enumerate(prepared) for _ in one.looks]
    vectors, of = _more(prepared, place, count, rng)
    used = time.process_time()
    pairs = finder.candidates(vectors, of)
    cpu = time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{count} images, {len(vectors)} descriptors: {cpu:.0f} s of CPU, peak {peak:.2f} GiB, "
        f"{len(pairs) / count:.2f} pairs an image",
        flush=True,
    )
    near = {(of[one], of[other]) for one, other, _ in pairs} | {
        (of[other], of[one]) for one, other, _ in pairs
    }
    kept = sum((k, place + k) in near for k in range(copies))
    print(f"changed copies whose original is among the neighbours: {kept} of {copies}")
    known = [pair for pair in pairs if max(pair[:2]) < len(looks)]
    known = [known[index] for index in rng.permutation(len(known))[:2000]]
    used = time.process_time()
    agreed = [agree(looks[one], looks[two], mirrored=mirrored)[0] for one, two, mirrored in known]
    each = (time.process_time() - used) / max(len(known), 1)
    share = sum(value > 0 for value in agreed) / max(len(known), 1)
    print(
        f"comparing: {1000 * each:.2f} ms a pair (of {len(known)} real ones), {each * len(pairs) / 60:.1f} min for all;"
        f" laid over each other: {share:.3f} of the pairs, {share * len(pairs) / count:.2f} an image"
    )


def _more(
    prepared: list[duplicates.Prepared], originals: int, count: int, rng: np.random.Generator
) -> tuple[NDArray[np.float16], list[int]]:
    """Descriptors of `prepared` and of further images, drawn with the originals' mean and covariance of both looks."""
    vectors = [look.descriptor for one in prepared for look in one.looks]
    of = [index for index, one in enumerate(prepared) for _ in one.looks]
    both = np.stack(
        [np.concatenate([one.looks[0].descriptor, one.looks[-1].descriptor]) for one in prepared[:originals]]
    ).astype(np.float32)
    middle, spread = both.mean(axis=0), np.cov(both.T)
    root = np.linalg.cholesky(spread + 1e-6 * np.eye(len(spread))).astype(np.float32)
    blocks = [np.stack(vectors)]
    for start in range(len(prepared), count, 5000):
        drawn = middle + rng.standard_normal((min(5000, count - start), len(middle)), np.float32) @ root.T
        drawn = drawn.reshape(2 * len(drawn), -1)
        blocks.append((drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float16))
        of += [start + k // 2 for k in range(len(drawn))]
    return np.concatenate(blocks), of


if __name__ == "__main__":
    main()
