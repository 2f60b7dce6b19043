"""`lungsight fit-outliers`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lungsight.cli.console import tell
from lungsight.cli.train import DataOption, need_training


def fit_outliers(
    data: DataOption,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for lungs.onnx and its card.")],
    model: Annotated[
        Path | None, typer.Option(help="Folder of the lung network. Default: the one that ships.")
    ] = None,
    images: Annotated[int, typer.Option(min=300, help="At most so many, every source alike.")] = 1500,
    seed: Annotated[int, typer.Option(min=0, help="Which patients set the limit.")] = 1,
) -> None:
    """Give the lung network an output that says how unlike its training data an image is, with a limit on its card."""
    need_training()
    from lungsight.dataset import read_dataset
    from lungsight.ship_outliers import fit_outliers as run

    def progress(done: int, total: int) -> None:
        if done == total or done % 200 == 0:
            tell(f"{done} of {total} images")

    _, fit = run(read_dataset(data), out, folder=model, seed=seed, limit=images, progress=progress)
    print(
        f"distance of {fit.features} features from {fit.trained} images; limit {fit.limit:.2f}, which 1 % of "
        f"{fit.held_out} others exceed"
    )
    print(f"written: {out / 'lungs.onnx'}")
