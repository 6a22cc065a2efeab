"""Films of any motion: whole, resumable to the bit, one at a time, never mixed, on any background."""

import csv
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from make_capture import write_tiny_capture
from tiny_film import tiny_film
from tiny_predictor import tiny_predictor

from na_ray.capture import video
from na_ray.capture.camera import Camera
from na_ray.capture.dataset import Capture
from na_ray.motion.animate import animate, draw_here
from na_ray.motion.drawing import parse_color
from na_ray.motion.film_textures import GivenTextures
from na_ray.motion.predict import STATE_EVERY, predict_maps
from na_ray.pictures import picture, png
from na_ray.render import encode, render_frame

COUNT = 22


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_capture(tmp_path_factory.mktemp("animate") / "capture", frames=COUNT, resolution=(24, 32))


def frames_of(path: Path) -> np.ndarray:
    return np.stack(list(video.decode(str(path), 0, None)))


def test_a_film_shows_every_pose_and_leaves_nothing_else_behind(capture: Path, tmp_path: Path) -> None:
    film, calls = tiny_film(capture, count=3, views=("color", "depth", "normals", "mesh")), []
    result = animate(film, tmp_path / "a.mp4", progress=lambda *n: calls.append(n))
    assert calls == [(1, 3), (2, 3), (3, 3)] and (result.drawn, result.kept) == (3, 0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.distances.csv", "a.mp4"]
    info = video.probe(str(tmp_path / "a.mp4"))
    assert (info.num_frames, info.codec, info.fps, info.height, info.width) == (3, "h264", 25, 24, 4 * 32)
    # Each picture is what `na-ray render` draws of the same pose, map and camera.
    split = Capture.open(capture).split("testing")
    drawn = list(draw_here(film.drawer, iter_tasks(film, 3)))
    for i, shown in enumerate(drawn):
        texture = np.full((16, 16, 3), (200, 100, 50), np.uint8)
        expected = render_frame(film.drawer.actor, split.pose(i), texture, split.cameras[1])
        np.testing.assert_allclose(shown.astype(int), np.hstack(expected), atol=1)


def iter_tasks(film, count):
    from na_ray.motion.animate import FrameTask

    for i in range(count):
        yield FrameTask(i, film.pose(i), film.camera(i), film.textures.texture)


def test_frames_alone_in_a_folder(capture: Path, tmp_path: Path) -> None:
    result = animate(tiny_film(capture, predicted=True), tmp_path / "frames")
    assert result.drawn == COUNT and len(list((tmp_path / "frames").glob("*.png"))) == COUNT
    assert not (tmp_path / "frames" / "state.npz").exists()
    again = animate(tiny_film(capture, predicted=True), tmp_path / "frames")
    assert (again.drawn, again.kept) == (0, COUNT)
    assert again.distances == result.distances


def test_predicted_maps_are_those_of_the_whole_motion(capture: Path, tmp_path: Path) -> None:
    film = tiny_film(capture, predicted=True, count=4)
    animate(film, tmp_path / "frames")
    split = Capture.open(capture).split("testing")
    from na_ray.body.atlas import Atlas
    from na_ray.motion.normals import SIZE, draw_normals

    predictor = tiny_predictor(Capture.open(capture).rig)
    maps = list(predict_maps(predictor, draw_normals(Atlas(predictor.body, SIZE), split, range(4))))
    for i, texture in enumerate(maps):
        (expected,) = render_frame(film.drawer.actor, split.pose(i), texture, split.cameras[1], ("color",))
        np.testing.assert_allclose(png.read_png(tmp_path / "frames" / f"{i:06d}.png").astype(int), expected, atol=1)
    assert (maps[0] != maps[3]).any()


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from na_ray.motion.animate import animate
from tiny_film import tiny_film
def progress(done, total):
    if done == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
animate(tiny_film(Path(sys.argv[1]), predicted=True), Path(sys.argv[2]), progress=progress)
"""


def test_a_killed_film_goes_on_without_drawing_a_frame_twice(capture: Path, tmp_path: Path) -> None:
    stop = STATE_EVERY + 3
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    script = [sys.executable, "-c", KILLED, str(capture), str(tmp_path / "a.mp4"), str(stop)]
    done = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr
    written = {f.name: f.stat().st_mtime_ns for f in (tmp_path / "a.frames").glob("*.png")}
    assert len(written) == stop and not (tmp_path / "a.mp4").exists()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        film = tiny_film(capture, predicted=True)
        seen = []

        def draw(tasks):
            for task in tasks:
                seen.append((task.index, task.texture is not None))
                yield from draw_here(film.drawer, iter([task]))

        result = animate(film, tmp_path / "a.mp4", draw=draw)
        assert [i for i, drawn in seen if drawn] == list(range(stop, COUNT))
        assert (result.drawn, result.kept) == (COUNT - stop, stop) and not (tmp_path / "a.frames").exists()
        animate(tiny_film(capture, predicted=True), tmp_path / "whole.mp4")
    finally:
        torch.set_num_threads(threads)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    # One that is whole is left as it is.
    before = (tmp_path / "a.mp4").stat().st_mtime_ns
    again = animate(tiny_film(capture, predicted=True), tmp_path / "a.mp4")
    assert again.drawn == 0 and (tmp_path / "a.mp4").stat().st_mtime_ns == before
    assert not (tmp_path / "a.frames").exists()


def interrupted(film, out: Path, after: int) -> None:
    def progress(done: int, total: int) -> None:
        if done == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        animate(film, out, progress=progress)


def test_two_films_in_one_folder_are_refused(capture: Path, tmp_path: Path) -> None:
    film = tiny_film(capture, count=3)

    def draw(tasks):
        with pytest.raises(ValueError, match=r"a\.frames: another na-ray is making a film there: wait") as error:
            animate(tiny_film(capture, count=3), tmp_path / "a.mp4")
        assert len(str(error.value).splitlines()) == 1
        yield from draw_here(film.drawer, tasks)

    assert animate(film, tmp_path / "a.mp4", draw=draw).drawn == 3


def test_films_are_not_mixed(capture: Path, tmp_path: Path) -> None:
    interrupted(tiny_film(capture), tmp_path / "a.mp4", after=2)
    for change, name in (({"seed": 1}, "actor"), ({"views": ("mesh",)}, "options"), ({"count": 5}, "motion")):
        with pytest.raises(FileExistsError, match=rf"a\.frames holds frames of another film \({name} differ\)"):
            animate(tiny_film(capture, **change), tmp_path / "a.mp4")
    result = animate(tiny_film(capture, seed=1), tmp_path / "a.mp4", overwrite=True)
    assert result.drawn == COUNT
    with pytest.raises(FileExistsError, match=r"a\.mp4 is another film, or has another frame rate"):
        animate(tiny_film(capture), tmp_path / "a.mp4")
    assert not (tmp_path / "a.frames").exists()
    with pytest.raises(FileExistsError, match="another frame rate"):
        animate(tiny_film(capture, seed=1, fps=10.0), tmp_path / "a.mp4")
    (tmp_path / "photos").mkdir()
    png.write_png(tmp_path / "photos" / "000000.png", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(FileExistsError, match="photos holds frames of another film"):
        animate(tiny_film(capture), tmp_path / "photos")
    assert (tmp_path / "photos" / "000000.png").is_file()


def test_a_disk_that_fills_loses_no_frame(capture: Path, tmp_path: Path) -> None:
    """The system refuses to let a file grow beyond a limit, as it refuses on a full disk."""
    film = tiny_film(capture)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def progress(done: int, total: int) -> None:
        if done == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))

    try:
        with pytest.raises(OSError, match="too large"):
            animate(film, tmp_path / "a.mp4", progress=progress)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file() and p.suffix == ".png") == [
        f"{i:06d}.png" for i in range(3)
    ]
    result = animate(film, tmp_path / "a.mp4")
    assert (result.kept, result.drawn) == (3, COUNT - 3)


def test_distances_are_beside_the_film_and_under_it(capture: Path, tmp_path: Path) -> None:
    film = tiny_film(capture, count=3, show_distance=True)
    result = animate(film, tmp_path / "a")
    rows = list(csv.DictReader((tmp_path / "a.distances.csv").read_text().splitlines()))
    assert [row["frame"] for row in rows] == ["0", "1", "2"] and rows[1]["seconds"] == "0.0400"
    for i, row in enumerate(rows):
        assert float(row["degrees_from_training"]) == pytest.approx(film.trained.distance(film.pose(i))[0], abs=1e-3)
    assert result.distances[0] > 0.1
    shown = png.read_png(tmp_path / "a" / "000000.png")
    assert shown.shape == (24 + 20, 32, 3)
    near = tiny_film(capture, count=3, project=0.05)
    assert max(animate(near, tmp_path / "near").distances) < 0.1


def test_backgrounds_and_none(capture: Path, tmp_path: Path) -> None:
    shown = {}
    for name, options in {
        "own": {},
        "white": {"background": parse_color("white")},
        "red": {"background": parse_color("#ff0000")},
        "clear": {"transparent": True},
    }.items():
        animate(tiny_film(capture, count=1, views=("color", "mesh"), **options), tmp_path / name)
        shown[name] = png.read_png(tmp_path / name / "000000.png", alpha=True).astype(float)
    np.testing.assert_allclose(shown["own"], shown["white"], atol=1)
    assert (shown["red"][0, 0, :3] == (255, 0, 0)).all() and shown["clear"][0, 0, 3] == 0
    alpha = shown["clear"][..., 3:] / 255
    assert alpha.max() > 0.9
    for name, color in (("white", (255, 255, 255)), ("red", (255, 0, 0))):
        over = shown["clear"][..., :3] * alpha + (1 - alpha) * np.array(color)
        np.testing.assert_allclose(over, shown[name][..., :3], atol=2.5)
    animate(tiny_film(capture, count=2, transparent=True), tmp_path / "clear.mov")
    info = video.probe(str(tmp_path / "clear.mov"))
    assert (info.codec, info.num_frames) == ("png", 2)


def test_maps_that_are_given_are_worn(capture: Path, tmp_path: Path) -> None:
    split = Capture.open(capture).split("testing")
    film = tiny_film(capture, count=2)
    own = type(film)(**{**vars(film), "textures": GivenTextures("own", split, [1, 0], "own")})
    animate(own, tmp_path / "own")
    actor = film.drawer.actor
    seen = actor.model.picture(encode(actor, split.pose(0), split.texture(1)), split.cameras[1])
    np.testing.assert_allclose(
        png.read_png(tmp_path / "own" / "000000.png").astype(int), picture.to_uint8(seen.colors), atol=1
    )


@pytest.mark.parametrize(
    ("name", "options", "line"),
    [
        ("a.avi", {}, r"a\.avi: no film ends in \.avi: expected \.mp4, \.mov, or a folder"),
        ("a.mp4", {"transparent": True}, r"a\.mp4: an \.mp4 keeps no transparency: name a \.mov"),
    ],
)
def test_films_that_cannot_be_are_one_line(capture: Path, tmp_path: Path, name: str, options: dict, line: str) -> None:
    with pytest.raises(ValueError, match=line):
        animate(tiny_film(capture, **options), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_cameras_that_do_not_fit_are_one_line(capture: Path, tmp_path: Path) -> None:
    film = tiny_film(capture)
    a = film.cameras[0]
    two = type(film)(**{**vars(film), "cameras": [a, a]})
    with pytest.raises(ValueError, match=f"2 cameras for {COUNT} frames: give one, or one a frame"):
        animate(two, tmp_path / "a.mp4")
    wide = Camera("w", a.K, a.T_world_camera, a.height, a.width + 2)
    many = type(film)(**{**vars(film), "cameras": [*[a] * (COUNT - 1), wide]})
    with pytest.raises(ValueError, match="the cameras differ in resolution: give --size"):
        animate(many, tmp_path / "a.mp4")
    for word in ("pink", "#12345", "#12345g"):
        with pytest.raises(ValueError, match=rf"no color '{word}': expected white, black, gray, green or #rrggbb"):
            parse_color(word)
