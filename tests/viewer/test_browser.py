"""The viewer in a real browser, as a user meets it: na-ray view, a page, controls, a drag, and the end."""

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from na_ray.capture.dataset import Capture
from na_ray.capture.trajectory import from_file

if TYPE_CHECKING:
    from playwright.sync_api import Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
OPTIONS = (
    *("--no-sandbox", "--no-first-run", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
)
WINDOW = {"width": 900, "height": 320}
FIGURE = {"x": 320.0, "y": 10.0, "width": 230.0, "height": 300.0}
"""Where no control is."""
OF_VISER = "BufferGeometry.computeBoundingSphere(): Computed radius is NaN"
"""What viser's page says of its own square, whose corners have two coordinates, when it first draws splats."""
PATIENCE = 120.0
"""Seconds after which a picture that does not come is a failure: machines without a GPU draw slowly."""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium on the PATH: apt-get install chromium"),
]


class Server:
    """A running `na-ray view`."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        words = [sys.executable, "-c", "from na_ray.cli.main import main; main()", "view", *map(str, arguments)]
        self.process = subprocess.Popen(
            [*words, "--port", "0"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self.process.stdout is not None
        self.said: list[str] = []
        for line in self.process.stdout:
            self.said.append(line.strip())
            if line.startswith("http://"):
                break
        else:
            pytest.fail("\n".join(self.said))
        self.url = self.said[-1].split()[0]
        self.port = int(self.url.rpartition(":")[2])

    def end(self) -> tuple[int, str]:
        """(exit code, what it said last)."""
        self.process.send_signal(signal.SIGTERM)
        said, _ = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, said


@pytest.fixture
def server(actor_folder: Path, capture: Capture, tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path, actor_folder, "--capture", capture.path, "--textures", "mean")
    yield running
    running.process.kill()
    running.process.communicate()


@pytest.fixture
def page() -> Iterator["Page"]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=BROWSER, args=list(OPTIONS))
        opened = chromium.new_page(viewport=WINDOW, reduced_motion="reduce")
        opened.set_default_timeout(PATIENCE * 1000)
        yield opened
        chromium.close()


def picture(page: "Page") -> np.ndarray:
    shot = Image.open(io.BytesIO(page.screenshot(clip=FIGURE)))  # type: ignore[arg-type]
    if os.environ.get("NA_RAY_SHOTS"):  # a folder, to look at them
        shot.save(Path(os.environ["NA_RAY_SHOTS"]) / f"{time.time():.2f}.png")
    return np.asarray(shot.convert("RGB")).astype(int)


def until(page: "Page", true: Callable[[np.ndarray], bool], what: str) -> np.ndarray:
    """The first picture of which it is true."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        shot = picture(page)
        if true(shot):
            return shot
        page.wait_for_timeout(100)
    return pytest.fail(f"no picture in which {what}")


def figure_in(shot: np.ndarray) -> float:
    """Share of the picture that is no background."""
    return float((np.abs(shot - 255).max(axis=2) > 8).mean())


def changed(before: np.ndarray) -> Callable[[np.ndarray], bool]:
    return lambda shot: bool((np.abs(shot - before).max(axis=2) > 24).mean() > 0.01 and figure_in(shot) > 0.02)


def choose(page: "Page", label: str, value: str) -> None:
    """Choose in the dropdown beside a label."""
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=value, exact=True).click()


def test_an_actor_in_the_browser(server: Server, page: "Page", tmp_path: Path) -> None:
    faults: list[str] = []
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" and OF_VISER not in m.text else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("requestfailed", lambda request: faults.append(request.url))
    page.goto(server.url)
    first = until(page, lambda shot: figure_in(shot) > 0.02, "something is drawn")

    middle = (FIGURE["x"] + FIGURE["width"] / 2, FIGURE["y"] + FIGURE["height"] / 2)
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 90, middle[1] - 20, steps=4)
    page.mouse.up()
    turned = until(page, changed(first), "a drag has turned the figure")

    page.get_by_label("play").check()
    page.get_by_text("poses/s").wait_for()
    page.get_by_label("play").uncheck()

    for avatar, view in (("nerf", "color"), ("mesh", "color"), ("splats", "normals")):
        choose(page, "avatar", avatar)
        choose(page, "show", view)
        turned = until(page, changed(turned), f"{avatar} shows {view}")

    choose(page, "show", "color")
    page.get_by_text("Camera path").click()
    page.get_by_role("button", name="add key frame").click()
    page.get_by_role("button", name="save").click()
    page.get_by_text("na-ray animate").wait_for()
    assert len(from_file(tmp_path / "path.json")) == 6
    assert not faults

    page.get_by_label("play").check()
    page.get_by_text("poses/s").wait_for()
    page.close()  # in mid-play
    code, said = server.end()
    assert (code, said.strip()) == (0, "ended")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", server.port))
