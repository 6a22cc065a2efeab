"""Knobs of a training step, and what its workers average: in a stage's own trainer, on real rows of the stream."""

import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor

from na_ray.capture.dataset import Capture
from na_ray.config import Experiment, override, to_dict
from na_ray.run.data.frames import FrameDataset, FrameSampler
from na_ray.run.data.loader import StepLoader
from na_ray.run.train.context import TrainContext, Worker
from na_ray.run.train.nerf.stage import NerfTrainer
from na_ray.run.train.run_folder import RunFolder


def trainer(experiment: Experiment) -> NerfTrainer:
    dataset = FrameDataset.make(Capture.open(experiment.capture), experiment)
    run = RunFolder(Path(experiment.storage), "nerf", 1)
    worker = Worker(0, 1, torch.device("cpu"), lambda _: None)
    return NerfTrainer(TrainContext(experiment, dataset.rig, run, worker), dataset)


def step(stage: NerfTrainer) -> tuple[float, dict[str, Tensor]]:
    """(loss, gradients) of the first step."""
    (rows,) = islice(StepLoader(FrameSampler(stage.dataset, (0,), 1, 0), distributed=False), 1)
    loss, _ = stage.step(rows, 0)
    return float(loss["loss"]), {n: p.grad for n, p in stage.nerf.named_parameters() if p.grad is not None}


def norm(gradients: dict[str, Tensor]) -> float:
    return float(sum(g.double().square().sum() for g in gradients.values())) ** 0.5


def test_clip_norm_shortens_a_longer_gradient_and_leaves_its_direction(tiny: Experiment) -> None:
    _, whole = step(trainer(tiny))
    length = norm(whole)
    _, cut = step(trainer(override(tiny, {"optim.clip_norm": length / 4})))
    assert norm(cut) == pytest.approx(length / 4, rel=1e-4)
    for name, gradient in whole.items():
        torch.testing.assert_close(cut[name], gradient / 4, rtol=1e-4, atol=1e-9)
    _, kept = step(trainer(override(tiny, {"optim.clip_norm": 4 * length})))
    assert all(torch.equal(kept[name], gradient) for name, gradient in whole.items())


def test_bfloat16_is_for_the_networks_and_not_for_weights_geometry_or_compositing(tiny: Experiment) -> None:
    seen: dict[str, list[torch.dtype]] = {"float32": [], "bfloat16": []}
    losses = {}
    for precision, dtypes in seen.items():
        stage = trainer(override(tiny, {"train.precision": precision}))
        for module in (stage.nerf.encoder.conv1, stage.nerf.field.shape[0]):
            module.register_forward_hook(lambda _, __, out, to=dtypes: to.append(out.dtype))
        field = stage.nerf.field
        field.register_forward_hook(lambda _, inputs, out, to=dtypes: to.extend([inputs[1].dtype, out[0].dtype]))
        losses[precision], gradients = step(stage)
        assert all(x.dtype == torch.float32 for x in (*stage.nerf.parameters(), *gradients.values()))
        moments = [m for state in stage.optimizer.state.values() for m in (state["exp_avg"], state["exp_avg_sq"])]
        assert moments and all(m.dtype == torch.float32 for m in moments)
    half = torch.bfloat16
    assert set(seen["float32"]) == {torch.float32}
    assert seen["bfloat16"][:4] == [half, half, torch.float32, torch.float32]
    assert losses["bfloat16"] != losses["float32"] == pytest.approx(losses["bfloat16"], rel=0.02)


COMPILE = """
import functools, json, sys
from pathlib import Path
import torch
from torch._dynamo.utils import counters
from na_ray.capture.dataset import Capture
from na_ray.config import Experiment, from_dict, override
from na_ray.run.train.run_folder import RunFolder
from na_ray.run.train.context import TrainContext, Worker
from na_ray.run.train.nerf.stage import NerfTrainer
from na_ray.run.data.frames import FrameDataset, decode_shard

# Traced and differentiated as in training; generated code is left out, since that takes a minute to make.
torch.nn.Module.compile = functools.partialmethod(torch.nn.Module.compile, backend="aot_eager")
experiment = from_dict(Experiment, json.loads(sys.argv[1]))
dataset = FrameDataset.make(Capture.open(experiment.capture), experiment)
rows = list(decode_shard(dataset, dataset.shards(0)[0]))[:1]
found = []
for compiled in (True, False):
    knobs = override(experiment, {"train.compile": compiled})
    worker = Worker(0, 1, torch.device("cpu"), lambda _: None)
    stage = NerfTrainer(TrainContext(knobs, dataset.rig, RunFolder(Path("none"), "nerf", 1), worker), dataset)
    loss, _ = stage.step(rows, 0)
    found.append((loss["loss"], {n: p.grad for n, p in stage.nerf.named_parameters()}, list(stage.weights())))
    print(counters["stats"]["unique_graphs"])
(loss, gradients, names), (expected, others, plain) = found
assert names == plain
torch.testing.assert_close(loss, expected)
for name, gradient in gradients.items():
    torch.testing.assert_close(gradient, others[name], rtol=1e-3, atol=1e-6)
"""


def test_a_compiled_field_learns_the_same_under_the_same_names(tiny: Experiment) -> None:
    """In a process of its own, where annotations are not checked: the checks would be compiled, too."""
    command = [sys.executable, "-c", COMPILE, json.dumps(to_dict(tiny))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    compiled, plain = map(int, done.stdout.split())
    assert compiled == plain >= 1, "one of the two was compiled"
