"""The gate: the pictures that it learns to refuse, its training, and the file that ships."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from lungsight.config import load_recipe  # noqa: E402
from lungsight.dataset import read_dataset  # noqa: E402
from lungsight.errors import ConfigError, ModelError  # noqa: E402
from lungsight.evaluation import evaluate_gate, evaluate_run  # noqa: E402
from lungsight.evaluation.gate import gate_threshold  # noqa: E402
from lungsight.inference import lung_masks as lungs  # noqa: E402
from lungsight.inference import plausibility  # noqa: E402
from lungsight.inference.sessions import Session  # noqa: E402
from lungsight.model import load  # noqa: E402
from lungsight.networks import GATE_CLASSES, GateCNN, build, check, count_parameters  # noqa: E402
from lungsight.phantom import negatives, write_phantoms  # noqa: E402
from lungsight.preprocess import resize_image, to_unit  # noqa: E402
from lungsight.training import train  # noqa: E402
from lungsight.training.data import Batches, Examples  # noqa: E402
from lungsight.training.gate_images import gate_images, phantom  # noqa: E402
from lungsight.wording import Flag  # noqa: E402
from lungsight.xray import read_xray  # noqa: E402

Picture = np.ndarray


def chests(count: int, seed: int = 0, shape: tuple[int, int] = (96, 96)) -> np.ndarray:
    """(N, h, w) uint8 drawn chest X-rays."""
    rng = np.random.default_rng(seed)
    return np.stack([phantom(rng, shape) for _ in range(count)])


# Pictures


@pytest.mark.parametrize("kind", negatives.KINDS)
def test_a_picture_depends_on_the_seed_alone(kind: str) -> None:
    (xray,) = chests(1)
    first, again = (negatives.draw(kind, xray, np.random.default_rng(7)) for _ in range(2))
    others = [negatives.draw(kind, xray, np.random.default_rng(seed)) for seed in range(8, 14)]
    assert first.dtype == np.uint8 and first.shape == xray.shape
    assert np.array_equal(first, again)
    assert any(not np.array_equal(first, other) for other in others)
    assert not np.array_equal(first, xray)


@pytest.mark.parametrize("kind", negatives.KINDS)
def test_a_picture_has_the_shape_that_is_asked_for(kind: str) -> None:
    (xray,) = chests(1, shape=(64, 96))
    assert negatives.draw(kind, xray, np.random.default_rng(0)).shape == (64, 96)


def test_turned_x_rays_are_turned() -> None:
    (xray,) = chests(1)
    rng = np.random.default_rng(0)
    down = [negatives.draw("upside down", xray, rng) for _ in range(8)]
    assert all(np.array_equal(np.sort(one[0]), np.sort(xray[-1])) for one in down)
    side = [negatives.draw("on its side", xray, rng) for _ in range(8)]
    edges = [np.sort(xray[:, 0]).tolist(), np.sort(xray[:, -1]).tolist()]
    assert all(np.sort(one[0]).tolist() in edges for one in side)


def test_the_shares_and_classes_fit() -> None:
    assert negatives.SHARES.sum() == pytest.approx(1)
    assert {negatives.label(kind) for kind in negatives.KINDS} == set(range(1, len(GATE_CLASSES)))
    assert GATE_CLASSES[0] == "frontal"


# Batches and network


def test_every_x_ray_comes_with_a_picture_that_is_none() -> None:
    xrays = chests(5)
    pictures, classes = gate_images(xrays, np.random.default_rng(0))
    assert pictures.shape == (10, 96, 96)
    assert (classes[::2] == 0).all() and (classes[1::2] > 0).all()
    same = [np.array_equal(picture, xray) for picture, xray in zip(pictures[::2], xrays, strict=True)]
    assert sum(same) >= 3, "most are the table's own"
    more, twice = gate_images(xrays, np.random.default_rng(0), views=2)
    assert more.shape == (20, 96, 96) and not np.array_equal(more[0], more[1])
    assert (twice[::4] == 0).all() and (twice[1::4] == 0).all() and (twice[2::4] == twice[3::4]).all()


def test_batches_are_seeded_and_validation_never_sees_training_s_pictures() -> None:
    recipe = load_recipe("gate").with_settings(**{"data.size": [96, 96], "training.balance": "none"})
    examples = Examples(chests(6), None, None, np.zeros(6, np.int64))
    order = np.arange(6)
    made = [Batches(examples, order, recipe, training=part)[0] for part in (False, False, True)]
    assert torch.equal(made[0][0], made[1][0]) and torch.equal(made[0][1], made[1][1])
    assert made[0][0].shape == (12, 1, 96, 96) and made[0][1].dtype == torch.int64
    shuffled = Batches(examples, order, recipe, training=True)
    same_order = Batches(examples, shuffled.order, recipe, training=False)[0]
    assert not torch.equal(same_order[0], made[2][0])


def test_the_network_is_small_and_takes_a_blank_image() -> None:
    network = GateCNN().eval()
    assert count_parameters(network) < 150_000
    for grey in (0.0, 0.5, 1.0):
        assert network(torch.full((1, 1, 128, 128), grey)).isfinite().all()
    x = torch.rand(2, 1, 128, 128)
    x[:, :, :64] *= 0.3
    assert not torch.allclose(network(x), network(x.flip(2)), atol=1e-3), "up and down differ"


def test_a_network_with_one_answer_is_no_gate() -> None:
    with pytest.raises(ConfigError, match="gives 1 values, the recipe wants 6"):
        check("lungs-cnn", answers=len(GATE_CLASSES))
    assert build("gate-cnn", channels=1)(torch.rand(2, 1, 64, 64)).shape == (2, len(GATE_CLASSES))


# Training, figures, export


def test_the_threshold_lets_nearly_all_pass() -> None:
    sure = np.full(1000, 0.9, np.float32)
    assert gate_threshold(sure, sure) == 0.5
    doubtful = sure.copy()
    doubtful[:20] = np.linspace(0.2, 0.295, 20)
    cut = gate_threshold(sure, doubtful)
    assert (doubtful >= cut).mean() >= 0.99 > (doubtful >= cut + 0.01).mean()
    stricter = gate_threshold(doubtful, sure)
    assert (doubtful >= stricter).mean() >= 0.995 > (doubtful >= stricter + 0.01).mean()
    assert gate_threshold(sure, np.zeros(10, np.float32)) == 0.01


def test_a_gate_is_trained_judged_and_exported(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    from lungsight.ship import export

    dataset = write_phantoms(tmp_path / "data", count=40, seed=3, size=64)
    changes = {
        "data.size": [64, 64],
        "training.epochs": 6,
        "training.batch": 4,
        "training.ema_decay": 0.0,
        "training.augmentation": "none",
    }
    run = train(load_recipe("gate").with_settings(**changes), dataset, tmp_path / "run")
    # Whoever always answers 'frontal' is right in half.
    assert run.history[-1]["val_accuracy"] > 0.55
    with pytest.raises(ModelError, match="not evaluated"):
        export(tmp_path / "run", tmp_path / "out")
    with pytest.raises(ModelError, match="metrics of its own"):
        evaluate_run(tmp_path / "run", dataset)
    figures = evaluate_gate(tmp_path / "run", dataset)
    stored = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert figures.part == "test" and stored["threshold"] == figures.threshold
    assert set(figures.refused) == set(negatives.KINDS)
    assert all(
        0 <= one.value <= 1 and (one.too_few or one.low <= one.value <= one.high)
        for one in figures.refused.values()
    )
    model, difference = export(tmp_path / "run", tmp_path / "out", licence="test")
    assert difference < 1e-4 and model.card.classes == GATE_CLASSES
    answer = Session(load(tmp_path / "out" / "gate.json")).run(np.zeros((3, 1, 64, 64), np.float32))
    assert np.allclose(answer["probability"].sum(axis=1), 1, atol=1e-5)
    assert answer["probability"].shape == (3, len(GATE_CLASSES))


# What ships


@pytest.fixture(scope="module")
def shipped() -> Path:
    """The card of the gate that ships."""
    card = Path(str(resources.files("lungsight") / "weights" / "gate.json"))
    if not card.is_file():
        pytest.skip("no gate ships with this version")
    return card


@pytest.fixture(scope="module")
def passes(shipped: Path) -> Callable[[Picture], bool]:
    """Whether the gate that ships lets a picture (H, W) through."""
    model = load(shipped)
    session = Session(model, threads=1)

    def ask(pixels: Picture) -> bool:
        small = to_unit(resize_image(pixels, model.card.input.size))
        (answer,) = session.run(small[None, None])["probability"]
        return bool(answer[model.card.classes.index("frontal")] >= model.card.threshold)

    return ask


def test_the_shipped_card_says_where_it_comes_from(shipped: Path) -> None:
    card = json.loads(shipped.read_text("utf-8"))
    assert card["commit"] and not card["commit"].endswith("+")
    assert card["command"].startswith("lungsight train gate")
    assert card["data"]["images"] > 3000 and "non-commercial" in card["licence"]
    assert card["figures"]["passed"]["as they are"]["value"] >= 0.995


def test_drawn_chests_pass_and_turned_ones_do_not(passes: Callable[[Picture], bool]) -> None:
    rng = np.random.default_rng(20)
    drawn = [phantom(rng, (256, 256)) for _ in range(25)]
    assert sum(map(passes, drawn)) >= 24
    assert sum(passes(255 - one) for one in drawn) >= 22
    wide = [cv2.copyMakeBorder(one, 10, 10, 70, 70, cv2.BORDER_CONSTANT, value=0) for one in drawn]
    assert sum(map(passes, wide)) >= 23
    assert sum(passes(one[::-1, ::-1]) for one in drawn) <= 1
    assert sum(passes(np.rot90(one)) for one in drawn) <= 1


@pytest.mark.parametrize("kind", negatives.KINDS)
def test_what_is_no_chest_x_ray_is_refused(kind: str, passes: Callable[[Picture], bool]) -> None:
    rng = np.random.default_rng(21)
    xrays = chests(5, seed=21, shape=(256, 256))
    found = [passes(negatives.draw(kind, xrays[i % 5], rng)) for i in range(20)]
    assert sum(found) <= 2


@pytest.mark.parametrize("grey", [0, 1, 128, 255])
def test_a_blank_image_is_refused(grey: int, passes: Callable[[Picture], bool]) -> None:
    assert not passes(np.full((300, 200), grey, np.uint8))


@pytest.mark.real_data
def test_the_darwin_sample(darwin_sample: Path, passes: Callable[[Picture], bool]) -> None:
    """Real CT slices and lateral views, which nothing was trained or chosen on."""
    dataset = read_dataset(darwin_sample)
    frontal = [passes(read_xray(row.image).pixels) for row in dataset]
    assert sum(frontal) >= len(frontal) - 1
    others = {
        reason: [
            passes(read_xray(item.image).pixels)
            for item in dataset.excluded
            if reason in item.reason and item.image is not None
        ]
        for reason in ("CT slice", "lateral view")
    }
    assert all(len(found) == 3 for found in others.values())
    assert sum(others["CT slice"]) == 0 and sum(others["lateral view"]) == 0


# Inverted grey levels: undone, or flagged and not scored


def test_inverted_grey_levels_are_flagged() -> None:
    rows, columns = np.mgrid[0:100, 0:100] / 100
    mask = np.zeros((100, 100), bool)
    for middle in (0.3, 0.7):
        lean = middle + (0.1 if middle > 0.5 else -0.1) * (rows - 0.5)
        mask |= ((columns - lean) / 0.14) ** 2 + ((rows - 0.5) / 0.32) ** 2 < 1
    found = lungs.find(mask.astype(np.float32), 0.5)
    image = np.where(mask, 0.2, 0.7).astype(np.float32)
    assert plausibility.check(found, image) == ()
    assert plausibility.check(found, 1 - image) == (Flag.INVERTED,)
    assert plausibility.check(found, np.full((100, 100), 0.5, np.float32)) == ()
