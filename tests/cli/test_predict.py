"""na-ray prepare normals and predict-textures as a user types them, and what render makes of their files."""

import json
from pathlib import Path

import numpy as np
import pytest

from na_ray import checkpoint
from na_ray.body.body import Body
from na_ray.capture.dataset import Capture
from na_ray.capture.trajectory import to_file
from na_ray.config import Experiment, override
from na_ray.models.nerf.renderer import Nerf
from na_ray.pictures.png import read_png
from tests.cli.conftest import Shell
from tests.make_capture import write_tiny_capture
from tests.tiny_predictor import save_predictor


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "capture"
    return write_tiny_capture(folder, frames=3, cameras=2, resolution=(32, 32))


@pytest.fixture(scope="module")
def predictor(capture: Path) -> Path:
    return save_predictor(capture.parent / "predictor", Capture.open(capture).rig)


@pytest.fixture(scope="module")
def actor(capture: Path) -> Path:
    knobs = {"nerf.hidden": 16, "nerf.encoder_width": 4, "nerf.samples_per_ray": 6, "data.resolution": None}
    config, rig = override(Experiment(capture=str(capture)), knobs), Capture.open(capture).rig
    folder = capture.parent / "actor"
    checkpoint.save(folder, "nerf", Nerf(config.nerf, Body.from_rig(rig)).state_dict(), rig, config)
    return folder


def test_a_new_motion_drives_an_actor(
    shell: Shell, capture: Path, predictor: Path, actor: Path, tmp_path: Path
) -> None:
    dance = tmp_path / "dance"
    dance.mkdir()
    (dance / "transform.zip").write_bytes((capture / "testing" / "transform.zip").read_bytes())
    for name in ("canonical.obj", "uvmapping.obj", "skinning_weight.txt", "transform_tpose.json"):
        (dance / name).write_bytes((capture / name).read_bytes())
    code, out, err = shell.run("prepare", "normals", dance, "-o", dance, "--size", 32)
    assert code == 0 and out == f"wrote {dance}/normal: 3 normal maps\n", err
    command = ["predict-textures", predictor, "--capture", dance, "--split", "dance", "-o", tmp_path / "worn"]
    code, out, err = shell.run(*command, "--normals", "capture", "--device", "cpu")
    assert code == 0 and f"wrote {tmp_path}/worn/tex\n" in out, err
    assert f"--capture {dance} --split dance --textures {tmp_path}/worn" in out
    film = ["render", actor, "--capture", dance, "--split", "dance", "-o", tmp_path / "film", "--size", 24]
    film += ["--textures", tmp_path / "worn", "--views", "color", "mesh"]
    code, _, err = shell.run(*film)
    assert code == 2 and "dance: was not filmed: there is no camera for 'orbit'; expected a JSON file" in err
    to_file(Capture.open(capture).split("testing").cameras[:1], tmp_path / "camera.json")
    code, out, err = shell.run(*film, "--camera", tmp_path / "camera.json")
    assert code == 0, err
    assert len(list((tmp_path / "film" / "mesh").glob("*.png"))) == 3
    command = ["evaluate", actor, "--capture", capture, "-o"]
    for name, options in (("own", []), ("worn", ["--textures", tmp_path / "worn"])):
        assert shell.run(*command, tmp_path / f"{name}.json", *options)[0] == 0
    own, worn = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("own", "worn"))
    assert own != worn


def test_several_splits_each_have_their_folder(shell: Shell, capture: Path, predictor: Path, tmp_path: Path) -> None:
    assert shell.run("prepare", "normals", capture, "-o", tmp_path, "--size", 16, "--format", "avi")[0] == 0
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.avi")) == [
        "testing/normal.avi",
        "training/normal.avi",
    ]
    code, _, err = shell.run("prepare", "normals", capture, "--split", "testing", "-o", tmp_path, "--size", 16)
    assert code == 0 and len(list((tmp_path / "normal").iterdir())) == 3, err
    command = ["predict-textures", predictor, "--capture", capture, "--split", "training", "testing"]
    command += ["-o", tmp_path / "out", "--device", "cpu"]
    assert shell.run(*command)[0] == 0
    first, second = (
        np.stack([read_png(tmp_path / "out" / name / "tex" / f"{i:06d}.png") for i in range(3)])
        for name in ("training", "testing")
    )
    assert first.shape == (3, 32, 32, 3)
    code, _, err = shell.run(*command, "--format", "avi", "--frames", "1..3")
    assert code == 2 and err.count("\n") == 2 and "choose frames 0..N" in err  # a line a motion
    assert np.array_equal(second, [read_png(p) for p in sorted((tmp_path / "out" / "testing" / "tex").iterdir())])


PREDICT = ["predict-textures", "PREDICTOR", "--capture", "CAPTURE", "-o", "OUT", "--device", "cpu"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["predict-textures", "nowhere", *PREDICT[2:]], "nowhere is no checkpoint: experiment.json is missing"),
        (
            ["predict-textures", "ACTOR", *PREDICT[2:]],
            "has no texture predictor; it has: nerf: train the texture",
        ),
        ([*PREDICT, "--split", "walk"], "no split 'walk'; it has: testing, training"),
        ([*PREDICT, "--frames", "0..9"], "asks for number 8, but there are 3, numbered from 0"),
        ([*PREDICT, "--frames", "0,2"], "a prediction goes on from frame to frame: name one range"),
        ([*PREDICT, "--workers", "-1"], "--workers is -1: expected 0, for this process, or more"),
        (["predict-textures", "PREDICTOR", "--capture", "nowhere", "-o", "OUT"], "nowhere: no such file or folder"),
        (["prepare", "normals", "nowhere", "-o", "OUT"], "nowhere: no such folder; expected a capture"),
        (["prepare", "normals", "CAPTURE", "-o", "OUT", "--size", "0"], "a size of at least one texel, got 0"),
    ],
)
def test_a_mistake_is_one_line(
    shell: Shell, capture: Path, predictor: Path, actor: Path, tmp_path: Path, arguments: list[str], line: str
) -> None:
    places = {"CAPTURE": capture, "PREDICTOR": predictor, "ACTOR": actor, "OUT": tmp_path / "out"}
    code, _, err = shell.run(*(places.get(word, word) for word in arguments))
    assert code == 2 and line.replace(" file or", "") in err, err
    assert len(err.splitlines()) == 1 and err.startswith("error: ") and not (tmp_path / "out").exists()


def test_an_output_of_something_else_needs_overwrite(
    shell: Shell, capture: Path, predictor: Path, tmp_path: Path
) -> None:
    command = [*PREDICT[:1], predictor, "--capture", capture, "-o", tmp_path, "--device", "cpu"]
    assert shell.run(*command)[0] == 0
    before = (tmp_path / "tex" / "000000.png").read_bytes()
    code, _, err = shell.run(*command, "--normals", "poses")
    assert code == 2 and "000000.png is of another predictor, motion or first frame" in err and "--overwrite" in err
    assert (tmp_path / "tex" / "000000.png").read_bytes() == before
    assert shell.run(*command, "--normals", "poses", "--overwrite")[0] == 0
    assert (tmp_path / "tex" / "000000.png").read_bytes() != before
    assert shell.run("prepare", "normals", capture, "--split", "testing", "-o", tmp_path, "--size", 16)[0] == 0
    code, _, err = shell.run("prepare", "normals", capture, "--split", "training", "-o", tmp_path, "--size", 16)
    assert code == 2 and "shows another pose, body or size: name another folder, or --overwrite" in err
