"""The shortcut audit: its parts by hand, and whole on phantoms with and without a planted shortcut."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from lungsight.dataset import Dataset, Row
from lungsight.errors import DataError, ModelError
from lungsight.metrics import Interval
from small_runs import phantoms, train_diagnosis, without_patients, write_table
from tiny_networks import draw_chest, write_bundle

pytest.importorskip("lightning")
from lungsight.audit import Settings, audit, perturb, probe, stages, views
from lungsight.audit.leakage import leakage, near_duplicates
from lungsight.audit.records import Leakage, Perturbed, Probe, Score, SourceStage, decode, encode
from lungsight.audit.target import load_target
from lungsight.audit.verdict import STEPS, judge

TINY = Settings(px=32, folds=2, epochs=1, least_steps=40, images=400, perturbed=60, replicates=100)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Path]:
    """Every COVID-19 phantom from one hospital, every other from another; and a run on them."""
    root = tmp_path_factory.mktemp("planted")
    dataset = phantoms(root / "data", 120, shortcut=1.0)
    return dataset, train_diagnosis(root / "run", dataset, 4)


@pytest.fixture(scope="module")
def fair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Path]:
    """The hospital says nothing about the finding."""
    root = tmp_path_factory.mktemp("fair")
    dataset = phantoms(root / "data", 160, shortcut=0.0)
    return dataset, train_diagnosis(root / "run", dataset, 15)


def lungs_of(shape: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[30:70, 20:45] = mask[30:70, 55:80] = True
    return mask


class TestViews:
    def test_each_keeps_its_part_and_nothing_else(self) -> None:
        image = np.full((100, 100), 200, np.uint8)
        mask = lungs_of(image.shape)
        shown = {key: cut(image, mask) > 0 for key, (_, cut) in views.VIEWS.items()}
        assert shown["whole"].all()
        assert (
            shown["border"][5, 50] and not shown["border"][50, 50] and not shown["border"][13:87, 13:87].any()
        )
        assert not (shown["lungs-black"] & mask).any() and shown["lungs-black"][50, 50]
        assert shown["lungs"][mask].all() and not shown["lungs"][5, 50]
        # The outline of the lungs is gone: what lies between them is too.
        assert not shown["outside"][50, 50] and shown["outside"][5, 50]
        assert not (shown["lungs"] & shown["lungs-black"]).any()

    def test_a_lung_in_the_border_is_not_shown(self) -> None:
        image, mask = np.full((100, 100), 200, np.uint8), np.zeros((100, 100), bool)
        mask[:, :20] = True
        assert not (views.border_only(image, mask)[:, :20] > 0).any()

    def test_render_cuts_before_it_shrinks(self) -> None:
        image, mask = np.zeros((1, 100, 100), np.uint8), lungs_of((100, 100))
        image[0][mask] = 255
        assert not views.render("lungs-black", image, mask[None], 25).any()


class TestPerturbations:
    def test_swap_takes_lungs_from_one_and_the_rest_from_the_other(self) -> None:
        own, donor = np.full((100, 100), 50, np.uint8), np.full((100, 100), 180, np.uint8)
        mask = lungs_of(own.shape)
        donor_mask = np.roll(mask, 10, axis=0)
        donor[donor_mask] = 0
        swapped = perturb.swap_outside(own, mask, donor, donor_mask)
        assert (swapped[mask] == 50).all()
        # The donor's own black lungs do not show beside the new ones.
        assert swapped[~np.roll(mask, 3, axis=0) & ~mask][100:].min() >= 50 and swapped[75, 30] > 120

    def test_letters_painted_in_are_found_and_painted_over(self) -> None:
        image, mask = draw_chest(256, 256), np.zeros((256, 256), bool)
        image[image > 100] = 60
        with_letters, _ = perturb.letters_in(image, mask)
        assert perturb.find_letters(with_letters, mask).any()
        cleaned, _ = perturb.letters_out(with_letters, mask)
        before = np.abs(with_letters.astype(int) - image).mean()
        assert np.abs(cleaned.astype(int) - image).mean() < 0.3 * before

    def test_geometry_moves_the_mask_with_the_image(self) -> None:
        mask = lungs_of((100, 100))
        image = mask.astype(np.uint8) * 255
        for key in ("crop", "rotate"):
            changed, moved = perturb.CHANGES[key][1](image, mask)
            assert ((changed > 127) == moved).mean() > 0.98 and not np.array_equal(moved, mask)

    def test_donors_are_of_another_source_or_patient(self) -> None:
        rows = [Row(str(i), Path("x"), source="ab"[i % 2], patient=str(i)) for i in range(6)]
        places, words = perturb.donors(rows, 0)
        assert all(rows[i].source != row.source for i, row in zip(places, rows, strict=True))
        assert "source" in words
        alone = [dataclasses.replace(row, source="a") for row in rows]
        places, words = perturb.donors(alone, 0)
        assert all(alone[i].patient != row.patient for i, row in zip(places, alone, strict=True))
        assert "patient" in words


class TestProbes:
    def test_thinning_spares_the_rare(self) -> None:
        names = [("a", True)] * 5 + [("a", False)] * 10 + [("b", False)] * 100
        rows = [Row(str(i), Path("x"), source=source, covid=covid) for i, (source, covid) in enumerate(names)]
        kept = probe.thin(rows, 40, 0)
        assert len(kept) == 40 and set(range(15)) <= set(kept.tolist())
        assert probe.thin(rows, 1000, 0).size == 115

    def test_out_of_fold_scores_are_ranks_and_never_of_the_own_fold(self) -> None:
        seen: list[set[int]] = []

        def fit(inputs: np.ndarray, labels: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
            seen.append(set(inputs[:, 0].astype(int)) & set(test[:, 0].astype(int)))
            return test[:, 0].astype(float)

        inputs = np.arange(6, dtype=np.float32)[:, None]
        found = probe.out_of_fold(fit, inputs, np.zeros(6, bool), [(0, 2, 4), (1, 3, 5)], 0)
        assert seen == [set(), set()]
        assert found == pytest.approx([1 / 6, 1 / 6, 0.5, 0.5, 5 / 6, 5 / 6])

    def test_network_and_logistic_regression_learn_what_is_plain(self) -> None:
        labels = np.arange(80) % 2 == 0
        images = np.random.default_rng(0).integers(0, 60, (80, 32, 32)).astype(np.uint8)
        images[labels, 8:16, 8:16] += 150
        for fit, inputs in (
            (probe.network_fit(TINY), images),
            (probe.logistic_fit, probe.thumbnails(images)),
            (probe.logistic_fit, probe.histograms(images)),
        ):
            scores = fit(inputs[:60], labels[:60], inputs[60:], 0)
            assert scores[labels[60:]].min() > scores[~labels[60:]].max()

    def test_source_alone(self) -> None:
        pairs = [("a", True)] * 3 + [("a", False)] + [("b", False)] * 4
        rows = [Row(str(i), Path("x"), source=source, covid=covid) for i, (source, covid) in enumerate(pairs)]
        # Of 3 x 5 pairs, 12 are told by the source and 3 tie.
        assert stages.source_alone(rows) == pytest.approx((12 + 1.5) / 15)


class TestLeakage:
    def test_copies_are_found_and_others_are_not(self) -> None:
        images = np.stack([draw_chest(128, 128, seed=seed) for seed in range(4)])
        rng = np.random.default_rng(1)
        noise = [np.kron(rng.integers(0, 255, (16, 16)), np.ones((8, 8))) for _ in range(5)]
        images = np.stack([n.astype(np.uint8) for n in noise])
        copy, _ = perturb.jpeg(images[1], np.zeros((128, 128), bool))
        found = near_duplicates(np.concatenate([images, copy[None]]), np.arange(6))
        assert [(pair[0], pair[1]) for pair in found] == [(1, 5)]
        assert not near_duplicates(np.concatenate([images, copy[None]]), np.zeros(6, np.int64))

    def test_patients_on_both_sides_of_a_split_by_image(
        self, tmp_path: Path, fair: tuple[Dataset, Path]
    ) -> None:
        dataset, by_patient = fair
        by_image = train_diagnosis(tmp_path / "run", dataset, 1, 'split.kind="paper"')
        bad = leakage(load_target(by_image, dataset))
        assert bad.known and len(bad.patients) > 5 and bad.images > 5
        good = leakage(load_target(by_patient, dataset))
        assert good.known and not good.patients and good.images == 0


class TestVerdict:
    @staticmethod
    def judged(**changes: float | None) -> int:
        given: dict[str, float | None] = {
            "pooled": 0.95, "same": 0.9, "alone": 0.5, "tells": 0.5, "border": 0.5, "black": 0.5, "follows": -0.5,
        }  # fmt: skip
        given |= changes

        def near(value: float | None) -> Interval:
            known = math.nan if value is None else value
            return Interval(known, known - 0.03, known + 0.03, 100, 80, "test")

        same = None if given["same"] is None else near(given["same"])
        score = Score(
            "m",
            "test",
            100,
            80,
            100,
            near(given["pooled"]),
            same,
            50,
            given["alone"] or 0,
            near(given["tells"]),
            "",
        )
        moved = [
            Perturbed(
                key, key, 100, 1.0, near(given["black"]), None, 0.0, 0.0, 0.0, 0.0, near(given["follows"])
            )
            for key in ("lungs-black", "border", perturb.SWAP)
        ]
        probes = [
            Probe(key, key, "probe", 100, near(0.95 if key == "whole" else given["border"]), None, 0)
            for key in ("whole", "border", "outside")
        ]
        leaks = Leakage(True, (), 0, 100, ())
        return judge(score, moved, probes, SourceStage((), (), ()), leaks).step

    def test_every_step_by_its_rules(self) -> None:
        assert len(STEPS) == 4
        assert self.judged() == 1
        assert self.judged(border=0.9) == 2
        assert self.judged(alone=0.9) == 2
        assert self.judged(black=0.8) == 3
        assert self.judged(follows=0.5) == 3
        assert self.judged(same=0.7) == 3
        assert self.judged(same=0.5, alone=0.94, border=0.94) == 4
        assert self.judged(same=None, alone=1.0, border=0.94) == 4
        # Chance within sources, but the source alone is far from as good.
        assert self.judged(same=0.5, alone=0.7, border=0.94) == 3

    def test_telling_sources_counts_only_where_they_give_the_class_away(self) -> None:
        assert self.judged(tells=0.9) == 1
        assert self.judged(tells=0.9, alone=0.9) == 3

    def test_an_interval_that_reaches_chance_is_no_sign(self) -> None:
        assert self.judged(black=0.62) == 1


def test_records_survive_json() -> None:
    interval = Interval(0.5, math.nan, 0.75, 10, None, "m", "note")
    one = Perturbed("k", "w", 3, 0.5, interval, None, math.nan, 0.1, 0.2, 0.3, interval)
    back = decode(Perturbed, json.loads(json.dumps(encode(one)).replace("NaN", "null")))
    assert json.dumps(encode(back)) == json.dumps(encode(one))
    assert back.same_source is None and math.isnan(back.pooled.low)


class TestWhole:
    def test_a_planted_shortcut_is_found(self, planted: tuple[Dataset, Path], tmp_path: Path) -> None:
        dataset, folder = planted
        found = audit(folder, dataset, tmp_path, settings=TINY, part="all")
        assert found.verdict.step == 4, found.verdict
        probes = {one.key: one.pooled for one in found.probes}
        assert probes["border"].low > 0.9 and probes["lungs-black"].low > 0.9
        assert found.score.source_alone == 1.0 and found.score.same_source is None
        assert {sign.key for sign in found.verdict.signs if sign.holds} >= {"D1", "D2", "D3", "W2"}

    def test_no_wolf_is_cried(self, fair: tuple[Dataset, Path], tmp_path: Path) -> None:
        dataset, folder = fair
        found = audit(folder, dataset, tmp_path, settings=TINY, part="all")
        assert found.verdict.step == 1, found.verdict
        assert found.score.pooled.low > 0.7
        assert found.score.same_source is not None and found.score.same_source.low > 0.6
        # The sources can be told apart, and it is right that this alone is no sign.
        assert found.source.tests[0].auroc.value > 0.9
        assert {one.source for one in found.source.left_out} == {"north", "south"}

        def fail(*_: object) -> None:
            raise AssertionError("a stage was done twice")

        with pytest.MonkeyPatch.context() as patch:
            for name in ("baseline", "perturbation", "retraining", "source"):
                patch.setattr(stages, name, fail)
            again = audit(folder, dataset, tmp_path, settings=TINY, part="all")
            assert encode(again.verdict) == encode(found.verdict)
            with pytest.raises(AssertionError):
                audit(folder, dataset, tmp_path, settings=dataclasses.replace(TINY, seed=1), part="all")

    def test_networks_of_a_folder_are_audited_end_to_end(
        self, fair: tuple[Dataset, Path], tmp_path: Path
    ) -> None:
        dataset, _ = fair
        target = load_target(write_bundle(tmp_path / "nets", "lungs", "diagnosis"), dataset)
        places = np.arange(4)
        scores = target.score(target.images[places], target.masks[places], places)
        assert scores.shape == (4,) and target.part == "all" and not target.parts
        black = target.score(np.full((1, 256, 256), 255, np.uint8), target.masks[:1], places[:1])
        assert np.isnan(black).all()


class TestBadInput:
    def test_too_few_patients(self, tmp_path: Path) -> None:
        table = write_table(
            tmp_path, [True, False] * 8, patients=[f"p{i // 2 % 4}{'ab'[i % 2]}" for i in range(16)]
        )
        with pytest.raises(DataError, match="only 4 patients with COVID-19"):
            audit(tmp_path, table, tmp_path / "out", settings=TINY)

    def test_no_patient_ids(self, tmp_path: Path) -> None:
        table = without_patients(write_table(tmp_path, [True, False] * 12))
        with pytest.raises(DataError, match="no patient id"):
            audit(tmp_path, table, tmp_path / "out", settings=TINY)

    def test_one_class_only(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="no COVID-19 image"):
            audit(tmp_path, write_table(tmp_path, [False] * 12), tmp_path / "out", settings=TINY)

    def test_no_masks(self, tmp_path: Path) -> None:
        table = write_table(tmp_path, [True, False] * 12)
        bare = dataclasses.replace(table, rows=tuple(dataclasses.replace(row, mask=None) for row in table))
        with pytest.raises(DataError, match="lung mask"):
            audit(tmp_path, bare, tmp_path / "out", settings=TINY)

    def test_no_model(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="no model to audit"):
            audit(
                tmp_path / "none", write_table(tmp_path, [True, False] * 12), tmp_path / "out", settings=TINY
            )


def test_command_writes_the_report_and_goes_on(
    planted: tuple[Dataset, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lungsight.cli import app

    dataset, folder = planted
    monkeypatch.setattr(
        "lungsight.audit.QUICK", dataclasses.replace(TINY, folds=2, least_steps=20, replicates=50)
    )
    command = [
        "audit",
        str(folder),
        "--data",
        str(dataset.root),
        "--out",
        str(tmp_path),
        "--quick",
        "--part",
        "all",
    ]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "explained by the source" in result.output
    page = (tmp_path / "audit.html").read_text()
    assert "explained by the source" in page and 'src="http' not in page
    found = json.loads((tmp_path / "audit.json").read_text())
    assert (
        found["verdict"]["step"] == 4 and len(found["retraining"]) == 7 and len(found["perturbation"]) == 12
    )
    assert (tmp_path / "tables" / "first.csv").is_file()
    assert sorted(path.stem for path in (tmp_path / "stages").iterdir()) == [
        "leakage", "perturbation", "retraining", "score", "source",
    ]  # fmt: skip
