"""The audit beside what people would use instead, on planted shortcuts and on a real data set.

    python benchmarks/audit.py --out compared --datalab PYTHON --deepchecks PYTHON          # planted sets
    python benchmarks/audit.py --out compared-v7 --datalab PYTHON --deepchecks PYTHON --data V7
    python benchmarks/audit.py --out compared --report                                      # table and picture

PYTHON is the interpreter of an environment of its own that holds cleanlab[datalab] and cleanvision, or deepchecks
(`benchmarks/audit_others.py` runs there). Every planted set is 200 drawn X-rays of 64 pixels whose lungs stand in the
background of another X-ray, drawn by lot, with one known cue planted in the images of the ill, with overlap; a small
network is trained on 250 others with the same cue. How much that network takes the cue is known apart from every tool:
the cue is planted anew by lot, and the AUROC of the score for it is taken within each class. Each seed has X-rays of
its own, which the audit's rules were not set on. Stopped, the same command does the rest; tools that are given later
are asked about the sets that are there. Needs `lungsight[train]`.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

import lungsight
from audit_compared import report
from audit_operating import (
    IMAGES,
    PLANTED,
    TRAINING,
    Pool,
    choose,
    load_pool,
    plant,
    read,
    rows_of,
    with_looks,
)
from lungsight.audit.data_audit import audit_data
from lungsight.audit.probe import BATCH, RATE, ProbeNetwork, subsample
from lungsight.audit.records import Settings
from lungsight.audit.transplant import transplanted
from lungsight.files import write_text
from lungsight.metrics import auroc
from lungsight.preprocess import resample
from lungsight.wording import Property

HERE = Path(__file__).resolve().parent
SETS = ("no shortcut", "source = class", *PLANTED)
SETTINGS = Settings(px=64, folds=3, probe="linear", images=2000, perturbed=300)
REAL_SIDE = 128
FIRST_POOL = 100
"""Seed s draws X-rays of pool 100 + s; the rules of the audit were set on pools 0 and 1."""

Images = NDArray[np.uint8]
Masks = NDArray[np.bool_]


def train(images: Images, truth: NDArray[np.bool_], seed: int) -> ProbeNetwork:
    """The audit's own small network on whole images, 300 steps."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    network, rng = ProbeNetwork(), np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=1e-2)
    weight = torch.tensor(float((~truth).sum() / truth.sum()))
    for _ in range(300):
        chosen = rng.choice(len(images), BATCH, replace=False)
        logits = network(as_tensor(images[chosen])).squeeze(1)
        target = torch.from_numpy(truth[chosen].astype(np.float32))
        loss = F.binary_cross_entropy_with_logits(logits, target, pos_weight=weight)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval()


def as_tensor(images: Images) -> torch.Tensor:
    """(N, h, w) uint8 -> (N, 1, h, w) in [0, 1]."""
    return torch.from_numpy(np.array(images)).unsqueeze(1).float() / 255


def score_of(network: ProbeNetwork, images: Images) -> NDArray[np.float64]:
    """(N,) logits."""
    with torch.inference_mode():
        return network(as_tensor(images)).squeeze(1).double().numpy()


def grad_cam(network: ProbeNetwork, images: Images, masks: Masks) -> tuple[float, float]:
    """Share of Grad-CAM (Selvaraju et al., ICCV 2017) inside the lungs, and the share of the image that the lungs are.

    Means over images. Of the third of four convolutions, 1/8 of the side: the last one has four places a side.
    """
    inside, area = [], []
    layers = list(network)
    before, after = torch.nn.Sequential(*layers[:9]), torch.nn.Sequential(*layers[9:])
    for start in range(0, len(images), 64):
        batch, lungs = as_tensor(images[start : start + 64]), masks[start : start + 64]
        maps = before(batch).detach().requires_grad_()
        after(maps).sum().backward()
        weights = maps.grad.mean(dim=(2, 3), keepdim=True)
        cams = F.relu((weights * maps).sum(dim=1)).detach().numpy()
        for cam, mask in zip(cams, lungs, strict=True):
            shown = np.maximum(resample(cam, mask.shape, "linear"), 0)
            if shown.sum() > 0:
                inside.append(float(shown[mask].sum() / shown.sum()))
                area.append(float(mask.mean()))
    return float(np.mean(inside)), float(np.mean(area))


def write_set(folder: Path, images: Images, masks: Masks, rows: list[Any]) -> None:
    """A manifest with images and masks, and labels.csv for the other tools."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "masks").mkdir(exist_ok=True)
    table, labels = [("id", "image", "mask", "source", "patient", "finding", "covid")], [("image", "label")]
    for row, image, mask in zip(rows, images, masks, strict=True):
        name = f"{row.id}.png"
        cv2.imwrite(str(folder / "images" / name), image)
        cv2.imwrite(str(folder / "masks" / name), mask.astype(np.uint8) * 255)
        table.append(
            (row.id, f"images/{name}", f"masks/{name}", row.source, row.patient, row.finding, int(row.covid))
        )
        labels.append((str((folder / "images" / name).resolve()), int(row.covid)))
    for name, lines in (("manifest.csv", table), ("labels.csv", labels)):
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(lines)


def planted(pool: Pool, kind: str, seed: int, folder: Path) -> dict[str, Any]:
    """What each tool says of one planted set."""
    rng = np.random.default_rng((seed, SETS.index(kind), 19))
    clean = kind == "no shortcut"
    chosen, source = choose(pool, "two clean sources" if clean else "source = class", rng)
    masks, truth, ill = pool.masks[chosen], pool.covid[chosen], pool.ill[chosen]
    other = np.roll(rng.permutation(len(chosen)), 1)
    base, _ = transplanted(Property.BACKGROUND, pool.images[chosen], masks, other)
    look_seed = int(rng.integers(1 << 30))

    def shown(given: NDArray[np.int64]) -> tuple[Images, Masks]:
        drawn = np.random.default_rng(look_seed)
        if kind in PLANTED:
            return plant(kind, base, masks, given, drawn)
        return with_looks(base, masks, given, drawn), masks

    images, lungs = shown(source)
    cut = len(chosen) - IMAGES
    network = train(images[:cut], truth[:cut], seed)
    # The truth: the same X-rays, the cue by lot.
    lot = np.concatenate([source[:cut], rng.permutation(np.arange(IMAGES) % 2)])
    anew = score_of(network, shown(lot)[0][cut:])
    taken = float(
        np.mean([auroc(anew[truth[cut:] == y], lot[cut:][truth[cut:] == y] == 1) for y in (False, True)])
    )
    rows = rows_of(truth[cut:], source[cut:], ill[cut:], cut)
    write_set(folder, images[cut:], lungs[cut:], rows)
    # No drawn X-ray is there twice, no answer rests on copies, and the search for them is most of an audit's time.
    with patch("lungsight.audit.leakage.find_duplicates", return_value=[]):
        found = tools(folder, network, images[cut:], lungs[cut:], 64, SETTINGS)
    return {"cue_auroc": taken, "auroc": float(auroc(score_of(network, images[cut:]), truth[cut:])), **found}


def tools(
    folder: Path,
    network: ProbeNetwork,
    images: Images,
    masks: Masks,
    side: int,
    settings: Settings,
    keep: Path | None = None,
) -> dict[str, Any]:
    """Grad-CAM and both audits of one set that lies on disk; what the audits have done is kept in `keep`."""
    found: dict[str, Any] = {}
    start = time.process_time()
    inside, area = grad_cam(network, images, masks)
    found["grad_cam"] = {"inside": inside, "area": area, "seconds": time.process_time() - start}
    data = lungsight.read_dataset(folder)
    start = time.process_time()
    of_data = audit_data(data, keep and keep / "data", settings=settings, cache=keep)
    found["data_audit"] = {"answer": str(of_data.answer), "seconds": time.process_time() - start}
    start = time.process_time()
    result = lungsight.audit_score(
        lambda batch: score_of(network, np.rint(batch[:, 0] * 255).astype(np.uint8)),
        data,
        keep and keep / "score",
        size=(side, side),
        settings=settings,
        cache=keep,
    )
    verdict = result.found.verdict
    found["audit_score"] = {
        "data": str(verdict.data),
        "score": str(verdict.score),
        "seconds": time.process_time() - start,
    }
    return found


def ask(name: str, python: str, folders: list[Path]) -> None:
    """Ask another tool, in its own environment, about sets that lie on disk; each answer is kept beside its set."""
    command = [python, str(HERE / "audit_others.py"), name, *map(str, folders)]
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
            assert process.stdout is not None
            answers = (line for line in process.stdout if line.startswith("{"))
            for folder, answer in zip(folders, answers, strict=False):
                write_text(folder / f"{name}.json", json.dumps(json.loads(answer)))
                print(folder.name, name, flush=True)
        if process.returncode:
            errors.seek(0)
            raise SystemExit(f"{name}: {errors.read()[-2000:]}")


def fill(out: Path, others: dict[str, str]) -> None:
    """Ask the other tools about the sets that are there and that they were not asked about."""
    folders = [folder_of(out, line["kind"], line["seed"]) for line in read(out / "sets.jsonl")]
    for name, python in others.items():
        missing = [folder for folder in folders if not (folder / f"{name}.json").is_file()]
        if missing:
            ask(name, python, missing)


def with_others(out: Path) -> list[dict[str, Any]]:
    """What every tool said, a line a set."""
    lines = read(out / "sets.jsonl")
    for line in lines:
        for path in sorted(folder_of(out, line["kind"], line["seed"]).glob("*.json")):
            line[path.stem] = json.loads(path.read_text("utf-8"))
    return lines


def folder_of(out: Path, kind: str, seed: int) -> Path:
    """Where a set lies."""
    return out / "sets" / f"{kind.replace(' ', '-')}-{seed}"


def real(data: Path, folder: Path) -> dict[str, Any]:
    """Every tool on a real data set: the network learns from half of the patients, the tools see the other half."""
    from lungsight.audit.statistics import patients_of
    from lungsight.dataset.cache import load_arrays
    from lungsight.dataset.masks import MaskFile

    whole = lungsight.read_dataset(data)
    rows = [row for row in whole.rows if isinstance(row.mask, MaskFile) and row.covid is not None]
    patients = np.array(patients_of(rows))
    names = np.unique(patients)
    first = set(np.random.default_rng(19).permutation(names)[: len(names) // 2].tolist())
    halves = [
        [row for row, who in zip(rows, patients, strict=True) if (who in first) == one]
        for one in (True, False)
    ]
    learn = [halves[0][i] for i in subsample(halves[0], 1800, 0)]
    arrays = load_arrays(whole.with_rows(learn), (REAL_SIDE, REAL_SIDE))
    network = train(arrays.images, np.array([bool(row.covid) for row in arrays.rows]), 0)
    held = load_arrays(whole.with_rows(halves[1]), (REAL_SIDE, REAL_SIDE))
    truth = np.array([bool(row.covid) for row in held.rows])
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "label"))
        writer.writerows((str(Path(row.image).resolve()), int(bool(row.covid))) for row in held.rows)
    columns = (
        "id",
        "image",
        "mask",
        "source",
        "subsource",
        "patient",
        "finding",
        "covid",
        "view",
        "sex",
        "age",
    )
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in held.rows:
            values = [getattr(row, name, None) for name in columns]
            values[1:3] = [str(Path(path).resolve()) for path in (row.image, row.mask.path)]
            values[7] = int(bool(row.covid))
            writer.writerow(["" if value is None else value for value in values])
    area = float(auroc(score_of(network, held.images), truth))
    return {
        "auroc": area,
        "images": len(truth),
        "fingerprint": whole.fingerprint(),
        **tools(folder, network, held.images, held.masks, REAL_SIDE, SETTINGS, folder / "kept"),
    }


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--datalab", metavar="PYTHON", default="")
    parser.add_argument("--deepchecks", metavar="PYTHON", default="")
    parser.add_argument("--data", type=Path, help="a real data set instead of the planted ones")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--others-only", action="store_true", help="ask the other tools of the sets that are there"
    )
    parser.add_argument("--report", action="store_true")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    if given.report:
        report(with_others(given.out), SETS[0], given.out / "audit-compared.svg")
        return
    path = given.out / "sets.jsonl"
    done = {(line["kind"], line["seed"]) for line in read(path)}
    others = {"datalab": given.datalab, "deepchecks": given.deepchecks}
    others = {name: python for name, python in others.items() if python}
    fill(given.out, others)
    if given.others_only:
        return
    cells = (
        [(given.data.name, 0)]
        if given.data
        else [(kind, seed) for seed in range(given.seeds) for kind in SETS]
    )
    for kind, seed in cells:
        if (kind, seed) in done:
            continue
        folder = folder_of(given.out, kind, seed)
        if given.data:
            line = real(given.data, folder)
        else:
            pool = load_pool(given.out, FIRST_POOL + seed, IMAGES + TRAINING)
            line = planted(pool, kind, seed, folder)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, "seed": seed, **line}) + "\n")
        print(kind, seed, flush=True)
    fill(given.out, others)


if __name__ == "__main__":
    main()
