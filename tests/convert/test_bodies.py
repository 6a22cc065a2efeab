"""The bodies that poses may move: SMPL's family with hands, pickles of Python 2's time, rigs, published files."""

import json
import pickle
import sys

import numpy as np
import pytest
import scipy.sparse as sp
from convert.scene import make_scene, model_arrays
from scipy.spatial.transform import Rotation

from na_ray.capture.pixels import posed_vertices
from na_ray.capture.publish import write_rig
from na_ray.capture.rig import Rig
from na_ray.config.values import UserError
from na_ray.convert.atlas import from_obj, made, mirrored, overlap
from na_ray.convert.bodies import open_body
from na_ray.convert.poses import Track, rotvecs_of, transforms
from na_ray.formats.easymocap import Person
from na_ray.formats.smpl_body import NAMES, read_smpl_body
from na_ray.synthetic.skeleton import NAMES as JOINTS
from na_ray.synthetic.skeleton import PARENTS, REST


@pytest.fixture(scope="module")
def scene():
    return make_scene(frames=3, seed=5)


def track_of(scene, poses=None):
    poses = scene.poses if poses is None else poses
    people = [Person(*row, scene.betas) for row in zip(scene.Rh, scene.Th, poses, strict=True)]
    return Track(tuple(range(len(people))), tuple(people))


def test_a_python_2_pickle_gives_the_same_body(scene, tmp_path):
    """A sparse regressor, as SMPL's own files have it."""
    arrays = model_arrays(scene)
    np.savez(tmp_path / "a.npz", **arrays)
    held = arrays | {"J_regressor": sp.csc_matrix(arrays["J_regressor"]), "bs_style": "lbs", "bs_type": "lrotmin"}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(held, 2))
    bodies = [read_smpl_body(str(tmp_path / name)) for name in ("a.npz", "a.pkl")]
    for key in ("v_template", "faces", "weights", "J_regressor", "shapedirs", "posedirs"):
        np.testing.assert_array_equal(*(vars(body)[key] for body in bodies))
    assert bodies[0].kind == "SMPL" and bodies[0].parents == bodies[1].parents


def hands_model(joints, seed=0):
    """A model of 52 or 55 joints on a line, with PCA of its hands."""
    rng = np.random.default_rng(seed)
    count = 4 * joints
    vertices = np.stack([np.linspace(-0.8, 0.8, count), rng.random(count) * 1.6, rng.random(count) * 0.2], axis=1)
    weights = np.repeat(np.eye(joints), 4, axis=0)
    regressor = weights.T / 4
    parents = [2**32 - 1, *[max(0, j - 1) for j in range(1, joints)]]
    components = rng.normal(size=(2, 45, 45)) * 0.2
    means = rng.normal(size=(2, 45)) * 0.1
    return {
        "v_template": vertices,
        "f": np.arange(3 * (count // 3)).reshape(-1, 3),
        "weights": weights,
        "J_regressor": regressor,
        "shapedirs": rng.normal(size=(count, 3, 20)) * 0.01,
        "kintree_table": np.array([parents, range(joints)], np.int64),
        "hands_componentsl": components[0],
        "hands_componentsr": components[1],
        "hands_meanl": means[0],
        "hands_meanr": means[1],
    }


def one(width, seed=1):
    rng = np.random.default_rng(seed)
    person = Person(np.zeros(3), np.zeros(3), rng.normal(size=width), np.zeros(10))
    return Track((0,), (person,)), person.poses


@pytest.mark.parametrize(
    ("joints", "width"),
    [(52, 78), (55, 78), (55, 87), (52, 156), (55, 165), (55, 156), (52, 165), (55, 159), (52, 159)],
)
def test_hands_and_faces(joints, width, tmp_path):
    """By names: what each joint of the model gets of the file's numbers."""
    arrays = hands_model(joints)
    np.savez(tmp_path / "a.npz", **arrays)
    body = read_smpl_body(str(tmp_path / "a.npz"))
    track, poses = one(width)
    found = dict(zip(NAMES[joints], rotvecs_of(track, body)[0][0], strict=True))
    np.testing.assert_array_equal(found["left_wrist"], poses[60:63])
    if width in (78, 87):
        left = arrays["hands_meanl"] + sum(poses[66 + i] * arrays["hands_componentsl"][i] for i in range(6))
        right = arrays["hands_meanr"] + sum(poses[72 + i] * arrays["hands_componentsr"][i] for i in range(6))
        np.testing.assert_allclose(found["left_index1"], left[:3])
        np.testing.assert_allclose(found["right_thumb3"], right[42:])
    else:
        np.testing.assert_array_equal(found["right_thumb3"], poses[-3:])
        np.testing.assert_array_equal(found["left_index1"], poses[-90:-87])
    if joints == 55:
        face = {87: poses[78:81], 165: poses[66:69], 159: poses[66:69]}.get(width, np.zeros(3))
        np.testing.assert_array_equal(found["jaw"], face)


@pytest.mark.parametrize("width", [63, 66, 69, 72, 78, 87, 156, 165])
def test_bodies_without_hands_take_what_they_have(width, scene, tmp_path):
    np.savez(tmp_path / "a.npz", **model_arrays(scene))
    body = read_smpl_body(str(tmp_path / "a.npz"))
    track, poses = one(width)
    found, lines = rotvecs_of(track, body)
    whole = np.concatenate([np.zeros(3), poses]) if width in (63, 69) else poses
    np.testing.assert_array_equal(found[0, 21], whole[63:66])
    np.testing.assert_array_equal(found[0, 22], whole[66:69] if width in (69, 72) else np.zeros(3))
    assert bool(lines) == (width not in (66, 69, 72, 63))


def rig_of(scene):
    vertices, weights = scene.vertices.astype(np.float32), scene.weights.astype(np.float32)
    unwrapped = made(scene.vertices, scene.faces)
    uv = unwrapped.uv.astype(np.float32)
    return Rig(vertices, scene.faces, uv, unwrapped.uv_faces, weights, np.tile(np.eye(4, dtype=np.float32), (24, 1, 1)))


def in_t_pose(scene):
    """The scene's body bent into SMPL's rest: its arms rest in an A pose."""
    turns = np.zeros((24, 3))
    for side, sign in (("left", 1), ("right", -1)):
        bone = REST[JOINTS.index(f"{side}_wrist")] - REST[JOINTS.index(f"{side}_shoulder")]
        turns[JOINTS.index(f"{side}_shoulder"), 2] = sign * np.arctan2(-bone[1], abs(bone[0]))
    from na_ray.capture.skeleton import Skeleton

    A = transforms(turns[None], Skeleton(tuple(JOINTS), PARENTS, REST))[0]
    blend = np.einsum("vj,jab->vab", scene.weights, A)
    vertices = np.einsum("vab,vb->va", blend[:, :3, :3], scene.vertices) + blend[:, :3, 3]
    rest = np.einsum("jab,jb->ja", A[:, :3, :3], REST) + A[:, :3, 3]
    return type(scene)(**{**vars(scene), "vertices": vertices, "rest": rest})


def test_published_files_that_rest_as_smpl_are_posed_as_smpl(scene, tmp_path):
    body = in_t_pose(scene)
    write_rig(str(tmp_path), rig_of(body), body.rest, np.zeros((24, 3)))
    template, poses, lines = open_body(str(tmp_path), track_of(body))
    assert any("as they are" in line for line in lines)
    rig = Rig(*(vars(rig_of(body)) | {"vertices": template.vertices.astype(np.float32)}).values())
    for i, pose in enumerate(poses):
        assert np.abs(posed_vertices(rig, pose) - body.skinned(i)[0]).max() < 1e-4


def test_a_rig_in_an_a_pose_stands_as_the_tracked_body(scene, tmp_path):
    """Tracked in SMPL's rest, turned by a quarter: the rig's arms are level, its hips where the body's are."""
    write_rig(str(tmp_path), rig_of(scene), REST, np.zeros((24, 3)))
    turn = Rotation.from_rotvec([0, np.pi / 2, 0])
    person = Person(turn.as_rotvec(), np.array([0.3, 1.0, -0.2]), np.zeros(72), np.zeros(10))
    template, poses, lines = open_body(str(tmp_path), Track((0,), (person,)))
    joints = dict(zip(JOINTS, poses[0].joints, strict=True))
    for side, sign in (("left", 1), ("right", -1)):
        arm = joints[f"{side}_wrist"] - joints[f"{side}_shoulder"]
        np.testing.assert_allclose(arm / np.linalg.norm(arm), turn.apply([sign, 0, 0]), atol=0.1)
        leg = joints[f"{side}_ankle"] - joints[f"{side}_hip"]
        assert leg[1] / np.linalg.norm(leg) < -0.99
    from na_ray.formats.smpl_motion import mean_skeleton

    hips = turn.apply(mean_skeleton().rest[[1, 2]].mean(axis=0)) + np.array([0.3, 1.0, -0.2])
    np.testing.assert_allclose((joints["left_hip"] + joints["right_hip"]) / 2, hips, atol=1e-3)
    assert any("24 of the rig's 24" in line for line in lines)
    T = transforms(template.tpose[None], template.skeleton)[0]
    at = np.einsum("jab,jb->ja", T[:, :3, :3], REST) + T[:, :3, 3]
    arm = at[JOINTS.index("left_wrist")] - at[JOINTS.index("left_shoulder")]
    assert arm[0] / np.linalg.norm(arm) > 0.995
    leg = at[JOINTS.index("left_ankle")] - at[JOINTS.index("left_hip")]
    assert np.arctan2(leg[0], -leg[1]) == pytest.approx(0.22, abs=0.02)


def test_published_files_without_joints(scene, tmp_path):
    write_rig(str(tmp_path), rig_of(scene), REST, np.zeros((24, 3)))
    path = tmp_path / "transform_tpose.json"
    path.write_text(json.dumps({"joints_RT": json.loads(path.read_text())["joints_RT"]}))
    with pytest.raises(UserError, match="its rest joints are not known"):
        open_body(str(tmp_path), track_of(scene))
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"transform_tpose\.json"):
        open_body(str(tmp_path), track_of(scene))


def obj_of(scene, uv, uv_faces, faces=None):
    faces = scene.faces if faces is None else faces
    lines = [f"v {x} {y} {z}" for x, y, z in scene.vertices] + [f"vt {u:.6f} {v:.6f}" for u, v in uv]
    for face, corners in zip(faces, uv_faces, strict=True):
        lines.append("f " + " ".join(f"{a + 1}/{b + 1}" for a, b in zip(face, corners, strict=True)))
    return "\n".join(lines) + "\n"


def test_an_atlas_has_no_stacked_or_mirrored_charts(scene):
    unwrapped = made(scene.vertices, scene.faces)
    assert overlap(unwrapped.uv, unwrapped.uv_faces) == 0
    assert mirrored(unwrapped.uv, unwrapped.uv_faces) < 0.01
    assert unwrapped.uv.min() >= 0 and unwrapped.uv.max() <= 1
    again = made(scene.vertices, scene.faces)
    np.testing.assert_array_equal(unwrapped.uv, again.uv)


def test_a_uv_file_in_another_order_of_faces_and_corners(scene, tmp_path):
    unwrapped = made(scene.vertices, scene.faces)
    order = np.random.default_rng(0).permutation(len(scene.faces))
    faces, corners = np.roll(scene.faces[order], 1, axis=1), np.roll(unwrapped.uv_faces[order], 1, axis=1)
    (tmp_path / "uv.obj").write_text(obj_of(scene, unwrapped.uv, corners, faces))
    found = from_obj(str(tmp_path / "uv.obj"), scene.vertices, scene.faces)
    np.testing.assert_allclose(found.uv[found.uv_faces], unwrapped.uv[unwrapped.uv_faces], atol=1e-5)


def test_uv_files_that_do_not_serve(scene, tmp_path):
    path, unwrapped = tmp_path / "uv.obj", made(scene.vertices, scene.faces)
    stacked = unwrapped.uv.copy()
    stacked[:, 0] = np.minimum(stacked[:, 0], 1 - stacked[:, 0])
    path.write_text(obj_of(scene, stacked, unwrapped.uv_faces))
    with pytest.raises(UserError, match="lies in two charts"):
        from_obj(str(path), scene.vertices, scene.faces)
    other = scene.faces.copy()
    other[7] = other[8]
    path.write_text(obj_of(scene, unwrapped.uv, unwrapped.uv_faces, other))
    with pytest.raises(UserError, match="face 8 has vertices"):
        from_obj(str(path), scene.vertices, scene.faces)
    turned = unwrapped.uv * [-1, 1] + [1, 0]
    path.write_text(obj_of(scene, turned, unwrapped.uv_faces))
    assert any("100% of the map is mirrored" in line for line in from_obj(str(path), scene.vertices, scene.faces).lines)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda uv: uv + np.array([1, 0]), "expected u and v from 0 to 1, all in one map"),  # UDIM's tile 1002
        (lambda uv: uv * 1024, "expected u and v from 0 to 1"),  # texels
        (lambda uv: np.where(np.arange(len(uv))[:, None] == 5, np.nan, uv), "expected u and v from 0 to 1"),
        (lambda uv: uv * 0, "faces have no area in the map"),
        (lambda uv: uv * [1, 0], "faces have no area in the map"),
        (lambda uv: np.random.default_rng(0).random(uv.shape), "times the map; expected each part by itself"),
    ],
)
def test_uv_files_that_are_no_atlas(change, expected, scene, tmp_path):
    path, unwrapped = tmp_path / "uv.obj", made(scene.vertices, scene.faces)
    path.write_text(obj_of(scene, change(unwrapped.uv), unwrapped.uv_faces))
    with pytest.raises(UserError, match=expected) as error:
        from_obj(str(path), scene.vertices, scene.faces)
    assert "unwrap it anew" in str(error.value) and "\n" not in str(error.value)


def test_the_shape_is_the_mean_and_its_spread_is_told(scene, tmp_path):
    arrays = model_arrays(scene)
    np.savez(tmp_path / "a.npz", **arrays)
    shapes = [scene.betas + np.eye(10)[0] * step for step in (-0.5, 0.0, 0.5)]
    rows = zip(scene.Rh, scene.Th, scene.poses, shapes, strict=True)
    template, _, _ = open_body(str(tmp_path / "a.npz"), Track((0, 1, 2), tuple(Person(*row) for row in rows)))
    np.testing.assert_allclose(template.vertices, scene.vertices, atol=1e-9)
    most = 1e3 * 0.5 * np.linalg.norm(arrays["shapedirs"][..., 0], axis=1).max()
    assert any(f"{most:.1f} mm at most" in line for line in template.lines)


def test_a_machine_without_xatlas(scene, monkeypatch):
    monkeypatch.setitem(sys.modules, "xatlas", None)
    with pytest.raises(UserError, match="--uv OBJ"):
        made(scene.vertices, scene.faces)
