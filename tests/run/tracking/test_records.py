"""Runs on disk as a report sees them, and the page itself."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from na_ray.checkpoint import write_json
from na_ray.config import Experiment, override
from na_ray.config.files import to_json
from na_ray.config.values import UserError
from na_ray.pictures.png import write_png
from na_ray.report.chart import chart
from na_ray.report.page import write_report
from na_ray.run.tracking.records import read_run, read_runs, write_page


def line(step: int, time: float, pictures: str = "", **metrics: float) -> str:
    found: dict[str, Any] = {"step": step, "metrics": metrics, "time": time}
    return json.dumps(found | ({"pictures": pictures} if pictures else {})) + "\n"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that was killed behind step 3 and went on a day later from step 2."""
    root = tmp_path / "anna"
    (root / "nerf").mkdir(parents=True)
    write_json(root / "experiment.json", to_json(Experiment(name="anna")))
    lines = [line(s, 100.0 + s, loss=1.0 / s, psnr=20.0 + s) for s in (1, 2, 3)]
    lines += [line(s, 90_000.0 + s, loss=0.5 / s, psnr=30.0 + s) for s in (3, 4)]
    lines.append(line(4, 90_005.0, "nerf/validation/step_000004", **{"validation/psnr": 25.5}))
    (root / "nerf" / "metrics.jsonl").write_text("".join(lines))
    pair = np.zeros((8, 20, 3), np.uint8)
    pair[:, :10] = 200
    write_png(root / "nerf" / "validation" / "step_000004" / "frame_000000_view_000.png", pair)
    return root


def test_steps_that_were_done_twice_count_once_and_pauses_do_not(run: Path) -> None:
    (stage,) = read_run(run).stages
    assert stage.name == "nerf" and stage.curves["loss"] == [(1, 1.0), (2, 0.5), (3, 0.5 / 3), (4, 0.125)]
    assert stage.curves["validation/psnr"] == [(4, 25.5)]
    assert stage.seconds == pytest.approx(2 + 1 + 1)
    assert [path.name for path in stage.pictures] == ["frame_000000_view_000.png"]


def test_two_runs_stand_side_by_side(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "ben"
    (other / "nerf").mkdir(parents=True)
    write_json(other / "experiment.json", to_json(override(Experiment(name="ben<"), {"optim.lr": 0.123})))
    (other / "nerf" / "metrics.jsonl").write_text(line(1, 1.0, loss=3.0) + line(9, 9.0, loss=2.0))
    size = write_page(tmp_path / "out.html", [run, other])
    page = (tmp_path / "out.html").read_text()
    assert size == len(page.encode()) and "ben&lt;</td>" in page
    assert "<td>optim.lr</td>" in page and "0.123" in page and "<td>name</td>" not in page
    assert page.count("<svg") == 2 and page.count("<polyline") == 3, "loss of both, psnr of one"
    assert page.count('class="wipe"') == 1 and "25.50" in page


def test_a_chart_keeps_its_shape() -> None:
    svg = chart("loss", {"a": [(0, 1.0), (50, 10.0), (100, 100.0)], "b": [(100, 31.6)]}, {"a": "red", "b": "blue"})
    points = svg.partition('points="')[2].partition('"')[0].split()
    (x0, y0), (x1, y1), (x2, y2) = (tuple(map(float, p.split(","))) for p in points)
    assert "(log)" in svg and x1 - x0 == pytest.approx(x2 - x1, abs=0.2) and y0 - y1 == pytest.approx(y1 - y2, abs=0.2)
    assert "<circle" in svg and chart("none", {"a": [(1, float("nan"))]}, {"a": "red"}) == ""
    many = chart("loss", {"a": [(i, float(i % 7)) for i in range(100_000)]}, {"a": "red"})
    assert len(many) < 12_000


def test_what_is_no_run_is_one_line(tmp_path: Path, run: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere is no run: experiment\.json is missing; give runs/NAME"):
        read_runs(tmp_path / "nowhere")
    write_report(tmp_path / "a.html", read_runs(run), "a", lambda _: "<p>turn</p>")
    assert "srcdoc" not in (tmp_path / "a.html").read_text(), "it has no actor"
