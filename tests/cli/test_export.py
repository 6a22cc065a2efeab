"""na-ray export as a user types it."""

import json
import struct
from pathlib import Path

import pytest
import trimesh

from na_ray import checkpoint
from na_ray.actor import open_actor, write_actor
from na_ray.body.body import Body
from na_ray.capture.dataset import Capture
from na_ray.config import Experiment, NerfConfig
from na_ray.config.splats import SplatsConfig
from na_ray.models.avatars import AVATARS
from tests.cli.conftest import Shell
from tests.make_capture import write_tiny_capture


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three frames of a column."""
    return write_tiny_capture(tmp_path_factory.mktemp("export") / "capture", frames=3, cameras=2, resolution=(32, 32))


@pytest.fixture(scope="module")
def anna(capture: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An actor of splats and a NeRF, untrained."""
    opened, root = Capture.open(capture), tmp_path_factory.mktemp("runs") / "anna"
    nerf = NerfConfig(hidden=16, encoder_width=4, samples_per_ray=6, mesh_residual=True)
    splats = SplatsConfig(texels=32, widths=(8, 8))
    config = Experiment(name="anna", capture=str(capture), nerf=nerf, splats=splats)
    for name, kind in AVATARS.items():
        weights = kind.make(config, Body.from_rig(opened.rig)).state_dict()
        checkpoint.save(root / name / "checkpoints" / "step_000001", name, weights, opened.rig, config)
    return write_actor(root / "actor", open_actor(root).networks, opened)


def test_each_format_is_written(shell: Shell, anna: Path, capture: Path, tmp_path: Path) -> None:
    code, out, err = shell.run("export", anna, "-o", tmp_path / "a.ply", "--format", "ply")
    assert code == 0, err
    assert "poses: training poses (1 of 3)" in out and "texture maps: mean, of the training maps" in out
    assert (tmp_path / "a.ply").read_bytes().startswith(b"ply\nformat binary_little_endian 1.0\nelement vertex ")
    motion = ("--capture", capture, "--split", "testing", "--textures", "own")
    assert shell.run("export", anna, "-o", tmp_path / "poses", "--format", "ply", "--frames", "0..2", *motion)[0] == 0
    assert sorted(path.name for path in (tmp_path / "poses").iterdir()) == ["000000.ply", "000001.ply"]
    assert shell.run("export", anna, "-o", tmp_path / "a.glb", "--format", "glb", *motion)[0] == 0
    data = (tmp_path / "a.glb").read_bytes()
    found = shell.run("export", anna, "-o", tmp_path / "b.glb", "--format", "glb", "--motion", f"{capture}/testing")
    assert found[0] == 0 and "poses: testing (3 of 3)" in found[1], found
    contents = json.loads(data[20 : 20 + struct.unpack_from("<I", data, 12)[0]])
    assert contents["skins"] and len(contents["animations"]) == 1
    assert shell.run("export", anna, "-o", tmp_path / "a.html", "--format", "html")[0] == 0
    assert '"poses": 3' in (tmp_path / "a.html").read_text()
    surface = ("--format", "mesh", "--resolution", "24")
    assert shell.run("export", anna, "-o", tmp_path / "mesh.ply", *surface)[0] == 0
    assert trimesh.load_mesh(tmp_path / "mesh.ply").volume > 0.05


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--format", "ply", "--textures", "own"], "--textures own belong to frames of a capture: name it, --capture"),
        (["--format", "html", "--textures", "predicted"], "has no texture predictor: leave --textures out"),
        (["--format", "ply", "--avatar", "nerf"], "holds splats, and the NeRF has none"),
        (["--format", "mesh", "--avatar", "splats"], "is the surface of the NeRF, and splats have none"),
        (["--format", "ply", "--frames", "7"], "asks for number 7, but there are 3"),
        (["--format", "ply", "--motion", "nowhere.bvh"], "nowhere.bvh"),
        (["--format", "mesh", "--resolution", "2"], "--resolution must be 8 or more"),
    ],
)
def test_a_mistake_is_one_line(shell: Shell, anna: Path, tmp_path: Path, arguments: list[str], line: str) -> None:
    code, _, err = shell.run("export", anna, "-o", tmp_path / "out", *arguments)
    assert code == 2 and line in err and err.count("\n") == 1, err
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_not_overwritten(shell: Shell, anna: Path, tmp_path: Path) -> None:
    (tmp_path / "a.ply").write_text("mine")
    code, _, err = shell.run("export", anna, "-o", tmp_path / "a.ply", "--format", "ply")
    assert code == 2 and "exists: name another place, or --overwrite" in err
    assert (tmp_path / "a.ply").read_text() == "mine"
    assert shell.run("export", anna, "-o", tmp_path / "a.ply", "--format", "ply", "--overwrite")[0] == 0
