"""What version 0.1 wrote keeps its meaning: knobs that it did not have yet stand for what it did."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from na_ray import checkpoint, render
from na_ray.body.body import Body
from na_ray.capture.dataset import Capture
from na_ray.checkpoint import load_avatar
from na_ray.config import DataConfig, Experiment, NerfConfig, override, to_dict
from na_ray.models.nerf.renderer import Nerf
from na_ray.run.train.run_folder import begin, open_run
from tests.make_capture import write_tiny_capture

SMALL = {"hidden": 8, "encoder_width": 4, "samples_per_ray": 8}


def as_0_1_wrote(experiment: Experiment) -> dict[str, Any]:
    """The experiment.json with the names of 0.1, and without the knobs that are newer."""
    values = to_dict(experiment)
    for section, name in (
        ("nerf", "mesh_prior"),
        ("nerf", "guided_samples"),
        ("data", "pixel_jitter"),
        ("report", "supersample"),
    ):
        del values[section][name]
    values["train"]["frames_per_step"] = values["train"].pop("global_batch")
    values["texture"]["windows_per_step"] = values["texture"].pop("global_batch")
    values["stages"] = ["renderer" if stage == "nerf" else stage for stage in values["stages"]]
    values["nerf"]["background"] = values["data"].pop("background")
    return values | {"renderer": values.pop("nerf")}


@pytest.mark.parametrize("mesh_residual", [True, False])
def test_an_old_checkpoint_keeps_its_prior_and_says_so(
    tmp_path: Path, mesh_residual: bool, caplog: pytest.LogCaptureFixture
) -> None:
    capture = Capture.open(str(write_tiny_capture(tmp_path / "capture", resolution=(24, 32), texture_size=24)))
    soft = NerfConfig(mesh_residual=mesh_residual, mesh_prior="soft", **SMALL)
    config = Experiment(nerf=soft, data=DataConfig(texture_size=16, pixel_jitter=False))
    torch.manual_seed(0)
    nerf = Nerf(soft, Body.from_rig(capture.rig), config.data).eval()
    checkpoint.save(tmp_path / "actor", "nerf", nerf.state_dict(), capture.rig, config)
    (tmp_path / "actor" / "experiment.json").write_text(json.dumps(as_0_1_wrote(config)))
    with caplog.at_level(logging.WARNING):
        actor = load_avatar(tmp_path / "actor")
    assert actor.config == config and not actor.config.nerf.guided
    assert ("is of version 0.1: it keeps the blurred mesh" in caplog.text) == mesh_residual
    split = capture.split("training")
    encoded = render.encode(actor, split.pose(0), split.texture(0))
    assert encoded.rgb is None
    expected = nerf.encode(nerf.body.pose(split.pose(0)), render.texture_map(actor, split.texture(0)))
    with torch.no_grad():
        pictures = [r.picture(f, split.cameras[0]).colors for r, f in ((actor.model, encoded), (nerf, expected))]
    assert torch.equal(*pictures)


def test_an_old_run_goes_on_as_it_began(tmp_path: Path) -> None:
    asked = override(Experiment(), {"storage": str(tmp_path), "nerf.mesh_residual": True})
    root, settled = open_run(asked, resume=False)
    begin(root, settled)
    (root / "experiment.json").write_text(json.dumps(as_0_1_wrote(settled)))
    _, experiment = open_run(asked, resume=True)
    assert experiment.nerf.mesh_prior == "soft" and not experiment.data.pixel_jitter
    # A run of today keeps what it was started with, and refuses another prior.
    begin(root, settled)
    assert open_run(asked, resume=True)[1] == settled
    with pytest.raises(ValueError, match=r"nerf\.mesh_prior: 'surface' -> 'soft'"):
        open_run(override(asked, {"nerf.mesh_prior": "soft"}), resume=True)
