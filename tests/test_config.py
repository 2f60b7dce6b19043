"""Recipes: read, checked, written back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungsight.config import Recipe, load_recipe, recipe_names
from lungsight.errors import ConfigError
from lungsight.records import build, from_toml, plain, to_toml


def test_the_shipped_recipes_are_those_of_the_documentation() -> None:
    assert set(recipe_names()) >= {
        "lungs",
        "paper-diagnosis",
        "paper-diagnosis-crop20",
        "paper-diagnosis-lungs",
        "paper-segmentation",
        "paper-segmentation-500",
    }


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_loads_and_comes_back(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    (tmp_path / "r.toml").write_text(to_toml(recipe))
    assert load_recipe(tmp_path / "r.toml") == recipe


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_has_a_network_that_fits(name: str) -> None:
    pytest.importorskip("torch")
    from lungsight.networks import check

    recipe = load_recipe(name)
    check(recipe.network.name, size=recipe.data.input_size, masks=recipe.task == "lungs")


def test_the_papers_settings() -> None:
    lungs = load_recipe("paper-segmentation")
    assert (lungs.network.name, lungs.network.width, lungs.data.size) == ("paper-unet", 1.0, (256, 256))
    assert (lungs.training.epochs, lungs.training.optimiser, lungs.training.loss) == (15, "adam", "bce")
    assert (lungs.evaluation.threshold, lungs.split.kind) == (0.2, "paper")
    assert load_recipe("paper-segmentation-500").split.non_covid_limit == 500
    diagnosis = load_recipe("paper-diagnosis")
    assert diagnosis.data.crop == (10, 10, 0, 10)
    assert diagnosis.training.patience == 1
    assert load_recipe("paper-diagnosis-crop20").data.crop == (20, 20, 0, 0)
    assert load_recipe("paper-diagnosis-lungs").data.crop_mode == "apply_mask"


_NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=60, deadline=None)
@given(
    name=st.text(),
    source=st.text(),
    width=st.floats(1e-6, 4),
    rate=st.floats(1e-12, 0.999),
    size=st.tuples(st.integers(64, 2048), st.integers(64, 2048)),
    crop=st.tuples(*[st.integers(0, 31)] * 4),
    channels=st.sampled_from([1, 3]),
    mode=st.sampled_from(["resize", "apply_mask", "crop_to_lungs"]),
    epochs=st.integers(1, 10_000),
    seed=st.integers(0, 2**32 - 1),
    decay=st.floats(0, 0.999_999),
    choose=st.booleans(),
)
def test_settings_come_back_from_toml(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    source: str,
    width: float,
    rate: float,
    size: tuple[int, int],
    crop: tuple[int, ...],
    channels: int,
    mode: str,
    epochs: int,
    seed: int,
    decay: float,
    choose: bool,
) -> None:
    recipe = build(
        Recipe,
        {
            "name": name,
            "task": "diagnosis",
            "network": {"width": width},
            "data": {"size": list(size), "crop": list(crop), "channels": channels, "crop_mode": mode},
            "split": {"only_source": source},
            "training": {
                "epochs": epochs,
                "learning_rate": rate,
                "seed": seed,
                "ema_decay": decay,
            },
            "evaluation": {"choose_threshold": choose},
        },
    )
    path = tmp_path_factory.getbasetemp() / "recipe.toml"
    path.write_bytes(to_toml(recipe).encode())
    assert load_recipe(path) == recipe
    assert build(Recipe, plain(recipe)) == recipe


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("training.epoch=3", "training.epoch is not known. Did you mean training.epochs?"),
        ("trainning.epochs=3", "trainning is not known. Did you mean training?"),
        ("training.zzz=3", "Known: epochs, batch"),
        ("name.x=3", "name.x is not known"),
        ("training.epochs", "is not a setting. Write it as section.name=value"),
        ("training.epochs=2.5", "training.epochs must be a whole number at least 1, at most 10000"),
        ("training.epochs=true", "training.epochs must be a whole number"),
        ("training.epochs=0", "training.epochs must be a whole number at least 1"),
        ("training.epochs=10001", "at most 10000"),
        ("training.learning_rate=fast", "training.learning_rate must be a number above 0, below 1"),
        ("training.learning_rate=nan", "training.learning_rate must be a number above 0, below 1"),
        ("training.learning_rate=1", "training.learning_rate must be"),
        ("training.weight_decay=-1", "training.weight_decay must be"),
        ("training.weight_decay=inf", "training.weight_decay must be"),
        ("training.averaging=1", "training.ema_decay must be a number at least 0, below 1"),
        ("training.optimiser=lion", "training.optimiser must be one of 'adam', 'adamw'"),
        ("training.seed=-1", "training.seed must be a whole number at least 0"),
        ("training.seed=4294967296", "below 4294967296"),
        ("training.patience=-1", "training.patience must be a whole number at least 0"),
        ("training=3", "training must be a table"),
        ("data.channels=true", "data.channels must be one of 1, 3"),
        ("data.channels=3.0", "data.channels must be one of 1, 3"),
        ("data.size=256", "data.size must be a list"),
        ("data.size=[256]", "data.size must be a list of 2"),
        ("data.size=[256, 8]", "data.size[1] must be a whole number at least 16, at most 2048"),
        ("data.crop=[0, -1, 0, 0]", "data.crop[1] must be a whole number at least 0"),
        ("data.crop=[200, 0, 56, 0]", "data.crop must be smaller than size"),
        ("data.resize_to=[64, 64]", "data.resize_to must be left out but for"),
        ("network.width=0", "network.width must be a number above 0, at most 4"),
        ("evaluation.threshold=1", "evaluation.threshold must be a number above 0, below 1"),
        ("evaluation.flip=true", "evaluation.tta_flip must be false but for lungs"),
        ("split.fold=5", "split.fold must be -1, or below split.folds"),
        ("split.folds=2", "split.folds must be a whole number at least 3"),
        ("split.non_covid_limit=-3", "split.non_covid_limit must be a whole number at least 0"),
    ],
)
def test_a_wrong_setting_is_named(setting: str, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_recipe("paper-diagnosis", [setting])
    assert words in str(error.value)


def test_lungs_are_not_cropped() -> None:
    with pytest.raises(ConfigError, match=r"data.crop must be 0 where the task is 'lungs'"):
        load_recipe("lungs", ["data.crop=[1, 0, 0, 0]"])


def test_settings_on_the_command_line_need_no_quotes() -> None:
    recipe = load_recipe("lungs", ["split.kind=paper", "data.size=[64, 96]", "network.width=1"])
    assert recipe.split.kind == "paper"
    assert recipe.data.size == (64, 96)
    assert isinstance(recipe.network.width, float)
    assert load_recipe("lungs").split.kind == "patient"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name = ", "is not TOML"),
        ("task = 'lungs'", "name is missing"),
        ("name = 'x'\ntask = 'heart'", "task must be one of 'lungs'"),
        ("name = 'x'\ntask = 'lungs'\nepochs = 3", "epochs is not known"),
        ("name = 'x'\ntask = 'lungs'\n[data]\nsize = ['a', 'b']", "data.size[0] must be a whole number"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_recipe(path)
    assert words in str(error.value)
    assert str(path) in str(error.value)


def test_an_unknown_recipe_lists_the_shipped_ones(tmp_path: Path) -> None:
    for name in ("paper-segmentatoin", tmp_path):
        with pytest.raises(ConfigError, match=r"Shipped recipes: .*paper-segmentation"):
            load_recipe(name)


def test_a_recipe_cannot_be_changed_in_place() -> None:
    recipe: Any = load_recipe("lungs")
    with pytest.raises(AttributeError):
        recipe.training.epochs = 1
    assert isinstance(recipe.with_settings(**{"training.epochs": 1}), Recipe)
    assert recipe.training.epochs != 1


OLD = """
name = "diagnosis"
task = "diagnosis"

[network]
name = "lungs-cnn"
width = 1.0

[data]
size = [128, 128]
working = [256, 256]
channels = 1
crop = [0, 0, 0, 0]
view = "lungs"
grow = 0.02

[split]
kind = "patient"
non_covid_limit = 0
fold = 3
folds = 10
only_source = "ieee8023"

[training]
epochs = 100
batch = 32
learning_rate = 0.001
optimiser = "adamw"
weight_decay = 0.05
schedule = "cosine"
loss = "bce"
patience = 0
keep = "last"
averaging = 0.99
augmentation = "diagnosis"
balance = "source-and-class"
precision = "auto"
seed = 1

[evaluation]
threshold = 0.5
choose_threshold = false
flip = false
"""


def test_a_run_folder_written_before_is_read() -> None:
    """As version 0.1.0 wrote config.toml, field by field; and written again it has today's names."""
    recipe = from_toml(Recipe, OLD)
    assert recipe == load_recipe("diagnosis", ["split.fold=3"])
    written = to_toml(recipe)
    assert not {"working", "view", "grow", "keep", "averaging", "flip"} & set(
        written.replace("=", " ").split()
    )
    assert 'crop_mode = "crop_to_lungs"' in written and "resize_to = [256, 256]" in written


@pytest.mark.parametrize(
    ("old", "new"), [("whole", "resize"), ("masked", "apply_mask"), ("lungs", "crop_to_lungs")]
)
def test_old_names_of_values_are_read(old: str, new: str) -> None:
    changed = OLD.replace('view = "lungs"', f'view = "{old}"').replace("[256, 256]", "[0, 0]")
    assert from_toml(Recipe, changed).data.crop_mode == new
    assert from_toml(Recipe, changed).data.resize_to is None


def test_the_input_is_what_is_left_by_the_crop() -> None:
    assert load_recipe("paper-diagnosis").data.input_size == (246, 236)
    assert load_recipe("paper-diagnosis").data.resized == (256, 256)
    diagnosis = load_recipe("diagnosis").data
    assert (diagnosis.input_size, diagnosis.resized) == ((128, 128), (256, 256))
