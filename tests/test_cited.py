"""The cited systems' networks: counts of parameters, heads, losses; and that each trains and resumes like any other."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("monai")

from lungsight.config import load_recipe, recipe_names  # noqa: E402
from lungsight.dataset import read_dataset  # noqa: E402
from lungsight.dataset.target import with_target  # noqa: E402
from lungsight.errors import ModelError  # noqa: E402
from lungsight.networks import build, check, cited, count_parameters  # noqa: E402
from lungsight.training import load_run, predict, prepare, select_rows, train  # noqa: E402
from lungsight.training.module import focal_loss  # noqa: E402
from lungsight.training.uncertainty import binary_entropy, predict_passes, summarise  # noqa: E402

SYSTEMS = (
    "narin-resnet50", "tartaglione-resnet18", "tartaglione-resnet50", "covidx-vgg19", "covidx-densenet201",
    "ghoshal-dropweights", "zhang-anomaly", "covid-net",
)  # fmt: skip

RESNET_18, RESNET_50 = (
    11_689_512 - 513_000,
    25_557_032 - 2_049_000,
)  # torchvision's, less ImageNet's last layer
ONE_CHANNEL = 64 * 2 * 49  # what the first convolution saves


@pytest.mark.parametrize(
    ("name", "channels", "count"),
    [
        ("narin-resnet50", 3, RESNET_50 + 2049),
        ("tartaglione-resnet18", 1, RESNET_18 - ONE_CHANNEL + 512 * 256 + 256 + 257),
        ("tartaglione-resnet50", 1, RESNET_50 - ONE_CHANNEL + 2048 * 512 + 512 + 513),
        ("covidx-vgg19", 3, 143_667_240 - 123_642_856 + 513),  # torchvision's, less its three dense layers
        ("covidx-densenet201", 3, 20_013_928 - 1_921_000 + 1921),
        ("densenet121", 3, 7_978_856 - 1_025_000 + 1025),  # torchvision's count, one answer in place of 1,000
        ("ghoshal-dropweights", 3, RESNET_50 + 2049),
        ("zhang-anomaly", 3, RESNET_18 + 513 + 512 * 100 + 100 + 101),
    ],
)
def test_parameters_are_those_of_the_published_networks(name: str, channels: int, count: int) -> None:
    with torch.device("meta"):
        assert count_parameters(build(name, channels=channels)) == count


def test_covid_net_has_its_published_count_within_two_percent() -> None:
    """117.4 M, of which the dense layers hold 103.8 M; the inner widths are our choice."""
    with torch.device("meta"):
        network = build("covid-net", channels=3, size=(224, 224))
    assert abs(count_parameters(network) / 117.4e6 - 1) < 0.02
    dense = 100_352 * 1024 + 1024 + 1024 * 1024 + 1024
    assert sum(p.numel() for p in network.dense.parameters()) == dense  # type: ignore[union-attr]


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_recipe_for_each(name: str) -> None:
    assert name in recipe_names()
    recipe = load_recipe(name)
    assert recipe.network.name == name
    assert recipe.split.kind == "patient"
    check(name, size=recipe.data.input_size, masks=False, answers=1)


@pytest.mark.parametrize("name", SYSTEMS)
def test_one_logit_an_image_at_any_width(name: str) -> None:
    network = build(name, width=0.05, channels=1, size=(64, 96)).eval()
    with torch.inference_mode():
        found = network(torch.rand(2, 1, 64, 96))
    assert found.shape == (2, 1)
    assert torch.isfinite(found).all() and found[0] != found[1]


SMALL = {
    "network.width": 0.25,
    "data.size": [32, 32],
    "training.epochs": 2,
    "training.batch": 8,
    "training.learning_rate": 0.01,
    # Backward passes of convolutions of three or four filters end the process: PyTorch 2.13, one thread.
    "training.precision": "float32",
}


@pytest.mark.parametrize(
    "name", ["tartaglione-resnet18", "ghoshal-dropweights", "zhang-anomaly", "covid-net"]
)
def test_each_trains_and_predicts(name: str, phantoms: Path, tmp_path: Path) -> None:
    recipe, dataset = load_recipe(name).with_settings(**SMALL), read_dataset(phantoms)
    run = train(recipe, dataset, tmp_path / "run")
    assert len(run.history) == 2 and math.isfinite(run.history[-1]["val_loss"])
    loaded, network = load_run(run.folder)
    found = predict(network, loaded, prepare(dataset, loaded)[1].inputs)
    assert found.shape == (24,) and ((found >= 0) & (found <= 1)).all()


def test_drop_weights_drop_weights_and_not_units() -> None:
    torch.manual_seed(0)
    layer = cited.DropWeights(400, 3, rate=0.25)
    torch.nn.init.ones_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    x = torch.ones(50, 400)
    assert torch.equal(layer.eval()(x), torch.full((50, 3), 400.0)), "off in prediction"
    for on in ("training", "stochastic"):
        layer.train(on == "training")
        layer.stochastic = on == "stochastic"
        found = layer(x).detach()
        # 400 weights, each kept with 3/4 and then worth 4/3: mean 400, variance 400 * 3/4 * 1/4 * (4/3)^2.
        assert found.mean().item() == pytest.approx(400, abs=4)
        assert found.std().item() == pytest.approx(math.sqrt(400 * 3 / 16) * 4 / 3, rel=0.2)
        kept = found * 3 / 4
        assert torch.allclose(kept, kept.round(), atol=1e-3), "whole weights"
        assert len({tuple(row) for row in found.tolist()}) > 40, "each image draws its own"


def test_passes_agree_with_their_seed_and_not_with_each_other() -> None:
    recipe = load_recipe("ghoshal-dropweights").with_settings(**SMALL)
    network = build("ghoshal-dropweights", width=0.05, channels=3).eval()
    inputs = np.random.default_rng(0).integers(0, 256, (5, 32, 32), dtype=np.uint8)
    first, again, other = (predict_passes(network, recipe, inputs, passes=4, seed=s) for s in (1, 1, 2))
    assert first.shape == (4, 5) and np.array_equal(first, again) and not np.array_equal(first, other)
    assert (first.std(axis=0) > 0).all()
    assert predict(network, recipe, inputs).std() == predict(network, recipe, inputs).std(), "off again"
    with pytest.raises(ModelError, match="no drop-weights"):
        predict_passes(build("narin-resnet50", width=0.05), recipe, inputs)


def test_entropy_and_bald_by_hand() -> None:
    found = summarise(np.array([[0.1, 1.0, 0.5], [0.3, 1.0, 0.5]]))
    assert found.probability == pytest.approx([0.2, 1, 0.5])
    entropy = -(0.2 * math.log(0.2) + 0.8 * math.log(0.8))
    each = [-(p * math.log(p) + (1 - p) * math.log(1 - p)) for p in (0.1, 0.3)]
    assert found.entropy == pytest.approx([entropy, 0, math.log(2)])
    assert found.information == pytest.approx([entropy - sum(each) / 2, 0, 0])
    assert binary_entropy(np.array([0.0, 1.0])).tolist() == [0, 0]


def test_the_deviation_loss_by_hand() -> None:
    away = torch.tensor([[-2.0], [1.0], [3.0], [7.0]])
    target = torch.tensor([[0.0], [0.0], [1.0], [1.0]])
    assert cited.deviation_loss(away, target).item() == pytest.approx((2 + 1 + 2 + 0) / 4)


def test_the_anomaly_head_learns_to_deviate() -> None:
    torch.manual_seed(0)
    network = build("zhang-anomaly", width=0.05, channels=1).train()
    images = torch.rand(8, 1, 32, 32) * 0.5
    images[4:] += 0.5
    target = torch.tensor([0.0] * 4 + [1.0] * 4)[:, None]
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    losses = []
    for _ in range(60):
        logits, loss = network.training_loss(images, target)  # type: ignore[operator]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    assert logits[4:].min() > logits[:4].max()


def test_the_focal_loss_by_hand() -> None:
    logits, target = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [0.0]])
    wrong = 1 / (1 + math.exp(-2))
    wanted = (0.5**2 * math.log(2) - wrong**2 * math.log(1 - wrong)) / 2
    assert focal_loss(logits, target).item() == pytest.approx(wanted, rel=1e-5)


def test_passes_of_the_last_layer_alone_are_those_of_the_whole_network() -> None:
    """The features are computed once; a pass through the whole network with the same weights left out agrees."""
    recipe = load_recipe("ghoshal-dropweights").with_settings(**SMALL)
    network = build("ghoshal-dropweights", width=0.05, channels=3).eval()
    inputs = np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8)
    found = predict_passes(network, recipe, inputs, passes=2, seed=5, batch=8)
    torch.manual_seed(5 * 100_003 + 1)
    network.fc.stochastic = True  # type: ignore[union-attr]
    with torch.inference_mode():
        wanted = torch.sigmoid(
            network(torch.from_numpy(inputs)[:, None].float().div(255).expand(-1, 3, -1, -1))
        )
    assert found[1] == pytest.approx(wanted[:, 0].numpy(), abs=1e-5)


def test_the_recipe_before_tells_childrens_pneumonia_from_normal(phantoms: Path) -> None:
    """Bacterial and viral are one class; another target that the user names takes its place."""
    findings = ["bacterial pneumonia", "viral pneumonia", "normal"] * 8
    given = read_dataset(phantoms)
    rows = [
        replace(row, source="kermany", covid=False, finding=name)
        for row, name in zip(given, findings, strict=True)
    ]
    children = replace(given, rows=tuple(rows))
    recipe = load_recipe("pneumonia-pretrain", ["data.size=[32,32]"])
    _, examples, _ = prepare(select_rows(children, recipe), recipe)
    assert examples.labels is not None and examples.labels.tolist() == [1.0, 1.0, 0.0] * 8
    asked = with_target(children, "viral pneumonia")
    assert prepare(asked, recipe)[1].labels.tolist() == [0.0, 1.0, 0.0] * 8  # type: ignore[union-attr]
