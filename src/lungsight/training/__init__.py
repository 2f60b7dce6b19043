"""Training by recipe. Needs `lungsight[train]`."""

from lungsight.training.folder import Run, read_history
from lungsight.training.loop import (
    load_run,
    make_split,
    predict,
    predict_masks,
    prepare,
    shown,
    train,
)
from lungsight.training.module import Progress

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
