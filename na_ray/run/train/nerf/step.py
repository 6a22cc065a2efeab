"""One optimizer step of the NeRF: rows of the stream to rays on the device, to a loss, to gradients."""

import contextlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from na_ray.body.body import Body, PosedBody
from na_ray.body.intervals import shell_intervals
from na_ray.body.upload import upload
from na_ray.capture.rig import Pose
from na_ray.config import Experiment
from na_ray.models import losses
from na_ray.models.nerf.renderer import Nerf


@dataclass(frozen=True)
class Batch:
    """The rays of one frame, chosen and on the device: r rays of each of its views, v * r in all."""

    posed: PosedBody
    texture: Tensor
    origins: Tensor
    directions: Tensor
    near: Tensor
    far: Tensor
    colors: Tensor


def to_batch(row: dict[str, np.ndarray], body: Body, experiment: Experiment) -> Batch:
    """Move a row to the body's device and keep, of each view, the first `rays_per_view` rays that meet the shell.

    Views with fewer are filled up with rays that miss: they render the background and carry no gradient.
    """
    device, cfg = body.vertices.device, experiment.nerf
    pose = Pose(**{name: row[name] for name in ("joints_RT", "rotation", "translation", "joints")}, pose=None)
    posed = body.pose(pose)
    tensors = {k: upload(row[k], device) for k in ("origins", "directions", "colors")}
    flat = {k: v.reshape(-1, v.shape[-1]) if v.ndim == 3 else v.reshape(-1) for k, v in tensors.items()}
    near, far, hit = shell_intervals(
        posed.world_vertices, flat["origins"], flat["directions"], cfg.shell_radius, parity=cfg.parity
    )
    views, drawn = row["origins"].shape[:2]
    # A stable sort by "transmittance" keeps the drawn order within the hits: still a uniform draw.
    chosen = (~hit).reshape(views, drawn).to(torch.uint8).argsort(dim=1, stable=True)
    chosen = chosen[:, : experiment.data.rays_per_view] + drawn * torch.arange(views, device=device)[:, None]
    pick = chosen.reshape(-1)
    texture = upload(row["texture"], device).permute(2, 0, 1).float() / 255
    rays = {k: v[pick] for k, v in flat.items()}
    return Batch(posed, texture, near=near[pick], far=far[pick], **rays)


def noise_source(experiment: Experiment, step: int, slot: int, device: torch.device) -> torch.Generator:
    """The random numbers of one row of one step: a function of (seed, step, batch slot), whoever computes it."""
    words = np.random.SeedSequence([experiment.train.seed, step, slot]).generate_state(2, np.uint32)
    return torch.Generator(device).manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)


def train_step(
    model: Nerf | DistributedDataParallel,
    batches: list[Batch],
    experiment: Experiment,
    noises: list[torch.Generator],
    weight: float,
) -> tuple[Tensor, Tensor]:
    """Forward and backward over the worker's rows. Returns the sums of `weight` times their loss and of `weight` times
    their mean squared error in [0, 1] colors.

    `weight` is workers / rows of a step over all workers: DDP averages over workers, once, in the last row's backward
    pass, so that each row of the step counts the same, also where the workers have unlike numbers of them.
    """
    total, squared = torch.zeros((), device=batches[0].colors.device), torch.zeros((), device=batches[0].colors.device)
    for i, (batch, noise) in enumerate(zip(batches, noises, strict=True)):
        last = i == len(batches) - 1
        held = isinstance(model, DistributedDataParallel) and not last
        with model.no_sync() if held else contextlib.nullcontext():  # type: ignore[operator]
            with _autocast(experiment, batch.colors.device):
                rendering = model(
                    batch.posed,
                    batch.texture,
                    origins=batch.origins,
                    directions=batch.directions,
                    near=batch.near,
                    far=batch.far,
                    generator=noise,
                )
            loss = losses.total(rendering.colors, rendering.transmittance, batch.colors, experiment.optim) * weight
            loss.backward()
        total += loss.detach()
        squared += ((rendering.colors.detach() - batch.colors) / 2).square().mean() * weight
    return total, squared


def _autocast(experiment: Experiment, device: torch.device) -> torch.autocast:
    enabled = experiment.train.precision == "bfloat16"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)
