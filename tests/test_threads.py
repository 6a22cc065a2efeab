"""Threads that draw different poses with one actor get what each would get alone, to the bit."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from make_capture import write_tiny_capture
from mlflow.pyfunc.model import PythonModelContext

from na_ray import checkpoint, render
from na_ray.body.body import Body
from na_ray.body.surface import SurfacePool
from na_ray.capture.dataset import Capture
from na_ray.checkpoint import TrainedAvatar
from na_ray.config import DataConfig, Experiment, NerfConfig
from na_ray.models.nerf.renderer import Nerf
from na_ray.run.tracking.pyfunc import ActorModel

THREADS, ROUNDS = 4, 6


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    folder = write_tiny_capture(tmp_path_factory.mktemp("threads") / "capture", resolution=(48, 64), texture_size=24)
    return Capture.open(str(folder))


def make_actor(capture: Capture) -> TrainedAvatar:
    torch.manual_seed(0)
    # Small chunks: many changes of threads in the middle of a picture.
    nerf = NerfConfig(hidden=8, encoder_width=4, samples_per_ray=8, samples_per_chunk=512, mesh_residual=True)
    config = Experiment(nerf=nerf, data=DataConfig(texture_size=16))
    body = Body.from_rig(capture.rig)
    return TrainedAvatar(Nerf(nerf, body, config.data).eval(), body, config)


def together(work: list) -> list:
    """What the calls return, each in a thread of its own, begun at once."""
    start = threading.Barrier(len(work))

    def run(call):
        start.wait()
        return [call() for _ in range(ROUNDS)]

    with ThreadPoolExecutor(len(work)) as pool:
        return list(pool.map(run, work))


def test_threads_on_one_actor_draw_what_each_draws_alone(capture: Capture) -> None:
    actor, split = make_actor(capture), capture.split("training")
    camera = split.cameras[1]

    def draw(frame: int) -> torch.Tensor:
        encoded = render.encode(actor, split.pose(frame), split.texture(frame))
        return actor.model.picture(encoded, camera).colors

    alone = [draw(frame) for frame in range(THREADS)]
    assert all(not torch.equal(alone[0], other) for other in alone[1:])
    for expected, pictures in zip(alone, together([lambda f=f: draw(f) for f in range(THREADS)]), strict=True):
        assert all(torch.equal(picture, expected) for picture in pictures)


def test_a_frame_keeps_its_pose_while_others_are_drawn(capture: Capture) -> None:
    actor, split = make_actor(capture), capture.split("training")
    frames = [render.encode(actor, split.pose(f), split.texture(f)) for f in (0, 2)]
    first = actor.model.picture(frames[0], split.cameras[0]).colors
    other = actor.model.picture(frames[1], split.cameras[0]).colors
    assert not torch.equal(first, other)
    assert torch.equal(actor.model.picture(frames[0], split.cameras[0]).colors, first)


def test_a_served_model_predicts_in_threads(capture: Capture, tmp_path: Path) -> None:
    actor, split = make_actor(capture), capture.split("testing")
    checkpoint.save(tmp_path / "actor", "nerf", actor.model.state_dict(), capture.rig, actor.config)
    model = ActorModel()
    context = PythonModelContext(artifacts={"actor": str(tmp_path / "actor")}, model_config=None)
    model.load_context(context)
    camera = split.cameras[0]
    view = {"K": camera.K, "T_world_camera": camera.T_world_camera, "height": camera.height, "width": camera.width}

    def predict(frame: int) -> np.ndarray:
        pose = split.pose(frame)
        row = {name: getattr(pose, name) for name in ("joints_RT", "rotation", "translation", "joints")}
        (found,) = model.predict(context, pd.DataFrame([row | view | {"texture": split.texture(frame)}]))
        return found["color"]

    alone = [predict(frame) for frame in range(THREADS)]
    for expected, pictures in zip(alone, together([lambda f=f: predict(f) for f in range(THREADS)]), strict=True):
        assert all(np.array_equal(picture, expected) for picture in pictures)


def test_surfaces_are_fitted_again_once_nobody_holds_them(capture: Capture) -> None:
    body = Body.from_rig(capture.rig)
    pool, poses = SurfacePool(body.vertices, body.faces), [body.pose(capture.split("training").pose(f)) for f in (0, 3)]
    first, second = (pool.fitted(posed.vertices) for posed in poses)
    meshes = {id(first._mesh), id(second._mesh)}
    assert len(meshes) == 2
    points = poses[0].vertices + 0.01
    faces = first.closest(points)
    del second
    again = pool.fitted(poses[1].vertices)
    assert id(again._mesh) in meshes and id(again._mesh) != id(first._mesh)
    assert torch.equal(first.closest(points), faces)
