"""Figures beside each other, and the pictures that the server draws of them."""

from dataclasses import replace

import numpy as np
import pytest

from na_ray.actor import Actor
from na_ray.capture.camera import Camera
from na_ray.capture.trajectory import look_at
from na_ray.config.values import UserError
from na_ray.motion.playable import training_clip
from na_ray.viewer.figure import DrawnPose, Figure, Kind
from na_ray.viewer.scene import make_scene
from na_ray.viewer.stills import camera_of, moved, sharpen


def figure(actor: Actor, name: str = "anna") -> Figure:
    return Figure(actor, name, [training_clip(actor)])


def vertices(of: Figure) -> np.ndarray:
    return of.body.pose(of.clips[0].pose(0)).world_vertices.numpy() + of.offset


def view(actor: Actor, size: tuple[int, int] = (60, 90)) -> Camera:
    scene = make_scene([figure(actor)], None, None)
    focal = size[0] / 2 / np.tan(np.radians(20))
    K = np.array([[focal, 0, (size[1] - 1) / 2], [0, focal, (size[0] - 1) / 2], [0, 0, 1]])
    return Camera("view", K, look_at(scene.eye, scene.target, scene.up), *size)


def test_the_first_view_holds_all_figures_which_stand_apart_on_one_ground(actor: Actor) -> None:
    figures = [figure(actor, name) for name in ("anna", "bea", "cem")]
    scene = make_scene(figures, None, None)
    assert scene.kind == "splats" and scene.kinds == ["splats", "nerf", "mesh"]
    camera = replace(view(actor, (600, 960)), T_world_camera=look_at(scene.eye, scene.target, scene.up))
    side, bottoms, edges = camera.T_world_camera[:3, 0], [], []
    for one in figures:
        pixels, depth = camera.project(vertices(one))
        assert depth.min() > 0.2 and pixels.min() > 0 and (pixels < [960, 600]).all()
        along = vertices(one) @ side
        edges += [along.min(), along.max()]
        bottoms.append((vertices(one) @ scene.up).min())
    assert np.ptp(bottoms) < 1e-5
    assert np.all(np.diff(edges) > 0) and np.diff(edges)[1::2] == pytest.approx([0.4, 0.4], abs=1e-4)


def test_figures_of_worlds_with_other_skies_are_refused(actor: Actor) -> None:
    other = Actor(actor.folder, actor.networks)
    other.__dict__["values"] = actor.values | {"up": [0, 0, 1.0] if actor.up[1] else [0, 1.0, 0]}
    with pytest.raises(UserError, match="anna has its sky at .* and bea at .*: view them one by one"):
        make_scene([figure(actor), figure(other, "bea")], None, None)


def test_a_browsers_camera_sees_its_target_in_the_middle() -> None:
    T = look_at(np.array([1.0, 2.0, 3.0]), np.array([0.2, 0.9, -0.4]), np.array([0.0, 1.0, 0.0]))
    from scipy.spatial.transform import Rotation

    x, y, z, w = Rotation.from_matrix(T[:3, :3]).as_quat()
    camera = camera_of(np.array([w, x, y, z]), T[:3, 3], 0.7, 480, 640)
    pixels, depth = camera.project(np.array([[0.2, 0.9, -0.4]]))
    assert np.allclose(pixels, [[319.5, 239.5]]) and depth[0] > 0
    top = T[:3, 3] + T[:3, 2] - np.tan(0.35) * T[:3, 1]  # on the upper edge of the picture
    assert camera.project(top[None])[0][0] == pytest.approx([319.5, -0.5])


@pytest.mark.parametrize("kind", ["splats", "nerf", "mesh"])
def test_stills_get_finer_and_are_what_the_avatar_draws(actor: Actor, kind: Kind) -> None:
    one, camera = figure(actor), view(actor, (130, 200))
    drawn = one.draw(kind, one.clips[0].pose(1), actor.mean_texture())
    images = [image for image in sharpen([(one, kind, drawn)], camera, "color") if image is not None]
    assert [max(image.shape) for image in images] == ([200] if kind != "nerf" else [96, 192, 200])
    assert (images[-1] != 255).any(axis=2).mean() > 0.02
    if drawn.frame is not None and kind != "mesh":
        whole = actor.avatar(kind).model.picture(drawn.frame, camera).colors
        assert np.abs(images[-1] - whole.numpy() * 255).max() <= 1.0, "bands join without a seam"


@pytest.mark.parametrize("what", ["depth", "normals"])
def test_depth_and_normals_are_drawn_of_splats_and_mesh(actor: Actor, what: str) -> None:
    camera = view(actor)
    for kind in ("splats", "mesh"):
        one = figure(actor)
        drawn = one.draw(kind, one.clips[0].pose(1), actor.mean_texture())  # type: ignore[arg-type]
        image = [i for i in sharpen([(one, kind, drawn)], camera, what) if i is not None][-1]  # type: ignore[list-item]
        body = (image != 255).any(axis=2)
        assert 0.02 < body.mean() < 0.6 and len(np.unique(image[body], axis=0)) > 10


def test_the_nearer_figure_hides_the_other(actor: Actor) -> None:
    """Two of one place, of which one is moved towards the camera: what it covers is its picture alone."""
    camera, near, far = view(actor), figure(actor, "near"), figure(actor, "far")
    toward = camera.center - vertices(far).mean(0)
    near.offset = 0.3 * toward / np.linalg.norm(toward)
    pose = near.clips[0].pose(0)
    colors = [np.full((8, 8, 3), value, np.uint8) for value in ([255, 0, 0], [0, 0, 255])]
    shown: list[tuple[Figure, Kind, DrawnPose]] = [
        (f, "mesh", f.draw("mesh", pose, c)) for f, c in zip((near, far), colors, strict=True)
    ]
    for order in (shown, shown[::-1]):
        image = [i for i in sharpen(order, camera, "color") if i is not None][-1].astype(int)
        covered = np.round(moved(camera, near.offset).project(vertices(near) - near.offset)[0]).astype(int)
        inside = image[covered[:, 1], covered[:, 0]]
        assert (inside[:, 2] - inside[:, 0] <= 0).mean() > 0.9, "red before blue"
