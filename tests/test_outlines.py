"""Lungs in two conventions and the heart: what an annotation says, the loss that reads it, and who is in which part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lungsight.dataset.join import DataPath, join  # noqa: E402
from lungsight.dataset.split import by_patient_in_turn, given_parts  # noqa: E402
from lungsight.dataset.table import Dataset, Row  # noqa: E402
from lungsight.errors import DataError  # noqa: E402
from lungsight.networks import OUTPUTS, build  # noqa: E402
from lungsight.training import augment  # noqa: E402
from lungsight.training.module import outlines_loss, own_convention  # noqa: E402
from lungsight.training.targets import FULL, HEART, VISIBLE, targets  # noqa: E402

LUNG = np.zeros((8, 8), bool)
LUNG[2:6, 1:3] = LUNG[2:6, 5:7] = True
HEARTS = np.zeros((8, 8), bool)
HEARTS[3:6, 3:5] = True


class TestTargets:
    def test_a_full_mask_says_what_is_not_visible_and_where_no_heart_is(self) -> None:
        found = targets(LUNG, visible=False)
        assert found.known[FULL].all()
        assert (found.values[FULL] == LUNG * 255).all()
        # Outside the full lungs nothing is visible lung; inside, some of it may be hidden.
        assert (found.known[VISIBLE] == ~LUNG).all()
        assert not found.values[VISIBLE].any()
        beside = np.ones((8, 8), bool)
        beside[2:6, 1:7] = False
        assert (found.known[HEART] == beside).all()

    def test_a_visible_mask_is_part_of_the_full_lungs_and_no_heart(self) -> None:
        found = targets(LUNG, visible=True)
        assert found.known[VISIBLE].all()
        assert (found.values[VISIBLE] == LUNG * 255).all()
        assert (found.known[FULL] == LUNG).all()
        assert (found.values[FULL] == LUNG * 255).all()
        assert (found.known[HEART] == LUNG).all()
        assert not found.values[HEART].any()

    def test_a_heart_is_known_everywhere(self) -> None:
        found = targets(LUNG, visible=True, heart=HEARTS)
        assert found.known[HEART].all()
        assert (found.values[HEART] == HEARTS * 255).all()

    def test_an_empty_full_mask_leaves_the_heart_open(self) -> None:
        assert not targets(np.zeros((8, 8), bool), visible=False).known[HEART].any()


class TestLoss:
    def planes(self, visible: bool) -> tuple[torch.Tensor, torch.Tensor]:
        found = targets(LUNG, visible=visible, heart=HEARTS if visible else None)
        values, known = (torch.from_numpy(part).float()[None] for part in found)
        return values / 255, known

    def test_what_is_left_open_costs_nothing(self) -> None:
        values, known = self.planes(visible=False)
        logits = torch.zeros(1, 3, 8, 8)
        changed = torch.where(known > 0, logits, torch.full_like(logits, 5.0))
        assert outlines_loss(changed, values, known) == outlines_loss(logits, values, known)

    def test_what_is_known_costs(self) -> None:
        values, known = self.planes(visible=True)
        right = (values * 2 - 1) * 8
        assert outlines_loss(right, values, known) < 0.02
        for plane in (FULL, VISIBLE, HEART):
            wrong = right.clone()
            wrong[:, plane] *= -1
            assert outlines_loss(wrong, values, known) > 0.5

    def test_each_image_is_judged_by_its_own_convention(self) -> None:
        both = [torch.cat(self.planes(visible), dim=1) for visible in (False, True)]
        logits = torch.arange(3.0).view(1, 3, 1, 1).expand(2, 3, 8, 8)
        chosen, values = own_convention(logits, torch.cat(both))
        assert chosen[:, 0, 0, 0].tolist() == [FULL, VISIBLE]
        assert (values[:, 0].numpy() == LUNG).all()


def test_network_gives_three_maps_of_the_size_of_the_image() -> None:
    assert build("lung-heart-unet", width=0.1, channels=1).eval()(torch.rand(2, 1, 64, 96)).shape == (
        2,
        len(OUTPUTS),
        64,
        96,
    )


def test_augmentation_moves_image_and_planes_together() -> None:
    side = 64
    mask = np.zeros((side, side), bool)
    mask[16:48, 20:44] = True
    for seed in range(40):
        image = (mask * 200 + 20).astype(np.uint8)
        found = targets(mask, visible=True)
        moved, values, known = augment.for_lungs_and_heart(image, *found, np.random.default_rng(seed))
        assert moved.shape == (side, side)
        assert values.shape == known.shape == (3, side, side)
        assert known[VISIBLE].all()
        inside, outside = moved[values[VISIBLE] == 255].astype(int), moved[values[VISIBLE] == 0].astype(int)
        if inside.size > 50 and outside.size > 50:
            assert abs(np.median(inside) - np.median(outside)) > 5


def rows(*patients: str, source: str = "a", start: int = 0) -> tuple[Row, ...]:
    return tuple(
        Row(f"{source}{start + number}", Path(f"{source}{number}.png"), source=source, patient=patient)
        for number, patient in enumerate(patients)
    )


def table(name: str, of: tuple[Row, ...]) -> Dataset:
    return Dataset(Path("/data") / name, "manifest", of)


class TestParts:
    first = table("first", rows(*(f"p{number}" for number in range(40))))
    second = table("second", rows("p0", "p1", *(f"q{number}" for number in range(20)), source="b"))

    def parts(self, dataset: Dataset, given: dict[str, str] | None = None) -> dict[str, str]:
        split = by_patient_in_turn(dataset, 3, given, need_covid=False)
        named = (("train", split.train), ("validation", split.validation), ("test", split.test))
        return {dataset.rows[i].id: part for part, indices in named for i in indices}

    def test_a_further_data_set_changes_no_part_of_the_first(self) -> None:
        alone, both = self.parts(self.first), self.parts(join([self.first, self.second]))
        assert {name: both[name] for name in alone} == alone
        assert set(both) == {row.id for row in (*self.first, *self.second)}

    def test_a_patient_of_both_is_in_one_part(self) -> None:
        both = self.parts(join([self.first, self.second]))
        assert (both["b0"], both["b1"]) == (both["a0"], both["a1"])

    def test_given_parts_hold_and_a_patient_never_spans_two(self) -> None:
        alike = table("alike", rows("x", "x", *(f"p{number}" for number in range(30))))
        found = self.parts(alike, {"a0": "train", "a1": "test"})
        assert found["a1"] == "test"
        assert "a0" not in found

    def test_what_is_too_small_to_split_trains(self) -> None:
        few = table("few", rows("z", source="c"))
        assert self.parts(join([self.first, few]))["c0"] == "train"

    def test_shipped_parts_hold_the_839_test_images(self) -> None:
        found = list(given_parts("lungs-parts.csv").values())
        assert (found.count("test"), found.count("left out")) == (839, 7)

    def test_a_missing_table_of_parts_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="id and part"):
            given_parts(str(tmp_path / "none.csv"))


class TestJoin:
    @pytest.mark.parametrize(
        ("text", "path", "convention", "hearts"),
        [
            ("a/b", "a/b", "", True),
            ("a/b:visible", "a/b", "visible", True),
            ("a/b:full,no-heart", "a/b", "full", False),
            ("a/b:2024", "a/b:2024", "", True),
            ("c:/data", "c:/data", "", True),
        ],
    )
    def test_words_after_a_path(self, text: str, path: str, convention: str, hearts: bool) -> None:
        assert DataPath.parse(text) == DataPath(Path(path), convention, hearts)

    def test_lungs_have_one_convention(self) -> None:
        with pytest.raises(DataError, match="one convention"):
            DataPath.parse("a:full,visible")

    def test_one_id_in_two_data_sets_is_an_error(self) -> None:
        with pytest.raises(DataError, match="occurs in"):
            join([table("one", rows("p")), table("two", rows("p"))])

    def test_two_of_one_name_are_an_error(self) -> None:
        with pytest.raises(DataError, match="two data sets"):
            join([table("one", rows("p")), table("one", rows("p", source="b"))])

    def test_rows_say_where_they_are_from(self) -> None:
        found = join([table("one", rows("p")), table("two", rows("p", source="b"))])
        assert [row.collection for row in found] == ["one", "two"]
