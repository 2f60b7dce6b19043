"""The page in a real headless Chromium: upload, sliders, downloads, keys, errors, token. Skips where there is none."""

from __future__ import annotations

import base64
import csv
import io
import itertools
import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pydicom
import pytest

from lungsight.inference import Lungsight, load_model
from lungsight.model import save
from lungsight.server.app import create_app
from lungsight.server.settings import MIB, Settings
from lungsight.wording import say
from server_process import PATIENT, dicom, png, running
from tiny_networks import diagnosis_card, draw_chest, write_bundle

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = playwright.expect
expect.set_options(timeout=120_000)

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Lungsight:
    return load_model(write_bundle(tmp_path_factory.mktemp("networks")), threads=1)


@pytest.fixture(scope="module")
def url(model: Lungsight) -> Iterator[str]:
    with running(create_app(model, Settings(max_file_bytes=MIB, max_request_bytes=2 * MIB))) as client:
        yield str(client.base_url)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(
            "there is no Chromium here: install it (Debian: apt-get install chromium) to test the page"
        )
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Any, url: str) -> Iterator[Any]:
    """A fresh page that has made no error by the end, and asked no other host for anything."""
    context = browser.new_context(viewport={"width": 1300, "height": 900}, accept_downloads=True)
    opened = context.new_page()
    opened.set_default_timeout(120_000)
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda line: wrong.append(line.text) if "Content Security" in line.text else None)
    opened.on("request", lambda request: wrong.append(request.url) if foreign(request.url, url) else None)
    opened.goto(url)
    yield opened
    context.close()
    assert wrong == []


def foreign(address: str, url: str) -> bool:
    return not address.startswith((url, "blob:", "data:"))


def upload(page: Any, *files: tuple[str, bytes]) -> None:
    page.set_input_files(
        "#choose",
        [{"name": name, "mimeType": "application/octet-stream", "buffer": data} for name, data in files],
    )


def opened(page: Any) -> None:
    page.wait_for_selector("#verdict")
    page.wait_for_selector("#canvas")
    page.wait_for_function("() => document.getElementById('canvas').dataset.zoom")


def rendered(page: Any) -> None:
    """What was done is on the screen: drawing waits for an animation frame, and may ask for two more."""
    page.evaluate(
        """() => new Promise((done) => {
            let left = 4;
            const step = () => { left -= 1; if (left) requestAnimationFrame(step); else done(); };
            requestAnimationFrame(step);
        })"""
    )


KEPT = """() => new Promise((done) => {
    const request = indexedDB.open("lungsight");
    request.onsuccess = () => {
        const all = request.result.transaction("films").objectStore("films").getAll();
        all.onsuccess = () => { request.result.close(); done(all.result); };
    };
}).then(("""
"""The films that the browser keeps, and what is asked of them behind it."""


def areas(page: Any) -> list[int]:
    """Pixels of the right and the left lung by the table."""
    rendered(page)
    return [
        int(pixels)
        for pixels in page.locator("#areas td").evaluate_all("all => all.map((e) => e.dataset.pixels)")
    ]


def slide(page: Any, name: str, value: float) -> None:
    page.locator(name).evaluate(
        "(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }", value
    )
    rendered(page)


def seen(page: Any) -> np.ndarray:
    """The canvas as a person sees it, (H, W, 3) RGB."""
    rendered(page)
    picture = cv2.imdecode(np.frombuffer(page.locator("#canvas").screenshot(), np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(picture)[..., ::-1].astype(int)


def near(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.abs(picture - np.array(colour)).max(axis=2) < 40


def download(page: Any, button: str) -> tuple[str, bytes]:
    with page.expect_download() as waiting:
        page.click(button)
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def test_it_begins_with_the_notice_and_one_click(page: Any) -> None:
    assert page.locator("#notice").inner_text() == "Research use only, not for diagnosis."
    assert page.locator("#view").count() == 0
    page.click("#sample")
    opened(page)
    expect(page.locator("#list")).to_contain_text("Drawn sample")
    page.mouse.wheel(0, 3000)
    assert page.locator("#notice").evaluate("e => e.getBoundingClientRect().top") >= 0


def test_upload_shows_lungs_score_and_doubts(page: Any, model: Lungsight) -> None:
    upload(page, ("chest.png", png()))
    opened(page)
    result = model(draw_chest())
    assert areas(page) == pytest.approx(result.areas, rel=0.01)
    words = page.locator("#told").inner_text()
    expected = {
        "covid": "more like the COVID-19",
        "not_covid": "without COVID-19",
        "uncertain": "cannot tell",
    }
    assert expected[result.decision] in page.locator("#verdict").inner_text()
    assert f"{result.probability:.2f}" in words and "95 %" in words
    assert "cannot tell" in page.locator(".score .scale").inner_text()
    zone = page.locator(".zone").evaluate("e => [parseFloat(e.style.left), parseFloat(e.style.width)]")
    assert zone == pytest.approx([45, 10])
    for flag in result.flags:
        assert say(flag) in page.locator("#warnings").inner_text().lower()
    picture = seen(page)
    right, left = near(picture, (86, 180, 233)), near(picture, (230, 159, 0))
    assert right.sum() > 200 and left.sum() > 200
    assert np.nonzero(right)[1].mean() < np.nonzero(left)[1].mean()


def test_the_threshold_slider_answers_in_the_browser(page: Any, model: Lungsight) -> None:
    upload(page, ("chest.png", png()))
    opened(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for threshold in (0.02, 0.2, 0.9):
        slide(page, "#threshold", threshold)
        expected = Lungsight(model.bundle, threads=1, mask_threshold=threshold)(draw_chest()).areas
        assert areas(page) == pytest.approx(expected, rel=0.01)
        expect(page.locator("#threshold-value")).to_have_text(f"{threshold:.2f}")
    page.click("#paper")
    expect(page.locator("#threshold")).to_have_value("0.2")
    page.click("#own")
    expect(page.locator("#threshold")).to_have_value("0.5")
    assert asked == []


def test_opacity_window_and_level(page: Any) -> None:
    upload(page, ("chest.png", png()))
    opened(page)
    slide(page, "#opacity", 0)
    plain = seen(page)
    slide(page, "#opacity", 1)
    full = seen(page)
    assert near(full, (86, 180, 233)).sum() > 10 * near(plain, (86, 180, 233)).sum()
    page.uncheck("#outline")
    bare = seen(page)
    assert near(bare, (86, 180, 233)).sum() == 0
    slide(page, "#level", 40)
    assert seen(page).mean() > bare.mean() + 20
    page.check("#invert")
    assert seen(page).mean() < bare.mean()
    page.click("#reset")
    expect(page.locator("#level")).to_have_value("128")
    expect(page.locator("#outline")).to_be_checked()
    expect(page.locator("#window")).to_have_value("256")
    expect(page.locator("#invert")).not_to_be_checked()


def test_the_heat_map_and_its_share(page: Any, url: str) -> None:
    upload(page, ("chest.png", png()))
    opened(page)
    page.check("#heat")
    answer = httpx.post(f"{url}/v1/predictions?include=evidence", files={"files": png()}, timeout=60)
    told = answer.json()["predictions"][0]["evidence"]
    page.wait_for_selector("#heat-words")
    words = page.locator("#heat-words").inner_text()
    assert f"{round(100 * told['fraction_inside_lungs'])} % of what moved it lies inside the lungs" in words
    assert told["text"] in words
    picture = seen(page)
    greenish = (picture[..., 1] > picture[..., 0] + 25) & (picture[..., 1] > picture[..., 2] + 25)
    pinkish = (picture[..., 0] > picture[..., 1] + 25) & (picture[..., 2] > picture[..., 1] + 25)
    assert (greenish | pinkish).mean() > 0.05


def test_downloads(page: Any, model: Lungsight) -> None:
    data = dicom()
    upload(page, ("chest.dcm", data))
    opened(page)
    expect(page.locator("#areas")).to_contain_text("cm²")
    slide(page, "#threshold", 0.2)
    name, mask = download(page, "#get-mask")
    assert name == "chest-mask.png"
    expected = Lungsight(model.bundle, threads=1, mask_threshold=0.2)(data).mask
    assert np.array_equal(cv2.imdecode(np.frombuffer(mask, np.uint8), cv2.IMREAD_UNCHANGED) > 0, expected)
    page.click("#zoom-in")
    page.wait_for_function("() => document.getElementById('canvas').dataset.zoom === '1.40'")
    name, picture = download(page, "#get-overlay")
    shown = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int)
    assert name == "chest-overlay.png"
    height = page.locator("#canvas").evaluate("e => e.height")
    assert np.abs(shown[:height] - canvas(page)).max(axis=2)[60:].mean() < 1  # as seen, with the notice below
    assert near(shown, (255, 216, 77))[height:].mean() > 0.5
    name, seg = download(page, "#get-seg")
    assert len(pydicom.dcmread(io.BytesIO(seg)).SegmentSequence) == 2
    name, figures = download(page, "#get-json")
    told = json.loads(figures)
    row = told["predictions"][0]
    assert told["notice"].startswith("Research use only") and row["format"] == "DICOM"
    assert row["mask_threshold"] == 0.2 and row["mask_corrected"] is False
    assert row["right_lung_px"] + row["left_lung_px"] == pytest.approx(expected.sum(), rel=0.01)
    assert row["right_lung_mm2"] == pytest.approx(row["right_lung_px"] * 3, rel=0.001)
    assert row["zone_px"] == [] or sum(row["zone_px"]) == pytest.approx(expected.sum(), rel=0.01)
    assert "png" not in figures.decode()
    for value in PATIENT.values():
        assert value.encode() not in mask + picture + seg + figures


def canvas(page: Any) -> np.ndarray:
    """The canvas' own pixels, (H, W, 3) RGB."""
    rendered(page)
    data = page.locator("#canvas").evaluate("e => e.toDataURL('image/png').split(',')[1]")
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(picture)[..., ::-1].astype(int)


def settled(page: Any, count: int) -> None:
    """All of so many films are done."""
    page.wait_for_function(
        f"() => document.getElementById('count')?.textContent === '{count} of {count} done'"
    )


def test_many_files_by_keyboard(page: Any) -> None:
    files = [(f"chest {number}.png", png(draw_chest(seed=number))) for number in range(3)]
    upload(page, *files, ("notes.txt", b"not an image"))
    settled(page, 4)
    current = page.locator("#list button[aria-current=true] b")
    expect(current).to_have_text("chest 0.png")
    page.keyboard.press("j")
    expect(current).to_have_text("chest 1.png")
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(current).to_have_text("notes.txt")
    expect(page.locator("#failure")).to_contain_text("text file")
    expect(page.locator("#view")).to_have_count(0)
    page.keyboard.press("k")
    expect(current).to_have_text("chest 2.png")
    page.wait_for_function("() => document.getElementById('canvas')?.dataset.zoom === '1.00'")
    page.keyboard.press("+")
    page.wait_for_function("() => document.getElementById('canvas').dataset.zoom > 1.3")
    before = seen(page)
    page.focus("#canvas")
    page.keyboard.press("ArrowRight")
    assert np.abs(seen(page) - before).mean() > 1
    page.keyboard.press("0")
    page.wait_for_function("() => document.getElementById('canvas').dataset.zoom === '1.00'")
    page.keyboard.press("]")
    expect(page.locator("#threshold")).to_have_value("0.55")
    page.keyboard.press("h")
    expect(page.locator("#heat")).to_be_checked()
    page.keyboard.press("o")
    expect(page.locator("#outline")).not_to_be_checked()
    expect(page.locator("#list img")).to_have_count(3)


def test_everything_is_reached_by_tab(page: Any) -> None:
    upload(page, ("chest.png", png()))
    opened(page)
    reached = set()
    page.evaluate("document.activeElement.blur()")
    places = []
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id"))
        places.append(page.evaluate("document.activeElement.closest('section')?.id"))
    # In the order in which it is seen: list, picture, result.
    order = [place for place, _ in itertools.groupby(place for place in places if place)]
    assert order[:3] == ["files", "view", "told"]
    assert {
        "choose",
        "sample",
        "canvas",
        "threshold",
        "opacity",
        "level",
        "window",
        "heat",
        "get-mask",
    } <= reached


def test_errors_are_told(page: Any) -> None:
    upload(page, ("large.png", b"\0" * (MIB + 10)))
    page.wait_for_selector("#failure")
    expect(page.locator("#failure")).to_contain_text("1 MiB")
    upload(page, ("<img src=x onerror=alert(1)>.png", b"<html>"))
    page.wait_for_function("() => document.querySelectorAll('#list .failed').length === 2")
    assert page.locator("#list img").count() == 0  # neither a thumbnail nor what the name would be as markup
    assert "<img src=x onerror=alert(1)>.png" in page.locator("#list").inner_text()
    upload(page, ("blank.png", png(np.full((80, 80), 20, np.uint8))))
    page.wait_for_function("() => document.querySelectorAll('#list li').length === 3")
    page.locator("#list .film").nth(2).click()
    opened(page)
    expect(page.locator("#verdict")).to_contain_text("not scored")
    expect(page.locator("#severity")).to_have_text("Severity: cannot tell")
    expect(page.locator("#zones")).to_be_disabled()
    expect(page.locator("#areas")).to_have_count(0)
    expect(page.locator("#mark-right")).to_have_count(0)
    expect(page.locator("#get-mask")).to_be_disabled()
    page.click("#ask-mask")
    expect(page.locator("#get-mask")).to_be_enabled()
    assert page.locator(".scale").count() == 0
    assert "blank" in page.locator("#told").inner_text()


def test_dropping(page: Any) -> None:
    page.evaluate(
        """(bytes) => {
            const data = new DataTransfer();
            data.items.add(new File([Uint8Array.from(bytes)], "dropped.png", { type: "image/png" }));
            for (const kind of ["dragenter", "dragover", "drop"]) {
                const event = { dataTransfer: data, bubbles: true, cancelable: true };
                document.body.dispatchEvent(new DragEvent(kind, event));
            }
        }""",
        list(png()),
    )
    opened(page)
    expect(page.locator("#list")).to_contain_text("dropped.png")
    expect(page.locator("#drop")).to_be_hidden()


def test_wheel_drag_and_shift_drag(page: Any) -> None:
    upload(page, ("chest.png", png()))
    opened(page)
    box = page.locator("#canvas").bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(*middle)
    page.mouse.wheel(0, -400)
    page.wait_for_function("() => document.getElementById('canvas').dataset.zoom > 2")
    before = seen(page)
    page.mouse.down()
    page.mouse.move(middle[0] + 80, middle[1] + 40, steps=4)
    page.mouse.up()
    assert np.abs(seen(page) - before).mean() > 1
    page.keyboard.down("Shift")
    page.mouse.down()
    page.mouse.move(middle[0] + 180, middle[1] + 90, steps=4)
    page.mouse.up()
    page.keyboard.up("Shift")
    rendered(page)
    assert float(page.locator("#window").input_value()) > 256
    assert float(page.locator("#level").input_value()) > 128  # downwards is darker, as in other viewers


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone(browser: Any, url: str, scheme: str) -> None:
    context = browser.new_context(
        viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True, color_scheme=scheme
    )
    page = context.new_page()
    page.goto(url)
    page.tap("#sample")
    opened(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    backs = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, backs[4:-1].split(","))) < 200) == (scheme == "dark")
    for button in page.locator("button:visible").all():
        box = button.bounding_box()
        assert box is None or box["height"] >= 24
    context.close()


def test_the_token_is_asked_for(browser: Any, model: Lungsight) -> None:
    with running(create_app(model, Settings(token="correct-horse"))) as client:
        page = browser.new_page()
        page.goto(str(client.base_url))
        upload(page, ("a.png", png()), ("b.png", png()))
        page.wait_for_selector("#ask[open]")
        assert page.locator("#ask-wrong").is_hidden()
        for token in ("wrong-horse", "pferd-\u2603", "correct-horse"):
            page.fill("#token", token)
            page.keyboard.press("Enter")
            if token != "correct-horse":
                page.wait_for_selector("#ask[open] #ask-wrong:not([hidden])")
                expect(page.locator("#ask-wrong")).to_contain_text("not the server's token")
                expect(page.locator("#token")).to_have_value("")
        opened(page)
        page.close()


def test_a_server_that_is_gone(browser: Any, model: Lungsight) -> None:
    with running(create_app(model)) as client:
        page = browser.new_page()
        page.goto(str(client.base_url))
    upload(page, ("a.png", png()))
    page.wait_for_selector("#message")
    expect(page.locator("#message")).to_contain_text("cannot be reached")
    page.close()


# Many films


def test_a_film_that_is_clicked_while_it_is_worked_on_is_shown(page: Any) -> None:
    """It stayed at 'Working' for ever where another film had been shown before."""
    upload(page, ("first.png", png()))
    opened(page)
    held: list[Any] = []
    page.route("**/v1/predictions*", lambda route: held.append(route))
    upload(page, ("second.png", png(draw_chest(seed=2))))
    page.wait_for_function("() => document.querySelectorAll('#list li').length === 2")
    page.locator("#list .film").nth(1).click()
    expect(page.locator("#told")).to_contain_text("Working")
    page.wait_for_function("() => /working/.test(document.querySelectorAll('#list small')[1].textContent)")
    held[0].continue_()
    opened(page)
    expect(page.locator("#list .film[aria-current=true] b")).to_have_text("second.png")
    assert seen(page).max() > 100


LONG = "a film with a name that is much wider than the list, as archives make them 1.2.840.113619.2.55.png"


def test_nothing_overlaps_at_any_width(page: Any) -> None:
    upload(page, *((f"{number} {LONG}", png(draw_chest(seed=number))) for number in range(8)))
    settled(page, 8)
    for width in (1440, 1151, 1150, 1024, 761, 390):
        page.set_viewport_size({"width": width, "height": 800})
        page.reload()
        settled(page, 8)
        opened(page)
        rendered(page)
        nothing_overlaps(page, width)


def nothing_overlaps(page: Any, width: int) -> None:
    boxes = {name: page.locator(f"#{name}").bounding_box() for name in ("files", "view", "summary")}
    for first, second in itertools.combinations(boxes.values(), 2):
        apart = (
            first["x"] + first["width"] <= second["x"] + 1
            or second["x"] + second["width"] <= first["x"] + 1
            or first["y"] + first["height"] <= second["y"] + 1
            or second["y"] + second["height"] <= first["y"] + 1
        )
        assert apart, (first, second)
    inner = page.locator("#list .film").evaluate_all("all => all.map((e) => e.getBoundingClientRect().right)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    if width > 760:
        assert max(inner) <= boxes["files"]["x"] + boxes["files"]["width"]
        overflow = page.locator("#list").evaluate(
            "e => [e.scrollHeight > e.clientHeight, getComputedStyle(e).overflowY]"
        )
        assert overflow == [True, "auto"]  # the list scrolls by itself
        page.mouse.wheel(0, 2000)
        page.wait_for_timeout(200)  # a wheel scrolls over a few frames
        expect(page.locator("#verdict")).to_be_in_viewport()  # and the verdict stays in sight
    else:
        assert boxes["summary"]["y"] < boxes["view"]["y"]


def test_filter_remove_and_clear(page: Any) -> None:
    upload(
        page, ("good.png", png()), ("blank.png", png(np.full((80, 80), 20, np.uint8))), ("x.txt", b"no image")
    )
    settled(page, 3)
    names = page.locator("#list b")

    def shown(value: str) -> list[str]:
        page.check(f"#filter input[value={value}]", force=True)
        rendered(page)
        return list(names.all_inner_texts())

    assert shown("scored") == ["good.png"]
    assert shown("failed") == ["x.txt"]
    assert "blank.png" in shown("warned")
    assert len(shown("all")) == 3
    page.locator("#list .remove").nth(2).click()
    page.wait_for_function("() => document.querySelectorAll('#list li').length === 2")
    page.click("#clear")
    page.wait_for_selector("body.alone")
    expect(page.locator("#list li")).to_have_count(0)
    expect(page.locator("#view")).to_have_count(0)


def test_cancel_and_try_again(page: Any) -> None:
    page.route("**/v1/predictions*", lambda route: None)  # never answered
    upload(page, *((f"{number}.png", png()) for number in range(4)))
    page.wait_for_selector("#cancel")
    expect(page.locator("#count")).to_have_text("0 of 4 done")
    page.click("#cancel")
    settled(page, 4)
    assert set(page.locator("#list small").all_inner_texts()) == {"cancelled"}
    page.unroute("**/v1/predictions*")
    page.click("#again")
    opened(page)


def test_all_results_as_table_and_archive(page: Any, model: Lungsight) -> None:
    data = dicom()
    upload(
        page, ("a.png", png()), ("=cmd.dcm", data), ("x.txt", b"no image"), ("a.PNG", png(draw_chest(seed=4)))
    )
    settled(page, 4)
    opened(page)
    slide(page, "#threshold", 0.2)
    name, table = download(page, "#get-csv")
    rows = list(csv.DictReader(io.StringIO(table.decode())))
    assert name == "lungsight.csv"
    assert [row["input"] for row in rows] == ["a.png", "'=cmd.dcm", "x.txt", "a.PNG"]
    assert [row["status"] for row in rows] == ["ok", "ok", "failed", "ok"]
    expected = Lungsight(model.bundle, threads=1, mask_threshold=0.2)(draw_chest())
    assert int(rows[0]["right_lung_px"]) == pytest.approx(expected.areas[0], rel=0.01)
    assert float(rows[0]["probability"]) == pytest.approx(expected.probability)
    assert rows[0]["mask_threshold"] == "0.2" and rows[1]["mask_threshold"] == "0.5"
    name, packed = download(page, "#get-zip")
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.testzip() is None
        masks = sorted(one for one in archive.namelist() if one.startswith("masks/"))
        assert masks == ["masks/2-a-mask.png", "masks/=cmd-mask.png", "masks/a-mask.png"]
        assert archive.read("results.csv") == table
        mask = cv2.imdecode(np.frombuffer(archive.read("masks/a-mask.png"), np.uint8), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(mask > 0, expected.mask)
        assert json.loads(archive.read("results.json"))["notice"].startswith("Research use only")
    for value in PATIENT.values():
        assert value.encode() not in table


def test_a_folder_is_chosen_and_dropped(page: Any, tmp_path: Path) -> None:
    inner = tmp_path / "study" / "series"
    inner.mkdir(parents=True)
    (inner / "chest.png").write_bytes(png())
    (tmp_path / "study" / "other").write_bytes(dicom())
    (tmp_path / "study" / ".hidden").write_bytes(b"x")
    page.set_input_files("#folder", str(tmp_path / "study"))
    settled(page, 2)
    assert sorted(page.locator("#list b").all_inner_texts()) == ["study/other", "study/series/chest.png"]
    page.click("#clear")
    page.wait_for_selector("body.alone")
    # A browser makes the entries of a real drop; their shape is all that the page knows of them.
    page.evaluate(
        """(bytes) => {
            const file = new File([Uint8Array.from(bytes)], "chest.png");
            const leaf = { isFile: true, name: "chest.png", file: (done) => done(file) };
            const folder = (name, held) => ({ isFile: false, name, createReader: () => {
                let given = false;
                return { readEntries: (done) => { done(given ? [] : held); given = true; } };
            } });
            const held = [folder("inner", [leaf]), { ...leaf, name: ".DS_Store" }];
            const item = { kind: "file", webkitGetAsEntry: () => folder("films", held) };
            const event = new Event("drop", { bubbles: true, cancelable: true });
            event.dataTransfer = { items: [item], files: [], types: ["Files"] };
            document.body.dispatchEvent(event);
        }""",
        list(png()),
    )
    settled(page, 1)
    assert page.locator("#list b").all_inner_texts() == ["films/inner/chest.png"]


def test_a_reload_loses_nothing(page: Any, browser: Any, url: str) -> None:
    upload(page, ("a.png", png()), ("x.txt", b"no image"))
    settled(page, 2)
    opened(page)
    slide(page, "#threshold", 0.31)
    before = areas(page)
    expect(page.locator("#kept")).to_contain_text("this browser tab alone")
    page.wait_for_function(KEPT + "all) => all.length === 2 && all.some((film) => film.threshold === 0.31))")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "predictions" in request.url else None)
    page.reload()
    settled(page, 2)
    opened(page)
    assert page.locator("#list b").all_inner_texts() == ["a.png", "x.txt"]
    expect(page.locator("#threshold-value")).to_have_text("0.31")
    assert areas(page) == before
    assert asked == []
    another = page.context.new_page()
    another.goto(url)
    another.wait_for_timeout(300)
    assert another.locator("#list li").count() == 0
    another.close()
    page.click("#clear")
    page.wait_for_function(KEPT + "all) => all.length === 0)")
    page.reload()
    page.wait_for_selector("body.alone")
    page.wait_for_timeout(300)
    assert page.locator("#list li").count() == 0


# The picture


def test_window_and_level_keep_more_than_eight_bits(page: Any) -> None:
    deep = draw_chest().astype(np.uint16) * 14 + 200
    upload(page, ("deep.dcm", dicom(deep, BitsStored=12, HighBit=11, WindowCenter=2500, WindowWidth=2001)))
    opened(page)
    expect(page.locator("#facts")).to_contain_text("12 bits")
    # In the file's own values, and it begins with the file's window.
    expect(page.locator("#level-value")).to_have_text("2500")
    expect(page.locator("#window-value")).to_have_text("2000")
    page.uncheck("#outline")
    lungs = canvas(page)[..., 0]
    assert (lungs[lungs.shape[0] // 2] == 0).mean() > 0.3  # the window leaves the lungs black
    # The lungs are near 1,040: a window so narrow that eight bits would show two shades inside it shows many.
    slide(page, "#window", 60)
    slide(page, "#level", 1040)
    assert len(np.unique(canvas(page)[..., 0])) > 8


def test_values_behind_a_sigmoid_are_the_files(page: Any) -> None:
    """It was 0 to 1 there, and behind a VOI LUT."""
    deep = draw_chest().astype(np.uint16) * 14 + 200
    given = {"WindowCenter": 2500, "WindowWidth": 2000, "VOILUTFunction": "SIGMOID"}
    upload(page, ("deep.dcm", dicom(deep, BitsStored=12, HighBit=11, **given)))
    opened(page)
    expect(page.locator("#level-value")).to_have_text("2500")
    expect(page.locator("#window-value")).to_have_text("2000")
    page.uncheck("#outline")
    page.click("#one")
    page.wait_for_function("() => document.getElementById('canvas').dataset.scale === '1.000'")
    shown = canvas(page)[..., 0]
    rows, columns = deep.shape
    top, left = (shown.shape[0] - rows) // 2, (shown.shape[1] - columns) // 2
    film = shown[top : top + rows, left : left + columns]
    expected = 255 / (1 + np.exp(-4 * (deep - 2500.0) / 2000))
    assert np.abs(film - expected)[2:-2, 2:-2].max() <= 2


def test_turn_flip_and_one_to_one(page: Any) -> None:
    chest = draw_chest()
    chest[:40, :40] = 255
    upload(page, ("chest.png", png(chest)))
    opened(page)
    page.uncheck("#outline")

    def corner() -> tuple[bool, bool]:
        """Whether the white corner lies (above, left)."""
        rendered(page)
        bright = canvas(page)[..., 0] > 245
        rows, columns = np.nonzero(bright)
        return bool(np.median(rows) < bright.shape[0] / 2), bool(np.median(columns) < bright.shape[1] / 2)

    assert corner() == (True, True)
    expect(page.locator("#mark-right")).to_have_text("R assumed")
    page.click("#flip")
    assert corner() == (True, False)
    assert "right" in page.locator("#mark-right").get_attribute("class")
    page.click("#flip")
    page.click("#turn")
    assert corner() == (True, False)
    assert "top" in page.locator("#mark-right").get_attribute("class")
    page.click("#one")
    page.wait_for_function("() => document.getElementById('canvas').dataset.scale === '1.000'")
    page.click("#full")
    page.wait_for_function("() => document.fullscreenElement?.id === 'view'")
    page.click("#full")
    page.wait_for_function("() => !document.fullscreenElement")


def drag(page: Any, start: tuple[float, float], end: tuple[float, float], element: str = "#canvas") -> None:
    """Between places of the canvas, as fractions of its sides."""
    box = page.locator(element).bounding_box()
    at = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in (start, end)]
    page.mouse.move(*at[0])
    page.mouse.down()
    page.mouse.move(*at[1], steps=6)
    page.mouse.up()
    rendered(page)


def test_the_ruler_measures(page: Any) -> None:
    upload(page, ("chest.dcm", dicom()))
    opened(page)
    page.check("#tools input[value=ruler]", force=True)
    drag(page, (0.4, 0.5), (0.6, 0.5))
    length = page.evaluate(
        """() => { const c = document.getElementById('canvas'); return 0.2 * c.width / Number(c.dataset.scale); }"""
    )
    page.keyboard.press("r")
    expect(page.locator("#no-ruler")).to_be_visible()
    page.wait_for_function(KEPT + "all) => all.length === 1)")
    rendered(page)
    assert (page.locator("#canvas").get_attribute("data-ruler") or "").startswith(f"{length * 1.5:.1f} mm")


def test_the_brush_corrects_the_mask(page: Any, model: Lungsight) -> None:
    upload(page, ("chest.dcm", dicom()))
    opened(page)
    before = areas(page)
    page.check("#tools input[value=remove]", force=True)
    drag(page, (0.42, 0.5), (0.42, 0.55))
    removed = areas(page)
    assert removed[0] < before[0] and removed[1] == before[1]
    expect(page.locator("#corrected")).to_have_text("Mask corrected by hand")
    expect(page.locator("#threshold")).to_be_disabled()
    page.check("#tools input[value=add]", force=True)
    drag(page, (0.58, 0.08), (0.6, 0.08))
    added = areas(page)
    assert added[1] > removed[1] and added[0] == removed[0]  # what is added belongs to the nearer lung
    name, mask = download(page, "#get-mask")
    assert name == "chest-mask-corrected.png" and b"corrected by hand" in mask
    values = cv2.imdecode(np.frombuffer(mask, np.uint8), cv2.IMREAD_UNCHANGED) > 0
    assert values.shape == (200, 160)
    assert values.sum() == pytest.approx(sum(added), rel=0.01)
    automatic = model(draw_chest()).mask
    assert (automatic & ~values).any() and (values & ~automatic).any()
    name, seg = download(page, "#get-seg")
    written = pydicom.dcmread(io.BytesIO(seg))
    assert name == "chest-seg-corrected.dcm" and np.array_equal(written.pixel_array.any(axis=0), values)
    assert {one.SegmentAlgorithmType for one in written.SegmentSequence} == {"SEMIAUTOMATIC"}
    assert not any(value.encode() in seg for value in PATIENT.values())
    _, figures = download(page, "#get-json")
    row = json.loads(figures)["predictions"][0]
    assert row["mask_corrected"] is True
    assert row["right_lung_px"] == pytest.approx(added[0], abs=1)
    page.click("#undo")
    assert areas(page) == removed
    page.wait_for_function(KEPT + "all) => all[0]?.edited && true)")
    page.reload()
    opened(page)
    assert areas(page) == removed and page.locator("#undo").count() == 0
    page.click("#automatic")
    assert areas(page) == before and page.locator("#corrected").count() == 0
    page.keyboard.press("u")
    assert areas(page) == removed


def test_two_films_side_by_side(page: Any) -> None:
    upload(page, ("a.png", png()), ("b.png", png(draw_chest(400, 320, seed=3))))
    settled(page, 2)
    opened(page)
    page.select_option("#compare", label="b.png")
    page.wait_for_function("() => document.getElementById('canvas-other')?.dataset.zoom === '1.00'")
    page.click("#zoom-in")
    page.wait_for_function("() => document.getElementById('canvas-other').dataset.zoom === '1.40'")
    drag(page, (0.5, 0.5), (0.6, 0.5), "#canvas-other")
    page.locator("#canvas-other").hover()
    page.mouse.wheel(0, -300)
    page.wait_for_function("() => document.getElementById('canvas').dataset.zoom > 2")
    page.select_option("#compare", label="nothing")
    page.wait_for_function("() => !document.getElementById('canvas-other')")


def test_what_is_on_the_screen_stays_whatever_else_is_read(page: Any) -> None:
    """The picture of two films was gone once a table or an archive had opened three others."""
    upload(page, *((f"{number}.png", png(draw_chest(seed=number))) for number in range(6)))
    settled(page, 6)
    opened(page)
    page.select_option("#compare", label="5.png")
    page.wait_for_function("() => document.getElementById('canvas-other')?.dataset.zoom === '1.00'")
    name, table = download(page, "#get-csv")
    assert name == "lungsight.csv" and table.count(b"\r\n") == 7
    rendered(page)
    expect(page.locator("#told")).to_contain_text("Lung areas")
    page.check("#tools input[value=window]", force=True)
    drag(page, (0.4, 0.4), (0.6, 0.4), "#canvas-other")  # told by the page's errors where the film is closed
    page.check("#tools input[value=remove]", force=True)
    drag(page, (0.4, 0.4), (0.6, 0.6), "#canvas-other")  # the brush is for the film that is described
    assert page.locator("#corrected").count() == 0
    name, picture = download(page, "#get-overlay")
    shown = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    size = page.locator(".pane canvas").evaluate_all("all => all.map((e) => [e.width, e.height])")
    assert shown.shape[1] == size[0][0] + size[1][0] + 2
    second = shown[60 : size[1][1], size[0][0] + 2 :]
    assert near(second[..., ::-1].astype(int), (230, 159, 0)).sum() > 100
    caption = page.locator(".caption").nth(1).bounding_box()
    tools = page.locator(".tools").bounding_box()
    assert caption["y"] + caption["height"] <= tools["y"]


def test_the_outline_is_as_wide_at_any_zoom(page: Any) -> None:
    upload(page, ("chest.png", png()))
    opened(page)
    slide(page, "#opacity", 0)

    def width() -> float:
        """Median length of runs of the left lung's colour along the rows."""
        hit = near(canvas(page), (230, 159, 0)).astype(int)
        edges = np.diff(np.pad(hit, ((0, 0), (1, 1))), axis=1)
        return float(np.median(np.nonzero(edges.ravel() == -1)[0] - np.nonzero(edges.ravel() == 1)[0]))

    near_ = width()
    for _ in range(5):
        page.click("#zoom-in")
    rendered(page)
    assert float(page.locator("#canvas").get_attribute("data-zoom")) > 5
    assert abs(width() - near_) <= 1


def test_severity_zones_and_heart_come_first(browser: Any) -> None:
    """With the networks that ship: what the page says and draws is what the model answers."""
    model = load_model(threads=1)
    with running(create_app(model)) as client:
        sample = client.get("/v1/sample").content
        told = model(sample).record
        assert told.severity is not None and told.cardiothoracic_ratio is not None
        page = browser.new_page(viewport={"width": 1300, "height": 900})
        page.goto(str(client.base_url))
        upload(page, ("chest.png", sample))
        opened(page)
        assert page.locator("#severity").inner_text() == f"Severity {told.severity:.1f} of 18"
        assert f"{told.cardiothoracic_ratio:.2f}" in page.locator("#ratio").inner_text()
        assert "view is not known" in page.locator("#ratio").inner_text()
        assert "radiologist" in page.locator("#summary").inner_text()
        boxes = [
            page.locator(one).bounding_box()["y"] for one in ("#severity", "#ratio", "#verdict", "#worth")
        ]
        assert boxes == sorted(boxes)
        for width in (1440, 1150, 1024, 761, 390):  # no figure without its interval, and none under another
            page.set_viewport_size({"width": width, "height": 900})
            rendered(page)
            for limit in page.locator("#summary .soft").all():
                assert limit.is_visible(), (width, limit.text_content())
            assert page.locator("#summary").evaluate("e => e.scrollWidth <= e.clientWidth")
        page.set_viewport_size({"width": 1300, "height": 900})
        rendered(page)
        cells = page.locator("#zones-table td:nth-child(2)").all_inner_texts()
        assert cells == [f"{score:.1f}" for score in told.severity_zones]
        # Redder where a zone is shaded, yellow along the heart's width; gone with their switches.
        slide(page, "#opacity", 0)
        shown = seen(page)
        page.uncheck("#widths")
        assert near(seen(page), (255, 216, 77)).sum() < near(shown, (255, 216, 77)).sum() / 4
        page.uncheck("#zones")
        plain = seen(page)
        redder = (shown[..., 0] - shown[..., 1]) - (plain[..., 0] - plain[..., 1])
        assert (redder > 4).mean() > 0.03
        page.close()


# Words


def test_figures_are_rounded_as_python_rounds_them(page: Any) -> None:
    """The browser's own `toFixed` makes 3.3 of 3.25, where tables and terminal say 3.2."""
    rng = np.random.default_rng(8)
    values = [3.25, 0.75, 8.25, 0.125, 0.375, 2.5, 0.5, 1.5, 1.005, 0.35, 0.0, 17.95, *rng.random(200) * 18]
    found = page.evaluate(
        """async (values) => {
            const { fixed } = await import("/static/numbers.js");
            return values.map((value) => [0, 1, 2].map((digits) => fixed(value, digits)));
        }""",
        values,
    )
    assert found == [[f"{value:.{digits}f}" for digits in range(3)] for value in values]


def test_what_the_score_is_worth(browser: Any, tmp_path: Path) -> None:
    networks = write_bundle(tmp_path)
    given = {"auroc": {"value": 0.62, "low": 0.52, "high": 0.73}}
    bundle = load_model(networks).bundle
    assert bundle.diagnosis is not None
    save(networks, diagnosis_card(metrics=given), bundle.diagnosis.onnx)
    with running(create_app(load_model(networks, threads=1))) as client:
        page = browser.new_page()
        page.goto(str(client.base_url))
        upload(page, ("a.png", png()))
        opened(page)
        assert "AUROC of 0.62 (0.52 to 0.73)" in page.locator("#worth").inner_text()
        page.close()


def test_the_file_is_described_without_its_patient(page: Any) -> None:
    upload(page, ("a.dcm", dicom(ViewPosition="PA", PatientOrientation=["R", "F"])))
    opened(page)
    expect(page.locator("#mark-right")).to_have_text("R")
    assert "right" in page.locator("#mark-right").get_attribute("class")
    facts = page.locator("#facts").inner_text()
    assert "DICOM, 8 bits" in facts and "160 × 200" in facts and "PA" in facts and "2.000 × 1.500 mm" in facts
    whole = page.content()
    for value in PATIENT.values():
        assert not any(piece in whole for piece in value.split("^"))


def test_single_keys_can_be_turned_off(page: Any) -> None:
    upload(page, ("chest.png", png()))
    opened(page)
    page.click("#keys-hint")
    page.uncheck("#keys")
    page.keyboard.press("h")
    rendered(page)
    assert not page.locator("#heat").is_checked()
    page.wait_for_function(KEPT + "all) => all[0]?.state === 'done')")
    page.reload()
    opened(page)
    page.keyboard.press("h")
    rendered(page)
    assert not page.locator("#heat").is_checked()
    page.click("#keys-hint")
    page.check("#keys")
    page.keyboard.press("h")
    expect(page.locator("#heat")).to_be_checked()


def test_the_print_is_a_report(page: Any) -> None:
    upload(page, ("chest.png", png()))
    opened(page)
    page.emulate_media(media="print")
    for hidden in ("#files", "#controls", ".tools", ".downloads"):
        assert page.locator(hidden).is_hidden(), hidden
    for shown in (
        "#notice",
        "#canvas",
        "#severity",
        "#ratio",
        "#zones-table",
        "#verdict",
        "#worth",
        "#warnings",
        "#areas",
        ".print-only",
    ):
        assert page.locator(shown).is_visible(), shown
    assert page.locator("#canvas").bounding_box()["height"] > 200
    # Nothing is drawn anew for paper, which has another shape than the screen: the film must not be stretched to it.
    assert page.locator("#canvas").evaluate("e => getComputedStyle(e).objectFit") == "contain"
    back = "() => getComputedStyle(document.querySelector('.axis')).backgroundColor"
    light = page.evaluate(back)
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(back) == light
    # Paper is as wide as a tablet, and what limits a figure is printed beside it.
    page.set_viewport_size({"width": 794, "height": 1123})
    for limit in page.locator("#summary .soft").all():
        assert limit.is_visible(), limit.text_content()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 390)])
def test_axe_finds_nothing(browser: Any, url: str, scheme: str, width: int) -> None:
    """The rules of axe-core, from a package that brings the file along."""
    package = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    axe = Path(package.__file__).parent / "axe.min.js"
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(url)
    for step in range(3):
        if step == 1:
            upload(
                page,
                ("a.png", png()),
                ("b.png", png(np.full((80, 80), 20, np.uint8))),
                ("c", b"no image"),
            )
            settled(page, 3)
            opened(page)
            page.check("#heat")
        if step == 2:
            page.locator("#list .film").nth(1).click()
            page.wait_for_selector("#ask-mask")
        page.evaluate(axe.read_text("utf-8"))
        found = page.evaluate(
            "axe.run().then((r) => r.violations.map((v) => [v.id, v.nodes.map((n) => n.html)]))"
        )
        assert found == []
    page.close()
