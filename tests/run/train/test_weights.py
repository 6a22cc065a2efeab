"""Files beside the capture mean the same in the driver and in every worker."""

from pathlib import Path

import pytest

from na_ray.config import Experiment, override
from na_ray.config.values import UserError
from na_ray.models.pretrained.imagenet import load_weights
from na_ray.models.vid2vid.perceptual import LaplacianPyramid, load_perceptual
from na_ray.run.train.run_folder import begin, open_run
from na_ray.run.train.weights import settle_files


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of weights that the environment names, relative to the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NA_RAY_WEIGHTS", "weights")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "vgg19-dcbb9e9d.pth").touch()
    return tmp_path / "weights"


@pytest.fixture
def texture(tmp_path: Path) -> Experiment:
    return Experiment(stages=("texture",), storage=str(tmp_path / "runs"))


def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a worker: another working directory, and an environment without the variable."""
    (tmp_path / "worker").mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / "worker")
    monkeypatch.delenv("NA_RAY_WEIGHTS", raising=False)


def test_paths_are_absolute_where_workers_see_them(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    named = override(
        Experiment(),
        {
            "nerf.encoder_weights": "weights/resnet34.pth",
            "texture.vgg_weights": "s3://bucket/vgg19.pth",
            "texture.flow_target": "file",
            "texture.flow_folder": "~/flow",
        },
    )
    found = settle_files(named)
    assert found.nerf.encoder_weights == str(weights / "resnet34.pth")
    assert found.texture.vgg_weights == "s3://bucket/vgg19.pth" and found.texture.flow_folder == "/home/me/flow"


def test_the_variable_s_weights_are_every_worker_s(
    weights: Path, texture: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, found = open_run(texture, resume=False)
    assert found.texture.vgg_weights == str(weights / "vgg19-dcbb9e9d.pth")
    begin(root, found)
    elsewhere(tmp_path, monkeypatch)
    with pytest.raises(UserError, match=r"vgg19-dcbb9e9d\.pth: cannot be read"):  # it is opened, and is empty
        load_perceptual(found.texture)
    assert open_run(texture, resume=True)[1].texture == found.texture, "a resumed run keeps what it had"
    assert settle_files(override(texture, {"stages": ("nerf",)})).texture.vgg_weights == ""


def test_workers_do_not_find_what_the_driver_did_not(
    weights: Path,
    texture: Experiment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("NA_RAY_WEIGHTS")
    root, found = open_run(texture, resume=False)
    assert "a Laplacian pyramid, since NA_RAY_WEIGHTS is not set: texture.vgg_weights" in capsys.readouterr().out
    begin(root, found)
    monkeypatch.setenv("NA_RAY_WEIGHTS", str(weights))  # a worker's
    assert isinstance(load_perceptual(found.texture)[0], LaplacianPyramid)
    assert open_run(texture, resume=True)[1].texture == found.texture
    with pytest.raises(UserError, match="texture.perceptual: 'pyramid' -> 'vgg19'"):
        open_run(override(texture, {"texture.perceptual": "vgg19"}), resume=True)


def test_a_run_that_left_it_to_its_workers_goes_on(weights: Path, texture: Experiment) -> None:
    root = Path(texture.storage) / texture.name
    begin(root, override(texture, {"nerf.encoder_weights": "relative.pth"}))  # as earlier versions wrote it
    assert open_run(texture, resume=True)[1].texture.vgg_weights == str(weights / "vgg19-dcbb9e9d.pth")


def test_a_file_that_a_worker_lacks_is_told_with_its_machine() -> None:
    import socket

    import torch

    with pytest.raises(
        FileNotFoundError, match=f"^/no/such.pth: no such file on {socket.gethostname()}; leave it out$"
    ):
        load_weights(torch.nn.Identity(), "/no/such.pth", "a network", (), "leave it out")
