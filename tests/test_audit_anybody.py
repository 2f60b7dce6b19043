"""The audit of anybody's model and of a data set without one: functions, ONNX files, scores alone, bad input."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from typer.testing import CliRunner

from lungsight.dataset import Dataset
from lungsight.errors import ConfigError, DataError, LungsightError, ModelError
from lungsight.wording import AuditCaveat, DataAnswer, ScoreAnswer
from small_runs import phantoms, write_table

pytest.importorskip("lightning")
from lungsight.audit import (
    Settings,
    audit_data,
    audit_onnx,
    audit_predictions,
    audit_score,
    model_hash,
    read_audit,
)
from lungsight.audit.anybody import normalization, numbers
from lungsight.audit.data_audit import best_of, split_of

FAST = Settings(px=32, folds=2, probe="linear", images=400, perturbed=100)


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Drawn X-rays; the hospital is the class."""
    return phantoms(tmp_path_factory.mktemp("hospitals"), 60, shortcut=1.0)


@pytest.fixture
def table(tmp_path: Path) -> Dataset:
    """Noise with a bright block for a lung, brighter with the target; sources say nothing."""
    return write_table(tmp_path / "data", [True, False] * 12, sources=["a", "a", "b", "b"] * 6)


def write_onnx(path: Path, outputs: int = 18, channels: int = 1, size: object = "h") -> Path:
    """A network whose output k is k times the mean of the image."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "axis"], ["column"]),
        helper.make_node("Mul", ["column", "weights"], ["findings"]),
    ]
    weights = helper.make_tensor(
        "weights", TensorProto.FLOAT, [1, outputs], [float(k) for k in range(outputs)]
    )
    axis = helper.make_tensor("axis", TensorProto.INT64, [1], [1])
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", channels, size, size])]
    made = [helper.make_tensor_value_info("findings", TensorProto.FLOAT, ["n", outputs])]
    graph = helper.make_graph(nodes, "g", inputs, made, [weights, axis])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(onnx.load_from_string(model.SerializeToString()).SerializeToString())
    return path


class TestNumbers:
    def test_arrays_lists_columns_and_tensors(self) -> None:
        import torch

        for found in ([1, 2], np.array([[1.0], [2.0]]), torch.tensor([1.0, 2.0], requires_grad=True)):
            assert numbers(found, 2).tolist() == [1.0, 2.0]

    @pytest.mark.parametrize(
        ("found", "code", "words"),
        [
            ([1.0], "score_length", "2 for this batch, not 1"),
            (np.zeros((2, 18)), "score_length", "not 2 x 18"),
            (0.5, "score_length", "a single number"),
            ([1.0, math.nan], "score_not_finite", "1 of 2"),
            ([1.0, math.inf], "score_not_finite", "1 of 2"),
            (["a", "b"], "score_type", "must return numbers"),
            (None, "score_type", "must return numbers"),
        ],
    )
    def test_what_is_no_number_for_each_image(self, found: object, code: str, words: str) -> None:
        with pytest.raises(DataError, match=words) as caught:
            numbers(found, 2)
        assert caught.value.code == code


class TestFunction:
    def test_scikit_learn_in_five_lines(self, hospitals: Dataset) -> None:
        from sklearn.linear_model import LogisticRegression

        from lungsight.dataset import load_arrays

        arrays = load_arrays(hospitals, (32, 32))
        truth = [bool(row.positive) for row in arrays.rows]
        model = LogisticRegression(C=0.01).fit(arrays.images.reshape(len(truth), -1) / 255, truth)
        found = audit_score(
            lambda x: model.predict_proba(x.reshape(len(x), -1))[:, 1],
            hospitals,
            size=(32, 32),
            settings=FAST,
        ).found
        assert found.verdict.data == DataAnswer.AS_GOOD_AS_THE_IMAGE
        assert found.verdict.score in (ScoreAnswer.TAKEN, ScoreAnswer.EXPLAINED)
        assert found.score.scored == 60 and not found.notes and math.isnan(found.perturbation[1].flipped)

    def test_a_monai_densenet_with_eighteen_outputs_behind_its_scale(self, table: Dataset) -> None:
        import torch
        from monai.networks.nets import DenseNet121

        torch.manual_seed(0)
        network = DenseNet121(spatial_dims=2, in_channels=1, out_channels=18).eval()
        seen: list[float] = []

        @torch.inference_mode()
        def score(batch: np.ndarray) -> torch.Tensor:
            # torchxrayvision's models take [-1024, 1024] and give 18 findings.
            scaled = (2 * torch.from_numpy(batch) - 1) * 1024
            seen.extend((float(scaled.min()), float(scaled.max())))
            return torch.sigmoid(network(scaled)[:, 1])

        found = audit_score(score, table, size=(32, 32), name="DenseNet121", settings=FAST).found
        assert -1024 <= min(seen) < -100 and 100 < max(seen) <= 1024
        assert found.model == "DenseNet121" and found.score.scored == 24 and len(found.transplants) == 4

    def test_wrong_answers_of_a_function_are_named(self, table: Dataset) -> None:
        with pytest.raises(DataError, match="NaN"):
            audit_score(lambda x: np.full(len(x), np.nan), table, size=(32, 32), settings=FAST)
        with pytest.raises(DataError, match="one number for each image"):
            audit_score(lambda x: np.zeros(3), table, size=(32, 32), settings=FAST)

    def test_masks_that_are_missing_are_made_and_said(self, hospitals: Dataset, tmp_path: Path) -> None:
        rows = [dataclasses.replace(row, mask=None) if i < 6 else row for i, row in enumerate(hospitals.rows)]
        found = audit_score(
            lambda x: x.mean(axis=(1, 2, 3)), hospitals.with_rows(rows), size=(64, 64), settings=FAST
        ).found
        made = {note.code: note.numbers for note in found.notes}[AuditCaveat.MASKS_PREDICTED]["images"]
        assert made + len(found.failures) == 6 and made >= 4


class TestOnnx:
    def test_an_output_is_chosen_by_name_and_index(self, table: Dataset, tmp_path: Path) -> None:
        path = write_onnx(tmp_path / "net.onnx", channels=3)
        found = audit_onnx(
            path,
            table,
            tmp_path / "out",
            size="32x32",
            normalize="imagenet",
            output="findings[1]",
            settings=FAST,
        ).found
        # The mean of an image tells the classes of this table apart.
        assert found.score.pooled.auroc.value == 1.0 and found.model_hash == model_hash(path)
        assert found.score.same_source.auroc.value == 1.0

    def test_scales(self) -> None:
        assert normalization("0-1") == ((0.0,), (1.0,))
        (mean,), (std,) = normalization("torchxrayvision")
        assert (0 - mean) / std == -1024 and (1 - mean) / std == 1024
        assert normalization("0.5,0.25") == ((0.5,), (0.25,))
        for text in ("imagnet", "0.5", "0.5,0", "nan,1", "1,2,3"):
            with pytest.raises(ConfigError, match="imagenet, torchxrayvision"):
                normalization(text)

    @pytest.mark.parametrize(
        ("changes", "settings", "words"),
        [
            ({}, {"output": "nosuch"}, "no such output"),
            ({}, {"output": "findings[18]"}, "no index 18"),
            ({}, {"output": ""}, "Choose one with --output"),
            ({}, {"output": "findings[x]"}, "NAME"),
            ({"channels": 4}, {"output": "[1]"}, "any x 4"),
            ({"size": 64}, {"output": "[1]"}, "any x 1 x 64 x 64"),
            ({}, {"size": "32"}, "HEIGHTxWIDTH"),
        ],
    )
    def test_what_does_not_fit(
        self, table: Dataset, tmp_path: Path, changes: dict[str, object], settings: dict[str, str], words: str
    ) -> None:
        path = write_onnx(tmp_path / "net.onnx", **changes)  # type: ignore[arg-type]
        given = {"size": "32x32", "settings": FAST, **settings}
        with pytest.raises(LungsightError, match=words):
            audit_onnx(path, table, tmp_path / "out", **given)  # type: ignore[arg-type]

    def test_no_network(self, table: Dataset, tmp_path: Path) -> None:
        (tmp_path / "net.onnx").write_bytes(b"no network")
        for path in (tmp_path / "net.onnx", tmp_path / "missing.onnx"):
            with pytest.raises(ModelError):
                audit_onnx(path, table, tmp_path / "out", size="32x32", settings=FAST)


class TestScoresAlone:
    def test_everything_that_needs_no_model(self, table: Dataset, tmp_path: Path) -> None:
        csv = tmp_path / "scores.csv"
        csv.write_text("id,probability\n" + "".join(f"{r.id},{0.9 if r.positive else 0.2}\n" for r in table))
        found = audit_predictions(csv, table, tmp_path / "out", settings=FAST).found
        assert found.verdict.score == ScoreAnswer.CANNOT_BE_TOLD
        assert not found.perturbation and not found.transplants and len(found.retraining) == 7
        assert {note.code for note in found.notes} == {AuditCaveat.SCORES_ONLY, AuditCaveat.NO_SPLIT}
        assert found.score.same_source.auroc.value == 1.0 and found.no_pixels[0].key == "source"
        bare = table.with_rows([dataclasses.replace(row, mask=None) for row in table])
        found = audit_predictions(csv, bare, tmp_path / "bare", settings=FAST).found
        assert not found.retraining and AuditCaveat.NO_MASKS in {note.code for note in found.notes}

    def test_calibration_subgroups_and_leakage(self, table: Dataset, tmp_path: Path) -> None:
        """Four scores of 0.9 that are right three times, twenty of 0.1 that are right but for nine: by hand."""
        from lungsight.report.audit_report import write_audit

        rows = [
            # One patient on both sides, and one film under two names.
            dataclasses.replace(
                row, patient="p0" if i < 2 else row.patient, extra={"split": "train" if i else "test"}
            )
            for i, row in enumerate(table.rows)
        ]
        rows[23] = dataclasses.replace(rows[23], image=rows[0].image)
        # Rows 0, 2, 4 and 1 get 0.9; the target holds for every other row, from the first.
        given = {row.id: 0.9 if i in (0, 1, 2, 4) else 0.1 for i, row in enumerate(rows)}
        csv = tmp_path / "scores.csv"
        csv.write_text("id,probability\n" + "".join(f"{name},{value}\n" for name, value in given.items()))
        audit = audit_predictions(csv, table.with_rows(rows), tmp_path / "out", settings=FAST)
        found = audit.found
        assert found.calibration is not None
        # 3 of 4 at 0.9 and 9 of 20 at 0.1.
        brier = (3 * 0.1**2 + 0.9**2 + 9 * 0.9**2 + 11 * 0.1**2) / 24
        assert found.calibration.brier.value == pytest.approx(brier)
        assert found.calibration.ece == pytest.approx((4 * abs(0.75 - 0.9) + 20 * abs(0.45 - 0.1)) / 24)
        slope = (math.log(3) - math.log(9 / 11)) / (2 * math.log(9))
        assert found.calibration.slope.value == pytest.approx(slope, abs=1e-6)
        by_sex = {one.name: (one.images, one.positive) for one in found.subgroups if one.kind == "sex"}
        assert by_sex == {"F": (12, 12), "M": (12, 0)}
        assert found.leakage.known and found.leakage.patients == ("p0",)
        assert ("x00", "x23") in {(one.first, one.second) for one in found.leakage.pairs}
        page = write_audit(tmp_path / "out", audit).read_text()
        for words in ("calibration slope", "Subgroups", "1 patients are on both sides"):
            assert words in page, words
        # A score that is no probability has no calibration, and images that are not there no copies.
        gone = [dataclasses.replace(row, mask=None, image=tmp_path / "gone.png", extra={}) for row in rows]
        found = audit_predictions(csv, table.with_rows(gone), tmp_path / "gone", settings=FAST).found
        notes = {note.code for note in found.notes}
        assert {AuditCaveat.NO_PIXELS_READ, AuditCaveat.NO_SPLIT} <= notes and found.score.scored == 24

    def test_a_few_patients_without_an_id(self, table: Dataset, tmp_path: Path) -> None:
        csv = tmp_path / "scores.csv"
        csv.write_text("id,probability\n" + "".join(f"{r.id},{0.9 if r.positive else 0.2}\n" for r in table))
        nameless = [dataclasses.replace(r, patient="" if i < 2 else r.patient) for i, r in enumerate(table)]
        found = audit_predictions(csv, table.with_rows(nameless), tmp_path / "out", settings=FAST).found
        assert {n.code: n.numbers for n in found.notes}[AuditCaveat.PATIENTS_MISSING] == {"images": 2}
        assert found.score.patients == 24
        many = [dataclasses.replace(r, patient="" if i < 3 else r.patient) for i, r in enumerate(table)]
        with pytest.raises(DataError, match="3 images have no patient id"):
            audit_predictions(csv, table.with_rows(many), tmp_path / "many", settings=FAST)

    def test_by_the_command_line(
        self, table: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from lungsight.cli import app

        monkeypatch.setattr("lungsight.audit.QUICK", FAST)
        csv = tmp_path / "scores.csv"
        csv.write_text("id,probability\n" + "".join(f"{r.id},{0.9 if r.positive else 0.2}\n" for r in table))
        command = [
            "audit",
            "--predictions",
            str(csv),
            "--data",
            str(table.root),
            "--out",
            str(tmp_path / "a"),
        ]
        result = CliRunner().invoke(app, [*command, "--quick"])
        assert result.exit_code == 0, result.output
        assert "It cannot be told whether the score takes a shortcut." in result.output
        assert read_audit(tmp_path / "a", model_hash(csv)).model == "scores.csv"
        csv.write_text(csv.read_text().replace("id,probability", "film,p"))
        result = CliRunner().invoke(app, [*command, "--quick", "--columns", "id=film,probability=p"])
        assert result.exit_code == 0, result.output
        result = CliRunner().invoke(app, [*command, "--model", "x.onnx"])
        assert isinstance(result.exception, ConfigError) and "give one model" in str(result.exception)


class TestDataSet:
    def test_the_figure_to_beat(self, hospitals: Dataset, tmp_path: Path) -> None:
        from lungsight.cli import app

        result = CliRunner().invoke(app, ["data", "audit", str(hospitals.root), "--out", str(tmp_path)])
        assert result.exit_code == 0, result.output
        assert "Best AUROC that knows nothing about lungs: 1.000" in result.output
        found = json.loads((tmp_path / "data-audit.json").read_text())
        assert found["answer"] == "as_good_as_the_image" and found["best"]["chosen"] == {"source": 5}
        assert {one["key"] for one in found["no_pixels"]} >= {"source", "person", "view"}
        assert "The figure to beat" in (tmp_path / "data-audit.html").read_text()

    def test_choosing_among_models_that_know_nothing_does_not_flatter(self, table: Dataset) -> None:
        values = []
        for seed in range(40):
            rng = np.random.default_rng(seed)
            scores = {str(k): rng.random(24) for k in range(12)}
            best = best_of(scores, table.rows, np.arange(24) // 2 % 3)
            values.append(best.pooled.auroc.value)
        # The best of twelve on the same images would be about 0.7.
        assert np.mean(values) == pytest.approx(0.5, abs=0.06)

    def test_a_split_of_the_tables_own_is_checked(self, table: Dataset) -> None:
        rows = [
            dataclasses.replace(row, patient=f"p{i // 2}", extra={"split": "train" if i % 3 else "test"})
            for i, row in enumerate(table.rows)
        ]
        assert split_of(rows)[rows[0].id] == "test" and not split_of(table.rows)
        one_class = [dataclasses.replace(row, patient=f"p{i}") for i, row in enumerate(rows)]
        found = audit_data(table.with_rows(one_class), settings=FAST)
        assert found.leakage.known and not found.leakage.patients

    def test_a_target_that_no_row_has(self, table: Dataset) -> None:
        with pytest.raises(DataError, match=r"known class|no .* image"):
            audit_data(
                table.with_rows([dataclasses.replace(row, covid=False) for row in table]), settings=FAST
            )
        with pytest.raises(DataError, match="known class"):
            audit_data(
                table.with_rows([dataclasses.replace(row, covid=None) for row in table]), settings=FAST
            )
