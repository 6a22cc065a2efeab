"""The film of a run's avatars beside the photograph and the mesh."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from na_ray.body.body import Body
from na_ray.capture import video
from na_ray.capture.dataset import Capture
from na_ray.checkpoint import TrainedAvatar
from na_ray.config import DataConfig, Experiment, NerfConfig, ReportConfig, SplatsConfig
from na_ray.models.avatars import AVATARS
from na_ray.pictures.picture import to_uint8
from na_ray.pictures.png import read_png
from na_ray.render import encode, mesh_view
from na_ray.run.train.avatar.comparison import compare
from tests.make_capture import write_tiny_capture

HEIGHT, WIDTH = 32, 48
CONFIG = Experiment(
    nerf=NerfConfig(hidden=8, encoder_width=4, samples_per_ray=4),
    splats=SplatsConfig(texels=32, widths=(8,)),
    data=DataConfig(train_views="0,2", texture_size=16),
    report=ReportConfig(film_frames=3, size=16, film_size=WIDTH),
)


@pytest.fixture
def capture(tmp_path: Path) -> Capture:
    return Capture.open(str(write_tiny_capture(tmp_path / "tiny", resolution=(HEIGHT, WIDTH))))


def actor(capture: Capture, kind: str) -> TrainedAvatar:
    torch.manual_seed(0)
    body = Body.from_rig(capture.rig)
    return TrainedAvatar(AVATARS[kind].make(CONFIG, body).eval(), body, CONFIG)  # type: ignore[index]


def test_a_row_holds_the_photograph_each_avatar_and_the_mesh(capture: Capture, tmp_path: Path) -> None:
    actors = [actor(capture, "splats"), actor(capture, "nerf")]
    film = compare(actors, capture, None, tmp_path / "film", supersample=2)
    assert film is not None and len(list(video.decode(str(film), 0, 3))) == 3
    split = capture.split("testing")
    frame, camera = 2, split.cameras[1]  # the middle of frames 0, 2, 3; the camera that is not trained on
    row = read_png(tmp_path / "film" / "comparison.png")
    parts = np.split(row, 4, axis=1)
    pose, texture = split.pose(frame), split.texture(frame)
    assert np.array_equal(parts[0], split.image(frame, 1))
    for part, avatar in zip(parts[1:3], actors, strict=True):
        picture = avatar.model.picture(encode(avatar, pose, texture), camera, 2)
        assert np.array_equal(part, to_uint8(picture.colors))
    mesh = mesh_view(actors[0], actors[0].body.pose(pose), texture, camera, 2)
    assert np.array_equal(parts[3], to_uint8(mesh))


def test_without_a_held_out_motion_there_is_no_film(capture: Capture, tmp_path: Path) -> None:
    trained = actor(capture, "splats")
    other = dataclasses.replace(CONFIG, data=dataclasses.replace(CONFIG.data, test_split="dancing"))
    lonely = TrainedAvatar(trained.model, trained.body, other)
    assert compare([lonely], capture, None, tmp_path / "film", supersample=1) is None
    assert not (tmp_path / "film").exists()
