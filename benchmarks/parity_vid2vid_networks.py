"""Generator, discriminators and warp beside those of the original vid2vid."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from parity_vid2vid_fixture import DEEP, TINY, Arrays, Numbers, Summary, checksums, originals, roll, stream
from torch import Tensor

from na_ray.config import Vid2vidConfig
from na_ray.models.vid2vid.discriminator import Discriminator, DiscriminatorOutputs, Patches, history_length
from na_ray.models.vid2vid.flow import warp
from na_ray.models.vid2vid.generator import Generated, Generator
from na_ray.original.names import from_original, to_original

IMAGES = (2e-5, 5e-5, 1e-4, 2e-4, 4e-4)
"""Tolerances of the frames t in float32, at small sizes."""
FULL_IMAGES = (1e-4, 4e-4, 2e-3, 4e-3)
FLOWS = {2: 3e-4, 3: 6e-4, 4: 1e-3}


def names_and_shapes(numbers: Numbers, table: Summary) -> None:
    """Every key and shape of the original's state dicts, tiny and full."""
    for size, config in (("tiny", TINY), ("full", Vid2vidConfig())):
        keys = numbers.json(f"keys_{size}")
        with torch.device("meta"):
            networks = {
                "generator": originals(Generator(config)),
                "averaged_model": originals(Generator(config, spectral=False), folded=True),
                "discriminator": originals(Discriminator(config)),
            }
        for name, found in networks.items():
            expected = {key: tuple(shape) for key, (shape, _, _) in keys[name].items()}
            table.check(f"keys and shapes, {size}", name, len(found.items() ^ expected.items()), 0, 0)


def tolerance(numbers: Numbers, kind: str, t: int, full: bool = False) -> float:
    """The allowed error of an output of frame t."""
    if numbers.double:
        return 5e-6 if kind == "flow" else 1e-6
    if kind == "flow":
        # Not stated at full size: the image's, in units of flow.
        return FLOWS[t] * (20 if full else 1)
    if kind == "image":
        return (FULL_IMAGES if full else IMAGES)[t]
    return 2e-3 if full else 1e-4


def outputs(frame: Generated) -> dict[str, Tensor]:
    """By their names in generator.npz, without what a frame lacks."""
    named = {"fake_images": frame.image, "flow": frame.flow, "mask": frame.mask, "warped": frame.warped}
    return {name: value for name, value in named.items() if value is not None}


def generator_eval(numbers: Numbers, table: Summary) -> None:
    """The tiny generator's outputs and intermediate features in evaluation mode."""
    data, generator = numbers.load("generator"), numbers.generator()
    labels = numbers.tensor(data["label"])
    kept = record_blocks(generator)
    frames = roll(generator, labels)
    for t, frame in enumerate(frames):
        for name, value in outputs(frame).items():
            if f"eval/{name}/t{t}" in data:
                kind = "image" if name == "fake_images" else name
                allowed = tolerance(numbers, kind, t)
                table.check(f"generator eval {name}", f"t{t}", value, data[f"eval/{name}/t{t}"], allowed)
    allowed = 5e-6 if numbers.double else 1e-4
    for name in data.under("eval/block/") + data.under("eval/cond/"):
        kind = "block" if f"eval/block/{name}" in data else "cond"
        table.check(f"generator {kind}", name, kept[name], data[f"eval/{kind}/{name}"], allowed)


def record_blocks(generator: Generator) -> dict[str, Tensor]:
    """What the modules give, filled while the generator runs: `t<k>/<module>` and `<embedder>_t<k>/level<i>`."""
    kept: dict[str, Tensor] = {}
    modules = {"fc": generator.code, "down_first": generator.stem, "conv_img": generator.head}
    for theirs, ours in {"up": generator.up, "down": generator.down, "res": generator.bridge}.items():
        modules |= {f"{theirs}_{i}": block for i, block in enumerate(ours)}
    count = {"t": -1}

    def keep_levels(name: str, out: list[Tensor]) -> None:
        kept.update({f"{name}_t{count['t']}/level{i}": level[:1].clone() for i, level in enumerate(out)})

    generator.register_forward_pre_hook(lambda *_: count.update(t=count["t"] + 1))
    for name, module in modules.items():
        module.register_forward_hook(lambda _, __, out, n=name: kept.update({f"t{count['t']}/{n}": out[:1].clone()}))
    generator.label_embedder.register_forward_hook(lambda _, __, out: keep_levels("label", out))
    generator.warp_embedder.register_forward_hook(lambda _, __, out: keep_levels("imgprev", out))
    return kept


def generator_train(numbers: Numbers, table: Summary) -> None:
    """The same in training mode: every use of a layer moves its u and v."""
    data, generator = numbers.load("generator"), numbers.generator().train()
    labels = numbers.tensor(data["label"])
    frames: list[Generated] = []
    for t in range(5):
        recent = slice(max(0, t - 2), t)
        past = torch.stack([f.image for f in frames[recent]], dim=1) if t else labels[:, :0]
        frames.append(generator(labels[:, t], labels[:, recent], past))
        for name, value in outputs(frames[-1]).items():
            if f"train/{name}/t{t}" in data:
                kind = "image" if name == "fake_images" else name
                expected = data[f"train/{name}/t{t}"]
                table.check(f"generator train {name}", f"t{t}", value, expected, tolerance(numbers, kind, t))
        vectors(numbers, table, f"train/uv_after_t{t}/", generator, data, f"generator u, v after t{t}")


def vectors(numbers: Numbers, table: Summary, prefix: str, network: Any, data: Arrays, group: str) -> None:
    """u and v of all layers that the file has."""
    state = network.state_dict()
    for key in data.under(prefix):
        table.check(group, key, state[str(from_original(key))], data[prefix + key], 1e-6 if numbers.double else 1e-5)


def sampled(numbers: Numbers, table: Summary, file: str, generator: Generator, step: int) -> None:
    """Samples, means and statistics of a larger generator's outputs."""
    data, full = numbers.load(file), file == "generator_full"
    theirs = {
        "fake_images": "image",
        "fake_flow_maps": "flow",
        "fake_occlusion_masks": "mask",
        "warped_images": "warped",
    }
    for t, frame in enumerate(roll(generator, numbers.bytes(data["label_u8"]))):
        found = {"image": frame.image, "flow": frame.flow, "mask": frame.mask, "warped": frame.warped}
        for name, ours in theirs.items():
            value = found[ours]
            if value is None:
                continue
            offset = step // 2 - 1
            statistics = {
                "sample": value[:, :, offset::step, offset::step],
                "pooled": torch.nn.functional.avg_pool2d(value, step),
                "channel_mean_std": torch.stack([value.mean((0, 2, 3)), value.std((0, 2, 3), correction=0)]),
            }
            for kind, reduced in statistics.items():
                if f"{name}/t{t}/{kind}" in data:
                    allowed = tolerance(numbers, ours, t, full)
                    table.check(f"{file} {name}", f"t{t}/{kind}", reduced, data[f"{name}/t{t}/{kind}"], allowed)


def generator_deep(numbers: Numbers, table: Summary) -> None:
    """The default depth."""
    data = numbers.load("generator_deep")
    generator = Generator(DEEP).to(numbers.dtype)
    keys = data.under("weights/")
    generator.load_state_dict({str(from_original(key)): numbers.tensor(data[f"weights/{key}"]) for key in keys})
    sampled(numbers, table, "generator_deep", generator.eval(), 4)


def generator_full(numbers: Numbers, table: Summary) -> None:
    """The published size, weights by recipe."""
    with torch.device("meta"):
        generator = Generator(Vid2vidConfig(), spectral=False)
    seed, weights = numbers.json("tiny_config")["seed"], {}
    for name, value in generator.state_dict().items():
        key = to_original(name, folded=True)
        weights[key] = recipe(seed, key, tuple(value.shape))
    checksums(table, "generator_full checksums (relative)", numbers.load("generator_full"), weights)
    generator = generator.to_empty(device="cpu").to(numbers.dtype)
    state = {str(from_original(key)): torch.from_numpy(weights.pop(key)) for key in list(weights)}
    generator.load_state_dict(state)
    del state
    sampled(numbers, table, "generator_full", generator.eval(), 8)


def recipe(seed: int, key: str, shape: tuple[int, ...]) -> Any:
    """Recipe 5.1: the weights of generator_full."""
    n = stream(seed, key, shape)
    if len(shape) >= 2:
        gains = {".norm.mlps.": 0.5, ".conv_flow.": 0.1, ".conv_mask.": 1.0}
        gain = next((g for part, g in gains.items() if part in key), 1.0 if key.startswith("conv_img") else 1.4)
        n = gain * n / np.sqrt(np.prod(shape[1:]))
    elif key.endswith(".norm.weight"):
        n = 1 + 0.1 * n
    elif key != "fc.layers.conv.bias":
        n = 0.1 * n
    return n.astype(np.float32)


def judge(network: Discriminator, sequences: Sequence[Tensor], t: int) -> DiscriminatorOutputs:
    """The outputs on frame t of label, real and fake, (b, t, 3, h, w) each."""
    label, real, fake = sequences
    past = slice(max(0, t - history_length(network.config)), t)
    return network(label[:, t], real[:, t], fake[:, t], real[:, past], fake[:, past])


def patches(outputs: DiscriminatorOutputs) -> dict[str, Patches]:
    """By their names in the files."""
    parts = {"indv": outputs.image} | {f"temporal_{s}": v for s, v in outputs.temporal.items()}
    found: dict[str, Patches] = {}
    for part, output in parts.items():
        found |= {f"{part}/pred_real": output.real, f"{part}/pred_fake": output.fake}
    return found


def check_verdicts(
    numbers: Numbers, table: Summary, data: Arrays, key: str, outputs: DiscriminatorOutputs, group: str
) -> None:
    """Logits and features of one frame; each that the file has must be ours too."""
    allowed = 1e-6 if numbers.double else 5e-5
    found: dict[str, Tensor] = {}
    for part, patch in patches(outputs).items():
        for k, logits in enumerate(patch.logits):
            found[f"{part}/output/d{k}"] = logits
            features = patch.features[k]
            found |= {f"{part}/feat/d{k}/{i}": feature[:1] for i, feature in enumerate(features)}
            moments = [[float(f.mean()), float(f.std(correction=0))] for f in features]
            found |= {f"{part}/feat_mean_std/d{k}": torch.tensor(moments, dtype=torch.float64)}
            found |= {f"{part}/feat_shapes/d{k}": torch.tensor([list(f.shape) for f in features])}
    for name in data.under(f"{key}/"):
        kind = name.split("/")[2]
        table.check(f"{group} {kind}", f"{key}/{name}", found[name], data[f"{key}/{name}"], allowed)
    active = {name for name in found if "/output/" in name}
    table.check(
        f"{group} active scales", key, len(active ^ {n for n in data.under(f"{key}/") if "/output/" in n}), 0, 0
    )


def discriminator(numbers: Numbers, table: Summary) -> None:
    """The tiny discriminators: 7 frames in both modes, 19 in evaluation mode."""
    data = numbers.load("discriminator")
    sequences = [numbers.tensor(data[f"short/{name}"]) for name in ("label", "real", "fake")]
    for mode in ("eval", "train"):
        network = numbers.discriminator().train(mode == "train")
        for t in range(7):
            outputs = judge(network, sequences, t)
            check_verdicts(numbers, table, data, f"short/{mode}/t{t}", outputs, f"discriminator {mode}")
            vectors(numbers, table, f"short/{mode}/uv_after_t{t}/", network, data, "discriminator u, v")
    longer = [x[:1, [5 * i % 7 for i in range(19)]] for x in sequences]
    for t in (2, 6, 17, 18):
        outputs = judge(numbers.discriminator(), longer, t)
        check_verdicts(numbers, table, data, f"long/eval/t{t}", outputs, "discriminator, 19 frames")


def discriminator_full(numbers: Numbers, table: Summary) -> None:
    """The published size, weights by recipe 5.2."""
    network = Discriminator(Vid2vidConfig()).to(numbers.dtype)
    seed, weights = numbers.json("tiny_config")["seed"], {}
    for name, value in network.state_dict().items():
        key, shape = to_original(name), tuple(value.shape)
        n = stream(seed, key, shape)
        if key.endswith("weight_orig"):
            weights[key] = (1.4 * n / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
        elif not key.endswith(("weight_u", "weight_v")):
            weights[key] = (1 + 0.1 * n if key.endswith(".norm.weight") else 0.1 * n).astype(np.float32)
    for key in [key for key in weights if key.endswith("weight_orig")]:
        matrix = weights[key].reshape(len(weights[key]), -1).astype(np.float64)
        u = unit(stream(seed, key.replace("weight_orig", "weight_u"), (len(matrix),)))
        for _ in range(3):
            v = unit(matrix.T @ u)
            u = unit(matrix @ v)
        weights[key.replace("weight_orig", "weight_u")] = u.astype(np.float32)
        weights[key.replace("weight_orig", "weight_v")] = v.astype(np.float32)
    data = numbers.load("discriminator_full")
    checksums(table, "discriminator_full checksums (relative)", data, weights)
    network.load_state_dict({str(from_original(key)): torch.from_numpy(value) for key, value in weights.items()})
    labels = numbers.bytes(numbers.load("generator_full")["label_u8"][:, :3])
    real, fake = labels.flip(4), (0.5 * labels)[:, :, [2, 0, 1]].flip(3)
    check_verdicts(numbers, table, data, "t2", judge(network.eval(), (labels, real, fake), 2), "discriminator_full")


def unit(x: Any) -> Any:
    """x / |x|."""
    return x / np.linalg.norm(x)


def resample(numbers: Numbers, table: Summary) -> None:
    """The warp and its gradients."""
    data, allowed = numbers.load("resample"), 1e-6 if numbers.double else 1e-5
    for case in ("zero", "int", "sub", "far"):
        image, flow = (numbers.tensor(data[k]).requires_grad_() for k in ("image", f"{case}/flow"))
        with torch.enable_grad():
            out = warp(image, flow)
            (out * numbers.tensor(data[f"{case}/cotangent"])).sum().backward()
        table.check("resample out", case, out, data[f"{case}/out"], allowed)
        for name, gradient in (("image", image.grad), ("flow", flow.grad)):
            if f"{case}/grad_{name}" in data:
                table.check(f"resample grad_{name}", case, gradient, data[f"{case}/grad_{name}"], 10 * allowed)


def temporal_skip(numbers: Numbers, table: Summary) -> None:
    """The frames that each temporal scale sees, from the discriminator itself: its inputs are frame numbers."""
    seen: dict[int, list[float]] = {}
    network = Discriminator(TINY).eval()
    for scale, discriminators in enumerate(network.temporal):
        first = next(discriminators.children())
        first.register_forward_pre_hook(lambda _, x, s=scale: seen.update({s: x[0][0, ::3, 0, 0].tolist()}))
    for text, expected in numbers.json("temporal_skip").items():
        t = int(text)
        frames = torch.arange(t + 1.0)[None, :, None, None, None].expand(1, t + 1, 3, *TINY.resolution)
        seen.clear()
        judge(network, [frames] * 3, t)
        found = [seen.get(s) for s in range(3)]
        table.check("temporal_skip", f"t{t}", int(found != expected["scales"]), 0, 0)
        kept = [max(0, t + 1 - history_length(TINY)), t]
        table.check("temporal_skip history", f"t{t}", kept, expected["kept_after"], 0)
