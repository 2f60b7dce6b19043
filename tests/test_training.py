"""Batches, resuming to the same weights, and what a run folder holds."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs

torch = pytest.importorskip("torch")

from lungsight.config import Recipe, load_recipe  # noqa: E402
from lungsight.dataset import Dataset, read_dataset  # noqa: E402
from lungsight.errors import ConfigError, DataError, LungsightError, ModelError, OutputError  # noqa: E402
from lungsight.evaluation import evaluate_run  # noqa: E402
from lungsight.evaluation.runs import stopped_early  # noqa: E402
from lungsight.networks import Mirrored  # noqa: E402
from lungsight.phantom import draw  # noqa: E402
from lungsight.records import to_toml  # noqa: E402
from lungsight.training import (  # noqa: E402
    Progress,
    load_run,
    make_split,
    predict,
    predict_masks,
    prepare,
    train,
)
from lungsight.training.data import Batches, Examples, network_inputs, to_input  # noqa: E402

SMALL = {"network.width": 0.05, "data.size": [64, 64], "training.batch": 1, "training.epochs": 3}
RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "the paper's lungs": ("paper-segmentation", {}),
    "early stopping": (
        "paper-diagnosis",
        {
            "training.epochs": 12,
            "training.learning_rate": 0.004,
            "training.seed": 1,
            "data.crop": [4, 4, 0, 4],
        },
    ),
    "average, cosine, augmentation": ("lungs-scratch", {"split.kind": "paper", "training.ema_decay": 0.8}),
    "the best epoch's weights": (
        "paper-segmentation",
        {"training.checkpoint": "best", "training.learning_rate": 0.05, "training.seed": 2},
    ),
    "lungs alone": (
        "diagnosis",
        {"split.kind": "paper", "split.only_source": "", "data.resize_to": [0, 0], "training.ema_decay": 0.9},
    ),
}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def dataset(phantoms: Path) -> Dataset:
    return read_dataset(phantoms)


def small(kind: str, **more: Any) -> Recipe:
    name, settings = RECIPES[kind]
    return load_recipe(name).with_settings(**(SMALL | settings | more))


@pytest.fixture(scope="module")
def whole(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An uninterrupted run of every kind."""
    base = tmp_path_factory.mktemp("whole")
    return {kind: train(small(kind), dataset, base / str(i)).folder for i, kind in enumerate(RECIPES)}


def history(folder: Path) -> list[str]:
    """The rows of the table without the seconds, which are its last column."""
    return [line.rpartition(",")[0] for line in (folder / "history.csv").read_text().splitlines()]


def assert_same(folder: Path, other: Path) -> None:
    assert (folder / "weights.safetensors").read_bytes() == (other / "weights.safetensors").read_bytes()
    assert history(folder) == history(other)


class _Stop:
    """Stops a run at a place in an epoch, by Ctrl-C or as if the process had been killed."""

    def __init__(self, epoch: int, step: int | None, error: type[BaseException]) -> None:
        self.epoch, self.step, self.error = epoch, step, error

    def __call__(self, progress: Progress) -> None:
        here = progress.step if progress.validation is None else None
        if (progress.epoch, here) == (self.epoch, self.step):
            raise self.error


class _KilledError(BaseException):
    """Nothing handles it, so nothing is written after it."""


def test_the_same_run_again_gives_the_same_weights(
    dataset: Dataset, whole: dict[str, Path], tmp_path: Path
) -> None:
    kind = "average, cosine, augmentation"
    assert_same(train(small(kind), dataset, tmp_path / "again").folder, whole[kind])
    other = train(small(kind, **{"training.seed": 8}), dataset, tmp_path / "other").folder
    assert history(other) != history(whole[kind])


@pytest.mark.parametrize(
    ("kind", "epoch", "step", "error"),
    [
        *((kind, 3, 10, _KilledError) for kind in RECIPES),
        ("average, cosine, augmentation", 2, 10, KeyboardInterrupt),
        ("average, cosine, augmentation", 1, 10, _KilledError),
    ],
)
def test_a_stopped_run_ends_as_an_uninterrupted_one(
    kind: str,
    epoch: int,
    step: int,
    error: type[BaseException],
    dataset: Dataset,
    whole: dict[str, Path],
    tmp_path: Path,
) -> None:
    assert len(history(whole[kind])) - 1 >= epoch
    recipe, folder = small(kind), tmp_path / "run"
    with pytest.raises(error):
        train(recipe, dataset, folder, listener=_Stop(epoch, step, error))
    assert not (folder / "weights.safetensors").exists()
    with pytest.raises(ModelError, match="holds no finished run"):
        load_run(folder)
    begun: list[int] = []
    train(recipe, dataset, folder, resume=True, listener=lambda progress: begun.append(progress.epoch))
    assert begun[0] == epoch
    assert_same(folder, whole[kind])


@pytest.mark.parametrize("kind", RECIPES)
def test_a_run_killed_before_its_weights_were_written_trains_no_more(
    kind: str, dataset: Dataset, whole: dict[str, Path], tmp_path: Path
) -> None:
    """Early stopping still holds, and the average is still what is kept."""
    folder = tmp_path / "run"
    shutil.copytree(whole[kind], folder)
    for name in ("weights.safetensors", "history.csv", "training.json"):
        (folder / name).unlink()
    begun: list[Progress] = []
    train(small(kind), dataset, folder, resume=True, listener=begun.append)
    assert not begun
    assert_same(folder, whole[kind])


def test_a_damaged_checkpoint_is_named(dataset: Dataset, whole: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole["the paper's lungs"], folder)
    (folder / "weights.safetensors").unlink()
    last = folder / "checkpoints" / "last.ckpt"
    for damage in (last.read_bytes()[:5000], b"", b"no checkpoint"):
        last.write_bytes(damage)
        with pytest.raises(ModelError, match=r"last\.ckpt: the checkpoint is damaged"):
            train(small("the paper's lungs"), dataset, folder, resume=True)
    last.unlink()
    train(small("the paper's lungs"), dataset, folder, resume=True)
    assert_same(folder, whole["the paper's lungs"])


def test_early_stopping_stops_early(whole: dict[str, Path]) -> None:
    assert 2 <= len(history(whole["early stopping"])) - 1 < 12


def test_the_best_epoch_is_kept_where_the_recipe_says_so(
    dataset: Dataset, whole: dict[str, Path], tmp_path: Path
) -> None:
    kind = "the best epoch's weights"
    rows = train(small(kind), dataset, whole[kind], resume=True).history
    best = int(np.argmin([row["val_loss"] for row in rows])) + 1
    assert best < len(rows), "this seed must have its best epoch before the last one for the test to tell"
    short = train(
        small(kind, **{"training.epochs": best, "training.checkpoint": "last"}), dataset, tmp_path / "short"
    )
    weights = [(folder / "weights.safetensors").read_bytes() for folder in (short.folder, whole[kind])]
    assert weights[0] == weights[1]


def test_the_average_is_not_the_last_step(dataset: Dataset, whole: dict[str, Path], tmp_path: Path) -> None:
    kind = "average, cosine, augmentation"
    plain = train(small(kind, **{"training.ema_decay": 0.0}), dataset, tmp_path / "plain").folder
    assert (plain / "weights.safetensors").read_bytes() != (whole[kind] / "weights.safetensors").read_bytes()


def test_a_finished_run_is_returned_as_it_is(
    dataset: Dataset, whole: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning.Trainer.fit", lambda *_, **__: pytest.fail("it trained again"))
    run = train(small("the paper's lungs"), dataset, whole["the paper's lungs"], resume=True)
    assert len(run.history) == 3
    assert run.seconds == pytest.approx(sum(row["seconds"] for row in run.history), abs=0.1)


def test_a_folder_with_a_run_is_refused(dataset: Dataset, whole: dict[str, Path]) -> None:
    with pytest.raises(OutputError, match=r"already holds a run. Add --resume"):
        train(small("the paper's lungs"), dataset, whole["the paper's lungs"])


def test_other_settings_are_refused(dataset: Dataset, whole: dict[str, Path]) -> None:
    recipe = small("the paper's lungs", **{"training.epochs": 4})
    with pytest.raises(ConfigError, match="was made with other settings"):
        train(recipe, dataset, whole["the paper's lungs"], resume=True)


def test_other_data_are_refused(dataset: Dataset, whole: dict[str, Path]) -> None:
    """A run that went on with other images would report on what it had learned from."""
    fewer = dataset.where(lambda row: row.id != dataset.rows[0].id)
    with pytest.raises(DataError, match="is not the data set of this run"):
        train(small("the paper's lungs"), fewer, whole["the paper's lungs"], resume=True)


def test_a_time_limit_stops_before_the_epoch_that_would_not_fit(dataset: Dataset, tmp_path: Path) -> None:
    run = train(small("the paper's lungs", **{"training.epochs": 500}), dataset, tmp_path / "r", minutes=0.01)
    assert run.out_of_time
    assert 1 <= len(run.history) < 100
    assert json.loads((run.folder / "training.json").read_text())["out_of_time"] is True
    load_run(run.folder)
    said = f"the network was trained for {len(run.history)} of 500 epochs: its time was up"
    assert said in map(str, evaluate_run(run.folder, dataset).record.notes)


def test_more_time_makes_a_run_that_was_ended_by_the_clock_the_whole_one(
    dataset: Dataset, whole: dict[str, Path], tmp_path: Path
) -> None:
    recipe, folder = small("the paper's lungs"), tmp_path / "r"
    first = train(recipe, dataset, folder, minutes=1e-6)
    assert first.out_of_time and len(first.history) == 1
    kept = train(recipe, dataset, folder, resume=True)
    assert kept.out_of_time and len(kept.history) == 1
    again = train(recipe, dataset, folder, resume=True, more_time=True)
    assert not again.out_of_time and len(again.history) == recipe.training.epochs > 1
    assert_same(folder, whole["the paper's lungs"])


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ('{"epochs": 2, "out_of_time": true}', 1),
        ('{"epochs": 3, "out_of_time": true}', 0),  # all that were planned
        ('{"epochs": 2, "out_of_time": false}', 0),  # early stopping
        ('{"epochs": 2}', 0),
        ("[", 0),
        (None, 0),
    ],
)
def test_only_a_run_whose_time_was_up_says_so(text: str | None, count: int, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "training.json").write_text(text)
    assert len(stopped_early(tmp_path, 3)) == count


def test_flips_are_taken_up_by_whatever_loads_the_run(
    dataset: Dataset, whole: dict[str, Path], tmp_path: Path
) -> None:
    plain = whole["the paper's lungs"]
    flipped = tmp_path / "flipped"
    shutil.copytree(plain, flipped)
    recipe = load_recipe(plain / "config.toml").with_settings(**{"evaluation.tta_flip": True})
    (flipped / "config.toml").write_text(to_toml(recipe))
    _, examples, _ = prepare(dataset, recipe)
    here, there = examples.inputs[:3], examples.inputs[:3, :, ::-1]
    for folder, same in ((plain, False), (flipped, True)):
        _, network = load_run(folder)
        found = [predict(network, recipe, part) for part in (here, there)]
        assert np.allclose(found[0], found[1][:, :, ::-1], atol=1e-5) is same


def test_a_run_folder_tells_what_it_is(dataset: Dataset, whole: dict[str, Path]) -> None:
    folder = whole["the paper's lungs"]
    assert load_recipe(folder / "config.toml") == small("the paper's lungs")
    facts = json.loads((folder / "provenance.json").read_text())
    assert facts["seed"] == 2020
    assert facts["split"]["name"] == "paper-segmentation"
    lines = (folder / "split.csv").read_text().splitlines()[1:]
    parts = {line.split(",")[0]: line.split(",")[1] for line in lines}
    rows = {row.id: row for row in dataset}
    assert {part for name, part in parts.items() if not rows[name].covid} == {"train"}
    assert sum(part == "validation" for part in parts.values()) == facts["split"]["validation"] > 0
    assert 0 <= json.loads((folder / "training.json").read_text())["data_wait_fraction"] < 1


def test_training_learns(dataset: Dataset, tmp_path: Path) -> None:
    recipe = load_recipe("lungs-scratch").with_settings(
        **(SMALL | {"network.width": 0.2, "training.epochs": 25, "split.kind": "paper", "training.batch": 4}),
        **{"training.augmentation": "none", "training.ema_decay": 0.0, "training.learning_rate": 5e-3},
    )
    run = train(recipe, dataset, tmp_path / "run")
    assert run.history[-1]["loss"] < 0.6 * run.history[0]["loss"]
    assert run.history[-1]["val_dice"] > 0.85


def test_reported_validation_figures_are_those_of_the_kept_weights(
    dataset: Dataset, whole: dict[str, Path]
) -> None:
    for kind in ("the paper's lungs", "average, cosine, augmentation"):
        recipe, network = load_run(whole[kind])
        if isinstance(network, Mirrored):
            network = network.network  # training watches the network itself
        kept, examples, _ = prepare(dataset, recipe)
        part = np.array(make_split(kept, recipe).validation)
        assert examples.masks is not None
        probability, truth = predict(network, recipe, examples.inputs[part]), examples.masks[part]
        reported = train(recipe, dataset, whole[kind], resume=True).history[-1]
        assert ((probability > 0.5) == truth).mean() == pytest.approx(reported["val_accuracy"], abs=0.01)


def test_predicted_masks_need_a_lung_run_of_that_size(dataset: Dataset, whole: dict[str, Path]) -> None:
    images = np.zeros((3, 64, 64), np.uint8)
    masks = predict_masks(whole["the paper's lungs"], images)
    assert (masks.shape, masks.dtype) == (images.shape, bool)
    with pytest.raises(ModelError, match="is no lung run of this image size"):
        predict_masks(whole["the paper's lungs"], images[:, :32])
    with pytest.raises(ModelError, match="is no lung run"):
        predict_masks(whole["early stopping"], images)


def test_masks_of_the_network_that_ships() -> None:
    """In place of a lung run, and of any size."""
    drawn = draw(np.random.default_rng(3), hospital="north", covid=False, size=192)
    (found,) = predict_masks(Path("shipped"), drawn.pixels[None])
    assert 2 * (found & drawn.mask).sum() / (found.sum() + drawn.mask.sum()) > 0.9


def test_masks_of_a_lung_run_replace_the_tables_own(dataset: Dataset, whole: dict[str, Path]) -> None:
    recipe = load_recipe("paper-diagnosis-lungs").with_settings(**SMALL, **{"data.crop": [0, 0, 0, 0]})
    _, own, _ = prepare(dataset, recipe)
    _, predicted, _ = prepare(dataset, recipe, mask_run=whole["the paper's lungs"])
    assert not np.array_equal(own.inputs, predicted.inputs)
    images = prepare(dataset, small("the paper's lungs"))[1].inputs
    masks = predict_masks(whole["the paper's lungs"], images)
    assert np.array_equal(predicted.inputs, np.where(masks, images, 0))


# ---------------------------------------------------------------------------------------------- batches


def examples(count: int = 20, *, lungs: bool = True) -> Examples:
    rng = np.random.default_rng(0)
    inputs = rng.integers(1, 256, (count, 16, 16), dtype=np.uint8)
    groups = (np.arange(count) >= count - 4).astype(np.int64)
    if lungs:
        return Examples(inputs, inputs > 128, None, groups)
    return Examples(inputs, None, groups.astype(np.float32), groups)


def batches(recipe: Recipe, epoch: int, *, training: bool = True, count: int = 20) -> Batches:
    return Batches(examples(count), np.arange(count), recipe, training=training, epoch=epoch)


@pytest.mark.parametrize("augmentation", ["none", "lungs"])
def test_batches_depend_on_seed_and_epoch_alone(augmentation: str) -> None:
    recipe = small("the paper's lungs", **{"training.batch": 6, "training.augmentation": augmentation})
    first, again, later = batches(recipe, 0), batches(recipe, 0), batches(recipe, 1)
    assert len(first) == 4
    # In any order: a loader with workers asks as it likes.
    for number in (3, 0, 2, 1):
        for one, other in zip(first[number], again[number], strict=True):
            assert torch.equal(one, other)
    assert not torch.equal(first[0][0], later[0][0])
    reseeded = batches(recipe.with_settings(**{"training.seed": 1}), 0)
    assert not torch.equal(first[0][0], reseeded[0][0])


def test_an_epoch_shows_every_image_once_and_its_own_mask() -> None:
    recipe = small("the paper's lungs", **{"training.batch": 6})
    source = examples()
    seen = []
    for images, target in (batches(recipe, 2)[i] for i in range(4)):
        assert images.shape[1:] == (3, 16, 16)
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(target[:, 0] == 1, images[:, 0] > 128.5 / 255)
        seen += [bytes((image[0] * 255).round().byte().numpy()) for image in images]
    assert sorted(seen) == sorted(image.tobytes() for image in source.inputs)
    with pytest.raises(IndexError):
        batches(recipe, 0)[4]


def test_validation_is_in_order_and_never_augmented() -> None:
    recipe = small("the paper's lungs", **{"training.batch": 6, "training.augmentation": "lungs"})
    shown = batches(recipe, 5, training=False)
    assert shown.order.tolist() == list(range(20))
    assert torch.equal(shown[0][0][:, 0], torch.from_numpy(examples().inputs[:6].astype(np.float32) / 255))


def test_balance_draws_a_rare_group_by_the_root_of_its_count() -> None:
    recipe = small("the paper's lungs", **{"training.balance": "source-and-class"})
    source, drawn = examples(500), []
    for epoch in range(30):
        order = Batches(source, np.arange(500), recipe, training=True, epoch=epoch).order
        assert len(order) == 500
        drawn.append(source.groups[order].mean())
    wanted = np.sqrt(4) / (np.sqrt(4) + np.sqrt(496))
    assert np.mean(drawn) == pytest.approx(wanted, rel=0.1)


def test_labels_go_with_their_images() -> None:
    recipe = small("early stopping", **{"training.batch": 20})
    source = examples(lungs=False)
    found = Batches(source, np.arange(20), recipe, training=True, epoch=3)
    _, target = found[0]
    assert target.shape == (20, 1)
    assert source.labels is not None
    assert target[:, 0].tolist() == source.labels[found.order].tolist()
    with pytest.raises(ValueError, match="neither masks nor labels"):
        Batches(dataclasses.replace(source, labels=None), np.arange(20), recipe, training=True)[0]


def test_read_only_pixels_are_taken_without_a_warning() -> None:
    images = np.arange(32, dtype=np.uint8).reshape(2, 4, 4)
    images.setflags(write=False)
    batch = to_input(images, 3)  # a warning is an error
    assert batch.shape == (2, 3, 4, 4)
    assert torch.equal(batch[:, 0], batch[:, 2])
    assert float(batch.max()) == pytest.approx(31 / 255)


def test_what_the_network_sees() -> None:
    images = np.full((1, 64, 64), 200, np.uint8)
    images[0, 20:40, 20:30] = np.arange(20, dtype=np.uint8)[:, None] + 100
    masks = np.zeros((1, 64, 64), bool)
    masks[0, 20:40, 20:30] = True
    settings = small("early stopping").data
    cropped = network_inputs(images, masks, structs.replace(settings, crop=(10, 4, 2, 3)))
    assert np.array_equal(cropped, images[:, 10:62, 4:61])
    masked = network_inputs(
        images, masks, structs.replace(settings, crop_mode="apply_mask", crop=(0, 0, 0, 0))
    )
    assert np.array_equal(masked, np.where(masks, images, 0))
    alone = network_inputs(images, masks, structs.replace(settings, crop_mode="crop_to_lungs"))
    assert alone.shape == (1, 64, 64)
    assert (alone.min(), alone.max()) == (0, 255)
    assert not network_inputs(
        images, masks & False, structs.replace(settings, crop_mode="crop_to_lungs")
    ).any()


# ------------------------------------------------------------------------------------------------ splits


def test_the_split_follows_the_recipe(dataset: Dataset) -> None:
    lungs, patient = small("the paper's lungs"), small("the paper's lungs", **{"split.kind": "patient"})
    assert not make_split(dataset, lungs).test
    split = make_split(dataset, patient)
    patients = [
        {dataset.rows[i].patient for i in part} for part in (split.train, split.validation, split.test)
    ]
    assert all(patients)
    assert not (patients[0] & patients[1] or patients[0] & patients[2] or patients[1] & patients[2])


def test_a_run_of_one_source_sees_no_other(dataset: Dataset, tmp_path: Path) -> None:
    source = next(row.source for row in dataset if row.covid)
    recipe = small("the paper's lungs", **{"split.only_source": source, "training.epochs": 1})
    train(recipe, dataset, tmp_path / "run")
    listed = {line.split(",")[0] for line in (tmp_path / "run" / "split.csv").read_text().splitlines()[1:]}
    assert listed
    assert {row.source for row in dataset if row.id in listed} == {source}
    with pytest.raises(DataError, match="has no image of the source 'mars'"):
        train(recipe.with_settings(**{"split.only_source": "mars"}), dataset, tmp_path / "other")


def test_folds_test_every_image_once(dataset: Dataset) -> None:
    recipe = small("early stopping", **{"split.kind": "patient", "split.folds": 3})
    tested: list[int] = []
    for fold in range(3):
        split = make_split(dataset, recipe.with_settings(**{"split.fold": fold}))
        assert sorted((*split.train, *split.validation, *split.test)) == list(range(len(dataset)))
        tested += split.test
    assert sorted(tested) == list(range(len(dataset)))


def test_lungs_can_be_learned_without_covid_images(dataset: Dataset, tmp_path: Path) -> None:
    healthy = dataset.where(lambda row: not row.covid)
    recipe = small("average, cosine, augmentation", **{"split.kind": "patient", "training.epochs": 1})
    assert len(train(recipe, healthy, tmp_path / "run").history) == 1


@pytest.mark.parametrize(
    ("kind", "keep", "words"),
    [
        ("the paper's lungs", lambda row: not row.covid, "has no COVID-19 image"),
        ("early stopping", lambda row: row.covid, "has only COVID-19 images"),
        ("the paper's lungs", lambda row: False, "no lung masks"),
    ],
)
def test_data_that_do_not_do_are_refused(
    kind: str, keep: Any, words: str, dataset: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(LungsightError, match=words):
        train(small(kind), dataset.where(keep), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_network_that_does_not_fit_leaves_no_folder(dataset: Dataset, tmp_path: Path) -> None:
    for change in ({"data.size": [72, 64]}, {"network.name": "paper-cnn"}, {"network.name": "u-net"}):
        with pytest.raises(ConfigError):
            train(small("the paper's lungs", **change), dataset, tmp_path / "run")
    assert not (tmp_path / "run").exists()
