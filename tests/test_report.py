"""The report: what it shows, that it is whole and safe, and that its numbers are in the JSON and CSV files."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from lungsight.errors import DataError, OutputError
from lungsight.evaluation.records import GroupAuroc, MaskMetrics, ScoreMetrics, SourceMetrics
from lungsight.metrics import Confusion, Interval
from lungsight.paper import architecture
from lungsight.paper.content import (
    Architecture,
    Budget,
    ComparisonRow,
    CountTable,
    DiagnosisResult,
    Layer,
    Reproduction,
    Run,
    SegmentationResult,
)
from lungsight.paper.report import write_reproduction
from lungsight.phantom import draw
from lungsight.report import charts, image_tiles
from lungsight.report.content import (
    CropExample,
    Curve,
    MaskExample,
    Measure,
)
from lungsight.report.page import BANNER, Page, Tile
from lungsight.report.tables import Table, show
from lungsight.wording import IntervalMethod


class _Reader(HTMLParser):
    """Checks that tags nest, and keeps what a test asks about."""

    VOID = frozenset(
        {"meta", "link", "img", "br", "path", "use", "rect", "line", "polygon", "circle", "image"}
    )

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.tags: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        if "id" in values:
            self.ids.append(str(values["id"]))
        if tag == "a":
            self.links.append(str(values["href"]))
        if tag == "img":
            self.images.append(values)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def _unet(width: int = 64) -> Architecture:
    layers, side, channels = [Layer("input", "input", (3, 256, 256))], 256, [width * 2**n for n in range(5)]
    for level, count in enumerate(channels):
        if level:
            side //= 2
            layers.append(Layer(f"down.{level}.pool", "pool", (count // 2, side, side)))
        layers += [Layer(f"down.{level}.{n}", "conv", (count, side, side), 9 * count) for n in (0, 2)]
    for level, count in enumerate(channels[-2::-1]):
        side *= 2
        layers.append(Layer(f"up.{level}.upsampling", "up", (2 * count, side, side)))
        layers.append(Layer(f"up.{level}", "conv", (count, side, side), 4 * count))
        layers.append(Layer(f"merge.{level}.concatenation", "concat", (2 * count, side, side)))
        layers += [Layer(f"merge.{level}.{n}", "conv", (count, side, side), 9 * count) for n in (0, 2)]
    layers += [Layer("pair", "conv", (2, 256, 256), 1154), Layer("last", "conv", (1, 256, 256), 3)]
    total = sum(layer.parameters for layer in layers)
    return Architecture("U-Net for lung masks", layers, width / 64, total, 31_032_837, "Filters not printed.")


def _cnn() -> Architecture:
    shapes = (
        ("input", "input", (3, 246, 236), 0),
        ("features.0", "conv", (32, 244, 234), 896),
        ("features.2", "pool", (32, 122, 117), 0),
        ("features.3", "conv", (64, 120, 115), 18496),
        ("features.5", "pool", (64, 60, 57), 0),
        ("flatten", "flatten", (218880,), 0),
        ("dense", "dense", (64,), 14008384),
        ("last", "dense", (1,), 65),
    )
    layers = [Layer(*shape) for shape in shapes]  # type: ignore[arg-type]
    return Architecture("CNN for diagnosis", layers, 1.0, 14_027_841, 14_027_841)


def _interval(value: float, low: float = math.nan, high: float = math.nan) -> Interval:
    return Interval(value, low, high, 1657, 900, IntervalMethod.DELONG)


def _score(counts: Confusion, accuracy: Interval, auroc: Interval) -> ScoreMetrics:
    same = GroupAuroc(_interval(0.71, 0.58, 0.83), 1, 138, 4000)
    return ScoreMetrics(
        threshold=0.5,
        metrics={"auroc": auroc, "accuracy": accuracy},
        ece=0.02,
        majority_accuracy=0.93,
        confusion=counts,
        sources=SourceMetrics(auroc, same, None),
        calibration_curve=(),
        decision_curve=(),
    )


def _results(count: int = 3) -> Reproduction:
    rng = np.random.default_rng(4)
    examples, crops = [], []
    for number in range(count):
        drawn = draw(rng, hospital=("north", "south")[number % 2], covid=number % 2 == 0, size=256)
        noise = rng.normal(0, 0.04, drawn.mask.shape)
        probability = np.clip(np.roll(drawn.mask, 4, axis=1) * 0.9 + 0.04 + noise, 0, 1)
        caption = f"{number + 1} COVID-19" if number % 2 == 0 else f"{number + 1} normal"
        examples.append(MaskExample(drawn.pixels, drawn.mask, probability, 0.95 - 0.01 * number, caption))
        crops.append(CropExample(drawn.pixels, (10, 10, 256, 246), caption))
    history = [
        {
            "epoch": n,
            "train_loss": 0.5 / n,
            "validation_loss": 0.55 / n,
            "train_accuracy": 1 - 0.2 / n,
            "validation_accuracy": 1 - 0.24 / n,
            "seconds": 41.5,
        }
        for n in range(1, 7)
    ]
    lungs = Run("paper-segmentation", "Lung segmentation", "lungs", 3864, 117, history, 0.25, 6, 15, 1900.0)
    covid = Run(
        "paper-diagnosis", "Diagnosis", "covid", 3864, 1657, history[:2], 1.0, 2, 20, 400.0, "early stopping"
    )
    masks = {
        "accuracy": _interval(0.9731, 0.97, 0.976),
        "iou": _interval(0.9012, 0.89, 0.911),
        "dice": _interval(0.9471, 0.94, 0.954),
    }
    x = np.linspace(0, 1, 101)
    y = x**0.05
    roc = Curve(x, y, np.clip(y - 0.04, 0, 1), np.clip(y + 0.02, 0, 1))
    counts = Confusion(tp=104, fp=21, fn=12, tn=1520)
    auroc = _interval(0.99, 0.985, 0.994)
    apart = dataclasses.replace(covid, name="paper-diagnosis-by-patient", title="Diagnosis, patients apart")
    return Reproduction(
        data="V7 Darwin COVID-19 chest X-rays, 5,595 of 6,504 images",
        comparison=[
            ComparisonRow("Data", "Images", 6504, 5595, "a part of the full set"),
            ComparisonRow(
                "Lung segmentation",
                "Dice, mean of images",
                0.9273,
                Measure.of(masks["dice"]),
                "width 0.25, 6 epochs",
            ),
            ComparisonRow(
                "Lung segmentation",
                "IoU, mean of images",
                0.8666,
                Measure.of(masks["iou"]),
                "width 0.25, 6 epochs",
            ),
            ComparisonRow("Diagnosis", "AUC", 0.985, Measure(0.99, 0.985, 0.994), "seed 2020"),
            ComparisonRow("Diagnosis", "Training accuracy", 0.9723, None),
        ],
        tables=[
            CountTable(
                n, title, [("Not COVID-19", 4170, 3594), ("COVID-19", 307, 270), ("Total", 4477, 3864)]
            )
            for n, title in enumerate(
                ("The data set", "Masks, training", "Masks, validation", "Diagnosis, training"), 1
            )
        ],
        unet=_unet(16),
        cnn=_cnn(),
        masks=examples,
        predictions=examples,
        crops=crops,
        marked=crops,
        segmentation=[SegmentationResult(lungs, 117, MaskMetrics(0.2, masks, masks, 0, 0))],
        diagnosis=[
            DiagnosisResult(covid, 1657, _score(counts, _interval(0.98, 0.973, 0.986), auroc), roc),
            DiagnosisResult(
                apart, 1650, _score(counts, _interval(0.97), _interval(0.981)), Curve(x, x**0.15)
            ),
        ],
        budget=Budget(60, "The U-Net runs at a quarter of its filters.", 3400, "2 cores, no GPU"),
        provenance={
            "lungsight": "0.1.0",
            "commit": "abc123",
            "command": "lungsight reproduce --data DATA --out OUT --budget 60",
            "seed": 2020,
            "data_fingerprint": "f00d",
            "libraries": {"numpy": "2.0"},
        },
        notes=["One image could not be read."],
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reproduction(tmp_path_factory.mktemp("report") / "report.html", _results())


@pytest.fixture(scope="module")
def page(written: Path) -> str:
    return written.read_text("utf-8")


def test_page_is_whole_and_reaches_nothing_outside(page: str, written: Path) -> None:
    reader = _Reader(page)
    assert written.stat().st_size < 4_000_000
    assert len(reader.ids) == len(set(reader.ids)) or not _duplicates(reader.ids)
    assert all(link.startswith("#") and link[1:] in reader.ids for link in reader.links)
    assert "script" not in reader.tags
    assert all(
        target.startswith(("#", "data:")) for target in re.findall(r"""(?:src|href)=["']([^"']*)""", page)
    )
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)", page))
    assert "Content-Security-Policy" in page
    assert BANNER in page


def _duplicates(ids: list[str]) -> list[str]:
    return [one for one in ids if ids.count(one) > 1 and not re.fullmatch(r"[mpCD][0-9a-f_]+", one)]


def test_page_shows_every_table_and_figure_of_the_paper(page: str) -> None:
    for number in (1, 2, 3, 4):
        assert f"Table {number}." in page
    for number in range(3, 10):
        assert f"<b>Figure {number}.</b>" in page
    assert page.index("Every number of the paper") < page.index("Table 1.") < page.index("Figure 4.")
    assert "0.9273" in page and "0.9312" in page
    assert ">+0.0198<" in page and ">−909<" in page


def test_every_picture_is_described(page: str) -> None:
    reader = _Reader(page)
    assert len(reader.images) == 3 * (2 + 4 + 2 + 2)
    assert all(
        image["alt"] and str(image["src"]).startswith("data:image/jpeg;base64,") for image in reader.images
    )
    assert page.count("<svg ") == page.count('role="img" aria-label="')


def test_numbers_are_in_the_json(written: Path) -> None:
    numbers = json.loads(written.with_suffix(".json").read_text("utf-8"))
    dice = numbers["segmentation"][0]["metrics"]["per_image"]["dice"]
    assert (dice["value"], dice["low"], dice["high"]) == (0.9471, 0.94, 0.954)
    counts = numbers["diagnosis"][0]["metrics"]["confusion"]
    assert (counts["tn"], counts["fp"], counts["fn"], counts["tp"]) == (1520, 21, 12, 104)
    assert len(numbers["diagnosis"][0]["roc"]["x"]) == 101
    assert numbers["provenance"]["seed"] == 2020
    assert "image" not in numbers["masks"][0] and numbers["masks"][0]["dice"] == 0.95


def test_tables_are_csv_files(written: Path) -> None:
    folder = written.parent / "tables"
    names = {path.stem for path in folder.glob("*.csv")}
    assert {
        "paper-and-ours",
        "table-1",
        "segmentation",
        "diagnosis",
        "confounding",
        "history-paper-diagnosis",
    } <= names
    with (folder / "paper-and-ours.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    dice = next(row for row in rows if row["Quantity"] == "Dice, mean of images")
    assert dice["part"] == "Lung segmentation"
    assert float(dice["Paper"]) == 0.9273
    assert float(dice["Ours (95 % interval), low"]) == 0.94
    assert float(dice["Ours − paper"]) == pytest.approx(0.0198)


def test_phantoms_and_a_missing_table_of_sources_are_said(tmp_path: Path) -> None:
    results = dataclasses.replace(
        _results(1), synthetic=True, diagnosis=(), segmentation=(), predictions=(), crops=(), marked=()
    )
    text = write_reproduction(tmp_path / "r.html", results).read_text("utf-8")
    assert text.index("drawn phantoms") < text.index("Every number of the paper")
    assert "was not computed in this run" in text


def test_same_results_make_the_same_page(written: Path, tmp_path: Path) -> None:
    again = write_reproduction(tmp_path / "report.html", _results())
    assert again.read_bytes() == written.read_bytes()


def test_text_is_escaped() -> None:
    page = Page("<b>title</b>", "lead & more")
    block = page.section("<script>alert(1)</script>")
    block.text('<img src=x onerror="alert(1)">', "a `code` word")
    block.table(Table('"cap"<i>', ("<h>", "n"), [("<td>", 1)], notes="<notes>"))
    block.key_figures([("<l>", "<v>", "<n>")])
    block.tiles([Tile(np.zeros((4, 4), np.uint8), '"><script>', "<c>")], "<caption>")
    block.points(["<li>"])
    block.code("<pre>")
    block.warning("<w>")
    with block.details("<summary>") as inner:
        inner.text("<inner>")
    page.provenance({"command": "<cmd>"})
    text = page.render()
    reader = _Reader(text)
    assert not {"script", "i", "b", "l", "v", "n", "c", "w", "inner", "cmd", "h"} & set(reader.tags)
    assert "<code>code</code>" in text
    assert len(reader.images) == 1


def test_sections_get_ids_of_their_own() -> None:
    page = Page("t")
    for _ in range(3):
        page.section("Same title")
    assert re.findall(r'<section id="([^"]+)"', page.render()) == [
        "same-title",
        "same-title-2",
        "same-title-3",
    ]


def test_columns_of_figures_stand_right_and_others_left() -> None:
    page = Page("t")
    page.section("s").table(Table("c", ("name", "count", "words"), [("a", 4170, "x"), ("b", None, "y")]))
    text = page.render()
    assert '<th scope="col" class="num">count</th>' in text
    assert '<td class="num">4,170</td>' in text and '<td class="num">–</td>' in text
    assert "<td>x</td>" in text


def test_table_refuses_a_row_of_another_length() -> None:
    with pytest.raises(DataError, match="2 cells in a table of 3"):
        Table("c", ("a", "b", "c"), [(1, 2)])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (31_032_837, "31,032,837"),
        (0.92734, "0.9273"),
        (-0.0012, "−0.0012"),
        (float("nan"), "–"),
        (Measure(0.5), "0.5000"),
        (Measure(0.5, 0.4, 0.6), "0.5000 (0.4000 to 0.6000)"),
        (Measure(0.5, float("nan"), 0.6), "0.5000"),
        ("early", "early"),
    ],
)
def test_show(value: object, text: str) -> None:
    assert show(value) == text  # type: ignore[arg-type]


def test_measure_takes_an_interval_of_the_metrics() -> None:
    assert Measure.of(Interval(0.9, 0.8, 0.95, 10, 5, "bootstrap")) == Measure(0.9, 0.8, 0.95)
    assert Measure.of(Interval(0.9, float("nan"), float("nan"), 10, None, "none")) == Measure(0.9)


def test_page_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        Page("t").write(tmp_path / "file" / "report.html")


def _texts(svg: str) -> str:
    return " ".join(
        "".join(node.itertext())
        for node in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    )


CURVE = Curve(np.array([0.0, 0.2, 1.0]), np.array([0.0, 0.9, 1.0]))


@pytest.mark.parametrize(
    ("svg", "words"),
    [
        (
            charts.roc({"ours": CURVE, "other": CURVE}, {"ours": Measure(0.9, 0.8, 0.95)}),
            ["ours: 0.900", "other"],
        ),
        (charts.precision_recall({"ours": CURVE}, 0.07), ["Recall", "chance: 0.070"]),
        (charts.history([{"train_loss": 0.5}], "loss", "Loss"), ["training", "Loss"]),
        (charts.reliability([0.1, np.nan, 0.9], [0.2, np.nan, 0.8], [40, 0, 3], 0.1), ["40", "3", "0.100"]),
        (charts.bland_altman([10, 20, 30], [12, 21, 33], "cm²"), ["mean difference +2 cm²"]),
        (
            charts.forest([("PA", Measure(0.9, 0.8, 0.95), 50), ("AP", Measure(0.7), 4)], "AUROC", 0.85),
            ["PA (50)"],
        ),
        (
            charts.decision_curve([0.1, 0.2, 0.3], {"ours": [0.05, 0.04, 0.03]}, [0.01, -0.05, -0.1]),
            ["call all"],
        ),
        (charts.confusion_matrix([[90, 10], [3, 7]], ("no", "yes")), ["90", "10.0%", "70.0%"]),
        (architecture.draw(_unet()), ["1024", "256x256", "16x16"]),
        (architecture.draw(_cnn()), ["244x234x32", "218,880", "14,008,384"]),
    ],
)
def test_charts_say_what_they_show(svg: str, words: list[str]) -> None:
    text = _texts(svg)
    assert all(word in text for word in words)
    # Colours follow the page, in light, dark and print.
    assert "var(--ink)" in svg
    assert not set(re.findall(r"#[0-9a-f]{6}", svg.split("<defs>")[0])) & set(charts.COLOURS)


def test_history_without_the_quantity() -> None:
    with pytest.raises(DataError, match="neither train_loss nor"):
        charts.history([{"epoch": 1}], "loss", "Loss")


def test_outlines_lie_on_the_mask_edge() -> None:
    mask = np.zeros((90, 90), bool)
    mask[30:60, 20:70] = True
    picture = image_tiles.with_outlines(np.full((90, 90), 100, np.uint8), mask, None)
    coloured = np.ptp(picture.astype(int), axis=2) > 40
    scale = picture.shape[0] // 90
    rows, columns = np.nonzero(coloured)
    assert abs(rows.min() - 30 * scale) <= 4 and abs(rows.max() - 60 * scale) <= 4
    assert abs(columns.min() - 20 * scale) <= 4 and abs(columns.max() - 70 * scale) <= 4
    assert not coloured[35 * scale : 55 * scale, 25 * scale : 65 * scale].any()


def test_mask_veil_leaves_the_rest_alone() -> None:
    mask = np.zeros((90, 90), bool)
    mask[30:60, 20:70] = True
    picture = image_tiles.with_mask(np.full((90, 90), 100, np.uint8), mask)
    assert tuple(picture[10, 10]) == (100, 100, 100)
    inside = picture[picture.shape[0] // 2, picture.shape[1] // 2].astype(int)
    assert inside[2] > inside[0] + 20


def test_crop_tiles_keep_what_the_box_says() -> None:
    image = np.arange(100, dtype=np.uint8).reshape(10, 10) * 2
    before, after = image_tiles.crop_tiles(CropExample(image, (1, 2, 10, 8)))
    assert before.caption == "before: 10 x 10" and after.caption == "after: 9 x 6"
    assert after.image.shape[0] / after.image.shape[1] == pytest.approx(9 / 6, rel=0.02)
    with pytest.raises(DataError, match="does not lie"):
        image_tiles.crop_tiles(CropExample(image, (10, 0, 10, 8)))


def test_prediction_needs_its_probability() -> None:
    example = MaskExample(np.zeros((8, 8), np.uint8), np.zeros((8, 8), bool))
    with pytest.raises(DataError, match="probability"):
        image_tiles.prediction_tiles(example, 0.2)
