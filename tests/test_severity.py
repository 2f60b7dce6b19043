"""Severity: what the network sees, how it is fitted, and how it is judged; expected values by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lungsight.card import Card, InputSettings  # noqa: E402
from lungsight.dataset import read_dataset  # noqa: E402
from lungsight.errors import DataError, ModelError  # noqa: E402
from lungsight.evaluation.severity import agreement  # noqa: E402
from lungsight.inference.severity import severity_input, severity_of  # noqa: E402
from lungsight.networks.severity import FEATURES, SeverityNetwork, ZoneFeatures  # noqa: E402
from lungsight.ship_severity import _half_width  # noqa: E402
from lungsight.training.severity import (  # noqa: E402
    MIRRORED,
    folds_of,
    out_of_fold,
    read_scores,
    ridge,
)


def lungs() -> np.ndarray:
    labels = np.zeros((64, 64), np.uint8)
    labels[8:56, 6:28] = 1
    labels[8:56, 36:58] = 2
    return labels


def test_the_network_sees_the_image_and_where_each_zone_lies() -> None:
    seen = severity_input(np.full((90, 80), 51, np.uint8), lungs(), (32, 32))
    assert seen is not None and seen.shape == (7, 32, 32) and seen.dtype == np.float32
    assert seen[0] == pytest.approx(np.full((32, 32), 0.2))
    centres = [tuple(np.argwhere(one > 0.5).mean(axis=0).round(1)) for one in seen[1:]]
    rows, columns = [row for row, _ in centres], [column for _, column in centres]
    assert rows[0] < rows[1] < rows[2] and rows[3] < rows[4] < rows[5]
    assert max(columns[:3]) < 16 < min(columns[3:])


def test_without_a_zone_there_is_nothing_to_see() -> None:
    labels = lungs()
    labels[labels == 2] = 0
    assert severity_input(np.zeros((64, 64), np.uint8), labels, (32, 32)) is None


def card(half_width: float | None) -> Card:
    return Card(
        name="severity", task="severity", input=InputSettings(size=(32, 32), channels=7), threshold=0.5,
        half_width=half_width,
    )  # fmt: skip


def test_scores_stay_within_their_ends() -> None:
    found = severity_of([-1, 0.5, 4, 1, 2, 3], card(4))
    assert found.zones == (0, 0.5, 3, 1, 2, 3)
    assert (found.total, found.low, found.high) == (9.5, 5.5, 13.5)
    assert severity_of([3] * 6, card(4)).high == 18
    assert severity_of([0] * 6, card(4)).low == 0
    assert severity_of([1] * 6, card(None)).low is None


def test_features_are_means_over_a_zone() -> None:
    """A zone that covers a quarter of the image sees that quarter alone: the plain mean of its cells."""
    network = ZoneFeatures().eval()
    given = torch.rand(1, 7, 224, 224)
    given[:, 1:] = 0
    given[:, 1, :112, :112] = 1
    with torch.inference_mode():
        found = network(given)
        maps = network.backbone.maps(network.backbone.normalise(given[:, :1].expand(-1, 3, -1, -1)), (4, 10))
    assert found.shape == (1, 6, FEATURES)
    assert torch.allclose(found[0, 0, :40], maps[0][0, :, :14, :14].mean(dim=(1, 2)), atol=1e-5)
    assert torch.allclose(found[0, 0, 40:152], maps[1][0, :, :7, :7].mean(dim=(1, 2)), atol=1e-5)
    assert float(found[0, 1].abs().max()) == 0


def test_ridge_by_hand() -> None:
    x, y = np.array([[0.0], [1], [2], [3]]), np.array([0.0, 1, 2, 3])
    model = ridge(x, y, 1.0)
    # Standardised x: sum of squares 4, cross product with y 4 * sd; the penalty is 4, so half of the slope is left.
    assert model(np.array([[3.0]])) == pytest.approx(1.5 + 0.75, abs=1e-4)
    assert ridge(x, y, 1e-9)(np.array([[3.0]])) == pytest.approx(3, abs=1e-4)


def test_patients_stay_in_one_fold_and_are_not_learned_from() -> None:
    patients = np.repeat(np.array([f"p{i}" for i in range(25)]), 2)
    fold = folds_of(patients, 5, 0)
    assert all(len(set(fold[patients == name])) == 1 for name in set(patients))
    assert sorted(np.bincount(fold)) == [10] * 5
    # Each patient has a feature of his own that gives the score away: out of fold it is worth nothing.
    rng = np.random.default_rng(0)
    target = np.repeat(rng.uniform(0, 3, (25, 1)), 2, axis=0).repeat(6, axis=1)
    own = np.eye(25).repeat(2, axis=0)[:, None].repeat(6, axis=1)
    found = out_of_fold(np.stack([own, own]), target, patients, folds=5)
    assert np.corrcoef(found[:, 0], target[:, 0])[0, 1] < 0.3


def test_a_mirror_image_exchanges_the_lungs() -> None:
    assert [MIRRORED[place] for place in MIRRORED] == [0, 1, 2, 3, 4, 5]
    assert MIRRORED[:3] == (3, 4, 5)


def test_the_network_computes_what_the_model_does(monkeypatch: pytest.MonkeyPatch) -> None:
    import lungsight.training.severity as module

    start = SeverityNetwork().features.backbone.state_dict()
    monkeypatch.setattr(module, "imagenet_weights", lambda: start)
    rng = np.random.default_rng(1)
    model = ridge(rng.normal(2, 3, (300, FEATURES)), rng.uniform(0, 3, 300), 5.0)
    network = module.network_of(model)
    x = rng.normal(2, 3, (4, FEATURES))
    with torch.inference_mode():
        found = network.linear(torch.from_numpy(x).float()).numpy().ravel()
    assert np.clip(found, 0, 3) == pytest.approx(model(x), abs=1e-3)


def test_agreement_by_hand() -> None:
    patients = np.array(["a", "b", "c", "d"])
    found = agreement("x", np.array([1.0, 2, 3, 4]), np.array([2.0, 2, 2, 6]), patients)
    assert (found.films, found.patients) == (4, 4)
    assert found.mean_absolute_error == pytest.approx(1) and found.bias == pytest.approx(-0.5)
    assert found.error_low <= 1 <= found.error_high
    assert found.correlation == pytest.approx(0.7746, abs=1e-4)
    assert math.isnan(agreement("x", np.ones(4), np.arange(4.0), patients).correlation)


def test_the_interval_is_a_quantile_of_patients() -> None:
    """The worst film of each patient counts; of 19 patients and 90 % the 18th error is taken, of 9 the largest."""
    errors, patients = np.arange(1.0, 20), np.array([f"p{i}" for i in range(19)])
    assert _half_width(errors, patients) == 18  # the 18th of 19: ceil(20 * 0.9)
    assert _half_width(errors[:9], patients[:9]) == 9
    twice = np.concatenate([errors, np.zeros(19)])
    assert _half_width(twice, np.concatenate([patients, patients])) == 18


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,senior\n1,3\n", "READER_A"),
        ("id,s_A,s_B,s_C,s_D,s_E,s_F\nnobody,1,1,1,1,1,1\n", "no id"),
        ("id,s_A,s_B,s_C,s_D,s_E,s_F\n{id},1,1,1,1,1,4\n", "0, 1, 2 or 3"),
    ],
)
def test_scores_that_do_not_fit(text: str, words: str, phantoms: Path, tmp_path: Path) -> None:
    dataset = read_dataset(phantoms)
    file = tmp_path / "scores.csv"
    file.write_text(text.replace("{id}", dataset.rows[0].id))
    with pytest.raises(DataError, match=words):
        read_scores(file, dataset)


def test_a_card_of_another_task_takes_no_zones() -> None:
    from lungsight.records import build, plain

    values = plain(card(2)) | {"task": "diagnosis"}
    with pytest.raises(ModelError, match="channels"):
        build(Card, values, error=ModelError)


def test_the_shipped_network_grades_upright_films_alone() -> None:
    """Severity of a drawn film is a number for each zone; of the same film turned round there is none."""
    from lungsight import load_model
    from lungsight.phantom import HOSPITALS, draw

    pixels = draw(np.random.default_rng(3), hospital=sorted(HOSPITALS)[0], covid=False, size=256).pixels
    model = load_model()
    found = model(pixels)
    assert found.severity is not None and len(found.severity.zones) == 6
    record = found.record
    assert record.severity == pytest.approx(sum(record.severity_zones), abs=0.05)
    assert record.severity_low is not None and record.severity_high is not None
    assert 0 <= record.severity_low <= record.severity <= record.severity_high <= 18
    assert model(np.ascontiguousarray(pixels[::-1])).record.severity is None
