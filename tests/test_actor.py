"""A run's folder opens by its best checkpoint, of the stage that is asked for; what is none says so in one line."""

import shutil
from pathlib import Path
from typing import get_args

import pytest
import torch
from make_capture import write_tiny_capture
from tiny_predictor import save_predictor

from na_ray import checkpoint
from na_ray.actor import find_avatar, find_checkpoint
from na_ray.body.body import Body
from na_ray.capture.dataset import Capture
from na_ray.config import AvatarName, Experiment, NerfConfig, StageName
from na_ray.models.avatars import AVATARS

CONFIG = Experiment(nerf=NerfConfig(hidden=8, encoder_width=4, samples_per_ray=4))


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    folder = tmp_path_factory.mktemp("actor") / "capture"
    return Capture.open(write_tiny_capture(folder, frames=2, cameras=2, resolution=(32, 32)))


@pytest.fixture(scope="module")
def run(capture: Capture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose second of three checkpoints is the best, and that has a texture stage."""
    root = tmp_path_factory.mktemp("runs") / "anna"
    for step, psnr in ((10, 20.0), (20, 22.0), (30, 21.0)):
        torch.manual_seed(step)
        weights = AVATARS["nerf"].make(CONFIG, Body.from_rig(capture.rig)).state_dict()
        folder, scores = root / "nerf" / "checkpoints" / f"step_{step:06d}", {"validation/psnr": psnr}
        checkpoint.save(folder, "nerf", weights, capture.rig, CONFIG, step, metrics=scores)
    save_predictor(root / "texture" / "checkpoints" / "step_000005", capture.rig)
    return root


def test_every_avatar_has_its_row_and_is_a_stage() -> None:
    assert tuple(AVATARS) == get_args(AvatarName) and set(AVATARS) < set(get_args(StageName))
    assert {name: kind.weights for name, kind in AVATARS.items()}.items() <= checkpoint.WEIGHTS.items()


@pytest.mark.parametrize("name", get_args(AvatarName))
def test_every_kind_is_what_its_row_says_and_moves_with_its_body(capture: Capture, name: AvatarName) -> None:
    avatar = AVATARS[name].make(CONFIG, Body.from_rig(capture.rig))
    assert avatar.name == name and avatar.device == torch.device("cpu") and avatar.background.shape == (3,)
    assert not [key for key in avatar.state_dict() if key.startswith("body_") or key == "background"]
    assert avatar.double().body.vertices.dtype == torch.float64
    assert avatar.to("meta").body.faces.device.type == "meta"


def test_a_run_opens_by_the_best_checkpoint_of_the_stage(run: Path) -> None:
    best = run / "nerf" / "checkpoints" / "step_000020"
    for given in (run, run / "nerf", best):
        assert find_avatar(given) == find_avatar(given, "nerf") == best
    (run / "begun" / "texture" / "checkpoints").mkdir(parents=True)
    shutil.copytree(run / "nerf", run / "begun" / "nerf")
    assert find_checkpoint(run / "begun", ["texture", "nerf"]).parts[-3] == "nerf", "what has begun has nothing yet"
    latest = run / "nerf" / "checkpoints" / "step_000030"
    assert find_avatar(latest) == latest, "a checkpoint is what was asked for, be it the best or not"
    assert find_checkpoint(run, ["texture"]) == run / "texture" / "checkpoints" / "step_000005"
    assert find_checkpoint(run, ["texture", "nerf"]).parts[-3] == "texture", "the preferred one first"
    opened = checkpoint.load_avatar(best)
    assert opened.name == "nerf" == opened.model.name and not opened.model.training


def test_a_run_of_0_1_opens_too(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "nerf", tmp_path / "old" / "renderer")
    for folder in (tmp_path / "old" / "renderer" / "checkpoints").iterdir():
        (folder / "nerf.pt").rename(folder / "renderer.pt")
    assert find_avatar(tmp_path / "old").name == "step_000020"


def test_what_is_no_avatar_says_so(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "texture", tmp_path / "textures" / "texture")
    with pytest.raises(ValueError, match=r"textures has no nerf stage; it has: texture$"):
        find_avatar(tmp_path / "textures", "nerf")
    predictor = run / "texture" / "checkpoints" / "step_000005"
    for given in (predictor, run / "texture"):
        with pytest.raises(ValueError, match=r"step_000005 is a checkpoint of the texture stage: give one of the"):
            find_avatar(given)
    (tmp_path / "begun" / "nerf" / "checkpoints").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"begun/nerf has no whole checkpoint yet: train its stage nerf on"):
        find_avatar(tmp_path / "begun")
    with pytest.raises(FileNotFoundError, match=r"nowhere is no checkpoint: experiment.json is missing; give a run's"):
        checkpoint.load_avatar(find_avatar(tmp_path / "nowhere"))
