"""Cameras that hold a whole motion, and those that see nobody."""

import numpy as np
import pytest
from stick_actor import StickActor, stick_actor

from na_ray.capture.camera import Camera
from na_ray.capture.framing import AROUND, Extent, check_seen, from_opengl, holding
from na_ray.capture.rig import Pose
from na_ray.capture.trajectory import look_at
from na_ray.motion.posed import make_pose

UP = np.array([0.0, 1.0, 0.0])


@pytest.fixture(scope="module")
def poses() -> list[Pose]:
    actor: StickActor = stick_actor()
    wide = actor.places + np.linspace(0, 3, len(actor.places))[:, None] * np.array([1.0, 0, 0.3])
    pairs = zip(actor.rotvecs, wide, strict=True)
    return [make_pose(actor.trained.skeleton, turns, place) for turns, place in pairs]


def margins(camera: Camera, poses: list[Pose]) -> np.ndarray:
    """How far inside the picture's four borders, as planes through the camera, every joint is; m."""
    local = np.concatenate([pose.joints for pose in poses]) - camera.center
    local = local @ camera.T_world_camera[:3, :3]
    found = []
    for axis, size in ((0, camera.width), (1, camera.height)):
        half = np.arctan(size / 2 / camera.K[axis, axis])
        for sign in (-1, 1):
            found.append((local[:, 2] * np.sin(half) + sign * local[:, axis] * np.cos(half)).min())
    return np.array(found)


@pytest.mark.parametrize("size", [(64, 64), (48, 96), (96, 48)])
@pytest.mark.parametrize("azimuth", [0, 30, 200])
def test_the_still_camera_holds_every_joint_and_stands_no_farther(poses: list[Pose], size: tuple, azimuth: int) -> None:
    camera = holding(Extent.of(poses, UP, (1, 2)), size, azimuth=azimuth)
    inside = margins(camera, poses)
    # 262 directions find the outermost joints but for a few centimetres.
    assert inside.min() > AROUND - 0.05
    assert inside.min() < AROUND + 0.05, "as near as that allows"
    assert abs(inside[0] - inside[1]) < 0.6 and abs(inside[2] - inside[3]) < 0.6, "near the middle"
    assert camera.T_world_camera[1, 2] == pytest.approx(-np.sin(np.radians(10)))


def test_three_quarters_are_to_the_left_of_where_the_body_faces() -> None:
    actor = stick_actor()
    turns = np.zeros((24, 3))
    turns[0] = (0, np.radians(90), 0)  # it faces x, its left is -z
    pose = make_pose(actor.trained.skeleton, turns, np.array([5.0, 1, 2]))
    extent = Extent.of([pose], UP, (1, 2))
    np.testing.assert_allclose(extent.front, [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(Extent.of([pose], UP, None).front, [1, 0, 0], atol=1e-6)
    away = holding(extent, (64, 64)).center - extent.center
    assert away[0] > 0 and away[2] < 0


def test_cameras_that_look_elsewhere_are_refused_and_opengl_s_are_turned(poses: list[Pose]) -> None:
    camera = holding(Extent.of(poses, UP, (1, 2)), (64, 64))
    assert check_seen([camera] * 12, poses, "c.json") == [camera] * 12
    foreign = from_opengl(camera)
    np.testing.assert_array_equal(foreign.T_world_camera[:3, 2], -camera.T_world_camera[:3, 2])
    turned = check_seen([foreign] * 12, poses, "c.json")
    np.testing.assert_array_equal(turned[0].T_world_camera, camera.T_world_camera)
    aside = Camera("c", camera.K, look_at(camera.center, camera.center + np.eye(3)[0], UP), 64, 64)
    aside.T_world_camera[:3, 3] += 50
    with pytest.raises(ValueError, match=r"c\.json: no camera sees the body: the first is at .* looks along") as error:
        check_seen([aside] * 12, poses, "c.json")
    assert len(str(error.value).splitlines()) == 1
