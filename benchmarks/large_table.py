"""Time and memory of the commands that read a whole table, on one of 400,000 rows.

    python benchmarks/large_table.py --rows 400000 --out large
    python benchmarks/large_table.py --rows 100000 --out large --only evaluate

The table is made here: four sources, sixty sub-sources, three images a patient, ages, sexes and views; all rows show
one small drawn image, so that what is measured is the table and not the reading of pixels. The score follows the class
loosely. Each command runs in a process of its own; printed are its seconds, its seconds of processor time and its
greatest resident memory. `data audit` reads the pixels of 2,000 rows: for it alone FILMS drawn X-rays of 128 pixels
with lung masks are shared by the rows (a film stands for several patients, which the report then says). With 20,000
rows or fewer `audit` reads the pixels and looks for copies: every row shows the same film, so each pair is one,
and it does not end. Needs `lungsight[train]`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from lungsight.phantom import draw

FILMS = 1000
MAIN = "from lungsight.cli import main; main()"


def draw_films(folder: Path, films: int) -> None:
    """Drawn X-rays of 128 pixels and their lung masks, those that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(films):
        path = folder / f"mask-{number}.png"
        if not path.is_file():
            drawn = draw(np.random.default_rng((2026, number)), hospital="north", covid=False, size=128)
            cv2.imwrite(str(folder / f"film-{number}.png"), drawn.pixels)
            cv2.imwrite(str(path), drawn.mask.astype(np.uint8) * 255)


def write_table(folder: Path, rows: int, films: int = 1) -> tuple[Path, Path]:
    """The manifest and the scores of `rows` images; returns the folder and the CSV of scores."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / "images" / "film.png"), rng.integers(0, 256, (64, 64)).astype(np.uint8))
    if films > 1:
        draw_films(folder / "images", films)
    positive = rng.random(rows) < 0.3
    score = 1 / (1 + np.exp(-(rng.normal(0, 1, rows) + 1.5 * positive - 1)))
    with (folder / "manifest.csv").open("w") as table, (folder / "scores.csv").open("w") as scores:
        table.write("id,image,mask,source,subsource,patient,finding,covid,view,sex,age\n")
        scores.write("id,probability\n")
        for number, (holds, value) in enumerate(zip(positive.tolist(), score.tolist(), strict=True)):
            person = number // 3
            film = number % films
            shown = f"images/film-{film}.png,images/mask-{film}.png" if films > 1 else "images/film.png,"
            table.write(
                f"x{number},{shown},s{person % 4},h{person % 60},p{person},"
                f"{'COVID-19' if holds else 'normal'},{int(holds)},{'AP' if person % 2 else 'PA'},"
                f"{'FM'[person % 3 > 0]},{20 + person % 60}\n"
            )
            scores.write(f"x{number},{value:.5f}\n")
    return folder, folder / "scores.csv"


def measured(name: str, command: list[str]) -> None:
    """Run a command and print what it took."""
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", MAIN, *command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds, processor = time.perf_counter() - begun, usage.ru_utime + usage.ru_stime
    # The kernel counts in KiB.
    print(
        f"{name}: {seconds:.0f} s, {processor:.0f} s of processor time, {usage.ru_maxrss / 2**20:.2f} GiB, "
        f"exit code {os.waitstatus_to_exitcode(status)}",
        flush=True,
    )


def main() -> None:
    """Make the table and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=("describe", "evaluate", "audit", "data-audit"))
    given = parser.parse_args()
    table = given.out / f"table-{given.rows}"
    if given.only in (None, "data-audit"):
        shared, _ = write_table(given.out / f"films-{given.rows}", given.rows, FILMS)
        command = ["data", "audit", str(shared), "--out", str(given.out / f"data-audit-{given.rows}")]
        measured(f"data audit, {given.rows:,} rows", command)
    folder, scores = write_table(table, given.rows)
    data = ["--data", str(folder), "--predictions", str(scores)]
    commands = {
        "describe": ["data", "describe", str(folder), "--json"],
        "evaluate": ["evaluate", *data, "--out", str(given.out / f"evaluation-{given.rows}")],
        "audit": ["audit", *data, "--quick", "--out", str(given.out / f"audit-{given.rows}")],
    }
    for name, command in commands.items():
        if given.only in (None, name):
            measured(f"{name}, {given.rows:,} rows", command)


if __name__ == "__main__":
    main()
