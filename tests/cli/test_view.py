"""na-ray view refuses what it cannot show, one line each, before it opens anything that takes long."""

import socket
from pathlib import Path

import pytest
from make_capture import write_tiny_capture

from na_ray import checkpoint
from na_ray.body.body import Body
from na_ray.capture.dataset import Capture
from na_ray.config import Experiment, NerfConfig
from na_ray.models.avatars import AVATARS
from tests.cli.conftest import Shell


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_capture(tmp_path_factory.mktemp("view") / "capture", frames=2, cameras=2)


@pytest.fixture(scope="module")
def actor(capture: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a NeRF, without splats or predictor."""
    rig = Capture.open(capture).rig
    config = Experiment(nerf=NerfConfig(hidden=8, encoder_width=4), capture=str(capture))
    folder = tmp_path_factory.mktemp("runs") / "step_000001"
    checkpoint.save(folder, "nerf", AVATARS["nerf"].make(config, Body.from_rig(rig)).state_dict(), rig, config, 1)
    return folder


def refused(shell: Shell, *arguments: object) -> str:
    code, _, err = shell.run("view", *arguments)
    assert code == 2 and err.count("\n") == 1 and err.startswith("error: ")
    return err


def test_it_listens_on_this_machine_alone(shell: Shell, actor: Path) -> None:
    said = refused(shell, actor, "--host", "0.0.0.0", "--port", 9000)
    assert "the viewer has no login" in said and "`ssh -L 9000:127.0.0.1:9000 THIS_MACHINE`" in said


def test_a_port_in_use_is_named_with_the_next(shell: Shell, actor: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refused(shell, actor, "--port", port)
    assert f"port {port} of 127.0.0.1 is in use: end what listens there, or give another, --port {port + 1}" in said
    assert "expected a number from 1 to 65535" in refused(shell, actor, "--port", 70000)


def test_what_is_not_there_is_said(shell: Shell, actor: Path, capture: Path, tmp_path: Path) -> None:
    free = ("--port", 0)
    assert "no actor is named" in refused(shell, *free)
    assert "is no checkpoint" in refused(shell, tmp_path, *free)
    assert "has no splats; it has: nerf, mesh" in refused(shell, actor, *free, "--avatar", "splats")
    said = refused(shell, actor, *free, "--textures", "own")
    assert "has mean; own maps need --capture: choose of these" in said
    assert "no split 'dance'; it has: testing, training" in refused(
        shell, actor, *free, "--capture", capture, "--split", "dance"
    )
    both = refused(shell, actor, *free, "--capture", capture, "--motion", capture / "testing")
    assert "--capture and --motion are both given" in both
    assert "maps belong to a capture's split: give --capture" in refused(shell, actor, *free, "--textures", tmp_path)
