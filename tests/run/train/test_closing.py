"""The end of a stage: what an interrupted one has done is not repeated, and Ray finds what one process does."""

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow.tracking import MlflowClient

from na_ray.capture.dataset import Capture
from na_ray.checkpoints import Checkpoints
from na_ray.config import Experiment, override
from na_ray.motion.textures import MeanTexture
from na_ray.pictures.png import read_png
from na_ray.run.crew import Crew, ThisProcess
from na_ray.run.tracking import runs
from na_ray.run.tracking.runs import Tracker
from na_ray.run.train import closing, driver
from na_ray.run.train.avatar import report as avatar_report
from na_ray.run.train.closing import Closing, closing_hands
from na_ray.run.train.driver import train
from na_ray.run.train.texture import report as texture_report


@pytest.fixture
def both(tiny_texture: Experiment) -> Experiment:
    """A texture predictor and a NeRF of two steps, two scored frames of each split and a film of three."""
    return override(
        tiny_texture,
        {
            "stages": ("texture", "nerf"),
            "texture.steps": 2,
            "train.steps": 2,
            "train.checkpoint_every": 2,
            "train.validate_every": 0,
            "report.frames": 2,
            "report.film_frames": 3,
            "report.size": 32,
        },
    )


class Counted:
    """Calls a function, counts its calls, and is interrupted once, before the call of a number."""

    def __init__(self, function: Callable[..., Any], interrupted_at: int = 0) -> None:
        self.function, self.interrupted_at, self.count = function, interrupted_at, 0

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        if self.count + 1 == self.interrupted_at:
            self.interrupted_at = 0
            raise KeyboardInterrupt
        self.count += 1
        return self.function(*arguments, **named)


def test_an_interrupted_end_does_what_is_missing_and_ray_s_workers_find_the_same(
    both: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ray_cluster: None
) -> None:
    places = {
        "predicted maps": (texture_report, "predicting", 2),  # a factory: once a start
        "scored frames": (avatar_report, "score_frames", 5),
        "rows": (avatar_report, "compare", 1),
        "models": (driver, "log_actor", 2),
    }
    counted = {}
    for name, (module, attribute, at) in places.items():
        counted[name] = Counted(getattr(module, attribute), at if name != "predicted maps" else 0)
        monkeypatch.setattr(module, attribute, counted[name])
    means = Counted(MeanTexture.of)
    monkeypatch.setattr(MeanTexture, "of", means)
    starts = 0
    while not (tmp_path / "runs" / "tiny" / "nerf" / "closed.json").exists():
        starts += 1
        try:
            train(both, resume=starts > 1)
        except KeyboardInterrupt:
            monkeypatch.setattr(driver, "train_here", None if starts > 1 else driver.train_here)
    assert starts == 4, "interrupted while it scored, before the last film, and before the model is registered"
    # Two frames of held-out cameras, and of the held-out motion in own, predicted and mean maps.
    assert counted["scored frames"].count == 8
    assert {name: counted[name].count for name in ("predicted maps", "rows", "models")} == {
        "predicted maps": 1,
        "rows": 2,
        "models": 2,
    }
    assert means.count == 1, "the NeRF's end; the predictor's reads the maps once for both of its means"
    client = MlflowClient()
    assert len(client.search_model_versions("name = 'tiny'")) == 2
    ids = json.loads((tmp_path / "runs" / "tiny" / "tracking.json").read_text())
    assert len(client.get_metric_history(ids["nerf"], "cameras/nerf/box/psnr")) == 1
    assert not (tmp_path / "runs" / "tiny" / "nerf" / "closing").exists()
    assert not (tmp_path / "runs" / "tiny" / "nerf" / "film" / ".comparison").exists()
    assert np.array_equal(
        read_png(tmp_path / "runs" / "tiny" / "actor" / "mean_texture.png"),
        MeanTexture.of(both, Capture.open(both.capture)).map,
    )
    check_what_ray_s_workers_find(both, tmp_path / "runs" / "tiny", tmp_path / "runs" / "there", monkeypatch)


def test_what_was_done_for_other_facts_does_not_count(tmp_path: Path) -> None:
    nobody = Tracker(MlflowClient("http://127.0.0.1:1"), "", "", "")
    end = Closing(tmp_path / "step_000002", tmp_path, nobody, ThisProcess("cpu"))
    done = Counter[int]()

    def prepare(shared: int, device: str) -> Callable[[int], dict[str, Any]]:
        def work(piece: int) -> dict[str, Any]:
            done[piece] += 1
            return {"value": shared * piece, "map": torch.full((2,), piece)}

        return work

    (tmp_path / "old").mkdir()
    for facts, shared in (("a", 2), ("a", 5), ("b", 3)):
        end.begin(facts, stale=(tmp_path / "old",))
        found = end.pieces("some", prepare, shared, [1, 2])
    assert [part["value"] for part in found] == [3, 6] and done == {1: 2, 2: 2}
    assert not (tmp_path / "old").exists()


def pictures(folder: Path) -> np.ndarray:
    return np.stack([read_png(path) for path in sorted(folder.glob("*.png"))]).astype(int)


def numbers(found: Any) -> list[float]:
    """All numbers of some JSON, in order."""
    if isinstance(found, dict):
        return [n for value in found.values() for n in numbers(value)]
    if isinstance(found, list):
        return [n for value in found for n in numbers(value)]
    return [float(found)] if isinstance(found, int | float) else []


def check_what_ray_s_workers_find(both: Experiment, here: Path, there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Close the stages of the run `here` once more, in another run's folder, by two workers."""
    capture = Capture.open(both.capture)
    two = {"train.num_workers": 2, "train.global_batch": 2, "train.cpus_per_worker": 0.5}
    on_workers = override(both, two)
    with closing_hands(on_workers) as hands:
        assert isinstance(hands, ThisProcess) or hands.device == "cuda", "they are this machine's CPUs"
    monkeypatch.setattr(closing, "is_this_machine", lambda: False)
    with closing_hands(on_workers) as crew:
        assert isinstance(crew, Crew)
        for stage, report in (("texture", texture_report), ("nerf", avatar_report)):
            (there / stage).mkdir(parents=True)
            best = Checkpoints(here / stage / "checkpoints", 9).best()
            assert best is not None
            tracker = runs.start(override(both, {"name": "there"}), there, stage)
            report.close(Closing(best, there / stage, tracker, crew), capture)
    folders = ("texture/predicted/testing/tex", "nerf/film/color", "nerf/film/depth", "nerf/film/mesh")
    for name in (*folders, "nerf/film"):
        a, b = pictures(here / name), pictures(there / name)
        assert a.shape == b.shape and np.abs(a - b).max() <= 1, name
    for name in ("texture/report", "nerf/report"):
        files = sorted(os.listdir(here / name))
        assert files == sorted(os.listdir(there / name)) and files
        for file in files:
            a, b = (json.loads((root / name / file).read_text()) for root in (here, there))
            np.testing.assert_allclose(numbers(a), numbers(b), rtol=2e-3, atol=2e-3)
