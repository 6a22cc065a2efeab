"""What a motion wears: its own maps, given ones, or the mean of the training's, wherever they lie."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from make_capture import write_tiny_capture

from na_ray.body.body import Body
from na_ray.capture.dataset import Capture
from na_ray.capture.textures import Textures
from na_ray.checkpoint import TrainedAvatar
from na_ray.config import Experiment, NerfConfig, override
from na_ray.models.nerf.renderer import Nerf
from na_ray.motion.textures import MeanTexture, choose_textures, told_textures
from na_ray.pictures.png import write_png

NERF = NerfConfig(hidden=8, encoder_width=4, samples_per_ray=4)


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    folder = tmp_path_factory.mktemp("worn") / "capture"
    return Capture.open(write_tiny_capture(folder, frames=4, cameras=2, resolution=(32, 32), texture_size=24))


@pytest.fixture(scope="module")
def actor(capture: Capture) -> TrainedAvatar:
    torch.manual_seed(0)
    body = Body.from_rig(capture.rig)
    config = Experiment(nerf=NERF, capture=capture.path)
    return TrainedAvatar(Nerf(NERF, body).eval(), body, override(config, {"data.frames": "1..4"}))


@pytest.fixture
def dance(capture: Capture, tmp_path: Path) -> Capture:
    """The testing motion alone: no maps, no training split."""
    (tmp_path / "dance").mkdir()
    names = ("canonical.obj", "uvmapping.obj", "skinning_weight.txt", "transform_tpose.json")
    for file in ("testing/transform.zip", *names):
        shutil.copy(Path(capture.path) / file, tmp_path / "dance")
    return Capture.open(tmp_path / "dance")


def expected_mean(capture: Capture) -> np.ndarray:
    split = capture.split("training")
    return np.mean([split.texture(f).astype(np.float64) for f in (1, 2, 3)], axis=0).round().astype(np.uint8)


def test_own_maps_are_worn_where_there_are_some(actor: TrainedAvatar, capture: Capture) -> None:
    split = capture.split("testing")
    for word in (None, "own"):
        assert choose_textures(word, actor, capture, split, [0]) is None
    assert told_textures(None, split) == "texture maps: own, those of testing"


def test_the_mean_map_is_that_of_the_frames_trained_on(actor: TrainedAvatar, capture: Capture) -> None:
    chosen = choose_textures("mean", actor, capture, capture.split("testing"), [0])
    assert isinstance(chosen, MeanTexture) and np.array_equal(chosen.texture(3), expected_mean(capture))
    told = told_textures(chosen, capture.split("testing"))
    assert told == "texture maps: mean, the mean of all 3 training maps (training)"


def test_a_motion_without_maps_wears_the_mean_of_the_capture_trained_on(
    actor: TrainedAvatar, capture: Capture, dance: Capture
) -> None:
    split = dance.split("dance")
    chosen = choose_textures(None, actor, dance, split, [0])
    assert isinstance(chosen, MeanTexture) and np.array_equal(chosen.map, expected_mean(capture))
    lost = TrainedAvatar(actor.model, actor.body, override(actor.config, {"capture": "/gone/anna"}))
    with pytest.raises(ValueError, match=r"no mean texture map: neither .* nor /gone/anna holds"):
        choose_textures(None, lost, dance, split, [0])
    with pytest.raises(FileNotFoundError, match=r"dance: no tex\*\.avi nor a folder tex/"):
        assert choose_textures("own", actor, dance, split, [0]) is None
        split.texture(0)


def test_another_body_s_maps_are_not_taken(actor: TrainedAvatar, dance: Capture, tmp_path: Path) -> None:
    other = write_tiny_capture(tmp_path / "other", frames=2, cameras=2, resolution=(32, 32), texture_size=24)
    text = (other / "canonical.obj").read_text().splitlines()
    first = next(i for i, line in enumerate(text) if line.startswith("v "))
    x, y, z = map(float, text[first].split()[1:4])
    text[first] = f"v {x + 0.001} {y} {z}"
    (other / "canonical.obj").write_text("\n".join(text) + "\n")
    config = override(actor.config, {"capture": str(other)})
    stranger = TrainedAvatar(actor.model, actor.body, config)
    with pytest.raises(ValueError, match="no mean texture map"):
        choose_textures("mean", stranger, dance, dance.split("dance"), [0])


def test_given_maps_are_worn_as_they_are(actor: TrainedAvatar, dance: Capture, tmp_path: Path) -> None:
    shown = np.full((8, 8, 3), 77, np.uint8)
    write_png(tmp_path / "maps" / "000000.png", shown)
    chosen = choose_textures(str(tmp_path / "maps"), actor, dance, dance.split("dance"), [0])
    assert isinstance(chosen, Textures) and np.array_equal(chosen.texture(0), shown)
    assert told_textures(chosen, dance.split("dance")) == f"texture maps: given, {tmp_path}/maps"
