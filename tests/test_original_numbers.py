"""Checkpoints with the original's own names and shapes (copied from the parity fixtures), and what they compute.

What a tensor is for is told by its name there: the NeRF's field is computed from the formulas of the parity page by
these names, in numpy. The texture predictor's sums were taken where `benchmarks/parity_vid2vid.py` found every one of
the original's numbers; each weight is drawn from its name, so that no two are alike.
"""

import argparse
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from na_ray.body.body import Body
from na_ray.models import optim
from na_ray.models.nerf.renderer import Nerf
from na_ray.models.vid2vid.discriminator import Discriminator
from na_ray.models.vid2vid.generator import Generator
from na_ray.original import names as vid2vid_names
from na_ray.original import renderer as original
from na_ray.original import texture_predictor as original_vid2vid
from tests.models.naive import encode, linear
from tests.original.test_renderer import OPTIONS

DATA = Path(__file__).parent / "data" / "parity"
NERF = json.loads((DATA / "original_nerf_keys.json").read_text())
VID2VID = json.loads((DATA / "original_vid2vid_keys.json").read_text())
PAPER = {"feature_embed_dim": 256, "texture_embed_dim": 256, "density_embed_dim": 128, "fixed_num_samples": 64}
PAPER |= {"inputs_to_texture": "feat:0:256,attnout:0:256,texture:0:512,ray:4:3:b"}


def drawn(name: str, shape: list[int]) -> torch.Tensor:
    """Numbers that follow from the name alone, so large that each matters to what is computed."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    if name.endswith(("faces", "num_batches_tracked")):
        return torch.randint(0, 562, shape, generator=generator)
    values = torch.randn(shape, generator=generator)
    if name.endswith(("running_var", ".emb")):
        return values.abs() + 0.5
    return values * 0.3 if len(shape) < 2 else values * (1.5 / np.sqrt(np.prod(shape[1:])))


@pytest.fixture(scope="module")
def nerf() -> dict[str, Any]:
    """The NeRF's checkpoint. Adam's moments hold each parameter's number in the original's order."""
    model = {name: drawn(name, shape) for name, shape in NERF["model"].items()}
    model["field.bg_color.bg_color"] = torch.ones(3)
    state = {}
    for i, name in enumerate(NERF["optimizer"]):  # the last is the losses' one parameter, no tensor of the model
        moment = torch.full(NERF["model"].get(name, []), float(i))
        state[i] = {"step": 3, "exp_avg": moment, "exp_avg_sq": moment / 2}
    return {
        "args": argparse.Namespace(**OPTIONS | PAPER),
        "model": model,
        "optimizer_history": [{"num_updates": 3}],
        "last_optimizer_state": {"state": state, "param_groups": []},
    }


def imported(contents: dict[str, Any]) -> tuple[original.Imported, Nerf]:
    found = original.from_contents(contents, "nerf.pt", tpose=np.tile(np.eye(4, dtype=np.float32), (24, 1, 1)))
    nerf = Nerf(found.nerf, Body.from_rig(found.rig))
    nerf.load_state_dict(found.state)
    return found, nerf.double()


def original_field(
    model: dict[str, np.ndarray], surface: np.ndarray, position: np.ndarray, direction: np.ndarray, texture: np.ndarray
) -> tuple[float, np.ndarray]:
    """Density and color by section 4 of the parity page, in the original's names."""

    def relu(name: str, x: np.ndarray) -> np.ndarray:
        return np.maximum(linear(model, name, x), 0)

    attention = encode(surface, model["encoder.joint_filter.emb"])
    for i in range(4):
        attention = relu(f"encoder.merge_joint_field.net.{i}.net.0", attention)
    hidden = relu("encoder.skinning_deform.net.0.net.0", np.concatenate([attention, texture]))
    position = position + linear(model, "encoder.skinning_deform.net.1", hidden)
    encoded = encode(position, model["field.den_filters.pos.emb"])
    feature = encoded
    for i in range(8):
        feature = np.concatenate([encoded, feature]) / np.sqrt(2) if i == 4 else feature
        feature = relu(f"field.feature_field.net.{i}.net.0", feature)
    sigma = linear(model, "field.predictor.output_layer", relu("field.predictor.hidden_layer.net.0", feature))[0]
    ray = encode(direction, model["field.tex_filters.ray.emb"])
    color = np.concatenate([feature, attention, texture, ray])
    for i in range(4):
        color = relu(f"field.renderer.net.{i}.net.0", color)
    return sigma, linear(model, "field.renderer.net.4", color)


def check_field(contents: dict[str, Any]) -> None:
    """Our field with the imported weights is the original's at a few points."""
    model = {name: value.double().numpy() for name, value in contents["model"].items()}
    field = imported(contents)[1].field
    rng = np.random.default_rng(0)
    surface, position, direction = (rng.uniform(-1, 1, (3, 3)) * scale for scale in (1.0, 0.3, 0.5))
    texture = rng.normal(size=512)
    latents = [part.reshape(1, -1, 1, 1) for part in torch.from_numpy(texture).split((64, 64, 128, 256))]
    with torch.no_grad():
        features = field.project(latents, torch.zeros(3, 2, 2).double())[0].expand(3, -1)
        sigma, colors = field(*(torch.from_numpy(x) for x in (surface, position, direction)), features)
    for i in range(3):
        expected = original_field(model, surface[i], position[i], direction[i], texture)
        np.testing.assert_allclose(sigma[i], expected[0], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(colors[i], expected[1], rtol=1e-9, atol=1e-9)


def test_the_renderer_of_the_papers_sizes_is_imported_and_computes_what_the_original_did(nerf: dict[str, Any]) -> None:
    check_field(nerf)
    found, _ = imported(nerf)
    prefix = "encoder.texture_encoder.model."
    encoder = [name.removeprefix("encoder.") for name in found.state if name.startswith("encoder.")]
    assert len(encoder) == 6 * 29
    assert all(torch.equal(found.state[f"encoder.{name}"], nerf["model"][prefix + name]) for name in encoder)


ALIKE = [
    ("field.feature_field.net.1.net.0.", "field.feature_field.net.2.net.0."),
    ("field.feature_field.net.7.net.0.", "field.renderer.net.1.net.0."),
    ("encoder.merge_joint_field.net.0.net.0.", "field.feature_field.net.0.net.0."),
    ("encoder.merge_joint_field.net.3.net.0.", "field.renderer.net.3.net.0."),
    ("encoder.skinning_deform.net.1.", "field.renderer.net.4."),
    ("encoder.joint_filter.emb", "field.den_filters.pos.emb"),
]
"""Modules of equal shapes."""


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_a_swap_of_two_tensors_of_equal_shape_is_seen(
    nerf: dict[str, Any], one: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = original.MODULES[one], original.MODULES[other]
    monkeypatch.setitem(original.MODULES, one, ours[1])
    monkeypatch.setitem(original.MODULES, other, ours[0])
    with pytest.raises(AssertionError, match="Not equal"):
        check_field(nerf)


def test_adams_moments_follow_the_originals_order(nerf: dict[str, Any]) -> None:
    found, ours = imported(nerf)
    optimizer = optim.adam(ours.parameters(), found.optim, parity=True)
    optimizer.load_state_dict(found.adam)
    number = {name: i for i, name in enumerate(NERF["optimizer"])}
    parameters = dict(ours.named_parameters())
    compared = 0
    for theirs, value in nerf["model"].items():
        # Whose weights a parameter holds tells whose moments it must hold: no two are alike.
        for name in [n for n, p in parameters.items() if p.shape == value.shape and torch.equal(p, value.double())]:
            assert bool((optimizer.state[parameters[name]]["exp_avg"] == number[theirs]).all()), name
            compared += 1
    assert compared == len(parameters)


def spectral(shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """Tensors of a network with spectral norms: u and v are the weight's leading singular vectors."""
    found = {name: drawn(name, shape) for name, shape in shapes.items()}
    for name in [name for name in found if name.endswith("weight_orig")]:
        u, _, v = torch.linalg.svd(found[name].flatten(1), full_matrices=False)
        stem = name.removesuffix("orig")
        found[f"{stem}u"], found[f"{stem}v"] = u[:, 0].contiguous(), v[0].contiguous()
    return found


def predictor() -> dict[str, Any]:
    """The texture predictor's checkpoint; the average has the weights of the generator itself."""
    generator = spectral(VID2VID["generator"])
    averaged = {n.replace("weight_orig", "weight"): x for n, x in generator.items() if not n.endswith(("_u", "_v"))}
    net_G = {"module.num_updates_tracked": torch.tensor(7)}
    net_G |= {f"module.module.{name}": value for name, value in generator.items()}
    net_G |= {f"module.averaged_model.{name}": value for name, value in averaged.items()}
    group = {"lr": 1e-4, "betas": (0.0, 0.999), "eps": 1e-8, "weight_decay": 0.0, "step": 1, "params": []}
    return {
        "net_G": net_G,
        "net_D": {f"module.{name}": value for name, value in spectral(VID2VID["discriminator"]).items()},
        "current_iteration": 7,
        "opt_G": {"state": {}, "param_groups": [group]},
        "opt_D": {"state": {}, "param_groups": [group]},
    }


def sums(contents: dict[str, Any]) -> dict[str, float]:
    """Means of squares of what the imported networks compute: the first frame, one with flow, and its verdicts."""
    found = original_vid2vid.from_contents(contents, "vid2vid.pt", (64, 128))
    assert found.training is not None
    generator, discriminator = Generator(found.vid2vid, spectral=False), Discriminator(found.vid2vid)
    generator.load_state_dict(found.weights)
    discriminator.load_state_dict(found.training["discriminator"])
    maps = torch.from_numpy(np.random.default_rng(1).uniform(-1, 1, (1, 39, 3, 64, 128)))
    label, real, fake, past_real, past_fake = (*maps[:, :3].unbind(1), maps[:, 3:21], maps[:, 21:])
    with torch.no_grad():
        first = generator.double().eval()(label)
        later = generator(label, past_real[:, -2:], past_fake[:, -2:])
        verdicts = discriminator.double().eval()(label, real, fake, past_real, past_fake)
    found_sums = {"first": first.image, "later": later.image, "flow": later.flow, "mask": later.mask}
    named = {"image": verdicts.image} | {f"temporal {scale}": verdict for scale, verdict in verdicts.temporal.items()}
    for name, verdict in named.items():
        found_sums |= {f"{name}.{i}": logits for i, logits in enumerate(verdict.fake.logits)}
    return {name: float(value.square().mean()) for name, value in found_sums.items()}


BETWEEN_MACHINES = 1e-4
"""float32 networks: an AVX-512 processor is 3e-6 from the sums of an AVX2 one where they nearly cancel."""
SUMS = {
    "first": 0.6612010903487872,
    "later": 0.6393355042830803,
    "flow": 9.275406252934598,
    "mask": 0.22284374049836786,
    "image.0": 0.04384099814564456,
    "image.1": 0.002200088275425993,
    "temporal 0.0": 0.2323767793572212,
    "temporal 0.1": 0.008089835563223688,
    "temporal 0.2": 0.2521007315779831,
    "temporal 1.0": 0.03589036880955194,
    "temporal 1.1": 0.24339256817452276,
    "temporal 1.2": 0.04050370125959799,
    "temporal 2.0": 0.15602844422313383,
    "temporal 2.1": 0.03419317690271274,
    "temporal 2.2": 0.007267523048146613,
}


def test_the_texture_predictor_is_imported_and_computes_what_the_original_did() -> None:
    contents = predictor()
    assert sums(contents) == pytest.approx(SUMS, rel=BETWEEN_MACHINES)
    training = original_vid2vid.from_contents(contents, "vid2vid.pt", (64, 128)).training
    assert training is not None
    for network in (training["generator"], training["discriminator"]):
        for layer in [name.removesuffix(".u") for name in network if name.endswith(".u")]:
            weight, u, v = (network[f"{layer}.{leaf}"] for leaf in ("weight", "u", "v"))
            sigma = torch.linalg.matrix_norm(weight.flatten(1), 2)
            torch.testing.assert_close(u @ weight.flatten(1) @ v, sigma, msg=f"{layer}: the vectors are another's")


@pytest.mark.parametrize(
    ("table", "one", "other"),
    [
        (vid2vid_names.SPECTRAL, "bridge.#.first.conv", "bridge.#.second.conv"),
        (vid2vid_names.PLAIN, "flow.labels.#.norm", "flow.images.#.norm"),
    ],
)
def test_a_swap_of_layers_of_equal_shape_is_seen(
    table: dict[str, str], one: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = table[one], table[other]
    monkeypatch.setitem(table, one, theirs[1])
    monkeypatch.setitem(table, other, theirs[0])
    assert sums(predictor()) != pytest.approx(SUMS, rel=BETWEEN_MACHINES)
