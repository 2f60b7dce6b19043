"""Anybody's scores and masks, subgroups, comparisons and external tables, good and bad."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from lungsight.dataset import Dataset, Row, read_dataset
from lungsight.errors import DataError
from small_runs import without_patients, write_table

pytest.importorskip("lightning")
from lungsight.evaluation import Predictions, evaluate, read_masks, read_scores
from lungsight.evaluation.compare import compare
from lungsight.evaluation.mask_files import format_notes
from lungsight.evaluation.pairing import AMBIGUOUS, RowNames
from lungsight.evaluation.subgroups import age_band, subgroups
from lungsight.wording import Caution

Pixels = NDArray[np.uint8]

pytestmark = pytest.mark.usefixtures("few_trees", "undrawn_charts")


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
        by_id = read_scores(scores(tmp_path / "a.csv", perfect(table)), table)
        named = {
            f"images/{row.image.name}": value
            for row, value in zip(table, perfect(table).values(), strict=True)
        }
        by_name = read_scores(scores(tmp_path / "b.csv", named, "input,probability"), table)
        for found in (by_id, by_name):
            assert [row.id for row in found.rows] == [row.id for row in table]
            assert not found.failures
            result = evaluate(found)
            assert result.score is not None and result.score.metrics["auroc"].value == 1
            same = result.score.sources.same_source
            assert same is not None and same.auroc.value == 1

    @pytest.mark.parametrize("value", ["1.7", "-0.1", "inf", "high", "1.0000001"])
    def test_what_is_no_probability_is_named_and_costs_nothing_else(
        self, table: Dataset, tmp_path: Path, value: str
    ) -> None:
        found = read_scores(scores(tmp_path / "a.csv", perfect(table) | {"x03": value}), table)
        assert len(found.rows) == 23 and "x03" not in {row.id for row in found.rows}
        assert ("x03", "line 5: the probability is no number in [0, 1]") in found.failures
        assert value not in str(found.failures)

    def test_no_probability_at_all_is_refused(self, table: Dataset, tmp_path: Path) -> None:
        logits = {row.id: 7.5 for row in table}
        with pytest.raises(DataError, match=r"line 2: the probability is no number in \[0, 1\]"):
            read_scores(scores(tmp_path / "a.csv", logits), table)

    @pytest.mark.parametrize("scale", [(0.4, 100), (-3.1, 8)], ids=["percentages", "logits"])
    def test_numbers_of_another_scale_are_refused_although_some_lie_within(
        self, table: Dataset, tmp_path: Path, scale: tuple[float, float]
    ) -> None:
        # 0.4, 4.7, 9.0 ... and -3.1, -2.75, -2.4 ...
        spread = {row.id: scale[0] + scale[1] * index / 23 for index, row in enumerate(table)}
        assert any(0 <= value <= 1 for value in spread.values())
        with pytest.raises(DataError, match="Turn logits and percentages into probabilities first"):
            read_scores(scores(tmp_path / "a.csv", spread), table)

    def test_an_empty_cell_is_not_scored(self, table: Dataset, tmp_path: Path) -> None:
        found = read_scores(scores(tmp_path / "a.csv", perfect(table) | {"x03": ""}), table)
        result = evaluate(found)
        assert len(result.scored) == 23 and any("1 of 24" in str(note) for note in result.record.notes)

    def test_ids_that_do_not_match(self, table: Dataset, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"no id matches .*'other-0'.*'x00'"):
            read_scores(scores(tmp_path / "a.csv", {f"other-{i}": 0.5 for i in range(3)}), table)
        some = dict(list(perfect(table).items())[:20]) | {"stranger": 0.5}
        found = read_scores(scores(tmp_path / "b.csv", some), table)
        assert dict(found.failures) == {"stranger": "is in no row of the table"} | {
            f"x{i}": "has no prediction" for i in range(20, 24)
        }

    def test_an_image_that_is_named_twice(self, table: Dataset, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text("id,probability\nx00,0.1\nx00.png,0.2\nx01,0.5\nimages/image-01.png,0.5\nx02,0.7\n")
        found = read_scores(path, table)
        # Two values for x00: neither is taken. x01 is said twice and alike.
        assert [row.id for row in found.rows] == ["x01", "x02"]
        twice = [name for name, reason in found.failures if "predicted twice" in reason]
        assert twice == ["x00", "x00.png"]
        assert "x00" not in [name for name, reason in found.failures if reason == "has no prediction"]

    def test_wrong_columns_and_given_ones(self, table: Dataset, tmp_path: Path) -> None:
        path = scores(tmp_path / "a.csv", perfect(table), "name,out")
        with pytest.raises(DataError, match=r"needs the columns id and probability.*out.*--columns"):
            read_scores(path, table)
        found = read_scores(path, table, columns={"probability": "out", "id": "name"})
        assert len(found.rows) == 24
        with pytest.raises(DataError, match="has no column 'score'"):
            read_scores(path, table, columns={"probability": "score"})

    @pytest.mark.parametrize(
        "text",
        [
            "sep=;\r\nid;probability\r\nx00;0,25\r\nx01;0,75\r\nx02;nan\r\n;;\r\n",
            "id,probability,,\nx00,0.25,,\nx01,0.75,,\nx02,NaN,,\n,,,\n",
            "\ufeffID\tProbability\nx00\t0.25\nx01\t0.75\nx02\t#N/A\n",
        ],
        ids=["sep", "trailing", "tabs"],
    )
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
    def test_tables_as_programs_save_them(
        self, table: Dataset, tmp_path: Path, text: str, encoding: str
    ) -> None:
        path = tmp_path / "a.csv"
        path.write_bytes(text.encode(encoding))
        found = read_scores(path, table)
        assert found.probability is not None
        assert found.probability[:2].tolist() == [0.25, 0.75] and math.isnan(found.probability[2])

    def test_a_file_name_of_two_folders_means_neither_but_its_path_does(self, tmp_path: Path) -> None:
        lines = ["id,image,covid,patient"]
        for number, folder in enumerate(("a", "b")):
            (tmp_path / "data" / folder).mkdir(parents=True)
            cv2.imwrite(str(tmp_path / "data" / folder / "film.png"), np.full((16, 16), 90, np.uint8))
            lines.append(f"{folder}1,{folder}/film.png,{number},p{number}")
        (tmp_path / "data" / "manifest.csv").write_text("\n".join(lines) + "\n")
        both = read_dataset(tmp_path / "data")
        path = scores(tmp_path / "a.csv", {"film.png": 0.5, "b/film.png": 0.75, "data/a/film.png": 0.25})
        found = read_scores(path, both)
        assert {row.id: value for row, value in zip(found.rows, found.probability, strict=True)} == {  # type: ignore[arg-type]
            "b1": 0.75, "a1": 0.25,
        }  # fmt: skip
        assert found.failures == (("film.png", AMBIGUOUS),)

    def test_unicode_forms_and_percent_signs(self, tmp_path: Path) -> None:
        name = "b\u00e9b\u00e9 1.png"
        (tmp_path / "data").mkdir()
        cv2.imwrite(str(tmp_path / "data" / "plain.png"), np.full((16, 16), 90, np.uint8))
        rows = [
            Row("1", tmp_path / "data" / "plain.png", covid=True, original_filename=name),
            Row("2", tmp_path / "data" / "plain.png", covid=False, original_filename="other.png"),
        ]
        table = Dataset(tmp_path / "data", "manifest", tuple(rows))
        for written in (name, "be\u0301be\u0301 1.png", "b%C3%A9b%C3%A9%201.png", "be\u0301be\u0301 1"):
            found = read_scores(scores(tmp_path / "a.csv", {written: 0.5}), table)
            assert [row.id for row in found.rows] == ["1"], written

    def test_one_missing_patient_id_keeps_the_others_together(self, table: Dataset, tmp_path: Path) -> None:
        rows = [dataclasses.replace(row, patient=f"p{number // 2}") for number, row in enumerate(table)]
        rows[0] = dataclasses.replace(rows[0], patient="")
        known = dataclasses.replace(table, rows=tuple(rows))
        result = evaluate(read_scores(scores(tmp_path / "a.csv", perfect(table)), known))
        assert result.record.patients == 13
        assert result.score is not None
        area = result.score.metrics["auroc"]
        assert area.n_patients == 13 and "1 of 24 images have no patient id" in area.note


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
        result = evaluate(found)
        assert result.masks is not None and result.mask_values is not None
        means, areas = result.masks.per_image, result.mask_values.areas
        assert means["dice"].value == pytest.approx(0.75, abs=0.01)
        assert areas[:, 0] == pytest.approx(areas[:, 1], abs=0.01)
        assert 0 < means["nsd"].value < 1 and means["hd95"].value == pytest.approx(32, abs=1)

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
        values = evaluate(found).mask_values
        assert values is not None and values.values["dice"][0] > 0.97
        assert len(found.failures) == 1 and "48 x 32, the true one 32 x 32" in found.failures[0][1]

    def test_empty_mask(self, table: Dataset, tmp_path: Path) -> None:
        folder = self.write(tmp_path / "masks", table)
        cv2.imwrite(str(folder / "x00.png"), np.zeros((32, 32), np.uint8))
        result = evaluate(read_masks(folder, table))
        assert result.masks is not None and result.mask_values is not None
        values, hd95 = result.mask_values.values, result.masks.per_image["hd95"]
        assert values["dice"][0] == 0 and result.masks.one_empty == 1
        assert math.isinf(values["hd95"][0]) and math.isfinite(hd95.value)
        assert hd95.note == "1 of 24 images have none and are left out" and hd95.n == 23

    def test_names_and_forms_of_masks(self, table: Dataset, tmp_path: Path) -> None:
        """Every form that other programs write is read as the same mask."""
        folder = tmp_path / "masks"
        (folder / "deep").mkdir(parents=True)
        for number, row in enumerate(table):
            assert row.mask is not None
            lung = row.mask.load()
            halves = lung.astype(np.uint8)
            halves[:, 16:] *= 2
            forms = [
                ("{}_mask.PNG", lung.astype(np.uint8) * 255),
                ("{}.png", halves),
                ("deep/{}.png", halves * 64),
                ("{}-mask.tif", (~lung).astype(np.uint8) * 255),
                ("{}.png", np.dstack([np.zeros_like(halves)] * 2 + [lung.astype(np.uint8) * 255])),
                ("{}.png", np.dstack([np.full_like(halves, 255)] * 3 + [lung.astype(np.uint8) * 255])),
            ]
            name, pixels = forms[number % len(forms)]
            assert cv2.imwrite(str(folder / name.format(row.id)), pixels)
        result = evaluate(read_masks(folder, table))
        assert result.mask_values is not None and result.record.images == 24
        assert (result.mask_values.values["dice"] > 0.99).all()
        assert not result.record.left_out

    @pytest.mark.parametrize(
        "name",
        [
            "mask_{}.png",
            "{}_lung.png",
            "{}_Mask.PNG",
            "{}_lung_mask.png.png",
            "{}-segmentation.tif",
            "pred_{}_out.bmp",
        ],
    )
    def test_what_programs_add_to_a_name(self, table: Dataset, name: str) -> None:
        names = RowNames(table)
        for index in (0, 23):
            assert names.find(name.format(table.rows[index].id), mask=True) == (index,)
            assert names.find(name.format(table.rows[index].image.stem), mask=True) == (index,)
        # A side is no word of a program: half a mask is not the mask.
        assert names.find("x00_left_lung.png", mask=True) == () == names.find("x00_heart.png", mask=True)
        assert names.find("x00_lung.png") == ()

    def test_masks_that_never_meet_the_truth_are_warned_of(self, table: Dataset, tmp_path: Path) -> None:
        folder = self.write(tmp_path / "masks", table, shift=16)
        result = evaluate(read_masks(folder, table))
        assert any(note.code is Caution.MASK_FORMAT for note in result.record.notes)

    @pytest.mark.parametrize(
        ("words", "turn"),
        [
            ("mirrored left to right", lambda mask: mask[:, ::-1]),
            ("mirrored top to bottom", lambda mask: mask[::-1]),
            ("turned by 180 degrees", lambda mask: mask[::-1, ::-1]),
            ("mirrored about the diagonal", lambda mask: mask.T),
            ("mirrored about the other diagonal", lambda mask: mask[::-1, ::-1].T),
            ("turned by 90 degrees clockwise", lambda mask: cv2.rotate(mask, cv2.ROTATE_90_CLOCKWISE)),
            (
                "turned by 90 degrees anticlockwise",
                lambda mask: cv2.rotate(mask, cv2.ROTATE_90_COUNTERCLOCKWISE),
            ),
            ("", lambda mask: mask),
        ],
    )
    def test_turned_masks_are_warned_of(self, words: str, turn: Callable[[Pixels], Pixels]) -> None:
        truth = np.zeros((1, 64, 64), np.uint8)
        truth[0, 6:40, 8:24] = 1  # a lung that no turn brings onto itself
        given = np.ascontiguousarray(turn(truth[0]))[None]
        notes = format_notes(given.astype(bool), truth.astype(bool))
        assert [str(note) for note in notes] == (
            [f"the masks look {words}: turned back, they overlap far better with the true ones"]
            if words
            else []
        )

    @pytest.mark.parametrize(("mirrored", "warned"), [(74, False), (75, True)])
    def test_only_where_it_is_so_for_most(self, mirrored: int, warned: bool) -> None:
        truth = np.zeros((100, 20, 20), bool)
        truth[:, 2:18, 2:7] = truth[:, 2:14, 12:19] = True
        masks = truth.copy()
        masks[:mirrored] = masks[:mirrored, :, ::-1]
        assert [note.code for note in format_notes(masks, truth)] == [Caution.MASKS_MIRRORED] * warned

    @pytest.mark.parametrize(("more", "warned"), [(0, True), (2, False)])
    def test_a_little_better_is_chance(self, more: int, warned: bool) -> None:
        """One pixel in 19, or in 21, lies on the other side: the mirror lifts the Dice by 0.053, or 0.048."""
        truth = np.zeros((4, 10, 10), bool)
        truth[:, 0, 1:], truth[:, 5, :] = True, True
        truth[:, 9, [4, 5]] = more > 0
        assert bool(format_notes(truth[:, :, ::-1], truth)) == warned

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
        result = evaluate(read_scores(scores(tmp_path / "a.csv", perfect(table)), table))
        assert any("one class only" in str(note) for note in result.record.notes)
        assert result.score is not None and math.isnan(result.score.metrics["auroc"].value)
        assert result.score.metrics["specificity"].value == 1

    def test_fewer_than_ten_patients(self, tmp_path: Path) -> None:
        table = write_table(tmp_path / "data", [True, False] * 4)
        result = evaluate(read_scores(scores(tmp_path / "a.csv", perfect(table)), table))
        assert "too few: 8 patients" in map(str, result.record.notes)
        assert result.record.subgroups and all(group.too_few for group in result.record.subgroups)

    def test_no_patients_and_no_source_with_both(self, tmp_path: Path) -> None:
        table = without_patients(write_table(tmp_path / "data", [True, False] * 12))
        result = evaluate(read_scores(scores(tmp_path / "a.csv", perfect(table)), table))
        assert any("patients unknown" in str(note) for note in result.record.notes)
        assert any("no source has both classes" in str(note) for note in result.record.notes)
        assert result.score is not None and result.score.sources.same_source is None


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
        assert found["age", "40 to 59"].images == 3 and found["age", "40 to 59"].positive == 2
        assert found["source", "a"].metrics["dice"].value == pytest.approx(np.linspace(0, 1, 12)[::2].mean())
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
    result = evaluate(read_scores(path, table))
    assert result.score is not None and result.score.confusion.tp + result.score.confusion.fn == 12
    # Of 12 x 12 pairs (odd, even), the odd one is larger in 78.
    assert result.score.metrics["auroc"].value == pytest.approx(78 / 144)
    with pytest.raises(DataError, match="no column"):
        read_dataset(tmp_path, columns={"finding": "nothing"})
