"""A capture small enough to train on in seconds, and the experiment that does."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from na_ray.capture.dataset import Capture
from na_ray.capture.skeleton import Skeleton
from na_ray.config import Experiment, override, secrets
from na_ray.motion.posed import make_pose
from na_ray.prepare.track import write_transforms
from tests.guarded_server import serving
from tests.make_capture import write_tiny_capture


@pytest.fixture(scope="session")
def tiny_capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A column of 12 training and 12 testing frames, filmed by 3 cameras."""
    folder = tmp_path_factory.mktemp("capture") / "tiny"
    write_tiny_capture(folder, frames=12, cameras=3, resolution=(32, 40))
    return folder


@pytest.fixture
def guarded_host(tiny_capture: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """HOST:PORT of the same capture behind a password or a signature, neither of which this process knows."""
    monkeypatch.setattr(secrets, "_known", {})
    monkeypatch.delenv(secrets.VARIABLE, raising=False)
    with serving(tiny_capture) as host:
        yield host


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs: to make one takes seconds, to copy it nothing."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


def copy_store(source: Path, target: Path) -> None:
    """Copy a database that may be open."""
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


@pytest.fixture
def tiny(tiny_capture: Path, empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """An experiment of ten steps in the test's own folder, with an MLflow store of its own."""
    monkeypatch.chdir(tmp_path)
    copy_store(empty_store, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return override(
        Experiment(name="tiny", capture=str(tiny_capture), storage=str(tmp_path / "runs")),
        {
            "data.train_views": "0,1",
            "data.validation_views": "2",
            "data.resolution": None,
            "data.rays_per_view": 32,
            "data.shard_frames": 4,
            "nerf.samples_per_ray": 6,
            "nerf.hidden": 16,
            "nerf.encoder_width": 4,
            "optim.lr": 2e-3,
            "train.steps": 10,
            "train.num_workers": 0,
            "train.global_batch": 1,
            "train.log_every": 2,
            "train.checkpoint_every": 5,
            "train.keep_last": 2,
            "train.validate_every": 5,
            "train.validation_frames": 1,
            "report.frames": 1,
            "report.film_frames": 0,
        },
    )


@pytest.fixture
def tiny_texture(tiny: Experiment) -> Experiment:
    """The same with the texture stage: six steps of one window of networks as narrow as they get."""
    return override(
        tiny,
        {
            "stages": ("texture",),
            "vid2vid.resolution": (32, 32),
            "vid2vid.num_filters": 2,
            "vid2vid.max_num_filters": 4,
            "vid2vid.num_layers": 4,
            "vid2vid.num_downsamples_img": 3,
            "vid2vid.embed_downsamples": 2,
            "vid2vid.warp_downsamples": 2,
            "vid2vid.warp_layers": 2,
            "vid2vid.latent_channels": 4,
            "vid2vid.flow_filters": 2,
            "vid2vid.flow_downsamples": 2,
            "vid2vid.flow_blocks": 1,
            "vid2vid.image_filters": 2,
            "vid2vid.image_scales": 1,
            "vid2vid.image_layers": 2,
            "vid2vid.temporal_filters": 2,
            "vid2vid.temporal_scales": 1,
            "vid2vid.temporal_subscales": 1,
            "vid2vid.temporal_layers": 1,
            "texture.steps": 6,
            "texture.first_window": 3,
            "texture.max_window": 4,
            "texture.double_every": 3,
            "texture.global_batch": 2,
            "texture.average_start": 2,
            "texture.checkpoint_every": 2,
            "texture.validate_every": 0,
            "texture.validation_frames": 4,
        },
    )


@pytest.fixture
def splats(tiny: Experiment) -> Experiment:
    """Six steps of two pictures, an atlas of 32 texels."""
    changes = {
        "stages": ("splats",),
        "splats.size": 40,
        "splats.texels": 32,
        "splats.widths": (8, 8),
        "splats.warmup_steps": 2,
        "train.steps": 6,
        "train.checkpoint_every": 3,
        "train.validate_every": 0,
        "train.log_every": 1,
        "report.frames": 0,
    }
    return override(tiny, changes)


@pytest.fixture
def tree(splats: Experiment, tmp_path: Path) -> Experiment:
    """The same on poses of joints that hang on each other, which are learned, too: those of the tiny capture are of no
    tree."""
    folder = shutil.copytree(splats.capture, tmp_path / "tree")
    split = Capture.open(folder).split("training")
    chain = Skeleton(tuple("abcde"), (-1, 0, 1, 2, 3), np.array([[0.0, 0.4 * j, 0.0] for j in range(5)]))
    turns = [0.05 * np.sin(0.1 * i) * np.eye(3)[[0] * 5] for i in range(split.num_frames)]
    poses = [make_pose(chain, turn, np.array([0.02 * i, 0.0, 0.01])) for i, turn in enumerate(turns)]
    write_transforms(Path(split.files.transforms.folder), split, poses)
    changes = {"capture": str(folder), "splats.refine_poses": True, "data.frames": "0..3"}
    return override(splats, changes)
