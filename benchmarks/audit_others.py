"""Other tools' checks of a folder of images, as JSON; benchmarks/audit.py runs it with the Python that has them.

    PYTHON benchmarks/audit_others.py datalab FOLDER ...     # FOLDER/labels.csv: image,label; a line of JSON a folder
    PYTHON benchmarks/audit_others.py deepchecks FOLDER ...

cleanlab and deepchecks are no dependencies of lungsight and none of their code is here: they are installed in an
environment of their own (deepchecks is AGPL).
"""

from __future__ import annotations

import contextlib
import csv
import functools
import importlib.util
import io
import json
import os
import sys
import types
from pathlib import Path

import numpy as np


def read(folder: Path) -> tuple[list[Path], np.ndarray]:
    """Paths and (N,) labels 0 or 1."""
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [Path(row["image"]) for row in rows], np.array([int(row["label"]) for row in rows])


def datalab(folder: Path) -> dict[str, object]:
    """Datalab's spurious-correlation check with CleanVision's properties; a score below 0.3 is an issue."""
    import cleanlab
    import datasets
    from cleanlab import Datalab

    paths, labels = read(folder)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    data = datasets.Dataset.from_dict(
        {"image": [str(path) for path in paths], "label": labels.tolist()}, features=features
    )
    lab = Datalab(data=data, label_name="label", image_key="image")
    # All properties that it knows by default, and then the check on their scores.
    images = {
        name: {}
        for name in (
            "dark",
            "light",
            "low_information",
            "odd_aspect_ratio",
            "odd_size",
            "grayscale",
            "blurry",
        )
    }
    lab.find_issues(issue_types={"image_issue_types": images, "spurious_correlations": {}})
    table = lab.get_info("spurious_correlations")["correlations_df"]
    scores = dict(zip(table["property"], map(float, table["score"]), strict=True))
    return {"version": cleanlab.__version__, "scores": scores}


def deepchecks(folder: Path) -> dict[str, object]:
    """deepchecks' predictive power score of its default image properties; above 0.2 fails its condition."""
    import importlib.metadata

    import pandas as pd
    from PIL import Image

    properties, score = _of_deepchecks()
    paths, labels = read(folder)
    np.random.seed(0)
    columns: dict[str, list[float]] = {}
    for start in range(0, len(paths), 64):
        batch = [np.asarray(Image.open(path).convert("L"))[..., None] for path in paths[start : start + 64]]
        found = properties.calc_default_image_properties([np.repeat(image, 3, axis=2) for image in batch])
        for name, values in found.items():
            columns.setdefault(name, []).extend(float(value) for value in values)
    frame = pd.DataFrame(columns)
    frame["target"] = pd.Series(labels.astype(str)).astype("object")
    table = score.predictors(df=frame, y="target", random_seed=0)
    scores = dict(zip(table["x"], map(float, table["ppscore"]), strict=True))
    return {"version": importlib.metadata.version("deepchecks"), "scores": scores}


@functools.cache
def _of_deepchecks() -> tuple[object, object]:
    """Its own modules for image properties and the score, put together above as `PropertyLabelCorrelation` does it.

    They are loaded one by one, since its vision part needs torchvision.
    """
    root = Path(importlib.util.find_spec("deepchecks").submodule_search_locations[0])  # type: ignore[union-attr, index]
    # The package without what its __init__ imports (plotting, notebooks), which neither module needs.
    package = types.ModuleType("deepchecks")
    package.__path__ = [str(root)]
    sys.modules["deepchecks"] = package
    return _load(root / "vision" / "utils" / "image_properties.py"), _load(root / "ppscore.py")


def _load(path: Path) -> object:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    which = {"datalab": datalab, "deepchecks": deepchecks}[sys.argv[1]]
    said = io.StringIO()
    # Importing a tool is not what it costs; its own processes are.
    with contextlib.suppress(ImportError):
        __import__({"datalab": "cleanvision", "deepchecks": "deepchecks"}[sys.argv[1]])
    for folder in map(Path, sys.argv[2:]):
        start = sum(os.times()[:4])
        with contextlib.redirect_stdout(said):
            result = which(folder)
        print(json.dumps({**result, "seconds": sum(os.times()[:4]) - start}), flush=True)
