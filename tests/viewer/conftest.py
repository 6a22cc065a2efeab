"""A small actor that has everything: splats, a NeRF, a texture predictor, and its capture."""

from pathlib import Path

import pytest
import torch
from make_capture import write_tiny_capture
from tiny_predictor import save_predictor

from na_ray import checkpoint
from na_ray.actor import Actor, open_actor, write_actor
from na_ray.body.body import Body
from na_ray.capture.dataset import Capture
from na_ray.config import Experiment, NerfConfig, override
from na_ray.config.files import to_json
from na_ray.config.splats import SplatsConfig
from na_ray.models.avatars import AVATARS
from na_ray.motion.textures import MeanTexture


@pytest.fixture(scope="session")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    """Six frames by two cameras."""
    folder = tmp_path_factory.mktemp("view") / "capture"
    return Capture.open(write_tiny_capture(folder, frames=6, cameras=2, resolution=(32, 48)))


@pytest.fixture(scope="session")
def actor_folder(capture: Capture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As it begins training: splats in their mean map, a NeRF and a predictor of random weights."""
    root = tmp_path_factory.mktemp("actors")
    nerf = NerfConfig(hidden=8, encoder_width=4, samples_per_ray=4)
    config = Experiment(nerf=nerf, splats=SplatsConfig(texels=48, widths=(8,)), capture=capture.path)
    body = Body.from_rig(capture.rig)
    for name in ("splats", "nerf"):
        torch.manual_seed(0)
        model = AVATARS[name].make(config, body)  # type: ignore[index]
        if name == "splats":
            mean = torch.from_numpy(MeanTexture.of(config, capture).map).permute(2, 0, 1) / 255
            model.start_from(lambda m=model, t=mean: [(body.pose(capture.split("training").pose(0)), m.shrink(t))])
        checkpoint.save(root / name, name, model.state_dict(), capture.rig, config, 1)  # type: ignore[arg-type]
    predictor = override(
        checkpoint.load_experiment(save_predictor(root / "texture", capture.rig)), {"capture": capture.path}
    )
    checkpoint.write_json(root / "texture" / "experiment.json", to_json(predictor))
    return write_actor(root / "anna", {s: root / s for s in ("splats", "nerf", "texture")}, capture)  # type: ignore[misc]


@pytest.fixture(scope="session")
def actor(actor_folder: Path) -> Actor:
    """The same, opened."""
    return open_actor(actor_folder)
