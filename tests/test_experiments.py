"""The experiments as scripts: what they are, and what they say when they are used wrongly."""

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from na_ray.config import Experiment, flatten, from_dict, to_dict
from na_ray.config.selection import select

FOLDER = Path(__file__).parents[1] / "experiments"


def value(name: str) -> Experiment:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name.upper())


def run(name: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, str(FOLDER / f"{name}.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=500)


def test_the_recipe_holds_the_paper_s_values() -> None:
    lan = flatten(value("lan"))
    expected = {
        "data.train_views": "0..11",
        "data.resolution": (1024, 1024),
        "data.rays_per_view": 1024,
        "nerf.samples_per_ray": 64,
        "nerf.shell_radius": 0.06,
        "nerf.mesh_residual": False,
        "optim.lr": 2e-4,
        "optim.betas": (0.9, 0.999),
        "optim.decay_rate": 0.1,
        "optim.decay_steps": 250_000,
        "train.steps": 300_000,
        "train.seed": 2,
        "train.checkpoint_every": 500,
        "train.keep_last": 5,
        "train.global_batch": 8,
    }
    assert {name: lan[name] for name in expected} == expected


@pytest.mark.parametrize(("name", "cameras"), [("lan", 12), ("demo", 8)])
def test_what_decides_in_a_recipe_is_not_trained_on(name: str, cameras: int) -> None:
    chosen = select(value(name).data, cameras, 100)
    assert chosen.validation_views and chosen.trained_validation_views == () and chosen.warning is None
    assert set(chosen.fit_views) <= set(chosen.train_views)


@pytest.mark.parametrize(
    ("cameras", "train", "decide", "fit"),
    [
        (12, "0..11", (11,), (0, 3, 7, 10)),  # the paper's
        (8, "0..6", (6, 7), (0, 2, 3, 5)),
        (4, "0..3", (3,), (0, 1, 2)),
        (3, "0", (1, 2), (0,)),
    ],
)
def test_the_paper_s_recipe_takes_other_captures_by_naming_their_training_cameras(
    cameras: int, train: str, decide: tuple[int, ...], fit: tuple[int, ...]
) -> None:
    """No other knob names a camera that is not there."""
    chosen = select(replace(value("lan").data, train_views=train), cameras, 100)
    assert (chosen.validation_views, chosen.fit_views) == (decide, fit)


@pytest.mark.parametrize("name", ["lan", "demo"])
def test_an_experiment_survives_json(name: str) -> None:
    assert from_dict(Experiment, to_dict(value(name))) == value(name)


def test_help_shows_the_knobs_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    done = run("lan", "train", "--help", cwd=tmp_path)
    assert done.returncode == 0 and "--nerf.samples-per-ray" in done.stdout and "--resume" in done.stdout
    wrong = run("lan", "--nerf.sample-per-ray", "32", cwd=tmp_path)
    assert wrong.returncode == 2 and "samples-per-ray" in wrong.stderr + wrong.stdout
    negative = run("lan", "train", "--optim.lr", "-1", cwd=tmp_path)
    assert negative.returncode == 2 and "lr" in negative.stderr + negative.stdout
    assert not list(tmp_path.iterdir())


def test_a_missing_capture_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    done = run("lan", "train", "--capture", "nowhere", cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "nowhere" in done.stderr
    assert not list(tmp_path.iterdir())
