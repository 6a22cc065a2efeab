"""What version 0.1.0 left behind opens, goes on, and computes what it computed then."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from na_ray.capture.dataset import Capture
from na_ray.checkpoint import load_avatar
from na_ray.config import Experiment
from na_ray.render import encode
from na_ray.run.train.stages import STAGES
from na_ray.run.train.upgrade import upgrade_run
from na_ray.run.train.worker import train_here
from tests import golden

STAGES_0_1 = [*golden.STAGES_0_1]


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return golden.write_capture(tmp_path_factory.mktemp("capture") / "tiny")


@pytest.mark.parametrize("stage", STAGES_0_1)
def test_twenty_steps_have_the_losses_of_0_1(stage: str, tmp_path: Path, capture: Path) -> None:
    found = golden.trained_losses(stage, tmp_path, capture)
    golden.assert_losses(stage, found, golden.stored_losses(stage))


@pytest.mark.parametrize("stage", STAGES_0_1)
def test_a_checkpoint_of_0_1_shows_what_it_showed(stage: str, tmp_path: Path, capture: Path) -> None:
    found, expected = golden.picture(stage, tmp_path, capture), golden.stored_picture(stage)
    tolerance = 1 if expected.dtype == np.uint8 else 1e-4
    np.testing.assert_allclose(found.astype(np.float64), expected.astype(np.float64), atol=tolerance)


@pytest.mark.parametrize("stage", STAGES_0_1)
def test_a_run_of_0_1_goes_on_from_its_checkpoint(stage: str, tmp_path: Path, capture: Path) -> None:
    root = golden.copy_run(stage, tmp_path, capture)
    experiment = golden.experiment_of(root)
    assert upgrade_run(root) and not upgrade_run(root), "once is enough"
    run = golden.run_of(root, stage, experiment)
    before = len((run.folder / "metrics.jsonl").read_text().splitlines())
    torch.set_num_threads(1)
    train_here(experiment, STAGES[run.stage].make_dataset(Capture.open(capture), experiment), run)
    fresh = (run.folder / "metrics.jsonl").read_text().splitlines()[before:]
    losses = {m["step"]: m["metrics"]["loss"] for m in map(json.loads, fresh) if "loss" in m["metrics"]}
    assert list(losses) == list(range(11, 21)), "it goes on behind step 10"
    golden.assert_losses(stage, [*losses.values()], golden.stored_losses(stage)[10:])


def test_a_registered_model_of_0_1_is_drawn(tmp_path: Path, capture: Path) -> None:
    with zipfile.ZipFile(golden.RELEASE / "registered_model.zip") as archive:
        archive.extractall(tmp_path)
    (checkpoint,) = (path.parent for path in tmp_path.glob("**/experiment.json"))
    actor = load_avatar(checkpoint)
    assert isinstance(actor.config, Experiment)
    split = Capture.open(capture).split("testing")
    frame = encode(actor, split.pose(0), split.texture(0))
    with torch.no_grad():
        drawn = actor.model.picture(frame, split.cameras[0]).colors
    assert drawn.std() > 0.05, "the column is there"
