"""Anybody's scores and masks, subgroups, comparisons and external tables, good and bad."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from lungsight.dataset import Dataset, Row, read_dataset
from lungsight.errors import DataError
from small_runs import without_patients, write_table

pytest.importorskip("lightning")
from lungsight.evaluation.assess import assess, compare
from lungsight.evaluation.predictions import Predictions, read_masks, read_probabilities
from lungsight.evaluation.subgroups import age_band, subgroups

pytestmark = pytest.mark.usefixtures("few_replicates")


@pytest.fixture
def table(tmp_path: Path) -> Dataset:
    """24 patients with an image each, every other with COVID-19, sources of both classes."""
    return write_table(tmp_path / "data", [True, False] * 12, sources=["a", "a", "b", "b"] * 6)


def scores(path: Path, lines: dict[str, object], header: str = "id,probability") -> Path:
    path.write_text("\n".join([header, *(f"{name},{value}" for name, value in lines.items())]) + "\n")
    return path


def perfect(table: Dataset) -> dict[str, object]:
    return {row.id: 0.9 if row.covid else 0.1 for row in table}


class TestProbabilities:
    def test_by_id_and_by_file_name(self, table: Dataset, tmp_path: Path) -> None:
        by_id = read_probabilities(scores(tmp_path / "a.csv", perfect(table)), table)
        named = {
            f"images/{row.image.name}": value
            for row, value in zip(table, perfect(table).values(), strict=True)
        }
        by_name = read_probabilities(scores(tmp_path / "b.csv", named, "input,probability"), table)
        for found in (by_id, by_name):
            assert [row.id for row in found.rows] == [row.id for row in table]
            assert not found.failures
            result = assess(found)
            assert result.diagnosis is not None and result.diagnosis.figures["auroc"].value == 1
            assert result.diagnosis.same_source is not None and result.diagnosis.same_source.value == 1

    @pytest.mark.parametrize("value", ["1.7", "-0.1", "nan", "inf", "high"])
    def test_no_number_in_the_unit_interval_is_refused(
        self, table: Dataset, tmp_path: Path, value: str
    ) -> None:
        path = scores(tmp_path / "a.csv", perfect(table) | {"x03": value})
        with pytest.raises(DataError, match=r"line 5.*probability"):
            read_probabilities(path, table)

    def test_an_empty_cell_is_not_scored(self, table: Dataset, tmp_path: Path) -> None:
        found = read_probabilities(scores(tmp_path / "a.csv", perfect(table) | {"x03": ""}), table)
        result = assess(found)
        assert len(result.scored) == 23 and any("1 of 24" in warning for warning in result.warnings)

    def test_ids_that_do_not_match(self, table: Dataset, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"no id matches .*'other-0'.*'x00'"):
            read_probabilities(scores(tmp_path / "a.csv", {f"other-{i}": 0.5 for i in range(3)}), table)
        some = dict(list(perfect(table).items())[:20]) | {"stranger": 0.5}
        found = read_probabilities(scores(tmp_path / "b.csv", some), table)
        assert dict(found.failures) == {"stranger": "is in no row of the table"} | {
            f"x{i}": "has no prediction" for i in range(20, 24)
        }

    def test_an_id_twice_and_wrong_columns(self, table: Dataset, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text("id,probability\nx00,0.1\nx00,0.2\n")
        with pytest.raises(DataError, match="more than once"):
            read_probabilities(path, table)
        with pytest.raises(DataError, match=r"needs the columns id and probability.*score"):
            read_probabilities(scores(path, perfect(table), "id,score"), table)


class TestMasks:
    def write(self, folder: Path, table: Dataset, shift: int = 0) -> Path:
        folder.mkdir()
        for row in table:
            assert row.mask is not None
            moved = np.roll(row.mask.load(), shift, axis=1)
            cv2.imwrite(str(folder / f"{row.id}.png"), moved.astype(np.uint8) * 255)
        return folder

    def test_hand_worked_overlap(self, table: Dataset, tmp_path: Path) -> None:
        # 16 of 32 columns, moved by 4: 12 of 16 overlap, Dice 0.75; 32 pixels become 256 without rounding.
        found = read_masks(self.write(tmp_path / "masks", table, shift=4), table)
        figures = assess(found).masks
        assert figures is not None
        assert figures.per_image["dice"].value == pytest.approx(0.75, abs=0.01)
        assert figures.areas[:, 0] == pytest.approx(figures.areas[:, 1], abs=0.01)
        assert 0 < figures.per_image["nsd"].value < 1 and figures.per_image["hd95"].value == pytest.approx(
            32, abs=1
        )

    def test_another_size_of_the_same_shape_is_fine_and_another_shape_is_not(
        self, table: Dataset, tmp_path: Path
    ) -> None:
        folder = self.write(tmp_path / "masks", table)
        large = np.zeros((64, 64), np.uint8)
        large[16:48, 16:48] = 255
        cv2.imwrite(str(folder / "x00.png"), large)
        cv2.imwrite(str(folder / "x01.png"), np.zeros((32, 48), np.uint8))
        found = read_masks(folder, table)
        assert [row.id for row in found.rows][:2] == ["x00", "x02"]
        figures = assess(found).masks
        assert figures is not None and figures.values["dice"][0] > 0.97
        assert len(found.failures) == 1 and "48 x 32, the true one 32 x 32" in found.failures[0][1]

    def test_empty_mask(self, table: Dataset, tmp_path: Path) -> None:
        folder = self.write(tmp_path / "masks", table)
        cv2.imwrite(str(folder / "x00.png"), np.zeros((32, 32), np.uint8))
        figures = assess(read_masks(folder, table)).masks
        assert figures is not None and figures.values["dice"][0] == 0 and figures.without_distance == 1
        assert math.isinf(figures.values["hd95"][0]) and math.isfinite(figures.per_image["hd95"].value)

    def test_nothing_to_compare(self, table: Dataset, tmp_path: Path) -> None:
        (tmp_path / "none").mkdir()
        with pytest.raises(DataError, match="no PNG mask"):
            read_masks(tmp_path / "none", table)
        cv2.imwrite(str(tmp_path / "none" / "stranger.png"), np.zeros((32, 32), np.uint8))
        with pytest.raises(DataError, match="no id matches"):
            read_masks(tmp_path / "none", table)


class TestWarnings:
    def test_one_class_only(self, tmp_path: Path) -> None:
        table = write_table(tmp_path / "data", [False] * 12)
        result = assess(read_probabilities(scores(tmp_path / "a.csv", perfect(table)), table))
        assert any("one class only" in warning for warning in result.warnings)
        assert result.diagnosis is not None and math.isnan(result.diagnosis.figures["auroc"].value)
        assert result.diagnosis.figures["specificity"].value == 1

    def test_fewer_than_ten_patients(self, tmp_path: Path) -> None:
        table = write_table(tmp_path / "data", [True, False] * 4)
        result = assess(read_probabilities(scores(tmp_path / "a.csv", perfect(table)), table))
        assert "only 8 patients: too few to say anything" in result.warnings
        assert result.subgroups and all(group.too_small for group in result.subgroups)

    def test_no_patients_and_no_source_with_both(self, tmp_path: Path) -> None:
        table = without_patients(write_table(tmp_path / "data", [True, False] * 12))
        result = assess(read_probabilities(scores(tmp_path / "a.csv", perfect(table)), table))
        assert any("patient ids are missing" in warning for warning in result.warnings)
        assert any("no source has both classes" in warning for warning in result.warnings)
        assert result.diagnosis is not None and result.diagnosis.same_source is None


class TestSubgroups:
    def test_counts_and_bands(self) -> None:
        rows = [
            Row(str(i), Path("x"), source="ab"[i % 2], patient=str(i), covid=i < 10, sex="F", age=age)
            for i, age in enumerate([3, 17, 18, 39, 40, 59, 60, 79, 80, 99, None, 50])
        ]
        assert [age_band(row) for row in rows] == [
            *["under 18"] * 2, *["18 to 39"] * 2, *["40 to 59"] * 2, *["60 to 79"] * 2, *["80 and over"] * 2,
            "not given", "40 to 59",
        ]  # fmt: skip
        found = {(one.kind, one.name): one for one in subgroups(rows, dice=np.linspace(0, 1, 12))}
        # Sex is F for all: no subgroup.
        assert {kind for kind, _ in found} == {"source", "age"}
        assert found["age", "40 to 59"].images == 3 and found["age", "40 to 59"].covid == 2
        assert found["source", "a"].figures["dice"].value == pytest.approx(np.linspace(0, 1, 12)[::2].mean())
        assert [name for kind, name in found if kind == "age"] == [
            "under 18", "18 to 39", "40 to 59", "60 to 79", "80 and over", "not given",
        ]  # fmt: skip


class TestCompare:
    def model(self, table: Dataset, noise: float, seed: int, name: str) -> Predictions:
        rng = np.random.default_rng(seed)
        values = np.array([0.7 if row.covid else 0.3 for row in table]) + rng.normal(0, noise, len(table))
        return Predictions(name, "all", table.rows, np.clip(values, 0, 1))

    def test_the_better_score_wins_and_itself_is_no_different(self, tmp_path: Path) -> None:
        table = write_table(tmp_path / "data", [True, False] * 30)
        good, bad = self.model(table, 0.1, 0, "good"), self.model(table, 0.9, 1, "bad")
        found = compare(good, bad)
        assert found.images == 60 and found.tests["auroc"].p_value < 0.01
        assert found.tests["auroc"].difference.value > 0.1 and found.tests["brier"].difference.value < 0
        assert compare(good, good).tests["auroc"].difference.value == 0

    def test_only_the_shared_images_count_and_none_is_an_error(self, table: Dataset) -> None:
        one = self.model(table, 0.3, 0, "one")
        half = Predictions(
            "half", "all", table.rows[:12], one.probability[:12] if one.probability is not None else None
        )
        assert compare(one, half).images == 12
        stranger = Predictions("stranger", "all", (), np.empty(0))
        with pytest.raises(DataError, match="cannot be compared"):
            compare(one, stranger)


def test_external_table_in_the_metadata_layout_with_a_mapping(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    lines = ["patientid,diagnosis,finding,view,filename,folder,sex,age"]
    for place in range(24):
        cv2.imwrite(str(tmp_path / f"images/{place}.png"), np.full((16, 16), 9 * place, np.uint8))
        kind = "Pneumonia/Viral/COVID-19" if place % 2 else "Pneumonia/Bacterial"
        lines.append(
            f"{place // 2 if place % 2 else 100 + place},{kind},todo,PA,{place}.png,images,F,{place}"
        )
    lines.append("7,Pneumonia/Viral/COVID-19,todo,L,side.png,images,F,40")
    (tmp_path / "metadata.csv").write_text("\n".join(lines) + "\n")
    table = read_dataset(tmp_path, columns={"finding": "diagnosis"})
    assert len(table) == 24 and len(table.excluded) == 1
    path = scores(tmp_path / "scores.csv", {f"{i}.png": i / 30 for i in range(24)}, "filename,probability")
    result = assess(read_probabilities(path, table))
    assert (
        result.diagnosis is not None and result.diagnosis.confusion.tp + result.diagnosis.confusion.fn == 12
    )
    # Of 12 x 12 pairs (odd, even), the odd one is larger in 78.
    assert result.diagnosis.figures["auroc"].value == pytest.approx(78 / 144)
    with pytest.raises(DataError, match="no column"):
        read_dataset(tmp_path, columns={"finding": "nothing"})
