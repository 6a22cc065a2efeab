"""Scores are those of the pictures that were compared, over crops that are named, and say what is missing."""

import copy
import json

import numpy as np
import pytest
import torch
from make_capture import picture, write_picture, write_tiny_capture
from PIL import Image

from na_ray import render
from na_ray.body.body import Body
from na_ray.body.rasterize import textured_mesh
from na_ray.body.surface import Surface
from na_ray.capture.dataset import Capture
from na_ray.checkpoint import TrainedAvatar
from na_ray.config import DataConfig, Experiment, NerfConfig, SplatsConfig
from na_ray.config.values import UserError
from na_ray.evaluation import image_metrics
from na_ray.evaluation.evaluate import evaluate, target_image
from na_ray.models.nerf.renderer import Nerf
from na_ray.models.splats.poses import PoseTable
from na_ray.models.splats.splats import Splats
from na_ray.motion import textures
from na_ray.pictures.box import Box, sphere_box

SIZE = (48, 64)


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    folder = write_tiny_capture(tmp_path_factory.mktemp("evaluate") / "capture", resolution=SIZE, texture_size=24)
    return Capture.open(str(folder))


@pytest.fixture(scope="module")
def actor(capture):
    torch.manual_seed(0)
    nerf = NerfConfig(hidden=8, encoder_width=4, samples_per_ray=4)
    config = Experiment(nerf=nerf, data=DataConfig(texture_size=16))
    body = Body.from_rig(capture.rig)
    return TrainedAvatar(Nerf(config.nerf, body).eval(), body, config)


@pytest.fixture(autouse=True)
def no_weights(monkeypatch):
    monkeypatch.delenv("NA_RAY_WEIGHTS", raising=False)


def pictures(actor, split, frame, camera, supersample=2):
    """What evaluate should compare, made by hand: both methods, with as many rays a pixel."""
    posed, texture = actor.body.pose(split.pose(frame)), split.texture(frame)
    seen = actor.model.picture(render.encode(actor, split.pose(frame), texture), camera, supersample).colors
    surface = Surface(actor.body.faces, len(posed.vertices))
    values = torch.from_numpy(np.array(texture)).float() / 255
    return {"nerf": seen, "mesh": textured_mesh(posed, values, camera, surface, supersample)[0]}


@pytest.mark.parametrize("supersample", [1, 2, 3])
def test_every_score_is_that_of_its_pictures_with_equal_rays(actor, capture, supersample):
    calls = []
    options = {"progress": lambda *n: calls.append(n), "supersample": supersample}
    scores = evaluate(actor, capture, "testing", [1, 3], [2, 0], **options)
    assert scores.rays_per_pixel == scores.to_json()["rays_per_pixel"] == supersample**2
    assert f"64x48 px, {supersample**2} rays a pixel" in scores.table()
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)] and len(scores.images) == 2 * 2 * 2 * 2
    split = capture.split("testing")
    for score in scores.images:
        camera = next(c for c in split.cameras if c.name == score.camera)
        target = target_image(split, score.frame, split.cameras.index(camera), camera)
        shown = pictures(actor, split, score.frame, camera, supersample)[score.method]
        box = Box(0, 0, *SIZE)
        if score.crop == "box":
            box = sphere_box(actor.body.pose(split.pose(score.frame)).world_vertices.double().numpy(), camera, 0.06)
        assert score.psnr == pytest.approx(image_metrics.psnr(box.crop(shown), box.crop(target)), abs=1e-4)
        assert score.ssim == pytest.approx(image_metrics.ssim(box.crop(shown), box.crop(target)), abs=1e-5)
        assert score.lpips is None
    chosen = [s.psnr for s in scores.images if (s.method, s.crop) == ("mesh", "box")]
    assert scores.mean("mesh", "box", "psnr") == pytest.approx(np.mean(chosen))
    assert scores.mean("nerf", "whole", "lpips") is None


def test_what_is_saved_says_what_was_compared(actor, capture, tmp_path):
    scores = evaluate(actor, capture, "training", [0], [1], resolution=(24, 32))
    scores.save(tmp_path / "deep" / "scores.json")
    saved = json.loads((tmp_path / "deep" / "scores.json").read_text())
    assert saved["resolution"] == [24, 32] and saved["background"] == [1, 1, 1]
    assert saved["crops"]["whole"] == "the whole image" and "0.06 m" in saved["crops"]["box"]
    assert saved["images"][0] | {"psnr": 0, "ssim": 0} == {
        **{"frame": 0, "camera": "0001", "method": "nerf", "crop": "whole", "psnr": 0, "ssim": 0, "lpips": None},
    }
    assert saved["mean"]["mesh"]["whole"]["psnr"] == pytest.approx(scores.mean("mesh", "whole", "psnr"))
    assert "NA_RAY_WEIGHTS" in saved["notes"][0]
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["scores.json"]


def test_the_table_shows_both_methods_and_what_is_missing(actor, capture):
    table = evaluate(actor, capture, "training", [0], [1]).table()
    lines = table.splitlines()
    assert lines[5].startswith("seen: training, 1 frames x 1 cameras (0001), 64x48 px")
    assert lines[3].startswith("nerf") and lines[4].startswith("textured mesh")
    assert lines[3].split()[-1] == "-" and "box: bounding box of" in table and "NA_RAY_WEIGHTS is not set" in table
    alone = evaluate(actor, capture, "training", [0], [1], baseline=False)
    assert "textured mesh" not in alone.table() and list(alone.summary()) == ["nerf"]


def test_lpips_is_scored_where_its_weights_are(actor, capture, tmp_path, monkeypatch):
    torch.manual_seed(0)
    model = image_metrics.Lpips()
    torch.save({f"features.{k}": v for k, v in model.features.state_dict().items()}, tmp_path / "alexnet-test.pth")
    heads = {f"lin{i}.model.1.weight": head.data.reshape(1, -1, 1, 1) for i, head in enumerate(model.heads)}
    torch.save(heads, tmp_path / "alex.pth")
    monkeypatch.setenv("NA_RAY_WEIGHTS", str(tmp_path))
    scores = evaluate(actor, capture, "training", [0], [1], baseline=False)
    split = capture.split("training")
    camera = split.cameras[1]
    expected = model(pictures(actor, split, 0, camera)["nerf"], target_image(split, 0, 1, camera))
    assert scores.mean("nerf", "whole", "lpips") == pytest.approx(float(expected), rel=1e-4) and expected > 0
    # The box is narrower than AlexNet's strides: missing, not zero.
    assert scores.mean("nerf", "box", "lpips") is None and scores.notes == []


def test_a_diverged_actor_gets_no_scores_instead_of_nonsense(actor, capture, tmp_path):
    broken = copy.deepcopy(actor.model)
    for parameter in broken.field.parameters():
        parameter.data.fill_(float("nan"))
    scores = evaluate(TrainedAvatar(broken, actor.body, actor.config), capture, "training", [0], [1])
    assert scores.mean("nerf", "whole", "psnr") is None and scores.mean("mesh", "whole", "psnr") > 5
    assert scores.notes[-1] == "2 crops hold numbers that are not finite and are left out of the means"
    scores.save(tmp_path / "scores.json")
    with pytest.raises(ValueError, match="training: 1 frames and 0 cameras given: nothing to score"):
        evaluate(actor, capture, "training", [0], [])


def test_masks_of_the_capture_give_the_box(actor, tmp_path):
    folder = write_tiny_capture(tmp_path, resolution=SIZE)
    mask = np.zeros(SIZE, np.uint8)
    mask[5:31, 20:45] = 255
    write_picture(folder / "masks" / "training" / "001" / "000002.png", mask)
    capture = Capture.open(str(folder))
    scores = evaluate(actor, capture, "training", [2], [1], resolution=(24, 32), baseline=False)
    assert scores.crops["box"] == "bounding box of the mask (masks/training)"
    split = capture.split("training")
    camera = split.cameras[1].resized(24, 32)
    box = Box(2, 10, 16, 23)
    shown, target = pictures(actor, split, 2, camera)["nerf"], target_image(split, 2, 1, camera)
    assert scores.mean("nerf", "box", "psnr") == pytest.approx(image_metrics.psnr(box.crop(shown), box.crop(target)))
    with pytest.raises(FileNotFoundError, match=r"no mask of frame 3: copy it there, or remove masks/"):
        evaluate(actor, capture, "training", [3], [1])


def test_targets_are_averaged_and_alpha_lies_over_the_background(tmp_path):
    folder = write_tiny_capture(tmp_path, frames=1, splits=("training",), layout="extracted", resolution=(8, 12))
    image = picture("training", 0, 0, (8, 12))
    alpha = np.full((8, 12, 1), 255, np.uint8)
    alpha[:2] = 0
    rgb = folder / "training" / "rgb" / "000000" / "0000.png"
    Image.fromarray(np.concatenate([image, alpha], 2)).save(rgb)
    split = Capture.open(str(folder)).split("training")
    background = (0.25, 0.5, 1.0)
    whole = target_image(split, 0, 0, split.cameras[0], background).numpy()
    np.testing.assert_allclose(whole[:2], np.broadcast_to(background, (2, 12, 3)), atol=1e-6)
    np.testing.assert_allclose(whole[2:], image[2:] / 255, atol=1e-6)
    half = target_image(split, 0, 0, split.cameras[0].resized(4, 6), background).numpy()
    np.testing.assert_allclose(half, whole.reshape(4, 2, 6, 2, 3).mean((1, 3)), atol=1e-6)


def test_the_body_box_bounds_every_sphere(actor, capture):
    camera = capture.split("training").cameras[1]
    posed = actor.body.pose(capture.split("training").pose(2))
    radius = 0.03
    sphere = np.random.default_rng(0).normal(size=(20_000, 3))
    sphere *= radius / np.linalg.norm(sphere, axis=1, keepdims=True)
    ends = []
    for vertex in posed.world_vertices.numpy():
        pixels, _ = camera.project(vertex + sphere)
        ends.append((*pixels.min(0), *pixels.max(0)))
    ends = np.array(ends)
    left, top = np.ceil(np.maximum(ends[:, :2].min(0), 0) - 0.01)
    right, bottom = np.floor(np.minimum(ends[:, 2:].max(0), (SIZE[1] - 1, SIZE[0] - 1)) + 0.01) + 1
    points = posed.world_vertices.double().numpy()
    assert sphere_box(points, camera, radius) == Box(int(top), int(left), int(bottom), int(right))
    away = camera.T_world_camera.copy()
    away[:3, [0, 2]] *= -1
    assert (
        sphere_box(posed.world_vertices.double().numpy(), type(camera)("away", camera.K, away, *SIZE), radius) is None
    )


def naive_masked(image, target, mask):
    """PSNR and SSIM over a mask's pixels, pixel by pixel and window by window in float64."""
    a, b = image.numpy().astype(np.float64), target.numpy().astype(np.float64)
    squares = [(a[y, x, c] - b[y, x, c]) ** 2 for y, x in zip(*np.nonzero(mask), strict=True) for c in range(3)]
    similarities = []
    for y, x in zip(*np.nonzero(mask), strict=True):
        if not (3 <= y < a.shape[0] - 3 and 3 <= x < a.shape[1] - 3):
            continue
        for c in range(3):
            p, q = (m[y - 3 : y + 4, x - 3 : x + 4, c].ravel() for m in (a, b))
            (vp, cov), (_, vq) = np.cov(p, q)
            means = (2 * p.mean() * q.mean() + 1e-4) / (p.mean() ** 2 + q.mean() ** 2 + 1e-4)
            similarities.append(means * (2 * cov + 9e-4) / (vp + vq + 9e-4))
    return -10 * np.log10(np.mean(squares)), np.mean(similarities)


@pytest.mark.parametrize("resolution", [None, (24, 32), (20, 27)])
def test_scores_of_the_mask_are_those_of_its_pixels_alone(actor, tmp_path, resolution):
    folder = write_tiny_capture(tmp_path, frames=1, resolution=SIZE)
    mask = np.zeros(SIZE, np.uint8)
    mask[8:33, 21:48] = 255
    mask[0:5, 60:64] = 255  # at the border, where no window of SSIM fits
    mask[12:17, 30:31] = 0
    write_picture(folder / "masks" / "training" / "1" / "0.png", mask)
    capture = Capture.open(str(folder))
    scores = evaluate(actor, capture, "training", [0], [1], resolution=resolution)
    split = capture.split("training")
    height, width = resolution or SIZE
    camera = split.cameras[1].resized(height, width) if resolution else split.cameras[1]
    target, shown = target_image(split, 0, 1, camera), pictures(actor, split, 0, camera)
    # The part of every pixel that the mask covers, by counting a grid that both sizes divide.
    fine = np.kron(mask > 0, np.ones((height, width))).reshape(height, SIZE[0], width, SIZE[1]).mean((1, 3))
    for method in ("nerf", "mesh"):
        psnr, ssim = naive_masked(shown[method], target, fine >= 0.5)
        assert scores.mean(method, "mask", "psnr") == pytest.approx(psnr, abs=1e-4)
        assert scores.mean(method, "mask", "ssim") == pytest.approx(ssim, abs=1e-5)
        assert scores.mean(method, "mask", "lpips") is None
    assert list(scores.summary()["mesh"]) == ["whole", "box", "mask"]
    assert scores.crops["mask"] == "the pixels of the mask (masks/training); no LPIPS"


def test_an_empty_mask_has_no_scores_and_a_capture_without_masks_no_such_crop(actor, capture, tmp_path):
    assert "mask" not in evaluate(actor, capture, "training", [0], [1], baseline=False).crops
    folder = write_tiny_capture(tmp_path, frames=1, resolution=SIZE)
    write_picture(folder / "masks" / "training" / "001" / "000000.png", np.zeros(SIZE, np.uint8))
    scores = evaluate(actor, Capture.open(str(folder)), "training", [0], [1], baseline=False)
    for crop in ("mask", "box"):
        assert scores.mean("nerf", crop, "psnr") is None and scores.mean("nerf", crop, "ssim") is None
    assert scores.mean("nerf", "whole", "psnr") > 0


def test_avatars_of_any_shell_are_scored_over_the_same_box(actor, capture):
    wide = Experiment(nerf=NerfConfig(hidden=8, encoder_width=4, samples_per_ray=4, shell_radius=0.2))
    other = TrainedAvatar(Nerf(wide.nerf, actor.body).eval(), actor.body, wide)
    a, b = (evaluate(avatar, capture, "training", [0], [1]) for avatar in (actor, other))
    assert a.mean("mesh", "box", "psnr") == b.mean("mesh", "box", "psnr") and a.crops == b.crops


@pytest.mark.parametrize(("most", "some", "words"), [(512, 256, "all 4"), (3, 2, "2 of 4")])
def test_the_mean_map_is_of_all_frames_or_of_some_and_says_so(actor, capture, monkeypatch, most, some, words):
    monkeypatch.setattr(textures, "MOST_MAPS", most)
    monkeypatch.setattr(textures, "SOME_MAPS", some)
    split = capture.split("training")
    frames = range(4) if words == "all 4" else (0, 3)
    mean = textures.MeanTexture.of(actor.config, capture)
    expected = np.mean([split.texture(f).astype(np.float64) for f in frames], axis=0).round()
    assert np.array_equal(mean.texture(2), expected) and mean.source.startswith(f"the mean of {words} training maps")


def test_refined_poses_are_drawn_where_asked_for_and_said(actor, capture):
    """Mesh and splats alike move with the learned pose of frame 1; frame 2 has none, and novel poses never have."""
    config = SplatsConfig(size=40, texels=32, widths=(8,), refine_poses=True)
    torch.manual_seed(0)
    model = Splats(config, actor.body)
    joints = actor.body.weights.shape[1]
    model.poses = PoseTable([1], [-1] + [0] * (joints - 1), np.zeros((joints, 3)))
    model.poses.corrections[0, 0] = torch.tensor([0.1, 0.2, 0.0])
    learned = TrainedAvatar(model.eval(), actor.body, Experiment(splats=config, data=actor.config.data))
    plain, refined = (
        evaluate(learned, capture, "training", [1, 2], [0], supersample=1, refined=refined) for refined in (False, True)
    )
    for before, after in zip(plain.images, refined.images, strict=True):
        assert (before.psnr == after.psnr) == (before.frame == 2), (before, after)
    assert plain.protocol.poses is None and "refined" not in plain.table()
    assert ", refined poses, own texture maps" in refined.table()
    assert "poses: learned in training, of these frames' pictures through the training cameras" in refined.table()
    with pytest.raises(UserError, match="refined poses: only those of training are learned, not of testing"):
        evaluate(learned, capture, "testing", [1], [0], refined=True)
    with pytest.raises(UserError, match="refined poses: this actor learned none; train with --splats.refine-poses"):
        evaluate(actor, capture, "training", [1], [0], refined=True)
