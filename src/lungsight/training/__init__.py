"""Training by recipe. Needs `lungsight[train]`."""

from lungsight.training.module import Progress
from lungsight.training.run_folder import Run, read_history
from lungsight.training.train import (
    load_run,
    make_split,
    predict,
    predict_masks,
    prepare,
    shown,
    train,
)

__all__ = [
    "Progress",
    "Run",
    "load_run",
    "make_split",
    "predict",
    "predict_masks",
    "prepare",
    "read_history",
    "shown",
    "train",
]
