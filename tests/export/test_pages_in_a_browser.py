"""The exported page and the report in a real browser, from the disk: drawn, turned, wiped, and nothing fetched."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from na_ray.export.actor_page import actor_page
from na_ray.pictures.png import write_png
from na_ray.report.page import write_report
from na_ray.report.record import RunRecord, StageRecord

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
LOCAL = ("file:", "data:", "blob:", "about:")
PATIENCE = 120_000
"""Milliseconds: machines without a GPU draw slowly."""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(PROGRAM is None, reason="no Chromium on the PATH: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        started = play.chromium.launch(executable_path=PROGRAM, args=OPTIONS)
        yield started
        started.close()


def opened(browser: "Browser", path: Path) -> "tuple[Page, list[str]]":
    """The page of a file, and whatever it complains of or fetches."""
    page, said = browser.new_page(viewport={"width": 240, "height": 200}), list[str]()
    page.set_default_timeout(PATIENCE)
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on(
        "request", lambda r: said.append(r.url) if not r.url.startswith(("file:", "data:", "blob:", "about:")) else None
    )
    page.goto(path.as_uri())
    return page, said


def picture(page: "Page") -> np.ndarray:
    shot = page.screenshot(timeout=PATIENCE, clip={"x": 60, "y": 60, "width": 120, "height": 80})
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)


def test_the_page_of_an_actor_turns(browser: "Browser", actor: Path, tmp_path: Path) -> None:
    page_text = actor_page(actor)
    assert page_text is not None
    (tmp_path / "a.html").write_text(page_text, encoding="utf-8")
    page, said = opened(browser, tmp_path / "a.html")
    page.wait_for_selector("body[data-ready=yes]", state="attached")
    page.evaluate("naRay.playing = false; document.getElementById('turn').checked = false")
    page.wait_for_timeout(500)
    first = picture(page)
    assert (np.abs(first - 255).sum(2) > 60).mean() > 0.01, "somebody is there"
    page.mouse.move(120, 100)
    page.mouse.down()
    page.mouse.move(60, 70)
    page.mouse.up()
    page.wait_for_timeout(500)
    assert (np.abs(picture(page) - first).sum(2) > 30).mean() > 0.005, "a drag turns it"
    assert said == []
    page.close()


def test_the_report_wipes(browser: "Browser", tmp_path: Path) -> None:
    pair = np.zeros((40, 80, 3), np.uint8)
    pair[:, :40] = 200
    write_png(tmp_path / "pair.png", pair)
    stage = StageRecord("splats", {"loss": [(1, 1.0), (2, 0.5)]}, 1.0, {}, [tmp_path / "pair.png"], {})
    write_report(tmp_path / "r.html", [RunRecord("anna", tmp_path, {}, [stage])], "anna", lambda _: None)
    page, said = opened(browser, tmp_path / "r.html")
    page.evaluate("const i = document.querySelector('.wipe input'); i.value = 25; i.dispatchEvent(new Event('input'))")
    assert page.evaluate("document.querySelector('.wipe .top').style.width") == "25%"
    assert page.evaluate("document.querySelectorAll('svg polyline').length") == 1 and said == []
    page.close()
