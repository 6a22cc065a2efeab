"""na-ray animate and na-ray cameras as a user types them, and their mistakes in one line."""

from pathlib import Path

import numpy as np
import pytest
from make_capture import write_tiny_capture
from tiny_film import tiny_avatar
from tiny_predictor import tiny_predictor

from na_ray import checkpoint
from na_ray.capture import video
from na_ray.capture.dataset import Capture
from na_ray.capture.framing import from_opengl
from na_ray.capture.trajectory import from_file, to_file
from na_ray.cli.train import ProgressBar
from na_ray.config import override
from na_ray.pictures.png import read_png
from tests.cli.conftest import Shell


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_capture(tmp_path_factory.mktemp("cli") / "capture", frames=4, resolution=(24, 32))


@pytest.fixture(scope="module")
def run(capture: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with a NeRF and a predictor."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    opened = Capture.open(capture)
    avatar, predictor = tiny_avatar(opened), tiny_predictor(opened.rig)
    for stage, model, config in (
        ("nerf", avatar.model, avatar.config),
        ("texture", predictor.generator, predictor.config),
    ):
        config = override(config, {"capture": str(capture)})
        step = folder / stage / "checkpoints" / "step_000001"
        checkpoint.save(step, stage, model.state_dict(), opened.rig, config, step=1)
    return folder


def test_one_command_makes_a_film_of_predicted_maps(shell: Shell, run: Path, capture: Path, tmp_path: Path) -> None:
    out = tmp_path / "dance.mp4"
    code, said, err = shell.run("animate", run, "--motion", capture / "testing", "-o", out, "--size", 40)
    assert code == 0, err
    assert "avatar: nerf," in said and "texture maps: predicted from the poses" in said
    assert f"wrote {out}: 4 frames drawn" in said and "distance from the training poses: mean " in said
    info = video.probe(str(out))
    assert (info.num_frames, info.height, info.width, info.fps) == (4, 40, 40, 25)
    shown = next(video.decode(str(out), 0, 1)).astype(int)
    assert shown.min() < 200 and (shown[:, 0] > 240).all(), "the actor is within the picture"
    code, said, _ = shell.run("animate", run, "--motion", capture / "testing", "-o", out, "--size", 40)
    assert code == 0 and "0 frames drawn (4 frames were there)" in said


def test_own_and_mean_maps_and_a_recorded_camera(shell: Shell, run: Path, capture: Path, tmp_path: Path) -> None:
    shown = {}
    for word in ("own", "mean"):
        options = ["--textures", word, "--camera", 1, "--frames", "0..2"]
        code, said, err = shell.run("animate", run, "--motion", capture / "testing", "-o", tmp_path / word, *options)
        assert code == 0 and f"texture maps: {word}" in said, err
        shown[word] = read_png(tmp_path / word / "000001.png")
        assert shown[word].shape == (24, 32, 3)
    assert (shown["own"] != shown["mean"]).any()


def test_cameras_of_a_file_are_followed(shell: Shell, run: Path, capture: Path, tmp_path: Path) -> None:
    path = tmp_path / "orbit.json"
    options = ["--capture", capture, "--num-frames", 4, "--size", 24, "--radius", 4]
    code, said, err = shell.run("cameras", "orbit", "-o", path, *options)
    assert code == 0 and "4 cameras of 24x24 pixels" in said, err
    shell.run("cameras", "convert", "-i", path, "-o", tmp_path / "theirs.json", "--format", "nerfstudio")
    films = []
    for name in ("orbit.json", "theirs.json"):
        out = tmp_path / name.removesuffix(".json")
        code, _, err = shell.run("animate", run, "-m", capture / "testing", "-o", out, "--camera", tmp_path / name)
        assert code == 0, err
        films.append(np.stack([read_png(f) for f in sorted(out.glob("*.png"))]).astype(int))
    assert np.abs(films[0] - films[1]).max() <= 1 and (films[0][0] != films[0][2]).any()
    code, _, err = shell.run("cameras", "orbit", "-o", path)
    assert code == 2 and err == f"error: {path} exists: name another file, or --overwrite\n"


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--fps", 0], "--fps is 0: expected a positive number"),
        (["--background", "pink"], "no color 'pink': expected white, black, gray, green or #rrggbb"),
        (["--camera", "sideways"], "'sideways'"),
        (["--camera", "9"], "asks for number 9, but there are 3"),
        (["--frames", "0..9"], "asks for number 8, but there are 4"),
        (["--avatar", "splats"], "has no splats; it has: "),
        (["--textures", "nowhere"], "nowhere: no such folder with files in it"),
        (["--capture", "nowhere"], "says where the actor's joints are at rest: name the capture it was trained on"),
        (["--joints", "nowhere.json"], "nowhere.json"),
        (["--transparent"], "an .mp4 keeps no transparency: name a .mov"),
        (["--workers", "-1"], "--workers must be 0 or more"),
    ],
)
def test_a_mistake_is_one_line(
    shell: Shell, run: Path, capture: Path, tmp_path: Path, options: list, line: str
) -> None:
    out = tmp_path / "a.mp4"
    code, _, err = shell.run("animate", run, "--motion", capture / "testing", "-o", out, *options)
    assert code == 2 and err.startswith("error: ") and line in err and err.count("\n") == 1, err
    assert not list(tmp_path.iterdir())


def test_own_maps_of_a_foreign_motion_are_one_line(shell: Shell, run: Path, capture: Path, tmp_path: Path) -> None:
    options = ["--textures", "own", "--motion-fps", 10, "-o", tmp_path / "a.mp4"]
    code, _, err = shell.run("animate", run, "--motion", capture / "testing", *options)
    assert code == 2 and err.count("\n") == 1
    assert "testing is a motion of another program, or at another frame rate: its frames have no texture maps" in err


def test_a_camera_that_sees_nobody_is_refused_and_opengl_s_turned(
    shell: Shell, run: Path, capture: Path, tmp_path: Path
) -> None:
    path, out = tmp_path / "c.json", tmp_path / "film"
    shell.run("cameras", "look-at", "-o", path, "--eye", 0, 1, 4, "--at", 0, 1, 0, "--size", 24)
    (camera,) = from_file(path)
    to_file([from_opengl(camera)], path)
    code, said, err = shell.run("animate", run, "-m", capture / "testing", "-o", out, "--camera", path, "--frames", "0")
    assert code == 0 and "written in OpenGL's axes (y up, z backward), and turned to OpenCV's" in said, err
    assert read_png(out / "000000.png").min() < 200
    shell.run("cameras", "look-at", "-o", path, "--eye", 0, 1, 40, "--at", 0, 50, 40.5, "--overwrite")
    for command in (
        ["animate", run, "-m", capture / "testing", "-o", tmp_path / "none.mp4", "--camera", path],
        ["render", run, "--capture", capture, "-o", tmp_path / "none", "--camera", path],
    ):
        code, _, err = shell.run(*command)
        assert code == 2 and "c.json: no camera sees the body" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["look-at"], "look-at: where does the camera stand? --eye X Y Z"),
        (["between"], "between: whose cameras? name a capture, --capture PATH"),
        (["keys"], "keys: which file? --input FILE.json"),
        (["convert", "-i", "none.json"], "none.json"),
        (["orbit", "--fov", "180"], "a field of view of 180 degrees"),
        (["orbit", "--num-frames", "0"], "--num-frames and --size must be 1 or more"),
    ],
)
def test_a_mistake_of_cameras_is_one_line(shell: Shell, tmp_path: Path, arguments: list, line: str) -> None:
    code, _, err = shell.run("cameras", *arguments, "-o", tmp_path / "c.json")
    assert code == 2 and err.startswith("error: ") and line in err and err.count("\n") == 1, err
    assert not (tmp_path / "c.json").exists()


def test_progress_is_a_line_now_and_then_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar("frames", quiet=0.0) as progress:
        for done in range(1, 4):
            progress(done, 3)
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in lines] == ["1 of 3 frames", "2 of 3 frames"]
    assert all(line.endswith("s left") for line in lines)
    with ProgressBar("frames") as progress:
        progress(1, 3)
    assert not capsys.readouterr().err
