"""Two workers learn what one does: stages that are trained by test_train.py without Ray's workers. And what they
average beside gradients."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from na_ray import checkpoint
from na_ray.body.body import Body
from na_ray.capture.dataset import Capture
from na_ray.config import Experiment, override
from na_ray.models.nerf.renderer import Nerf
from na_ray.models.vid2vid.generator import Generator
from tests.run.train.splats.test_stage import record
from tests.run.train.texture.test_stage import moments
from tests.run.train.together import train_alone, train_together


def of_splats(tree: Experiment) -> Experiment:
    """Two frames of two pictures: each worker has one picture of either frame. Their poses are learned, too."""
    return override(tree, {"splats.global_batch": 4, "train.steps": 12, "train.checkpoint_every": 12})


def of_texture(tiny_texture: Experiment) -> Experiment:
    """After one frame, with a generator that hardly hears the discriminators: Adam with beta1 = 0 turns the rounding of
    their tiny gradients into whole updates."""
    short = {"texture.first_window": 1, "texture.max_window": 1, "texture.steps": 1, "texture.checkpoint_every": 1}
    return override(tiny_texture, short | {"texture.gan_weight": 1e-9, "texture.feature_weight": 0.0})


def test_two_workers_learn_what_one_does_and_settle_their_running_statistics(
    tree: Experiment, tiny_texture: Experiment, tiny: Experiment, tmp_path: Path
) -> None:
    """In the same two processes, which take most of the time to start."""
    experiments = [of_splats(tree), of_texture(tiny_texture)]
    one = [train_alone(override(e, {"name": f"{e.stages[0]}-one"})) for e in experiments]
    settling = override(tiny, {"train.global_batch": 2})
    two = train_together([override(e, {"name": f"{e.stages[0]}-two"}) for e in experiments], settling, tmp_path)
    check_splats(one[0], two[0])
    check_texture(one[1], two[1], experiments[1])
    check_settled(tiny, [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)])


def check_splats(one: Path, two: Path) -> None:
    """Like weights, and like losses at every step."""
    a, b = (checkpoint.load_weights(folder, "splats") for folder in (one, two))
    assert a.keys() == b.keys()
    for name in a:
        assert float((a[name] - b[name]).abs().max()) < 2e-5, name
    losses = [
        [line["metrics"]["loss"] for line in record(run.parents[2]) if "loss" in line["metrics"]] for run in (one, two)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4) and len(set(losses[0])) > 3


def check_texture(one: Path, two: Path, experiment: Experiment) -> None:
    """Like gradients. In the generator's last block alone: the first frame starts from features that are constant over
    the map, and instance norms make rounding errors of what is constant large."""
    names = [name for name, _ in Generator(experiment.vid2vid).named_parameters()]
    last = {names.index(f"{layer}.weight") for layer in ("head", "up.0.second.conv", "up.0.skip.conv")}
    for side, chosen in (("discriminator", None), ("generator", last)):
        a, b = (moments(run, side) for run in (one, two))
        assert a.keys() == b.keys()
        compared = a.keys() if chosen is None else chosen
        largest = max(float(a[i].abs().max()) for i in compared)
        assert largest > 0 and max(float((a[i] - b[i]).abs().max()) for i in compared) <= 1e-4 * largest


def check_settled(experiment: Experiment, settled: list[dict[str, Tensor]]) -> None:
    """The running statistics are the average of the workers' random ones, and no other buffer changed."""
    body = Body.from_rig(Capture.open(experiment.capture).rig)
    random, statistics = [torch.Generator().manual_seed(rank) for rank in range(2)], 0
    for name, buffer in Nerf(experiment.nerf, body).named_buffers():
        expected = buffer
        if "running" in name:
            expected = sum(torch.rand(buffer.shape, generator=g) for g in random) / 2
            statistics += 1
        for worker in settled:
            torch.testing.assert_close(worker[name], expected, msg=name)
    assert statistics == 2 * 29
