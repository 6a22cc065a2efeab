"""na-ray runs and na-ray actors, on what a training left."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from na_ray.config import Experiment, override
from na_ray.run.train.driver import train
from tests.cli.conftest import Shell

HOLD = """
import sys
from pathlib import Path
from na_ray.run.train.lock import only_driver
with only_driver(Path({folder!r})):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(monkeypatch, capsys)


def test_what_a_training_left_is_listed_and_deleted(tiny: Experiment, shell: Shell, tmp_path: Path) -> None:
    train(override(tiny, {"train.steps": 2, "report.frames": 0}))
    shell.capsys.readouterr()
    code, out, _ = shell.run("runs")
    head, row = out.splitlines()
    assert code == 0 and head.split()[0] == "run" and row.split()[:3] == ["tiny", "nerf", "2"] and row.endswith("MB")
    code, out, _ = shell.run("actors", tmp_path / "runs")
    assert code == 0 and len(out.splitlines()) == 3
    assert out.splitlines()[1].startswith(str(tmp_path / "runs" / "tiny" / "actor"))
    psnr = json.loads((tmp_path / "runs/tiny/actor/actor.json").read_text())["stages"]["nerf"]["validation"]
    assert f"nerf {psnr['validation/psnr']:.2f}" in out and "models:/tiny/1 (@best)" in out
    code, _, err = shell.run("runs", "--delete", "tiny")
    assert code == 2 and "would be gone for good: add --yes" in err and (tmp_path / "runs" / "tiny").is_dir()
    for name in ("..", "other", "tiny/nerf"):
        code, _, err = shell.run("runs", "--delete", name, "--yes")
        assert code == 2 and "is no run and no sweep" in err
    holder = [sys.executable, "-c", HOLD.format(folder=str(tmp_path / "runs" / "tiny"))]
    with subprocess.Popen(holder, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        code, _, err = shell.run("runs", "--delete", "tiny", "--yes")
        assert code == 2 and f"is in use by process {process.pid}" in err, err
        process.communicate(b"done")
    assert (tmp_path / "runs" / "tiny" / "nerf").is_dir()
    assert shell.run("runs", "--delete", "tiny", "--yes")[0] == 0
    assert not list((tmp_path / "runs").iterdir())
    assert not (tmp_path / "runs" / "tiny").exists() and (tmp_path / "runs").is_dir()
    assert "holds no run" in shell.run("runs")[1]
    shutil.rmtree(tmp_path / "runs")
    assert shell.run("runs")[0] == 2


def test_to_look_makes_no_database(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    code, out, _ = shell.run("actors")
    assert code == 0 and out.startswith("no actor: neither runs nor sqlite:") and not list(tmp_path.iterdir())
