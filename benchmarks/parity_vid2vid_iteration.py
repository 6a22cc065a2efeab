"""Whole training iterations beside those of the original vid2vid."""

import json
from typing import Any

import numpy as np
import torch
from parity_vid2vid_fixture import Arrays, Numbers, Summary
from parity_vid2vid_losses import reduced_vgg
from torch import Tensor

from na_ray.config import TextureConfig
from na_ray.models.optim import predictor_adam
from na_ray.models.vid2vid.average import Average
from na_ray.models.vid2vid.iteration import Flows, Networks, iterate
from na_ray.original.names import to_original


class Recorder:
    """Gradients of a network's parameters just before each update: norms, and all of them at frame 2."""

    def __init__(self, network: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.parameters = {to_original(name): p for name, p in network.named_parameters()}
        self.norms: list[dict[str, float]] = []
        self.full: list[dict[str, Tensor]] = []
        step = optimizer.step

        def recorded() -> None:
            self.record()
            step()

        # No hook: torch runs those of a subclass' step and of the step that it calls.
        optimizer.step = recorded  # type: ignore[method-assign, assignment]

    def record(self) -> None:
        """Keep them; -1 stands for none."""
        found = {key: p.grad for key, p in self.parameters.items()}
        self.norms.append({key: -1.0 if g is None else float(g.double().norm()) for key, g in found.items()})
        frame = {key: g.clone() for key, g in found.items() if g is not None}
        self.full.append(frame if len(self.full) == 2 else {})


def our_loss(side: str, name: str) -> str:
    """`FeatureMatching_T0` is our `G/feature_matching_t0`."""
    return f"{side}/" + name.replace("FeatureMatching", "feature_matching").lower()


def iterations(numbers: Numbers, table: Summary) -> None:
    """Whole iterations with either optimizer: losses, gradients, parameters, average."""
    data = numbers.load("one_iteration")
    for length, count in ((4, 2), (8, 1)):
        for kind in ("fused", "adam"):
            play(numbers, table, data, f"seq{length}/{kind}64", length, count, kind == "fused")
    for name in data.names:
        # Iterations of the original in float32: their frame 0 is compared, the rest is noise (section 3).
        if "/fused32/" in name:
            data.unread.discard(name)


def play(numbers: Numbers, table: Summary, data: Arrays, run: str, length: int, count: int, shared: bool) -> None:
    """One run of the fixture."""
    config = TextureConfig(
        parity=True, shared_step_count=shared, average_start=1, flow_target="file", flow_folder="given"
    )
    generator, discriminator = numbers.generator().train(), numbers.discriminator().train()
    optimizers = (
        predictor_adam(generator.parameters(), config.lr_generator, config),
        predictor_adam(discriminator.parameters(), config.lr_discriminator, config),
    )
    recorders = {"G": Recorder(generator, optimizers[0]), "D": Recorder(discriminator, optimizers[1])}
    networks = Networks(generator, discriminator, reduced_vgg(numbers), *optimizers, config)
    average = Average(generator, config.average_beta, config.average_start)
    labels, images = (numbers.tensor(data[n])[:, :length] for n in ("label", "images"))
    given = [numbers.tensor(data[n]).transpose(0, 1)[:, : length - 1] for n in ("flow_gt", "conf_gt")]
    targets = Flows(*(torch.cat([torch.zeros_like(x[:, :1]), x], dim=1) for x in given))
    for i in range(count):
        with torch.enable_grad():
            record, fakes = iterate(networks, labels, images, targets)
        average.update(generator)
        check_losses(numbers, table, data, run, i, record)
        check_norms(numbers, table, data, run, i, {s: r.norms[-length:] for s, r in recorders.items()})
        if numbers.double:
            check_after(table, data, run, i, (generator, discriminator), average)
            check_full(table, data, f"{run}/it{i}", recorders, fakes)


def check_losses(
    numbers: Numbers, table: Summary, data: Arrays, run: str, i: int, record: list[dict[str, Tensor]]
) -> None:
    """Each frame's losses; in float32 only the first frame's of the first iteration."""
    for side in ("D", "G"):
        names = json.loads(str(data[f"{run}/{side}_loss_names_json"]))
        for t, frame in enumerate(record):
            if numbers.double or (i, t) == (0, 0):
                found = [float(frame.get(our_loss(side, name), 0.0)) for name in names]
                allowed, name = 1e-6 if numbers.double else 1e-5, f"it{i} t{t} {side}"
                table.relative(f"{run} losses (relative)", name, found, data[f"{run}/{side}_losses"][i, t], allowed)
                if not numbers.double and "/fused" in run:
                    other = data[f"{run.replace('64', '32')}/{side}_losses"][i, t]
                    table.relative("fused32 losses (relative)", f"{run} {name}", found, other, allowed)


def check_norms(
    numbers: Numbers, table: Summary, data: Arrays, run: str, i: int, norms: dict[str, list[dict[str, float]]]
) -> None:
    """Norms of the gradients. In float32: of the first frame, where they are more than rounding."""
    for side, frames in norms.items():
        names = json.loads(str(data[f"{run.split('/')[0]}/{side}_param_names_json"]))
        expected = data[f"{run}/{side}_gradnorm"][i]
        for t, frame in enumerate(frames):
            found = np.array([frame[name] for name in names])
            table.check(
                f"{run} no gradient", f"it{i} t{t} {side}", (found < 0) ^ (expected[t] < 0), np.zeros(len(found)), 0
            )
            if numbers.double:
                table.relative(f"{run} gradient norms (relative)", f"it{i} t{t} {side}", found, expected[t], 1e-6, 1e-9)
            elif (i, t) == (0, 0):
                firm = expected[t] > 1e-5
                table.relative(
                    f"{run} gradient norms (relative)", f"it{i} t{t} {side}", found[firm], expected[t][firm], 1e-2
                )


def check_after(table: Summary, data: Arrays, run: str, i: int, networks: tuple[Any, Any], average: Average) -> None:
    """Norms of all parameters and of the average after an iteration."""
    for side, network in zip("GD", networks, strict=True):
        norms = {to_original(name): float(p.detach().norm()) for name, p in network.named_parameters()}
        names = json.loads(str(data[f"{run.split('/')[0]}/{side}_param_names_json"]))
        expected = data[f"{run}/it{i}/{side}_param_norm_after"]
        table.check(f"{run} norms after", f"it{i} {side}", [norms[name] for name in names], expected, 1e-6)
    expected = json.loads(str(data[f"{run}/it{i}/avg_norm_json"]))
    found = {to_original(name, folded=True): float(value.norm()) for name, value in average.weights.items()}
    table.check(
        f"{run} norms of the average", f"it{i}", [found[key] for key in expected], list(expected.values()), 1e-6
    )
    table.check(f"{run} updates of the average", f"it{i}", average.updates, data[f"{run}/it{i}/num_updates"], 0)
    for side, network in zip("GD", networks, strict=True):
        check_state(
            table, data, f"{run}/it{i}/{side}_after/", {to_original(k): v for k, v in network.state_dict().items()}
        )
    folded = {to_original(name, folded=True): value for name, value in average.weights.items()}
    check_state(table, data, f"{run}/it{i}/avg_after/", folded)


def check_state(table: Summary, data: Arrays, prefix: str, found: dict[str, Tensor]) -> None:
    """All tensors that the file has."""
    for key in data.under(prefix):
        table.check(prefix.removesuffix("/"), key, found[key], data[prefix + key], 1e-6)


def check_full(table: Summary, data: Arrays, key: str, recorders: dict[str, Recorder], fakes: Tensor) -> None:
    """All gradients of frame 2, and the generated frames."""
    for side, recorder in recorders.items():
        for name in data.under(f"{key}/{side}_grad/t2/"):
            expected = data[f"{key}/{side}_grad/t2/{name}"]
            # Up to 1e-9 is rounding; the rest counts in units of the largest entry.
            unit = np.abs(expected).max() + 1e-3
            found = recorder.full[2][name] / unit
            table.check(f"{key} {side} gradients (of max)", name, found, expected / unit, 1e-6)
    for name in data.under(f"{key}/fake_images/t"):
        table.check(f"{key} fake_images", f"t{name}", fakes[:, int(name)], data[f"{key}/fake_images/t{name}"], 1e-6)
