"""Predictions recur on their own outputs, go on where they stopped bit for bit, and take no more memory the longer."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from na_ray.capture import video
from na_ray.capture.dataset import Capture, Split
from na_ray.capture.image import resized
from na_ray.capture.textures import Textures
from na_ray.motion import predict
from na_ray.motion.normals import write_normals
from na_ray.motion.predict import Recursion, Request, predict_maps, predict_sequence, to_map
from na_ray.pictures.png import read_png
from tests.make_capture import write_picture, write_tiny_capture, write_video
from tests.tiny_predictor import tiny_predictor

FRAMES = 7


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predict") / "capture"
    return write_tiny_capture(folder, frames=FRAMES, cameras=1, resolution=(16, 16))


@pytest.fixture(scope="module")
def split(capture: Path) -> Split:
    return Capture.open(capture).split("testing")


@pytest.fixture(scope="module")
def predictor(capture: Path) -> predict.Predictor:
    return tiny_predictor(Capture.open(capture).rig)


def naive(predictor: predict.Predictor, normals: list[np.ndarray]) -> list[torch.Tensor]:
    """The recursion as the parity page states it, with all labels and images kept."""
    labels, images = [], []
    for normal in normals:
        label = torch.from_numpy(normal.astype(np.float32)) / 127.5 - 1
        labels.append(label.permute(2, 0, 1)[None])
        past = [torch.stack(maps, dim=1) for maps in (labels[:-1][-2:], images[-2:])] if images else []
        found = predictor.generator(labels[-1], *past)
        assert (found.flow is None) == (len(images) < 2)
        images.append(found.image)
    return images


def test_a_frame_is_made_from_the_two_before_it(predictor: predict.Predictor, split: Split) -> None:
    normals = list(split.normal_maps())
    expected = [image[0].double().numpy() for image in naive(predictor, normals)]
    predicted = list(predict_maps(predictor, normals))
    assert [p.shape for p in predicted] == [(32, 32, 3)] * FRAMES and predicted[0].dtype == np.uint8
    for ours, image in zip(predicted, expected, strict=True):
        level = (image.transpose(1, 2, 0) + 1) / 2 * 255
        assert np.abs(ours - level).max() <= 0.5 + 1e-3
    alone = next(predict_maps(predictor, normals[3:]))
    assert (alone.astype(int) - predicted[3]).std() > 1  # the past counts


def test_colors_are_rounded_and_with_parity_truncated(split: Split) -> None:
    levels = torch.tensor([-9.0, 0.0, 99.4, 99.6, 254.6, 300.0])
    image = (levels / 127.5 - 1).view(1, 1, 6).repeat(3, 1, 1)
    assert to_map(image)[0, :, 0].tolist() == [0, 0, 99, 100, 255, 255]
    assert to_map(image, truncate=True)[0, :, 0].tolist() == [0, 0, 99, 99, 254, 255]
    normals = list(split.normal_maps(0, 2))
    rounded, truncated = (
        list(predict_maps(tiny_predictor(split.rig, texture__parity=parity), normals)) for parity in (False, True)
    )
    difference = np.stack(rounded).astype(int) - np.stack(truncated)
    assert set(np.unique(difference)) == {0, 1} and 0.4 < difference.mean() < 0.6


def test_maps_of_another_size_are_resized_and_of_other_proportions_refused(
    predictor: predict.Predictor, split: Split
) -> None:
    large = np.kron(split.normal_map(0), np.ones((3, 3, 1), np.uint8))
    (ours,) = predict_maps(predictor, [large])
    (expected,) = predict_maps(predictor, [resized(large, (32, 32))])
    assert np.array_equal(ours, expected)
    for wrong in (large[:60], large[..., :2]):
        with pytest.raises(ValueError, match=r"a normal map of \d+x\d+x\d; expected 3 channels and the proportions"):
            next(predict_maps(predictor, [wrong]))


def test_frames_come_one_at_a_time(predictor: predict.Predictor, split: Split) -> None:
    asked: list[int] = []

    def source() -> Iterator[np.ndarray]:
        for i, normal in enumerate(split.normal_maps()):
            asked.append(i)
            yield normal

    predictions = predict_maps(predictor, source())
    next(predictions), next(predictions)
    assert asked == [0, 1]


def shown(folder: Path) -> list[np.ndarray]:
    return [read_png(file) for file in sorted(folder.glob("*.png"))]


class Killed(BaseException):
    """As if the process had been killed."""


def break_off(predictor: predict.Predictor, split: Split, out: Path, after: int, request: Request) -> None:
    def stop(done: int, total: int) -> None:
        if done == after:
            raise Killed

    with pytest.raises(Killed):
        predict_sequence(predictor, split, out, request, stop)


@pytest.mark.parametrize("form", ["png", "avi"])
@pytest.mark.parametrize(("every", "after"), [(1, 1), (1, 2), (3, 5), (3, 6), (100, 4)])
def test_an_interrupted_prediction_goes_on_bit_for_bit(
    predictor: predict.Predictor,
    split: Split,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: predict.Format,
    every: int,
    after: int,
) -> None:
    monkeypatch.setattr(predict, "STATE_EVERY", every)
    request = Request(form=form)
    whole = predict_sequence(predictor, split, tmp_path / "whole", request)
    break_off(predictor, split, tmp_path / "broken", after, request)
    calls: list[int] = []
    forward = Recursion.next
    monkeypatch.setattr(Recursion, "next", lambda self, normal: (calls.append(1), forward(self, normal))[1])
    broken = predict_sequence(predictor, split, tmp_path / "broken", request)
    assert len(calls) == FRAMES - after // every * every
    if form == "png":
        assert sorted(p.name for p in broken.iterdir()) == [f"{i:06d}.png" for i in range(FRAMES)]
        found, expected = shown(broken), shown(whole)
    else:
        found, expected = (list(video.decode(str(path))) for path in (broken, whole))
        assert broken.read_bytes() == whole.read_bytes()
    assert np.array_equal(found, expected)
    assert [p.name for p in (tmp_path / "broken").iterdir()] == [whole.name]  # nothing else is left behind


def test_a_state_of_half_a_file_or_without_its_frames_is_not_gone_on_from(
    predictor: predict.Predictor, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "STATE_EVERY", 2)
    expected = shown(predict_sequence(predictor, split, tmp_path / "whole"))
    for name in ("cut", "missing"):
        out = tmp_path / name
        break_off(predictor, split, out, 5, Request())
        if name == "cut":
            (out / ".tex_state.npz").write_bytes((out / ".tex_state.npz").read_bytes()[:500])
        else:
            (out / "tex" / "000001.png").unlink()
        assert np.array_equal(shown(predict_sequence(predictor, split, out)), expected)


def test_a_prediction_that_is_there_is_kept_extended_and_never_mixed(
    predictor: predict.Predictor, split: Split, capture: Path, tmp_path: Path
) -> None:
    first = predict_sequence(predictor, split, tmp_path, Request(frames="0..4"))
    before = {p.name: p.stat().st_mtime_ns for p in first.iterdir()}
    predict_sequence(predictor, split, tmp_path)
    assert len(shown(first)) == FRAMES
    assert all((first / name).stat().st_mtime_ns == time for name, time in before.items())
    other = tiny_predictor(split.rig, seed=1)
    training = Capture.open(capture).split("training")
    message = r"is of another predictor, motion or first frame: name another folder, or --overwrite"
    for actor, motion, request in (
        (other, split, Request()),
        (predictor, split, Request(frames="2..5")),
        (predictor, training, Request(normals="poses")),
    ):
        with pytest.raises(FileExistsError, match=message):
            predict_sequence(actor, motion, tmp_path, request)
    old = shown(first)
    predict_sequence(other, split, tmp_path, Request(overwrite=True))
    assert not np.array_equal(shown(first), old)


def test_a_video_that_is_there_is_kept_and_never_mixed(
    predictor: predict.Predictor, split: Split, tmp_path: Path
) -> None:
    film = predict_sequence(predictor, split, tmp_path, Request(form="avi", fps=10.0))
    assert film == tmp_path / "tex.avi" and video.probe(str(film)).fps == 10
    before = film.stat().st_mtime_ns
    predict_sequence(predictor, split, tmp_path, Request(form="avi", fps=10.0))
    with pytest.raises(FileExistsError, match=r"tex\.avi is of another predictor, motion or frame rate"):
        predict_sequence(predictor, split, tmp_path, Request(form="avi", fps=25.0))
    assert film.stat().st_mtime_ns == before
    other = tiny_predictor(split.rig, seed=1)
    with pytest.raises(FileExistsError, match=r"tex\.avi is of another predictor, motion"):
        predict_sequence(other, split, tmp_path, Request(form="avi"))
    predict_sequence(other, split, tmp_path, Request(form="avi", overwrite=True))
    assert film.stat().st_mtime_ns != before


@pytest.mark.parametrize("form", ["png", "avi"])
def test_the_result_is_read_as_a_motions_textures(
    predictor: predict.Predictor, split: Split, tmp_path: Path, form: predict.Format
) -> None:
    expected = list(predict_maps(predictor, split.normal_maps()))
    predict_sequence(predictor, split, tmp_path, Request(form=form))
    textures = Textures.open(tmp_path, split, range(FRAMES))
    for i in range(FRAMES):
        error = np.abs(textures.texture(i).astype(int) - expected[i])
        assert error.max() == 0 if form == "png" else error.mean() < 6


def motion_without_images(capture: Path, folder: Path) -> Split:
    """The same poses, and nothing else."""
    target = folder / "motion"
    target.mkdir(parents=True)
    (target / "transform.zip").write_bytes((capture / "testing" / "transform.zip").read_bytes())
    return Capture.open(target).split("motion")


def test_normal_maps_are_the_captures_or_drawn_from_the_poses(
    predictor: predict.Predictor, split: Split, capture: Path, tmp_path: Path
) -> None:
    from_capture = shown(predict_sequence(predictor, split, tmp_path / "auto"))
    assert np.array_equal(from_capture, list(predict_maps(predictor, split.normal_maps())))
    drawn = shown(write_normals(split, tmp_path / "normals", size=64))
    expected = list(predict_maps(predictor, drawn))
    assert not np.array_equal(from_capture, expected)
    bare = motion_without_images(capture, tmp_path)
    assert bare.files.kind == "poses"
    for name, motion, normals in (("poses", split, "poses"), ("bare", bare, "auto")):
        request = Request(normals=normals, normal_size=64)  # type: ignore[arg-type]
        assert np.array_equal(shown(predict_sequence(predictor, motion, tmp_path / name, request)), expected)


def test_what_cannot_be_predicted_is_said_before_the_first_frame(
    predictor: predict.Predictor, split: Split, capture: Path, tmp_path: Path
) -> None:
    def refused(kind: type[Exception], line: str, motion: Split = split, **request: str) -> None:
        with pytest.raises(kind, match=line) as error:
            predict_sequence(predictor, motion, tmp_path / "out", Request(**request))  # type: ignore[arg-type]
        assert "\n" not in str(error.value) and not (tmp_path / "out").exists()

    refused(ValueError, "frames '0,2': a prediction goes on from frame to frame: name one range", frames="0,2")
    refused(ValueError, r"choose frames 0\.\.N, or the format png", frames="2..4", form="avi")
    bare = motion_without_images(capture, tmp_path)
    refused(FileNotFoundError, r"no normal\*\.avi nor a folder normal/", bare, normals="capture")
    short = motion_without_images(capture, tmp_path / "short")
    write_video(Path(short.files.folder) / "normal.avi", [split.normal_map(0)] * 3)
    short = Capture.open(short.files.folder).split("motion")
    refused(ValueError, r"normal\.avi: holds 3 frames; expected 7, as the motion has poses: draw them", short)
    gaps = motion_without_images(capture, tmp_path / "gaps")
    for i in (0, 1, 4):
        write_picture(Path(gaps.files.folder) / "normal" / f"{i:06d}.png", split.normal_map(i))
    gaps = Capture.open(gaps.files.folder).split("motion")
    refused(FileNotFoundError, r"normal/000002\.png: missing, as are 3 others of 7: draw them", gaps)
    wide = motion_without_images(capture, tmp_path / "wide")
    write_video(Path(wide.files.folder) / "normal.avi", [np.zeros((32, 64, 3), np.uint8)] * FRAMES)
    wide = Capture.open(wide.files.folder).split("motion")
    refused(ValueError, r"motion, frame 0: a normal map of 32x64x3; expected 3 channels and the prop", wide)
    fewer = tiny_predictor(split.rig)
    short_body = fewer.body.to()
    object.__setattr__(short_body, "weights", fewer.body.weights[:, :4])
    object.__setattr__(fewer, "body", short_body)
    with pytest.raises(ValueError, match=r"000000\.json: pose has 5 joints in joints_RT but .* 4 columns"):
        predict_sequence(fewer, split, tmp_path / "out", Request(normals="poses"))


MEMORY = """
import resource, sys
import numpy as np
import psutil
from na_ray.capture.dataset import Capture
from na_ray.motion.predict import predict_maps
from tests.tiny_predictor import tiny_predictor

predictor = tiny_predictor(Capture.open(sys.argv[1]).rig)
frames = (np.full((32, 32, 3), i % 256, np.uint8) for i in range(1000))
for i, _ in enumerate(predict_maps(predictor, frames), 1):
    if i in (100, 1000):
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, psutil.Process().memory_info().rss // 1024)
"""


def test_a_thousand_frames_take_no_more_memory_than_a_hundred(capture: Path) -> None:
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": root}
    command = [sys.executable, "-c", MEMORY, str(capture)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    peak_100, held_100, peak_1000, held_1000 = map(int, re.findall(r"\d+", done.stdout))
    # The normal maps of 900 frames alone, if they were kept, would be 11 MB.
    assert held_1000 - held_100 < 4096 and peak_1000 - peak_100 < 4096, done.stdout
