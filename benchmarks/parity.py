"""Compare the NeRF with the numbers of the original implementation, array by array.

    python benchmarks/parity.py --data FOLDER [--dtype float32]

FOLDER is a fixture set: rig.npz, posenc.npz, texture_encoder.npz, field.npz, render.npz, train_step.npz, loader.npz,
rays.npz, nerf_random.pt and dataset/. Prints the largest error of every array beside its tolerance; exit code 1 when
one is exceeded. float64 compares everything; float32 what has a stated float32 tolerance, unambiguous rows only.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parity_fixture import Fixture, Table
from parity_steps import learning_rates, train_steps
from torch import Tensor
from torch.nn.functional import interpolate

from na_ray.body.body import PosedBody
from na_ray.body.triangles import project_to_faces
from na_ray.models.nerf.canonical import unpose, vertex_transforms
from na_ray.models.nerf.renderer import Nerf
from na_ray.models.nerf.sampling import sample_along_rays
from na_ray.models.nerf.texture_encoder import lookup


def posenc(fixture: Fixture, table: Table) -> None:
    """The three positional encodings."""
    data, f64 = fixture.load("posenc"), fixture.dtype == torch.float64
    radiance = fixture.nerf().field
    modules = {
        "local": (radiance.surface_encoding, 1e-5),
        "density_pos": (radiance.position_encoding, 5e-5),
        "ray": (radiance.direction_encoding, 1e-5),
    }
    for name, (module, f32) in modules.items():
        table.check("posenc", name, module(fixture.tensor(data["input"])), data[name], 1e-9 if f64 else f32)
        table.check("posenc", f"emb_{name}", module.frequencies, data[f"emb_{name}"], 1e-5)


def big_texture(fixture: Fixture) -> Tensor:
    """The 512x512 map of the parity page."""
    y, x = np.mgrid[:512, :512]
    channels = [((7 * y + 13 * x) % 251) / 250, ((y * y + 3 * x) % 239) / 238, ((x * y // 16) % 227) / 226]
    return fixture.tensor(np.stack(channels).astype(np.float32))


def feature_pyramid(latents: list[Tensor]) -> Tensor:
    """The original's feature map (c, h, w): all latents at the size of the first, one after the other."""
    size = (latents[0].shape[2], latents[0].shape[3])
    resized = [interpolate(latent, size, mode="bilinear", align_corners=True) for latent in latents[1:]]
    return torch.cat([latents[0], *resized], dim=1)[0]


def texture_encoder(fixture: Fixture, table: Table) -> None:
    """The feature pyramid, in evaluation and training mode."""
    data, f64 = fixture.load("texture_encoder"), fixture.dtype == torch.float64
    encoder = fixture.nerf().encoder
    small = fixture.tensor(data["input64"] / np.float32(255)).permute(2, 0, 1)
    table.check("texture_encoder", "eval_out", feature_pyramid(encoder(small)), data["eval_out"], 1e-6 if f64 else 2e-4)
    big = feature_pyramid(encoder(big_texture(fixture)))
    row, column = data["big_pos_rc"].T
    tolerance = 5e-6 if f64 else 5e-4
    table.check("texture_encoder", "big_samples", big[:, row, column].T, data["big_samples"], tolerance)
    statistics = {"mean": big.mean((1, 2)), "std": big.std((1, 2), correction=0), "absmax": big.abs().amax((1, 2))}
    for name, value in statistics.items():
        table.check("texture_encoder", f"big_channel_{name}", value, data[f"big_channel_{name}"], tolerance)
    trained = feature_pyramid(encoder.train()(small))
    table.check("texture_encoder", "train_out_every4", trained[::4], data["train_out_every4"], 1e-6 if f64 else 5e-4)
    state = encoder.state_dict()
    for name in data.files:
        bn = name.removeprefix("train_").removeprefix("encoder.texture_encoder.model.").removeprefix("model.")
        if bn in state:
            table.check("texture_encoder", name, state[bn], data[name], 1e-6 if f64 else 1e-5)


def field_values(fixture: Fixture, nerf: Nerf, data: Any) -> dict[str, Tensor]:
    """Every intermediate of the field at the fixture's points."""
    posed, radiance = fixture.pose(nerf, 0), nerf.field
    world, directions = fixture.tensor(data["xyz_world"]), fixture.tensor(data["ray_dir"])
    kept: dict[str, Tensor] = {}
    for name, layer in {"feat_layer3": radiance.shape[3], "feat_layer4": radiance.shape[4]}.items():
        layer.register_forward_hook(lambda _, __, out, name=name: kept.update({name: out.clone().relu()}))
    radiance.density_hidden.register_forward_hook(lambda _, __, out: kept.update(density_hidden=out.clone().relu()))
    scene = nerf._fit(posed)
    local = posed.to_normalized(world)
    faces = scene.surface.closest(local, parity=True)
    samples = nerf._locate(scene, world, torch.zeros_like(world), world.new_zeros(len(world), 1))
    latents = nerf.encoder(fixture.texture(0))
    sampled = lookup(feature_pyramid(latents).permute(1, 2, 0).contiguous(), samples.uv)
    projected = lookup(radiance.project(latents, fixture.texture(0)), samples.uv)
    attnout = radiance.surface_features(samples.surface)
    assert radiance.deformation is not None
    deform = radiance.deformation(attnout, projected[:, : attnout.shape[1]])
    position = samples.position + deform
    sigma, color = radiance(samples.surface, samples.position, directions, projected)
    closest = project_to_faces(local, posed.vertices, posed.body.faces, faces, parity=True)
    weights = (closest.barycentrics[:, :, None] * posed.body.weights[posed.body.faces[faces]]).sum(dim=1)
    # Un-posing to a rest pose of identities stops in the space of the canonical mesh, times the sum of the weights.
    identity = torch.eye(4, dtype=local.dtype).expand_as(posed.body.tpose)
    resting = replace(posed, body=replace(posed.body, tpose=identity))
    return kept | {
        "skin_weights": weights,
        "canonical_before_tpose": unpose(local, closest, resting, vertex_transforms(resting)) / weights.sum(1, True),
        "xyz_normalized": local,
        "face": faces,
        "local_coords": samples.surface,
        "local_pe": radiance.surface_encoding(samples.surface),
        "attnout": attnout,
        "sampled_tex": sampled,
        "canonical_before_deform": samples.position,
        "deform": deform,
        "pos": position,
        "pos_pe": radiance.position_encoding(position),
        "feat": radiance.shape_features(position),
        "sigma": sigma,
        "ray_pe": radiance.direction_encoding(directions),
        "color": color,
    }


FIELD_TOLERANCES = {
    "xyz_normalized": (1e-9, 1e-6),
    "face": (0, 0),
    "skin_weights": (1e-7, 2e-5),
    "canonical_before_tpose": (1e-9, 5e-6),
    "local_coords": (1e-7, 1e-5),
    "local_pe": (1e-6, 3e-4),
    "attnout": (2e-6, 5e-4),
    "sampled_tex": (1e-5, 5e-4),
    "canonical_before_deform": (1e-9, 5e-6),
    "deform": (1e-6, 1e-5),
    "pos": (1e-6, 1e-5),
    "pos_pe": (3e-5, 1e-3),
    "feat_layer3": (3e-5, 1e-3),
    "feat_layer4": (3e-5, 1e-3),
    "feat": (3e-5, 1e-3),
    "density_hidden": (2e-5, 5e-4),
    "sigma": (2e-3, 2e-2),
    "ray_pe": (1e-6, 1e-5),
    "color": (2e-5, 3e-4),
}
"""float64 and float32."""


def field_arrays(fixture: Fixture, table: Table) -> None:
    """The field at 300 points."""
    data, f64 = fixture.load("field"), fixture.dtype == torch.float64
    found = field_values(fixture, fixture.nerf(), data)
    clean = None if f64 else ~data["ambiguous"]
    for name, tolerances in FIELD_TOLERANCES.items():
        if f64 or name != "face":
            table.check("field", name, found[name], data[name], tolerances[0 if f64 else 1], clean)


def render_arrays(fixture: Fixture, table: Table) -> None:
    """Whole pictures, and what lies along their rays."""
    data = fixture.load("render")
    for name, frame in {"img32": 1, "noseam32": 1, "f0v1": 0, "f2v2half": 2}.items():
        nerf = fixture.nerf(seams=name != "noseam32")
        posed = fixture.pose(nerf, frame)
        height, width = data[f"{name}_image01"].shape[:2]
        y, x = np.mgrid[:height, :width] * (2 if name == "f2v2half" else 1)
        pixels = np.stack([x.ravel(), y.ravel()], axis=1)
        origins, directions = fixture.rays(data[f"{name}_K"], data[f"{name}_c2w"], pixels)
        tolerance = 1e-7 if fixture.dtype == torch.float64 else 5e-7
        table.check("render", f"{name}_ray_dir", directions, data[f"{name}_ray_dir"], tolerance)
        kept: list[tuple[Tensor, ...]] = []
        evaluate = nerf._evaluate
        nerf._evaluate = lambda *args, kept=kept, evaluate=evaluate: kept.append(evaluate(*args)) or kept[-1]  # type: ignore[method-assign]
        found = nerf(posed, fixture.texture(frame), origins, directions)
        clean = np.ones(len(directions), bool)
        if f"{name}_sample_ambiguous" in data.files:
            clean[data[f"{name}_hit"]] = ~data[f"{name}_sample_ambiguous"].any(1)
        _check_picture(fixture, table, name, found, data, clean)
        if f"{name}_near" in data.files:
            sigma, color = (torch.cat(parts) for parts in zip(*kept, strict=True))
            _check_samples(fixture, table, name, nerf, posed, origins, directions, sigma, color, data)


def _check_picture(fixture: Fixture, table: Table, name: str, found: Any, data: Any, clean: Any) -> None:
    table.check("render", f"{name}_hit", found.hit, data[f"{name}_hit"], 0)
    values = {"colors": found.colors, "depths": found.depths, "missed": found.transmittance}
    image = ((found.colors + 1) / 2).clamp(0, 1)
    reference = data[f"{name}_image01"].reshape(-1, 3)
    if fixture.dtype == torch.float64:
        for key, tolerance in {"colors": 5e-5, "depths": 1e-4, "missed": 5e-5}.items():
            table.check("render", f"{name}_{key}", values[key], data[f"{name}_{key}"], tolerance, clean)
        table.check("render", f"{name}_image01", image, reference, 5e-5, clean)
        return
    # Ambiguous samples are flagged for two of the pictures only: of the others, the median is meaningful in float32.
    flagged = f"{name}_sample_ambiguous" in data.files
    limits = {"colors": (1e-4, 3e-3), "depths": (2e-4, 5e-3), "missed": (1e-4, 3e-3)}
    for key, (median, most) in limits.items():
        quantiles = {0.5: median} | ({0.99: most} if flagged else {})
        table.quantiles("render", f"{name}_{key}", values[key], data[f"{name}_{key}"], quantiles, clean)


def _check_samples(
    fixture: Fixture,
    table: Table,
    name: str,
    nerf: Nerf,
    posed: PosedBody,
    origins: Tensor,
    directions: Tensor,
    sigma: Tensor,
    color: Tensor,
    data: Any,
) -> None:
    f64 = fixture.dtype == torch.float64
    near, far, hit = nerf.intervals(posed, origins, directions)
    depth, length = sample_along_rays(near[hit], far[hit], nerf.config.samples_per_ray)
    values = {"near": near[hit], "far": far[hit], "sample_depth": depth, "sample_dist": length}
    for key, value in values.items():
        table.check("render", f"{name}_{key}", value, data[f"{name}_{key}"], 1e-6 if f64 else 5e-4)
    clean = ~data[f"{name}_sample_ambiguous"]
    energy = sigma.relu() * length
    if not f64:
        limits = {0.5: 1e-5, 0.999: 2e-3}
        table.quantiles("render", f"{name}_free_energy", energy, data[f"{name}_free_energy"], limits, clean)
        limits = {0.5: 5e-5, 0.999: 5e-3}
        table.quantiles("render", f"{name}_sample_color", color, data[f"{name}_sample_color"], limits, clean)
        return
    table.check("render", f"{name}_free_energy", energy, data[f"{name}_free_energy"], 2e-5, clean)
    table.check("render", f"{name}_sample_color", color, data[f"{name}_sample_color"], 5e-5, clean)
    points = posed.to_normalized(origins[hit][:, None] + depth[..., None] * directions[hit][:, None]).flatten(0, 1)
    faces = nerf._fit(posed).surface.closest(points, parity=True).view(depth.shape)
    table.check("render", f"{name}_sample_face", faces, data[f"{name}_sample_face"], 0)


def samples(fixture: Fixture, table: Table) -> None:
    """Intervals of the shell and the samples in them."""
    data, f64 = fixture.load("rays"), fixture.dtype == torch.float64
    nerf = fixture.nerf()
    posed = fixture.pose(nerf, 0)
    for view in range(4):
        camera = (data[f"v{view}_intrinsics"], data[f"v{view}_c2w"])
        origins, directions = fixture.rays(*camera, data[f"v{view}_uv"])
        table.check("rays", f"v{view}_ray_start", origins[0], data[f"v{view}_ray_start"], 1e-9 if f64 else 1e-7)
        table.check("rays", f"v{view}_ray_dir", directions, data[f"v{view}_ray_dir"], 1e-7 if f64 else 5e-7)
        near, far, hit = nerf.intervals(posed, origins, directions)
        firm = ~data[f"v{view}_graze"]
        table.check("rays", f"v{view}_hit", hit, data[f"v{view}_hit"], 0, firm)
        for name, value in (("near", near), ("far", far)):
            table.check("rays", f"v{view}_{name}", value, data[f"v{view}_{name}"], 1e-6 if f64 else 5e-4, firm)
        if view == 0:
            bounds = (fixture.tensor(data[f"v0_{end}"])[torch.tensor(data["v0_hit"])] for end in ("near", "far"))
            near, far = bounds
            noise = fixture.tensor(data["v0_train_noise"])[:, :64]
            for mode, jitter in (("eval", None), ("train", noise)):
                depth, length = sample_along_rays(near, far, 64, jitter)
                table.check("rays", f"v0_{mode}_depth", depth, data[f"v0_{mode}_depth"], 1e-6 if f64 else 5e-4)
                table.check("rays", f"v0_{mode}_dist", length, data[f"v0_{mode}_dist"], 1e-6 if f64 else 5e-4)


def main() -> int:
    """Run all comparisons; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64")
    options = parser.parse_args()
    start, table = time.perf_counter(), Table()
    fixture = Fixture.open(options.data, getattr(torch, options.dtype))
    with torch.no_grad():
        for compare in (posenc, texture_encoder, samples, field_arrays, render_arrays):
            compare(fixture, table)
    learning_rates(fixture, table)
    if fixture.dtype == torch.float64:
        train_steps(fixture, table)
    bad = table.print()
    print(f"{options.dtype}, {time.perf_counter() - start:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
