"""Rigged .glb files as bodies: texture coordinates that are no atlas, bones whose names say nothing, several meshes."""

import numpy as np
import pytest
from convert.scene import REST, tubes
from formats.test_rigged_glb import centimetres, packed

from na_ray.config.values import UserError
from na_ray.convert.atlas import made
from na_ray.convert.rigs import glb_template


@pytest.fixture(scope="module")
def body():
    vertices, faces, weights = tubes()
    unwrapped = made(vertices, faces)
    return vertices, faces, weights, unwrapped.uv[unwrapped.uv_faces]


def template(body, path, change=lambda contents: None, uv=lambda corners: corners):
    vertices, faces, weights, corners = body
    contents, data = centimetres(vertices, faces, weights, REST, uv(corners))
    change(contents)
    path.write_bytes(packed(contents, data))
    return glb_template(str(path))


def test_an_atlas_of_the_file_is_taken(body, tmp_path):
    found = template(body, tmp_path / "a.glb")
    np.testing.assert_allclose(found.uv[found.uv_faces], body[3], atol=1e-5)
    assert len(found.lines) == 1


@pytest.mark.parametrize(
    ("uv", "expected"),
    [
        (lambda uv: uv + np.array([1, 0]), "expected u and v from 0 to 1"),  # a tile of its own (UDIM)
        (lambda uv: uv * [2, 1] % 1, "each part by itself"),  # a map for each material
        (lambda uv: uv * 0.5, None),
        (lambda uv: uv * 0, "faces have no area"),
        (lambda uv: np.random.default_rng(0).random(uv.shape), "times the map"),
    ],
)
def test_coordinates_that_are_no_atlas_are_left_out(uv, expected, body, tmp_path):
    """One is made then, as for a file without any."""
    found = template(body, tmp_path / "a.glb", uv=uv)
    if expected is None:
        assert found.uv is not None
    else:
        assert found.uv is None and found.uv_faces is None
        assert "its texture coordinates are left out" in found.lines[-1] and expected in found.lines[-1]


def test_several_meshes_are_said(body, tmp_path):
    def again(contents):
        contents["nodes"].append({"name": "shirt", "mesh": 0, "skin": 0})

    assert any("2 meshes are joined: body, shirt" in line for line in template(body, tmp_path / "a.glb", again).lines)


def test_bones_without_meaning_are_to_be_renamed_in_the_file(body, tmp_path):
    """There is no map of names here, as motions have."""

    def rename(contents):
        for i, node in enumerate(contents["nodes"][2:]):
            node["name"] = f"Bone.{i:03d}"

    with pytest.raises(UserError, match="do not say where left and up are.*: rename the bones in the file") as error:
        template(body, tmp_path / "a.glb", rename)
    assert "--joints" not in str(error.value)
