"""Scores of texture maps against naive float64 loops and closed forms, and the two baselines."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from inception_weights import light_state, write_weights
from make_capture import write_tiny_capture
from PIL import Image
from scipy.spatial.transform import Rotation

from na_ray.body.atlas import Atlas
from na_ray.body.body import Body
from na_ray.capture.dataset import Capture
from na_ray.capture.rig import Pose
from na_ray.evaluation.fid import Gaussian, frechet_distance
from na_ray.evaluation.texture_metrics import (
    MapScores,
    Tally,
    TextureExam,
    TextureScores,
    find_inception,
    judged,
    mean_map,
    nearest_frames,
    nearest_of,
)
from na_ray.models.pretrained.inception import load_inception

FRAMES = 4
NEAREST = (2, 0, 3, 1)
"""The training frame whose joints are those of each test frame."""


def noise(frames: int, side: int = 18, seed: int = 0) -> np.ndarray:
    """(frames, side, side + 3, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (frames, side, side + 3, 3), np.uint8)


def charts(side: int = 18) -> np.ndarray:
    """(side, side + 3) bool: a disc and a block at the border."""
    rows, columns = np.mgrid[0:side, 0 : side + 3]
    return ((rows - 8) ** 2 + (columns - 9) ** 2 < 30) | ((rows > 12) & (columns < 5))


def tally_of(predictions: np.ndarray, targets: np.ndarray) -> MapScores:
    tally = Tally(torch.from_numpy(charts()))
    for prediction, target in zip(predictions, targets, strict=True):
        tally.add(prediction, target)
    return tally.scores()


def naive_frame(prediction: np.ndarray, target: np.ndarray, inside: np.ndarray) -> tuple[float, float, float]:
    """PSNR, SSIM and L1 in loops: texels of the charts; windows centered on them, black around."""
    a, b = (image / 255.0 * inside[..., None] for image in (prediction, target))
    errors = [a[r, c] - b[r, c] for r, c in np.argwhere(inside)]
    similarities = []
    for r, c in np.argwhere(inside):
        if not (3 <= r < inside.shape[0] - 3 and 3 <= c < inside.shape[1] - 3):
            continue
        for channel in range(3):
            x, y = (image[r - 3 : r + 4, c - 3 : c + 4, channel].ravel() for image in (a, b))
            (sxx, sxy), (_, syy) = np.cov(x, y)
            mx, my = x.mean(), y.mean()
            above = (2 * mx * my + 1e-4) * (2 * sxy + 9e-4)
            similarities.append(above / ((mx * mx + my * my + 1e-4) * (sxx + syy + 9e-4)))
    return -10 * np.log10(np.mean(np.square(errors))), float(np.mean(similarities)), float(np.mean(np.abs(errors)))


def test_scores_equal_the_loops_over_the_charts() -> None:
    predictions, targets = noise(3), noise(3, seed=1)
    predictions[1] = targets[1] // 2
    found = tally_of(predictions, targets)
    frames = [naive_frame(p, t, charts()) for p, t in zip(predictions, targets, strict=True)]
    psnr, ssim, l1 = np.mean(frames, axis=0)
    assert (found.psnr, found.ssim, found.l1) == pytest.approx((psnr, ssim, l1), rel=1e-5)
    inside = charts()
    changes = [np.abs(np.diff(maps[:, inside].astype(float), axis=0)).mean() for maps in (predictions, targets)]
    assert found.flicker == pytest.approx(changes[0] / changes[1], rel=1e-5)
    assert found.fid is None


def test_texels_outside_the_charts_do_not_count() -> None:
    predictions, targets = noise(3), noise(3, seed=1)
    other = predictions.copy()
    other[:, ~charts()] = 255 - other[:, ~charts()]
    assert tally_of(other, targets) == tally_of(predictions, targets)
    equal = tally_of(targets, targets)
    assert (equal.psnr, equal.ssim) == pytest.approx((100, 1)) and (equal.l1, equal.flicker) == (0, 1)


def test_flicker_has_closed_forms() -> None:
    """A still prediction has none, half the change is half as lively, and a still target has no measure."""
    targets = (noise(1) // 2 + np.array([0, 40, 10, 90], np.uint8)[:, None, None, None]) // 2 * 2
    still = np.repeat(targets[:1], FRAMES, 0)
    assert tally_of(still, targets).flicker == 0
    assert tally_of(targets // 2, targets).flicker == pytest.approx(0.5)
    assert tally_of(targets, still).flicker is None
    assert tally_of(targets[:1], targets[:1]).flicker is None


def test_the_mean_map_is_rounded_once() -> None:
    maps = noise(7)
    expected = np.round(np.mean(maps.astype(float), axis=0)).astype(np.uint8)
    assert np.array_equal(mean_map(iter(maps)), expected) and mean_map(maps).dtype == np.uint8


def pose_of(local: np.ndarray, rotation: np.ndarray, translation: np.ndarray) -> Pose:
    """Joints given in the body's own axes, in the world; `rotation` multiplies from the right."""
    eye = np.repeat(np.eye(4, dtype=np.float32)[None], len(local), 0)
    world = (local @ rotation + translation).astype(np.float32)
    return Pose(eye, rotation.astype(np.float32), translation.astype(np.float32), world)


def test_the_nearest_pose_is_found_wherever_the_body_stands() -> None:
    generator = np.random.default_rng(0)
    known = generator.normal(size=(5, 7, 3))
    queries = known[[3, 0, 4, 4]] + 0.05 * generator.normal(size=(4, 7, 3))

    def places(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
        return list(
            zip(Rotation.random(count, generator).as_matrix(), generator.normal(size=(count, 3)) * 5, strict=True)
        )

    training = [pose_of(joints, *place) for joints, place in zip(known, places(5), strict=True)]
    for _ in range(3):
        moved = [pose_of(joints, *place) for joints, place in zip(queries, places(4), strict=True)]
        assert nearest_frames(moved, training) == [3, 0, 4, 4]


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    """Test frame i has the pose of training frame NEAREST[i]; all texture maps differ."""
    root = write_tiny_capture(tmp_path_factory.mktemp("capture") / "tiny", FRAMES, 1, (8, 8), "extracted")
    generator = np.random.default_rng(0)
    poses = generator.normal(size=(FRAMES, 5, 3))
    for split in ("training", "testing"):
        for i in range(FRAMES):
            file = root / split / "transform" / f"{i:06d}.json"
            values = json.loads(file.read_text())
            local = poses[i if split == "training" else NEAREST[i]]
            values["joints"] = (local @ np.array(values["rotation"]) + np.array(values["translation"])).tolist()
            file.write_text(json.dumps(values))
            picture = generator.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(picture).resize((32, 32), Image.Resampling.BICUBIC).save(
                root / split / "tex" / f"{i:06d}.png"
            )
    return Capture.open(root)


def small(split: str, capture: Capture) -> list[np.ndarray]:
    """Texture maps of a split at 16x16."""
    maps = (Image.fromarray(image) for image in capture.split(split).textures())
    return [np.asarray(image.resize((16, 16), Image.Resampling.BILINEAR)) for image in maps]


class Given:
    """Texture maps in memory, by position."""

    def __init__(self, maps: list[np.ndarray]) -> None:
        self.maps = maps

    def texture(self, position: int) -> np.ndarray:
        return self.maps[position]


def scored(
    capture: Capture, predictions: list[np.ndarray], frames: range = range(FRAMES), at_a_time: int = FRAMES
) -> TextureScores:
    """As a stage's end scores them: some frames at a time, each part as if it were another worker's."""
    split, training, body = capture.split("testing"), capture.split("training"), Body.from_rig(capture.rig)
    network, notes = find_inception(body)
    nearest = nearest_of(split, training, frames)
    mean = mean_map(small("training", capture)[frames.start : frames.stop])
    exam = TextureExam(split, training, body, mean, nearest, network)
    every = range(len(predictions))
    parts = [exam.measure(Given(predictions), every[i : i + at_a_time]) for i in every[::at_a_time]]
    return judged(exam, [frame for part in parts for frame in part], notes)


def sequence_scores(capture: Capture, predictions: list[np.ndarray], targets: list[np.ndarray]) -> MapScores:
    tally = Tally(Atlas(Body.from_rig(capture.rig), 16).inside)
    for prediction, target in zip(predictions, targets, strict=True):
        tally.add(prediction, target)
    return tally.scores()


def test_a_prediction_is_scored_beside_its_baselines(capture: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NA_RAY_WEIGHTS", raising=False)
    training, testing = small("training", capture), small("testing", capture)
    predictions = [255 - image for image in testing]
    found = scored(capture, predictions)
    assert (found.split, found.frames, found.resolution) == ("testing", FRAMES, (16, 16))
    assert found.scores == {
        "predicted": sequence_scores(capture, predictions, testing),
        "mean texture": sequence_scores(capture, [mean_map(training)] * FRAMES, testing),
        "nearest pose": sequence_scores(capture, [training[i] for i in NEAREST], testing),
    }
    assert found.scores["mean texture"].flicker == 0
    assert scored(capture, predictions, at_a_time=1) == found


def test_baselines_see_the_training_frames_alone(capture: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames 2..3 of the training motion, and a prediction that ends before the motion does."""
    monkeypatch.delenv("NA_RAY_WEIGHTS", raising=False)
    training, testing = small("training", capture), small("testing", capture)
    found = scored(capture, testing[:1], range(2, 4))
    assert found.frames == 1 and found.scores["predicted"].psnr == pytest.approx(100)
    assert found.scores["nearest pose"] == sequence_scores(capture, [training[2]], testing[:1])
    assert found.scores["mean texture"] == sequence_scores(capture, [mean_map(training[2:])], testing[:1])


def test_fid_is_missing_without_weights_and_says_why(
    capture: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NA_RAY_WEIGHTS", raising=False)
    found = scored(capture, small("testing", capture))
    assert all(scores.fid is None for scores in found.scores.values())
    lines = found.table().splitlines()
    assert lines[1].split() == ["PSNR", "dB", "SSIM", "L1", "flicker", "FID"]
    assert lines[2].split() == ["predicted", "100.00", "1.0000", "0.0000", "1.00", "-"]
    assert [line[:12] for line in lines[3:5]] == ["mean texture", "nearest pose"]
    assert lines[5:] == found.notes and lines[5].startswith("FID is left out: NA_RAY_WEIGHTS is not set; set it to a")
    found.save(tmp_path / "new" / "scores.json")
    saved = json.loads((tmp_path / "new" / "scores.json").read_text())
    assert saved["scores"]["mean texture"]["fid"] is None and saved["notes"] == found.notes
    (tmp_path / "inception_v3.pth").write_bytes(b"nothing")
    monkeypatch.setenv("NA_RAY_WEIGHTS", str(tmp_path))
    (note,) = scored(capture, small("testing", capture)).notes
    assert note.startswith(f"FID is left out: {tmp_path / 'inception_v3.pth'}: cannot be read")


def test_fid_compares_the_features_of_masked_maps(
    capture: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_weights(tmp_path, light_state())
    monkeypatch.setenv("NA_RAY_WEIGHTS", str(tmp_path))
    inside = Atlas(Body.from_rig(capture.rig), 16).inside[..., None].numpy()
    network = load_inception(tmp_path)

    def gaussian(maps: list[np.ndarray]) -> Gaussian:
        pictures = torch.from_numpy(np.stack(maps) * inside).float().permute(0, 3, 1, 2) / 255
        features = network(pictures).double().numpy()
        return Gaussian(features.mean(0), np.cov(features.T))

    # Two of the test motion's frames: each picture takes the network a third of a second.
    training, testing = small("training", capture), small("testing", capture)[:2]
    predictions = [np.where(inside, image, 77).astype(np.uint8) for image in testing]
    found = scored(capture, predictions)
    target = gaussian(testing)
    scale = float(np.trace(target.covariance))
    methods = {"mean texture": [mean_map(training)] * 2, "nearest pose": [training[i] for i in NEAREST[:2]]}
    for name, maps in methods.items():
        expected = frechet_distance(gaussian(maps), target)
        assert expected > 1e-3 * scale and found.scores[name].fid == pytest.approx(expected, rel=1e-3), name
    assert found.scores["predicted"].fid == pytest.approx(0, abs=1e-9 * scale)
    assert found.table().splitlines()[2].split()[-1] == "0.00"
    assert scored(capture, predictions, at_a_time=1) == found
    (note,) = found.notes
    assert note.startswith("FID over 2 frames, fewer than its 2048 features: biased upwards")
    alone = scored(capture, predictions[:1])
    assert alone.notes == ["FID is left out: a covariance needs two frames or more"]
    assert all(scores.fid is None for scores in alone.scores.values())
