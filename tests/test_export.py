"""Trained networks as ONNX files."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

import onnxruntime  # noqa: E402

from lungsight.config import Recipe  # noqa: E402
from lungsight.errors import ModelError  # noqa: E402
from lungsight.networks import NETWORKS  # noqa: E402
from lungsight.records import build  # noqa: E402
from lungsight.training import export  # noqa: E402
from lungsight.training.module import make_network  # noqa: E402


def recipe_for(name: str, channels: int) -> Recipe:
    masks = NETWORKS[name].gives_masks
    return build(
        Recipe,
        {
            "name": "t",
            "task": "lungs" if masks else "gate" if NETWORKS[name].answers > 1 else "diagnosis",
            "network": {"name": name, "width": 1.0 if name == "efficientnet-lite0" else 0.1},
            "data": {
                "size": [64, 96],
                "channels": channels,
                "crop_mode": "resize" if masks or name == "gate-cnn" else "crop_to_lungs",
            },
        },
    )


def trained(recipe: Recipe) -> torch.nn.Module:
    """A network whose every value, the running means too, has moved from where it started."""
    torch.manual_seed(0)
    network = make_network(recipe).train()
    for _ in range(3):
        network(torch.rand(4, recipe.data.channels, 64, 96))
    return network


# Of the cited systems' networks those that answer otherwise in training than in prediction.
EXPORTED = [
    name
    for name, kind in NETWORKS.items()
    if not kind.__module__.endswith("cited") or name in ("zhang-anomaly", "ghoshal-dropweights")
]


@pytest.mark.parametrize(
    ("name", "channels"), [*((name, 1) for name in EXPORTED), ("paper-unet", 3), ("lungs-cnn", 3)]
)
def test_onnx_runtime_agrees_with_pytorch_at_every_batch_size(name: str, channels: int) -> None:
    recipe = recipe_for(name, channels)
    network = trained(recipe)
    code, difference = export.to_onnx(network, recipe)
    assert difference < 1e-4
    session = onnxruntime.InferenceSession(code, providers=["CPUExecutionProvider"])
    network.eval()
    for count in (1, 3, 7):
        images = np.random.default_rng(count).random((count, channels, 64, 96), np.float32)
        found = session.run(None, {session.get_inputs()[0].name: images})
        with torch.inference_mode():
            logits = network(torch.from_numpy(images))
        if recipe.task == "lungs":
            assert found[0].shape == (count, NETWORKS[name].answers, 64, 96)
            assert (found[0].min() >= 0) and (found[0].max() <= 1)
            assert np.abs(found[0] - torch.sigmoid(logits).numpy()).max() < 1e-4
        elif recipe.task == "gate":
            assert np.abs(found[0] - logits.softmax(dim=1).numpy()).max() < 1e-4
        else:
            assert found[0].shape == (count, 1)
            assert np.abs(found[0] - logits.numpy()).max() < 1e-4
        if name == "lungs-cnn":
            assert found[1].shape == (count, 1, 4, 6)
            assert np.abs(found[1].mean(axis=(2, 3)) - found[0]).max() < 1e-5
    names = [output.name for output in session.get_outputs()]
    scored = ["logit", "cam"] if name == "lungs-cnn" else ["logit"]
    assert names == (scored if recipe.task == "diagnosis" else ["probability"])


def test_a_file_that_disagrees_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_for("lung-unet", 1)
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    with pytest.raises(ModelError, match="differs from PyTorch by"):
        export.to_onnx(trained(recipe), recipe)


def test_parity_sees_a_difference() -> None:
    """Compared with another network's file, the difference is not small."""
    recipe = recipe_for("lung-unet", 1)
    code, _ = export.to_onnx(trained(recipe), recipe)
    torch.manual_seed(1)
    other = torch.nn.Sequential(make_network(recipe), torch.nn.Sigmoid()).eval()
    assert export.parity(other, code, recipe) > 1e-2
