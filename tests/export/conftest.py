"""A bent column as splats, so that what is exported has every orientation."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from na_ray import checkpoint
from na_ray.actor import open_actor, write_actor
from na_ray.body.body import Body
from na_ray.capture.dataset import Capture
from na_ray.config import Experiment, NerfConfig
from na_ray.config.splats import SplatsConfig
from na_ray.models.avatars import AVATARS
from tests.make_capture import write_tiny_capture
from tests.tiny_predictor import save_predictor


@pytest.fixture(scope="session")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    folder = tmp_path_factory.mktemp("export") / "capture"
    return Capture.open(write_tiny_capture(folder, frames=6, cameras=2, resolution=(48, 48)))


@pytest.fixture(scope="session")
def actor(capture: Capture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's actor of all three stages, whose splats have moved from where they begin."""
    splats = replace(SplatsConfig(), texels=48, widths=(8, 8))
    config = Experiment(
        name="anna",
        capture=capture.path,
        splats=splats,
        nerf=NerfConfig(hidden=16, encoder_width=4, samples_per_ray=6, mesh_residual=True),
    )
    torch.manual_seed(3)
    root = tmp_path_factory.mktemp("runs") / "anna"
    for name, kind in AVATARS.items():
        model = kind.make(config, Body.from_rig(capture.rig))
        if name == "splats":
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter += 0.05 * torch.randn_like(parameter)
        checkpoint.save(root / name / "checkpoints" / "step_000001", name, model.state_dict(), capture.rig, config)
    save_predictor(root / "texture" / "checkpoints" / "step_000001", capture.rig)
    return write_actor(root / "actor", open_actor(root).networks, capture)
