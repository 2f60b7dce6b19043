"""The whole paper through the command line, on drawn X-rays."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import sys
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from command import Done, lungsight  # noqa: E402
from lungsight.config import load_recipe  # noqa: E402
from lungsight.errors import ConfigError  # noqa: E402
from lungsight.files import write_json  # noqa: E402
from lungsight.paper import budget as planning  # noqa: E402
from lungsight.paper.budget import Plan, Sizes, make_plan, seconds_per_image, share_epochs  # noqa: E402
from lungsight.training.data import Examples  # noqa: E402

RUNS = (
    "paper-segmentation",
    "paper-segmentation-500",
    "paper-diagnosis",
    "paper-diagnosis-crop20",
    "paper-diagnosis-lungs",
    "paper-diagnosis-by-patient",
)


@dataclass(frozen=True)
class Report:
    folder: Path
    done: Done
    html: str


@pytest.fixture(scope="module")
def report(
    phantoms: Path, few_trees: None, undrawn_charts: None, tmp_path_factory: pytest.TempPathFactory
) -> Report:
    """`lungsight reproduce` with a plan on disk of very few epochs, as a stopped run would have left one."""
    out = tmp_path_factory.mktemp("paper")
    planned = make_plan(None, 0.03, 11, examples(), SIZES, out / "plan.json")
    few = {"minutes": 60.0, "lungs_epochs": 1, "diagnosis_epochs": 1, "words": "Few epochs, for a test."}
    write_json(out / "plan.json", dataclasses.asdict(dataclasses.replace(planned, **few)))
    done = lungsight("reproduce", "--data", phantoms, "--out", out, "--budget", "60", "--seed", "11")
    assert done.code == 0, done.err
    return Report(out, done, (out / "report.html").read_text("utf-8"))


class _Page(HTMLParser):
    """References to other files, and what the page needs to have."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags: list[str] = []
        self.images = 0
        self.without_words = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        self.references += [
            value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "action")
        ]
        if tag == "img":
            self.images += 1
            self.without_words += not values.get("alt")


def test_it_says_what_it_does_and_where_the_report_is(report: Report) -> None:
    assert f"{report.folder}/report.html after" in report.done.out
    assert "not for diagnosis" in report.done.out
    for name in RUNS:
        assert f"{name}: training" in report.done.err
    assert re.search(r"paper-segmentation: Dice 0\.\d{4} per image", report.done.err)
    assert re.search(r"paper-diagnosis: AUC \d\.\d{4}", report.done.err)
    assert "Traceback" not in report.done.err
    assert "Warning" not in report.done.err


def test_the_report_needs_nothing_else(report: Report) -> None:
    page = _Page(report.html)
    outside = [r for r in page.references if not r.startswith(("data:", "#", "tables/", "report.json"))]
    assert not outside
    for reference in page.references:
        if not reference.startswith(("data:", "#")):
            assert (report.folder / reference).is_file()
    assert not re.search(r"url\(\s*['\"]?(?!data:|#)", report.html)
    assert "@import" not in report.html
    assert page.without_words == 0
    assert page.images > 10
    assert page.tags.count("svg") >= 5


def test_the_report_holds_the_papers_tables_and_figures(report: Report) -> None:
    text = re.sub(r"<[^>]+>", " ", report.html)
    for number in range(1, 6):
        assert f"Table {number}." in text
    for number in range(3, 10):
        assert re.search(rf"Figures?\s+{number}\b", text), f"figure {number}"
    for figure in ("0.9273", "0.985", "0.8666", "0.9575", "0.9666", "0.9312"):
        assert figure in text, figure
    assert "31,032,837" in text
    assert "research" in text.lower()


def test_every_number_of_the_paper_stands_beside_ours(report: Report) -> None:
    with (report.folder / "tables" / "paper-and-ours.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.reader(file))
    text = "\n".join(",".join(row) for row in table)
    for words in ("Dice", "IoU", "AUC", "Training images", "Epochs"):
        assert words in text
    metrics = json.loads((report.folder / "metrics.json").read_text())
    assert set(metrics) == set(RUNS)
    ours = metrics["paper-segmentation"]["masks"]["pooled"]["dice"]["value"]
    row = next(row for row in table if row[1].startswith("Dice, pooled"))
    assert row[2] == "0.9273"
    assert float(row[3]) == pytest.approx(ours, abs=1e-6)


def test_every_run_followed_the_plan(report: Report) -> None:
    for name in RUNS:
        recipe = load_recipe(report.folder / "runs" / name / "config.toml")
        assert recipe.name == name
        assert (recipe.network.width, recipe.training.epochs, recipe.training.seed) == (0.03, 1, 11)
    by_patient = load_recipe(report.folder / "runs" / RUNS[-1] / "config.toml")
    assert by_patient.split.kind == "patient"
    assert not (report.folder / "cache").exists()


def test_the_same_command_again_only_reads(
    report: Report, phantoms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (report.folder / "metrics.json").read_text()
    monkeypatch.setattr("lightning.Trainer.fit", lambda *_, **__: pytest.fail("it trained again"))
    # To draw the charts again takes longer than all else here; `test_report.py` has that they come out the same.
    written: list[Path] = []

    def write(path: Path, content: Any) -> Path:
        written.append(path)
        assert len(content.segmentation) + len(content.diagnosis) == len(RUNS)
        return path

    monkeypatch.setattr(sys.modules["lungsight.paper.reproduce"], "write_reproduction", write)
    arguments = ("reproduce", "--data", phantoms, "--out", report.folder, "--budget", "60")
    assert lungsight(*arguments, "--seed", "11").code == 0
    assert (report.folder / "metrics.json").read_text() == before
    assert written == [report.folder / "report.html"]
    # To time networks of every width takes minutes on one thread, and is not what is tried here.
    monkeypatch.setattr("lungsight.paper.budget.seconds_per_image", lambda *_, **__: 0.001)
    monkeypatch.setattr("lungsight.paper.budget.first_live_seed", lambda *_, **__: 12)
    other = lungsight(*arguments, "--seed", "12")
    assert other.code == 2
    assert "was made with other settings" in other.err


def test_a_broken_image_is_named_there_too(
    phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lungsight.paper.reproduce import Reproduced

    found = Reproduced(tmp_path / "report.html", (("img-3", "the PNG is damaged"),))
    monkeypatch.setattr("lungsight.paper.reproduce", lambda *_, **__: found)
    done = lungsight("reproduce", "--data", phantoms, "--out", tmp_path)
    assert done.code == 1
    assert "left out img-3: the PNG is damaged" in done.err


def test_data_without_masks_or_classes_are_refused(phantoms: Path, tmp_path: Path) -> None:
    lines = (phantoms / "manifest.csv").read_text().splitlines()
    lines = [
        line.replace(",images/", f",{phantoms}/images/").replace(",masks/", f",{phantoms}/masks/")
        for line in lines
    ]
    healthy = [line for line in lines if line.split(",")[7] != "1"]
    no_masks = [re.sub(r",[^,]*/masks/[^,]*,", ",,", line) for line in lines]
    for kept, words in ((healthy, "has no COVID-19 image"), (no_masks, "has no lung masks")):
        (tmp_path / "manifest.csv").write_text("\n".join(kept) + "\n")
        done = lungsight("reproduce", "--data", tmp_path, "--out", tmp_path / "out")
        assert done.code == 2
        assert words in done.err


def test_too_small_a_budget_is_refused(phantoms: Path, tmp_path: Path) -> None:
    assert lungsight("reproduce", "--data", phantoms, "--out", tmp_path, "--budget", "0.1").code == 2


# --------------------------------------------------------------------------------------------- the plan


def examples() -> Examples:
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 255, (8, 64, 64), dtype=np.uint8)
    return Examples(inputs, inputs > 128, None, np.arange(8) % 2)


SIZES = Sizes((4400, 130), (800, 130), (4400, 1900), 4)


def plan(path: Path, minutes: float | None, width: float | None = None, seed: int | None = None) -> Plan:
    return make_plan(minutes, width, seed, examples(), SIZES, path)


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which a training image takes 0.1 s at full width, by the width squared and the size."""

    def cost(recipe: Any, *_: object) -> float:
        scale = 0.1 if recipe.task == "lungs" else 0.01
        scale /= 4 if recipe.training.half_size_epochs else 1
        return float(scale * recipe.network.width**2)

    monkeypatch.setattr(planning, "seconds_per_image", cost)
    monkeypatch.setattr(planning, "first_live_seed", lambda recipe, *_: recipe.training.seed)


def test_without_a_budget_it_is_the_papers_own_protocol(tmp_path: Path) -> None:
    found = plan(tmp_path / "p.json", None)
    assert (found.lungs_width, found.diagnosis_width, found.lungs_epochs) == (1.0, 1.0, 15)
    for name in RUNS[:-1]:
        assert found.recipe(name) == load_recipe(name)


@pytest.mark.usefixtures("costs")
@pytest.mark.parametrize("minutes", [0.5, 5, 60, 500, 5000])
def test_a_plan_keeps_to_its_budget(minutes: float, tmp_path: Path) -> None:
    found = plan(tmp_path / "p.json", minutes)
    images = sum(train + validation / 3 for train, validation in (SIZES.lungs, SIZES.lungs_500))
    worth = found.lungs_epochs - 0.75 * found.lungs_half_size_epochs
    seconds = images * worth * 0.1 * found.lungs_width**2
    assert seconds <= minutes * 60 or found.lungs_epochs == 1
    assert 1 <= found.lungs_epochs <= 15
    assert f"{minutes:g} minutes" in found.words
    assert f"{found.lungs_epochs} of 15 epochs" in found.words
    assert (found.lungs_rate == 1e-4) == (found.lungs_width == 1.0)
    assert (found.lungs_schedule == "constant") == (found.lungs_width == 1.0)
    assert found.lungs_half_size_epochs < found.lungs_epochs
    assert found.lungs_width < 1 or not found.lungs_half_size_epochs


def test_epochs_are_shared_out_by_hand() -> None:
    """An image takes 4 s at full size and 1 s at half the side."""
    assert share_epochs(60, 4, 1, wanted=15) == (15, 0), "all at full size"
    assert share_epochs(59, 4, 1, wanted=15) == (15, 1)

    assert share_epochs(27, 4, 1, wanted=15) == (15, 11)
    assert share_epochs(24, 4, 1, wanted=15) == (15, 12), "as long at full size as at half the side"
    assert share_epochs(23.9, 4, 1, wanted=15) == (14, 11)
    assert share_epochs(16, 4, 1, wanted=15) == (10, 8), "as long at full size as at half the side"
    assert share_epochs(15.9, 4, 1, wanted=15) == (9, 7)
    assert share_epochs(5, 4, 1, wanted=15) == (2, 1)
    assert share_epochs(1, 4, 1, wanted=15) == (1, 0), "never without one"


@pytest.mark.usefixtures("costs")
def test_the_widest_u_net_that_gets_enough_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """0.9 of 68 % of 60 minutes for 5,286.7 images (a validation image is a third): 0.4167 s each."""
    monkeypatch.setattr(planning, "FEWEST_EPOCHS", 8)
    # Width 1/4 takes a sixteenth: 2 epochs at full size, 6 at half the side.
    scale = 0.4167 / (1 / 16 * (2 + 6 / 4))

    def cost(recipe: Any, *_: object) -> float:
        return float(slower * recipe.network.width**2 / (4 if recipe.training.half_size_epochs else 1))

    monkeypatch.setattr(planning, "seconds_per_image", cost)
    for slower, wanted in ((0.99 * scale, (0.25, 8, 6)), (1.02 * scale, (0.125, 15, 2))):
        found = plan(tmp_path / f"{slower}.json", 60)
        assert (found.lungs_width, found.lungs_epochs, found.lungs_half_size_epochs) == wanted
        recipe = found.recipe("paper-segmentation")
        assert (recipe.training.epochs, recipe.training.half_size_epochs) == wanted[1:]
        assert f"{wanted[1]} of 15 epochs, the first {wanted[2]} at half the side" in found.words
    assert found.recipe("paper-diagnosis").training.half_size_epochs == 0
    assert found.diagnosis_width < 1 and found.recipe("paper-diagnosis").training.patience == 3
    assert plan(tmp_path / "none.json", None, width=0.5).recipe("paper-diagnosis").training.patience == 1
    assert plan(tmp_path / "full.json", 60, width=1.0).recipe("paper-diagnosis").training.patience == 1
    assert plan(tmp_path / "wide.json", 60, width=1.0).lungs_batch == 8, (
        "the paper's own network keeps its batch"
    )


@pytest.mark.usefixtures("costs")
def test_batches_are_as_large_as_the_steps_allow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """15 epochs of 4,400 images are 8,250 steps in batches of 8, 16,500 in batches of 4, 33,000 in batches of 2."""
    for steps, batch in ((8_250, 8), (8_251, 4), (16_500, 4), (16_501, 2), (33_001, 2)):
        monkeypatch.setattr(planning, "FEW_STEPS", steps)
        found = plan(tmp_path / f"{steps}.json", 60, width=0.1)
        assert (found.lungs_epochs, found.lungs_batch) == (15, batch)
        assert ("batches of" in found.words) == (batch != 8)
        assert found.recipe("paper-segmentation").training.batch == batch

    def cost(
        recipe: Any, *_: object
    ) -> float:  # 0.4167 s are 15 epochs, 8 in batches of 4, 2 in batches of 2
        return 0.8 / float(recipe.training.batch) ** 2

    monkeypatch.setattr(planning, "seconds_per_image", cost)
    assert plan(tmp_path / "slow.json", 60, width=0.1).lungs_batch == 4, "8,800 steps; 4,400 in batches of 2"


@pytest.mark.usefixtures("costs")
def test_more_time_is_used(tmp_path: Path) -> None:
    plans = [plan(tmp_path / f"{m}.json", m) for m in (1, 10, 100, 1000)]
    widths = [found.lungs_width for found in plans]
    assert widths == sorted(widths)
    assert widths[0] < widths[-1] == 1.0


@pytest.mark.usefixtures("costs")
def test_a_plan_on_disk_is_kept_for_the_same_question_only(tmp_path: Path) -> None:
    first = plan(tmp_path / "p.json", 60)
    stored = json.loads((tmp_path / "p.json").read_text())
    stored["words"] = "kept"
    (tmp_path / "p.json").write_text(json.dumps(stored))
    assert plan(tmp_path / "p.json", 60).words == "kept"
    assert plan(tmp_path / "p.json", 61).words != "kept"
    assert plan(tmp_path / "p.json", 60, width=0.03).lungs_width == 0.03
    assert plan(tmp_path / "p.json", None).lungs_epochs == 15
    for damage in ("{}", "no json", '{"minutes": 60}'):
        (tmp_path / "p.json").write_text(damage)
        assert plan(tmp_path / "p.json", 60) == first
    assert first.minutes == 60


@pytest.mark.usefixtures("costs")
def test_a_seed_with_which_the_network_dies_is_replaced_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "first_live_seed", lambda recipe, *_: recipe.training.seed + 3)
    found = plan(tmp_path / "p.json", 60, seed=5)
    assert (
        found.recipe("paper-segmentation").training.seed == found.recipe("paper-diagnosis").training.seed == 8
    )
    assert "Seed 8: with 5 this U-Net died" in found.words
    assert plan(tmp_path / "p.json", 5000, seed=5).seed == 5, "at full width the seed is the one asked for"
    assert plan(tmp_path / "p.json", None, seed=5).seed == 5


def test_timing_leaves_the_random_numbers_alone() -> None:
    recipe = load_recipe("paper-segmentation", ["data.size=[64,64]", "network.width=0.03"])
    torch.manual_seed(1)
    wanted = torch.rand(1)
    torch.manual_seed(1)
    assert 0 < seconds_per_image(recipe, examples(), steps=1) < 10
    assert torch.equal(torch.rand(1), wanted)


def test_a_wrong_width_is_a_setting_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"network\.width"):
        plan(tmp_path / "p.json", None, width=9.0).recipe("paper-segmentation")
