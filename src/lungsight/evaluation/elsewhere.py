"""What goes beside a table of scores: subgroups of its images, and the same networks on another hospital's images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lungsight.dataset.cache import load_arrays
from lungsight.dataset.table import Dataset
from lungsight.errors import DataError
from lungsight.evaluation.runs import fold_folders
from lungsight.evaluation.uncertainty import Scores, age_groups
from lungsight.training import load_run, predict
from lungsight.training.data import network_inputs
from lungsight.training.uncertainty import has_drop_weights, predict_passes


def groups_of(scores: Scores, dataset: Dataset) -> dict[str, list[str]]:
    """Sex, age and view of the images of a table of scores, '' where a data set does not say."""
    rows = {row.id: row for row in dataset}
    ages = [rows[one].age if one in rows else None for one in scores.ids]
    return {
        "sex": [rows[one].sex if one in rows else "" for one in scores.ids],
        "age": age_groups(ages),
        "view": [rows[one].view if one in rows else "" for one in scores.ids],
    }


def score_elsewhere(folder: Path, dataset: Dataset, members: int) -> NDArray[np.float64]:
    """(T, M) probabilities of another hospital's images by the networks of `fold-1`, `fold-2` ... in a folder.

    Where an image of the table has one value, each network's answer counts as an image of its own, since a mean of
    networks is surer than one of them; a network with drop-weights gives its passes.

    Raises:
        DataError: there are no runs, or no image has the mask that they need.
    """
    folds = fold_folders(folder)
    if not folds:
        raise DataError("has no finished runs beside the scores", where=folder)
    found = []
    for fold in folds:
        recipe, network = load_run(fold)
        whole = recipe.data.crop_mode == "resize"
        usable = dataset if whole else dataset.where(lambda row: row.mask is not None)
        if not len(usable):
            raise DataError("has no lung masks, which these networks need", where=dataset.root)
        arrays = load_arrays(usable, recipe.data.resized)
        inputs = network_inputs(np.asarray(arrays.images), arrays.masks.astype(bool), recipe.data)
        if members > 1 and has_drop_weights(network):
            found.append(predict_passes(network, recipe, inputs, passes=members))
        else:
            found.append(predict(network, recipe, inputs)[None])
    if members > 1 and len(found[0]) == 1:
        return np.concatenate(found).astype(np.float64)
    return np.concatenate(found, axis=1).astype(np.float64)
