"""MLflow's pages as docs/mlflow.md walks through them ("Compare in MLflow"), and the pictures taken on the way."""

import io
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

SHOTS = ("runs", "compare", "sweep", "sweep-compare", "film")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
KNOBS = ("nerf.samples_per_ray", "optim.lr")
SCORE = "validation/psnr"
# Pixels of the window, milliseconds that a page may take, bytes of a picture.
WIDTH, HEIGHT, PATIENCE, LARGEST = 1240, 1500, 60_000, 120_000


class Guide:
    """Walks through MLflow as docs/mlflow.md says, notes every label that it met, and takes the pictures."""

    def __init__(self, page: "Page", folder: Path) -> None:
        self.page, self.folder = page, folder
        self.met: set[str] = set()
        self.last = "open the page"

    def find(self, label: str, within: "Locator | None" = None) -> "Locator":
        """What is written so on the page, once it is there."""
        self.last = f"find {label!r}"
        found = (within or self.page.locator("body")).get_by_text(label, exact=True).filter(visible=True).first
        found.wait_for()
        self.met.add(label)
        return found

    def press(self, label: str, within: "Locator | None" = None) -> None:
        """Click on what is written so."""
        self.find(label, within).click()

    def row(self, run: str) -> str:
        """Where the row of a run is, as a selector: the table's halves share its id."""
        found = self.find(run, self.page.locator(".ag-row")).locator("xpath=ancestor::*[@row-id]")
        return f".ag-row[row-id='{found.get_attribute('row-id')}']"

    def cell(self, run: str, column: str) -> str:
        """What stands in a run's row below a column's head."""
        found = self.page.locator(f"{self.row(run)} [col-id$='`{column}`']")
        self.last = f"read {column} of {run}"
        return found.first.inner_text()

    def place(self, run: str) -> int:
        """How many rows stand above a run's."""
        return int(self.page.locator(self.row(run)).first.get_attribute("row-index") or 0)

    def tick(self, run: str) -> None:
        """Tick a run in the list."""
        self.page.locator(f"{self.row(run)} input[type=checkbox]").first.click()

    def shoot(self, name: str, last: "Locator", margin: float = 24) -> None:
        """A picture of the page down to the end of the lowest of these elements."""
        self.page.mouse.move(0, 0)  # no tooltip
        self.page.wait_for_timeout(1500)  # transitions
        boxes = [box for element in last.filter(visible=True).all() if (box := element.bounding_box())]
        bottom = max(box["y"] + box["height"] for box in boxes) + margin
        shrink(
            self.page.screenshot(clip={"x": 0, "y": 0, "width": WIDTH, "height": bottom}),
            self.folder / f"mlflow-{name}.png",
        )


def shrink(picture: bytes, path: Path) -> None:
    """Write a screenshot with as many colors as its size allows. Raises ValueError if it stays too large."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    for colors in (256, 128, 64, 32):
        image.quantize(colors, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size <= LARGEST:
            return
    raise ValueError(f"{path.name} has {path.stat().st_size} bytes: at most {LARGEST}")


def walk(guide: Guide, url: str) -> None:
    """The whole section, from the first page to the film."""
    page = guide.page
    page.goto(url)
    page.get_by_role("button", name="Close", exact=True).click()  # the assistant, and a note on telemetry
    page.get_by_role("button", name="Close alert").click()
    guide.press("Model training")
    guide.press("demo")
    runs = page.url
    compare_two(guide)
    page.goto(runs)
    film(guide)
    page.goto(runs)
    compare_trials(guide)


def columns(guide: Guide) -> None:
    """Show the score and the knobs, hide the columns that hold nothing."""
    page = guide.page
    guide.press("Columns")
    tree = page.get_by_test_id("column-selector-tree")
    for name in (SCORE, *KNOBS, "Dataset", "Source", "Models"):
        page.get_by_placeholder("Search columns").fill(name)
        guide.press(name, tree)
    page.keyboard.press("Escape")
    for name in (SCORE, *KNOBS):  # as wide as their names
        head = guide.find(name, page.locator(".ag-header")).locator("xpath=ancestor::*[@col-id]")
        head.locator(".ag-header-cell-resize").dblclick()


def compare_two(guide: Guide) -> None:
    """Two trainings in the list, and side by side."""
    page = guide.page
    guide.row("coarse")
    columns(guide)
    for run, knobs in (("coarse", ("8", "0.0005")), ("fine", ("24", "0.003"))):
        found = tuple(guide.cell(run, name) for name in KNOBS)
        if found != knobs or float(guide.cell(run, SCORE)) < 10:
            raise RuntimeError(f"the row of {run} shows {found} for {KNOBS}, not {knobs}, or no PSNR")
        guide.tick(run)
    guide.find("Compare")
    guide.shoot("runs", page.locator(".ag-row"))
    guide.press("Compare")
    guide.find("Comparing 2 Runs from 1 Experiment")
    for name in (*KNOBS, SCORE):
        guide.find(name, page.locator(".js-plotly-plot"))
    guide.press("Run details")  # fold them
    guide.press("Show diff only")
    guide.shoot("compare", page.get_by_text(SCORE, exact=True))


def compare_trials(guide: Guide) -> None:
    """The trials of a sweep, sorted, and all of them as lines."""
    page = guide.page
    search, trials = "tags.trial != ''", [f"trial {i:03d}" for i in range(6)]
    guide.find("demo-sweep")
    page.get_by_placeholder("metrics.rmse").fill(search)
    page.keyboard.press("Enter")
    guide.met.add(search)
    guide.press(SCORE, page.locator(".ag-header"))
    guide.find(f"Sort: {SCORE}")
    scores = {trial: float(guide.cell(trial, SCORE)) for trial in trials}
    order = sorted(trials, key=guide.place)
    if order != sorted(trials, key=lambda trial: -scores[trial]):
        raise RuntimeError(f"a click on the head of {SCORE} does not sort the trials: {order} have {scores}")
    guide.shoot("sweep", page.locator(".ag-row"))
    guide.last = "tick the box in the table's head"
    page.locator(".ag-header input[type=checkbox]").filter(visible=True).first.click()
    guide.press("Compare")
    guide.find("Comparing 6 Runs from 1 Experiment")
    guide.find("Metrics:").locator("xpath=following::*[@role='combobox'][1]").click()
    page.keyboard.press("Backspace")  # what MLflow has chosen
    page.keyboard.type(SCORE)
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    for name in (*KNOBS, SCORE):
        guide.find(name, page.locator(".js-plotly-plot"))
    guide.shoot("sweep-compare", page.locator(".js-plotly-plot"))


def film(guide: Guide) -> None:
    """The film of a run, playing."""
    page = guide.page
    page.locator(f"{guide.row('fine')} button").first.click()
    guide.press("nerf", page.locator(".ag-row"))
    for label in ("Artifacts", "film", "side_by_side.mp4"):
        guide.press(label)
    guide.last = "play the film"
    page.locator("video").evaluate("v => { v.loop = v.muted = true; return v.play() }")
    page.wait_for_function("document.querySelector('video').currentTime > 0.2")
    path = page.get_by_text("Path:").first  # a folder of this machine
    path.evaluate("e => e.parentElement.style.visibility = 'hidden'")
    page.wait_for_timeout(4000)  # until the controls fade
    guide.find("report")
    guide.shoot("film", guide.find("validation"))


def photograph(url: str, folder: Path) -> set[str]:
    """Take all pictures into the folder. Returns every label that was met on the way."""
    from playwright.sync_api import Error, sync_playwright

    browser = next(filter(None, map(shutil.which, BROWSERS)))
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser)
        page = chromium.new_page(viewport={"width": WIDTH, "height": HEIGHT}, reduced_motion="reduce")
        page.set_default_timeout(PATIENCE)
        page.route(re.compile(r"https?://(?!127\.0\.0\.1[:/])"), lambda route: route.abort())
        guide = Guide(page, folder)
        try:
            walk(guide, url)
        except Error as error:
            page.screenshot(path=folder / "failed.png")
            reason = str(error).splitlines()[0]
            message = f"docs/mlflow.md does not hold: to {guide.last} failed ({reason}); see {folder}/failed.png"
            raise RuntimeError(message) from error
        finally:
            chromium.close()
    return guide.met
