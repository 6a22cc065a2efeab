"""Whole pictures equal one call over all rays; films are whole, resumable, and never mixed."""

import dataclasses

import numpy as np
import pytest
import torch
from make_capture import write_tiny_capture

from na_ray import render
from na_ray.body.body import Body
from na_ray.body.intervals import shell_intervals
from na_ray.capture import video
from na_ray.capture.dataset import Capture
from na_ray.checkpoint import TrainedAvatar
from na_ray.config import DataConfig, Experiment, NerfConfig
from na_ray.models.avatar import normals_from_depth
from na_ray.models.nerf import ray_picture
from na_ray.models.nerf.renderer import Nerf
from na_ray.pictures import picture, png


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    folder = write_tiny_capture(tmp_path_factory.mktemp("render") / "capture", resolution=(37, 48), texture_size=24)
    return Capture.open(str(folder))


def make_actor(capture, seed=0, density=5.0, background=(1.0, 1.0, 1.0), **options):
    torch.manual_seed(seed)
    config = Experiment(
        nerf=NerfConfig(hidden=8, encoder_width=4, samples_per_ray=4, samples_per_chunk=64, **options),
        data=DataConfig(texture_size=16, background=background),
    )
    body = Body.from_rig(capture.rig)
    nerf = Nerf(config.nerf, body, config.data).eval()
    # An untrained field may be empty: raise its density so that there is something to see.
    last = [p for name, p in nerf.named_parameters() if p.shape == (1,)]
    assert last, "the density's bias is the one parameter with a single number"
    for p in last:
        p.data.fill_(density)
    return TrainedAvatar(nerf, body, config)


def view_of(actor, capture, camera, frame=1):
    split = capture.split("training")
    encoded = render.encode(actor, split.pose(frame), split.texture(frame))
    return encoded, actor.model.picture(encoded, camera)


@pytest.mark.parametrize("parity", [False, True])
def test_a_picture_is_all_its_rays_in_one_call(capture, parity, monkeypatch):
    monkeypatch.setattr(ray_picture, "MOST_RAYS", 100)
    actor = make_actor(capture, background=(0.5, -1.0, 1.0), parity=parity)
    camera = capture.split("training").cameras[1]
    encoded, seen = view_of(actor, capture, camera)
    rays = (torch.from_numpy(r).float() for r in camera.rays(camera.pixel_grid()))
    with torch.no_grad():
        whole = actor.model.march(encoded, *rays)
    colors = ((whole.colors + 1) / 2).clamp(0, 1).reshape(37, 48, 3)
    torch.testing.assert_close(seen.colors, colors, atol=1e-5, rtol=0)
    torch.testing.assert_close(seen.depth.flatten(), whole.depths, atol=1e-4, rtol=0)
    torch.testing.assert_close(seen.transmittance.flatten(), whole.transmittance, atol=1e-5, rtol=0)
    assert seen.transmittance.min() < 0.5 and (seen.transmittance == 1).any()
    np.testing.assert_allclose(seen.colors[0, 0], (0.75, 0, 1))
    torch.testing.assert_close(seen.normals, normals_from_depth(seen.depth, camera))


@pytest.mark.parametrize("parity", [False, True])
def test_more_rays_a_pixel_are_the_mean_of_a_larger_picture(capture, parity, monkeypatch):
    monkeypatch.setattr(ray_picture, "MOST_RAYS", 100)
    actor = make_actor(capture, background=(0.5, -1.0, 1.0), parity=parity)
    camera = capture.split("training").cameras[1]
    encoded, one = view_of(actor, capture, camera)
    large = actor.model.picture(encoded, camera.resized(3 * 37, 3 * 48))
    seen = actor.model.picture(encoded, camera, supersample=3)
    for name in ("colors", "depth", "transmittance"):
        blocks = getattr(large, name).reshape(37, 3, 48, 3, -1).mean(dim=(1, 3)).reshape(getattr(seen, name).shape)
        torch.testing.assert_close(getattr(seen, name), blocks, atol=1e-4, rtol=0)
    assert (seen.colors - one.colors).abs().max() > 0.01


def test_only_pixels_near_the_body_are_marched(capture):
    actor = make_actor(capture)
    camera = capture.split("training").cameras[0].resized(111, 144)
    posed = actor.model.body.pose(capture.split("training").pose(0))
    chosen = ray_picture.near_pixels(posed, camera, actor.config.nerf.shell_radius)
    # The corners of the pixels, too: with several rays a pixel, all of it is looked at.
    for shift in ((0.0, 0.0), (0.5, 0.5), (-0.5, 0.5), (0.5, -0.5), (-0.5, -0.5)):
        rays = (torch.from_numpy(r) for r in camera.rays(camera.pixel_grid() + np.array(shift)))
        hit = shell_intervals(posed.world_vertices.double(), *rays, actor.config.nerf.shell_radius)[2].numpy()
        assert not np.setdiff1d(np.flatnonzero(hit), chosen).size
    assert 0 < hit.sum() <= len(chosen) < 3 * hit.sum() and len(chosen) < hit.size / 2


def test_a_picture_has_no_noise_in_training_either(capture):
    actor = make_actor(capture)
    camera = capture.split("training").cameras[0]
    encoded, quiet = view_of(actor, capture, camera)
    actor.model.train()
    assert torch.equal(actor.model.picture(encoded, camera).colors, quiet.colors)


def film(actor, capture, out, cameras=(0, 1, 2), **options):
    split = capture.split("testing")
    motion = render.Motion(split, range(len(cameras)))
    return render.render_sequence(actor, motion, [split.cameras[c] for c in cameras], out, **options)


def test_a_film_has_every_view_and_goes_on_where_it_stopped(capture, tmp_path):
    actor, calls = make_actor(capture), []
    films = film(actor, capture, tmp_path, side_by_side=True, fps=10.0, progress=lambda *n: calls.append(n))
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert [f.name for f in films] == ["color.mp4", "depth.mp4", "normals.mp4", "mesh.mp4", "side_by_side.mp4"]
    for path in films:
        info = video.probe(str(path))
        assert (info.num_frames, info.codec, info.fps) == (3, "h264", 10)
        # 37 rows became 38: players want even sizes.
        assert info.height == 38 and info.width in (48, 4 * 48)
    shown = [png.read_png(tmp_path / v / "000001.png") for v in ("color", "depth", "normals", "mesh")]
    np.testing.assert_array_equal(png.read_png(tmp_path / "side_by_side" / "000001.png"), np.hstack(shown))
    assert all((s != 255).any() for s in shown)

    before = (tmp_path / "color" / "000000.png").stat().st_mtime_ns
    (tmp_path / "mesh" / "000002.png").unlink()
    (tmp_path / "depth.mp4").unlink()
    film(actor, capture, tmp_path, side_by_side=True)
    assert (tmp_path / "color" / "000000.png").stat().st_mtime_ns == before
    assert (tmp_path / "mesh" / "000002.png").is_file() and video.probe(str(tmp_path / "depth.mp4")).num_frames == 3


def test_a_kept_film_is_the_one_that_was_asked_for(capture, tmp_path):
    actor = make_actor(capture)

    def made(cameras, fps):
        (path,) = film(actor, capture, tmp_path, cameras=cameras, views=("color",), fps=fps)
        info = video.probe(str(path))
        return info.num_frames, info.fps, path.stat().st_mtime_ns

    *first, written = made((0, 1, 2), 25.0)
    assert first == [3, 25]
    assert made((0, 1, 2), 25.0)[2] == written, "it is kept where it is the same"
    assert made((0, 1), 10.0)[:2] == (2, 10)
    assert made((0, 1), 25.0)[:2] == (2, 25)


def test_films_are_not_mixed(capture, tmp_path):
    film(make_actor(capture), capture, tmp_path, views=("color",))
    with pytest.raises(FileExistsError, match=r"000000\.png shows another actor, pose or camera: name another folder"):
        film(make_actor(capture, seed=1), capture, tmp_path, views=("color",))
    with pytest.raises(FileExistsError, match=r"000001\.png shows another"):
        film(make_actor(capture), capture, tmp_path, cameras=(0, 2, 1), views=("color",))
    old = png.read_png(tmp_path / "color" / "000001.png")
    film(make_actor(capture, seed=1), capture, tmp_path, views=("color",), overwrite=True)
    assert (png.read_png(tmp_path / "color" / "000001.png") != old).any()


def test_films_that_cannot_be_made_say_why(capture, tmp_path):
    actor, split = make_actor(capture), capture.split("testing")
    with pytest.raises(ValueError, match="1 cameras for 4 frames: a film needs one camera a frame"):
        render.render_sequence(actor, split, split.cameras[:1], tmp_path)
    with pytest.raises(ValueError, match="no view given: choose among color, depth, normals, mesh"):
        film(actor, capture, tmp_path, views=())
    wide = dataclasses.replace(split.cameras[1], width=50)
    with pytest.raises(ValueError, match="differ in resolution"):
        render.render_sequence(actor, render.Motion(split, [0, 0]), [split.cameras[0], wide], tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_mesh_view_shows_the_stored_texture_over_the_background(capture):
    actor = make_actor(capture, background=(-1.0, 0.0, 1.0))
    split = capture.split("training")
    posed = actor.model.body.pose(split.pose(0))
    flat = np.full((24, 24, 3), (200, 100, 50), np.uint8)
    shown = picture.to_uint8(render.mesh_view(actor, posed, flat, split.cameras[0], 3))
    assert (shown[18, 24] == (200, 100, 50)).all() and (shown[0, 0] == (0, 128, 255)).all()
