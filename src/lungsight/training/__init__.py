"""Training by recipe. Needs `lungsight[train]`."""

from lungsight.training.callbacks import Progress
from lungsight.training.predict import load_run, predict, predict_masks
from lungsight.training.prepare import ask, make_split, prepare, select_rows
from lungsight.training.run_folder import Run, read_history
from lungsight.training.train import train

__all__ = [
    "Progress",
    "Run",
    "ask",
    "load_run",
    "make_split",
    "predict",
    "predict_masks",
    "prepare",
    "read_history",
    "select_rows",
    "train",
]
