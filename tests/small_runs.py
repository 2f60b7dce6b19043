"""Small tables and trained runs for the tests of evaluation and audit."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from lungsight.config import load_recipe
from lungsight.dataset import Dataset, read_dataset
from lungsight.phantom import write_phantoms

SETTINGS = (
    "data.size=[64,64]",
    "data.crop=[0,0,0,0]",
    "network.width=0.25",
    'split.kind="patient"',
    "training.batch=16",
    "training.patience=0",
)


def phantoms(folder: Path, count: int, shortcut: float, seed: int = 10) -> Dataset:
    """Phantoms of 128 pixels, half of the patients with COVID-19."""
    return write_phantoms(folder, count=count, seed=seed, shortcut=shortcut, size=128, covid_share=0.5)


def train_diagnosis(folder: Path, dataset: Dataset, epochs: int, *settings: str) -> Path:
    """A narrow paper CNN at 64 pixels, patients apart unless `settings` say otherwise."""
    from lungsight.training import train

    recipe = load_recipe("paper-diagnosis", [*SETTINGS, f"training.epochs={epochs}", *settings])
    train(recipe, dataset, folder)
    return folder


def write_table(
    folder: Path,
    covid: Sequence[bool],
    *,
    patients: Sequence[str] | None = None,
    sources: Sequence[str] | None = None,
    size: int = 32,
) -> Dataset:
    """Grey squares with a bright block for a lung, `image-00.png` ..., and their manifest."""
    rng = np.random.default_rng(0)
    lines = ["id,image,mask,source,patient,finding,covid,sex,age"]
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for place, positive in enumerate(covid):
        pixels = rng.integers(90, 110, (size, size)).astype(np.uint8)
        mask = np.zeros((size, size), np.uint8)
        mask[size // 4 : 3 * size // 4, size // 4 : 3 * size // 4] = 255
        pixels[mask > 0] += 100 if positive else 60
        cv2.imwrite(str(folder / f"images/image-{place:02d}.png"), pixels)
        cv2.imwrite(str(folder / f"masks/{place:02d}.png"), mask)
        patient = patients[place] if patients else f"p{place}"
        source = sources[place] if sources else "ab"[place % 2]
        finding = "COVID-19" if positive else "normal"
        lines.append(
            f"x{place:02d},images/image-{place:02d}.png,masks/{place:02d}.png,{source},{patient},{finding},"
            f"{int(positive)},{'FM'[place % 2]},{20 + place}"
        )
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return read_dataset(folder)


def without_patients(dataset: Dataset) -> Dataset:
    """The same rows with no patient ids."""
    return dataclasses.replace(
        dataset, rows=tuple(dataclasses.replace(row, patient="") for row in dataset.rows)
    )


def write_found_audit(run: Path) -> None:
    """An audit of a run in its folder: a border probe of 0.99, and answers that could not be given."""
    from lungsight.audit import FULL, Found, Verdict, model_hash
    from lungsight.audit.records import Leakage, Probe, Score, SourceStep
    from lungsight.audit.statistics import Estimate
    from lungsight.metrics import Interval
    from lungsight.records import to_json
    from lungsight.wording import DataAnswer, IntervalMethod, ScoreAnswer

    one = Estimate(Interval(0.99, 0.98, 1.0, 9, 9, IntervalMethod.DELONG), 0.01, 20, 4, 5)
    found = Found(
        "the run", model_hash(run), "data", "COVID-19",
        Verdict(DataAnswer.CANNOT_BE_TOLD, ScoreAnswer.CANNOT_BE_TOLD, (), (), 0.025),
        Score("test", 9, 9, 9, one, one, one), (), (), (Probe("border", "network", 9, one, one, one),), (),
        SourceStep((), (), ()), Leakage(True, (), 0, 9, ()), (), (), FULL,
    )  # fmt: skip
    (run / "audit").mkdir()
    (run / "audit" / "audit.json").write_bytes(to_json(found))
