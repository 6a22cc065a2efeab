import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from na_ray.synthetic.charts import flatten, pack
from na_ray.synthetic.implicit import Blob, blob_distance, extract, smooth_union
from na_ray.synthetic.skeleton import NAMES, PARENTS, REST, forward_kinematics, index, skin, tpose_rotvecs
from na_ray.synthetic.template import build_template


def test_forward_kinematics_equals_a_walk_up_the_tree():
    rotvecs = np.random.default_rng(0).normal(0, 0.5, (24, 3))
    transforms = forward_kinematics(rotvecs)
    for joint in range(24):
        point, node = REST[joint] + (0.01, 0.02, 0.03), joint
        moved = point.copy()
        while node >= 0:
            moved = Rotation.from_rotvec(rotvecs[node]).apply(moved - REST[node]) + REST[node]
            node = PARENTS[node]
        np.testing.assert_allclose(transforms[joint] @ [*point, 1.0], [*moved, 1.0], atol=1e-12)


def test_tpose_stretches_the_arms_out():
    transforms = forward_kinematics(tpose_rotvecs())
    joints = np.einsum("jab,jb->ja", transforms[:, :3, :3], REST) + transforms[:, :3, 3]
    arm = joints[index("left_wrist")] - joints[index("left_shoulder")]
    assert arm[0] > 0.97 * np.linalg.norm(arm)
    assert joints[index("left_ankle"), 0] > REST[index("left_ankle"), 0] + 0.1


def test_skinning_with_one_weight_is_rigid():
    transforms = forward_kinematics(np.random.default_rng(1).normal(0, 0.5, (24, 3)))
    points = np.random.default_rng(2).normal(size=(5, 3))
    weights = np.zeros((5, 24))
    weights[:, 7] = 1.0
    np.testing.assert_allclose(
        skin(points, weights, transforms), points @ transforms[7, :3, :3].T + transforms[7, :3, 3], atol=1e-12
    )


def test_extract_draws_a_closed_sphere():
    mesh = extract(lambda p: np.linalg.norm(p, axis=1) - 0.5, (-0.7, -0.7, -0.7), (0.7, 0.7, 0.7), 0.06)
    np.testing.assert_allclose(np.linalg.norm(mesh.vertices, axis=1), 0.5, atol=1e-4)
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert solid.is_watertight and solid.is_winding_consistent
    assert solid.volume == pytest.approx(4 / 3 * np.pi * 0.125, rel=0.02)


def test_blob_distance_of_an_even_capsule_is_exact():
    blob = Blob("pelvis", (0.0, 0.0, 0.0), (1.0, 0.0, 0.0), 0.2, 0.2)
    points = np.array([[0.5, 0.5, 0.0], [2.0, 0.0, 0.0], [-0.3, 0.4, 0.0], [0.5, 0.1, 0.0]])
    np.testing.assert_allclose(blob_distance(points, blob), [0.3, 0.8, 0.3, -0.1], atol=1e-12)


def test_smooth_union_equals_the_plain_sum():
    rng = np.random.default_rng(3)
    blobs = [Blob("pelvis", tuple(a), tuple(b), 0.2, 0.3) for a, b in rng.uniform(-0.5, 0.5, (4, 2, 3))]
    points = rng.uniform(-0.6, 0.6, (200, 3))
    plain = -0.02 * np.log(sum(np.exp(-blob_distance(points, blob) / 0.02) for blob in blobs))
    near = plain < 0.1
    np.testing.assert_allclose(smooth_union(points, blobs, 0.02)[near], plain[near], atol=1e-3)


def test_flatten_unrolls_a_half_cylinder_without_distortion():
    angle, height = np.meshgrid(np.linspace(0, np.pi, 13), np.linspace(0, 1, 7), indexing="ij")
    vertices = np.stack([0.3 * np.cos(angle), height, 0.3 * np.sin(angle)], axis=-1).reshape(-1, 3)
    corner = (np.arange(12)[:, None] * 7 + np.arange(6)).ravel()
    faces = np.concatenate([np.c_[corner, corner + 1, corner + 7], np.c_[corner + 1, corner + 8, corner + 7]])
    uv = flatten(vertices, faces)
    for a, b in ((0, 1), (1, 2), (2, 0)):
        in_map = np.linalg.norm(uv[faces[:, a]] - uv[faces[:, b]], axis=1)
        on_body = np.linalg.norm(vertices[faces[:, a]] - vertices[faces[:, b]], axis=1)
        np.testing.assert_allclose(in_map, on_body, rtol=1e-3)


def test_pack_keeps_charts_apart():
    square = np.array([[[0, 0], [1, 0], [1, 1]], [[0, 0], [1, 1], [0, 1]]], dtype=float)
    sizes = (1.0, 0.6, 0.6, 0.3)
    scale, places = pack([size * square for size in sizes])
    taken = np.zeros((192, 192), dtype=int)
    for (x, y), size in zip(places, sizes, strict=True):
        taken[y : y + int(size * scale) + 1, x : x + int(size * scale) + 1] += 1
    assert taken.max() == 1
    assert (taken > 0).mean() > 0.5


def test_template_is_a_closed_mesh_of_smooth_weights():
    template = build_template()
    solid = trimesh.Trimesh(template.mesh.vertices, template.mesh.faces, process=False)
    assert len(solid.vertices) > 2000
    assert solid.is_watertight and solid.is_winding_consistent and solid.body_count == 1
    assert 0.03 < solid.volume < 0.09
    weights = template.weights
    np.testing.assert_allclose(weights.sum(1), 1.0, atol=1e-12)
    assert (weights > 0).sum(1).max() <= 4 and weights.min() >= 0
    assert (weights.max(0) > 0.4).all(), "every joint moves something"
    edges = np.sort(template.mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    assert np.abs(weights[edges[:, 0]] - weights[edges[:, 1]]).max() < 0.6


def test_template_weights_do_not_leak_to_the_other_side():
    template = build_template()
    right = [index(name) for name in NAMES if name.startswith("right")]
    far_left = (template.mesh.vertices[:, 0] > 0.05) & (template.mesh.vertices[:, 1] < -0.3)
    assert template.weights[far_left][:, right].sum(1).max() < 0.01


def test_atlas_has_seams_and_no_overlaps():
    template = build_template()
    a, b, c = (template.uv[template.uv_faces[:, k]] for k in range(3))
    twice = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    assert len(template.uv) > len(template.mesh.vertices)
    assert template.uv.min() > 0 and template.uv.max() < 1
    assert (twice > 0).mean() > 0.999, "faces turned over in the map"
    assert 0.45 < 0.5 * twice.sum() < 0.95
    # Texel centers in more than one face, against those in any.
    grid = np.stack(np.meshgrid(np.arange(8), np.arange(8)), axis=-1).reshape(-1, 2)
    p, q, r = (160 * corner for corner in (a, b, c))
    low = np.floor(np.minimum(np.minimum(p, q), r))
    assert (np.maximum(np.maximum(p, q), r) - low).max() < 8
    centers = low[:, None] + grid + 0.5
    sides = [_cross(e[:, None] - f[:, None], centers - f[:, None]) for f, e in ((p, q), (q, r), (r, p))]
    inside = np.min(sides, axis=0) > 0
    texels = np.floor(centers[inside]).astype(int) @ (1, 160)
    counts = np.bincount(texels)
    assert (counts > 1).sum() < 0.002 * (counts > 0).sum()


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
