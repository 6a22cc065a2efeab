"""Losses with their gradients, and whole training iterations, beside those of the original vid2vid."""

import json
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from parity_vid2vid_fixture import Arrays, Numbers, Summary, checksums, stream
from torch import Tensor

from na_ray.config import TextureConfig
from na_ray.models.vid2vid import losses
from na_ray.models.vid2vid.average import Average
from na_ray.models.vid2vid.discriminator import Patches
from na_ray.models.vid2vid.flow import warp
from na_ray.models.vid2vid.generator import Generated
from na_ray.models.vid2vid.iteration import Flows, Players, iterate
from na_ray.models.vid2vid.names import to_original
from na_ray.models.vid2vid.perceptual import UNUSED, Vgg19
from na_ray.optim import predictor_adam

LAYERS = ("relu_1_1", "relu_2_1", "relu_3_1", "relu_4_1", "relu_5_1")


def gradient_error(table: Summary, group: str, name: str, found: Tensor | None, expected: Any, allowed: float) -> None:
    """Compare a gradient, in units of its largest entry."""
    largest = float(np.abs(expected).max()) or 1.0
    table.check(group, name, torch.zeros(expected.shape) if found is None else found / largest, expected / largest, allowed)


def scalar(numbers: Numbers) -> float:
    """The relative tolerance of a loss."""
    return 1e-7 if numbers.double else 1e-5


def gan(numbers: Numbers, table: Summary) -> None:
    """Hinge losses."""
    data, allowed = numbers.load("losses"), 1e-6 if numbers.double else 1e-4
    functions = {"D_fake": losses.hinge_fake, "D_real": losses.hinge_real, "G_fake": losses.generator_loss}
    for name, function in functions.items():
        logits = [numbers.tensor(data[f"gan/in/d{k}"]).requires_grad_() for k in range(2)]
        with torch.enable_grad():
            value = function(logits)
            value.backward()
        table.relative("losses gan (relative)", name, value, data[f"gan/{name}/value"], scalar(numbers))
        for k, x in enumerate(logits):
            gradient_error(table, "losses gan grad (of max)", name, x.grad, data[f"gan/{name}/grad/d{k}"], allowed)


def matching(numbers: Numbers, table: Summary) -> None:
    """Feature matching."""
    data = numbers.load("losses")
    fake, real = ([[numbers.tensor(data[f"fm/{s}/d{k}/{i}"]) for i in range(3)] for k in range(2)] for s in ("fake", "real"))
    for x in sum(fake + real, []):
        x.requires_grad_()
    with torch.enable_grad():
        value = losses.feature_matching(Patches([], fake), Patches([], real))
        value.backward()
    table.relative("losses feature matching (relative)", "value", value, data["fm/value"], scalar(numbers))
    for name in data.under("fm/grad_fake/"):
        k, i = name.removeprefix("d").split("/")
        gradient, allowed = fake[int(k)][int(i)].grad, 1e-6 if numbers.double else 1e-4
        gradient_error(table, "losses feature matching grad (of max)", name, gradient, data[f"fm/grad_fake/{name}"], allowed)
    table.check("losses feature matching grad of real", "all", sum(x.grad is not None for x in sum(real, [])), 0, 0)


def reduced_vgg(numbers: Numbers) -> Vgg19:
    """The tiny VGG of the fixtures."""
    arrays = numbers.load("weights_tiny")
    vgg = Vgg19(tuple(numbers.json("tiny_config")["vgg_widths"])).to(numbers.dtype)
    given = {key: numbers.tensor(arrays[f"VGG/{key}"]) for key in arrays.under("VGG/")}
    vgg.load_state_dict({key: value for key, value in given.items() if not key.startswith(UNUSED)})
    return vgg


def perceptual(numbers: Numbers, table: Summary) -> None:
    """The perceptual loss with reduced widths."""
    data, allowed = numbers.load("losses"), 1e-6 if numbers.double else 1e-4
    vgg = reduced_vgg(numbers)
    image, target = (numbers.tensor(data[f"perceptual/{name}"]) for name in ("input", "target"))
    image.requires_grad_()
    with torch.enable_grad():
        value = vgg(image, target)
        value.backward()
    gradient_error(table, "perceptual grad (of max)", "input", image.grad, data["perceptual/grad_input"], allowed)
    table.relative("perceptual (relative)", "value", value, data["perceptual/value"], scalar(numbers))
    features = vgg.compute_features(image)
    for layer, feature in zip(LAYERS, features, strict=True):
        table.check("perceptual features", layer, feature[:1], data[f"perceptual/feat_input/{layer}"], 5 * allowed)
    layer_errors(numbers, table, "perceptual", features, vgg.compute_features(target))


def layer_errors(numbers: Numbers, table: Summary, prefix: str, ours: list[Tensor], theirs: list[Tensor]) -> None:
    """Mean difference of each layer."""
    found = [float(F.l1_loss(a, b)) for a, b in zip(ours, theirs, strict=True)]
    expected = numbers.load("losses")[f"{prefix}/layer_l1"]
    table.relative(f"{prefix} layers (relative)", "layer_l1", found, expected, scalar(numbers))


def full_vgg(numbers: Numbers, table: Summary) -> None:
    """The same with VGG-19's widths, weights by recipe 5.3."""
    data, vgg = numbers.load("losses"), Vgg19()
    seed, weights = numbers.json("tiny_config")["seed"], {}
    for key, value in vgg.state_dict().items():
        scale = np.sqrt(2 / (9 * value.shape[1])) if value.dim() > 1 else 0.05
        weights[key] = (scale * stream(seed, f"vgg/{key}", value.shape)).astype(np.float32)
    sums = {f"vgg/{key}": value for key, value in weights.items()} | weights
    arrays = {"weight_checksums_json": data["perceptual_full_vgg/weight_checksums_json"]}
    checksums(table, "perceptual_full_vgg checksums (relative)", arrays, sums)  # type: ignore[arg-type]
    vgg.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    vgg.to(numbers.dtype)
    image, target = (numbers.tensor(data[f"perceptual/{name}"]) for name in ("input", "target"))
    value = vgg(image, target)
    table.relative("perceptual_full_vgg (relative)", "value", value, data["perceptual_full_vgg/value"], scalar(numbers))
    features = vgg.compute_features(image)
    for layer, feature in zip(LAYERS, features, strict=True):
        moments = torch.stack([feature.mean(), feature.std()])
        expected = data[f"perceptual_full_vgg/feat_mean_std/{layer}"]
        table.relative("perceptual_full_vgg features (relative)", layer, moments, expected, scalar(numbers))
    layer_errors(numbers, table, "perceptual_full_vgg", features, vgg.compute_features(target))


def flows(numbers: Numbers, table: Summary) -> None:
    """Flow losses and their gradients through the warp; parity: the mask's own confidence has one too."""
    data, allowed = numbers.load("losses"), 1e-6 if numbers.double else 1e-4
    image, previous, target_flow, conf = (
        numbers.tensor(data[f"flow/{n}"]) for n in ("target_image", "prev_fake_image", "flow_gt", "conf_gt")
    )
    for name, ours in {"L1": "flow_l1", "Warp": "flow_warp", "Mask": "flow_mask"}.items():
        flow, mask = (numbers.tensor(data[f"flow/pred_{n}"]).requires_grad_() for n in ("flow", "mask"))
        with torch.enable_grad():
            warped = warp(previous, flow)
            generated = Generated(image, flow, mask, warped)
            found = losses.flow_losses(generated, image, losses.FlowTarget(target_flow, conf), parity=True)
            found[ours].backward()
        table.relative("losses flow (relative)", name, found[ours], data[f"flow/{name}"], scalar(numbers))
        table.check("losses flow warped", name, warped, data["flow/warped"], 1e-6 if numbers.double else 1e-4)
        for kind, gradient in (("flow", flow.grad), ("mask", mask.grad)):
            if gradient is not None and f"flow/grad/{name}/{kind}" in data:
                expected, firm = data[f"flow/grad/{name}/{kind}"], away_from_kinks(flow, warped - image)
                kept = [torch.where(firm, torch.as_tensor(g), 0) for g in (gradient, expected)]
                if numbers.double:
                    kept = [gradient, torch.tensor(expected)]
                gradient_error(table, "losses flow grad (of max)", f"{name}/{kind}", kept[0], kept[1].numpy(), allowed)
    nothing = losses.flow_losses(Generated(image, None, None, None), image, None)
    table.check("losses flow without a flow", "values", [sum(nothing.values())] * 3, data["flow/no_flow_values"], 0)


def away_from_kinks(flow: Tensor, difference: Tensor) -> Tensor:
    """Pixels where rounding in float32 does not decide which side's slope is the gradient: of the warp at whole pixels
    and of the loss at 0, or where the confidence is clamped."""
    smooth = ((flow - flow.round()).abs() > 1e-3).all(dim=1, keepdim=True)
    smooth &= (difference.abs() > 1e-4).all(dim=1, keepdim=True)
    return smooth & ((difference.abs().sum(dim=1, keepdim=True) - 1).abs() > 1e-4)


def confidence(numbers: Numbers, table: Summary) -> None:
    """The rule by which a flow is believed. `conf_odd`: what the teacher's own resizing makes of it (quirk 14)."""
    data = numbers.load("losses")
    image, previous, flow = (
        numbers.tensor(data[n]) for n in ("flow/target_image", "flow/prev_real_image", "conf/flow_in")
    )
    table.check("confidence", "conf", losses.confidence(image, previous, flow), data["conf/conf"], 0)
    table.check("confidence", "flow", flow, data["conf/flow_out"], 0)
    still = losses.confidence(image, previous, torch.zeros_like(flow))
    table.check("confidence", "zero flow", still, data["conf/conf_zero_flow"], 0)
    image, previous, flow = (numbers.tensor(data[f"conf_odd/{n}"]) for n in ("target", "prev", "flow_in"))
    small = [F.interpolate(x, flow.shape[2:], mode="bilinear") for x in (image, previous)]
    found = losses.confidence(small[0], small[1], flow), flow * image.shape[2] / flow.shape[2]
    for name, value in zip(("conf", "flow_out"), found, strict=True):
        resized = F.interpolate(value, image.shape[2:], mode="bilinear")
        allowed = 5e-6 if numbers.double else 1e-4
        table.check("confidence at odd sizes", name, resized, data[f"conf_odd/{name}"], allowed)


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


def play(
    numbers: Numbers, table: Summary, data: Arrays, run: str, length: int, count: int, shared: bool
) -> None:
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
    players = Players(generator, discriminator, reduced_vgg(numbers), *optimizers, config)
    average = Average(generator, config.average_beta, config.average_start)
    labels, images = (numbers.tensor(data[n])[:, :length] for n in ("label", "images"))
    given = [numbers.tensor(data[n]).transpose(0, 1)[:, : length - 1] for n in ("flow_gt", "conf_gt")]
    targets = Flows(*(torch.cat([torch.zeros_like(x[:, :1]), x], dim=1) for x in given))
    for i in range(count):
        with torch.enable_grad():
            record, fakes = iterate(players, labels, images, targets)
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
            table.check(f"{run} no gradient", f"it{i} t{t} {side}", (found < 0) ^ (expected[t] < 0), np.zeros(len(found)), 0)
            if numbers.double:
                table.relative(f"{run} gradient norms (relative)", f"it{i} t{t} {side}", found, expected[t], 1e-6, 1e-9)
            elif (i, t) == (0, 0):
                firm = expected[t] > 1e-5
                table.relative(f"{run} gradient norms (relative)", f"it{i} t{t} {side}", found[firm], expected[t][firm], 1e-2)


def check_after(
    table: Summary, data: Arrays, run: str, i: int, networks: tuple[Any, Any], average: Average
) -> None:
    """Norms of all parameters and of the average after an iteration."""
    for side, network in zip("GD", networks, strict=True):
        norms = {to_original(name): float(p.detach().norm()) for name, p in network.named_parameters()}
        names = json.loads(str(data[f"{run.split('/')[0]}/{side}_param_names_json"]))
        expected = data[f"{run}/it{i}/{side}_param_norm_after"]
        table.check(f"{run} norms after", f"it{i} {side}", [norms[name] for name in names], expected, 1e-6)
    expected = json.loads(str(data[f"{run}/it{i}/avg_norm_json"]))
    found = {to_original(name, folded=True): float(value.norm()) for name, value in average.weights.items()}
    table.check(f"{run} norms of the average", f"it{i}", [found[key] for key in expected], list(expected.values()), 1e-6)
    table.check(f"{run} updates of the average", f"it{i}", average.updates, data[f"{run}/it{i}/num_updates"], 0)
    for side, network in zip("GD", networks, strict=True):
        check_state(table, data, f"{run}/it{i}/{side}_after/", {to_original(k): v for k, v in network.state_dict().items()})
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
