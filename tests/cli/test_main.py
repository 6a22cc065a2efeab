"""The commands as a user types them: one of each kind in a process of its own, the others in this one."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from na_ray import checkpoint
from na_ray.body.body import Body
from na_ray.capture.dataset import Capture
from na_ray.cli.render import chosen_device
from na_ray.cli.train import guarded
from na_ray.config import Experiment, override
from na_ray.models.nerf.renderer import Nerf
from na_ray.pictures.png import read_png
from tests.cli.conftest import Shell
from tests.make_capture import write_tiny_capture


def na_ray(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", "from na_ray.cli.main import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=500)


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "tiny"
    write_tiny_capture(folder, frames=6, cameras=3, resolution=(32, 40))
    return folder


@pytest.fixture(scope="module")
def actor(capture: Path) -> Path:
    config = override(
        Experiment(capture=str(capture)),
        {"nerf.hidden": 16, "nerf.encoder_width": 4, "nerf.samples_per_ray": 6, "data.resolution": None},
    )
    rig = Capture.open(str(capture)).rig
    folder = capture.parent / "actor"
    checkpoint.save(folder, "nerf", Nerf(config.nerf, Body.from_rig(rig)).state_dict(), rig, config)
    return folder


def test_inspect_exits_with_two_for_a_defect(shell: Shell, capture: Path, tmp_path: Path) -> None:
    code, told, err = shell.run("inspect", capture, "-o", tmp_path / "sheets")
    assert code == 0 and "3 cameras" in told, err
    assert sorted(p.name for p in (tmp_path / "sheets").iterdir()) == [
        "contact_sheet.png",
        "overlay.png",
        "turntable.png",
    ]
    broken = tmp_path / "broken"
    write_tiny_capture(broken, frames=4, cameras=2)
    (broken / "transform_tpose.json").unlink()
    found = na_ray("inspect", broken)
    assert found.returncode == 2 and "transform_tpose.json is missing" in found.stdout


def test_extract_names_frame_f_of_the_video_f(capture: Path, tmp_path: Path) -> None:
    done = na_ray("extract", "-i", capture / "training", "-o", tmp_path / "out", "-f", "2,4", "-c", "0,2")
    assert done.returncode == 0, done.stderr
    split = Capture.open(str(capture)).split("training")
    assert sorted(p.name for p in (tmp_path / "out" / "rgb").iterdir()) == ["000002", "000003"]
    for camera in (0, 1):
        assert np.array_equal(
            read_png(tmp_path / "out" / "rgb" / "000003" / f"{camera:04d}.png"), split.image(3, camera)
        )


@pytest.mark.parametrize("camera", ["orbit", "1", "0,2"])
def test_render_films_recorded_and_new_cameras(
    shell: Shell, capture: Path, actor: Path, tmp_path: Path, camera: str
) -> None:
    out = tmp_path / "film"
    command = ["render", actor, "--capture", capture, "-o", out, "--frames", "0..3", "--camera", camera]
    code, _, err = shell.run(*command, "--views", "color", "mesh", "--side-by-side")
    assert code == 0, err
    assert len(list((out / "color").glob("*.png"))) == 3
    assert {f.name for f in out.glob("*.mp4")} == {"color.mp4", "mesh.mp4", "side_by_side.mp4"}


def test_evaluate_prints_a_table_and_never_overwrites(shell: Shell, capture: Path, actor: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.json"
    command = ["evaluate", actor, "--capture", capture, "-o", out, "--frames", "0,1", "--cameras", "2"]
    done = na_ray(*command)
    assert done.returncode == 0 and "mesh" in done.stdout, done.stderr
    assert json.loads(out.read_text())["resolution"] == [32, 40]
    code, _, err = shell.run(*command)
    assert code == 2 and err.startswith("error: ") and "--overwrite" in err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["render", "nowhere", "--capture", "CAPTURE", "-o", "x"], "is no checkpoint"),
        (["render", "ACTOR", "--capture", "CAPTURE", "-o", "x", "--frames", "9"], "there are 6, numbered from 0"),
        (["evaluate", "ACTOR", "--capture", "CAPTURE", "--split", "trainings"], "no split 'trainings'"),
        (["extract", "-i", "CAPTURE/training", "-o", "x", "-f", "3"], "expected START,END"),
        (["import", "nowhere.pt", "--capture", "CAPTURE", "-o", "x"], "nowhere.pt: no such file"),
    ],
)
def test_a_mistake_is_one_line(shell: Shell, arguments: list[str], line: str, capture: Path, actor: Path) -> None:
    words = [a.replace("CAPTURE", str(capture)).replace("ACTOR", str(actor)) for a in arguments]
    code, _, err = shell.run(*words)
    assert code == 2
    assert line in err and "Traceback" not in err and len(err.splitlines()) == 1


def test_a_mistake_is_one_line_of_a_process_too(capture: Path) -> None:
    done = na_ray("render", "nowhere", "--capture", capture, "-o", "x")
    assert done.returncode == 2
    assert "is no checkpoint" in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_gpu_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert guarded(lambda: len(chosen_device("cuda"))) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: --device cuda: torch ") and told.endswith("choose auto, or cpu\n")
