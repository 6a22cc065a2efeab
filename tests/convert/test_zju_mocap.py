"""A folder that an independent writer made as ZJU-MoCap's are, converted."""

import numpy as np
import pytest
from convert.scene import make_scene, model_arrays
from convert.zju_writer import write_zju

from na_ray.capture.about import read_about
from na_ray.capture.dataset import Capture
from na_ray.capture.pixels import posed_vertices
from na_ray.convert.plan import ConvertOptions, plan
from na_ray.convert.source import zju_source
from na_ray.convert.write import write


@pytest.fixture(scope="module")
def scene():
    return make_scene(frames=3, seed=1)


@pytest.fixture(scope="module")
def body(scene, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "basicmodel.npz"
    np.savez(path, **model_arrays(scene))
    return str(path)


@pytest.fixture(scope="module")
def converted(scene, body, tmp_path_factory):
    root = write_zju(tmp_path_factory.mktemp("zju") / "CoreView_377", scene)
    made = plan(zju_source(str(root)), ConvertOptions(body=body))
    out = root.parent / "capture"
    write(made, str(out), workers=1)
    return made, out


def test_cameras_in_millimetres_come_back_in_metres(scene, converted):
    _, out = converted
    split = Capture.open(out).split("training")
    assert [camera["name"] for camera in read_about(str(out))["cameras"]] == [f"Camera_B{i}" for i in range(1, 5)]
    points = np.random.default_rng(0).uniform([-0.8, 0, -0.8], [0.8, 1.8, 0.8], (200, 3))
    for camera, eye in zip(split.cameras, scene.eyes, strict=True):
        assert np.abs(camera.project(points)[0] - eye.pixels(points)).max() < 0.01


def test_poses_come_back(scene, converted):
    _, out = converted
    split = Capture.open(out).split("training")
    for i in range(scene.count):
        vertices, joints = scene.skinned(i)
        assert np.abs(posed_vertices(split.rig, split.pose(i)) - vertices).max() < 1e-4
        assert np.abs(split.pose(i).joints - joints).max() < 1e-4


def test_pictures_are_cut_out_by_the_labels_of_parts(scene, converted):
    """The labels have no soft edge: only what is well within, and well without, is compared."""
    _, out = converted
    split = Capture.open(out).split("training")
    eye = scene.eyes[2]
    for i, image in enumerate(split.images(2)):
        y, x = np.mgrid[: eye.height, : eye.width].astype(float)
        colors, alpha = scene.person(eye, i, x, y)
        inside = alpha > 0.99
        assert np.abs(image[inside] - colors[inside]).mean() < 6
        outside = (alpha < 0.01) & (np.hypot(x - 48, y - 36) > 0)
        assert np.median(image[outside]) >= 254


def test_files_that_begin_at_one(scene, body, tmp_path):
    source = zju_source(str(write_zju(tmp_path / "CoreView_313", scene, masks=False, first=1)))
    assert [source.position(number) for number in sorted(source.people)] == [0, 1, 2]
    made = plan(source, ConvertOptions(body=body))
    assert made.splits == {"training": (1, 2, 3)}
    assert any("begin at 1" in line for line in made.lines)
