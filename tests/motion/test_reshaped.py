"""A body in another shape: bones of other lengths under the same rotations, by kinematics of the tests' own."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from stick_actor import NAMES, PARENTS, kinematics, stick_actor

from na_ray.capture.rig import Pose
from na_ray.capture.shapes import BodyShapes
from na_ray.capture.skeleton import Skeleton
from na_ray.config.values import UserError
from na_ray.motion.posed import JointMotion
from na_ray.motion.reshaped import ReshapedMotion, Reshaping

UP = np.array([0.0, 1.0, 0.0])
ACTOR = stick_actor(arms=40.0)


def taller() -> Reshaping:
    """The second coefficient makes every bone a tenth longer, and the points follow their joints."""
    joints = np.stack([np.zeros((24, 3)), 0.1 * ACTOR.rest], axis=2).astype(np.float32)
    shapes = BodyShapes(np.repeat(joints, 4, axis=0), joints)
    skeleton = Skeleton(tuple(NAMES), tuple(PARENTS), ACTOR.rest)
    return Reshaping(shapes, shapes.change("0,1.5"), ACTOR.rig, skeleton, UP)


def motion() -> JointMotion:
    return JointMotion(taller().old_skeleton, ACTOR.rotvecs, ACTOR.places, 25.0)


def skinned(rig, pose: Pose) -> np.ndarray:
    """World vertices, vertex after vertex in float64."""
    moved = []
    for vertex, weights in zip(rig.vertices, rig.weights, strict=True):
        A = sum(w * a for w, a in zip(weights.astype(np.float64), pose.joints_RT.astype(np.float64), strict=True))
        moved.append(A[:3, :3] @ vertex + A[:3, 3])
    return np.array(moved) @ pose.rotation + pose.translation


def test_bones_grow_under_the_same_rotations_and_the_feet_stay_on_the_ground() -> None:
    reshaping, source = taller(), motion()
    found = ReshapedMotion(source, reshaping)
    assert (found.num_frames, found.fps) == (12, 25.0) and found.identity != source.identity
    for i in (0, 5, 11):
        old, new = source.pose(i), found.pose(i)
        turns, places = kinematics(1.15 * ACTOR.rest, ACTOR.rotvecs[i], ACTOR.places[i])
        np.testing.assert_allclose(new.joints - new.joints[0], places - places[0], atol=1e-5)
        world = np.einsum("ab,jbc->jac", new.rotation.T, new.joints_RT[:, :3, :3])
        np.testing.assert_allclose(world, turns, atol=1e-5)
        before, after = skinned(ACTOR.rig, old), skinned(reshaping.rig, new)
        assert after[:, 1].min() == pytest.approx(before[:, 1].min(), abs=0.02), "toes lie nearly as low as all of it"
        assert np.ptp(after[:, 1]) > 1.1 * np.ptp(before[:, 1])
        np.testing.assert_allclose(new.joints[0, [0, 2]], old.joints[0, [0, 2]], atol=1e-6)


def test_no_change_changes_nothing() -> None:
    reshaping, pose = taller(), motion().pose(3)
    same = Reshaping(reshaping.shapes, reshaping.shapes.change("0"), ACTOR.rig, reshaping.old_skeleton, UP)
    for name in ("joints_RT", "translation", "joints"):
        np.testing.assert_allclose(getattr(same.pose(pose), name), getattr(pose, name), atol=1e-6)
    np.testing.assert_array_equal(same.rig.vertices, ACTOR.rig.vertices)


def test_the_t_pose_keeps_its_rotations() -> None:
    turned = np.tile(np.eye(4, dtype=np.float32), (24, 1, 1))
    turned[1, :3, :3] = Rotation.from_rotvec([0, 0, 0.22]).as_matrix()
    turned[1, :3, 3] = ACTOR.rest[1] - turned[1, :3, :3] @ ACTOR.rest[1]
    rig = type(ACTOR.rig)(**(vars(ACTOR.rig) | {"tpose": turned}))
    reshaping = taller()
    new = reshaping.shapes.rig(rig, reshaping.old_skeleton, reshaping.change).tpose
    np.testing.assert_array_equal(new[:, :3, :3], turned[:, :3, :3])
    at_hip = new[1] @ [*(1.15 * ACTOR.rest[1]), 1]
    np.testing.assert_allclose(at_hip[:3], 1.15 * ACTOR.rest[1], atol=1e-6)


@pytest.mark.parametrize("text", ["", "a", "1,2,3", "1;2", "nan", "11"])
def test_what_is_no_shape_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"--shape is .*; expected up to 2 numbers from -10 to 10, as --shape=1.5,0,-2"):
        taller().shapes.change(text)


def test_damaged_and_foreign_files_are_a_line(tmp_path: Path) -> None:
    path, held = tmp_path / "body_shapes.npz", io.BytesIO()
    np.savez(held, shapedirs=np.zeros((96, 3, 2)), jointdirs=np.zeros((24, 3, 2)))
    path.write_bytes(held.getvalue())
    assert BodyShapes.read(str(path), ACTOR.rig).vertices.shape == (96, 3, 2)
    path.write_bytes(held.getvalue()[:200])
    with pytest.raises(UserError, match=r"body_shapes.npz is no file of shape directions .*: convert the body again"):
        BodyShapes.read(str(path), ACTOR.rig)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other.npy", b"")
    with pytest.raises(UserError, match="is no file of shape directions"):
        BodyShapes.read(str(path), ACTOR.rig)
    np.savez(path, shapedirs=np.zeros((95, 3, 2)), jointdirs=np.zeros((24, 3, 2)))
    with pytest.raises(UserError, match=r"holds \(95, 3, 2\) and .*; expected \(96, 3, 2\)"):
        BodyShapes.read(str(path), ACTOR.rig)
