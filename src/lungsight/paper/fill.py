"""From runs and evaluations to what the reproduction report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lungsight.config import DataSettings, load_recipe
from lungsight.dataset import Dataset, Description, Row
from lungsight.dataset.split import Split
from lungsight.evaluation import Evaluation
from lungsight.paper.budget import Plan
from lungsight.paper.content import (
    Architecture,
    ComparisonRow,
    CountTable,
    DiagnosisResult,
    SegmentationResult,
)
from lungsight.paper.content import (
    Run as RunContent,
)
from lungsight.paper.layers import architecture
from lungsight.preprocess import Edges
from lungsight.report.content import (
    CropExample,
    Curve,
    MaskExample,
    Measure,
)
from lungsight.training import Run
from lungsight.training.data import Examples

if TYPE_CHECKING:
    from lungsight.paper.reproduce import Finished

TITLES = {
    "paper-segmentation": "Lung segmentation",
    "paper-segmentation-500": "Lung segmentation, 500 non-COVID training images",
    "paper-diagnosis": "Diagnosis",
    "paper-diagnosis-crop20": "Diagnosis, leftmost and topmost 20 pixels cut off",
    "paper-diagnosis-lungs": "Diagnosis, predicted lung masks applied first",
    "paper-diagnosis-by-patient": "Diagnosis, patients apart (not in the paper)",
}


def comparison(
    described: Description, splits: Mapping[str, Split], done: Mapping[str, Finished]
) -> list[ComparisonRow]:
    """Every number of the paper beside ours."""
    subset = "a part of the full set" if described.all.total < 6000 else ""
    rows = [
        ComparisonRow("Data", words, paper, ours, subset)
        for words, paper, ours in (
            ("Images", 6504, described.all.total),
            ("COVID-19 images", 521, described.all.covid),
            ("Other images", 5983, described.all.not_covid),
            ("Images with a lung mask", 6396, described.with_mask.total),
            ("COVID-19 images with a lung mask", 439, described.with_mask.covid),
            ("Other images with a lung mask", 5957, described.with_mask.not_covid),
            ("Images without a lung mask, left out", 108, described.all.total - described.with_mask.total),
        )
    ]
    for name, paper in (
        ("paper-segmentation", (4477, 132, 15, 0.9697, 0.9575, 0.8666, 0.9273)),
        ("paper-segmentation-500", (None, 132, None, 0.9538, 0.9114, None, None)),
    ):
        rows += _lungs_rows(name, splits[name], done[name], paper)
    for name, values in (
        ("paper-diagnosis", (4477, 1919, 2, 0.9620, 0.9666, 0.985)),
        ("paper-diagnosis-crop20", (4477, 1919, None, 0.9723, 0.9666, None)),
        ("paper-diagnosis-lungs", (None, None, None, None, None, None)),
    ):
        rows += _diagnosis_rows(name, splits["paper-diagnosis"], done[name], values)
    return rows


def _deviation(run: Run, *more: str) -> str:
    recipe, paper = run.recipe, load_recipe(run.recipe.name)
    parts = [f"width {recipe.network.width:g}"] if recipe.network.width != 1 else []
    if recipe.training.learning_rate != paper.training.learning_rate:
        parts.append(f"learning rate {recipe.training.learning_rate:g}")
    if recipe.training.batch != paper.training.batch:
        parts.append(f"batches of {recipe.training.batch}")
    epochs = f"{len(run.history)} epochs"
    if recipe.training.half_size_epochs:
        epochs += f", the first {min(recipe.training.half_size_epochs, len(run.history))} at half the side"
    return ", ".join([*parts, epochs, f"seed {recipe.training.seed}", *filter(None, more)])


def _lungs_rows(
    name: str, split: Split, finished: Finished, paper: Sequence[float | None]
) -> list[ComparisonRow]:
    run, metrics = finished.run, finished.evaluation.masks
    if metrics is None:
        raise TypeError(f"{name} is no lung run")
    part, deviation, last = TITLES[name], _deviation(run), run.history[-1]
    train, validation, epochs, train_accuracy, accuracy, iou, dice = paper
    at = f"threshold {metrics.threshold:g}"
    return [
        ComparisonRow(part, "Training images", train, len(split.train)),
        ComparisonRow(part, "Validation images (COVID-19 only)", validation, len(split.validation)),
        ComparisonRow(part, "Epochs", epochs, len(run.history)),
        ComparisonRow(
            part, "Training accuracy (pixels, last epoch)", train_accuracy, last["accuracy"], deviation
        ),
        ComparisonRow(
            part, "Validation accuracy (pixels, threshold 0.5)", accuracy, last["val_accuracy"], deviation
        ),
        ComparisonRow(
            part,
            f"Validation accuracy (pixels, {at})",
            None,
            Measure.of(metrics.pooled["accuracy"]),
            deviation,
        ),
        *(
            ComparisonRow(part, f"{word}, {how}, {at}", value, Measure.of(where[key]), deviation)
            for word, key, value in (("IoU", "iou", iou), ("Dice", "dice", dice))
            for how, where in (("mean of images", metrics.per_image), ("pooled pixels", metrics.pooled))
        ),
    ]


def _diagnosis_rows(
    name: str, split: Split, finished: Finished, paper: Sequence[float | None]
) -> list[ComparisonRow]:
    run, metrics = finished.run, finished.evaluation.score
    if metrics is None:
        raise TypeError(f"{name} is no diagnosis run")
    part, deviation = TITLES[name], _deviation(run)
    train, validation, epochs, train_accuracy, accuracy, auc = paper
    return [
        ComparisonRow(part, "Training images", train, len(split.train)),
        ComparisonRow(part, "Validation images", validation, len(split.validation)),
        ComparisonRow(part, "Epochs before early stopping", epochs, len(run.history)),
        ComparisonRow(
            part, "Training accuracy (last epoch)", train_accuracy, run.history[-1]["accuracy"], deviation
        ),
        ComparisonRow(
            part, "Validation accuracy", accuracy, Measure.of(metrics.metrics["accuracy"]), deviation
        ),
        ComparisonRow(
            part,
            "Accuracy of always answering 'not COVID-19'",
            0.9312 if accuracy else None,
            metrics.majority_accuracy,
            "the paper does not print it: 1,787 of 1,919" if accuracy else "",
        ),
        ComparisonRow(part, "AUC", auc, Measure.of(metrics.metrics["auroc"]), deviation),
    ]


def tables(described: Description, kept: Dataset, splits: Mapping[str, Split]) -> list[CountTable]:
    """The paper's tables 1 to 5 on this data set."""

    def counts(
        part: Sequence[int], paper: tuple[int | None, int | None]
    ) -> list[tuple[str, int | None, int | None]]:
        covid = sum(bool(kept.rows[i].covid) for i in part)
        total = None if None in paper else sum(value or 0 for value in paper)
        return [
            ("Not COVID-19", paper[0], len(part) - covid),
            ("COVID-19", paper[1], covid),
            ("Total", total, len(part)),
        ]

    smallest, largest = (
        f"{size[1]} x {size[0]}" if size else "" for size in (described.smallest, described.largest)
    )
    lungs, diagnosis = splits["paper-segmentation"], splits["paper-diagnosis"]
    return [
        CountTable(
            1,
            "The data set",
            [
                ("Images", 6504, described.all.total),
                ("COVID-19", 521, described.all.covid),
                ("Not COVID-19", 5983, described.all.not_covid),
                ("With a lung mask", 6396, described.with_mask.total),
                ("With a lung mask, COVID-19", 439, described.with_mask.covid),
                ("With a lung mask, not COVID-19", 5957, described.with_mask.not_covid),
                ("Without a lung mask, left out", 108, described.all.total - described.with_mask.total),
                ("Smallest image", "156 x 156", smallest),
                ("Largest image", "5600 x 4700", largest),
            ],
        ),
        CountTable(2, "Lung segmentation, training part", counts(lungs.train, (4170, 307))),
        CountTable(3, "Lung segmentation, validation part", counts(lungs.validation, (0, 132))),
        CountTable(4, "Diagnosis, training part", counts(diagnosis.train, (4170, 307))),
        CountTable(5, "Diagnosis, validation part", counts(diagnosis.validation, (1787, 132))),
    ]


def unet(plan: Plan) -> Architecture:
    """Figure 3."""
    return architecture(
        "paper-unet",
        "U-Net for lung masks",
        plan.lungs_width,
        load_recipe("paper-segmentation").data.size,
        "The paper does not print filters or dropout; these are of the Keras form that it names.",
    )


def cnn(plan: Plan) -> Architecture:
    """Figure 6."""
    settings = load_recipe("paper-diagnosis").data
    top, left, bottom, right = settings.crop
    size = (settings.size[0] - top - bottom, settings.size[1] - left - right)
    return architecture(
        "paper-cnn",
        "CNN for diagnosis",
        plan.diagnosis_width,
        size,
        "The paper does not print its filters; 32 and 64 with 'valid' padding are Keras's usual ones.",
    )


def mask_examples(evaluation: Evaluation, count: int = 6) -> list[MaskExample]:
    """Figure 4: images and their true masks, spread over the part."""
    found = evaluation.predictions
    if found.truth is None or found.inputs is None:
        return []
    chosen = np.unique(np.linspace(0, len(found.rows) - 1, count).astype(int))
    return [MaskExample(found.inputs[i], found.truth[i], caption=_caption(found.rows[i])) for i in chosen]


def predictions(evaluation: Evaluation, count: int = 8) -> list[MaskExample]:
    """Figure 5: from the worst Dice to the best, evenly by rank."""
    found, values = evaluation.predictions, evaluation.mask_values
    if found.truth is None or found.inputs is None or found.maps is None or values is None:
        return []
    dice = values.values["dice"]
    order = np.argsort(dice)
    chosen = order[np.unique(np.linspace(0, len(order) - 1, count).astype(int))]
    return [
        MaskExample(found.inputs[i], found.truth[i], found.maps[i], float(dice[i]), _caption(found.rows[i]))
        for i in chosen
    ]


def _caption(row: Row) -> str:
    return f"{row.id} {row.finding}".strip()


def crops(kept: Dataset, examples: Examples, settings: DataSettings, count: int = 4) -> list[CropExample]:
    """Figure 7: what the diagnosis crop takes away."""
    covid = [i for i, row in enumerate(kept) if row.covid][: count // 2]
    others = [i for i, row in enumerate(kept) if not row.covid][: count - len(covid)]
    return [_crop(kept, examples, settings, i) for i in (*covid, *others)]


def marked(kept: Dataset, examples: Examples, settings: DataSettings, count: int = 6) -> list[CropExample]:
    """Figure 9: images with letters or markings, found as near-white pixels outside the lungs near the edges."""
    height, width = examples.inputs.shape[1:3]
    edge = np.ones((height, width), bool)
    edge[height // 6 :, width // 6 : -(width // 6)] = False
    edge[3 * height // 5 :] = False
    scores = np.zeros(len(kept))
    for i, image in enumerate(examples.inputs):
        bright = (image > 245) & edge
        share = bright.mean()
        # More than that is an overexposed shoulder, not a letter.
        scores[i] = share if share < 0.012 else 0.0
    order = np.argsort(scores)[::-1]
    chosen: list[int] = []
    for covid in (True, False):
        chosen += [int(i) for i in order if bool(kept.rows[i].covid) is covid and scores[i] > 0][: count // 2]
    return [_crop(kept, examples, settings, i) for i in chosen]


def _crop(kept: Dataset, examples: Examples, settings: DataSettings, place: int) -> CropExample:
    image: NDArray[np.uint8] = examples.inputs[place]
    row = kept.rows[place]
    shape = (int(image.shape[0]), int(image.shape[1]))
    return CropExample(image, Edges(*settings.crop).box(shape), f"{row.id} {row.finding}".strip())


def _run(finished: Finished, train: int) -> RunContent:
    run, recipe = finished.run, finished.run.recipe
    stopped = ""
    if run.out_of_time:
        stopped = "the time was up"
    elif len(run.history) < recipe.training.epochs:
        stopped = f"early stopping, patience {recipe.training.patience}"
    renamed = {"loss": "train_loss", "accuracy": "train_accuracy"}
    history = [
        {renamed.get(key, key.replace("val_", "validation_")): value for key, value in row.items()}
        for row in run.history
    ]
    return RunContent(
        recipe.name,
        TITLES[recipe.name],
        "lungs" if recipe.task == "lungs" else "covid",
        train,
        finished.evaluation.record.images,
        history,
        recipe.network.width,
        len(run.history),
        recipe.training.epochs,
        run.seconds,
        stopped,
    )


def _training_images(run: Run) -> int:
    from lungsight.evaluation.runs import read_split

    return sum(part == "train" for part in read_split(run.folder).values())


def segmentation(finished: Finished) -> SegmentationResult:
    """A lung run for the report."""
    metrics = finished.evaluation.masks
    if metrics is None:
        raise TypeError("this is no lung run")
    run = _run(finished, _training_images(finished.run))
    return SegmentationResult(run, finished.evaluation.record.images, metrics)


def diagnosis(finished: Finished) -> DiagnosisResult:
    """A diagnosis run for the report."""
    metrics, curves = finished.evaluation.score, finished.evaluation.curves
    if metrics is None or curves is None:
        raise TypeError("this is no diagnosis run")
    roc, (low, high) = curves.roc, curves.band
    curve = Curve(roc.false_positive_rate, roc.true_positive_rate, low, high, curves.grid)
    run = _run(finished, _training_images(finished.run))
    return DiagnosisResult(run, finished.evaluation.record.images, metrics, curve)


def is_synthetic(dataset: Dataset) -> bool:
    """Whether the images are phantoms."""
    return bool(dataset.rows) and all(row.original_filename.startswith("phantom") for row in dataset)


def notes(dataset: Dataset, failures: Sequence[tuple[str, str]], done: Mapping[str, Finished]) -> list[str]:
    """What a reader of this run must know besides."""
    found = [f"Left out, could not be read: {name} ({reason})." for name, reason in failures[:20]]
    if len(failures) > 20:
        found.append(f"and {len(failures) - 20} more that could not be read.")
    stopped = [name for name, finished in done.items() if finished.run.out_of_time]
    if stopped:
        found.append(f"Stopped before the last planned epoch because the time was up: {', '.join(stopped)}.")
    if dataset.excluded:
        found.append(f"{len(dataset.excluded)} images of the data set were left out by its own rules.")
    return found
