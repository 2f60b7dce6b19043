"""From a recipe and a table to what a network is shown: rows, split, examples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lungsight.config import Recipe
from lungsight.dataset.cache import load_arrays
from lungsight.dataset.split import (
    Split,
    by_patient_in_turn,
    given_parts,
    paper_diagnosis,
    paper_segmentation,
    patient_folds,
)
from lungsight.dataset.table import COVID_TARGET, Dataset
from lungsight.dataset.target import with_question
from lungsight.errors import DataError
from lungsight.networks import GATE_CLASSES, check
from lungsight.preprocess import resize_mask
from lungsight.training.data import Examples, marks_several, network_inputs
from lungsight.training.predict import predict_masks


def check_network(recipe: Recipe) -> None:
    """Raise ConfigError where the recipe's network does not take its input or gives another answer."""
    height, width = recipe.data.input_size
    sizes = [(height, width), *([(height // 2, width // 2)] if recipe.training.half_size_epochs else [])]
    for size in sizes:
        check(
            recipe.network.name,
            size=size,
            masks=recipe.task == "lungs",
            answers=None if recipe.task == "lungs" else len(GATE_CLASSES) if recipe.task == "gate" else 1,
        )


def make_split(dataset: Dataset, recipe: Recipe) -> Split:
    """The recipe's split of the table; raises DataError where the table does not allow it."""
    settings, seed = recipe.split, recipe.training.seed
    need_covid = recipe.task == "diagnosis"
    if settings.fold >= 0:
        folds = patient_folds(dataset, settings.folds, seed, need_covid=need_covid)
        test, validation = settings.fold, (settings.fold + 1) % settings.folds
        train = tuple(i for k, fold in enumerate(folds) if k not in (test, validation) for i in fold)
        return Split(
            f"fold {test + 1} of {settings.folds}", seed, train, tuple(folds[validation]), tuple(folds[test])
        )
    if settings.kind == "patient":
        given = given_parts(settings.parts) if settings.parts else {}
        split = by_patient_in_turn(dataset, seed, given, need_covid=need_covid)
        return leave_out(dataset, split, settings.leave_out) if settings.leave_out else split
    if recipe.task == "lungs":
        return paper_segmentation(dataset, seed, non_covid_limit=settings.non_covid_limit or None)
    return paper_diagnosis(dataset, seed)


def leave_out(dataset: Dataset, split: Split, source: str) -> Split:
    """The split with all images of one source in the test part; raises DataError where there is none."""
    of_it = {index for index, row in enumerate(dataset.rows) if row.source == source}
    if not of_it:
        raise DataError(f"has no image of the source {source!r}", where=dataset.root)
    train, validation = (
        tuple(index for index in part if index not in of_it) for part in (split.train, split.validation)
    )
    return replace(
        split,
        name=f"{split.name}, without {source}",
        train=train,
        validation=validation,
        test=tuple(sorted({*split.test, *of_it})),
    )


def ask(dataset: Dataset, recipe: Recipe) -> Dataset:
    """The recipe's question asked of a table of which nothing was asked yet; raises DataError where no row shows it."""
    if recipe.task != "diagnosis":
        return dataset
    return with_question(dataset, recipe.data.target, recipe.data.uncertain)


def with_target_of(recipe: Recipe, dataset: Dataset) -> Recipe:
    """The recipe with the question that was asked of the table, so that a run says what it was trained on."""
    asked = dataset.target
    if recipe.task != "diagnosis" or asked == COVID_TARGET:
        return recipe
    return recipe.with_settings(**{"data.target": asked.name, "data.uncertain": asked.uncertain})


def select_rows(dataset: Dataset, recipe: Recipe) -> Dataset:
    """The rows that the recipe trains, chooses and reports on: those of its one source, if it names one.

    Raises:
        DataError: no image is of that source, or shows the recipe's target.
    """
    dataset = ask(dataset, recipe)
    source = recipe.split.only_source
    chosen = dataset.where(lambda row: not source or row.source == source)
    if source and not len(chosen):
        raise DataError(f"has no image of the source {source!r}", where=dataset.root)
    return chosen


def prepare(
    dataset: Dataset,
    recipe: Recipe,
    *,
    cache: Path | None = None,
    mask_run: Path | None = None,
    device: str = "auto",
) -> tuple[Dataset, Examples, tuple[tuple[str, str], ...]]:
    """Decode once and make what the recipe's network sees.

    Args:
        dataset: the table, with the recipe's question asked of it (`ask`, `select_rows`).
        cache: folder for the decoded pixels.
        mask_run: a lung run whose predicted masks replace the table's, where `data.crop_mode` needs masks.
        device: where that run predicts, as `Device.of` takes it.

    Returns:
        The rows that could be read, their examples, and (id, reason) of the others.

    Raises:
        DataError: nothing could be read, or the table lacks what the task needs.
    """
    if recipe.task == "lungs" and all(row.mask is None for row in dataset):
        raise DataError("has no lung masks, which this recipe needs", where=dataset.root)
    if recipe.task == "lungs" or (recipe.data.crop_mode != "resize" and mask_run is None):
        dataset = dataset.where(lambda row: row.mask is not None)
    if recipe.task == "diagnosis" or recipe.split.kind == "paper":
        dataset = dataset.where(lambda row: row.covid is not None)
        _need_both_classes(dataset)
    arrays = load_arrays(dataset, recipe.data.resized, cache_dir=cache)
    kept = dataset.with_rows(arrays.rows)
    if not len(kept):
        first = f" ({arrays.failures[0][0]}: {arrays.failures[0][1]})" if arrays.failures else ""
        raise DataError(f"none of its images could be read{first}", where=dataset.root)
    masks = arrays.masks.astype(bool)
    if mask_run is not None and recipe.data.crop_mode != "resize":
        masks = predict_masks(mask_run, arrays.images, device=device)
    images = network_inputs(arrays.images, masks, recipe.data)
    names = [(row.source, bool(row.covid)) for row in kept]
    order = {name: index for index, name in enumerate(sorted(set(names)))}
    groups = np.array([order[name] for name in names], np.int64)
    labels = np.array([bool(row.covid) for row in kept], np.float32)
    examples = Examples(
        images,
        masks if recipe.task == "lungs" else None,
        labels if recipe.task == "diagnosis" else None,
        groups,
        sources=np.unique([row.source for row in kept], return_inverse=True)[1].astype(np.int64),
        visible=np.array([row.convention == "visible" for row in kept], bool),
        hearts=_hearts(kept, recipe.data.resized) if marks_several(recipe) else {},
    )
    return kept, examples, tuple(arrays.failures)


def _hearts(kept: Dataset, size: tuple[int, int]) -> dict[int, NDArray[np.bool_]]:
    """index -> (h, w) of the rows with a heart; raises DataError."""
    return {
        index: resize_mask(row.heart.load(), size) for index, row in enumerate(kept) if row.heart is not None
    }


def _need_both_classes(dataset: Dataset) -> None:
    name = dataset.target.name
    for wanted, words in ((True, f"no {name} image"), (False, f"only {name} images")):
        if not any(row.positive is wanted for row in dataset):
            raise DataError(f"has {words}, and training needs both classes", where=dataset.root)
