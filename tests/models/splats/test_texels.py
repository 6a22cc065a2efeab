"""Where the texels' Gaussians lie, against barycentrics solved in float64, texel by texel."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from na_ray.capture.rig import Pose, Rig
from na_ray.config.values import UserError
from na_ray.models.splats.texels import Texels
from tests.models.bodies import bent, blob
from tests.models.splats.actors import at_rest, body_of, column_pose, column_rig, sheet

SIDE = 64


def skinned(rig: Rig, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """World positions (v, 3) without the translation, and the rotation that carries each vertex (v, 3, 3); float64."""
    joints, turn = pose.joints_RT.astype(float), pose.rotation.astype(float)
    points, turns = [], []
    for vertex, weights in zip(rig.vertices.astype(float), rig.weights.astype(float), strict=True):
        A = sum(w * joint for w, joint in zip(weights, joints, strict=True))
        points.append((A[:3, :3] @ vertex + A[:3, 3]) @ turn)
        turns.append(turn.T @ A[:3, :3])
    return np.array(points), np.array(turns)


def barycentrics(rig: Rig, face: int, texel: int) -> np.ndarray:
    """Of a texel's center in a face of the atlas: the weights whose mean of the corners it is."""
    row, column = divmod(texel, SIDE)
    corners = rig.uv[rig.uv_faces[face]].astype(float)
    center = np.array([(column + 0.5) / SIDE, 1 - (row + 0.5) / SIDE, 1])
    return np.linalg.solve(np.concatenate([corners.T, np.ones((1, 3))]), center)


def held(rig: Rig, texels: Texels) -> list[tuple[int, int, np.ndarray]]:
    """(place, face, weights) of the texels whose center lies in a face."""
    found = []
    corners = texels.corners.tolist()
    faces = {tuple(face): k for k, face in enumerate(rig.faces.tolist())}
    for place, texel in enumerate(texels.index.tolist()):
        face = faces[tuple(corners[place])]
        weights = barycentrics(rig, face, texel)
        if weights.min() > 1e-4:
            found.append((place, face, weights))
    return found


@pytest.mark.parametrize("frame", [0, 7])
def test_points_lie_on_the_posed_surface_and_frames_are_carried_by_the_skinning(frame: int) -> None:
    rig, pose = column_rig(), column_pose(frame)
    body = body_of(rig)
    texels = Texels(body, SIDE)
    posed = texels.pose(body.pose(pose))
    rest = texels.pose(body.pose(at_rest(rig.num_joints)))
    points, turns = skinned(rig, pose)
    inside = held(rig, texels)
    assert len(inside) > 500
    torch.testing.assert_close(posed.origin, torch.from_numpy(pose.translation.reshape(3)))
    for place, face, weights in inside:
        corners = rig.faces[face]
        np.testing.assert_allclose(posed.points[place].numpy(), weights @ points[corners], atol=2e-6)
        turn = np.einsum("k,krc->rc", weights, turns[corners])
        np.testing.assert_allclose(posed.frames[place].numpy(), turn @ rest.frames[place].numpy(), atol=2e-6)


def test_frames_at_rest_are_orthonormal_and_stand_on_the_faces() -> None:
    rig = column_rig()
    body = body_of(rig)
    texels = Texels(body, SIDE)
    rest = texels.pose(body.pose(at_rest(rig.num_joints))).frames
    torch.testing.assert_close(rest.mT @ rest, torch.eye(3).expand(len(texels), 3, 3), rtol=0, atol=1e-5)
    assert (torch.linalg.det(rest) > 0.999).all()
    for place, face, _ in held(rig, texels):
        a, b, c = rig.vertices[rig.faces[face]].astype(float)
        normal = np.cross(b - a, c - a)
        np.testing.assert_allclose(rest[place, :, 2].numpy(), normal / np.linalg.norm(normal), atol=1e-5)


def test_a_footprint_spans_a_texel() -> None:
    """The step of one texel in u and in v, in world metres, by finite differences of the barycentric point."""
    rig = column_rig()
    body = body_of(rig)
    texels = Texels(body, SIDE)
    rest = texels.pose(body.pose(at_rest(rig.num_joints)))
    for place, face, _ in held(rig, texels)[::7]:
        corners, flat = rig.vertices[rig.faces[face]].astype(float), rig.uv[rig.uv_faces[face]].astype(float)
        to_world = np.linalg.lstsq((flat[1:] - flat[0]) * SIDE, corners[1:] - corners[0], rcond=None)[0]
        lu, shear, lv = texels.footprints[place].double().numpy()
        tangent, bitangent = rest.frames[place, :, 0].double().numpy(), rest.frames[place, :, 1].double().numpy()
        np.testing.assert_allclose(lu * tangent, to_world[0], atol=1e-6)
        np.testing.assert_allclose(shear * tangent + lv * bitangent, to_world[1], atol=1e-6)


def test_the_image_of_normals_holds_those_of_the_posed_surface() -> None:
    rig, pose = column_rig(), column_pose(5)
    body = body_of(rig)
    texels, posed = Texels(body, SIDE), body.pose(pose)
    image = texels.pose(posed).normals.view(3, -1)
    points, _ = skinned(rig, pose)
    total = np.zeros_like(points)
    for face in rig.faces:
        a, b, c = points[face]
        for corner in face:
            total[corner] += np.cross(b - a, c - a)
    normals = total / np.linalg.norm(total, axis=1, keepdims=True)
    for place, face, weights in held(rig, texels):
        expected = weights @ normals[rig.faces[face]]
        np.testing.assert_allclose(image[:, int(texels.index[place])].numpy(), expected, atol=2e-5)
    outside = torch.ones(SIDE**2, dtype=torch.bool)
    outside[texels.index.long()] = False
    assert outside.any() and (image[:, outside] == 0).all()


def test_faces_without_area_carry_nothing() -> None:
    """In the atlas, on the body, or folded onto a line: the others keep their texels."""
    rig = sheet(4)
    whole = Texels(body_of(rig), SIDE)
    uv, vertices = rig.uv[rig.uv_faces].copy().reshape(-1, 2), rig.vertices.copy()
    uv[:3] = uv[0]
    flat = replace(rig, uv=uv, uv_faces=np.arange(len(uv)).reshape(-1, 3))
    assert 0 < len(whole) - len(Texels(body_of(flat), SIDE)) < len(whole) / 16
    corner = rig.faces[0]
    vertices[corner[1]] = (vertices[corner[0]] + vertices[corner[2]]) / 2
    folded = Texels(body_of(replace(rig, vertices=vertices)), SIDE)
    assert 0 < len(folded) < len(whole)
    for name, table in folded.named_buffers():
        assert torch.isfinite(table.float()).all(), name
    assert (folded.footprints[:, 0] > 0).all()
    assert (folded.footprints[:, 2].abs() > 0).all()


def test_a_mirrored_chart_still_looks_outwards() -> None:
    """Its v runs the other way, so the footprint is negative along the bitangent: the frame stays a rotation."""
    rig = sheet(1)
    mirrored = replace(rig, uv=np.ascontiguousarray(rig.uv * [-1, 1] + [1, 0], np.float32))
    body = body_of(mirrored)
    texels = Texels(body, SIDE)
    frames = texels.pose(body.pose(at_rest(1))).frames
    torch.testing.assert_close(frames[:, :, 2], torch.tensor([0.0, 0, 1]).expand(len(texels), 3))
    assert (torch.linalg.det(frames) > 0.999).all() and (texels.footprints[:, 2] < 0).all()


def test_stacked_charts_have_one_gaussian_a_texel() -> None:
    """Front and back of the blob share the atlas: the texels belong to the lowest of the faces that hold them."""
    rig = blob()
    body = body_of(rig)
    texels = Texels(body, SIDE)
    assert len(set(texels.index.tolist())) == len(texels)
    assert torch.isfinite(texels.pose(body.pose(bent())).frames).all()
    corners = {tuple(face): k for k, face in enumerate(rig.faces.tolist())}
    for place in range(0, len(texels), 17):
        face = corners[tuple(texels.corners[place].tolist())]
        holders = [
            k for k in range(len(rig.faces)) if barycentrics_or_none(rig, k, int(texels.index[place])).min() > 1e-6
        ]
        assert not holders or face == min(holders)


def barycentrics_or_none(rig: Rig, face: int, texel: int) -> np.ndarray:
    try:
        return barycentrics(rig, face, texel)
    except np.linalg.LinAlgError:
        return np.full(3, -1.0)


def test_an_atlas_of_a_few_texels_is_refused_by_a_line() -> None:
    rig = sheet(1)
    tiny = replace(rig, uv=(0.02 * rig.uv + 0.5).astype(np.float32))
    with pytest.raises(UserError, match=r"atlas covers \d+ of 64x64 texels: .*raise splats.texels") as told:
        Texels(body_of(tiny), SIDE)
    assert "\n" not in str(told.value)
    with pytest.raises(UserError, match="atlas covers 0 of 64x64"):
        Texels(body_of(replace(rig, uv=np.zeros_like(rig.uv))), SIDE)
    assert len(Texels(body_of(replace(rig, uv=(0.1 * rig.uv + 0.5).astype(np.float32))), SIDE)) >= 36
