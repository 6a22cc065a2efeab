"""A clip's kinematics and frame rate, beside closed forms."""

import numpy as np

from na_ray.capture.skeleton import Skeleton
from na_ray.formats.clip import MotionClip


def spin(count: int, fps: float, degrees: float = 90.0) -> MotionClip:
    """The root goes along x and its child turns evenly about z; it overtakes the half turn."""
    skeleton = Skeleton(("a", "b"), (-1, 0), np.array([[0, 0, 0], [1.0, 0, 0]]))
    rotvecs = np.zeros((count, 2, 3))
    angles = np.radians(degrees) * np.arange(count)
    rotvecs[:, 1, 2] = (angles + np.pi) % (2 * np.pi) - np.pi
    return MotionClip("spin", fps, skeleton, rotvecs, {0: np.arange(count)[:, None] * np.array([2.0, 0, 0])})


def test_turns_between_frames_go_the_short_way_and_places_along_lines() -> None:
    clip = spin(5, 10.0).resampled(20.0)
    assert clip.num_frames == 9 and clip.fps == 20
    G, p = clip.world()
    for i in range(9):
        angle = np.radians(45 * i)
        np.testing.assert_allclose(G[i, 1, :2, 0], [np.cos(angle), np.sin(angle)], atol=1e-12)
        np.testing.assert_allclose(p[i], [[i, 0, 0], [i + 1, 0, 0]], atol=1e-12)


def test_a_lower_rate_takes_the_frames_of_its_times() -> None:
    clip = spin(524, 120.0, 1.0)
    slow = clip.resampled(25.0)
    assert slow.num_frames == int(523 / 120 * 25) + 1 == 109
    np.testing.assert_allclose(slow.offsets[0][:, 0], 2 * np.arange(109) * 4.8)
    assert spin(61, 120.0).resampled(60.0).num_frames == 31
    assert clip.resampled(120.0).rotvecs is clip.rotvecs
    assert spin(1, 10.0).resampled(25.0).num_frames == 1


def test_some_frames_are_evenly_spaced() -> None:
    some = spin(11, 10.0).some(3)
    np.testing.assert_array_equal(some.offsets[0][:, 0], [0, 10, 20])
    assert spin(2, 10.0).some(5).num_frames == 2
