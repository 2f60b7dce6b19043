"""The shortcut audit: its parts by hand, and whole on phantoms with and without a planted shortcut."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from lungsight.config import load_recipe
from lungsight.dataset import Dataset, Row
from lungsight.errors import DataError, ModelError
from lungsight.metrics import Interval
from lungsight.records import from_json, to_json
from lungsight.wording import (
    CriterionKey,
    DataAnswer,
    ImageChange,
    IntervalMethod,
    NoPixels,
    Property,
    Region,
    ScoreAnswer,
)
from small_runs import phantoms, train_diagnosis, without_patients, write_table
from tiny_networks import draw_chest, write_bundle

pytest.importorskip("lightning")
from lungsight.audit import (
    Settings,
    audit,
    model_hash,
    perturb,
    probe,
    read_audit,
    regions,
    retraining,
    steps,
    transplant,
)
from lungsight.audit.audited import load_audited
from lungsight.audit.leakage import find_leakage, near_duplicates
from lungsight.audit.records import Change, Leakage, Probe, Score, SourceStep, Transplant
from lungsight.audit.statistics import Estimate, estimate
from lungsight.audit.store import Store
from lungsight.audit.verdict import FAMILY_ERROR, decide
from lungsight.evaluation.no_pixels import no_pixel_scores, score_by
from lungsight.training import make_split
from lungsight.training.run_folder import split_table

TINY = Settings(px=32, folds=2, epochs=1, min_steps=40, images=400, perturbed=120)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Path]:
    """Every COVID-19 phantom from one hospital, every other from another; and a run on them."""
    root = tmp_path_factory.mktemp("planted")
    dataset = phantoms(root / "data", 120, shortcut=1.0)
    return dataset, train_diagnosis(root / "run", dataset, 4)


@pytest.fixture(scope="module")
def planted_audit(
    planted: tuple[Dataset, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Result, Path]:
    """`lungsight audit` of it: what the command said, and its folder."""
    from lungsight.cli import app

    (dataset, folder), out = planted, tmp_path_factory.mktemp("audit")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lungsight.audit.QUICK", TINY)
        command = ["audit", str(folder), "--data", str(dataset.root), "--out", str(out)]
        return CliRunner().invoke(app, [*command, "--quick", "--part", "all"]), out


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


class TestRegions:
    def test_each_keeps_its_part_and_nothing_else(self) -> None:
        image = np.full((100, 100), 200, np.uint8)
        mask = lungs_of(image.shape)
        shown = {key: cut(image, mask) > 0 for key, cut in regions.REGIONS.items()}
        assert shown["whole"].all()
        assert (
            shown["border"][5, 50] and not shown["border"][50, 50] and not shown["border"][13:87, 13:87].any()
        )
        assert not (shown["lungs_black"] & mask).any() and shown["lungs_black"][50, 50]
        assert shown["lungs"][mask].all() and not shown["lungs"][5, 50]
        # The outline of the lungs is gone: what lies between them is too.
        assert not shown["background"][50, 50] and shown["background"][5, 50]
        assert not (shown["lungs"] & shown["lungs_black"]).any()

    def test_a_lung_in_the_border_is_not_shown(self) -> None:
        image, mask = np.full((100, 100), 200, np.uint8), np.zeros((100, 100), bool)
        mask[:, :20] = True
        assert not (regions.border_only(image, mask)[:, :20] > 0).any()

    def test_render_cuts_before_it_shrinks(self) -> None:
        image, mask = np.zeros((1, 100, 100), np.uint8), lungs_of((100, 100))
        image[0][mask] = 255
        assert not regions.render(Region.LUNGS_BLACK, image, mask[None], 25).any()


class TestPerturbations:
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
            changed, moved = perturb.CHANGES[ImageChange(key)](image, mask)
            assert ((changed > 127) == moved).mean() > 0.98 and not np.array_equal(moved, mask)


class TestTransplants:
    def test_background_takes_lungs_from_one_and_the_rest_from_the_other(self) -> None:
        own, donor = np.full((100, 100), 50, np.uint8), np.full((100, 100), 180, np.uint8)
        mask = lungs_of(own.shape)
        donor_mask = np.roll(mask, 10, axis=0)
        donor[donor_mask] = 0
        changed, lungs = transplant.background(own, mask, donor, donor_mask)
        assert (changed[mask] == 50).all() and lungs is mask
        # The donor's own black lungs do not show beside the new ones.
        assert changed[75, 30] > 120 and changed[5, 5] == 180

    def test_donors_are_other_patients_drawn_without_regard_to_the_class(self) -> None:
        truth = np.arange(4000) % 4 == 0
        patients = np.array([f"p{i // 2}" for i in range(4000)])
        donors = transplant.draw_donors(truth, patients, 3)
        assert (patients[donors] != patients).all()
        assert truth[donors].mean() == pytest.approx(0.5, abs=0.01)
        # Of either class of receivers, half get a donor of either class.
        assert abs(truth[donors][truth].mean() - truth[donors][~truth].mean()) < 0.05
        assert np.bincount(donors[truth[donors]], minlength=4000)[truth].max() <= 3

    def test_contrast_goes_by_what_is_beside_the_lungs(self) -> None:
        rng = np.random.default_rng(0)
        mask = lungs_of((100, 100))
        own = rng.integers(90, 110, (100, 100)).astype(np.uint8)
        donor = np.asarray(60 + 2 * (rng.integers(90, 110, (100, 100)) - 100), np.uint8)
        donor[mask] = 250
        changed, _ = transplant.contrast(own, mask, donor, mask)
        beside = np.zeros_like(mask)
        beside[:25] = True
        assert np.median(changed[beside]) == pytest.approx(60, abs=3)
        assert changed[beside].std() == pytest.approx(2 * own[beside].std(), rel=0.2)
        # The donor's bright lungs are not transplanted.
        assert np.median(changed[mask]) == pytest.approx(60, abs=3)

    def test_sharpness_of_a_blurred_donor_blurs(self) -> None:
        rng = np.random.default_rng(0)
        mask = lungs_of((128, 128))
        own = rng.integers(50, 200, (128, 128)).astype(np.uint8)
        donor, _ = perturb.blur(own, mask)
        changed, _ = transplant.sharpness(own, mask, donor, mask)
        edges = [np.abs(np.diff(image.astype(float))).mean() for image in (own, changed, donor)]
        assert edges[1] < 0.6 * edges[0]

    def test_framing_puts_the_lungs_where_the_donors_are(self) -> None:
        mask = lungs_of((100, 100))
        donor_mask = np.zeros_like(mask)
        donor_mask[20:80, 10:90] = True
        image = mask.astype(np.uint8) * 255
        changed, lungs = transplant.framing(image, mask, image, donor_mask)
        rows, columns = np.flatnonzero(lungs.any(1)), np.flatnonzero(lungs.any(0))
        assert abs(rows[0] - 20) <= 1 and abs(rows[-1] - 79) <= 1
        assert abs(columns[0] - 10) <= 1 and abs(columns[-1] - 89) <= 1
        assert ((changed > 127) == lungs).mean() > 0.97


class TestRefused:
    """Networks that ship refuse what is no upright frontal X-ray, and with it every image of some changes."""

    def test_nothing_is_left_to_compare(self) -> None:
        rows = [Row(str(n), Path(f"{n}.png"), patient=f"p{n}", source="s", covid=n < 3) for n in range(6)]
        before, refused = np.linspace(0, 1, 6), np.full(6, np.nan)
        change = steps.change_record(ImageChange.BORDER, rows, before, refused, 0.5)
        assert (change.images, change.scored, change.pooled.pairs) == (6, 0, 0)
        assert np.isnan(
            [change.deviation, change.flipped, change.positive_shift, change.negative_shift]
        ).all()
        moved = steps.transplant_record(Property.BACKGROUND, rows, before, refused, np.arange(6)[::-1])
        assert (moved.scored, moved.donor_auroc.pairs, moved.own_auroc.pairs) == (0, 0, 0)
        assert (moved.background_dependence, moved.own_dependence) == (0, 0)

    def test_one_image_is_left(self) -> None:
        rows = [Row(str(n), Path(f"{n}.png"), patient=f"p{n}", source="s", covid=n < 3) for n in range(6)]
        before, after = np.linspace(0, 1, 6), np.array([0.75, *[np.nan] * 5])
        change = steps.change_record(ImageChange.BORDER, rows, before, after, 0.5)
        assert (change.scored, change.deviation, change.flipped, change.positive_shift) == (
            1 / 6,
            0.75,
            1,
            0.75,
        )
        assert np.isnan(change.negative_shift) and change.pooled.pairs == 0
        moved = steps.transplant_record(Property.BACKGROUND, rows, before, after, np.arange(6)[::-1])
        assert (moved.own_dependence, moved.own_auroc.pairs) == (0, 0)


class TestProbes:
    def test_subsampling_spares_the_rare(self) -> None:
        names = [("a", True)] * 5 + [("a", False)] * 10 + [("b", False)] * 100
        rows = [Row(str(i), Path("x"), source=source, covid=covid) for i, (source, covid) in enumerate(names)]
        kept = probe.subsample(rows, 40, 0)
        assert len(kept) == 40 and set(range(15)) <= set(kept.tolist())
        assert probe.subsample(rows, 1000, 0).size == 115

    def test_out_of_fold_scores_are_ranks_never_of_the_own_fold_and_kept(self, tmp_path: Path) -> None:
        seen: list[set[int]] = []

        def fit(inputs: np.ndarray, labels: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
            seen.append(set(inputs[:, 0].astype(int)) & set(test[:, 0].astype(int)))
            return test[:, 0].astype(float)

        inputs, labels = np.arange(6, dtype=np.float32)[:, None], np.array([True, True, False] * 2)
        folds, store = np.array([0, 1, 0, 1, 0, 1]), Store(tmp_path, "a model")
        for _ in range(2):
            found = retraining.out_of_fold(fit, inputs, labels, folds, TINY, store, "it")
            assert found == pytest.approx([1 / 6, 1 / 6, 0.5, 0.5, 5 / 6, 5 / 6])
        assert seen == [set(), set()]
        # Half done is not done again, and what is of another model is.
        (tmp_path / "it-fold-2.json").unlink()
        retraining.out_of_fold(fit, inputs, labels, folds, TINY, store, "it")
        assert len(seen) == 3
        retraining.out_of_fold(fit, inputs, labels, folds, TINY, Store(tmp_path, "another"), "it")
        assert len(seen) == 5

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

    def test_ridge_regression_is_the_same_in_both_forms(self) -> None:
        rng = np.random.default_rng(0)
        inputs, labels = rng.random((60, 40)), rng.random(60) < 0.4
        weights, constant = probe.ridge_weights(inputs, labels)
        # Columns that do not vary have no weight, and make the matrix wider than high.
        wide, same = probe.ridge_weights(np.hstack([inputs, np.ones((60, 60))]), labels)
        assert (
            wide[:40] == pytest.approx(weights) and (wide[40:] == 0).all() and same == pytest.approx(constant)
        )
        scores = inputs @ weights + constant
        assert scores[labels].mean() > 0 > scores[~labels].mean()


class TestNoPixels:
    @staticmethod
    def rows(sources: list[str], covid: list[bool]) -> list[Row]:
        return [
            Row(str(i), Path("x"), source=source, patient=str(i), covid=known)
            for i, (source, known) in enumerate(zip(sources, covid, strict=True))
        ]

    def test_the_fraction_of_a_category_is_that_of_the_other_folds(self) -> None:
        rows = self.rows(["a", "a", "a", "b", "b", "new"], [True, True, False, False, False, True])
        found = score_by(NoPixels.SOURCE, rows, np.array([0, 1, 1, 0, 1, 0]))
        # Fold 0 learns from a: 1 of 2, b: 0 of 1, in all 1 of 3; one image's worth of the whole is mixed in.
        assert found[0] == pytest.approx((1 + 1 / 3) / 3)
        assert found[3] == pytest.approx((0 + 1 / 3) / 2)
        assert found[5] == pytest.approx(1 / 3)

    def test_forty_sources_that_say_nothing_are_at_chance(self) -> None:
        values = []
        for seed in range(20):
            rng = np.random.default_rng(seed)
            rows = self.rows([f"s{i}" for i in rng.integers(0, 40, 300)], (rng.random(300) < 0.4).tolist())
            one = retraining.without_pixels(rows, TINY)[0]
            values.append(one.pooled.auroc.value)
        assert np.mean(values) == pytest.approx(0.5, abs=0.03)

    def test_a_source_that_gives_the_class_away_does(self) -> None:
        rows = self.rows(["a", "b"] * 40, [True, False] * 40)
        one = retraining.without_pixels(rows, TINY)[0]
        assert one.key == "source" and one.pooled.auroc.value == 1.0 and one.same_source.pairs == 0


class TestOutOfFold:
    def test_an_interval_of_scores_out_of_five_folds_is_one_and_a_half_times_as_wide(self) -> None:
        # Nadeau & Bengio: the variance times 1 + 5 / 4, that is the standard error times 1.5, on the logit scale.
        rng = np.random.default_rng(3)
        truth = np.arange(80) < 40
        scores, who = rng.normal(size=80) + 0.5 * truth, np.arange(80).astype(str)
        given, folds = estimate(scores, truth, who), estimate(scores, truth, who, folds=5)
        assert folds.auroc.value == given.auroc.value and folds.auroc.method is IntervalMethod.DELONG_FOLDS
        spans = [
            math.log(a.high / (1 - a.high)) - math.log(a.low / (1 - a.low))
            for a in (given.auroc, folds.auroc)
        ]
        assert spans[1] / spans[0] == pytest.approx(1.5)
        assert folds.p > given.p

    def test_what_the_table_does_not_say_is_a_value_for_the_audit_and_not_for_an_evaluation(self) -> None:
        # One source writes the sex, the other does not: that alone gives the class away.
        rows = [
            Row(str(i), Path("x"), patient=str(i), covid=i % 2 == 0, sex="FM"[i // 2 % 2] if i % 2 else "")
            for i in range(40)
        ]
        folds = np.arange(40) // 2 % 5
        found = score_by(NoPixels.SEX, rows, folds)
        assert found is not None and found[::2].min() > found[1::2].max()
        known = no_pixel_scores([row for row in rows if row.sex], seed=0)
        assert [one.model for one in known] == [NoPixels.SEX]


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
        self, tmp_path: Path, fair: tuple[Dataset, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            "lungsight.audit.leakage.near_duplicates", lambda *_: []
        )  # the test above is of them
        dataset, by_patient = fair
        by_image = tmp_path / "run"
        shutil.copytree(by_patient, by_image)
        split = make_split(dataset, load_recipe("paper-diagnosis"))
        (by_image / "split.csv").write_text(split_table(dataset, split))
        bad = find_leakage(load_audited(by_image, dataset))
        assert split.name == "paper-diagnosis" and bad.known and len(bad.patients) > 5 and bad.images > 5
        good = find_leakage(load_audited(by_patient, dataset))
        assert good.known and not good.patients and good.images == 0


def near(value: float, *, patients: int = 80, spread: float = 0.03) -> Estimate:
    """An AUROC with the p-value of a standard error of half its spread."""
    interval = Interval(value, value - spread, value + spread, 2 * patients, 2 * patients, "test")
    z = (value - 0.5) / (spread / 1.96)
    return Estimate(interval, 0.5 * math.erfc(z / math.sqrt(2)), patients * patients, patients, patients)


class TestVerdict:
    @staticmethod
    def judged(
        pooled: Estimate | None = None,
        missing: tuple[str, ...] = (),
        scored: float = 1.0,
        **changes: float | Estimate,
    ) -> tuple[str, str]:
        given: dict[str, Estimate] = dict.fromkeys(
            ("border", "background", "source", "black", "donor"), near(0.5)
        )
        given |= {"whole": near(0.95), "own": near(0.9)}
        given |= {key: near(one) if isinstance(one, float) else one for key, one in changes.items()}
        none = near(0.5, patients=0)
        score = Score("test", 160, 160, 160, pooled or near(0.95), near(0.9), none)
        moved = [
            Change(key, 160, scored, given["black"], none, 0.0, 0.0, 0.0, 0.0)
            for key in (ImageChange.LUNGS_BLACK, ImageChange.BORDER)
            if "changes" not in missing
        ]
        donors = [Transplant(Property.BACKGROUND, 160, scored, given["donor"], given["own"], 0.0, 0.0)]
        probes = [
            Probe(key, "network", 160, given[key], none, none)
            for key in ("whole", "border", "background", "source")
            if key not in missing
        ]
        leaks = Leakage(True, (), 0, 100, ())
        verdict = decide(
            score, moved, [] if "donors" in missing else donors, probes, SourceStep((), (), ()), leaks
        )
        return verdict.data, verdict.score

    def test_the_data_and_the_score_are_answered_apart(self) -> None:
        assert self.judged() == (DataAnswer.NOT_FOUND, ScoreAnswer.NOT_FOUND)
        assert self.judged(border=0.7) == (DataAnswer.OFFERED, ScoreAnswer.NOT_FOUND)
        assert self.judged(source=0.91) == (DataAnswer.AS_GOOD_AS_THE_IMAGE, ScoreAnswer.NOT_FOUND)
        assert self.judged(black=0.8) == (DataAnswer.NOT_FOUND, ScoreAnswer.TAKEN)
        assert self.judged(donor=0.7) == (DataAnswer.NOT_FOUND, ScoreAnswer.TAKEN)

    def test_contrast_sharpness_and_framing_are_shown_and_decide_nothing(self) -> None:
        donors = [
            Transplant(key, 160, 1.0, near(0.9 if key == Property.CONTRAST else 0.5), near(0.9), 0.0, 0.0)
            for key in Property
        ]
        score = Score("test", 160, 160, 160, near(0.95), near(0.9), near(0.5, patients=0))
        verdict = decide(score, [], donors, [], SourceStep((), (), ()), Leakage(True, (), 0, 9, ()))
        shown = {item.key: item for item in verdict.criteria}
        assert shown[CriterionKey.DONOR_CONTRAST].holds and not shown[CriterionKey.DONOR_CONTRAST].decides
        assert verdict.score == ScoreAnswer.NOT_FOUND

    def test_explained_needs_evidence_that_little_is_left(self) -> None:
        assert self.judged(donor=0.9, own=0.5)[1] == ScoreAnswer.EXPLAINED
        assert self.judged(donor=0.9, own=0.6)[1] == ScoreAnswer.TAKEN
        # Not shown to be above chance, and not shown to be small either.
        assert self.judged(donor=0.9, own=near(0.6, spread=0.2))[1] == ScoreAnswer.TAKEN

    def test_nothing_is_explained_that_is_not_above_chance(self) -> None:
        for chance in (near(0.52), near(0.489), near(0.3)):
            data, score = self.judged(chance, donor=0.9, black=0.9, own=0.5, border=0.95, source=1.0)
            assert data == DataAnswer.AS_GOOD_AS_THE_IMAGE and score == ScoreAnswer.NOTHING_TO_EXPLAIN

    def test_missing_evidence_is_an_answer_of_its_own(self) -> None:
        told = ScoreAnswer.CANNOT_BE_TOLD
        assert self.judged(missing=("donors",))[1] == told
        assert self.judged(missing=("border",))[0] == DataAnswer.CANNOT_BE_TOLD
        assert self.judged(near(0.9, patients=9))[1] == told
        assert self.judged(donor=near(0.5, spread=0.2))[1] == told
        # A model that refuses most of the changed images has not answered.
        assert self.judged(scored=0.4)[1] == told and self.judged(scored=0.6)[1] == ScoreAnswer.NOT_FOUND

    def test_the_family_is_adjusted_for(self) -> None:
        """One-sided p of 0.02 is enough alone and not among five."""
        z = 2.054
        just = near(0.5 + z * 0.06 / 1.96, spread=0.06)
        assert 0.019 < just.p < 0.021 < FAMILY_ERROR
        assert self.judged(border=just)[0] == DataAnswer.NOT_FOUND
        assert self.judged(border=just, missing=("background", "source"))[0] == DataAnswer.OFFERED

    def test_a_trifle_is_no_criterion_however_sure(self) -> None:
        assert self.judged(donor=near(0.54, spread=0.001))[1] == ScoreAnswer.NOT_FOUND
        assert self.judged(donor=near(0.56, spread=0.001))[1] == ScoreAnswer.TAKEN


class TestWhole:
    def test_a_planted_shortcut_is_found(
        self, planted: tuple[Dataset, Path], planted_audit: tuple[Result, Path]
    ) -> None:
        found = read_audit(planted_audit[1], model_hash(planted[1]))
        assert found.verdict.data == DataAnswer.AS_GOOD_AS_THE_IMAGE
        assert found.verdict.score in (ScoreAnswer.TAKEN, ScoreAnswer.EXPLAINED), found.verdict
        probes = {one.key: one.pooled.auroc for one in (*found.retraining, *found.no_pixels)}
        assert (
            probes["border"].low > 0.9 and probes["lungs_black"].low > 0.9 and probes["source"].value == 1.0
        )
        assert found.score.same_source.pairs == 0
        assert found == from_json(type(found), to_json(found)) or to_json(found) == to_json(
            from_json(type(found), to_json(found))
        )

    def test_random_numbers_are_not_blamed_where_the_source_is_the_class(
        self, planted: tuple[Dataset, Path], tmp_path: Path
    ) -> None:
        dataset, folder = planted
        audited = load_audited(folder, dataset, part="all")
        rng = np.random.default_rng(0)
        chance = dataclasses.replace(audited, score=lambda images, masks, rows: rng.random(len(images)))
        values = steps.score_all(chance, lambda done, total, what="": None)
        score = steps.describe_score(chance, values, TINY)
        changes = steps.perturbation(chance, values, TINY, Store(None), lambda done, total, what="": None)
        given = steps.transplants(chance, values, TINY, Store(None), lambda done, total, what="": None)
        probes = retraining.without_pixels(chance.rows, TINY)
        verdict = decide(score, changes, given, probes, SourceStep((), (), ()), Leakage(True, (), 0, 9, ()))
        assert verdict.data == DataAnswer.OFFERED and verdict.score == ScoreAnswer.NOTHING_TO_EXPLAIN

    def test_no_false_alarm(self, fair: tuple[Dataset, Path], tmp_path: Path) -> None:
        dataset, folder = fair
        found = audit(folder, dataset, tmp_path, settings=TINY, part="all").found
        assert found.verdict.data in (DataAnswer.NOT_FOUND, DataAnswer.CANNOT_BE_TOLD), found.verdict
        assert found.verdict.score in (ScoreAnswer.NOT_FOUND, ScoreAnswer.CANNOT_BE_TOLD), found.verdict
        assert found.score.pooled.auroc.low > 0.7 and found.score.same_source.auroc.low > 0.6
        # The sources can be told apart, and this alone is no shortcut.
        assert found.source.tests[0].auroc.auroc.value > 0.9
        assert {one.name for one in found.source.left_out} == {"north", "south"}

        def fail(*_: object) -> None:
            raise AssertionError("work was done twice")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(steps, "score_all", fail)
            patch.setattr(perturb, "CHANGES", dict.fromkeys(perturb.CHANGES, fail))
            patch.setattr(probe, "network_fit", lambda settings: fail)
            patch.setattr(probe, "logistic_fit", fail)
            again = audit(folder, dataset, tmp_path, settings=TINY, part="all").found
            assert again.verdict == found.verdict
            with pytest.raises(AssertionError):
                audit(folder, dataset, tmp_path, settings=Settings(seed=1), part="all")

    def test_an_audit_belongs_to_its_model(self, fair: tuple[Dataset, Path], tmp_path: Path) -> None:
        _, folder = fair
        other = write_bundle(tmp_path / "nets", "lungs", "diagnosis")
        assert len({model_hash(folder), model_hash(other), model_hash("shipped")}) == 3
        with pytest.raises(ModelError, match="no model"):
            model_hash(tmp_path)
        with pytest.raises(DataError, match="holds no audit"):
            read_audit(tmp_path, "x")

    def test_networks_of_a_folder_are_audited_end_to_end(
        self, fair: tuple[Dataset, Path], tmp_path: Path
    ) -> None:
        dataset, _ = fair
        audited = load_audited(write_bundle(tmp_path / "nets", "lungs", "diagnosis"), dataset)
        chosen = np.arange(4)
        assert audited.score is not None
        scores = audited.score(audited.images[chosen], audited.masks[chosen], chosen)
        assert scores.shape == (4,) and audited.part == "all" and not audited.parts
        black = audited.score(np.full((1, 256, 256), 255, np.uint8), audited.masks[:1], chosen[:1])
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


def test_command_writes_the_report_and_another_models_audit_is_refused(
    planted: tuple[Dataset, Path],
    planted_audit: tuple[Result, Path],
    fair: tuple[Dataset, Path],
    tmp_path: Path,
) -> None:
    from lungsight.cli import app

    (_, folder), (result, out) = planted, planted_audit
    assert result.exit_code == 0, result.output
    words = "the data offer a shortcut that is as good as the whole image"
    assert words.capitalize() in result.output
    page = (out / "audit.html").read_text()
    assert words in page and 'src="http' not in page
    found = json.loads((out / "audit.json").read_text())
    assert found["verdict"]["data"] == "as_good_as_the_image"
    assert (
        len(found["retraining"]) == 7 and len(found["perturbation"]) == 11 and len(found["transplants"]) == 4
    )
    assert (out / "tables" / "first.csv").is_file() and (out / "steps").is_dir()
    assert read_audit(out, model_hash(folder)).verdict.data == DataAnswer.AS_GOOD_AS_THE_IMAGE
    with pytest.raises(DataError, match="another model"):
        read_audit(out, model_hash(fair[1]))
    command = ["evaluate", str(fair[1]), "--data", str(fair[0].root), "--audit", str(out)]
    refused = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "report")])
    assert refused.exit_code != 0 and "another model" in str(refused.exception)
