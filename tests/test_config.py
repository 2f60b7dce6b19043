"""Recipes: read, checked, written back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungsight.config import Recipe, from_table, load_recipe, recipe_names, to_table, to_toml
from lungsight.errors import ConfigError


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
    from lungsight.training.module import input_size

    recipe = load_recipe(name)
    check(recipe.network.name, size=input_size(recipe), masks=recipe.task == "lungs")


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
    assert load_recipe("paper-diagnosis-lungs").data.view == "masked"


_NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=150, deadline=None)
@given(
    name=st.text(),
    source=st.text(),
    width=st.floats(1e-6, 4),
    rate=st.floats(1e-12, 0.999),
    size=st.tuples(st.integers(64, 2048), st.integers(64, 2048)),
    crop=st.tuples(*[st.integers(0, 31)] * 4),
    channels=st.sampled_from([1, 3]),
    view=st.sampled_from(["whole", "masked", "lungs"]),
    epochs=st.integers(1, 10_000),
    seed=st.integers(0, 2**32 - 1),
    averaging=st.floats(0, 0.999_999),
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
    view: str,
    epochs: int,
    seed: int,
    averaging: float,
    choose: bool,
) -> None:
    recipe = from_table(
        {
            "name": name,
            "task": "diagnosis",
            "network": {"width": width},
            "data": {"size": list(size), "crop": list(crop), "channels": channels, "view": view},
            "split": {"only_source": source},
            "training": {
                "epochs": epochs,
                "learning_rate": rate,
                "seed": seed,
                "averaging": averaging,
            },
            "evaluation": {"choose_threshold": choose},
        }
    )
    path = tmp_path_factory.getbasetemp() / "recipe.toml"
    path.write_bytes(to_toml(recipe).encode())
    assert load_recipe(path) == recipe
    assert from_table(to_table(recipe)) == recipe


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("training.epoch=3", "there is no setting 'training.epoch'. Did you mean 'training.epochs'?"),
        ("trainning.epochs=3", "there is no setting 'trainning'. Did you mean 'training'?"),
        ("training.zzz=3", "Known: epochs, batch"),
        ("name.x=3", "there is no setting 'name.x'"),
        ("training.epochs", "is not a setting. Write it as section.name=value"),
        ("training.epochs=2.5", "training.epochs must be a whole number, not 2.5"),
        ("training.epochs=true", "training.epochs must be a whole number, not True"),
        ("training.epochs=0", "training.epochs must be from 1 to 10000"),
        ("training.learning_rate=fast", "training.learning_rate must be a number, not 'fast'"),
        ("training.learning_rate=nan", "training.learning_rate must be above 0, below 1"),
        ("training.weight_decay=-1", "training.weight_decay must be"),
        ("training.averaging=1", "training.averaging must be from 0, below 1"),
        ("training.optimiser=sgd", "training.optimiser is 'sgd', not one of 'adam', 'adamw'"),
        ("training.seed=-1", "training.seed must be from 0"),
        ("training.patience=-1", "training.patience must be 0 or more"),
        ("training=3", "training must be a table"),
        ("data.channels=true", "data.channels is True, not one of 1, 3"),
        ("data.channels=3.0", "data.channels is 3.0, not one of 1, 3"),
        ("data.size=256", "data.size must be a list of 2 numbers"),
        ("data.size=[256, 8]", "data.size must be from 16 to 2048"),
        ("data.crop=[0, -1, 0, 0]", "data.crop must be 0 or more"),
        ("data.crop=[200, 0, 56, 0]", "data.crop must be smaller than data.size"),
        ("network.width=0", "network.width must be above 0, at most 4"),
        ("evaluation.threshold=1", "evaluation.threshold must be between 0 and 1"),
        ("evaluation.flip=true", "evaluation.flip must be false but for lungs"),
        ("split.fold=5", "split.fold must be -1, or below split.folds"),
        ("split.folds=1", "split.folds must be from 3"),
        ("split.non_covid_limit=-3", "split.non_covid_limit must be 0 or more"),
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
        ("task = 'lungs'", "lacks the setting 'name'"),
        ("name = 'x'\ntask = 'heart'", "task is 'heart', not one of 'lungs'"),
        ("name = 'x'\ntask = 'lungs'\nepochs = 3", "there is no setting 'epochs'"),
        ("name = 'x'\ntask = 'lungs'\n[data]\nsize = ['a', 'b']", "data.size must be a whole number"),
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
