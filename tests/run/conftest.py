"""A capture small enough to train on in seconds, and the experiment that does."""

from pathlib import Path

import pytest

from na_ray.config import Experiment, override
from tests.make_capture import write_tiny_capture


@pytest.fixture(scope="session")
def tiny_capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A column of 12 training and 12 testing frames, filmed by 3 cameras."""
    folder = tmp_path_factory.mktemp("capture") / "tiny"
    write_tiny_capture(folder, frames=12, cameras=3, resolution=(32, 40))
    return folder


@pytest.fixture
def tiny(tiny_capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """An experiment of ten steps in the test's own folder, with an MLflow store of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return override(
        Experiment(name="tiny", capture=str(tiny_capture), storage=str(tmp_path / "runs")),
        {
            "data.train_views": "0,1",
            "data.validation_views": "2",
            "data.resolution": None,
            "data.rays_per_view": 32,
            "data.shard_frames": 4,
            "renderer.samples_per_ray": 6,
            "renderer.hidden": 16,
            "renderer.encoder_width": 4,
            "optim.lr": 2e-3,
            "train.steps": 10,
            "train.num_workers": 0,
            "train.log_every": 2,
            "train.checkpoint_every": 5,
            "train.keep_last": 2,
            "train.validate_every": 5,
            "train.validation_frames": 1,
            "report.frames": 1,
            "report.film_frames": 0,
        },
    )
