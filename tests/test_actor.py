"""A run's folder opens by its best checkpoint, of the stage that is asked for; what is none says so in one line."""

import errno
import json
import shutil
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from make_capture import write_tiny_capture
from tiny_predictor import save_predictor

from na_ray import checkpoint
from na_ray.actor import Actor, open_actor, write_actor
from na_ray.body.body import Body
from na_ray.capture.dataset import Capture
from na_ray.checkpoint import Predictor
from na_ray.checkpoints import find_checkpoint
from na_ray.config import AvatarName, Experiment, NerfConfig, StageName, override
from na_ray.config.files import to_json
from na_ray.config.values import UserError
from na_ray.models.avatars import AVATARS
from na_ray.motion.posed import local_rotations
from na_ray.motion.predict import predict_maps
from na_ray.motion.textures import MeanTexture
from na_ray.render import encode

KINDS = get_args(AvatarName)
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
        assert find_checkpoint(given, KINDS) == find_checkpoint(given, ["nerf"]) == best
    (run / "begun" / "texture" / "checkpoints").mkdir(parents=True)
    shutil.copytree(run / "nerf", run / "begun" / "nerf")
    assert find_checkpoint(run / "begun", ["texture", "nerf"]).parts[-3] == "nerf", "what has begun has nothing yet"
    latest = run / "nerf" / "checkpoints" / "step_000030"
    assert find_checkpoint(latest, KINDS) == latest, "a checkpoint is what was asked for, be it the best or not"
    assert find_checkpoint(run, ["texture"]) == run / "texture" / "checkpoints" / "step_000005"
    assert find_checkpoint(run, ["texture", "nerf"]).parts[-3] == "texture", "the preferred one first"
    opened = checkpoint.load_avatar(best)
    assert opened.name == "nerf" == opened.model.name and not opened.model.training


def test_a_run_of_0_1_opens_too(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "nerf", tmp_path / "old" / "renderer")
    for folder in (tmp_path / "old" / "renderer" / "checkpoints").iterdir():
        (folder / "nerf.pt").rename(folder / "renderer.pt")
    assert find_checkpoint(tmp_path / "old", KINDS).name == "step_000020"


def test_what_is_no_avatar_says_so(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "texture", tmp_path / "textures" / "texture")
    with pytest.raises(ValueError, match=r"textures has no nerf stage; it has: texture$"):
        find_checkpoint(tmp_path / "textures", ["nerf"])
    predictor = run / "texture" / "checkpoints" / "step_000005"
    for given in (predictor, run / "texture"):
        with pytest.raises(ValueError, match=r"step_000005 is a checkpoint of the texture stage: give one of the"):
            checkpoint.load_avatar(find_checkpoint(given, KINDS))
    (tmp_path / "begun" / "nerf" / "checkpoints").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"begun/nerf has no whole checkpoint yet: train its stage nerf on"):
        find_checkpoint(tmp_path / "begun", KINDS)
    with pytest.raises(FileNotFoundError, match=r"nowhere is no checkpoint: experiment.json is missing; give a run's"):
        checkpoint.load_avatar(find_checkpoint(tmp_path / "nowhere", KINDS))


@pytest.fixture(scope="module")
def actor(capture: Capture, run: Path) -> Path:
    """The folder that the run of two stages leaves, moved to another place."""
    for folder in run.glob("*/checkpoints/*"):
        config = override(checkpoint.load_experiment(folder), {"capture": capture.path})
        checkpoint.write_json(folder / "experiment.json", to_json(config))
    written = write_actor(run / "actor", open_actor(run).networks, capture)
    return Path(shutil.move(written, run.parent / "elsewhere"))


def test_an_actors_folder_is_all_that_a_person_needs(run: Path, actor: Path, capture: Capture) -> None:
    names = {"actor.json", "body.npz", "nerf.safetensors", "texture.safetensors", "mean_texture.png", "poses.npz"}
    assert {path.name for path in actor.iterdir()} == names and not list(run.glob(".actor*"))
    moved, original = open_actor(actor), open_actor(run)
    assert set(moved.networks) == {"nerf", "texture"}
    split = capture.split("training")
    pose, texture, camera = split.pose(1), split.texture(1), split.cameras[0]
    pictures = [a.model.picture(encode(a, pose, texture), camera) for a in (moved.avatar(), original.avatar("nerf"))]
    assert torch.equal(pictures[0].colors, pictures[1].colors)
    maps = [list(predict_maps(load(a), split.normal_maps())) for a in (moved, original)]
    assert all(np.array_equal(a, b) for a, b in zip(*maps, strict=True))
    mean = np.mean([split.texture(i).astype(np.float64) for i in range(2)], axis=0).round()
    assert np.array_equal(moved.mean_texture(), mean) and np.array_equal(original.mean_texture(), mean)
    for found in (moved.poses(), original.poses()):
        assert [p.joints.tolist() for p in found] == [split.pose(i).joints.tolist() for i in range(2)]
    assert moved.camera is not None and np.allclose(moved.camera.K, split.cameras[0].K)
    values = moved.values["stages"]["nerf"]
    assert values["step"] == 20 and values["validation"] == {"validation/psnr": 22.0}
    assert MeanTexture.find(moved.avatar()).source == "the mean of the training maps, kept with the actor"


def load(actor: Actor) -> Predictor:
    predictor = actor.predictor()
    assert predictor is not None
    return predictor


def test_an_actor_is_written_anew_or_not_at_all(
    run: Path, actor: Path, capture: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(actor, tmp_path / "actor")
    networks = {"texture": open_actor(run).networks["texture"]}

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("na_ray.actor.save_file", full)
        with pytest.raises(OSError, match="No space left"):
            write_actor(tmp_path / "actor", networks, capture)
    assert set(open_actor(tmp_path / "actor").networks) == {"nerf", "texture"}, "the old one is still there"
    write_actor(tmp_path / "actor", networks, capture)
    assert set(open_actor(tmp_path / "actor").networks) == {"texture"}
    assert [path.name for path in tmp_path.iterdir()] == ["actor"]


def test_what_is_wrong_with_an_actors_folder_is_one_line(actor: Path, tmp_path: Path) -> None:
    shutil.copytree(actor, tmp_path / "actor")
    weights = tmp_path / "actor" / "nerf.safetensors"
    with pytest.raises(UserError, match=r"actor has no splats; it has: texture, nerf: train that stage"):
        open_actor(tmp_path / "actor").avatar("splats")
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"nerf\.safetensors is damaged .*: copy the actor's folder again"):
        open_actor(tmp_path / "actor").avatar()
    later = json.loads((tmp_path / "actor" / "actor.json").read_text()) | {"version": 99}
    (tmp_path / "actor" / "actor.json").write_text(json.dumps(later))
    with pytest.raises(UserError, match=r"actor\.json is of form 99; this one reads 1"):
        open_actor(tmp_path / "actor")
    (tmp_path / "actor" / "actor.json").write_text("{")
    with pytest.raises(UserError, match=r"actor\.json is damaged"):
        open_actor(tmp_path / "actor")
    with pytest.raises(FileNotFoundError, match="nowhere is no checkpoint"):
        open_actor(tmp_path / "nowhere")


def test_an_actor_takes_another_shape(run: Path, capture: Capture, tmp_path: Path) -> None:
    """A coefficient that makes the body a tenth larger a unit, joints and skin."""
    shaped = shutil.copytree(capture.path, tmp_path / "shaped")
    plain = open_actor(write_actor(tmp_path / "plain", open_actor(run).networks, capture))
    rest = plain.skeleton().rest
    directions = {"shapedirs": 0.1 * capture.rig.vertices[..., None], "jointdirs": 0.1 * rest[..., None]}
    np.savez(shaped / "body_shapes.npz", allow_pickle=False, **directions)
    actor = open_actor(write_actor(tmp_path / "actor", open_actor(run).networks, Capture.open(str(shaped))))
    assert actor.in_shape(None) is actor
    larger = actor.in_shape("2")
    np.testing.assert_allclose(larger.rig.vertices, 1.2 * capture.rig.vertices, atol=1e-6)
    np.testing.assert_allclose(larger.skeleton().rest, 1.2 * rest, atol=1e-4)
    assert torch.equal(larger.avatar().model.body.vertices, torch.from_numpy(larger.rig.vertices))
    old, new = actor.poses()[1], larger.poses()[1]
    turned = [local_rotations(pose, actor.skeleton().parents) for pose in (old, new)]
    np.testing.assert_allclose(*turned, atol=1e-5)
    with pytest.raises(UserError, match=r"plain has no body_shapes.npz, so its shape cannot change: give the actor's"):
        plain.in_shape("2")
