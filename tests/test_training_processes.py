"""Training by several processes: each a share of every batch, and the weights of one process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.numpy import load_file  # noqa: E402

from lungsight.config import load_recipe  # noqa: E402
from lungsight.dataset import read_dataset  # noqa: E402
from lungsight.errors import ConfigError  # noqa: E402
from lungsight.records import to_toml  # noqa: E402
from lungsight.training import train  # noqa: E402
from lungsight.training.processes import Processes, Share  # noqa: E402
from lungsight.training.run_folder import read_history  # noqa: E402

BATCH = 5


class Numbers(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Three batches of 5, 5 and 1 images that are their own numbers."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        images = torch.arange(11).split(BATCH)[number].float().view(-1, 1, 1, 1)
        return images, images.view(-1, 1) * 10


@pytest.mark.parametrize(
    ("rank", "images", "sizes"),
    [
        (0, [[0, 2, 4], [5, 7, 9], [10]], [[3, 5], [3, 5], [1, 1]]),
        (1, [[1, 3], [6, 8], [10]], [[2, 5], [2, 5], [0, 1]]),
    ],
)
def test_shares_make_up_the_batch(rank: int, images: list[list[int]], sizes: list[list[int]]) -> None:
    shares = Share(Numbers(), Processes(rank, 2, 2))
    for number in range(3):
        shown, target, counts = shares[number]
        assert shown.flatten().tolist() == images[number] and counts.tolist() == sizes[number]
        assert target.flatten().tolist() == [10 * image for image in images[number]]


def test_a_batch_smaller_than_the_processes_is_refused() -> None:
    Processes(0, 4, 4).check_batch(4)
    with pytest.raises(ConfigError, match="one image for each process"):
        Processes(0, 4, 4).check_batch(3)


@pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec")
def test_two_processes_end_with_the_weights_of_one(phantoms: Path, tmp_path: Path) -> None:
    """DDP over gloo, on a network without dropout and batch normalisation; shares of 3 and 2 images."""
    recipe = load_recipe("paper-diagnosis").with_settings(
        **{
            "network.width": 0.05,
            "data.size": [64, 64],
            "data.crop": [4, 4, 0, 4],
            "training.batch": BATCH,
            "training.epochs": 2,
            "training.optimiser": "sgd",
            "training.learning_rate": 0.02,
            "training.momentum": 0.9,
            "training.precision": "float32",
        }
    )
    (tmp_path / "recipe.toml").write_text(to_toml(recipe))
    one = train(recipe, read_dataset(phantoms), tmp_path / "one", device="cpu")
    rows = (tmp_path / "one" / "split.csv").read_text().splitlines()
    assert sum(row.endswith(",train") for row in rows) > 2 * BATCH, "there must be batches of unequal shares"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
            *("-m", "lungsight", "train", str(tmp_path / "recipe.toml"), "--data", str(phantoms)),
            *("--out", str(tmp_path / "two"), "--device", "cpu"),
        ],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("2 epochs in") == 1, "the first process tells, and no other"
    expected, found = (load_file(tmp_path / name / "weights.safetensors") for name in ("one", "two"))
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
    for ours, theirs in zip(one.history, read_history(tmp_path / "two"), strict=True):
        for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
            assert theirs[name] == pytest.approx(ours[name], abs=1e-5), name
