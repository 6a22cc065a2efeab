"""Losses with their gradients beside those of the original vid2vid."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from parity_vid2vid_fixture import Numbers, Summary, checksums, stream
from torch import Tensor

from na_ray.models.vid2vid import losses
from na_ray.models.vid2vid.discriminator import Patches
from na_ray.models.vid2vid.flow import warp
from na_ray.models.vid2vid.generator import Generated
from na_ray.models.vid2vid.perceptual import UNUSED, Vgg19

LAYERS = ("relu_1_1", "relu_2_1", "relu_3_1", "relu_4_1", "relu_5_1")


def gradient_error(table: Summary, group: str, name: str, found: Tensor | None, expected: Any, allowed: float) -> None:
    """Compare a gradient, in units of its largest entry."""
    largest = float(np.abs(expected).max()) or 1.0
    table.check(
        group, name, torch.zeros(expected.shape) if found is None else found / largest, expected / largest, allowed
    )


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
    fake, real = (
        [[numbers.tensor(data[f"fm/{s}/d{k}/{i}"]) for i in range(3)] for k in range(2)] for s in ("fake", "real")
    )
    for x in (x for sub in fake + real for x in sub):
        x.requires_grad_()
    with torch.enable_grad():
        value = losses.feature_matching(Patches([], fake), Patches([], real))
        value.backward()
    table.relative("losses feature matching (relative)", "value", value, data["fm/value"], scalar(numbers))
    for name in data.under("fm/grad_fake/"):
        k, i = name.removeprefix("d").split("/")
        gradient, allowed = fake[int(k)][int(i)].grad, 1e-6 if numbers.double else 1e-4
        gradient_error(
            table, "losses feature matching grad (of max)", name, gradient, data[f"fm/grad_fake/{name}"], allowed
        )
    table.check(
        "losses feature matching grad of real", "all", sum(x.grad is not None for sub in real for x in sub), 0, 0
    )


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
