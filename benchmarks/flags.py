"""How often X-rays are flagged as perhaps mirrored: as they are, and mirrored.

    python benchmarks/flags.py fit --v7 /data/v7-cxr-224 --others /data/other-hospitals      # prints TEMPLATE
    python benchmarks/flags.py limits --v7 /data/v7-cxr-224 --others /data/other-hospitals   # the fitted half
    python benchmarks/flags.py report --v7 /data/v7-cxr-224 --others /data/other-hospitals   # the other half

The halves are those of `benchmarks/inversion.py`; of Kermany's 3,594 X-rays `limits` sees 900. That no image of the
data is mirrored is not known: what is flagged as it is may truly be.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inversion import RIDGE, read, resized, rows
from lungsight.inference import load_model
from lungsight.inference.polarity import SIDE
from lungsight.metrics.linear import wilson_bounds
from lungsight.wording import Flag

LARGE, DRAWN = "kermany", 900


def fit(arguments: argparse.Namespace) -> None:
    """Print the template: Fisher's direction between standardised images and their mirror images."""
    found = list(rows(arguments, fitted=True))
    sources = np.array([name for name, _ in found])
    images = np.stack([resized(read(image).astype(np.float32) / 255, SIDE) for _, image in found])
    x = images.reshape(len(images), -1)
    x = (x - x.mean(axis=1, keepdims=True)) / (x.std(axis=1, keepdims=True) + 1e-6)
    square = x.reshape(-1, SIDE, SIDE)
    x = (square - square[:, :, ::-1])[:, :, : SIDE // 2].reshape(len(x), -1)
    weight: NDArray[np.float64] = np.zeros(len(x))
    for one in set(sources):
        weight[sources == one] = 1 / np.sqrt((sources == one).sum())
    weight /= weight.sum()
    mean = weight @ x
    scatter = ((x - mean) * weight[:, None]).T @ (x - mean) + RIDGE * np.eye(x.shape[1])
    direction = np.linalg.solve(scatter, mean)
    template = np.rint(direction / np.abs(direction).max() * 99).astype(int)
    print("TEMPLATE:")
    for row in template.reshape(SIDE, SIDE // 2):
        print(f"        [{', '.join(map(str, row))}],")
    print("SCALE =", round(float(np.median(x @ template))))


def measure(arguments: argparse.Namespace, *, fitted: bool) -> None:
    """Print how many are flagged as they are, and mirrored."""
    model = load_model()
    found = [one for one in rows(arguments, fitted=fitted) if not arguments.only or one[0] in arguments.only]
    if fitted:
        large = [index for index, (name, _) in enumerate(found) if name == LARGE]
        drawn = set(np.random.default_rng(arguments.seed).choice(large, DRAWN, replace=False).tolist())
        found = [one for index, one in enumerate(found) if one[0] != LARGE or index in drawn]
    flagged: dict[tuple[str, bool], list[bool]] = {}
    for name, image in found:
        pixels = read(image)
        for mirrored in (False, True):
            result = model(np.ascontiguousarray(pixels[:, ::-1]) if mirrored else pixels)
            flagged.setdefault((name, mirrored), []).append(Flag.HEART_SIDE in result.flags)
    for (name, mirrored), answers in flagged.items():
        low, high = wilson_bounds(sum(answers), len(answers))
        print(
            f"{name:12} {'mirrored' if mirrored else 'as it is'}: {sum(answers)} of {len(answers)} "
            f"({low:.4f} to {high:.4f})"
        )


def main() -> None:
    """Fit or measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["fit", "limits", "report"])
    parser.add_argument("--v7", type=Path, required=True)
    parser.add_argument("--others", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", help="some of the collections")
    arguments = parser.parse_args()
    if arguments.what == "fit":
        fit(arguments)
    else:
        measure(arguments, fitted=arguments.what == "limits")


if __name__ == "__main__":
    main()
