"""The README's picture of the page: a drawn sample in headless Chromium, with the networks that ship.

    python benchmarks/page_figure.py docs/images/page.png

Needs the serve extra, Playwright, Pillow and a Chromium on the path.
"""

from __future__ import annotations

import argparse
import io
import shutil
import threading
import time
from pathlib import Path

import uvicorn
from PIL import Image
from playwright.sync_api import sync_playwright

from lungsight.inference import load_model
from lungsight.server.app import create_app


def main() -> None:
    """Start a server, open the page, try the sample, take the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", type=Path, help="folder of networks; default: those that ship")
    parser.add_argument("--heat", action="store_true", help="show what moved the score")
    parser.add_argument("--scheme", choices=("light", "dark"), default="light")
    parser.add_argument("--width", type=int, default=1400, help="below 760 the page is that of a phone")
    arguments = parser.parse_args()
    server = uvicorn.Server(
        uvicorn.Config(create_app(load_model(arguments.model)), port=0, log_level="warning")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    with sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        height = 900 if arguments.width > 760 else 2400
        page = browser.new_page(
            viewport={"width": arguments.width, "height": height}, color_scheme=arguments.scheme
        )
        page.goto(f"http://127.0.0.1:{port}")
        page.click("#sample")
        page.wait_for_selector("#verdict", timeout=120_000)
        if arguments.heat:
            page.check("#heat")
        page.wait_for_timeout(1000)
        picture = page.screenshot()
        browser.close()
    server.should_exit = True
    thread.join()
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    image.save(arguments.out, optimize=True)


if __name__ == "__main__":
    main()
