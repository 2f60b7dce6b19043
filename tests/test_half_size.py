"""The first epochs at half the side: what the network is shown, how the rate falls, and what a recipe may ask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lungsight.config import load_recipe  # noqa: E402
from lungsight.dataset import read_dataset  # noqa: E402
from lungsight.errors import ConfigError  # noqa: E402
from lungsight.networks.paper import PaperUNet  # noqa: E402
from lungsight.training import train  # noqa: E402
from lungsight.training.module import TrainingModule, half_size  # noqa: E402

SMALL = {"network.width": 0.03, "data.size": [64, 64]}


def test_pixels_are_means_and_half_a_lung_is_lung() -> None:
    image = torch.tensor([[0.0, 0.2, 0.8, 0.8], [0.4, 0.2, 0.8, 0.4]])
    mask = torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 1.0]])
    images, masks = half_size(image.expand(2, 3, 2, 4), mask.expand(2, 1, 2, 4))
    assert images.shape == (2, 3, 1, 2) and masks.shape == (2, 1, 1, 2)
    assert images[1, 2].tolist() == [[pytest.approx(0.2), pytest.approx(0.7)]]
    assert masks[1, 0].tolist() == [[1.0, 0.0]]


def test_so_many_epochs_and_training_alone(
    phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe("paper-segmentation").with_settings(
        **SMALL, **{"training.epochs": 3, "training.half_size_epochs": 2}
    )
    shown: list[tuple[bool, int]] = []
    forward = PaperUNet.forward

    def watched(self: Any, x: Any) -> Any:
        if not shown or shown[-1] != (self.training, x.shape[-1]):
            shown.append((self.training, x.shape[-1]))
        return forward(self, x)

    monkeypatch.setattr(PaperUNet, "forward", watched)
    train(recipe, read_dataset(phantoms), tmp_path / "run")
    assert shown == [(True, 32), (False, 64), (True, 32), (False, 64), (True, 64), (False, 64)]


def rates(steps: int, epochs: int, half: int) -> list[float]:
    """The learning rate of every step, of a cosine from 1e-3."""
    recipe = load_recipe("paper-segmentation-500").with_settings(
        **SMALL,
        **{"training.epochs": epochs, "training.half_size_epochs": half, "training.schedule": "cosine",
           "training.learning_rate": 1e-3},
    )  # fmt: skip
    made = TrainingModule(recipe, steps=steps).configure_optimizers()
    found = []
    for _ in range(steps * epochs):
        found.append(made["optimizer"].param_groups[0]["lr"])
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
    return found


def test_a_step_at_half_the_side_counts_a_quarter_in_the_cosine() -> None:
    """8 epochs of 100 steps at half the side are worth 200 steps, the last 2 another 200; 16 of the 400 are warm-up."""
    found = np.array(rates(100, 10, 8))
    assert found.max() == pytest.approx(1e-3, rel=2e-3)
    assert found[800] == pytest.approx(0.5e-3 * (1 + np.cos(np.pi * (200 - 16) / (400 - 16))), rel=5e-3)
    assert found[900] == pytest.approx(0.5e-3 * (1 + np.cos(np.pi * (300 - 16) / (400 - 16))), rel=1e-2)
    assert found[-1] < 1e-5
    # Without half the side: a step counts as a step.
    assert rates(100, 10, 0)[500] == pytest.approx(0.5e-3, rel=0.1)


def test_where_it_does_not_fit_it_is_refused(phantoms: Path, tmp_path: Path) -> None:
    half = {"training.half_size_epochs": 1}
    with pytest.raises(ConfigError, match="half_size_epochs"):
        load_recipe("paper-diagnosis").with_settings(**half)
    with pytest.raises(ConfigError, match="half_size_epochs"):
        load_recipe("lungs").with_settings(**half, **{"training.teachers": {"full": "folder"}})
    recipe = load_recipe("paper-segmentation").with_settings(**SMALL | {"data.size": [80, 80]}, **half)
    with pytest.raises(ConfigError, match="multiples of 16"):
        train(recipe, read_dataset(phantoms), tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "width", "first"),
    [("paper-segmentation", 0.5, True), ("paper-segmentation", 0.49, False), ("paper-diagnosis", 1.0, False)],
)
def test_a_wide_unet_trains_channels_first_on_a_cpu_to_the_same_loss(
    name: str, width: float, first: bool
) -> None:
    recipe = load_recipe(name).with_settings(**{"network.width": width, "data.size": [64, 64]})
    module = TrainingModule(recipe, steps=1)
    images = torch.rand(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    shown = module.laid_out(images)
    assert torch.equal(shown, images) and shown.is_contiguous() == first
    wide = next(part for part in module.network.parameters() if part.dim() == 4 and part.shape[1] > 1)
    assert wide.is_contiguous() == first
    if first:
        target = (torch.rand(2, 1, 64, 64) > 0.5).float()
        module.eval()  # without dropout
        loss = module.training_step((images, target), 0)["loss"]
        module.network.to(memory_format=torch.channels_last)
        again = torch.nn.functional.binary_cross_entropy_with_logits(module.network(images), target)
        assert loss.item() == pytest.approx(again.item(), abs=1e-5)
