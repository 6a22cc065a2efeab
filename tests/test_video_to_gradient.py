"""From a video file to a gradient, in five hops."""

from itertools import islice
from pathlib import Path

import torch

from na_ray.capture.dataset import Capture
from na_ray.config import Experiment, override
from na_ray.run.data.frames import FrameDataset, FrameSampler, decode_shard
from na_ray.run.data.loader import StepLoader
from na_ray.run.train.nerf.stage import build
from na_ray.run.train.nerf.step import noise_source, to_batch, train_step
from tests.make_capture import write_tiny_capture


def test_a_frame_of_a_video_becomes_a_gradient_of_every_parameter(tmp_path: Path) -> None:
    write_tiny_capture(tmp_path / "tiny", frames=4, cameras=2, resolution=(32, 40))
    experiment = override(
        Experiment(capture=str(tmp_path / "tiny")),
        {
            "data.train_views": "all",
            "data.resolution": None,
            "data.rays_per_view": 64,
            "nerf.samples_per_ray": 8,
            "nerf.hidden": 16,
            "nerf.encoder_width": 4,
        },
    )
    dataset = FrameDataset.make(Capture.open(experiment.capture), experiment)
    (decoded, *_) = decode_shard(dataset, dataset.shards(0)[0])  # video.decode
    assert decoded["texture"].max() > 0
    (row,) = next(islice(StepLoader(FrameSampler(dataset, (0,), 1, 0), distributed=False), 1))  # the stream
    nerf, body = build(experiment, dataset, torch.device("cpu"))
    batch = to_batch(row, body, experiment)
    assert (batch.far > batch.near).sum() >= 10, "training draws rays that meet the shell"
    noise = noise_source(experiment, 0, 0, torch.device("cpu"))
    # Nerf.forward, losses, backward
    loss, _ = train_step(nerf.train(), [batch], experiment, [noise], weight=1.0)
    assert torch.isfinite(loss) and loss > 0
    for name, parameter in nerf.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
    moved = [name for name, p in nerf.named_parameters() if p.grad is not None and p.grad.abs().max() > 0]
    # The deformation starts at zero, so only its last layer has a gradient at the first step.
    waiting = [n for n, _ in nerf.named_parameters() if n not in moved]
    assert all("deformation" in name for name in waiting), waiting
