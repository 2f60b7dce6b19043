"""The page in a real headless Chromium: upload, sliders, downloads, keys, errors, token. Skips where there is none."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pydicom
import pytest

from lungsight.inference import Lungsight, load_model
from lungsight.server.app import create_app
from lungsight.server.settings import MIB, Settings
from server_process import PATIENT, dicom, png, running
from tiny_networks import draw_chest, write_bundle

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

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
    opened.set_default_timeout(30_000)
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
    page.wait_for_function("() => document.getElementById('canvas').dataset.zoom")


def areas(page: Any) -> list[int]:
    cells = page.locator("#areas td").all_inner_texts()
    return [int(cell.split(" px")[0].replace(",", "")) for cell in cells]


def slide(page: Any, name: str, value: float) -> None:
    page.locator(name).evaluate(
        "(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }", value
    )
    page.wait_for_timeout(100)


def seen(page: Any) -> np.ndarray:
    """The canvas as a person sees it, (H, W, 3) RGB."""
    page.wait_for_timeout(100)
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
    assert page.locator("#view").is_hidden()
    page.click("#sample")
    opened(page)
    assert "Drawn sample" in page.locator("#list").inner_text()
    page.mouse.wheel(0, 3000)
    assert page.locator("#notice").evaluate("e => e.getBoundingClientRect().top") >= 0


def test_upload_shows_lungs_score_and_doubts(page: Any, model: Lungsight) -> None:
    upload(page, ("chest.png", png()))
    opened(page)
    result = model(draw_chest())
    assert areas(page) == pytest.approx(result.areas, rel=0.01)
    words = page.locator("#told").inner_text()
    expected = {
        "covid": "More like the COVID-19",
        "not_covid": "without COVID-19",
        "uncertain": "Cannot tell",
    }
    assert expected[result.decision] in page.locator("#verdict").inner_text()
    assert f"{result.probability:.2f}" in words and "95 %" in words
    assert "cannot tell" in page.locator(".scale").inner_text()
    zone = page.locator(".zone").evaluate("e => [parseFloat(e.style.left), parseFloat(e.style.width)]")
    assert zone == pytest.approx([45, 10])
    for flag in result.flags:
        assert flag in page.locator("#warnings").inner_text().lower()
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
        assert page.locator("#threshold-value").inner_text() == f"{threshold:.2f}"
    page.click("#paper")
    assert page.locator("#threshold").input_value() == "0.2"
    page.click("#own")
    assert page.locator("#threshold").input_value() == "0.5"
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
    slide(page, "#level", 220)
    assert seen(page).mean() > bare.mean() + 20
    page.click("#reset")
    assert page.locator("#level").input_value() == "128" and page.locator("#outline").is_checked()


def test_the_heat_map_and_its_share(page: Any, url: str) -> None:
    upload(page, ("chest.png", png()))
    opened(page)
    page.check("#heat")
    told = httpx.post(f"{url}/v1/predictions?include=evidence", files={"files": png()}).json()["predictions"][
        0
    ]
    share = told["evidence"]["share_inside_lungs"]
    assert (
        f"{round(100 * share)} % of what moved it lies inside the lungs"
        in page.locator("#heat-words").inner_text()
    )
    picture = seen(page)
    greenish = (picture[..., 1] > picture[..., 0] + 25) & (picture[..., 1] > picture[..., 2] + 25)
    pinkish = (picture[..., 0] > picture[..., 1] + 25) & (picture[..., 2] > picture[..., 1] + 25)
    assert (greenish | pinkish).mean() > 0.05


def test_downloads(page: Any, model: Lungsight) -> None:
    data = dicom()
    upload(page, ("chest.dcm", data))
    opened(page)
    assert "cm²" in page.locator("#areas").inner_text()
    slide(page, "#threshold", 0.2)
    name, mask = download(page, "#get-mask")
    assert name == "chest-mask.png"
    expected = Lungsight(model.bundle, threads=1, mask_threshold=0.2)(data).mask
    assert np.array_equal(cv2.imdecode(np.frombuffer(mask, np.uint8), cv2.IMREAD_UNCHANGED) > 0, expected)
    name, picture = download(page, "#get-overlay")
    shown = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    assert name == "chest-overlay.png"
    assert shown.shape == (224, 160, 3)  # with the notice below
    assert near(shown[..., ::-1].astype(int), (255, 216, 77))[200:].mean() > 0.5
    name, seg = download(page, "#get-seg")
    assert len(pydicom.dcmread(io.BytesIO(seg)).SegmentSequence) == 2
    name, figures = download(page, "#get-json")
    told = json.loads(figures)
    assert told["notice"].startswith("Research use only") and told["image"]["format"] == "DICOM"
    assert "png" not in figures.decode()
    for value in PATIENT.values():
        assert value.encode() not in mask + picture + seg + figures


def test_many_files_by_keyboard(page: Any) -> None:
    files = [(f"chest {number}.png", png(draw_chest(seed=number))) for number in range(3)]
    upload(page, *files, ("notes.txt", b"not an image"))
    page.wait_for_function("() => document.querySelectorAll('#list small').length === 4")
    page.wait_for_function(
        "() => ![...document.querySelectorAll('#list small')].some((e) => /work|wait/.test(e.textContent))"
    )
    current = page.locator("#list button[aria-current=true] b")
    assert current.inner_text() == "chest 0.png"
    page.keyboard.press("j")
    assert current.inner_text() == "chest 1.png"
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert current.inner_text() == "notes.txt"
    assert "text file" in page.locator("#failure").inner_text()
    assert page.locator("#view").is_hidden()
    page.keyboard.press("k")
    assert current.inner_text() == "chest 2.png"
    page.wait_for_timeout(100)
    page.keyboard.press("+")
    page.wait_for_function("() => document.getElementById('canvas').dataset.zoom > 1.3")
    before = seen(page)
    page.focus("#canvas")
    page.keyboard.press("ArrowRight")
    assert np.abs(seen(page) - before).mean() > 1
    page.keyboard.press("0")
    page.wait_for_function("() => document.getElementById('canvas').dataset.zoom === '1.00'")
    page.keyboard.press("]")
    assert float(page.locator("#threshold").input_value()) == pytest.approx(0.55)
    page.keyboard.press("h")
    assert page.locator("#heat").is_checked()
    page.keyboard.press("o")
    assert not page.locator("#outline").is_checked()
    thumbnails = page.locator("#list canvas").evaluate_all(
        "all => all.map((e) => e.getContext('2d').getImageData(0, 0, 104, 104).data.filter((_, i) => i % 4 === 0))"
        ".map((reds) => Math.max(...reds))"
    )
    assert all(brightest > 100 for brightest in thumbnails[:3])


def test_everything_is_reached_by_tab(page: Any) -> None:
    upload(page, ("chest.png", png()))
    opened(page)
    reached = set()
    page.locator("body").click(position={"x": 2, "y": 500})
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id"))
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
    assert "1 MiB" in page.locator("#failure").inner_text()
    upload(page, ("<img src=x onerror=alert(1)>.png", b"<html>"))
    page.wait_for_function("() => document.querySelectorAll('#list .failed').length === 2")
    assert page.locator("#list img").count() == 0
    assert "<img src=x onerror=alert(1)>.png" in page.locator("#list").inner_text()
    upload(page, ("blank.png", png(np.full((80, 80), 20, np.uint8))))
    page.wait_for_function("() => document.querySelectorAll('#list li').length === 3")
    page.locator("#list button").nth(2).click()
    opened(page)
    assert page.locator("#verdict").inner_text() == "Not scored"
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
    assert "dropped.png" in page.locator("#list").inner_text()
    assert page.locator("#drop").is_hidden()


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
    page.mouse.move(middle[0] + 180, middle[1] + 40, steps=4)
    page.mouse.up()
    page.keyboard.up("Shift")
    assert float(page.locator("#window").input_value()) > 256


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
        for token in ("wrong-horse", "correct-horse"):
            page.wait_for_selector("#ask[open]")
            page.fill("#token", token)
            page.keyboard.press("Enter")
        opened(page)
        page.close()


def test_a_server_that_is_gone(browser: Any, model: Lungsight) -> None:
    with running(create_app(model)) as client:
        page = browser.new_page()
        page.goto(str(client.base_url))
    upload(page, ("a.png", png()))
    page.wait_for_selector("#message:not([hidden])")
    assert "cannot be reached" in page.locator("#message").inner_text()
    page.close()
