"""Real optimizer updates beside those of the original implementation."""

from typing import Any

import numpy as np
import torch
from parity_fixture import Fixture, Table
from torch import Tensor

from na_ray.models import losses, optim
from na_ray.models.nerf.renderer import Nerf, Noise, Rendering
from na_ray.models.nerf.sampling import sample_along_rays
from na_ray.original.renderer import NEVER_RUN, our_name


def learning_rates(fixture: Fixture, table: Table) -> None:
    """The schedule, quirk included."""
    data, config = fixture.load("train_step"), fixture.imported.optim
    found = [optim.learning_rate(config, int(k) - 1, parity=True) for k in data["lr_table"][:, 0]]
    table.check("train_step", "lr_table", np.array(found), data["lr_table"][:, 1], 1e-12)
    first = np.array(optim.learning_rate(config, 0, parity=True))
    table.check("train_step", "lr_before_first_update", first, data["lr_before_first_update"], 0)


def train_steps(fixture: Fixture, table: Table) -> None:
    """Two runs: three updates without randomness, two with the original's random numbers."""
    for run, count in (("quiet", 3), ("noisy", 2)):
        nerf = fixture.nerf(seams=False).train()
        optimizer = optim.adam(nerf.parameters(), fixture.imported.optim, parity=True)
        initial = {name: p.detach().clone() for name, p in nerf.named_parameters()}
        for step in range(count):
            _update(fixture, table, nerf, optimizer, initial, run, step)


def _update(
    fixture: Fixture,
    table: Table,
    nerf: Nerf,
    optimizer: torch.optim.Optimizer,
    initial: dict[str, Tensor],
    run: str,
    step: int,
) -> None:
    data, key, late = fixture.load("train_step"), f"{run}_s{step}", step == 2
    lr = optim.learning_rate(fixture.imported.optim, step, parity=True)
    optim.set_learning_rate(optimizer, lr)
    optimizer.zero_grad()
    rendering, energy = _forward(fixture, table, nerf, data, key)
    loss = losses.photometric(rendering.colors, fixture.tensor(data[f"{key}_target_colors"]))
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in nerf.named_parameters() if p.grad is not None}
    optimizer.step()
    table.check("train_step", f"{key}_free_energy", energy, data[f"{key}_free_energy"], 2e-5)
    values = {"pred_colors": rendering.colors, "missed": rendering.transmittance, "depths": rendering.depths}
    for name, value in values.items():
        table.check("train_step", f"{key}_{name}", value, data[f"{key}_{name}"], 5e-5)
    reference = float(data[f"{key}_loss"])
    for name in ("loss", "color_loss"):
        table.check("train_step", f"{key}_{name} (relative)", loss.detach() / reference, 1.0, 1e-3 if late else 1e-5)
    table.check("train_step", f"{key}_lr_used", np.array(lr), data[f"{key}_lr_used"], 1e-12)
    after = np.array(optim.learning_rate(fixture.imported.optim, step + 1, parity=True))
    table.check("train_step", f"{key}_lr_after", after, data[f"{key}_lr_after"], 1e-12)
    table.check("train_step", f"{key}_num_updates_after", np.array(step + 1), data[f"{key}_num_updates_after"], 0)
    _check_gradients(table, data, key, gradients)
    _check_parameters(table, data, key, nerf, optimizer, initial)


def _forward(fixture: Fixture, table: Table, nerf: Nerf, data: Any, key: str) -> tuple[Rendering, Tensor]:
    """The training forward pass, and the free energies of the rays that hit."""
    rig = fixture.load("rig")
    frame, view = (int(i) for i in data[f"{key}_frame_view"])
    cameras = (rig["intrinsics"][view], rig["cam_to_world"][view])
    origins, directions = fixture.rays(*cameras, data[f"{key}_sampled_uv"])
    posed = fixture.pose(nerf, frame)
    near, far, hit = nerf.intervals(posed, origins, directions)
    jitter, density = torch.full((len(hit), 64), 0.5), torch.zeros(len(hit), 65)
    if f"{key}_depth_noise" in data.files:
        jitter[hit] = torch.tensor(data[f"{key}_depth_noise"])[:, :64]
        density[hit] = torch.tensor(data[f"{key}_sigma_noise"])
    jitter, density = jitter.to(fixture.dtype), density.to(fixture.dtype)
    kept: list[Tensor] = []
    evaluate = nerf._evaluate

    def keep(*args: Any) -> Any:
        found = evaluate(*args)
        kept.append(found[0].detach())
        return found

    nerf._evaluate = keep  # type: ignore[method-assign, assignment]
    rendering = nerf(posed, fixture.texture(frame), origins, directions, Noise(jitter, density), near, far)
    nerf._evaluate = evaluate  # type: ignore[method-assign]

    _, deltas = sample_along_rays(near[hit], far[hit], 64, jitter[hit])
    return rendering, kept[0].relu() * deltas


def _known(data: Any) -> list[tuple[int, str, str]]:
    """Index, the original's name and ours, of the parameters that are trained here (layer4 is never run)."""
    names = [str(name) for name in data["param_names"]]
    return [(i, name, our_name(name) or "") for i, name in enumerate(names) if not name.startswith(NEVER_RUN)]


def _relative(found: Any, expected: Any) -> float:
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    return float((np.abs(found - expected) / np.maximum(np.abs(expected), 1e-300)).max())


def _check_gradients(table: Table, data: Any, key: str, gradients: dict[str, Tensor]) -> None:
    known = _known(data)
    rows = [i for i, _, _ in known]
    norms = np.array([float(gradients[ours].norm()) for _, _, ours in known])
    entries, sums, full = 0.0, 0.0, 0.0
    for (i, name, ours), norm in zip(known, norms, strict=True):
        gradient = gradients[ours].flatten().numpy()
        index = data["sample_index"][i]
        index = index[index >= 0]
        largest = max(float(np.abs(gradient).max()), 1e-300)
        expected = data[f"{key}_grad_entries"][i, : len(index)]
        entries = max(entries, float(np.abs(gradient[index] - expected).max()) / largest)
        scale = max(norm * len(gradient) ** 0.5, 1e-300)
        sums = max(sums, abs(float(gradient.sum()) - float(data[f"{key}_grad_sum"][i])) / scale)
        if f"{key}_grad.{name}" in data.files:
            difference = np.abs(gradient - data[f"{key}_grad.{name}"].ravel()).max()
            full = max(full, float(difference) / largest)
    unused = np.abs(np.delete(data[f"{key}_grad_norm"], rows)).max()
    total = float(np.sqrt((norms**2).sum()))
    table.rows += [
        ("train_step", f"{key}_grad_total_norm (rel)", _relative(total, data[f"{key}_grad_total_norm"]), 1e-4),
        ("train_step", f"{key}_grad_norm (rel)", _relative(norms, data[f"{key}_grad_norm"][rows]), 1e-3),
        ("train_step", f"{key}_grad_norm of layer4", float(unused), 0.0),
        ("train_step", f"{key}_grad_sum (of norm sqrt(n))", sums, 1e-3),
        ("train_step", f"{key}_grad_entries (of max)", entries, 1e-3),
        ("train_step", f"{key}_grad.<param> (of max)", full, 1e-3),
    ]


def _check_parameters(
    table: Table,
    data: Any,
    key: str,
    nerf: Nerf,
    optimizer: torch.optim.Optimizer,
    initial: dict[str, Tensor],
) -> None:
    known, parameters = _known(data), dict(nerf.named_parameters())
    rows = [i for i, _, _ in known]
    entries = 0.0
    deltas, moments = [], []
    for i, _, ours in known:
        parameter = parameters[ours].detach()
        index = data["sample_index"][i]
        index = index[index >= 0]
        difference = np.abs(parameter.flatten().numpy()[index] - data[f"{key}_param_entries_after"][i, : len(index)])
        entries = max(entries, float(difference.max()))
        deltas.append(float((parameter - initial[ours]).norm()))
        moments.append(float(optimizer.state[parameters[ours]]["exp_avg_sq"].norm()))
    state = nerf.state_dict()
    bns = [(i, our_name(str(name)) or "") for i, name in enumerate(data["bn_names"])]
    bn = [(float(state[ours].double().norm()), data[f"{key}_bn_norm_after"][i]) for i, ours in bns if ours in state]
    delta, expected = np.array(deltas), data[f"{key}_param_delta_norm"][rows]
    error = _relative(delta, expected) if expected.any() else float(np.abs(delta).max())
    moment = _relative(moments, data[f"{key}_exp_avg_sq_norm"][rows])
    table.rows += [
        ("train_step", f"{key}_param_delta_norm (rel)", error, 1e-3 if expected.any() else 0.0),
        ("train_step", f"{key}_param_entries_after", entries, 1e-6),
        (
            "train_step",
            f"{key}_exp_avg_sq_norm (rel)",
            moment,
            2e-3,
        ),
        ("train_step", f"{key}_bn_norm_after (rel)", _relative(*np.array(bn).T), 1e-6),
    ]
